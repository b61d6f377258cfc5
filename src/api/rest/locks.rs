//! Locks: reserve, list, read, renew, release, check, force release.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::page::{PageRequest, page_of};
use super::{Replied, ask, required};
use crate::api::http::extract::{Caller, Fields, LockPath};
use crate::api::http::fields::{FencingToken, Span, Ttl};
use crate::api::http::view::{LockJson, seconds};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::page::after_name_token;
use crate::api::{Api, fresh_lock_name, request_id};
use crate::core::limits::DESTROY_AFTER_DEFAULT;
use crate::core::{Answer, Command, LockName, check_destroy_after, check_ttl};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReserveRequest {
    unused_destroy_timeout: Option<Span>,
    request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ReserveResponse {
    name: String,
}

pub(super) async fn reserve(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(request): Fields<ReserveRequest>,
) -> Replied<ReserveResponse> {
    let destroy_after = request
        .unused_destroy_timeout
        .map_or(DESTROY_AFTER_DEFAULT, |span| span.0);
    let command = Command::Reserve {
        lock: fresh_lock_name()?,
        destroy_after: check_destroy_after(destroy_after)?,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Reserved(lock) => Ok(Json(ReserveResponse {
            name: lock.to_string(),
        })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
pub(super) struct ListResponse {
    locks: Vec<LockJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(page): Fields<PageRequest>,
) -> Replied<ListResponse> {
    caller.require_admin()?;
    let command = Command::ListLocks {
        limit: page.limit()?,
        after: page.after_name(LockName::new)?,
        prefix: page.prefix.unwrap_or_default(),
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Locks { locks, more } => {
            let (locks, next_page_token) =
                page_of(&locks, more, |lock| after_name_token(lock.name.as_str()));
            Ok(Json(ListResponse {
                locks,
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}

pub(super) async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
) -> Replied<LockJson> {
    match ask(&api, &caller.namespace, Command::GetLock { lock }).await? {
        Answer::Lock(view) => Ok(Json(LockJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewRequest {
    grant_token: Option<String>,
    ttl: Option<Ttl>,
}

#[derive(Serialize)]
pub(super) struct RenewResponse {
    pub(super) renewed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_in: Option<f64>,
}

pub(super) async fn renew(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
    Fields(request): Fields<RenewRequest>,
) -> Replied<RenewResponse> {
    let ttl = match request.ttl {
        None => None,
        Some(Ttl::Span(ttl)) => Some(check_ttl(ttl)?),
        Some(Ttl::None) => {
            let expected = "can't be `none` here: a grant that expires stays one that does";
            return Err(HttpError::invalid("ttl", expected));
        }
    };
    let grant_token = required("grant_token", request.grant_token)?;
    let command = Command::Renew {
        proof: api.proof(&caller.namespace, &lock, &grant_token)?,
        lock,
        ttl,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Renewed { expires_in } => Ok(Json(RenewResponse {
            renewed: true,
            expires_in: expires_in.map(seconds),
        })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseRequest {
    grant_token: Option<String>,
    request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ReleaseResponse {
    released: bool,
}

pub(super) async fn release(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
    Fields(request): Fields<ReleaseRequest>,
) -> Replied<ReleaseResponse> {
    let grant_token = required("grant_token", request.grant_token)?;
    let command = Command::Release {
        session: None,
        proof: api.proof(&caller.namespace, &lock, &grant_token)?,
        lock,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Released => Ok(Json(ReleaseResponse { released: true })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRequest {
    fencing_token: Option<FencingToken>,
}

#[derive(Serialize)]
pub(super) struct CheckResponse {
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
}

pub(super) async fn check(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
    Fields(request): Fields<CheckRequest>,
) -> Replied<CheckResponse> {
    let command = Command::Check {
        lock,
        fencing_token: required("fencing_token", request.fencing_token)?.0,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Checked {
            current,
            expires_in,
        } => Ok(Json(CheckResponse {
            current,
            expires_in: expires_in.map(seconds),
        })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForceReleaseRequest {
    fencing_token: Option<FencingToken>,
    request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ForceReleaseResponse {
    released: usize,
}

pub(super) async fn force_release(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
    Fields(request): Fields<ForceReleaseRequest>,
) -> Replied<ForceReleaseResponse> {
    caller.require_admin()?;
    let command = Command::ForceRelease {
        lock,
        fencing_token: request.fencing_token.map(|token| token.0),
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Forced(released) => Ok(Json(ForceReleaseResponse { released })),
        _ => Err(unexpected_answer()),
    }
}
