//! Acquire: an answer at once, a long poll, a stream of news from the line, or a call back.

use axum::Json;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{ask, events};
use crate::api::http::extract::{Caller, Fields, LockPath};
use crate::api::http::fields::{Callback, Count, Metadata, ModeWord, Span, Ttl};
use crate::api::http::view::GrantJson;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::webhook::CallbackInput;
use crate::api::{AcquireInput, Api, lease_id};
use crate::core::limits::{CALLBACK_WAIT_MAX, WAIT_MAX};
use crate::core::{Acquire, Answer, CallbackShape, Command, Hold, LockName, Mode, WebhookAnswer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcquireRequest {
    ttl: Option<Ttl>,
    wait: Option<Span>,
    mode: Option<ModeWord>,
    max_shared: Option<Count>,
    owner: Option<String>,
    metadata: Option<Metadata>,
    lease: Option<String>,
    request_id: Option<String>,
    callback: Option<Callback>,
}

/// The place in line is taken: what comes of it is posted.
#[derive(Serialize)]
struct SubscribedResponse {
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
            wait: self.wait.map_or(wait_default, |span| span.0),
            owner: self.owner.unwrap_or_default(),
            metadata: self.metadata.unwrap_or_default().0,
            request_id: self.request_id.unwrap_or_default(),
        };
        let hold_default = Hold::Ttl(api.ttl_default());
        let Some(callback) = self.callback else {
            return Ok(input.check(hold_default)?);
        };
        let callback = CallbackInput {
            url: callback.url,
            secret: callback.secret,
            accept_timeout: callback.accept_timeout,
            shape: CallbackShape::Native,
        };
        Ok(input
            .check_with_callback(api, hold_default, callback)
            .await?)
    }
}

/// What other calls name `lease_id` is `lease` here.
pub(super) fn acquire_error(error: impl Into<HttpError>) -> HttpError {
    error.into().rename_field("lease_id", "lease")
}

pub(super) async fn acquire(
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

fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|media| media.split(';').next())
        .any(|media| media.trim().eq_ignore_ascii_case("text/event-stream"))
}
