//! Answers that the server gives before any surface is asked, in the shape of the surface that the
//! caller speaks.

use std::collections::HashMap;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use serde_json::json;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::api::{ApiError, Reason};

/// What a request speaks, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// gRPC, where a body may be a stream.
    Grpc,
    /// gRPC from a browser.
    GrpcWeb,
    /// Everything else.
    Http,
}

impl Speaks {
    pub(super) fn of(content_type: Option<&HeaderValue>) -> Speaks {
        let kind = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        if kind.starts_with(b"application/grpc-web") {
            Speaks::GrpcWeb
        } else if kind.starts_with(b"application/grpc") {
            Speaks::Grpc
        } else {
            Speaks::Http
        }
    }

    /// Whether a request's body may last as long as the connection.
    pub(super) fn is_stream(self) -> bool {
        self == Speaks::Grpc
    }
}

/// Says `error` to whoever sent a request with this path and content type.
pub(super) fn refuse(error: &ApiError, path: &str, content_type: Option<&HeaderValue>) -> Response {
    match (Speaks::of(content_type), content_type) {
        (Speaks::Http, _) => http(error, path),
        // A browser must be answered in the type that it asked in.
        (Speaks::GrpcWeb, Some(kind)) => {
            let mut response = grpc(error);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, kind.clone());
            response
        }
        _ => grpc(error),
    }
}

fn grpc(error: &ApiError) -> Response {
    let mut details = ErrorDetails::with_error_info(
        error.reason.as_str(),
        "holdfast",
        HashMap::<String, String>::new(),
    );
    if let Some(after) = error.reason.retry_after() {
        details.set_retry_info(Some(after));
    }
    let status =
        Status::with_error_details(error.reason.grpc_code(), error.message.clone(), details);
    status.into_http()
}

fn http(error: &ApiError, path: &str) -> Response {
    let status = error.reason.http_status();
    let body = Json(json!({ "error": {
        "code": status.as_u16(),
        "reason": error.reason.as_str(),
        "message": error.message,
    }}));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if error.reason == Reason::Unauthenticated {
        let scheme = match path.starts_with("/api/") {
            true => "Bearer realm=\"holdfast\"",
            false => "Basic realm=\"holdfast\"",
        };
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    if let Some(after) = error.reason.retry_after() {
        let seconds = after.as_secs_f64().ceil() as u64;
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}
