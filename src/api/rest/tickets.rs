//! Tickets: create, list, read, wait for the turn, extend, complete, cancel.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};

use super::Replied;
use super::acquire::wants_events;
use super::events::{error_event, event, stream};
use super::fifos::{EndRequest, FIELDS, ask_fifo, sees_ids, timeout};
use super::page::PageRequest;
use crate::api::fifo::{TimeoutsInput, fresh_ticket_id};
use crate::api::http::extract::{Caller, Fields, FifoPath, TicketPath};
use crate::api::http::fields::{Callback, Metadata, Span, Ttl};
use crate::api::http::fifo_view::TicketJson;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::page::after_number_token;
use crate::api::webhook::CallbackInput;
use crate::api::{Api, request_id};
use crate::core::{
    About, Answer, Command, FifoAnswer, FifoCommand, FifoId, Namespace, TicketOverrides,
    check_timeout, check_wait,
};
use crate::shard::Progress;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRequest {
    wait_timeout: Option<Ttl>,
    accept_timeout: Option<Ttl>,
    done_timeout: Option<Ttl>,
    owner: Option<String>,
    metadata: Option<Metadata>,
    request_id: Option<String>,
    /// Without `accept_timeout`: the ticket's own counts.
    callback: Option<Callback>,
}

/// The first of the timeouts that were given: what is at fault where the FIFO allows none.
fn first_given(overrides: &TicketOverrides) -> &'static str {
    match overrides {
        TicketOverrides { wait: Some(_), .. } => FIELDS.wait,
        TicketOverrides {
            accept: Some(_), ..
        } => FIELDS.accept,
        _ => FIELDS.done,
    }
}

pub(super) async fn create(
    State(api): State<Api>,
    Caller(caller): Caller,
    FifoPath(fifo): FifoPath,
    Fields(request): Fields<CreateRequest>,
) -> Replied<TicketJson> {
    let timeouts = TimeoutsInput {
        wait: timeout(request.wait_timeout),
        accept: timeout(request.accept_timeout),
        done: timeout(request.done_timeout),
    };
    let overrides = timeouts.check(&FIELDS)?;
    let command = FifoCommand::CreateTicket {
        fifo,
        id: fresh_ticket_id(),
        overrides,
        lenient: false,
        about: About::new(
            &request.owner.unwrap_or_default(),
            request.metadata.unwrap_or_default().0,
        )?,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
        // Last: it may have to look up a name.
        subscribe: match request.callback.map(CallbackInput::from) {
            Some(callback) => Some(callback.check_for_ticket(&api).await?),
            None => None,
        },
    };
    let made = ask_fifo(&api, &caller, command).await;
    match made.map_err(|error| error.rename_field("overrides", first_given(&overrides)))? {
        FifoAnswer::Ticket(view) => Ok(Json(TicketJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
pub(super) struct ListResponse {
    tickets: Vec<TicketJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Caller(caller): Caller,
    FifoPath(fifo): FifoPath,
    Fields(page): Fields<PageRequest>,
) -> Replied<ListResponse> {
    if page.prefix.is_some() {
        return Err(HttpError::invalid("prefix", "is for names only"));
    }
    let command = FifoCommand::ListTickets {
        fifo,
        after: page.after_number()?,
        limit: page.limit()?,
    };
    match ask_fifo(&api, &caller, command).await? {
        FifoAnswer::Tickets { tickets, more } => {
            let last = tickets.last().filter(|_| more);
            let next_page_token = last.map(|ticket| after_number_token(ticket.number));
            let tickets = tickets.iter();
            let tickets = tickets.map(|ticket| TicketJson::of_others(ticket, sees_ids(&caller)));
            Ok(Json(ListResponse {
                tickets: tickets.collect(),
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}

pub(super) async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    TicketPath(fifo, ticket): TicketPath,
) -> Replied<TicketJson> {
    match ask_fifo(&api, &caller, FifoCommand::GetTicket { fifo, ticket }).await? {
        FifoAnswer::Ticket(view) => Ok(Json(TicketJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitRequest {
    wait: Option<Span>,
}

pub(super) async fn wait(
    State(api): State<Api>,
    Caller(caller): Caller,
    TicketPath(fifo, ticket): TicketPath,
    headers: HeaderMap,
    Fields(request): Fields<WaitRequest>,
) -> Result<Response, HttpError> {
    let command = FifoCommand::Wait {
        fifo: fifo.clone(),
        ticket,
        wait: request.wait.map(|span| check_wait(span.0)).transpose()?,
    };
    if wants_events(&headers) {
        return Ok(wait_events(&api, &caller.namespace, fifo, command));
    }
    match ask_fifo(&api, &caller, command).await? {
        FifoAnswer::Ready(view) => Ok(Json(TicketJson::from(&view)).into_response()),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
struct Queued<'a> {
    fifo: &'a str,
    position: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_go: Option<f64>,
}

/// `queued` at first and whenever the position changes, then `ready` or `error`.
fn wait_events(api: &Api, namespace: &Namespace, fifo: FifoId, command: FifoCommand) -> Response {
    let call = api.shard(namespace).call(namespace, Command::Fifo(command));
    stream(unfold(Some(call), move |call| {
        let fifo = fifo.clone();
        async move {
            let mut call = call?;
            Some(match call.progress().await {
                Progress::Queued(standing) => {
                    let queued = Queued {
                        fifo: fifo.as_str(),
                        position: standing.position,
                        time_to_go: standing.time_to_go.map(seconds),
                    };
                    (event("queued", &queued), Some(call))
                }
                Progress::Done(Ok(Answer::Fifo(FifoAnswer::Ready(view)))) => {
                    (event("ready", &TicketJson::from(&view)), None)
                }
                Progress::Done(Ok(_)) => (error_event(&unexpected_answer()), None),
                Progress::Done(Err(failure)) => (error_event(&failure.into()), None),
            })
        }
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendRequest {
    done_timeout: Option<Span>,
}

pub(super) async fn extend(
    State(api): State<Api>,
    Caller(caller): Caller,
    TicketPath(fifo, ticket): TicketPath,
    Fields(request): Fields<ExtendRequest>,
) -> Replied<TicketJson> {
    let done = request.done_timeout;
    let command = FifoCommand::Extend {
        fifo,
        ticket,
        done: done
            .map(|span| check_timeout(FIELDS.done, span.0))
            .transpose()?,
    };
    match ask_fifo(&api, &caller, command).await? {
        FifoAnswer::Ticket(view) => Ok(Json(TicketJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
pub(super) struct CompleteResponse {
    completed: bool,
}

pub(super) async fn complete(
    State(api): State<Api>,
    Caller(caller): Caller,
    TicketPath(fifo, ticket): TicketPath,
    Fields(request): Fields<EndRequest>,
) -> Replied<CompleteResponse> {
    let command = FifoCommand::Complete {
        fifo,
        ticket,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_fifo(&api, &caller, command).await? {
        FifoAnswer::Completed => Ok(Json(CompleteResponse { completed: true })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
pub(super) struct CancelResponse {
    cancelled: bool,
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Caller(caller): Caller,
    TicketPath(fifo, ticket): TicketPath,
    Fields(request): Fields<EndRequest>,
) -> Replied<CancelResponse> {
    let command = FifoCommand::Cancel {
        fifo,
        ticket,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_fifo(&api, &caller, command).await? {
        FifoAnswer::Cancelled => Ok(Json(CancelResponse { cancelled: true })),
        _ => Err(unexpected_answer()),
    }
}
