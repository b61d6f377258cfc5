//! The sync dialect: `/fifo/new`, `/fifo/{uuid}/ticket`, `/fifo/{uuid}/wait/{ticket}`,
//! `/fifo/{uuid}/done/{ticket}`.
//!
//! Its FIFOs are those of every surface, as far as their ids are UUIDs. What went wrong is a status
//! and a line of text. Hanging up while waiting leaves the ticket where it stands.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts as _, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Get, Post};

use super::{Dialects, status_of};
use crate::api::fifo::{
    FifoInput, TimeoutFields, TimeoutsInput, fresh_ticket_id, new_fifo_id, ticket_id,
};
use crate::api::http::extract::{Caller, captures};
use crate::api::http::fields::{Flag, Span};
use crate::api::http::params::Params;
use crate::api::http::paths::sync as paths;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{FifoUuidText, Operation, OwnerText, Routes, TicketIdText};
use crate::api::{Identity, Reason};
use crate::core::{About, Answer, Command, FifoAnswer, FifoCommand, FifoId, TicketId};

const FIELDS: TimeoutFields = TimeoutFields {
    wait: "wait_timeout",
    accept: "accept_timeout",
    done: "done_timeout",
};

#[derive(Serialize, ToSchema)]
#[schema(as = SyncFifo)]
struct NewFifo {
    #[schema(value_type = FifoUuidText)]
    uuid: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SyncNewTicket)]
struct NewTicket {
    #[schema(value_type = TicketIdText)]
    ticket: String,
}

/// The group of these operations.
const TAG: &str = "dialect sync";

pub(super) fn routes() -> Routes<Dialects> {
    Routes::with_slashes()
        .merge(new_routes())
        .merge(ticket_routes())
        .merge(turn_routes())
        .merge(idless_routes())
}

fn new_routes() -> Routes<Dialects> {
    let make = |id: &str| {
        Operation::new(
            TAG,
            id,
            "Makes a FIFO",
            "One ticket at a time has its turn.",
        )
        .answers::<NewFifo>("The FIFO's UUID.")
        .grows()
    };
    Routes::with_slashes()
        .on(Get, paths::NEW, new, make("syncNew").query::<NewFields>())
        .on(
            Post,
            paths::NEW,
            new,
            make("syncPostNew").body::<NewFields>(),
        )
}

fn ticket_routes() -> Routes<Dialects> {
    let path = format!("{}{}", paths::FIFO, paths::TICKET);
    let take = |id: &str| {
        of_fifo(
            id,
            "Takes a place in line",
            "Timeouts of its own are ignored where the FIFO allows none.",
        )
        .answers::<NewTicket>("The ticket's id; a secret.")
        .grows()
    };
    Routes::with_slashes()
        .on(
            Get,
            &path,
            ticket,
            take("syncTicket").query::<TicketFields>(),
        )
        .on(
            Post,
            &path,
            ticket,
            take("syncPostTicket").body::<TicketFields>(),
        )
}

fn turn_routes() -> Routes<Dialects> {
    let under = |verb| format!("{}{verb}/{{ticket}}", paths::FIFO);
    let await_turn = |id: &str| {
        of_ticket(
            id,
            "Waits for a ticket's turn",
            "The answer accepts the turn. Hanging up leaves the ticket where it stands.",
        )
        .answers_empty(StatusCode::OK, "It is the ticket's turn.")
        .refuses(&[
            Reason::TurnTimedOut,
            Reason::TicketEnded,
            Reason::LimitReached,
        ])
    };
    let finish = |id: &str| {
        of_ticket(
            id,
            "Says that a ticket's work is done",
            "The next one is notified. A ticket that still stands in line leaves it.",
        )
        .answers_empty(StatusCode::OK, "The ticket ended.")
    };
    Routes::with_slashes()
        .on(Get, &under(paths::WAIT), wait, await_turn("syncWait"))
        .on(Post, &under(paths::WAIT), wait, await_turn("syncPostWait"))
        .on(Get, &under(paths::DONE), done, finish("syncDone"))
        .on(Post, &under(paths::DONE), done, finish("syncPostDone"))
}

