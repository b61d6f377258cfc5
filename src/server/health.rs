//! `/livez`, `/readyz` and `/healthz`: whether to restart the server, and whether to send it calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod;

use crate::api::Api;
use crate::api::openapi::{Described, Operation, PlainText};

/// The paths that are answered here.
pub(super) const PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Describes them.
pub(super) fn described() -> Described {
    let mut described = Described::default();
    for (path, id, summary) in [
        ("/livez", "livez", "Tells whether the server lives"),
        ("/readyz", "readyz", "Tells whether the server takes calls"),
        ("/healthz", "healthz", "The same as /readyz"),
    ] {
        let mut operation = Operation::open(
            "server",
            id,
            summary,
            "With `verbose` in the query string, and each check; with `Accept: application/json` as JSON.",
        );
        for (status, about) in [
            (StatusCode::OK, "It does."),
            (StatusCode::SERVICE_UNAVAILABLE, "It does not."),
        ] {
            operation = operation
                .answers_with::<PlainText>(status, "text/plain; charset=utf-8", about)
                .answers_with::<Health>(status, "application/json", about);
        }
        described.add(HttpMethod::Get, path, operation);
    }
    described
}

/// Health as JSON.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok` or `unavailable`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<CheckJson>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = HealthCheck)]
struct CheckJson {
    name: &'static str,
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Where the server stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// State is being loaded.
    Loading,
    /// Calls are served.
    Serving,
    /// Calls under way are being finished.
    Stopping,
}

/// The server's phase, shared by whoever has to know it.
#[derive(Clone, Debug)]
pub(super) struct Lifecycle(Arc<AtomicU8>);

impl Lifecycle {
    pub(super) fn new() -> Lifecycle {
        Lifecycle(Arc::new(AtomicU8::new(Phase::Loading as u8)))
    }

    pub(super) fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Loading,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    /// Goes on to a later phase; an earlier one is ignored.
    pub(super) fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}

/// One thing that must hold.
struct Check {
    name: &'static str,
    ok: bool,
    /// Why not.
    detail: &'static str,
}

/// The answer to one of [`PATHS`]. `api` is there once state is loaded.
pub(super) fn answer<B>(request: &Request<B>, phase: Phase, api: Option<&Api>) -> Response {
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
        return (StatusCode::METHOD_NOT_ALLOWED, allow).into_response();
    }
    let checks = checks(request.uri().path(), phase, api);
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = request.uri().query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair == "verbose" || pair.starts_with("verbose="))
    });
    let wants_json = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    if wants_json {
        let checks = checks.iter().map(|check| CheckJson {
            name: check.name,
            ok: check.ok,
            detail: (!check.ok).then_some(check.detail),
        });
        let body = Health {
            status: if ok { "ok" } else { "unavailable" },
            checks: verbose.then(|| checks.collect()),
        };
        return (status, no_store, Json(body)).into_response();
    }
    let mut text = String::new();
    if verbose {
        for check in &checks {
            match check.ok {
                true => text.push_str(&format!("[+]{} ok\n", check.name)),
                false => text.push_str(&format!("[-]{} failed: {}\n", check.name, check.detail)),
            }
        }
    }
    text.push_str(if ok { "ok\n" } else { "unavailable\n" });
    (status, no_store, text).into_response()
}

fn checks(path: &str, phase: Phase, api: Option<&Api>) -> Vec<Check> {
    let mut checks = vec![Check {
        name: "process",
        ok: true,
        detail: "",
    }];
    // A server that loads or stops must not be restarted for it.
    if path != "/livez" {
        checks.push(Check {
            name: "loaded",
            ok: phase != Phase::Loading,
            detail: "state is being loaded",
        });
        checks.push(Check {
            name: "accepting",
            ok: phase != Phase::Stopping,
            detail: "the server is stopping",
        });
        checks.push(Check {
            name: "store",
            ok: phase == Phase::Stopping || api.is_some_and(Api::is_serving),
            detail: "the store does not take commits; it is being loaded again",
        });
    }
    checks
}
