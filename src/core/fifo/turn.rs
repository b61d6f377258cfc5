//! Whose turn it is: tickets come forward in order, and lapse when they take too long.

use std::time::Duration;

use super::Ticket;
use crate::core::command::*;
use crate::core::limits::*;
use crate::core::name::TicketId;
use crate::core::record::{Key, TicketValue, Value, about_value};
use crate::core::state::{FifoIx, Out, State, TicketIx};
use crate::core::time::Time;
use crate::core::timer::Timer;

/// A turn counts for one in so many of the mean: it follows the last few dozen.
const MEAN_OVER: u128 = 8;

impl State {
    /// Gives each turn that is free to the first in line.
    pub(in crate::core) fn serve_tickets(&mut self, index: FifoIx, out: &mut Out) {
        let mut moved = false;
        loop {
            let fifo = &mut self.fifos[index];
            if fifo.serving.len() >= fifo.settings.concurrency as usize {
                break;
            }
            let Some((number, ticket)) = fifo.line.pop_first() else {
                break;
            };
            fifo.serving.insert(number, ticket);
            moved = true;
            self.tickets[ticket].turn_began = Some(self.now);
            let waiting = std::mem::take(&mut self.tickets[ticket].calls);
            if waiting.is_empty() {
                self.notify(ticket, out);
                continue;
            }
            let calls: Vec<CallId> = waiting.iter().map(|waiting| waiting.call).collect();
            self.accept(ticket, &calls, out);
            self.stop_waiting(ticket, waiting);
        }
        if moved {
            self.line_has_moved(index);
        }
    }

    /// It is a ticket's turn, which nobody has accepted.
    pub(super) fn notify(&mut self, index: TicketIx, out: &mut Out) {
        let ends = self.tickets[index].timeouts.accept;
        let ends = ends.map(|accept| self.now + accept);
        self.change_ticket(index, TicketState::Notified, ends, out);
        self.ticket_webhook_is_due(index, out);
    }

    /// These calls have accepted a ticket's turn.
    pub(super) fn accept(&mut self, index: TicketIx, calls: &[CallId], out: &mut Out) {
        let ticket = &mut self.tickets[index];
        ticket.told = calls.len() as u32;
        let ends = ticket.timeouts.done.map(|done| self.now + done);
        self.change_ticket(index, TicketState::Accepted, ends, out);
        self.ticket_webhook_is_over(index, WebhookState::Ended, out);
        for call in calls {
            let view = self.view_ticket(index);
            out.answer(*call, Answer::Fifo(FifoAnswer::Ready(view)));
        }
    }

    /// A ticket has taken too long, or has been remembered long enough.
    pub(in crate::core) fn ticket_is_due(&mut self, index: TicketIx, out: &mut Out) {
        let ticket = &self.tickets[index];
        if ticket.ends.is_none_or(|ends| ends > self.now) {
            return;
        }
        match ticket.state {
            TicketState::Waiting => {}
            TicketState::Notified | TicketState::Accepted => self.lapse(index, out),
            TicketState::Lapsed => self.end_ticket(index, TicketEnd::Done, out),
        }
    }

    pub(super) fn lapse(&mut self, index: TicketIx, out: &mut Out) {
        let ticket = &self.tickets[index];
        let (fifo, number) = (ticket.fifo, ticket.number);
        let was_used = ticket.state == TicketState::Accepted;
        self.ticket_webhook_is_over(index, WebhookState::TimedOut, out);
        self.turn_has_ended(index);
        let forgotten = self.now + LAPSED_MEMORY;
        self.change_ticket(index, TicketState::Lapsed, Some(forgotten), out);
        let lapsed = &mut self.fifos[fifo].lapsed;
        lapsed.insert((forgotten, number), index);
        if lapsed.len() > LAPSED_PER_FIFO_MAX
            && let Some((_, oldest)) = lapsed.pop_first()
        {
            self.end_ticket(oldest, TicketEnd::Done, out);
        }
        self.serve_tickets(fifo, out);
        if was_used {
            self.fifo_is_used(fifo);
        }
    }

    /// Takes a ticket out of everything, and tells whoever waits for it.
    pub(super) fn end_ticket(&mut self, index: TicketIx, end: TicketEnd, out: &mut Out) {
        out.delete(self.ticket_key(index));
        self.ticket_webhook_ends_with(index, end, out);
        let ticket = &self.tickets[index];
        let (fifo, id, number) = (ticket.fifo, ticket.id, ticket.number);
        match ticket.state {
            TicketState::Waiting => self.leave_ticket_line(index, end, out),
            TicketState::Notified | TicketState::Accepted => self.turn_has_ended(index),
            TicketState::Lapsed => {
                if let Some(forgotten) = ticket.ends {
                    self.fifos[fifo].lapsed.remove(&(forgotten, number));
                }
            }
        }
        self.set_ticket_end(index, None);
        self.tickets.remove(index);
        let space = self.fifos[fifo].space;
        self.space_mut(space).tickets.remove(&id);
    }

    fn leave_ticket_line(&mut self, index: TicketIx, end: TicketEnd, out: &mut Out) {
        let ticket = &mut self.tickets[index];
        let (fifo, id, number) = (ticket.fifo, ticket.id, ticket.number);
        let waiting = std::mem::take(&mut ticket.calls);
        for waiting in &waiting {
            out.refuse(waiting.call, Refusal::TicketEnded(id, end));
        }
        self.stop_waiting(index, waiting);
        self.fifos[fifo].line.remove(number);
        self.line_has_moved(fifo);
    }

