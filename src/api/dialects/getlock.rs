//! The getlock dialect: PUT, GET and DELETE of `/v1/<uuid>`.
//!
//! Its grants are open: whoever knows the id may refresh and release them. A grant that was taken
//! with a token, through another surface, is not touched: 423.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Delete, Get, Put};

use super::{Asked, Dialects, status_of};
use crate::api::Reason;
use crate::api::http::paths::getlock as paths;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{DecimalText, Operation, OwnerText, Routes, SecondsText, UuidText};
use crate::core::limits::TTL_MIN;
use crate::core::{About, Answer, Command, HolderView, LockName, Proof};

/// The TTL of a lock whose maker named none.
const TTL_DEFAULT: Duration = Duration::from_secs(60);

/// What every call answers.
#[derive(Serialize, ToSchema)]
#[schema(as = GetlockAnswer)]
pub struct Body {
    /// Left out where it isn't known: a script must not take an error for either answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<bool>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<LockBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = GetlockLock)]
struct LockBody {
    id: String,
    /// Unix seconds of when the lock was taken.
    timestamp: f64,
    /// Seconds; `null`: it has no expiry.
    #[schema(required = true)]
    ttl: Option<f64>,
    /// Unix seconds of when it ends unless refreshed; `null`: it has no expiry.
    #[schema(required = true)]
    expires: Option<f64>,
    #[schema(value_type = DecimalText)]
    fencing_token: String,
}

impl LockBody {
    fn new(lock: &LockName, holder: &HolderView) -> LockBody {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        LockBody {
            id: lock.to_string(),
            timestamp: seconds(Duration::from_millis(holder.acquired_at.0)),
            ttl: holder.ttl.map(seconds),
            expires: holder.expires_in.map(|left| seconds(now + left)),
            fencing_token: holder.fencing_token.to_string(),
        }
    }
}

/// A status with its body, or what went wrong and the lock that it was about.
type Answered = Result<(StatusCode, Json<Body>), HttpError>;

pub(super) fn routes() -> Routes<Dialects> {
    const JSON: &str = "application/json";
    let new = |id: &str, summary, description| {
        Operation::new("dialect getlock", id, summary, description)
            .in_path::<UuidText>("id")
            .answers_with::<Body>(
                StatusCode::NOT_FOUND,
                JSON,
                "It is free, or the id is no UUID.",
            )
            .refuses(&[Reason::BodyTooLarge, Reason::UnsupportedMediaType])
    };
    Routes::with_slashes()
        .on(
            Get,
            paths::LOCK,
            read,
            new(
                "getlockRead",
                "Tells whether a lock is active",
                "423 while it is.",
            )
            .answers_with::<Body>(StatusCode::LOCKED, JSON, "It is active."),
        )
        .on(
            Put,
            paths::LOCK,
            take,
            new(
                "getlockTake",
                "Takes or refreshes a lock",
                "Whoever knows the id may refresh it.",
            )
            .body::<TakeFields>()
            .answers_with::<Body>(StatusCode::CREATED, JSON, "It was taken.")
            .answers::<Body>("It was refreshed.")
            .answers_with::<Body>(StatusCode::LOCKED, JSON, HELD)
            .grows(),
        )
        .on(
            Delete,
            paths::LOCK,
            release,
            new(
                "getlockRelease",
                "Releases a lock",
                "Whoever knows the id may release it.",
            )
            .answers::<Body>("It was released.")
            .answers_with::<Body>(StatusCode::LOCKED, JSON, HELD),
        )
}

const HELD: &str = "It is held by a grant that only its token releases.";

#[derive(ToSchema)]
#[schema(as = GetlockTake)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct TakeFields {
    /// Unless given: 60, or what the lock has.
    #[schema(value_type = SecondsText)]
    ttl: Option<f64>,
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
}

/// A message, and no word on whether the lock is taken.
pub fn refuse(error: HttpError) -> Response {
    let body = Body {
        locked: None,
        message: error.message.clone(),
        lock: None,
    };
    error.with_headers((status_of(&error), Json(body)).into_response())
}

fn respond(answered: Answered) -> Response {
    answered.map_or_else(refuse, IntoResponse::into_response)
}

