//! FIFOs: create, list, read, delete.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::page::{PageRequest, page_of};
use super::{Replied, ask};
use crate::api::fifo::{FifoInput, TimeoutFields, TimeoutsInput, new_fifo_id};
use crate::api::http::extract::{Caller, Fields, FifoPath};
use crate::api::http::fields::{Count, Flag, Ttl};
use crate::api::http::fifo_view::FifoJson;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::page::after_name_token;
use crate::api::{Api, Identity, Role, request_id};
use crate::core::{Answer, Command, FifoAnswer, FifoCommand, FifoId};

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRequest {
    id: Option<String>,
    wait_timeout: Option<Ttl>,
    accept_timeout: Option<Ttl>,
    done_timeout: Option<Ttl>,
    unused_destroy_timeout: Option<Ttl>,
    allow_overrides: Option<Flag>,
    concurrency: Option<Count>,
    request_id: Option<String>,
}

pub(super) async fn create(
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

#[derive(Serialize)]
pub(super) struct ListResponse {
    fifos: Vec<FifoJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(page): Fields<PageRequest>,
) -> Replied<ListResponse> {
    caller.require_admin()?;
    let command = FifoCommand::List {
        limit: page.limit()?,
        after: page.after_name(FifoId::new)?,
        prefix: page.prefix.unwrap_or_default(),
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

pub(super) async fn get(
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndRequest {
    pub(super) request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct DeleteResponse {
    deleted: bool,
    tickets: usize,
}

pub(super) async fn delete(
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
