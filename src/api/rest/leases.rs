//! Leases: create, list, read, renew, revoke.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::locks::RenewResponse;
use super::page::{PageRequest, page_of};
use super::{Replied, ask};
use crate::api::http::extract::{Caller, Fields, LeasePath};
use crate::api::http::fields::{Metadata, Span};
use crate::api::http::view::{LeaseJson, seconds};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::page::after_lease_token;
use crate::api::{Api, fresh_lease_id, request_id};
use crate::core::{About, Answer, Command, check_ttl};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRequest {
    ttl: Option<Span>,
    owner: Option<String>,
    metadata: Option<Metadata>,
    request_id: Option<String>,
}

pub(super) async fn create(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(request): Fields<CreateRequest>,
) -> Replied<LeaseJson> {
    let ttl = request.ttl.map_or(api.ttl_default(), |span| span.0);
    let command = Command::CreateLease {
        id: fresh_lease_id(),
        ttl: check_ttl(ttl)?,
        about: About::new(
            &request.owner.unwrap_or_default(),
            request.metadata.unwrap_or_default().0,
        )?,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Lease(view) => Ok(Json(LeaseJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
pub(super) struct ListResponse {
    leases: Vec<LeaseJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(page): Fields<PageRequest>,
) -> Replied<ListResponse> {
    caller.require_admin()?;
    if page.prefix.is_some() {
        return Err(HttpError::invalid("prefix", "is for locks only"));
    }
    let command = Command::ListLeases {
        after: page.after_lease()?,
        limit: page.limit()?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Leases { leases, more } => {
            let (leases, next_page_token) =
                page_of(&leases, more, |lease| after_lease_token(lease.id));
            Ok(Json(ListResponse {
                leases,
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}

pub(super) async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    LeasePath(id): LeasePath,
) -> Replied<LeaseJson> {
    match ask(&api, &caller.namespace, Command::GetLease { id }).await? {
        Answer::Lease(view) => Ok(Json(LeaseJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewRequest {}

pub(super) async fn renew(
    State(api): State<Api>,
    Caller(caller): Caller,
    LeasePath(id): LeasePath,
    Fields(RenewRequest {}): Fields<RenewRequest>,
) -> Replied<RenewResponse> {
    match ask(&api, &caller.namespace, Command::RenewLease { id }).await? {
        Answer::Renewed { expires_in } => Ok(Json(RenewResponse {
            renewed: true,
            expires_in: expires_in.map(seconds),
        })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeRequest {
    request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct RevokeResponse {
    revoked: bool,
    released: usize,
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Caller(caller): Caller,
    LeasePath(id): LeasePath,
    Fields(request): Fields<RevokeRequest>,
) -> Replied<RevokeResponse> {
    let command = Command::RevokeLease {
        id,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Revoked(released) => Ok(Json(RevokeResponse {
            revoked: true,
            released,
        })),
        _ => Err(unexpected_answer()),
    }
}
