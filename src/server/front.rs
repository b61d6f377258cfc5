//! What every request passes before a surface sees it: health, origin, identity, bounds of its body;
//! and the net below, which turns a panic into an answer.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::Service as _;

use super::body::TimedBody;
use super::health::{self, Lifecycle};
use super::limits::{BODY_BYTES_MAX, Timers};
use super::origin::Origins;
use super::refusal::{Speaks, refuse};
use super::tokens::TokenTable;
use super::{auth, config::Config};
use crate::api::{Api, ApiError, Reason};

/// The way in, shared by all connections.
pub(super) struct Front {
    pub(super) lifecycle: Lifecycle,
    pub(super) tokens: Arc<TokenTable>,
    pub(super) origins: Origins,
    timers: Timers,
    loaded: OnceLock<Loaded>,
}

/// What there is once state is loaded.
struct Loaded {
    api: Api,
    router: Router,
}

/// What has to be known of a request to refuse it after it was handed over.
struct Asked {
    uri: Uri,
    content_type: Option<HeaderValue>,
}

impl Front {
    pub(super) fn new(config: &Config, tokens: Arc<TokenTable>, origins: Origins) -> Front {
        Front {
            lifecycle: Lifecycle::new(),
            tokens,
            origins,
            timers: config.timers,
            loaded: OnceLock::new(),
        }
    }

    /// From now on calls are served.
    pub(super) fn open(&self, api: Api, router: Router) {
        // It is opened once, by the one who loads.
        let _ = self.loaded.set(Loaded { api, router });
        self.lifecycle.advance(health::Phase::Serving);
    }

    /// Answers a request.
    pub(super) async fn answer(
        self: Arc<Front>,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Ok(self.admit(request).await);
        }
        let (method, uri, started) = (
            request.method().clone(),
            request.uri().clone(),
            Instant::now(),
        );
        let response = self.admit(request).await;
        tracing::debug!(
            %method,
            path = loggable(uri.path()),
            status = response.status().as_u16(),
            took = ?started.elapsed(),
            "answered"
        );
        Ok(response)
    }

    async fn admit(self: Arc<Front>, mut request: Request<Incoming>) -> Response {
        let path = request.uri().path();
        let loaded = self.loaded.get();
        if health::PATHS.contains(&path) {
            return health::answer(&request, self.lifecycle.phase(), loaded.map(|l| &l.api));
        }
        if !self.origins.allow(&request) {
            let error = ApiError::new(
                Reason::PermissionDenied,
                "scripts of this page's origin may not call; the operator can allow it with --allow-origin",
            );
            return refuse(&error, path, content_type(&request));
        }
        if !auth::is_open(path) {
            match auth::identify(&self.tokens, request.headers()) {
                Ok(identity) => request.extensions_mut().insert(identity),
                Err(error) => return refuse(&error, request.uri().path(), content_type(&request)),
            };
        }
        let Some(loaded) = loaded else {
            let error = ApiError::new(
                Reason::Unavailable,
                "the server is loading its state; ask again in a moment",
            );
            return refuse(&error, request.uri().path(), content_type(&request));
        };
        let asked = Asked {
            uri: request.uri().clone(),
            content_type: content_type(&request).cloned(),
        };
        let streams = Speaks::of(asked.content_type.as_ref()).is_stream();
        let request = request.map(|body| match streams {
            true => Body::new(body),
            false => {
                let timed = TimedBody::new(body, self.timers.body);
                Body::new(Limited::new(timed, BODY_BYTES_MAX))
            }
        });
        let mut router = loaded.router.clone();
        // The state that a panic may leave behind is the request's own, and is dropped.
        match AssertUnwindSafe(router.call(request)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_panic) => {
                // What it was is logged where it happened.
                let error = ApiError::new(
                    Reason::Internal,
                    "the server has a defect that this call ran into; please report it",
                );
                refuse(&error, asked.uri.path(), asked.content_type.as_ref())
            }
        }
    }
}

fn content_type<B>(request: &Request<B>) -> Option<&HeaderValue> {
    request.headers().get(header::CONTENT_TYPE)
}

/// A path as it may be logged. The id of a lease proves the right to it, so it is left out.
fn loggable(path: &str) -> &str {
    const LEASES: &str = "/api/v1/leases/";
    match path.starts_with(LEASES) {
        true => LEASES,
        false => path,
    }
}
