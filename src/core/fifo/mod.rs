//! FIFOs: durable lines of tickets.
//!
//! Invariant: at most `concurrency` tickets of a FIFO are notified or accepted, and while there are
//! fewer nobody stands in line: a turn that becomes free is given in the commit that freed it.
//! Invariant: the tickets whose turn it is have lower numbers than all that stand in line.
//! Invariant: calls wait only for tickets that stand in line.
//!
//! Deadlines are committed with their tickets and used as they are after a restart, as the core's
//! time is never ahead of what was served.

mod callback;
mod line;
mod load;
mod ticket;
mod turn;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use self::line::TicketLine;
use super::command::*;
use super::limits::*;
use super::line::Pace;
use super::name::{About, FifoId, RequestId, TicketId};
use super::record::{FifoValue, Key, Value, nanos};
use super::request::{Done, Kind, Recall};
use super::state::{FifoIx, Out, SpaceIx, State, TicketIx, WebhookIx};
use super::time::{Time, WallTime};
use super::timer::Timer;

/// A durable line.
#[derive(Debug)]
pub(super) struct Fifo {
    pub(super) space: SpaceIx,
    pub(super) id: FifoId,
    settings: FifoSettings,
    created_at: WallTime,
    /// The tickets whose turn it is, by number.
    serving: BTreeMap<u64, TicketIx>,
    line: TicketLine,
    /// The tickets that have lapsed, by the time at which they are forgotten, and number.
    lapsed: BTreeMap<(Time, u64), TicketIx>,
    /// How many tickets are accepted.
    accepted: usize,
    /// How many calls wait for its tickets.
    waiting_calls: usize,
    /// How long a turn takes: from being notified to its end.
    mean_turn: Option<Duration>,
    /// When positions are told.
    pace: Pace,
    used_at: Time,
    /// Where the timer to destroy it stands: there is none while it is in use.
    destroy_timer: Option<Time>,
}

impl Fifo {
    fn is_in_use(&self) -> bool {
        self.waiting_calls > 0 || self.accepted > 0
    }

    /// How many tickets live.
    fn living(&self) -> usize {
        self.serving.len() + self.line.len()
    }

    pub(super) fn record(&self) -> FifoValue {
        FifoValue {
            timeouts: Some(self.settings.timeouts.into()),
            unused_destroy_nanos: self.settings.unused_destroy_timeout.map_or(0, nanos),
            allow_overrides: self.settings.allow_overrides,
            concurrency: self.settings.concurrency,
            created_at_ms: self.created_at.0,
        }
    }
}

/// A place in a FIFO, or what is remembered of one that has lapsed.
#[derive(Debug)]
pub(super) struct Ticket {
    fifo: FifoIx,
    id: TicketId,
    number: u64,
    state: TicketState,
    /// When its state ends: it lapses, or is forgotten. `None`: it has no end.
    ends: Option<Time>,
    timeouts: TicketTimeouts,
    about: Option<Arc<About>>,
    created_at: WallTime,
    since: WallTime,
    /// When its turn came; `None`: it has not, or came before the state was loaded.
    turn_began: Option<Time>,
    /// How many calls were told that it is accepted, and have not given that back.
    told: u32,
    calls: SmallVec<[WaitingCall; 1]>,
    /// What calls back when it is its turn, until that is over.
    webhook: Option<WebhookIx>,
}

/// A call that waits for a ticket's turn.
#[derive(Debug)]
struct WaitingCall {
    call: CallId,
    /// When it has waited enough.
    ends: Option<Time>,
    /// The position that it was told last.
    told: u32,
}

