//! The webmutex dialect: `/reserve`, `/grab`, `/release`, `/status`, `/subscribe_and_grab`.
//!
//! A mutex must have been reserved, or be held, to be known. Its token is the grant token, so a
//! token of an earlier grab releases nothing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Get, Post};

use super::{Asked, Dialects, status_of};
use crate::api::http::fields::{Span, Ttl};
use crate::api::http::paths::webmutex as paths;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    CallbackUrlText, DecimalText, GrantTokenText, MutexId, OkOrFail, Operation, OwnerText, Routes,
    SecondsNumber, SecretText, WebhookIdText,
};
use crate::api::webhook::CallbackInput;
use crate::api::{AcquireInput, ApiError, Reason, fresh_lock_name};
use crate::core::limits::{CALLBACK_WAIT_MAX, DESTROY_AFTER_DEFAULT};
use crate::core::{Acquire, Answer, CallbackShape, Command, Hold, LockName, WebhookAnswer};

/// What every call answers.
#[derive(Serialize, ToSchema)]
#[schema(as = WebmutexAnswer)]
pub struct Body {
    #[schema(value_type = OkOrFail)]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_use: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DecimalText)]
    fencing_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    expires_in: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = WebhookIdText)]
    webhook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

const OK: Body = Body {
    status: "ok",
    id: None,
    token: None,
    in_use: None,
    fencing_token: None,
    expires_in: None,
    webhook: None,
    reason: None,
};

type Answered = Result<Json<Body>, HttpError>;

/// The group of these operations.
const TAG: &str = "dialect webmutex";

pub(super) fn routes() -> Routes<Dialects> {
    let new = |id: &str, summary, description| {
        Operation::new(TAG, id, summary, description)
            .in_path::<MutexId>("id")
            .answers::<Body>("It was done.")
    };
    let status_of = |id: &str| {
        new(id, "Tells whether a mutex is taken", "By its id.").answers_with::<Body>(
            StatusCode::NOT_FOUND,
            "application/json",
            "No mutex has this id.",
        )
    };
    Routes::with_slashes()
        .on(
            Post,
            paths::RESERVE,
            reserve,
            new("webmutexReserve", "Makes a mutex", "It exists from now on.")
                .refuses(READS)
                .grows(),
        )
        .on_both(
            Post,
            paths::GRAB,
            grab,
            new(
                "webmutexGrab",
                "Takes a mutex",
                "A mutex that is taken or unknown is answered with 400. `wait` stands in line.",
            )
            .body::<GrabFields>()
            .grows()
            .refuses(&[
                Reason::LockHeld,
                Reason::WaitTimedOut,
                Reason::LockNotFound,
                Reason::Cancelled,
            ]),
        )
        .on_both(
            Post,
            paths::RELEASE,
            release,
            new(
                "webmutexRelease",
                "Gives a mutex back",
                "A stale token releases nothing.",
            )
            .body::<ReleaseFields>()
            .refuses(&[Reason::NotHolder, Reason::LockNotFound]),
        )
        .on_both(
            Get,
            paths::STATUS,
            status,
            status_of("webmutexStatus").query::<StatusFields>(),
        )
        .on_both(
            Post,
            paths::STATUS,
            status,
            status_of("webmutexPostStatus").body::<StatusFields>(),
        )
        .on_both(
            Post,
            paths::SUBSCRIBE,
            subscribe_and_grab,
            new(
                "webmutexSubscribeAndGrab",
                "Stands in line for a webhook",
                "When the turn comes, the mutex is taken, and its id and token are posted to \
                 `endpoint`.",
            )
            .body::<SubscribeFields>()
            .grows()
            .refuses(&[Reason::LockNotFound]),
        )
}

/// What even a call without fields may come to: its body is read.
const READS: &[Reason] = &[Reason::BodyTooLarge, Reason::UnsupportedMediaType];

