//! Webhooks: list, read, give up, and what they are signed with.

use axum::Json;
use axum::extract::State;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::page::{PageRequest, page_of};
use super::{Replied, ask};
use crate::api::http::extract::{Caller, Fields, WebhookPath};
use crate::api::http::view::{rfc3339, seconds};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::page::after_number_token;
use crate::api::{Api, request_id};
use crate::core::{
    Answer, Command, WebhookAnswer, WebhookCommand, WebhookState, WebhookTarget, WebhookView,
};

/// A webhook as it stands. Its id is a capability.
#[derive(Serialize)]
pub(super) struct WebhookJson {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fifo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    url: String,
    state: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_in: Option<f64>,
    create_time: String,
    state_time: String,
}

impl From<&WebhookView> for WebhookJson {
    fn from(view: &WebhookView) -> WebhookJson {
        let (lock, fifo, ticket) = match &view.target {
            WebhookTarget::Lock(lock) => (Some(lock.to_string()), None, None),
            WebhookTarget::Ticket { fifo, ticket } => {
                (None, Some(fifo.to_string()), Some(ticket.to_string()))
            }
        };
        WebhookJson {
            id: view.id.to_string(),
            lock,
            fifo,
            ticket,
            url: view.url.to_string(),
            state: state_word(view.state),
            attempts: view.attempts,
            last_status: view.last_attempt.status,
            last_error: Some(view.last_attempt.error.clone()).filter(|error| !error.is_empty()),
            accept_in: view.accept_in.map(seconds),
            create_time: rfc3339(view.created_at),
            state_time: rfc3339(view.since),
        }
    }
}

fn state_word(state: WebhookState) -> &'static str {
    match state {
        WebhookState::Waiting => "waiting",
        WebhookState::Due => "due",
        WebhookState::Taken => "taken",
        WebhookState::Refused => "refused",
        WebhookState::TimedOut => "timed_out",
        WebhookState::WaitEnded => "wait_ended",
        WebhookState::Cancelled => "cancelled",
        WebhookState::Ended => "ended",
    }
}

#[derive(Serialize)]
pub(super) struct ListResponse {
    webhooks: Vec<WebhookJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(page): Fields<PageRequest>,
) -> Replied<ListResponse> {
    caller.require_admin()?;
    if page.prefix.is_some() {
        return Err(HttpError::invalid("prefix", "is for locks only"));
    }
    let command = WebhookCommand::List {
        after: page.after_number()?,
        limit: page.limit()?,
    };
    match ask(&api, &caller.namespace, Command::Webhook(command)).await? {
        Answer::Webhook(WebhookAnswer::Webhooks { webhooks, more }) => {
            let (webhooks, next_page_token) =
                page_of(&webhooks, more, |last| after_number_token(last.number));
            Ok(Json(ListResponse {
                webhooks,
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}

pub(super) async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    WebhookPath(id): WebhookPath,
) -> Replied<WebhookJson> {
    let command = Command::Webhook(WebhookCommand::Get { id });
    match ask(&api, &caller.namespace, command).await? {
        Answer::Webhook(WebhookAnswer::Webhook(view)) => Ok(Json(WebhookJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelRequest {
    request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct CancelResponse {
    cancelled: bool,
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Caller(caller): Caller,
    WebhookPath(id): WebhookPath,
    Fields(request): Fields<CancelRequest>,
) -> Replied<CancelResponse> {
    let command = Command::Webhook(WebhookCommand::Cancel {
        id,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    });
    match ask(&api, &caller.namespace, command).await? {
        Answer::Webhook(WebhookAnswer::Cancelled) => Ok(Json(CancelResponse { cancelled: true })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
pub(super) struct SecretResponse {
    secret: String,
}

pub(super) async fn secret(
    State(api): State<Api>,
    Caller(caller): Caller,
) -> Replied<SecretResponse> {
    caller.require_admin()?;
    let secret = api.webhook_secrets().of(&caller.namespace).to_text();
    Ok(Json(SecretResponse {
        secret: secret.expose_secret().to_owned(),
    }))
}
