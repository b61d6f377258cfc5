//! The native REST API under `/api/v1`: every unary method as JSON, waits as long poll or as
//! Server-Sent Events.
//!
//! Handlers convert, call and convert back; no rule of the service stands here.

mod acquire;
mod events;
mod fifos;
mod leases;
mod locks;
mod page;
mod tickets;
mod values;

use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::Api;
use super::http::paths::{fifos as fifo_paths, rest as paths};
use super::http::{HttpError, method_not_allowed, no_store};
use crate::core::{Answer, Command, Namespace};

/// The routes of the native REST API. Each wants an [`Identity`](super::Identity) in the request's
/// extensions. What no route has is left to the caller's fallback,
/// [`no_such_path`](super::http::no_such_path).
pub fn routes(api: Api) -> Router {
    Router::new()
        .route(paths::LOCKS, get(locks::list).post(locks::reserve))
        .route(paths::LOCK, get(locks::get))
        .route(paths::ACQUIRE, post(acquire::acquire))
        .route(paths::RENEW, post(locks::renew))
        .route(paths::RELEASE, post(locks::release))
        .route(paths::CHECK, post(locks::check))
        .route(paths::FORCE_RELEASE, post(locks::force_release))
        .route(paths::WATCH, get(events::watch))
        .route(paths::LEASES, get(leases::list).post(leases::create))
        .route(paths::LEASE, get(leases::get))
        .route(paths::LEASE_RENEW, post(leases::renew))
        .route(paths::LEASE_REVOKE, post(leases::revoke))
        .route(paths::VALUES, get(values::list))
        .route(
            paths::VALUE,
            get(values::get).put(values::put).delete(values::delete),
        )
        .route(paths::VALUE_WATCH, get(values::watch))
        .merge(fifo_routes())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(async |response: Response| no_store(response)))
        .with_state(api)
}

fn fifo_routes() -> Router<Api> {
    Router::new()
        .route(fifo_paths::FIFOS, get(fifos::list).post(fifos::create))
        .route(fifo_paths::FIFO, get(fifos::get).delete(fifos::delete))
        .route(
            fifo_paths::TICKETS,
            get(tickets::list).post(tickets::create),
        )
        .route(
            fifo_paths::TICKET,
            get(tickets::get).delete(tickets::cancel),
        )
        .route(fifo_paths::WAIT, post(tickets::wait))
        .route(fifo_paths::EXTEND, post(tickets::extend))
        .route(fifo_paths::COMPLETE, post(tickets::complete))
        .route(fifo_paths::CANCEL, post(tickets::cancel))
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
