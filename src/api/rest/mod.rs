//! The native REST API under `/api/v1`: every unary method as JSON, waits as long poll or as
//! Server-Sent Events.
//!
//! Handlers convert, call and convert back; no rule of the service stands here.

mod acquire;
mod events;
mod fifos;
mod items;
mod leases;
mod locks;
mod page;
mod queues;
mod tickets;
mod values;
mod webhooks;
mod why;

use std::time::Duration;

use axum::middleware::map_response;
use axum::response::Response;
use axum::{Json, Router};

use super::Api;
use super::http::fields::{Base64, Ttl};
use super::http::{HttpError, method_not_allowed, no_store};
use super::openapi::Routes;
use crate::core::{Answer, Command, Namespace, ValueBytes, check_ttl};

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
        .merge(why::routes())
        .merge(leases::routes())
        .merge(values::routes())
        .merge(fifos::routes())
        .merge(tickets::routes())
        .merge(queues::routes())
        .merge(items::routes())
        .merge(webhooks::routes())
}

/// What a handler answers as JSON.
type Replied<T> = Result<Json<T>, HttpError>;

/// Asks the shard and waits for its answer. Dropping the future takes the caller out of any line.
async fn ask(api: &Api, namespace: &Namespace, command: Command) -> Result<Answer, HttpError> {
    let call = api.shard(namespace).call(namespace, command);
    Ok(call.outcome().await?)
}

/// The bytes to keep, which a request gives as text or as base64.
fn value_bytes(value: Option<String>, base64: Option<Base64>) -> Result<ValueBytes, HttpError> {
    match (value, base64) {
        (Some(_), Some(_)) => {
            let expected = "leave it out, or else `value_base64`";
            Err(HttpError::invalid("value", expected))
        }
        (None, Some(Base64(bytes))) => Ok(ValueBytes::new(bytes)
            .map_err(|error| HttpError::from(error).rename_field("value", "value_base64"))?),
        (value, None) => Ok(ValueBytes::new(required("value", value)?)?),
    }
}

/// The TTL of what is kept; `None`: it stays.
fn kept_for(ttl: Option<Ttl>) -> Result<Option<Duration>, HttpError> {
    match ttl {
        None | Some(Ttl::None) => Ok(None),
        Some(Ttl::Span(ttl)) => Ok(Some(check_ttl(ttl)?)),
    }
}

/// A field that can't be left out.
fn required<T>(field: &'static str, value: Option<T>) -> Result<T, HttpError> {
    value.ok_or_else(|| HttpError::invalid(field, "is missing"))
}
