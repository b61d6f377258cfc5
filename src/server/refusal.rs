//! Answers that the server gives before any surface is asked, in the shape of the surface that the
//! caller speaks.

use axum::response::Response;
use http::{HeaderValue, header};
use tonic::Status;

use crate::api::ApiError;
use crate::api::http::error_response;

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
}

/// Says `error` to whoever sent a request with this path and content type.
pub(super) fn refuse(error: &ApiError, path: &str, content_type: Option<&HeaderValue>) -> Response {
    match (Speaks::of(content_type), content_type) {
        (Speaks::Http, _) => error_response(path, error.clone()),
        // A browser must be answered in the type that it asked in.
        (Speaks::GrpcWeb, Some(kind)) => {
            let mut response = Status::from(error.clone()).into_http();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, kind.clone());
            response
        }
        _ => Status::from(error.clone()).into_http(),
    }
}
