//! FifoService.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::convert::{self, Span};
use super::deadline::UntilDeadline;
use super::{Caller, error, webhook};
use crate::api::fifo::{
    FifoInput, TimeoutFields, TimeoutsInput, fresh_ticket_id, new_fifo_id, ticket_id,
};
use crate::api::page::{after_name, after_name_token, after_number, after_number_token, prefix};
use crate::api::{Api, Role, request_id};
use crate::core::limits::{FIFO_ID_BYTES_MAX, TIMEOUT_MAX, WAIT_MAX};
use crate::core::{
    About, Answer, Command, FifoAnswer, FifoCommand, FifoId, FifoView, Invalid, TicketState,
    TicketTimeouts, TicketView, check_page_size, check_timeout, check_wait,
};
use crate::proto::v1::{
    self, CancelTicketRequest, CancelTicketResponse, CompleteTicketRequest, CompleteTicketResponse,
    CreateFifoRequest, CreateFifoResponse, CreateTicketRequest, CreateTicketResponse,
    DeleteFifoRequest, DeleteFifoResponse, ExtendTicketRequest, ExtendTicketResponse,
    GetFifoRequest, GetFifoResponse, GetTicketRequest, GetTicketResponse, ListFifosRequest,
    ListFifosResponse, ListTicketsRequest, ListTicketsResponse, WaitTicketRequest,
    WaitTicketResponse, fifo_service_server, wait_ticket_response,
};
use crate::shard::{Call, Progress};

/// FifoService over an [`Api`].
pub struct Fifos(pub(super) Api);

impl Fifos {
    async fn ask(&self, caller: &Caller, command: FifoCommand) -> Result<FifoAnswer, Status> {
        match caller.ask(&self.0, Command::Fifo(command)).await? {
            Answer::Fifo(answer) => Ok(answer),
            _ => Err(error::misfit().into()),
        }
    }
}

#[tonic::async_trait]
impl fifo_service_server::FifoService for Fifos {
    type WaitTicketStream = UntilDeadline<Turn>;

