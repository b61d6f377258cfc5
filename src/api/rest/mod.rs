//! The native REST API under `/api/v1`: every unary method as JSON, waits as long poll or as
//! Server-Sent Events.
//!
//! Handlers convert, call and convert back; no rule of the service stands here.

mod acquire;
mod events;
mod leases;
mod locks;
mod page;
mod values;

use axum::middleware::map_response;
use axum::response::Response;
use axum::{Json, Router};

use super::Api;
use super::http::{HttpError, method_not_allowed, no_store};
use super::openapi::Routes;
use crate::core::{Answer, Command, Namespace};

/// The routes of the native REST API. Each wants an [`Identity`](super::Identity) in the request's
/// extensions. What no route has is left to the caller's fallback,
/// [`no_such_path`](super::http::no_such_path).
pub fn routes(api: Api) -> Router {
    described()
        .into_router()
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(async |response: Response| no_store(response)))
        .with_state(api)
}

/// Every route with its description.
pub fn described() -> Routes<Api> {
    Routes::new()
        .merge(locks::routes())
        .merge(acquire::routes())
        .merge(events::routes())
        .merge(leases::routes())
        .merge(values::routes())
}

/// What a handler answers as JSON.
type Replied<T> = Result<Json<T>, HttpError>;

/// Asks the shard and waits for its answer. Dropping the future takes the caller out of any line.
async fn ask(api: &Api, namespace: &Namespace, command: Command) -> Result<Answer, HttpError> {
    let call = api.shard(namespace).call(namespace, command);
    Ok(call.outcome().await?)
}

/// A field that can't be left out.
fn required<T>(field: &'static str, value: Option<T>) -> Result<T, HttpError> {
    value.ok_or_else(|| HttpError::invalid(field, "is missing"))
}