/// A script's empty variable leaves an id out: it is told so.
fn idless_routes() -> Routes<Dialects> {
    let mut routes = Routes::with_slashes();
    for method in [Get, Post] {
        let under = |fifo, verb: &str| format!("{fifo}{verb}");
        let behind = |verb: &str| format!("{}{verb}/{{ticket}}", paths::PREFIX);
        let nameless = under(paths::PREFIX, paths::TICKET);
        routes = routes
            .undescribed(method.clone(), &nameless, ticket)
            .undescribed(method.clone(), &behind(paths::WAIT), wait)
            .undescribed(method.clone(), &behind(paths::DONE), done);
        for fifo in [paths::FIFO, paths::PREFIX] {
            routes = routes
                .undescribed(method.clone(), &under(fifo, paths::WAIT), wait)
                .undescribed(method.clone(), &under(fifo, paths::DONE), done);
        }
    }
    routes
}

fn of_fifo(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description)
        .in_path::<FifoUuidText>("fifo")
        .refuses(&[Reason::FifoNotFound])
}

fn of_ticket(id: &str, summary: &'static str, description: &'static str) -> Operation {
    of_fifo(id, summary, description)
        .in_path::<TicketIdText>("ticket")
        .refuses(&[
            Reason::TicketNotFound,
            Reason::TicketLapsed,
            Reason::BodyTooLarge,
            Reason::UnsupportedMediaType,
        ])
}

#[derive(ToSchema)]
#[schema(as = SyncNew)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct NewFields {
    /// How long one call waits for a turn: at most 365d, unless given 6h; 0: no end.
    wait_timeout: Option<Span>,
    /// How long a turn waits to be accepted: at most 365d, unless given 1m; 0: no end.
    accept_timeout: Option<Span>,
    /// How long the work may take: at most 365d, unless given 10m; 0: no end.
    done_timeout: Option<Span>,
    /// How long it stays while nobody uses it: at most 365d, unless given 30d; 0: for ever.
    unused_destroy_timeout: Option<Span>,
    /// Whether a ticket may have timeouts of its own; unless given: no.
    allow_overrides: Option<Flag>,
}

#[derive(ToSchema)]
#[schema(as = SyncTicket)]
#[expect(dead_code, reason = "it only describes: parameters are read by name")]
struct TicketFields {
    /// At most 365d; 0: no end.
    wait_timeout: Option<Span>,
    /// At most 365d; 0: no end.
    accept_timeout: Option<Span>,
    /// At most 365d; 0: no end.
    done_timeout: Option<Span>,
    /// Whose it is.
    #[schema(value_type = OwnerText)]
    owner: Option<String>,
}

/// The reason, as text.
pub fn refuse(error: HttpError) -> Response {
    error.with_headers((status_of(&error), error.message.clone()).into_response())
}

fn respond(answered: Result<impl IntoResponse, HttpError>) -> Response {
    answered.map_or_else(refuse, IntoResponse::into_response)
}

/// A request in this dialect.
struct Asked {
    caller: Identity,
    fifo: String,
    ticket: String,
    params: Params,
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        let (mut parts, body) = request.into_parts();
        let Caller(caller) = Caller::from_request_parts(&mut parts, state).await?;
        let mut captures = captures(&mut parts, state).await?;
        let params = Params::read(Request::from_parts(parts, body)).await?;
        Ok(Asked {
            caller,
            fifo: captures.remove("fifo").unwrap_or_default(),
            ticket: captures.remove("ticket").unwrap_or_default(),
            params,
        })
    }
}

impl Asked {
    /// The FIFO that the path names. However its UUID is written, it is the one with this UUID in
    /// small letters.
    fn fifo(&self) -> Result<FifoId, HttpError> {
        let Ok(uuid) = self.fifo.parse::<uuid::Uuid>() else {
            let expected = "must be a UUID, as /fifo/new answers it";
            return Err(HttpError::invalid("fifo", expected));
        };
        Ok(FifoId::new(&uuid.hyphenated().to_string())?)
    }

