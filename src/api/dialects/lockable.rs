//! The lockable dialect: `/v1/acquire/<name>`, `/v1/heartbeat/<name>`, `/v1/release/<name>`.
//!
//! Its grants are open: whoever knows the name may keep and release them. `false` is an answer, not
//! an error: its client takes every 4xx for an exception.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::{Asked, Dialects, status_of};
use crate::api::Reason;
use crate::api::http::fields::Ttl;
use crate::api::http::paths::lockable as paths;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::core::{Acquire, Answer, Command, Hold, LockName, Proof, check_ttl};

#[derive(Serialize)]
struct Body {
    response: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
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

pub(super) fn routes() -> Router<Dialects> {
    let mut routes = Router::new();
    for (path, methods) in [
        (paths::ACQUIRE, get(acquire).post(acquire)),
        (paths::HEARTBEAT, get(heartbeat).post(heartbeat)),
        (paths::RELEASE, get(release).post(release)),
    ] {
        for form in ["/", "/{name}", "/{name}/"] {
            routes = routes.route(&format!("{path}{form}"), methods.clone());
        }
    }
    routes
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
