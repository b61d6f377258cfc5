//! What callers do with tickets.

use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use super::{Ticket, WaitingCall};
use crate::core::command::*;
use crate::core::limits::*;
use crate::core::name::{About, FifoId, Invalid, RequestId, TicketId};
use crate::core::request::{Done, Kind, Recall};
use crate::core::state::{CallRole, FifoIx, Out, SpaceIx, State, TicketIx};
use crate::core::timer::Timer;

/// What a new ticket is asked for with; a retry has to ask for the same.
#[derive(Hash)]
pub(super) struct NewTicket {
    pub(super) fifo: FifoId,
    pub(super) overrides: TicketOverrides,
    pub(super) lenient: bool,
    pub(super) about: Option<Arc<About>>,
    pub(super) subscribe: Option<Subscribe>,
}

/// How a caller ends a ticket.
#[derive(Clone, Copy)]
pub(super) enum End {
    Complete,
    Cancel,
}

impl End {
    fn kind(self) -> Kind {
        match self {
            End::Complete => Kind::CompleteTicket,
            End::Cancel => Kind::CancelTicket,
        }
    }

    fn done(self) -> Done {
        match self {
            End::Complete => Done::TicketCompleted,
            End::Cancel => Done::TicketCancelled,
        }
    }

    fn answer(self) -> Answer {
        Answer::Fifo(match self {
            End::Complete => FifoAnswer::Completed,
            End::Cancel => FifoAnswer::Cancelled,
        })
    }

    fn told(self) -> TicketEnd {
        match self {
            End::Complete => TicketEnd::Done,
            End::Cancel => TicketEnd::Cancelled,
        }
    }
}

impl TicketOverrides {
    /// The FIFO's timeouts, but for those that are given here.
    fn over(self, fifo: TicketTimeouts) -> TicketTimeouts {
        TicketTimeouts {
            wait: self.wait.unwrap_or(fifo.wait),
            accept: self.accept.unwrap_or(fifo.accept),
            done: self.done.unwrap_or(fifo.done),
        }
    }
}

impl State {
    /// A ticket and its FIFO; an unknown FIFO is told before an unknown ticket.
    pub(super) fn find_ticket(
        &self,
        space: SpaceIx,
        fifo: &FifoId,
        id: TicketId,
    ) -> Result<(FifoIx, TicketIx), Refusal> {
        let fifo = self.find_fifo(space, fifo)?;
        let tickets = &self.space_of(space).tickets;
        let ticket = *tickets.get(&id).ok_or(Refusal::TicketNotFound(id))?;
        if self.tickets[ticket].fifo != fifo {
            let invalid = Invalid::new("ticket", "is a ticket of another FIFO");
            return Err(Refusal::Invalid(invalid));
        }
        Ok((fifo, ticket))
    }

    /// As [`State::find_ticket`], for what only a ticket that lives can do.
    fn find_living(
        &self,
        space: SpaceIx,
        fifo: &FifoId,
        id: TicketId,
    ) -> Result<(FifoIx, TicketIx), Refusal> {
        let found = self.find_ticket(space, fifo, id)?;
        match self.tickets[found.1].state {
            TicketState::Lapsed => Err(Refusal::TicketLapsed(id)),
            _ => Ok(found),
        }
    }