    async fn create_fifo(
        &self,
        request: Request<CreateFifoRequest>,
    ) -> Result<Response<CreateFifoResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = create_fifo(request.get_ref())?;
        match self.ask(&caller, command).await? {
            FifoAnswer::Fifo(view) => Ok(Response::new(CreateFifoResponse {
                fifo: Some(fifo(&view, &caller)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn get_fifo(
        &self,
        request: Request<GetFifoRequest>,
    ) -> Result<Response<GetFifoResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = FifoCommand::Get {
            id: FifoId::new(&request.get_ref().fifo)?,
        };
        match self.ask(&caller, command).await? {
            FifoAnswer::Fifo(view) => Ok(Response::new(GetFifoResponse {
                fifo: Some(fifo(&view, &caller)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn list_fifos(
        &self,
        request: Request<ListFifosRequest>,
    ) -> Result<Response<ListFifosResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let command = list_fifos(request.into_inner())?;
        match self.ask(&caller, command).await? {
            FifoAnswer::Fifos { fifos, more } => {
                let fifos = fifos.iter().map(|view| fifo(view, &caller)).collect();
                let (fifos, next_page_token) =
                    convert::page(fifos, more, |last: &v1::Fifo| after_name_token(&last.id));
                Ok(Response::new(ListFifosResponse {
                    fifos,
                    next_page_token,
                }))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn delete_fifo(
        &self,
        request: Request<DeleteFifoRequest>,
    ) -> Result<Response<DeleteFifoResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let request = request.get_ref();
        let command = FifoCommand::Delete {
            id: FifoId::new(&request.fifo)?,
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            FifoAnswer::Deleted(tickets) => Ok(Response::new(DeleteFifoResponse {
                tickets: convert::count(tickets),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn create_ticket(
        &self,
        request: Request<CreateTicketRequest>,
    ) -> Result<Response<CreateTicketResponse>, Status> {
        let caller = Caller::of(&request)?;
        let create = create_ticket(&self.0, request.into_inner());
        let command = caller.deadline.bound(create).await??;
        match self.ask(&caller, command).await? {
            FifoAnswer::Ticket(view) => Ok(Response::new(CreateTicketResponse {
                ticket: Some(ticket(&view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn get_ticket(
        &self,
        request: Request<GetTicketRequest>,
    ) -> Result<Response<GetTicketResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let command = FifoCommand::GetTicket {
            fifo: FifoId::new(&request.fifo)?,
            ticket: ticket_id(&request.ticket)?,
        };
        match self.ask(&caller, command).await? {
            FifoAnswer::Ticket(view) => Ok(Response::new(GetTicketResponse {
                ticket: Some(ticket(&view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn list_tickets(
        &self,
        request: Request<ListTicketsRequest>,
    ) -> Result<Response<ListTicketsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = list_tickets(request.get_ref())?;
        match self.ask(&caller, command).await? {
            FifoAnswer::Tickets { tickets, more } => {
                let tickets = tickets.iter().map(|view| of_others(view, &caller));
                let (tickets, next_page_token) =
                    convert::page(tickets.collect(), more, |last: &v1::Ticket| {
                        after_number_token(last.number)
                    });
                Ok(Response::new(ListTicketsResponse {
                    tickets,
                    next_page_token,
                }))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn wait_ticket(
        &self,
        request: Request<WaitTicketRequest>,
    ) -> Result<Response<Self::WaitTicketStream>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::Fifo(wait_ticket(request.get_ref())?);
        let namespace = caller.namespace();
        let call = self.0.shard(namespace).call(namespace, command);
        let turn = Turn(Some(call));
        Ok(Response::new(caller.deadline.bound_stream(turn)))
    }

    async fn extend_ticket(
        &self,
        request: Request<ExtendTicketRequest>,
    ) -> Result<Response<ExtendTicketResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = extend_ticket(request.get_ref())?;
        match self.ask(&caller, command).await? {
            FifoAnswer::Ticket(view) => Ok(Response::new(ExtendTicketResponse {
                ticket: Some(ticket(&view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn complete_ticket(
        &self,
        request: Request<CompleteTicketRequest>,
    ) -> Result<Response<CompleteTicketResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let command = FifoCommand::Complete {
            fifo: FifoId::new(&request.fifo)?,
            ticket: ticket_id(&request.ticket)?,
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            FifoAnswer::Completed => Ok(Response::new(CompleteTicketResponse {})),
            _ => Err(error::misfit().into()),
        }
    }

    async fn cancel_ticket(
        &self,
        request: Request<CancelTicketRequest>,
    ) -> Result<Response<CancelTicketResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let command = FifoCommand::Cancel {
            fifo: FifoId::new(&request.fifo)?,
            ticket: ticket_id(&request.ticket)?,
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            FifoAnswer::Cancelled => Ok(Response::new(CancelTicketResponse {})),
            _ => Err(error::misfit().into()),
        }
    }
}

const OF_FIFO: TimeoutFields = TimeoutFields {
    wait: "timeouts.wait",
    accept: "timeouts.accept",
    done: "timeouts.done",
};
const OF_TICKET: TimeoutFields = TimeoutFields {
    wait: "overrides.wait",
    accept: "overrides.accept",
    done: "overrides.done",
};

fn span(
    field: &'static str,
    max: Duration,
    value: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    value
        .map(|value| convert::duration(&Span(field, Duration::ZERO, max), value))
        .transpose()
}

fn timeouts(
    fields: &TimeoutFields,
    given: Option<&v1::Timeouts>,
) -> Result<TimeoutsInput, Invalid> {
    let Some(given) = given else {
        return Ok(TimeoutsInput::default());
    };
    Ok(TimeoutsInput {
        wait: span(fields.wait, TIMEOUT_MAX, given.wait)?,
        accept: span(fields.accept, TIMEOUT_MAX, given.accept)?,
        done: span(fields.done, TIMEOUT_MAX, given.done)?,
    })
}

fn create_fifo(request: &CreateFifoRequest) -> Result<FifoCommand, Invalid> {
    let (id, fresh_id) = new_fifo_id(&request.id)?;
    let unused = request.unused_destroy_timeout;
    let input = FifoInput {
        timeouts: timeouts(&OF_FIFO, request.timeouts.as_ref())?,
        unused_destroy_timeout: span("unused_destroy_timeout", TIMEOUT_MAX, unused)?,
        allow_overrides: request.allow_overrides,
        concurrency: request.concurrency,
    };
    Ok(FifoCommand::Create {
        id,
        fresh_id,
        settings: input.check(&OF_FIFO)?,
        request_id: request_id(&request.request_id)?,
    })
}

fn list_fifos(request: ListFifosRequest) -> Result<FifoCommand, Invalid> {
    Ok(FifoCommand::List {
        prefix: prefix(request.prefix, FIFO_ID_BYTES_MAX)?,
        after: after_name(&request.page_token, FifoId::new)?,
        limit: check_page_size(request.page_size)?,
    })
}

async fn create_ticket(api: &Api, request: CreateTicketRequest) -> Result<FifoCommand, Invalid> {
    let callback = request.callback.map(webhook::callback).transpose()?;
    Ok(FifoCommand::CreateTicket {
        fifo: FifoId::new(&request.fifo)?,
        id: fresh_ticket_id(),
        overrides: timeouts(&OF_TICKET, request.overrides.as_ref())?.check(&OF_TICKET)?,
        lenient: false,
        about: About::new(&request.owner, request.metadata)?,
        request_id: request_id(&request.request_id)?,
        // Last: it may have to look up a name.
        subscribe: match callback {
            Some(callback) => Some(callback.check_for_ticket(api).await?),
            None => None,
        },
    })
}

fn list_tickets(request: &ListTicketsRequest) -> Result<FifoCommand, Invalid> {
    Ok(FifoCommand::ListTickets {
        fifo: FifoId::new(&request.fifo)?,
        after: after_number(&request.page_token)?,
        limit: check_page_size(request.page_size)?,
    })
}

fn wait_ticket(request: &WaitTicketRequest) -> Result<FifoCommand, Invalid> {
    Ok(FifoCommand::Wait {
        fifo: FifoId::new(&request.fifo)?,
        ticket: ticket_id(&request.ticket)?,
        wait: span("wait", WAIT_MAX, request.wait)?
            .map(check_wait)
            .transpose()?,
    })
}

fn extend_ticket(request: &ExtendTicketRequest) -> Result<FifoCommand, Invalid> {
    Ok(FifoCommand::Extend {
        fifo: FifoId::new(&request.fifo)?,
        ticket: ticket_id(&request.ticket)?,
        done: span("done", TIMEOUT_MAX, request.done)?
            .map(|done| check_timeout("done", done))
            .transpose()?,
    })
}

fn fifo(view: &FifoView, caller: &Caller) -> v1::Fifo {
    let unused = view.settings.unused_destroy_timeout;
    v1::Fifo {
        id: view.id.as_str().to_owned(),
        timeouts: Some(proto_timeouts(&view.settings.timeouts)),
        unused_destroy_timeout: unused.map(convert::proto_duration),
        allow_overrides: view.settings.allow_overrides,
        concurrency: view.settings.concurrency,
        create_time: Some(convert::timestamp(view.created_at)),
        tickets: view
            .tickets
            .iter()
            .map(|view| of_others(view, caller))
            .collect(),
        serving_count: convert::count(view.serving_count),
        waiting_count: convert::count(view.waiting_count),
        mean_turn: view.mean_turn.map(convert::proto_duration),
    }
}

/// A ticket that may be another's: its ids would give the right to it.
fn of_others(view: &TicketView, caller: &Caller) -> v1::Ticket {
    let mut ticket = ticket(view);
    if caller.identity.role != Role::Admin {
        ticket.id.clear();
        ticket.webhook.clear();
    }
    ticket
}

fn ticket(view: &TicketView) -> v1::Ticket {
    let state = match view.state {
        TicketState::Waiting => v1::TicketState::Waiting,
        TicketState::Notified => v1::TicketState::Notified,
        TicketState::Accepted => v1::TicketState::Accepted,
        TicketState::Lapsed => v1::TicketState::Lapsed,
    };
    let about = view.about.as_deref();
    v1::Ticket {
        fifo: view.fifo.as_str().to_owned(),
        id: view.id.to_string(),
        number: view.number,
        state: state.into(),
        position: view.position,
        time_to_go: view.time_to_go.map(convert::proto_duration),
        lapses_in: view.lapses_in.map(convert::proto_duration),
        timeouts: Some(proto_timeouts(&view.timeouts)),
        owner: about.map_or_else(String::new, |about| about.owner().to_owned()),
        metadata: about.map_or_else(Default::default, |about| about.metadata().clone()),
        create_time: Some(convert::timestamp(view.created_at)),
        state_time: Some(convert::timestamp(view.since)),
        webhook: view.webhook.map_or_else(String::new, |id| id.to_string()),
    }
}

fn proto_timeouts(timeouts: &TicketTimeouts) -> v1::Timeouts {
    v1::Timeouts {
        wait: timeouts.wait.map(convert::proto_duration),
        accept: timeouts.accept.map(convert::proto_duration),
        done: timeouts.done.map(convert::proto_duration),
    }
}

/// The answers of WaitTicket. `None`: the last message has been told.
pub struct Turn(Option<Call>);

impl Stream for Turn {
    type Item = Result<WaitTicketResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use wait_ticket_response::Event;
        let this = self.get_mut();
        let Some(call) = &mut this.0 else {
            return Poll::Ready(None);
        };
        let event = match ready!(call.poll_progress(cx)) {
            Progress::Queued(standing) => Ok(Event::InLine(v1::InLine {
                position: standing.position,
                time_to_go: standing.time_to_go.map(convert::proto_duration),
            })),
            Progress::Done(outcome) => {
                this.0 = None;
                match outcome {
                    Ok(Answer::Fifo(FifoAnswer::Ready(view))) => Ok(Event::Ready(ticket(&view))),
                    Ok(_) => Err(Status::from(error::misfit())),
                    Err(failure) => Err(Status::from(failure)),
                }
            }
        };
        Poll::Ready(Some(
            event.map(|event| WaitTicketResponse { event: Some(event) }),
        ))
    }
}
