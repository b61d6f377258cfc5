//! What callers may see of FIFOs and tickets.

use std::ops::Bound;
use std::time::Duration;

use super::Fifo;
use super::turn::span;
use crate::core::command::*;
use crate::core::page::{named, page};
use crate::core::state::{FifoIx, SpaceIx, State, TicketIx};

impl Fifo {
    /// About how long it takes from a position in line to the turn.
    pub(super) fn time_to_go(&self, position: u32) -> Option<Duration> {
        let turns = self.mean_turn?.as_nanos() * u128::from(position);
        Some(span(turns / u128::from(self.settings.concurrency.max(1))))
    }

    /// The tickets that live and have higher numbers than this, in the order of their turns.
    fn tickets_after(&self, number: u64) -> impl Iterator<Item = TicketIx> + Clone {
        let serving = (Bound::Excluded(number), Bound::Unbounded);
        let serving = self.serving.range(serving).map(|(_, ticket)| *ticket);
        serving.chain(self.line.after(number))
    }
}

impl State {
    /// A FIFO with so many of its tickets.
    pub(super) fn view_fifo(&self, index: FifoIx, shown: usize) -> FifoView {
        let fifo = &self.fifos[index];
        FifoView {
            id: fifo.id.clone(),
            settings: fifo.settings,
            created_at: fifo.created_at,
            tickets: self.view_tickets(fifo.tickets_after(0), shown).0,
            serving_count: fifo.serving.len(),
            waiting_count: fifo.line.len(),
            mean_turn: fifo.mean_turn,
        }
    }

    pub(super) fn list_fifos(
        &self,
        space: SpaceIx,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> FifoAnswer {
        let found = named(&self.space_of(space).fifos, prefix, after);
        let (fifos, more) = page(found, limit, |fifo| self.view_fifo(fifo, 0));
        FifoAnswer::Fifos { fifos, more }
    }

    pub(super) fn list_tickets(&self, fifo: FifoIx, after: u64, limit: usize) -> FifoAnswer {
        let found = self.fifos[fifo].tickets_after(after);
        let (tickets, more) = self.view_tickets(found, limit);
        FifoAnswer::Tickets { tickets, more }
    }

    /// The first of the tickets that were found, and whether there are more.
    fn view_tickets(
        &self,
        found: impl Iterator<Item = TicketIx>,
        limit: usize,
    ) -> (Vec<TicketView>, bool) {
        // Who stands in line one behind the other: only the first has to be counted for.
        let mut before = None;
        page(found, limit, |ticket| {
            let view = match before {
                None => self.view_ticket(ticket),
                Some(before) => self.view_at(ticket, before + 1),
            };
            before = (view.position > 0).then_some(view.position);
            view
        })
    }

    pub(in crate::core) fn view_ticket(&self, index: TicketIx) -> TicketView {
        self.view_at(index, self.standing(index).position)
    }

    fn view_at(&self, index: TicketIx, position: u32) -> TicketView {
        let ticket = &self.tickets[index];
        let fifo = &self.fifos[ticket.fifo];
        let waits = position > 0;
        let has_turn = !waits && ticket.state != TicketState::Lapsed;
        let ends = ticket.ends.filter(|_| has_turn);
        TicketView {
            fifo: fifo.id.clone(),
            id: ticket.id,
            number: ticket.number,
            state: ticket.state,
            position,
            time_to_go: fifo.time_to_go(position).filter(|_| waits),
            lapses_in: ends.map(|ends| ends.since(self.now)),
            timeouts: ticket.timeouts,
            about: ticket.about.clone(),
            created_at: ticket.created_at,
            since: ticket.since,
            webhook: ticket.webhook.map(|webhook| self.webhook_id(webhook)),
        }
    }

    /// Where a ticket stands in line; position 0 where it does not.
    pub(super) fn standing(&self, index: TicketIx) -> Standing {
        let ticket = &self.tickets[index];
        let fifo = &self.fifos[ticket.fifo];
        let position = fifo.line.position(ticket.number).unwrap_or(0);
        Standing {
            position,
            time_to_go: fifo.time_to_go(position),
        }
    }
}
