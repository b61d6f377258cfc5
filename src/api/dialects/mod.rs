//! The APIs of other lock services, over the same locks and FIFOs: scripts written for them need
//! only a new host.
//!
//! Each dialect is one file: it reads parameters, asks the shard, and answers in its own words. What
//! one of them has no words for is added to its JSON, never put in place of it.

pub mod getlock;
pub mod lockable;
pub mod sync;
pub mod webmutex;

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::middleware::map_response;
use axum::response::Response;

use super::http::extract::{Caller, captured};
use super::http::params::Params;
use super::http::{HttpError, method_not_allowed, no_store};
use super::openapi::{Described, Routes};
use super::{AcquireInput, Api, Identity, Reason};
use crate::core::limits::{TTL_DEFAULT, TTL_MAX};
use crate::core::{Answer, Command};

/// Which dialects are spoken, and the times that they leave to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectOptions {
    /// Whether webmutex is spoken.
    pub webmutex: bool,
    /// Whether getlock is spoken.
    pub getlock: bool,
    /// Whether sync is spoken.
    pub sync: bool,
    /// Whether lockable is spoken.
    pub lockable: bool,
    /// The TTL of a webmutex grab that names none; `None`: it has no expiry.
    pub webmutex_ttl: Option<Duration>,
    /// The TTL of a lockable lock that names none.
    pub lockable_ttl: Duration,
    /// The longest TTL that getlock takes.
    pub getlock_ttl_max: Duration,
}

impl Default for DialectOptions {
    fn default() -> DialectOptions {
        DialectOptions {
            webmutex: true,
            getlock: true,
            sync: true,
            lockable: true,
            webmutex_ttl: None,
            lockable_ttl: TTL_DEFAULT,
            getlock_ttl_max: TTL_MAX,
        }
    }
}

/// The routes of the dialects that are switched on. Each wants an
/// [`Identity`] in the request's extensions. What no route has is left to the caller's fallback,
/// [`no_such_path`](super::http::no_such_path).
pub fn routes(api: Api, options: DialectOptions) -> Router {
    spoken(&options)
        .into_router()
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(async |response: Response| no_store(response)))
        .with_state(Dialects { api, options })
}

/// What the dialects that are switched on serve.
pub fn described(options: &DialectOptions) -> Described {
    spoken(options).into_described()
}

fn spoken(options: &DialectOptions) -> Routes<Dialects> {
    let mut routes = Routes::new();
    if options.webmutex {
        routes = routes.merge(webmutex::routes());
    }
    if options.getlock {
        routes = routes.merge(getlock::routes());
    }
    if options.sync {
        routes = routes.merge(sync::routes());
    }
    if options.lockable {
        routes = routes.merge(lockable::routes());
    }
    routes
}

/// What every dialect works with.
#[derive(Clone)]
struct Dialects {
    api: Api,
    options: DialectOptions,
}

impl Dialects {
    /// Asks the shard. Dropping the future takes the caller out of any line.
    async fn ask(&self, caller: &Identity, command: Command) -> Result<Answer, HttpError> {
        let namespace = &caller.namespace;
        Ok(self
            .api
            .shard(namespace)
            .call(namespace, command)
            .outcome()
            .await?)
    }
}

/// A request in any dialect.
struct Asked {
    caller: Identity,
    /// What the path names.
    named: Option<String>,
    params: Params,
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        use axum::extract::FromRequestParts as _;

        let (mut parts, body) = request.into_parts();
        let Caller(caller) = Caller::from_request_parts(&mut parts, state).await?;
        let named = captured(&mut parts, state, "id").await?;
        let params = Params::read(Request::from_parts(parts, body)).await?;
        Ok(Asked {
            caller,
            named,
            params,
        })
    }
}

impl Asked {
    /// What the optional parameters that every dialect takes say of an acquire.
    fn acquire_input(&self, lock: &str) -> Result<AcquireInput, HttpError> {
        Ok(AcquireInput {
            lock: lock.to_owned(),
            wait: self.params.span("wait")?.unwrap_or_default(),
            owner: self.params.text("owner")?.unwrap_or_default(),
            ..AcquireInput::default()
        })
    }
}

/// The status of what went wrong, for callers that know few: whatever may pass by itself is 503.
fn status_of(error: &HttpError) -> StatusCode {
    match error.reason {
        _ if error.is_overload() => StatusCode::SERVICE_UNAVAILABLE,
        Reason::RequestIdReused | Reason::UnsupportedMediaType => StatusCode::BAD_REQUEST,
        reason => reason.http_status(),
    }
}
