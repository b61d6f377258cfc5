//! Acquire: an answer at once, a long poll, or a stream of news from the line.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{ask, events};
use crate::api::http::extract::{Caller, Fields, LockPath};
use crate::api::http::fields::{Count, Metadata, ModeWord, Span, Ttl};
use crate::api::http::view::GrantJson;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::{AcquireInput, Api, lease_id};
use crate::core::limits::WAIT_MAX;
use crate::core::{Acquire, Answer, Command, Hold, LockName, Mode};

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
}

impl AcquireRequest {
    /// `wait_default` stands where the caller named no wait.
    fn check(
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
        Ok(input.check(Hold::Ttl(api.ttl_default()))?)
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
    let wait_default = if streams {
        WAIT_MAX
    } else {
        std::time::Duration::ZERO
    };
    let acquire = request
        .check(&api, &lock, wait_default)
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