    pub(super) fn create_ticket(
        &mut self,
        call: CallId,
        space: SpaceIx,
        id: TicketId,
        ask: NewTicket,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let request = match self.recall(call, space, request_id, Kind::CreateTicket, &ask, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Ticket(id)) => {
                let (_, ticket) = self.find_ticket(space, &ask.fifo, id)?;
                out.answer(
                    call,
                    Answer::Fifo(FifoAnswer::Ticket(self.view_ticket(ticket))),
                );
                return Ok(());
            }
            _ => return Ok(()),
        };
        let fifo = self.find_fifo(space, &ask.fifo)?;
        let timeouts = self.timeouts_of(fifo, &ask)?;
        self.has_room_for_ticket(fifo)?;
        if ask.subscribe.is_some() {
            self.has_room_for_webhook(space)?;
        }
        if self.space_of(space).tickets.contains_key(&id) {
            return Err(Refusal::Invalid(Invalid::new("ticket", "is taken")));
        }
        self.last_arrival += 1;
        let index = self.insert_ticket(Ticket {
            fifo,
            id,
            number: self.last_arrival,
            state: TicketState::Waiting,
            ends: None,
            timeouts,
            about: ask.about,
            created_at: self.wall,
            since: self.wall,
            turn_began: None,
            told: 0,
            calls: SmallVec::new(),
            webhook: None,
        });
        if let Some(subscribe) = ask.subscribe {
            self.attach_webhook(index, subscribe);
        }
        self.serve_tickets(fifo, out);
        if self.tickets[index].state == TicketState::Waiting {
            self.put_ticket(index, out);
            self.put_ticket_webhook(index, out);
        }
        self.fifo_is_used(fifo);
        self.remember(space, request, Done::Ticket(id), out);
        let view = self.view_ticket(index);
        out.answer(call, Answer::Fifo(FifoAnswer::Ticket(view)));
        Ok(())
    }

    fn timeouts_of(&self, fifo: FifoIx, ask: &NewTicket) -> Result<TicketTimeouts, Refusal> {
        let settings = &self.fifos[fifo].settings;
        if settings.allow_overrides {
            return Ok(ask.overrides.over(settings.timeouts));
        }
        if ask.overrides != TicketOverrides::default() && !ask.lenient {
            let expected = "must be absent: the FIFO allows no overrides";
            return Err(Refusal::Invalid(Invalid::new("overrides", expected)));
        }
        Ok(settings.timeouts)
    }

    fn has_room_for_ticket(&self, fifo: FifoIx) -> Result<(), Refusal> {
        let fifo = &self.fifos[fifo];
        if fifo.living() >= TICKETS_PER_FIFO_MAX {
            return Err(Refusal::LimitReached {
                what: "tickets of one FIFO",
                max: TICKETS_PER_FIFO_MAX,
            });
        }
        if self.space_of(fifo.space).tickets.len() >= TICKETS_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "tickets in one namespace",
                max: TICKETS_PER_NAMESPACE_MAX,
            });
        }
        Ok(())
    }

    pub(super) fn wait_for_turn(
        &mut self,
        call: CallId,
        space: SpaceIx,
        fifo: &FifoId,
        id: TicketId,
        wait: Option<Duration>,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let (fifo, index) = self.find_living(space, fifo, id)?;
        self.fifo_is_used(fifo);
        match self.tickets[index].state {
            TicketState::Waiting => self.wait_in_line(call, index, wait, out),
            TicketState::Notified => {
                self.accept(index, &[call], out);
                Ok(())
            }
            TicketState::Accepted | TicketState::Lapsed => {
                let ticket = &mut self.tickets[index];
                ticket.told = ticket.told.saturating_add(1);
                let view = self.view_ticket(index);
                out.answer(call, Answer::Fifo(FifoAnswer::Ready(view)));
                Ok(())
            }
        }
    }

    fn wait_in_line(
        &mut self,
        call: CallId,
        index: TicketIx,
        wait: Option<Duration>,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let standing = self.standing(index);
        let now = self.now;
        let ticket = &mut self.tickets[index];
        if wait.is_some_and(|wait| wait.is_zero()) {
            return Err(Refusal::TurnTimedOut(ticket.id, standing));
        }
        if ticket.calls.len() >= CALLS_PER_TICKET_MAX {
            return Err(Refusal::LimitReached {
                what: "calls that wait for one ticket",
                max: CALLS_PER_TICKET_MAX,
            });
        }
        let ends = wait.or(ticket.timeouts.wait).map(|wait| now + wait);
        ticket.calls.push(WaitingCall {
            call,
            ends,
            told: standing.position,
        });
        self.fifos[ticket.fifo].waiting_calls += 1;
        if let Some(ends) = ends {
            self.timers.set(ends, Timer::Turn(index));
        }
        self.calls.insert(call, CallRole::Ticket(index));
        out.effects.push(Effect::InLine(call, standing));
        Ok(())
    }

    /// Calls have waited enough for their ticket's turn; the ticket stays.
    pub(in crate::core) fn turn_is_due(&mut self, index: TicketIx, out: &mut Out) {
        let now = self.now;
        let calls = self.tickets[index].calls.iter();
        let due = calls.filter(|waiting| waiting.ends.is_some_and(|ends| ends <= now));
        let due: SmallVec<[CallId; 1]> = due.map(|waiting| waiting.call).collect();
        for call in due {
            self.ticket_call_is_gone(index, call);
            let refusal = Refusal::TurnTimedOut(self.tickets[index].id, self.standing(index));
            out.refuse(call, refusal);
        }
    }

    /// A call waits no more for a ticket that still stands in line.
    pub(in crate::core) fn ticket_call_is_gone(&mut self, index: TicketIx, call: CallId) {
        let ticket = &mut self.tickets[index];
        let gone = ticket.calls.iter().position(|other| other.call == call);
        if let Some(place) = gone {
            let gone = ticket.calls.remove(place);
            self.stop_waiting(index, smallvec![gone]);
        }
    }

    /// Takes calls that waited for a ticket, and that it has no more, out of the tables.
    pub(super) fn stop_waiting(&mut self, index: TicketIx, calls: SmallVec<[WaitingCall; 1]>) {
        if calls.is_empty() {
            return;
        }
        let fifo = self.tickets[index].fifo;
        self.fifos[fifo].waiting_calls -= calls.len();
        for waiting in calls {
            self.calls.remove(&waiting.call);
            // Calls that end at the same time share a timer.
            let left = &self.tickets[index].calls;
            if let Some(ends) = waiting.ends
                && left.iter().all(|other| other.ends != Some(ends))
            {
                self.timers.unset(ends, Timer::Turn(index));
            }
        }
        self.fifo_is_used(fifo);
    }

    pub(super) fn extend_ticket(
        &mut self,
        call: CallId,
        space: SpaceIx,
        fifo: &FifoId,
        id: TicketId,
        done: Option<Duration>,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let (fifo, index) = self.find_living(space, fifo, id)?;
        self.fifo_is_used(fifo);
        let ticket = &mut self.tickets[index];
        if ticket.state != TicketState::Accepted {
            return Err(Refusal::TicketNotAccepted(id));
        }
        // Who extends it knows of its turn.
        ticket.told = ticket.told.saturating_add(1);
        if let Some(before) = ticket.ends {
            let after = done.or(ticket.timeouts.done);
            let after = after.map(|done| before.max(self.now + done));
            if after != Some(before) {
                self.set_ticket_end(index, after);
                self.put_ticket(index, out);
            }
        }
        let view = self.view_ticket(index);
        out.answer(call, Answer::Fifo(FifoAnswer::Ticket(view)));
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn finish_ticket(
        &mut self,
        call: CallId,
        space: SpaceIx,
        fifo: &FifoId,
        id: TicketId,
        end: End,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let asked = (fifo, id);
        let request = match self.recall(call, space, request_id, end.kind(), asked, out) {
            Recall::New(request) => request,
            Recall::Done(done) if done == end.done() => {
                out.answer(call, end.answer());
                return Ok(());
            }
            _ => return Ok(()),
        };
        let (fifo, index) = self.find_living(space, fifo, id)?;
        out.answer(call, end.answer());
        self.remember(space, request, end.done(), out);
        self.end_ticket(index, end.told(), out);
        self.serve_tickets(fifo, out);
        self.fifo_is_used(fifo);
        Ok(())
    }

    /// A ticket's turn was told to nobody: unless another call was told, it waits to be accepted.
    pub(super) fn give_back_turn(&mut self, space: SpaceIx, id: TicketId, out: &mut Out) {
        let Some(index) = self.space_of(space).tickets.get(&id).copied() else {
            return;
        };
        let ticket = &mut self.tickets[index];
        if ticket.state != TicketState::Accepted {
            return;
        }
        ticket.told = ticket.told.saturating_sub(1);
        if ticket.told == 0 {
            let fifo = ticket.fifo;
            self.notify(index, out);
            self.fifo_is_used(fifo);
        }
    }
}
