//! Webhooks: list, read, give up, and what they are signed with.

use axum::Json;
use axum::extract::State;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Delete, Get};

use super::page::{NumberPageRequest, PageRequest, page_of};
use super::{Replied, ask};
use crate::api::http::extract::{Caller, Fields, WebhookPath};
use crate::api::http::paths::rest as paths;
use crate::api::http::view::{rfc3339, seconds};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    FifoIdText, LockNameText, MomentText, Operation, PageTokenText, RequestIdText, Routes,
    SecondsNumber, TicketIdText, WebhookIdText, WebhookStateWord,
};
use crate::api::page::after_number_token;
use crate::api::{Api, Reason, request_id};
use crate::core::{
    Answer, Command, WebhookAnswer, WebhookCommand, WebhookState, WebhookTarget, WebhookView,
};

/// The group of these operations.
const TAG: &str = "webhooks";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::WEBHOOKS,
            list,
            Operation::new(
                TAG,
                "listWebhooks",
                "Lists webhooks",
                "From the oldest on. For the role `admin`.",
            )
            .query::<NumberPageRequest>()
            .answers::<ListResponse>("A page of webhooks."),
        )
        .on(
            Get,
            paths::WEBHOOK,
            get,
            of_webhook(
                "getWebhook",
                "Reads a webhook",
                "One that is over is told for a day.",
            )
            .answers::<WebhookJson>("The webhook as it stands."),
        )
        .on(
            Delete,
            paths::WEBHOOK,
            cancel,
            of_webhook(
                "cancelWebhook",
                "Gives up a place in line",
                "While it waits for its turn.",
            )
            .query::<CancelRequest>()
            .answers::<CancelResponse>("It was given up.")
            .refuses(&[Reason::WebhookNotWaiting]),
        )
        .on(
            Get,
            paths::WEBHOOK_SECRET,
            secret,
            Operation::new(
                TAG,
                "getWebhookSecret",
                "Tells what webhooks are signed with",
                "Where the subscriber brought no secret of its own. It is always the same. For the \
                 role `admin`.",
            )
            .answers::<SecretResponse>("The namespace's secret."),
        )
}

fn of_webhook(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description)
        .in_path::<WebhookIdText>("id")
        .refuses(&[Reason::WebhookNotFound])
}

/// A webhook as it stands. Its id is a capability.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(super) struct WebhookJson {
    #[schema(value_type = WebhookIdText)]
    id: String,
    /// The lock in whose line it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = LockNameText)]
    lock: Option<String>,
    /// The FIFO in whose line it stands, with `ticket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = FifoIdText)]
    fifo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TicketIdText)]
    ticket: Option<String>,
    url: String,
    #[schema(value_type = WebhookStateWord)]
    state: &'static str,
    /// How often it was posted.
    attempts: u32,
    /// What the last post was answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    /// Why the last post failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// The seconds left to take the turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    accept_in: Option<f64>,
    #[schema(value_type = MomentText)]
    create_time: String,
    #[schema(value_type = MomentText)]
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

#[derive(Serialize, ToSchema)]
#[schema(as = ListWebhooksResponse)]
pub(super) struct ListResponse {
    webhooks: Vec<WebhookJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Absent on the last page.
    #[schema(value_type = PageTokenText)]
    next_page_token: Option<String>,
}

async fn list(
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

async fn get(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancelWebhookRequest)]
pub(super) struct CancelRequest {
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CancelWebhookResponse)]
pub(super) struct CancelResponse {
    cancelled: bool,
}

async fn cancel(
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

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecretResponse)]
pub(super) struct SecretResponse {
    /// `whsec_` and base64.
    secret: String,
}

async fn secret(State(api): State<Api>, Caller(caller): Caller) -> Replied<SecretResponse> {
    caller.require_admin()?;
    let secret = api.webhook_secrets().of(&caller.namespace).to_text();
    Ok(Json(SecretResponse {
        secret: secret.expose_secret().to_owned(),
    }))
}
