//! WebhookService, and the callbacks of AcquireLock and CreateTicket.

use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};

use super::{Caller, convert, error};
use crate::api::page::{after_number, after_number_token};
use crate::api::webhook::{CallbackInput, webhook_id};
use crate::api::{Api, request_id};
use crate::core::limits::{CALLBACK_ACCEPT_MAX, CALLBACK_ACCEPT_MIN};
use crate::core::{
    Answer, CallbackShape, Command, Invalid, WebhookAnswer, WebhookCommand, WebhookState,
    WebhookTarget, WebhookView, check_page_size,
};
use crate::proto::v1::{
    self, CancelWebhookRequest, CancelWebhookResponse, GetWebhookRequest, GetWebhookResponse,
    GetWebhookSecretRequest, GetWebhookSecretResponse, ListWebhooksRequest, ListWebhooksResponse,
    webhook_service_server,
};

/// WebhookService over an [`Api`].
pub struct Webhooks(pub(super) Api);

#[tonic::async_trait]
impl webhook_service_server::WebhookService for Webhooks {
    async fn get_webhook(
        &self,
        request: Request<GetWebhookRequest>,
    ) -> Result<Response<GetWebhookResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::Webhook(WebhookCommand::Get {
            id: webhook_id(&request.get_ref().webhook)?,
        });
        match caller.ask(&self.0, command).await? {
            Answer::Webhook(WebhookAnswer::Webhook(view)) => {
                Ok(Response::new(GetWebhookResponse {
                    webhook: Some(webhook(&view)),
                }))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn list_webhooks(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> Result<Response<ListWebhooksResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let request = request.get_ref();
        let command = Command::Webhook(WebhookCommand::List {
            after: after_number(&request.page_token)?,
            limit: check_page_size(request.page_size)?,
        });
        match caller.ask(&self.0, command).await? {
            Answer::Webhook(WebhookAnswer::Webhooks { webhooks, more }) => {
                Ok(Response::new(page(&webhooks, more)))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn cancel_webhook(
        &self,
        request: Request<CancelWebhookRequest>,
    ) -> Result<Response<CancelWebhookResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let command = Command::Webhook(WebhookCommand::Cancel {
            id: webhook_id(&request.webhook)?,
            request_id: request_id(&request.request_id)?,
        });
        match caller.ask(&self.0, command).await? {
            Answer::Webhook(WebhookAnswer::Cancelled) => {
                Ok(Response::new(CancelWebhookResponse {}))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn get_webhook_secret(
        &self,
        request: Request<GetWebhookSecretRequest>,
    ) -> Result<Response<GetWebhookSecretResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let secret = self.0.webhook_secrets().of(caller.namespace()).to_text();
        Ok(Response::new(GetWebhookSecretResponse {
            secret: secret.expose_secret().to_owned(),
        }))
    }
}

/// Reads a callback; it is checked further with all else that is asked.
pub(super) fn callback(request: v1::Callback) -> Result<CallbackInput, Invalid> {
    const ACCEPT: convert::Span = convert::Span(
        "callback.accept_timeout",
        CALLBACK_ACCEPT_MIN,
        CALLBACK_ACCEPT_MAX,
    );
    Ok(CallbackInput {
        url: request.url,
        secret: request.secret,
        accept_timeout: request
            .accept_timeout
            .map(|value| convert::duration(&ACCEPT, value))
            .transpose()?,
        shape: CallbackShape::Native,
    })
}

fn page(views: &[WebhookView], more: bool) -> ListWebhooksResponse {
    let number_of = |id: &str| {
        let view = views.iter().find(|view| view.id.to_string() == id);
        view.map_or(0, |view| view.number)
    };
    let webhooks = views.iter().map(webhook).collect();
    let (webhooks, next_page_token) = convert::page(webhooks, more, |last: &v1::Webhook| {
        after_number_token(number_of(&last.id))
    });
    ListWebhooksResponse {
        webhooks,
        next_page_token,
    }
}

fn webhook(view: &WebhookView) -> v1::Webhook {
    let (lock, fifo, ticket) = match &view.target {
        WebhookTarget::Lock(lock) => (lock.to_string(), String::new(), String::new()),
        WebhookTarget::Ticket { fifo, ticket } => {
            (String::new(), fifo.to_string(), ticket.to_string())
        }
    };
    v1::Webhook {
        id: view.id.to_string(),
        lock,
        fifo,
        ticket,
        url: view.url.to_string(),
        state: state(view.state).into(),
        attempts: view.attempts,
        last_status: view.last_attempt.status.map_or(0, u32::from),
        last_error: view.last_attempt.error.clone(),
        accept_in: view.accept_in.map(convert::proto_duration),
        create_time: Some(convert::timestamp(view.created_at)),
        state_time: Some(convert::timestamp(view.since)),
    }
}

fn state(state: WebhookState) -> v1::WebhookState {
    match state {
        WebhookState::Waiting => v1::WebhookState::Waiting,
        WebhookState::Due => v1::WebhookState::Due,
        WebhookState::Taken => v1::WebhookState::Taken,
        WebhookState::Refused => v1::WebhookState::Refused,
        WebhookState::TimedOut => v1::WebhookState::TimedOut,
        WebhookState::WaitEnded => v1::WebhookState::WaitEnded,
        WebhookState::Cancelled => v1::WebhookState::Cancelled,
        WebhookState::Ended => v1::WebhookState::Ended,
    }
}
