//! Leases: create, list, read, renew, revoke.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Get, Post};

use super::locks::RenewResponse;
use super::page::{NumberPageRequest, PageRequest, page_of};
use super::{Replied, ask};
use crate::api::http::extract::{Caller, Fields, LeasePath};
use crate::api::http::fields::{Metadata, Span};
use crate::api::http::paths::rest as paths;
use crate::api::http::view::{LeaseJson, seconds};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    LeaseIdText, Operation, OwnerText, PageTokenText, RequestIdText, Routes,
};
use crate::api::page::after_lease_token;
use crate::api::{Api, Reason, fresh_lease_id, request_id};
use crate::core::{About, Answer, Command, check_ttl};

/// The group of these operations.
const TAG: &str = "leases";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::LEASES,
            list,
            Operation::new(
                TAG,
                "listLeases",
                "Lists leases",
                "In no telling order. For the role `admin`.",
            )
            .query::<NumberPageRequest>()
            .answers::<ListResponse>("A page of leases."),
        )
        .on(
            Post,
            paths::LEASES,
            create,
            Operation::new(
                TAG,
                "createLease",
                "Makes a shared lease",
                "Grants that hang on it live as long as it does.",
            )
            .body::<CreateRequest>()
            .answers::<LeaseJson>("The lease. Its id is a secret.")
            .grows(),
        )
        .on(
            Get,
            paths::LEASE,
            get,
            of_lease(
                "getLease",
                "Reads a lease",
                "How much of it is left, and what hangs on it.",
            )
            .answers::<LeaseJson>("The lease as it stands."),
        )
        .on(
            Post,
            paths::LEASE_RENEW,
            renew,
            of_lease("renewLease", "Prolongs a lease", "Starts its TTL anew.")
                .body::<RenewRequest>()
                .answers::<RenewResponse>("It was prolonged.")
                .refuses(&[Reason::StorageFull]),
        )
        .on(
            Post,
            paths::LEASE_REVOKE,
            revoke,
            of_lease(
                "revokeLease",
                "Ends a lease",
                "And with it all that hangs on it.",
            )
            .body::<RevokeRequest>()
            .answers::<RevokeResponse>("It was ended."),
        )
}

fn of_lease(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description)
        .in_path::<LeaseIdText>("id")
        .refuses(&[Reason::LeaseNotFound])
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateLeaseRequest)]
pub(super) struct CreateRequest {
    /// 100ms to 30d, 60s unless the operator set another.
    ttl: Option<Span>,
    /// Who asks.
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
    /// What the caller says of itself: at most 4,096 bytes.
    metadata: Option<Metadata>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

async fn create(
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

#[derive(Serialize, ToSchema)]
#[schema(as = ListLeasesResponse)]
pub(super) struct ListResponse {
    leases: Vec<LeaseJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Absent on the last page.
    #[schema(value_type = PageTokenText)]
    next_page_token: Option<String>,
}

async fn list(
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

async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    LeasePath(id): LeasePath,
) -> Replied<LeaseJson> {
    match ask(&api, &caller.namespace, Command::GetLease { id }).await? {
        Answer::Lease(view) => Ok(Json(LeaseJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RenewLeaseRequest)]
pub(super) struct RenewRequest {}

async fn renew(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RevokeLeaseRequest)]
pub(super) struct RevokeRequest {
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RevokeLeaseResponse)]
pub(super) struct RevokeResponse {
    revoked: bool,
    /// How many grants ended with it.
    released: usize,
}

async fn revoke(
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