#[derive(ToSchema)]
#[schema(as = WebmutexGrab)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct GrabFields {
    /// Wanted here or in the path.
    #[schema(value_type = MutexId)]
    id: Option<String>,
    /// 100ms to 30d; unless given, and unless the operator set another: no expiry.
    ttl: Option<Ttl>,
    /// How long to stand in line, at most 24h; unless given: not at all.
    wait: Option<Span>,
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = WebmutexSubscribe)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct SubscribeFields {
    /// Wanted here or in the path.
    #[schema(value_type = MutexId)]
    id: Option<String>,
    #[schema(value_type = CallbackUrlText)]
    endpoint: String,
    #[schema(value_type = SecretText)]
    secret: Option<String>,
    /// How long the receiver has to take its turn: 1s to 1h, unless given 1m.
    accept_timeout: Option<Span>,
    /// 100ms to 30d; unless given, and unless the operator set another: no expiry.
    ttl: Option<Ttl>,
    /// How long to stand in line: at most 30d, unless given 30d.
    wait: Option<Span>,
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = WebmutexRelease)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct ReleaseFields {
    /// Wanted here or in the path.
    #[schema(value_type = MutexId)]
    id: Option<String>,
    /// What grab answered.
    #[schema(value_type = GrantTokenText)]
    token: String,
}

#[derive(ToSchema)]
#[schema(as = WebmutexStatus)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct StatusFields {
    /// Wanted here or in the path.
    #[schema(value_type = MutexId)]
    id: Option<String>,
}

/// `{"status":"fail"}`, with the reason.
pub fn refuse(error: HttpError) -> Response {
    let status = match error.reason {
        // The original has one status for every grab and release that does nothing.
        Reason::LockHeld | Reason::WaitTimedOut | Reason::NotHolder | Reason::LockNotFound => {
            StatusCode::BAD_REQUEST
        }
        _ => status_of(&error),
    };
    fail(status, error)
}

fn fail(status: StatusCode, error: HttpError) -> Response {
    let body = Body {
        status: "fail",
        reason: Some(error.message.clone()),
        ..OK
    };
    error.with_headers((status, Json(body)).into_response())
}

fn respond(answered: Answered) -> Response {
    answered.map_or_else(refuse, Json::into_response)
}

/// The id that the path or the parameters name.
fn id_of(asked: &Asked) -> Result<String, HttpError> {
    match (asked.named.clone(), asked.params.text("id")?) {
        (Some(named), Some(id)) if named != id => Err(HttpError::invalid(
            "id",
            "stands in the path and in the parameters, and differs",
        )),
        (Some(id), _) | (None, Some(id)) if !id.is_empty() => Ok(id),
        _ => Err(HttpError::invalid("id", "is missing")),
    }
}

/// The mutex that the request names. What can't be a lock's name is as unknown as any other.
fn mutex_of(asked: &Asked) -> Result<LockName, HttpError> {
    LockName::new(&id_of(asked)?)
        .map_err(|_| ApiError::new(Reason::LockNotFound, "no mutex has this id").into())
}

async fn reserve(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_reserve(&dialects, asked).await)
}

async fn try_reserve(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let command = Command::Reserve {
        lock: fresh_lock_name()?,
        destroy_after: DESTROY_AFTER_DEFAULT,
        request_id: None,
    };
    match dialects.ask(&asked.caller, command).await? {
        Answer::Reserved(lock) => Ok(Json(Body {
            id: Some(lock.to_string()),
            ..OK
        })),
        _ => Err(unexpected_answer()),
    }
}

/// What keeps the grant alive that the request asks for.
fn hold_of(dialects: &Dialects, asked: &Asked) -> Result<Hold, HttpError> {
    Ok(match asked.params.ttl("ttl")? {
        Some(Ttl::None) => Hold::Forever,
        Some(Ttl::Span(ttl)) => Hold::Ttl(ttl),
        None => dialects
            .options
            .webmutex_ttl
            .map_or(Hold::Forever, Hold::Ttl),
    })
}

async fn grab(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_grab(&dialects, asked).await)
}

