//! The one place where the surfaces come together.

use axum::Router;
use axum::response::Response;
use http::{HeaderMap, Uri, header};

use super::config::Config;
use super::refusal::refuse;
use crate::api::{Api, ApiError, Reason};

/// Every surface under one router.
pub(super) fn assemble(_api: &Api, _config: &Config) -> Router {
    Router::new().fallback(no_such_path)
}

async fn no_such_path(uri: Uri, headers: HeaderMap) -> Response {
    let error = ApiError::new(Reason::NoSuchPath, "nothing is served under this path");
    refuse(&error, uri.path(), headers.get(header::CONTENT_TYPE))
}