impl State {
    pub(super) fn fifo(
        &mut self,
        call: CallId,
        space: SpaceIx,
        command: FifoCommand,
        out: &mut Out,
    ) {
        let done = match command {
            FifoCommand::Create {
                id,
                fresh_id,
                settings,
                request_id,
            } => self.create_fifo(call, space, (id, fresh_id), settings, request_id, out),
            FifoCommand::Get { id } => self.find_fifo(space, &id).map(|fifo| {
                let view = self.view_fifo(fifo, TICKETS_SHOWN_MAX);
                out.answer(call, Answer::Fifo(FifoAnswer::Fifo(view)));
            }),
            FifoCommand::List {
                prefix,
                after,
                limit,
            } => {
                let answer = self.list_fifos(space, &prefix, after.as_deref(), limit);
                out.answer(call, Answer::Fifo(answer));
                Ok(())
            }
            FifoCommand::Delete { id, request_id } => {
                self.delete_fifo(call, space, id, request_id, out)
            }
            FifoCommand::CreateTicket {
                fifo,
                id,
                overrides,
                lenient,
                about,
                subscribe,
                request_id,
            } => {
                let ask = ticket::NewTicket {
                    fifo,
                    overrides,
                    lenient,
                    about,
                    subscribe,
                };
                self.create_ticket(call, space, id, ask, request_id, out)
            }
            FifoCommand::GetTicket { fifo, ticket } => {
                self.find_ticket(space, &fifo, ticket).map(|(_, ticket)| {
                    let view = self.view_ticket(ticket);
                    out.answer(call, Answer::Fifo(FifoAnswer::Ticket(view)));
                })
            }
            FifoCommand::ListTickets { fifo, after, limit } => {
                self.find_fifo(space, &fifo).map(|fifo| {
                    let answer = self.list_tickets(fifo, after.unwrap_or(0), limit);
                    out.answer(call, Answer::Fifo(answer));
                })
            }
            FifoCommand::Wait { fifo, ticket, wait } => {
                self.wait_for_turn(call, space, &fifo, ticket, wait, out)
            }
            FifoCommand::Extend { fifo, ticket, done } => {
                self.extend_ticket(call, space, &fifo, ticket, done, out)
            }
            FifoCommand::Complete {
                fifo,
                ticket,
                request_id,
            } => {
                let end = ticket::End::Complete;
                self.finish_ticket(call, space, &fifo, ticket, end, request_id, out)
            }
            FifoCommand::Cancel {
                fifo,
                ticket,
                request_id,
            } => {
                let end = ticket::End::Cancel;
                self.finish_ticket(call, space, &fifo, ticket, end, request_id, out)
            }
            FifoCommand::GiveBack { ticket } => {
                self.give_back_turn(space, ticket, out);
                Ok(())
            }
        };
        if let Err(refusal) = done {
            out.refuse(call, refusal);
        }
    }

    fn find_fifo(&self, space: SpaceIx, id: &FifoId) -> Result<FifoIx, Refusal> {
        let fifo = self.space_of(space).fifos.get(id).copied();
        fifo.ok_or_else(|| Refusal::FifoNotFound(id.clone()))
    }