async fn try_grab(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let mutex = mutex_of(&asked)?;
    let hold = hold_of(dialects, &asked)?;
    let command = Command::Acquire(Acquire {
        must_exist: true,
        ..asked.acquire_input(mutex.as_str())?.check(hold)?
    });
    match dialects.ask(&asked.caller, command).await? {
        Answer::Granted(granted) => Ok(Json(Body {
            id: Some(granted.lock.to_string()),
            token: Some(dialects.api.grant_tokens().mint(
                &asked.caller.namespace,
                &granted.lock,
                granted.holder.fencing_token,
            )),
            fencing_token: Some(granted.holder.fencing_token.to_string()),
            expires_in: granted.holder.expires_in.map(seconds),
            ..OK
        })),
        _ => Err(unexpected_answer()),
    }
}

async fn release(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_release(&dialects, asked).await)
}

async fn try_release(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let lock = mutex_of(&asked)?;
    let token = asked
        .params
        .text("token")?
        .ok_or_else(|| HttpError::invalid("token", "is missing"))?;
    let command = Command::Release {
        session: None,
        proof: dialects.api.proof(&asked.caller.namespace, &lock, &token)?,
        lock,
        request_id: None,
    };
    match dialects.ask(&asked.caller, command).await? {
        Answer::Released => Ok(Json(OK)),
        _ => Err(unexpected_answer()),
    }
}

async fn status(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    match try_status(&dialects, asked).await {
        Ok(body) => body.into_response(),
        Err(error) if error.reason == Reason::LockNotFound => fail(StatusCode::NOT_FOUND, error),
        Err(error) => refuse(error),
    }
}

async fn try_status(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let lock = mutex_of(&asked)?;
    match dialects
        .ask(&asked.caller, Command::GetLock { lock })
        .await?
    {
        Answer::Lock(view) if view.exists() => Ok(Json(Body {
            in_use: Some(view.is_in_use()),
            ..OK
        })),
        Answer::Lock(_) => Err(ApiError::new(Reason::LockNotFound, "no mutex has this id").into()),
        _ => Err(unexpected_answer()),
    }
}

async fn subscribe_and_grab(
    State(dialects): State<Dialects>,
    asked: Result<Asked, HttpError>,
) -> Response {
    respond(try_subscribe_and_grab(&dialects, asked).await)
}

async fn try_subscribe_and_grab(dialects: &Dialects, asked: Result<Asked, HttpError>) -> Answered {
    let asked = asked?;
    let mutex = mutex_of(&asked)?;
    let hold = hold_of(dialects, &asked)?;
    let callback = CallbackInput {
        url: asked
            .params
            .text("endpoint")?
            .ok_or_else(|| HttpError::invalid("endpoint", "is missing"))?,
        secret: asked.params.text("secret")?.unwrap_or_default(),
        accept_timeout: asked.params.span("accept_timeout")?,
        shape: CallbackShape::Webmutex,
    };
    let input = AcquireInput {
        wait: asked.params.span("wait")?.unwrap_or(CALLBACK_WAIT_MAX),
        ..asked.acquire_input(mutex.as_str())?
    };
    let acquire = input
        .check_with_callback(&dialects.api, hold, callback)
        .await
        .map_err(callback_error)?;
    let command = Command::Acquire(Acquire {
        must_exist: true,
        ..acquire
    });
    match dialects.ask(&asked.caller, command).await? {
        Answer::Webhook(WebhookAnswer::Subscribed(webhook)) => Ok(Json(Body {
            id: Some(mutex.to_string()),
            webhook: Some(webhook.to_string()),
            ..OK
        })),
        _ => Err(unexpected_answer()),
    }
}

/// What is a field of `callback` elsewhere is a parameter of its own here.
fn callback_error(error: impl Into<HttpError>) -> HttpError {
    error
        .into()
        .rename_field("callback.url", "endpoint")
        .rename_field("callback.secret", "secret")
        .rename_field("callback.accept_timeout", "accept_timeout")
}