fn locked(status: StatusCode, message: &str, lock: &LockName, holder: &HolderView) -> Answered {
    let body = Body {
        locked: Some(true),
        message: message.to_owned(),
        lock: Some(LockBody::new(lock, holder)),
    };
    Ok((status, Json(body)))
}

fn free(status: StatusCode, message: &str) -> Answered {
    let body = Body {
        locked: Some(false),
        message: message.to_owned(),
        lock: None,
    };
    Ok((status, Json(body)))
}

/// The lock that the path names; `None`: it is not a UUID.
///
/// Only the form with hyphens is one here, as in the original; upper case names the same lock.
fn lock_of(asked: &Asked) -> Option<LockName> {
    let text = asked.named.as_deref()?;
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return None;
    }
    let id = text.parse::<uuid::Uuid>().ok()?;
    LockName::new(&id.hyphenated().to_string()).ok()
}

fn not_a_uuid() -> Answered {
    free(StatusCode::NOT_FOUND, "not found: the id must be a UUID")
}

/// The TTL asked for, in seconds.
fn ttl_of(asked: &Asked, max: Duration) -> Result<Option<Duration>, HttpError> {
    let Some(text) = asked.params.text("ttl")? else {
        return Ok(None);
    };
    let ttl = text
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|ttl| *ttl <= max)
        .ok_or_else(|| {
            let max = seconds(max);
            HttpError::invalid(
                "ttl",
                format!("must be a positive number of seconds, at most {max}"),
            )
        })?;
    // The original knows no least TTL, so a shorter one is lengthened: late is better than never.
    Ok(Some(ttl.max(TTL_MIN)))
}

async fn take(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_take(&dialects, asked).await)
}

async fn try_take(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let Some(lock) = lock_of(&asked) else {
        return not_a_uuid();
    };
    let max = dialects.options.getlock_ttl_max;
    let owner = asked.params.text("owner")?.unwrap_or_default();
    let command = Command::PutOpen {
        lock: lock.clone(),
        ttl: ttl_of(&asked, max)?,
        default_ttl: TTL_DEFAULT.min(max),
        about: About::new(&owner, Default::default())?,
    };
    match dialects.ask(&asked.caller, command).await {
        Ok(Answer::Put { granted, created }) => {
            let (status, message) = if created {
                (StatusCode::CREATED, "lock acquired")
            } else {
                (StatusCode::OK, "lock refreshed")
            };
            locked(status, message, &lock, &granted.holder)
        }
        Ok(_) => Err(unexpected_answer()),
        Err(error) => held_by_token(dialects, &asked, lock, error).await,
    }
}

async fn read(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_read(&dialects, asked).await)
}

async fn try_read(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let Some(lock) = lock_of(&asked) else {
        return not_a_uuid();
    };
    read_as(dialects, &asked, lock, "lock is active").await
}

/// The lock as it stands: 423 while it is held, 404 otherwise.
async fn read_as(dialects: &Dialects, asked: &Asked, lock: LockName, message: &str) -> Answered {
    let command = Command::GetLock { lock: lock.clone() };
    match dialects.ask(&asked.caller, command).await? {
        Answer::Lock(view) => match view.holders.first() {
            Some(holder) => locked(StatusCode::LOCKED, message, &lock, holder),
            None => free(StatusCode::NOT_FOUND, "lock not found or expired"),
        },
        _ => Err(unexpected_answer()),
    }
}

async fn release(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_release(&dialects, asked).await)
}

async fn try_release(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let Some(lock) = lock_of(&asked) else {
        return not_a_uuid();
    };
    let command = Command::Release {
        session: None,
        lock: lock.clone(),
        proof: Proof::Open,
        request_id: None,
    };
    match dialects.ask(&asked.caller, command).await {
        Ok(Answer::Released) => free(StatusCode::OK, "lock released"),
        Ok(_) => Err(unexpected_answer()),
        Err(error) => held_by_token(dialects, &asked, lock, error).await,
    }
}

/// A refusal that a closed grant, or no grant, explains; any other stays what it is.
async fn held_by_token(
    dialects: &Dialects,
    asked: &Asked,
    lock: LockName,
    error: HttpError,
) -> Answered {
    match error.reason {
        Reason::LockHeld | Reason::NotHolder | Reason::LockNotFound => {
            let message = "lock is held by a grant that only its token releases";
            read_as(dialects, asked, lock, message).await
        }
        _ => Err(error),
    }
}