    fn create_fifo(
        &mut self,
        call: CallId,
        space: SpaceIx,
        (id, fresh_id): (FifoId, bool),
        settings: FifoSettings,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        // The retry of a call that named no id comes with another fresh one.
        let asked = ((!fresh_id).then_some(&id), settings);
        let request = match self.recall(call, space, request_id, Kind::CreateFifo, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Fifo(id)) => {
                let view = self.view_fifo(self.find_fifo(space, &id)?, TICKETS_SHOWN_MAX);
                out.answer(call, Answer::Fifo(FifoAnswer::Fifo(view)));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let fifos = &self.space_of(space).fifos;
        if fifos.contains_key(&id) {
            return Err(Refusal::FifoExists(id));
        }
        if fifos.len() >= FIFOS_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "FIFOs in one namespace",
                max: FIFOS_PER_NAMESPACE_MAX,
            });
        }
        let index = self.insert_fifo(space, id.clone(), settings, self.wall);
        let record = Value::Fifo(self.fifos[index].record());
        out.put(self.fifo_key(index), record);
        self.remember(space, request, Done::Fifo(id), out);
        let view = self.view_fifo(index, TICKETS_SHOWN_MAX);
        out.answer(call, Answer::Fifo(FifoAnswer::Fifo(view)));
        Ok(())
    }

    /// Makes an empty FIFO, without committing it.
    fn insert_fifo(
        &mut self,
        space: SpaceIx,
        id: FifoId,
        settings: FifoSettings,
        created_at: WallTime,
    ) -> FifoIx {
        let index = self.fifos.insert(Fifo {
            space,
            id: id.clone(),
            settings,
            created_at,
            serving: BTreeMap::new(),
            line: TicketLine::default(),
            lapsed: BTreeMap::new(),
            accepted: 0,
            waiting_calls: 0,
            mean_turn: None,
            pace: Pace::default(),
            used_at: self.now,
            destroy_timer: None,
        });
        self.space_mut(space).fifos.insert(id, index);
        self.fifo_is_used(index);
        index
    }

    fn delete_fifo(
        &mut self,
        call: CallId,
        space: SpaceIx,
        id: FifoId,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let request = match self.recall(call, space, request_id, Kind::DeleteFifo, &id, out) {
            Recall::New(request) => request,
            Recall::Done(Done::FifoDeleted(count)) => {
                out.answer(call, Answer::Fifo(FifoAnswer::Deleted(count)));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let index = self.find_fifo(space, &id)?;
        let count = self.fifos[index].living();
        out.answer(call, Answer::Fifo(FifoAnswer::Deleted(count)));
        self.remember(space, request, Done::FifoDeleted(count), out);
        self.end_fifo(index, out);
        Ok(())
    }

    /// Ends a FIFO with all its tickets, and tells whoever waits for one.
    fn end_fifo(&mut self, index: FifoIx, out: &mut Out) {
        let fifo = &mut self.fifos[index];
        let line = std::mem::take(&mut fifo.line);
        let serving = std::mem::take(&mut fifo.serving);
        let lapsed = std::mem::take(&mut fifo.lapsed);
        let living = serving.into_values().chain(line.iter());
        for ticket in living.chain(lapsed.into_values()) {
            self.end_ticket(ticket, TicketEnd::Deleted, out);
        }
        out.delete(self.fifo_key(index));
        let fifo = self.fifos.remove(index);
        if let Some(at) = fifo.destroy_timer {
            self.timers.unset(at, Timer::Fifo(index));
        }
        if let Some(at) = fifo.pace.timer() {
            self.timers.unset(at, Timer::FifoPositions(index));
        }
        self.space_mut(fifo.space).fifos.remove(&fifo.id);
    }

    /// Counts from now on how long a FIFO is unused.
    fn fifo_is_used(&mut self, index: FifoIx) {
        let now = self.now;
        let fifo = &mut self.fifos[index];
        fifo.used_at = now;
        if let Some(span) = fifo.settings.unused_destroy_timeout
            && fifo.destroy_timer.is_none()
            && !fifo.is_in_use()
        {
            fifo.destroy_timer = Some(now + span);
            self.timers.set(now + span, Timer::Fifo(index));
        }
    }

    /// A FIFO may have been unused for too long.
    pub(super) fn fifo_is_due(&mut self, index: FifoIx, out: &mut Out) {
        let now = self.now;
        let fifo = &mut self.fifos[index];
        fifo.destroy_timer = None;
        let Some(span) = fifo.settings.unused_destroy_timeout else {
            return;
        };
        if fifo.is_in_use() {
            return;
        }
        let at = fifo.used_at + span;
        if at > now {
            fifo.destroy_timer = Some(at);
            return self.timers.set(at, Timer::Fifo(index));
        }
        self.end_fifo(index, out);
    }

    pub(super) fn fifo_key(&self, index: FifoIx) -> Key {
        let fifo = &self.fifos[index];
        Key::Fifo(self.space_of(fifo.space).name.clone(), fifo.id.clone())
    }
}
