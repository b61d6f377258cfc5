//! What went wrong with an HTTP request, and its native shape:
//! `{"error":{"code","reason","message","field"?,"holders"?,"current"?}}`.
//!
//! Reasons and statuses come from the one table in [`crate::api::error`]. The dialects have shapes
//! of their own and use this one only as data.

use std::borrow::Cow;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::paths::{Surface, fifos, rest};
use super::view::{HolderJson, ValueJson};
use crate::api::openapi::ReasonWord;
use crate::api::{ApiError, Reason, dialects};
use crate::core::{HolderView, Invalid, Mismatch};
use crate::shard::Failure;

/// What went wrong with an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// The stable word.
    pub reason: Reason,
    /// For people to read.
    pub message: String,
    /// The field at fault: one of ours, or one that nobody knows.
    pub field: Option<Cow<'static, str>>,
    /// Who holds the lock that could not be had.
    pub holders: Vec<HolderView>,
    /// What stands where another revision was expected.
    pub mismatch: Option<Box<Mismatch>>,
}

impl HttpError {
    /// A field whose value is not what is expected of it.
    pub fn invalid(field: impl Into<Cow<'static, str>>, expected: impl std::fmt::Display) -> Self {
        let field = field.into();
        HttpError {
            message: format!("{field}: {expected}"),
            field: Some(field),
            ..HttpError::from(ApiError::new(Reason::InvalidArgument, ""))
        }
    }

    /// A body that is not what its type says.
    pub fn unreadable_body(why: impl std::fmt::Display) -> Self {
        HttpError::from(ApiError::new(
            Reason::InvalidArgument,
            format!("the body can't be read: {why}"),
        ))
    }

    /// Calls the field at fault by another name: the one that this surface has for it.
    pub fn rename_field(mut self, from: &str, to: &'static str) -> Self {
        if self.field.as_deref() == Some(from) {
            if let Some(rest) = self.message.strip_prefix(from) {
                self.message = format!("{to}{rest}");
            }
            self.field = Some(Cow::Borrowed(to));
        }
        self
    }

    /// Whether the server can't serve now, for any reason, but may soon.
    pub fn is_overload(&self) -> bool {
        self.reason.retry_after().is_some()
    }

    /// The native body.
    pub fn json(&self) -> ErrorJson<'_> {
        ErrorJson {
            error: ErrorBody {
                code: self.reason.http_status().as_u16(),
                reason: self.reason.as_str(),
                message: &self.message,
                field: self.field.as_deref(),
                holders: matches!(self.reason, Reason::LockHeld | Reason::WaitTimedOut)
                    .then(|| self.holders.iter().map(HolderJson::from).collect()),
                current: self
                    .mismatch
                    .as_ref()
                    .map(|found| ValueJson::new(&found.key, found.current.as_ref())),
            },
        }
    }

    /// Adds the headers that go with the reason, whatever the shape of the body.
    pub fn with_headers(&self, mut response: Response) -> Response {
        if let Some(after) = self.reason.retry_after() {
            // The header counts whole seconds: rounded up, so that nobody comes too early.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        response
    }
}

impl From<ApiError> for HttpError {
    fn from(error: ApiError) -> HttpError {
        HttpError {
            reason: error.reason,
            message: error.message,
            field: error.field.map(Cow::Borrowed),
            holders: error.holders,
            mismatch: error.mismatch,
        }
    }
}

impl From<Invalid> for HttpError {
    fn from(invalid: Invalid) -> HttpError {
        ApiError::from(invalid).into()
    }
}

impl From<Failure> for HttpError {
    fn from(failure: Failure) -> HttpError {
        ApiError::from(failure).into()
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let response = (self.reason.http_status(), Json(self.json())).into_response();
        self.with_headers(response)
    }
}

/// The native body of an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorJson<'a> {
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorBody<'a> {
    /// The status.
    code: u16,
    #[schema(value_type = ReasonWord)]
    reason: &'static str,
    /// For people to read.
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The field at fault.
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Who holds the lock that could not be had.
    holders: Option<Vec<HolderJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What stands where another revision was expected.
    current: Option<ValueJson>,
}

/// The shard answered what was not asked: a defect.
pub fn unexpected_answer() -> HttpError {
    ApiError::new(Reason::Internal, "the server gave itself a wrong answer").into()
}

/// Shapes an error as the surface does that has this path.
pub fn error_response(path: &str, error: impl Into<HttpError>) -> Response {
    let error = error.into();
    let unauthenticated = error.reason == Reason::Unauthenticated;
    let (mut response, challenge) = match Surface::of(path) {
        Surface::Rest => (error.into_response(), "Bearer"),
        Surface::Webmutex => (dialects::webmutex::refuse(error), BASIC),
        Surface::Getlock => (dialects::getlock::refuse(error), BASIC),
        Surface::Sync => (dialects::sync::refuse(error), BASIC),
        Surface::Lockable => (dialects::lockable::refuse(error), BASIC),
    };
    if unauthenticated {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    no_store(response)
}

const BASIC: &str = "Basic realm=\"holdfast\"";

/// The answer to a request whose API token is missing or unknown.
pub fn unauthenticated(path: &str) -> Response {
    error_response(
        path,
        ApiError::new(
            Reason::Unauthenticated,
            "an API token is wanted, as `Authorization: Bearer TOKEN` or as the user name of HTTP basic authentication; the one given is missing or unknown",
        ),
    )
}

/// The answer to a request for what nobody serves.
pub async fn no_such_path(uri: Uri) -> Response {
    let path = uri.path();
    // An empty name leaves a path that no route has; what is wrong with it is the name.
    let is_empty = |rest: &str| rest.is_empty() || rest.starts_with('/');
    let nameless = |prefix| path.strip_prefix(prefix).is_some_and(is_empty);
    let of_ticket = path
        .strip_prefix(fifos::FIFO_PREFIX)
        .and_then(|rest| rest.split_once(fifos::TICKET_INFIX));
    let error = if nameless(rest::LOCK_PREFIX) {
        HttpError::invalid("lock", "must have 1 to 512 bytes, has 0")
    } else if nameless(rest::VALUE_PREFIX) {
        HttpError::invalid("key", "must have 1 to 512 bytes, has 0")
    } else if nameless(rest::QUEUE_PREFIX) {
        HttpError::invalid("queue", "must have 1 to 512 bytes, has 0")
    } else if nameless(fifos::FIFO_PREFIX) {
        HttpError::invalid("fifo", "must have 1 to 512 bytes, has 0")
    } else if of_ticket.is_some_and(|(_, ticket)| is_empty(ticket)) {
        HttpError::invalid("ticket", "must be a UUID, is empty")
    } else {
        ApiError::new(Reason::NoSuchPath, "nothing is served under this path").into()
    };
    no_store(error.into_response())
}

/// The answer to a method that the path doesn't take. The router adds `Allow`.
pub async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> Response {
    let message = format!("this path doesn't take the method {method}");
    error_response(uri.path(), ApiError::new(Reason::MethodNotAllowed, message))
}

/// Marks an answer as one that no cache may keep: it is true for a moment only.
pub fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
