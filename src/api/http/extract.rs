//! What handlers take from a request: who calls, the name in the path, the request's fields. Every
//! refusal is an [`HttpError`], so that nothing of the framework's own wording gets out.

use std::collections::HashMap;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::HttpError;
use super::params::{BODY_BYTES_MAX, Params};
use crate::api::fifo::ticket_id;
use crate::api::webhook::webhook_id;
use crate::api::{ApiError, Identity, Reason, lease_id};
use crate::core::{FifoId, LeaseId, LockName, QueueName, TicketId, ValueKey, WebhookId};

/// Who calls, as the authentication layer found.
#[derive(Clone, Debug)]
pub struct Caller(pub Identity);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        parts
            .extensions
            .get::<Identity>()
            .cloned()
            .map(Caller)
            .ok_or_else(|| ApiError::new(Reason::Unauthenticated, "nobody is known to call").into())
    }
}

/// The text of the path's one capture, percent-decoded; `None` where the route has none.
pub async fn captured<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    field: &'static str,
) -> Result<Option<String>, HttpError> {
    let captures = captures(parts, state).await.map_err(|_| not_utf8(field))?;
    Ok(captures.into_values().next())
}

/// The texts of the path's captures, by name.
pub async fn captures<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<HashMap<String, String>, HttpError> {
    match Path::from_request_parts(parts, state).await {
        Ok(Path(captures)) => Ok(captures),
        Err(PathRejection::FailedToDeserializePathParams(rejection)) => {
            Err(match rejection.into_kind() {
                ErrorKind::InvalidUtf8InPathParam { key } => not_utf8(key),
                _ => not_utf8("path"),
            })
        }
        // The route captures nothing.
        Err(_) => Ok(HashMap::new()),
    }
}

fn not_utf8(field: impl Into<std::borrow::Cow<'static, str>>) -> HttpError {
    HttpError::invalid(field, "must be percent-encoded UTF-8")
}

/// The lock that the path names.
#[derive(Clone, Debug)]
pub struct LockPath(pub LockName);

impl<S: Send + Sync> FromRequestParts<S> for LockPath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let name = captured(parts, state, "lock").await?.unwrap_or_default();
        Ok(LockPath(LockName::new(&name)?))
    }
}

/// The value that the path names.
#[derive(Clone, Debug)]
pub struct ValuePath(pub ValueKey);

impl<S: Send + Sync> FromRequestParts<S> for ValuePath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let key = captured(parts, state, "key").await?.unwrap_or_default();
        Ok(ValuePath(ValueKey::new(&key)?))
    }
}

/// The queue that the path names.
#[derive(Clone, Debug)]
pub struct QueuePath(pub QueueName);

impl<S: Send + Sync> FromRequestParts<S> for QueuePath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let name = captured(parts, state, "queue").await?.unwrap_or_default();
        Ok(QueuePath(QueueName::new(&name)?))
    }
}

/// The lease that the path names.
#[derive(Clone, Debug)]
pub struct LeasePath(pub LeaseId);

impl<S: Send + Sync> FromRequestParts<S> for LeasePath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = captured(parts, state, "lease_id")
            .await?
            .unwrap_or_default();
        Ok(LeasePath(lease_id(&id)?))
    }
}

/// The webhook that the path names.
#[derive(Clone, Debug)]
pub struct WebhookPath(pub WebhookId);

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = captured(parts, state, "webhook").await?.unwrap_or_default();
        Ok(WebhookPath(webhook_id(&id)?))
    }
}

/// The FIFO that the path names.
#[derive(Clone, Debug)]
pub struct FifoPath(pub FifoId);

impl<S: Send + Sync> FromRequestParts<S> for FifoPath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = captured(parts, state, "fifo").await?.unwrap_or_default();
        Ok(FifoPath(FifoId::new(&id)?))
    }
}

/// The ticket that the path names, and its FIFO.
#[derive(Clone, Debug)]
pub struct TicketPath(pub FifoId, pub TicketId);

impl<S: Send + Sync> FromRequestParts<S> for TicketPath {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let captures = captures(parts, state).await?;
        let named = |name: &str| captures.get(name).map_or("", String::as_str);
        let fifo = FifoId::new(named("fifo"))?;
        Ok(TicketPath(fifo, ticket_id(named("ticket"))?))
    }
}

/// The request's fields, from wherever they were sent, in a body of at most `BYTES_MAX`.
#[derive(Clone, Debug)]
pub struct Fields<T, const BYTES_MAX: usize = BODY_BYTES_MAX>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const BYTES_MAX: usize> FromRequest<S>
    for Fields<T, BYTES_MAX>
{
    type Rejection = HttpError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, HttpError> {
        Params::read_up_to(request, BYTES_MAX)
            .await?
            .into_request()
            .map(Fields)
    }
}
