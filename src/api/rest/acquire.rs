//! Acquire: an answer at once, a long poll, a stream of news from the line, or a call back.

use axum::Json;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::Post;

use super::{ask, events};
use crate::api::http::extract::{Caller, Fields, LockPath};
use crate::api::http::fields::{Callback, Count, Metadata, ModeWord, Span, Ttl};
use crate::api::http::paths::rest as paths;
use crate::api::http::view::GrantJson;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    EventStream, LeaseIdText, LockNameText, Operation, OwnerText, RequestIdText, Routes,
    SharedCount, WebhookIdText,
};
use crate::api::{AcquireInput, Api, Reason, lease_id};
use crate::core::limits::{CALLBACK_WAIT_MAX, WAIT_MAX};
use crate::core::{Acquire, Answer, Command, Hold, LockName, Mode, WebhookAnswer};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcquireRequest {
    /// 100ms to 30d, 60s unless the operator set another; `none`: no expiry. Not together with `lease`.
    ttl: Option<Ttl>,
    /// How long the lock is held back when the grant is lost, so that its holder's work can be stopped
    /// before the next holder begins: at most 1h. A grant is lost when it expires, is forced, or its
    /// webhook is not taken in time. Without it: not at all.
    release_delay: Option<Span>,
    /// How long to stand in line: at most 24h, with `callback` 30d. Without it: not at all; for a
    /// stream: 24h; with `callback`: 30d.
    wait: Option<Span>,
    /// Unless given: EXCLUSIVE.
    mode: Option<ModeWord>,
    /// The most shared holders that the caller bears, at most 1,000,000; 0: no bound. For SHARED only.
    #[schema(value_type = SharedCount)]
    max_shared: Option<Count>,
    /// Who asks.
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
    /// What the caller says of itself: at most 4,096 bytes.
    metadata: Option<Metadata>,
    /// The shared lease that keeps the grant.
    #[schema(value_type = LeaseIdText)]
    lease: Option<String>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
    callback: Option<Callback>,
}

/// The place in line is taken: what comes of it is posted.
#[derive(Serialize, ToSchema)]
struct SubscribedResponse {
    #[schema(value_type = WebhookIdText)]
    webhook: String,
}

impl AcquireRequest {
    /// `wait_default` stands where the caller named no wait.
    async fn check(
        self,
        api: &Api,
        lock: &LockName,
        wait_default: std::time::Duration,
    ) -> Result<Acquire, HttpError> {
        let hold = match (self.ttl, self.lease) {
            (Some(_), Some(_)) => {
                return Err(HttpError::invalid("ttl", "leave it out, or else `lease`"));
            }
            (Some(Ttl::None), None) => Some(Hold::Forever),
            (Some(Ttl::Span(ttl)), None) => Some(Hold::Ttl(ttl)),
            (None, Some(lease)) => Some(Hold::Lease(lease_id(&lease)?)),
            (None, None) => None,
        };
        let input = AcquireInput {
            lock: lock.to_string(),
            shared: self.mode == Some(ModeWord(Mode::Shared)),
            max_shared: self.max_shared.map_or(0, |count| count.0),
            hold,
            release_delay: self.release_delay.map(|span| span.0).unwrap_or_default(),
            wait: self.wait.map_or(wait_default, |span| span.0),
            owner: self.owner.unwrap_or_default(),
            metadata: self.metadata.unwrap_or_default().0,
            request_id: self.request_id.unwrap_or_default(),
        };
        let hold_default = Hold::Ttl(api.ttl_default());
        let Some(callback) = self.callback else {
            return Ok(input.check(hold_default)?);
        };
        Ok(input
            .check_with_callback(api, hold_default, callback.into())
            .await?)
    }
}

/// What other calls name `lease_id` is `lease` here.
pub(super) fn acquire_error(error: impl Into<HttpError>) -> HttpError {
    error.into().rename_field("lease_id", "lease")
}

pub(super) fn routes() -> Routes<Api> {
    let operation = Operation::new(
        "locks",
        "acquireLock",
        "Takes a lock",
        "Answers at once, or, with `wait`, when it is the caller's turn. Whoever accepts \
         `text/event-stream` is told `queued` with its position, and then `granted` or `error`. \
         Hanging up leaves the line. With `callback` the place in line is kept, and a webhook tells \
         when the turn comes.",
    );
    Routes::new().on(
        Post,
        paths::ACQUIRE,
        acquire,
        operation
            .in_path::<LockNameText>("name")
            .body::<AcquireRequest>()
            .answers::<GrantJson>("The grant, with its token.")
            .answers_with::<EventStream>(StatusCode::OK, "text/event-stream", "")
            .answers_with::<SubscribedResponse>(
                StatusCode::ACCEPTED,
                "application/json",
                "The place in line is taken; the webhook that tells of it.",
            )
            .grows()
            .refuses(&[
                Reason::LockHeld,
                Reason::WaitTimedOut,
                Reason::LeaseNotFound,
                Reason::LeaseExpired,
                Reason::Cancelled,
            ]),
    )
}

async fn acquire(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
    headers: HeaderMap,
    Fields(request): Fields<AcquireRequest>,
) -> Result<Response, HttpError> {
    let streams = wants_events(&headers);
    let wait_default = match (request.callback.is_some(), streams) {
        (true, true) => {
            let expected = "can't be had together with the media type text/event-stream";
            return Err(HttpError::invalid("callback", expected));
        }
        (true, false) => CALLBACK_WAIT_MAX,
        (false, true) => WAIT_MAX,
        (false, false) => std::time::Duration::ZERO,
    };
    let acquire = request
        .check(&api, &lock, wait_default)
        .await
        .map_err(acquire_error)?;
    let namespace = caller.namespace;
    if streams {
        return Ok(events::acquire(api, namespace, acquire));
    }
    match ask(&api, &namespace, Command::Acquire(acquire))
        .await
        .map_err(acquire_error)?
    {
        Answer::Granted(granted) => {
            Ok(Json(GrantJson::new(api.grant_tokens(), &namespace, &granted)).into_response())
        }
        Answer::Webhook(WebhookAnswer::Subscribed(webhook)) => {
            let webhook = webhook.to_string();
            Ok((StatusCode::ACCEPTED, Json(SubscribedResponse { webhook })).into_response())
        }
        _ => Err(unexpected_answer()),
    }
}

/// Whether the answer is to be a stream of events.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|media| media.split(';').next())
        .any(|media| media.trim().eq_ignore_ascii_case("text/event-stream"))
}
