//! The one place where the surfaces come together.

use axum::Router;
use axum::response::Response;
use http::{HeaderMap, Uri, header};

use super::StartError;
use super::config::{Config, Dialect};
use super::docs;
use super::refusal::{Speaks, refuse};
use crate::api::dialects::DialectOptions;
use crate::api::{Api, ApiError, Reason, dialects, grpc, http as surface, rest};

/// Every surface under one router. `health` is what its gRPC health tells.
pub(super) fn assemble(
    api: &Api,
    services: grpc::Services,
    config: &Config,
    health: &grpc::Health,
) -> Result<Router, StartError> {
    let spoken = |dialect| !config.disabled_dialects.contains(&dialect);
    let options = DialectOptions {
        webmutex: spoken(Dialect::Webmutex),
        getlock: spoken(Dialect::Getlock),
        sync: spoken(Dialect::Sync),
        lockable: spoken(Dialect::Lockable),
        webmutex_ttl: config.webmutex_ttl,
        lockable_ttl: config.lockable_ttl,
        ..DialectOptions::default()
    };
    Ok(grpc::routes(services, health)
        .map_err(|_| StartError::Defect)?
        .merge(rest::routes(api.clone()))
        .merge(docs::routes(&options).map_err(|_| StartError::Defect)?)
        .merge(dialects::routes(api.clone(), options))
        .fallback(no_such_path))
}

async fn no_such_path(uri: Uri, headers: HeaderMap) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE);
    match Speaks::of(content_type) {
        Speaks::Http => surface::no_such_path(uri).await,
        Speaks::Grpc | Speaks::GrpcWeb => {
            let error = ApiError::new(Reason::NoSuchPath, "there is no such service or method");
            refuse(&error, uri.path(), content_type)
        }
    }
}
