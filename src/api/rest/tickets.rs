//! Tickets: create, list, read, wait for the turn, extend, complete, cancel.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Delete, Get, Post};

use super::Replied;
use super::acquire::wants_events;
use super::events::{error_event, event, stream};
use super::fifos::{EndRequest, FIELDS, ask_fifo, sees_ids, timeout};
use super::page::{NumberPageRequest, PageRequest};
use crate::api::fifo::{TimeoutsInput, fresh_ticket_id};
use crate::api::http::extract::{Caller, Fields, FifoPath, TicketPath};
use crate::api::http::fields::{Callback, Metadata, Span, Ttl};
use crate::api::http::fifo_view::TicketJson;
use crate::api::http::paths::fifos as paths;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    EventStream, FifoIdText, Operation, OwnerText, PageTokenText, RequestIdText, Routes,
    TicketIdText,
};
use crate::api::page::after_number_token;
use crate::api::webhook::CallbackInput;
use crate::api::{Api, Reason, request_id};
use crate::core::{
    About, Answer, Command, FifoAnswer, FifoCommand, FifoId, Namespace, TicketOverrides,
    check_timeout, check_wait,
};
use crate::shard::Progress;

/// The group of these operations.
const TAG: &str = "fifos";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::TICKETS,
            list,
            of_fifo(
                "listTickets",
                "Lists the living tickets of a FIFO",
                "In the order of their turns. Only the role `admin` sees their ids.",
            )
            .query::<NumberPageRequest>()
            .answers::<ListResponse>("A page of tickets."),
        )
        .on(
            Post,
            paths::TICKETS,
            create,
            of_fifo(
                "createTicket",
                "Takes a place in line",
                "Timeouts of its own are only for a FIFO that allows them.",
            )
            .body::<CreateRequest>()
            .answers::<TicketJson>("The ticket. Its id is a secret.")
            .grows(),
        )
        .merge(ticket_routes())
}

fn ticket_routes() -> Routes<Api> {
    let give_up = |id: &str| {
        of_ticket(id, "Takes a ticket back", "Wherever it stands.")
            .answers::<CancelResponse>("It was taken back.")
    };
    Routes::new()
        .on(
            Get,
            paths::TICKET,
            get,
            of_ticket("getTicket", "Reads a ticket", "One that has lapsed is told for an hour.")
                .answers::<TicketJson>("The ticket as it stands."),
        )
        .on(
            Delete,
            paths::TICKET,
            cancel,
            give_up("deleteTicket").query::<EndRequest>(),
        )
        .on(
            Post,
            paths::CANCEL,
            cancel,
            give_up("cancelTicket").body::<EndRequest>(),
        )
        .on(
            Post,
            paths::WAIT,
            wait,
            of_ticket(
                "waitTicket",
                "Waits for a ticket's turn",
                "The answer accepts the turn. Whoever accepts `text/event-stream` is told `queued` \
                 with its position, and then `ready` or `error`. Hanging up leaves the ticket where \
                 it stands.",
            )
            .body::<WaitRequest>()
            .answers::<TicketJson>("It is the ticket's turn.")
            .answers_with::<EventStream>(StatusCode::OK, "text/event-stream", "")
            .refuses(&[
                Reason::TurnTimedOut,
                Reason::TicketEnded,
                Reason::LimitReached,
            ]),
        )
        .on(
            Post,
            paths::EXTEND,
            extend,
            of_ticket(
                "extendTicket",
                "Prolongs a ticket's work time",
                "Starts it anew. It never brings the end nearer.",
            )
            .body::<ExtendRequest>()
            .answers::<TicketJson>("The ticket.")
            .refuses(&[Reason::TicketNotAccepted]),
        )
        .on(
            Post,
            paths::COMPLETE,
            complete,
            of_ticket(
                "completeTicket",
                "Says that a ticket's work is done",
                "The next one is notified. A ticket that still stands in line leaves it.",
            )
            .body::<EndRequest>()
            .answers::<CompleteResponse>("The ticket ended."),
        )
}

fn of_fifo(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description)
        .in_path::<FifoIdText>("fifo")
        .refuses(&[Reason::FifoNotFound])
}

fn of_ticket(id: &str, summary: &'static str, description: &'static str) -> Operation {
    of_fifo(id, summary, description)
        .in_path::<TicketIdText>("ticket")
        .refuses(&[Reason::TicketNotFound, Reason::TicketLapsed])
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateTicketRequest)]
pub(super) struct CreateRequest {
    /// How long one call waits for its turn, at most 365d; `none` or 0: no end.
    wait_timeout: Option<Ttl>,
    /// How long its turn waits to be accepted, at most 365d; `none` or 0: no end.
    accept_timeout: Option<Ttl>,
    /// How long the work may take, at most 365d; `none` or 0: no end.
    done_timeout: Option<Ttl>,
    /// Whose it is.
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
    /// What the owner says of itself: at most 4,096 bytes.
    metadata: Option<Metadata>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
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

async fn create(
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

#[derive(Serialize, ToSchema)]
#[schema(as = ListTicketsResponse)]
pub(super) struct ListResponse {
    tickets: Vec<TicketJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Absent on the last page.
    #[schema(value_type = PageTokenText)]
    next_page_token: Option<String>,
}

async fn list(
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

async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    TicketPath(fifo, ticket): TicketPath,
) -> Replied<TicketJson> {
    match ask_fifo(&api, &caller, FifoCommand::GetTicket { fifo, ticket }).await? {
        FifoAnswer::Ticket(view) => Ok(Json(TicketJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WaitTicketRequest)]
pub(super) struct WaitRequest {
    /// At most 24h; unless given: the ticket's own timeout.
    wait: Option<Span>,
}

async fn wait(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExtendTicketRequest)]
pub(super) struct ExtendRequest {
    /// From now on, at most 365d; unless given: the ticket's own timeout.
    done_timeout: Option<Span>,
}

async fn extend(
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

#[derive(Serialize, ToSchema)]
#[schema(as = CompleteTicketResponse)]
pub(super) struct CompleteResponse {
    completed: bool,
}

async fn complete(
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

#[derive(Serialize, ToSchema)]
#[schema(as = CancelTicketResponse)]
pub(super) struct CancelResponse {
    cancelled: bool,
}

async fn cancel(
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
