//! The lockable dialect: `/v1/acquire/<name>`, `/v1/heartbeat/<name>`, `/v1/release/<name>`.
//!
//! Its grants are open: whoever knows the name may keep and release them. `false` is an answer, not
//! an error: its client takes every 4xx for an exception.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Get, Post};

use super::{Asked, Dialects, status_of};
use crate::api::Reason;
use crate::api::http::fields::{Span, Ttl};
use crate::api::http::paths::lockable as paths;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{DecimalText, LockNameText, Operation, OwnerText, Routes, SecondsNumber};
use crate::core::{Acquire, Answer, Command, Hold, LockName, Proof, check_ttl};

/// What every call answers.
#[derive(Serialize, ToSchema)]
#[schema(as = LockableAnswer)]
pub struct Body {
    response: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DecimalText)]
    fencing_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    expires_in: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

const TRUE: Body = Body {
    response: true,
    fencing_token: None,
    expires_in: None,
    reason: None,
};

type Answered = Result<Json<Body>, HttpError>;

pub(super) fn routes() -> Routes<Dialects> {
    let new = |id: &str, summary, description| {
        Operation::new("dialect lockable", id, summary, description)
            .in_path::<LockNameText>("name")
            .answers::<Body>("Whether it was done.")
    };
    let take = |id: &str| {
        new(
            id,
            "Takes a lock",
            "True when this call took it. `wait` stands in line.",
        )
        .grows()
        .refuses(&[Reason::Cancelled])
    };
    let keep = |id: &str| {
        new(id, "Prolongs a lock", "False when it is not held any more.")
            .refuses(&[Reason::StorageFull])
    };
    let give_back = |id: &str| {
        new(id, "Gives a lock back", "True when it was held.")
            .refuses(&[Reason::BodyTooLarge, Reason::UnsupportedMediaType])
    };
    let under = |path| format!("{path}/{{name}}");
    let mut routes = Routes::with_slashes()
        .on(
            Get,
            &under(paths::ACQUIRE),
            acquire,
            take("lockableAcquire").query::<AcquireFields>(),
        )
        .on(
            Post,
            &under(paths::ACQUIRE),
            acquire,
            take("lockablePostAcquire").body::<AcquireFields>(),
        )
        .on(
            Get,
            &under(paths::HEARTBEAT),
            heartbeat,
            keep("lockableHeartbeat").query::<HeartbeatFields>(),
        )
        .on(
            Post,
            &under(paths::HEARTBEAT),
            heartbeat,
            keep("lockablePostHeartbeat").body::<HeartbeatFields>(),
        )
        .on(
            Get,
            &under(paths::RELEASE),
            release,
            give_back("lockableRelease"),
        )
        .on(
            Post,
            &under(paths::RELEASE),
            release,
            give_back("lockablePostRelease"),
        );
    // A name that was left out is told as a bad name, not as an unknown path.
    for method in [Get, Post] {
        routes = routes
            .undescribed(method.clone(), &format!("{}/", paths::ACQUIRE), acquire)
            .undescribed(method.clone(), &format!("{}/", paths::HEARTBEAT), heartbeat)
            .undescribed(method, &format!("{}/", paths::RELEASE), release);
    }
    routes
}

#[derive(ToSchema)]
#[schema(as = LockableAcquire)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct AcquireFields {
    /// 100ms to 30d; 60s unless the operator set another.
    ttl: Option<Ttl>,
    /// How long to stand in line, at most 24h; unless given: not at all.
    wait: Option<Span>,
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = LockableHeartbeat)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct HeartbeatFields {
    /// The TTL from now on, 100ms to 30d.
    ttl: Option<Span>,
}

/// `{"response":false}`, with the reason: whoever reads no status believes not to hold the lock.
pub fn refuse(error: HttpError) -> Response {
    let body = Body {
        response: false,
        reason: Some(error.message.clone()),
        ..TRUE
    };
    error.with_headers((status_of(&error), Json(body)).into_response())
}

fn respond(answered: Answered) -> Response {
    match answered {
        Ok(body) => body.into_response(),
        Err(error) if is_no(error.reason) => Json(Body {
            response: false,
            reason: Some(error.message),
            ..TRUE
        })
        .into_response(),
        Err(error) => refuse(error),
    }
}

/// Whether a refusal is the answer `false`.
fn is_no(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::LockHeld | Reason::WaitTimedOut | Reason::NotHolder | Reason::LockNotFound
    )
}

fn lock_of(asked: &Asked) -> Result<LockName, HttpError> {
    Ok(LockName::new(asked.named.as_deref().unwrap_or_default())?)
}

async fn acquire(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_acquire(&dialects, asked).await)
}

async fn try_acquire(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let lock = lock_of(&asked)?;
    let hold = match asked.params.ttl("ttl")? {
        Some(Ttl::None) => Hold::Forever,
        Some(Ttl::Span(ttl)) => Hold::Ttl(ttl),
        None => Hold::Ttl(dialects.options.lockable_ttl),
    };
    let command = Command::Acquire(Acquire {
        open: true,
        ..asked.acquire_input(lock.as_str())?.check(hold)?
    });
    match dialects.ask(&asked.caller, command).await? {
        Answer::Granted(granted) => Ok(Json(Body {
            fencing_token: Some(granted.holder.fencing_token.to_string()),
            expires_in: granted.holder.expires_in.map(seconds),
            ..TRUE
        })),
        _ => Err(unexpected_answer()),
    }
}

async fn heartbeat(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_heartbeat(&dialects, asked).await)
}

async fn try_heartbeat(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let ttl = match asked.params.span("ttl")? {
        Some(ttl) => Some(check_ttl(ttl)?),
        None => None,
    };
    let command = Command::Renew {
        lock: lock_of(&asked)?,
        proof: Proof::Open,
        ttl,
    };
    match dialects.ask(&asked.caller, command).await? {
        Answer::Renewed { expires_in } => Ok(Json(Body {
            expires_in: expires_in.map(seconds),
            ..TRUE
        })),
        _ => Err(unexpected_answer()),
    }
}

async fn release(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_release(&dialects, asked).await)
}

async fn try_release(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let command = Command::Release {
        session: None,
        lock: lock_of(&asked)?,
        proof: Proof::Open,
        request_id: None,
    };
    match dialects.ask(&asked.caller, command).await? {
        Answer::Released => Ok(Json(TRUE)),
        _ => Err(unexpected_answer()),
    }
}
