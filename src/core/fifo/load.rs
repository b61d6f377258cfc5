//! Reads FIFOs and tickets as stored.

use std::time::Duration;

use smallvec::SmallVec;

use super::Ticket;
use crate::core::command::*;
use crate::core::load::{TOLD_BEFORE_LOAD, about};
use crate::core::name::{FifoId, Namespace, TicketId};
use crate::core::record::{Damage, FifoValue, TicketValue, TimeoutsValue, nanos};
use crate::core::state::{FifoIx, State};
use crate::core::time::{Time, WallTime};
use crate::core::timer::Timer;

impl From<TicketTimeouts> for TimeoutsValue {
    fn from(timeouts: TicketTimeouts) -> TimeoutsValue {
        TimeoutsValue {
            wait_nanos: timeouts.wait.map_or(0, nanos),
            accept_nanos: timeouts.accept.map_or(0, nanos),
            done_nanos: timeouts.done.map_or(0, nanos),
        }
    }
}

fn timeouts(stored: Option<TimeoutsValue>) -> TicketTimeouts {
    let stored = stored.unwrap_or_default();
    TicketTimeouts {
        wait: some_span(stored.wait_nanos),
        accept: some_span(stored.accept_nanos),
        done: some_span(stored.done_nanos),
    }
}

fn some_span(nanos: u64) -> Option<Duration> {
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

impl State {
    pub(in crate::core) fn load_fifo(
        &mut self,
        space: &Namespace,
        id: FifoId,
        value: FifoValue,
    ) -> Result<(), Damage> {
        if value.concurrency == 0 {
            return Err(Damage(format!("the FIFO {id} serves nobody")));
        }
        let settings = FifoSettings {
            timeouts: timeouts(value.timeouts),
            unused_destroy_timeout: some_span(value.unused_destroy_nanos),
            allow_overrides: value.allow_overrides,
            concurrency: value.concurrency,
        };
        let space = self.space(space);
        self.insert_fifo(space, id, settings, WallTime(value.created_at_ms));
        Ok(())
    }

    /// Tickets come in the order of their numbers, behind their FIFOs.
    pub(in crate::core) fn load_ticket(
        &mut self,
        space: &Namespace,
        fifo: &FifoId,
        number: u64,
        value: TicketValue,
    ) -> Result<(), Damage> {
        let damage = |what: &str| Err(Damage(format!("the ticket {number} of {fifo} {what}")));
        let space = self.space(space);
        let Some(index) = self.space_of(space).fifos.get(fifo).copied() else {
            return damage("has no FIFO");
        };
        if number == 0 || number > self.last_arrival {
            return damage("has a number that was never given");
        }
        let Ok(id) = value.id.as_slice().try_into().map(u128::from_be_bytes) else {
            return damage("has no id");
        };
        let id = TicketId(id);
        if self.ticket_by_id(index, id).is_some() {
            return damage("has the id of another");
        }
        let state = match value.state {
            TicketValue::WAITING => TicketState::Waiting,
            TicketValue::NOTIFIED => TicketState::Notified,
            TicketValue::ACCEPTED => TicketState::Accepted,
            TicketValue::LAPSED => TicketState::Lapsed,
            _ => return damage("is in no state that there is"),
        };
        let has_turn = matches!(state, TicketState::Notified | TicketState::Accepted);
        if has_turn && !self.fifos[index].has_turn_to_give() {
            return damage("has a turn that is not its own");
        }
        self.insert_ticket(Ticket {
            fifo: index,
            id,
            number,
            state,
            ends: (value.ends_nanos > 0).then(|| Time::from_nanos(value.ends_nanos)),
            timeouts: timeouts(value.timeouts),
            about: about(&value.owner, value.metadata),
            created_at: WallTime(value.created_at_ms),
            since: WallTime(value.since_ms),
            turn_began: None,
            told: TOLD_BEFORE_LOAD,
            calls: SmallVec::new(),
            webhook: None,
        });
        Ok(())
    }

    /// Serves those FIFOs, at the first tick, whose turns are not all given.
    pub(in crate::core) fn finish_fifos(&mut self) {
        let free: Vec<FifoIx> = self
            .fifos
            .iter()
            .filter(|(_, fifo)| fifo.serving.len() < fifo.settings.concurrency as usize)
            .filter(|(_, fifo)| !fifo.line.is_empty())
            .map(|(index, _)| index)
            .collect();
        for fifo in free {
            self.timers.set(self.now, Timer::ServeFifo(fifo));
        }
    }
}

impl super::Fifo {
    /// Whether the next ticket that is loaded can have its turn.
    fn has_turn_to_give(&self) -> bool {
        self.line.is_empty() && self.serving.len() < self.settings.concurrency as usize
    }
}
