//! The sync dialect: `/fifo/new`, `/fifo/{uuid}/ticket`, `/fifo/{uuid}/wait/{ticket}`,
//! `/fifo/{uuid}/done/{ticket}`.
//!
//! Its FIFOs are those of every surface, as far as their ids are UUIDs. What went wrong is a status
//! and a line of text. Hanging up while waiting leaves the ticket where it stands.

use axum::extract::{FromRequest, FromRequestParts as _, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use serde::Serialize;

use super::{Dialects, status_of};
use crate::api::Identity;
use crate::api::fifo::{
    FifoInput, TimeoutFields, TimeoutsInput, fresh_ticket_id, new_fifo_id, ticket_id,
};
use crate::api::http::extract::{Caller, captures};
use crate::api::http::params::Params;
use crate::api::http::paths::sync as paths;
use crate::api::http::{HttpError, unexpected_answer};
use crate::core::{About, Answer, Command, FifoAnswer, FifoCommand, FifoId, TicketId};

const FIELDS: TimeoutFields = TimeoutFields {
    wait: "wait_timeout",
    accept: "accept_timeout",
    done: "done_timeout",
};

#[derive(Serialize)]
struct NewFifo {
    uuid: String,
}

#[derive(Serialize)]
struct NewTicket {
    ticket: String,
}

pub(super) fn routes() -> Router<Dialects> {
    let both = |path: String, methods: MethodRouter<Dialects>| {
        Router::new()
            .route(&path, methods.clone())
            .route(&format!("{path}/"), methods)
    };
    let mut routes = both(paths::NEW.to_owned(), get(new).post(new));
    // A script's empty variable leaves no id between two slashes: it is told so.
    for fifo in [paths::FIFO, paths::PREFIX] {
        let path = format!("{fifo}{}", paths::TICKET);
        routes = routes.merge(both(path, get(ticket).post(ticket)));
        for (verb, methods) in [
            (paths::WAIT, get(wait).post(wait)),
            (paths::DONE, get(done).post(done)),
        ] {
            let path = format!("{fifo}{verb}");
            routes = routes.merge(both(path.clone(), methods.clone()));
            routes = routes.merge(both(format!("{path}/{{ticket}}"), methods));
        }
    }
    routes
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
