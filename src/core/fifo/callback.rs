//! Tickets whose turn is told by a call back. The ticket's accept timeout is the receiver's.

use std::time::Duration;

use crate::core::command::*;
use crate::core::name::{FifoId, TicketId};
use crate::core::state::{Out, SpaceIx, State, TicketIx, WebhookIx};
use crate::core::webhook::{Place, Stage, Turned};

impl State {
    /// Gives a new ticket, which stands in line, what calls back. There is room for it.
    pub(super) fn attach_webhook(&mut self, index: TicketIx, subscribe: Subscribe) {
        let ticket = &self.tickets[index];
        let fifo = &self.fifos[ticket.fifo];
        let target = WebhookTarget::Ticket {
            fifo: fifo.id.clone(),
            ticket: ticket.id,
        };
        let webhook = self.new_webhook(fifo.space, subscribe, target);
        self.enter_stage(webhook, Stage::Waiting(Place::Ticket(index)));
        self.tickets[index].webhook = Some(webhook);
    }

    pub(super) fn put_ticket_webhook(&self, index: TicketIx, out: &mut Out) {
        if let Some(webhook) = self.tickets[index].webhook {
            self.put_webhook(webhook, out);
        }
    }

    /// It is a ticket's turn: its webhook is to be posted.
    pub(super) fn ticket_webhook_is_due(&mut self, index: TicketIx, out: &mut Out) {
        if let Some(webhook) = self.tickets[index].webhook {
            self.webhook_is_due(webhook, Turned::Ticket(index), out);
        }
    }

    /// Whatever becomes of a ticket, nothing is to be posted any more.
    pub(super) fn ticket_webhook_is_over(
        &mut self,
        index: TicketIx,
        state: WebhookState,
        out: &mut Out,
    ) {
        if let Some(webhook) = self.tickets[index].webhook {
            self.webhook_is_over(webhook, state, out);
        }
    }

    pub(super) fn ticket_webhook_ends_with(
        &mut self,
        index: TicketIx,
        end: TicketEnd,
        out: &mut Out,
    ) {
        let state = match (self.tickets[index].state, end) {
            (TicketState::Waiting, TicketEnd::Deleted) => WebhookState::WaitEnded,
            (TicketState::Waiting, _) => WebhookState::Cancelled,
            _ => WebhookState::Ended,
        };
        self.ticket_webhook_is_over(index, state, out);
    }

    /// The receiver has taken a ticket's turn, or has refused it.
    pub(in crate::core) fn settle_turn(&mut self, index: TicketIx, taken: bool, out: &mut Out) {
        if taken {
            self.ticket_webhook_is_over(index, WebhookState::Taken, out);
            self.accept(index, &[], out);
            // The receiver has been told.
            self.tickets[index].told = 1;
        } else {
            self.ticket_webhook_is_over(index, WebhookState::Refused, out);
            self.lapse(index, out);
        }
    }

    /// A webhook's ticket, which stands in line, is given up.
    pub(in crate::core) fn give_up_ticket(&mut self, index: TicketIx, out: &mut Out) {
        let fifo = self.tickets[index].fifo;
        self.end_ticket(index, TicketEnd::Cancelled, out);
        self.serve_tickets(fifo, out);
        self.fifo_is_used(fifo);
    }

    /// Says which webhook calls back for a ticket, if any does.
    pub(in crate::core) fn set_ticket_webhook(
        &mut self,
        index: TicketIx,
        webhook: Option<WebhookIx>,
    ) {
        self.tickets[index].webhook = webhook;
    }

    /// The time left to accept a ticket's turn; `None`: it has no end.
    pub(in crate::core) fn ticket_lapses_in(&self, index: TicketIx) -> Option<Duration> {
        let ends = self.tickets[index].ends;
        ends.map(|ends| ends.since(self.now))
    }

    /// A ticket, where it stands so.
    pub(in crate::core) fn ticket_in_state(
        &self,
        space: SpaceIx,
        fifo: &FifoId,
        id: TicketId,
        state: TicketState,
    ) -> Option<TicketIx> {
        let (_, index) = self.find_ticket(space, fifo, id).ok()?;
        (self.tickets[index].state == state).then_some(index)
    }
}