    fn ticket(&self) -> Result<TicketId, HttpError> {
        ticket_id(&self.ticket).map_err(|_| {
            let expected = "must be a UUID, as /fifo/{uuid}/ticket answers it";
            HttpError::invalid("ticket", expected)
        })
    }

    fn timeouts(&self) -> Result<TimeoutsInput, HttpError> {
        Ok(TimeoutsInput {
            wait: self.params.span(FIELDS.wait)?,
            accept: self.params.span(FIELDS.accept)?,
            done: self.params.span(FIELDS.done)?,
        })
    }
}

async fn ask(
    dialects: &Dialects,
    asked: &Asked,
    command: FifoCommand,
) -> Result<FifoAnswer, HttpError> {
    match dialects.ask(&asked.caller, Command::Fifo(command)).await? {
        Answer::Fifo(answer) => Ok(answer),
        _ => Err(unexpected_answer()),
    }
}

async fn new(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_new(&dialects, asked).await)
}

async fn try_new(
    dialects: &Dialects,
    asked: Result<Asked, HttpError>,
) -> Result<Json<NewFifo>, HttpError> {
    let asked = asked?;
    let input = FifoInput {
        timeouts: asked.timeouts()?,
        unused_destroy_timeout: asked.params.span("unused_destroy_timeout")?,
        allow_overrides: asked.params.flag("allow_overrides")?.unwrap_or_default(),
        concurrency: 1,
    };
    let (id, fresh_id) = new_fifo_id("")?;
    let command = FifoCommand::Create {
        id,
        fresh_id,
        settings: input.check(&FIELDS)?,
        request_id: None,
    };
    match ask(dialects, &asked, command).await? {
        FifoAnswer::Fifo(view) => Ok(Json(NewFifo {
            uuid: view.id.to_string(),
        })),
        _ => Err(unexpected_answer()),
    }
}

async fn ticket(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_ticket(&dialects, asked).await)
}

async fn try_ticket(
    dialects: &Dialects,
    asked: Result<Asked, HttpError>,
) -> Result<Json<NewTicket>, HttpError> {
    let asked = asked?;
    let owner = asked.params.text("owner")?.unwrap_or_default();
    let command = FifoCommand::CreateTicket {
        fifo: asked.fifo()?,
        id: fresh_ticket_id(),
        overrides: asked.timeouts()?.check(&FIELDS)?,
        lenient: true,
        subscribe: None,
        about: About::new(&owner, Default::default())?,
        request_id: None,
    };
    match ask(dialects, &asked, command).await? {
        FifoAnswer::Ticket(view) => Ok(Json(NewTicket {
            ticket: view.id.to_string(),
        })),
        _ => Err(unexpected_answer()),
    }
}

async fn wait(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_wait(&dialects, asked).await)
}

async fn try_wait(
    dialects: &Dialects,
    asked: Result<Asked, HttpError>,
) -> Result<StatusCode, HttpError> {
    let asked = asked?;
    let command = FifoCommand::Wait {
        fifo: asked.fifo()?,
        ticket: asked.ticket()?,
        wait: None,
    };
    match ask(dialects, &asked, command).await? {
        FifoAnswer::Ready(_) => Ok(StatusCode::OK),
        _ => Err(unexpected_answer()),
    }
}

async fn done(State(dialects): State<Dialects>, asked: Result<Asked, HttpError>) -> Response {
    respond(try_done(&dialects, asked).await)
}

async fn try_done(
    dialects: &Dialects,
    asked: Result<Asked, HttpError>,
) -> Result<StatusCode, HttpError> {
    let asked = asked?;
    let command = FifoCommand::Complete {
        fifo: asked.fifo()?,
        ticket: asked.ticket()?,
        request_id: None,
    };
    match ask(dialects, &asked, command).await? {
        FifoAnswer::Completed => Ok(StatusCode::OK),
        _ => Err(unexpected_answer()),
    }
}
