//! FIFOs: create, list, read, delete.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Delete, Get, Post};

use super::page::{PageRequest, page_of};
use super::{Replied, ask};
use crate::api::fifo::{FifoInput, TimeoutFields, TimeoutsInput, new_fifo_id};
use crate::api::http::extract::{Caller, Fields, FifoPath};
use crate::api::http::fields::{Count, Flag, Ttl};
use crate::api::http::fifo_view::FifoJson;
use crate::api::http::paths::fifos as paths;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    FifoConcurrency, FifoIdText, Operation, PageTokenText, RequestIdText, Routes,
};
use crate::api::page::after_name_token;
use crate::api::{Api, Identity, Reason, Role, request_id};
use crate::core::limits::FIFO_ID_BYTES_MAX;
use crate::core::{Answer, Command, FifoAnswer, FifoCommand, FifoId};

/// The group of these operations.
const TAG: &str = "fifos";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::FIFOS,
            list,
            Operation::new(
                TAG,
                "listFifos",
                "Lists FIFOs",
                "In the order of their ids, without their lines. For the role `admin`.",
            )
            .query::<PageRequest>()
            .answers::<ListResponse>("A page of FIFOs."),
        )
        .on(
            Post,
            paths::FIFOS,
            create,
            Operation::new(
                TAG,
                "createFifo",
                "Makes a FIFO",
                "Without an `id` the server makes a UUID.",
            )
            .body::<CreateRequest>()
            .answers::<FifoJson>("The FIFO.")
            .grows()
            .refuses(&[Reason::FifoExists]),
        )
        .on(
            Get,
            paths::FIFO,
            get,
            of_fifo(
                "getFifo",
                "Reads a FIFO",
                "With the first 100 of its tickets, in the order of their turns.",
            )
            .answers::<FifoJson>("The FIFO as it stands."),
        )
        .on(
            Delete,
            paths::FIFO,
            delete,
            of_fifo(
                "deleteFifo",
                "Deletes a FIFO",
                "And with it all its tickets; who waits for one is told. For the role `admin`.",
            )
            .query::<EndRequest>()
            .answers::<DeleteResponse>("How many living tickets ended with it."),
        )
}

fn of_fifo(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description)
        .in_path::<FifoIdText>("fifo")
        .refuses(&[Reason::FifoNotFound])
}

/// What the timeouts are called here.
pub(super) const FIELDS: TimeoutFields = TimeoutFields {
    wait: "wait_timeout",
    accept: "accept_timeout",
    done: "done_timeout",
};

/// A timeout as it was given; `none` and 0 stand for no end.
pub(super) fn timeout(given: Option<Ttl>) -> Option<Duration> {
    given.map(|given| match given {
        Ttl::None => Duration::ZERO,
        Ttl::Span(span) => span,
    })
}

/// Asks about FIFOs.
pub(super) async fn ask_fifo(
    api: &Api,
    caller: &Identity,
    command: FifoCommand,
) -> Result<FifoAnswer, HttpError> {
    match ask(api, &caller.namespace, Command::Fifo(command)).await? {
        Answer::Fifo(answer) => Ok(answer),
        _ => Err(unexpected_answer()),
    }
}

/// Whether a caller may see the ids of others' tickets.
pub(super) fn sees_ids(caller: &Identity) -> bool {
    caller.role == Role::Admin
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateFifoRequest)]
pub(super) struct CreateRequest {
    /// Unless given, or empty: a fresh UUID.
    #[schema(value_type = FifoIdText)]
    id: Option<String>,
    /// How long one call waits for a turn: at most 365d, unless given 6h; `none` or 0: no end.
    wait_timeout: Option<Ttl>,
    /// How long a turn waits to be accepted: at most 365d, unless given 1m; `none` or 0: no end.
    accept_timeout: Option<Ttl>,
    /// How long the work may take: at most 365d, unless given 10m; `none` or 0: no end.
    done_timeout: Option<Ttl>,
    /// How long it stays while nobody uses it: at most 365d, unless given 30d; `none` or 0: for ever.
    unused_destroy_timeout: Option<Ttl>,
    /// Whether a ticket may have timeouts of its own; unless given: no.
    allow_overrides: Option<Flag>,
    /// How many tickets may have their turn at once: 1 to 10,000; unless given, or 0: 1.
    #[schema(value_type = FifoConcurrency)]
    concurrency: Option<Count>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

async fn create(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(request): Fields<CreateRequest>,
) -> Replied<FifoJson> {
    let id = new_fifo_id(&request.id.unwrap_or_default());
    let (id, fresh_id) = id.map_err(|error| HttpError::from(error).rename_field("fifo", "id"))?;
    let input = FifoInput {
        timeouts: TimeoutsInput {
            wait: timeout(request.wait_timeout),
            accept: timeout(request.accept_timeout),
            done: timeout(request.done_timeout),
        },
        unused_destroy_timeout: timeout(request.unused_destroy_timeout),
        allow_overrides: request.allow_overrides.is_some_and(|flag| flag.0),
        concurrency: request.concurrency.map_or(0, |count| count.0),
    };
    let command = FifoCommand::Create {
        id,
        fresh_id,
        settings: input.check(&FIELDS)?,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_fifo(&api, &caller, command).await? {
        // A retry may be told of a line that others stand in by now.
        FifoAnswer::Fifo(view) => Ok(Json(FifoJson::with_line(&view, sees_ids(&caller)))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ListFifosResponse)]
pub(super) struct ListResponse {
    fifos: Vec<FifoJson>,
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
    let command = FifoCommand::List {
        limit: page.limit()?,
        after: page.after_name(FifoId::new)?,
        prefix: page.prefix(FIFO_ID_BYTES_MAX)?,
    };
    match ask_fifo(&api, &caller, command).await? {
        FifoAnswer::Fifos { fifos, more } => {
            let (fifos, next_page_token) =
                page_of(&fifos, more, |fifo| after_name_token(fifo.id.as_str()));
            Ok(Json(ListResponse {
                fifos,
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}

async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    FifoPath(id): FifoPath,
) -> Replied<FifoJson> {
    match ask_fifo(&api, &caller, FifoCommand::Get { id }).await? {
        FifoAnswer::Fifo(view) => Ok(Json(FifoJson::with_line(&view, sees_ids(&caller)))),
        _ => Err(unexpected_answer()),
    }
}

/// A request that has nothing to say but what makes its retry safe.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndRequest)]
pub(super) struct EndRequest {
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    pub(super) request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeleteFifoResponse)]
pub(super) struct DeleteResponse {
    deleted: bool,
    /// How many living tickets ended.
    tickets: usize,
}

async fn delete(
    State(api): State<Api>,
    Caller(caller): Caller,
    FifoPath(id): FifoPath,
    Fields(request): Fields<EndRequest>,
) -> Replied<DeleteResponse> {
    caller.require_admin()?;
    let command = FifoCommand::Delete {
        id,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_fifo(&api, &caller, command).await? {
        FifoAnswer::Deleted(tickets) => Ok(Json(DeleteResponse {
            deleted: true,
            tickets,
        })),
        _ => Err(unexpected_answer()),
    }
}
