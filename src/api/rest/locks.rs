//! Locks: reserve, list, read, renew, release, check, force release.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Get, Post};

use super::page::{PageRequest, page_of};
use super::{Replied, ask, required};
use crate::api::http::extract::{Caller, Fields, LockPath};
use crate::api::http::fields::{FencingToken, Span, Ttl};
use crate::api::http::paths::rest as paths;
use crate::api::http::view::{LockJson, seconds};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    GrantTokenText, LockNameText, Operation, PageTokenText, RequestIdText, Routes, SecondsNumber,
};
use crate::api::page::after_name_token;
use crate::api::{Api, Reason, fresh_lock_name, request_id};
use crate::core::limits::{DESTROY_AFTER_DEFAULT, LOCK_NAME_BYTES_MAX};
use crate::core::{Answer, Command, LockName, check_destroy_after, check_ttl};

/// The group of these operations.
const TAG: &str = "locks";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::LOCKS,
            list,
            Operation::new(
                TAG,
                "listLocks",
                "Lists locks",
                "Those that are held, held back, waited for or reserved, in the order of their \
                 names. For the role `admin`.",
            )
            .query::<PageRequest>()
            .answers::<ListResponse>("A page of locks."),
        )
        .on(
            Post,
            paths::LOCKS,
            reserve,
            Operation::new(
                TAG,
                "reserveLock",
                "Reserves a lock",
                "Makes a fresh name that stays known while nobody holds it.",
            )
            .body::<ReserveRequest>()
            .answers::<ReserveResponse>("The name.")
            .grows(),
        )
        .on(
            Get,
            paths::LOCK,
            get,
            of_lock(
                "getLock",
                "Reads a lock",
                "Who holds it and how many wait. A lock that nobody knows is free.",
            )
            .answers::<LockJson>("The lock as it stands."),
        )
        .on(
            Post,
            paths::RENEW,
            renew,
            of_lock(
                "renewLock",
                "Prolongs a grant",
                "Starts its TTL anew; `ttl` sets another.",
            )
            .body::<RenewRequest>()
            .answers::<RenewResponse>("It was prolonged.")
            .refuses(&[Reason::NotHolder, Reason::StorageFull]),
        )
        .on(
            Post,
            paths::RELEASE,
            release,
            of_lock("releaseLock", "Ends a grant", "The next in line is served.")
                .body::<ReleaseRequest>()
                .answers::<ReleaseResponse>("It was released.")
                .refuses(&[Reason::NotHolder]),
        )
        .on(
            Post,
            paths::CHECK,
            check,
            of_lock(
                "checkLock",
                "Asks whether a grant is current",
                "By its fencing token, so that nobody needs the secret.",
            )
            .body::<CheckRequest>()
            .answers::<CheckResponse>("Whether it is."),
        )
        .on(
            Post,
            paths::FORCE_RELEASE,
            force_release,
            of_lock(
                "forceReleaseLock",
                "Ends grants of others",
                "All of the lock, or the one with the fencing token. For the role `admin`.",
            )
            .body::<ForceReleaseRequest>()
            .answers::<ForceReleaseResponse>("How many were ended.")
            .refuses(&[Reason::NotHolder, Reason::LockNotFound]),
        )
}

fn of_lock(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description).in_path::<LockNameText>("name")
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReserveLockRequest)]
pub(super) struct ReserveRequest {
    /// How long it stays known while nobody uses it: 1s to 365d, unless given 30d.
    unused_destroy_timeout: Option<Span>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReserveLockResponse)]
pub(super) struct ReserveResponse {
    #[schema(value_type = LockNameText)]
    name: String,
}

async fn reserve(
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

#[derive(Serialize, ToSchema)]
#[schema(as = ListLocksResponse)]
pub(super) struct ListResponse {
    locks: Vec<LockJson>,
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
    let command = Command::ListLocks {
        limit: page.limit()?,
        after: page.after_name(LockName::new)?,
        prefix: page.prefix(LOCK_NAME_BYTES_MAX)?,
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

async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
) -> Replied<LockJson> {
    match ask(&api, &caller.namespace, Command::GetLock { lock }).await? {
        Answer::Lock(view) => Ok(Json(LockJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RenewLockRequest)]
pub(super) struct RenewRequest {
    #[schema(value_type = GrantTokenText, required = true)]
    grant_token: Option<String>,
    /// The TTL from now on, 100ms to 30d.
    #[schema(value_type = Span)]
    ttl: Option<Ttl>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RenewResponse {
    pub(super) renewed: bool,
    /// How much is left; absent: no expiry.
    #[schema(value_type = SecondsNumber)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_in: Option<f64>,
}

async fn renew(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReleaseLockRequest)]
pub(super) struct ReleaseRequest {
    #[schema(value_type = GrantTokenText, required = true)]
    grant_token: Option<String>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReleaseLockResponse)]
pub(super) struct ReleaseResponse {
    released: bool,
}

async fn release(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CheckLockRequest)]
pub(super) struct CheckRequest {
    #[schema(required = true)]
    fencing_token: Option<FencingToken>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CheckLockResponse)]
pub(super) struct CheckResponse {
    current: bool,
    /// How much is left; absent: no expiry, or not current.
    #[schema(value_type = SecondsNumber)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
}

async fn check(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForceReleaseRequest {
    /// Unless given: all grants.
    fencing_token: Option<FencingToken>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ForceReleaseResponse {
    released: usize,
}

async fn force_release(
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
