//! What handlers take from a request: who calls, the name in the path, the request's fields. Every
//! refusal is an [`HttpError`], so that nothing of the framework's own wording gets out.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::HttpError;
use super::params::{BODY_BYTES_MAX, Params};
use crate::api::webhook::webhook_id;
use crate::api::{ApiError, Identity, Reason, lease_id};
use crate::core::{LeaseId, LockName, QueueName, ValueKey, WebhookId};

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
    let captures =
        Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, state)
            .await
            .map_err(|_| HttpError::invalid(field, "must be percent-encoded UTF-8"))?;
    Ok(captures.0.into_values().next())
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