    /// A ticket's turn is free again.
    fn turn_has_ended(&mut self, index: TicketIx) {
        let ticket = &self.tickets[index];
        let fifo = &mut self.fifos[ticket.fifo];
        fifo.serving.remove(&ticket.number);
        if ticket.state == TicketState::Accepted {
            fifo.accepted -= 1;
        }
        if let Some(began) = ticket.turn_began {
            let turn = self.now.since(began);
            fifo.mean_turn = Some(match fifo.mean_turn {
                None => turn,
                Some(mean) => {
                    let sum = mean.as_nanos() * (MEAN_OVER - 1) + turn.as_nanos();
                    span(sum / MEAN_OVER)
                }
            });
        }
    }

    /// Puts a ticket into another state, but for what its FIFO knows of a turn that has ended.
    fn change_ticket(
        &mut self,
        index: TicketIx,
        state: TicketState,
        ends: Option<Time>,
        out: &mut Out,
    ) {
        let ticket = &mut self.tickets[index];
        let before = std::mem::replace(&mut ticket.state, state);
        ticket.since = self.wall;
        let fifo = &mut self.fifos[ticket.fifo];
        match (before, state) {
            (_, TicketState::Accepted) => fifo.accepted += 1,
            (TicketState::Accepted, TicketState::Notified) => fifo.accepted -= 1,
            _ => {}
        }
        self.set_ticket_end(index, ends);
        self.put_ticket(index, out);
    }

    pub(super) fn set_ticket_end(&mut self, index: TicketIx, ends: Option<Time>) {
        let before = std::mem::replace(&mut self.tickets[index].ends, ends);
        if let Some(before) = before {
            self.timers.unset(before, Timer::Ticket(index));
        }
        if let Some(ends) = ends {
            self.timers.set(ends, Timer::Ticket(index));
        }
    }

    /// Puts a ticket where it belongs, without committing it.
    pub(super) fn insert_ticket(&mut self, ticket: Ticket) -> TicketIx {
        let (fifo, id, number) = (ticket.fifo, ticket.id, ticket.number);
        let (state, ends) = (ticket.state, ticket.ends);
        let index = self.tickets.insert(ticket);
        if let Some(ends) = ends {
            self.timers.set(ends, Timer::Ticket(index));
        }
        let fifo = &mut self.fifos[fifo];
        match state {
            TicketState::Waiting => fifo.line.push(number, index),
            TicketState::Notified | TicketState::Accepted => {
                fifo.serving.insert(number, index);
            }
            TicketState::Lapsed => {
                fifo.lapsed
                    .insert((ends.unwrap_or_default(), number), index);
            }
        }
        if state == TicketState::Accepted {
            fifo.accepted += 1;
        }
        let space = fifo.space;
        self.space_mut(space).tickets.insert(id, index);
        index
    }

    /// Sees to it that whoever waits is told of its new position.
    fn line_has_moved(&mut self, index: FifoIx) {
        let now = self.now;
        let fifo = &mut self.fifos[index];
        if fifo.waiting_calls == 0 {
            return;
        }
        if let Some(at) = fifo.pace.moved(now, fifo.line.len()) {
            self.timers.set(at, Timer::FifoPositions(index));
        }
    }

    pub(in crate::core) fn fifo_positions_are_due(&mut self, index: FifoIx, out: &mut Out) {
        let now = self.now;
        let fifo = &mut self.fifos[index];
        fifo.pace.tell(now);
        if fifo.waiting_calls == 0 {
            return;
        }
        let fifo = &self.fifos[index];
        for (place, ticket) in fifo.line.iter().enumerate() {
            let position = place as u32 + 1;
            let standing = Standing {
                position,
                time_to_go: fifo.time_to_go(position),
            };
            for waiting in &mut self.tickets[ticket].calls {
                if waiting.told != position {
                    waiting.told = position;
                    out.effects.push(Effect::InLine(waiting.call, standing));
                }
            }
        }
    }

    /// The id of a ticket that is loaded is not taken, so it stands for one ticket only.
    pub(super) fn ticket_by_id(&self, fifo: FifoIx, id: TicketId) -> Option<TicketIx> {
        let space = self.fifos[fifo].space;
        self.space_of(space).tickets.get(&id).copied()
    }

    pub(in crate::core) fn ticket_key(&self, index: TicketIx) -> Key {
        let ticket = &self.tickets[index];
        let fifo = &self.fifos[ticket.fifo];
        let space = self.space_of(fifo.space).name.clone();
        Key::Ticket(space, fifo.id.clone(), ticket.number)
    }

    pub(super) fn put_ticket(&self, index: TicketIx, out: &mut Out) {
        let value = Value::Ticket(self.tickets[index].record());
        out.put(self.ticket_key(index), value);
    }
}

impl Ticket {
    pub(in crate::core) fn record(&self) -> TicketValue {
        let (owner, metadata) = about_value(self.about.as_deref());
        TicketValue {
            id: self.id.0.to_be_bytes().to_vec(),
            state: match self.state {
                TicketState::Waiting => TicketValue::WAITING,
                TicketState::Notified => TicketValue::NOTIFIED,
                TicketState::Accepted => TicketValue::ACCEPTED,
                TicketState::Lapsed => TicketValue::LAPSED,
            },
            ends_nanos: self.ends.map_or(0, Time::as_nanos),
            timeouts: Some(self.timeouts.into()),
            created_at_ms: self.created_at.0,
            since_ms: self.since.0,
            owner,
            metadata,
        }
    }
}

/// A span of so many nanoseconds; the longest there is where it is longer.
pub(super) fn span(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
