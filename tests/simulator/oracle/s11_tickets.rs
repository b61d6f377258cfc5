//! S11. Never more tickets than `concurrency` have their turn, by number, and none waits while a turn
//! is free; a ticket that lapsed or ended never has a turn again; no turn lapses before its time or
//! lasts longer; who waits for a turn is told of it, once; what was told is there after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast::core::{
    Answer, CallId, Change, Command, Effect, FifoAnswer, FifoCommand, FifoId, FifoSettings,
    FifoValue, FifoView, Key, Namespace, Record, Refusal, Request, Standing, TicketEnd, TicketId,
    TicketState, TicketTimeouts, TicketValue, TicketView, Time, TimeoutsValue, Value,
};

use super::book::{Cause, Step};
use super::{Told, Verdict};

super::property!(
    "S11",
    "tickets have their turns in order, each for its time, and whoever waits is told"
);

/// How long a lapsed ticket is remembered: a promise to users, so it stands here by itself.
const LAPSED_MEMORY: Duration = Duration::from_secs(3600);

type Id = (Namespace, FifoId);
use TicketState::{Accepted, Lapsed, Notified, Waiting};

#[derive(Clone, Debug)]
struct Ticket {
    id: TicketId,
    state: TicketState,
    /// When that ends, by the core's time.
    ends: Option<Time>,
    timeouts: TicketTimeouts,
}

#[derive(Clone, Debug)]
struct Fifo {
    settings: FifoSettings,
    tickets: BTreeMap<u64, Ticket>,
    /// When it was used at the earliest.
    used: Time,
}

impl Fifo {
    fn living(&self) -> impl Iterator<Item = (&u64, &Ticket)> {
        self.tickets
            .iter()
            .filter(|(_, ticket)| ticket.state != Lapsed)
    }

    /// How many have their turn, and how many wait.
    fn counts(&self) -> (usize, usize) {
        let waiting = self.living().filter(|(_, ticket)| ticket.state == Waiting);
        let waiting = waiting.count();
        (self.living().count() - waiting, waiting)
    }

    /// The place in line of a ticket; 0: it has none.
    fn position(&self, number: u64) -> u32 {
        let waiting = |ticket: &Ticket| ticket.state == Waiting;
        match self.tickets.get(&number) {
            Some(ticket) if waiting(ticket) => {
                let until = self.tickets.range(..=number);
                until.filter(|(_, ticket)| waiting(ticket)).count() as u32
            }
            _ => 0,
        }
    }
}

/// A call that waits for a turn.
#[derive(Clone, Debug)]
struct Waits {
    ticket: (Namespace, TicketId),
    ends: Option<Time>,
}

#[derive(Default)]
pub struct Tickets {
    live: BTreeMap<Id, Fifo>,
    /// Where each ticket is.
    places: BTreeMap<(Namespace, TicketId), (FifoId, u64)>,
    waits: BTreeMap<CallId, Waits>,
    highest: u64,
    highest_committed: u64,
    /// What the store has to hold.
    durable: BTreeMap<Key, Value>,
    /// Which tickets are among that.
    durable_ids: BTreeSet<TicketId>,
    /// In which states a ticket was ever committed.
    committed: BTreeSet<(TicketId, TicketState)>,
    /// Until when accepted tickets can be worked on at least, in the world's time.
    promises: BTreeMap<TicketId, Time>,
    /// Tickets whose turn a client has read of.
    read: BTreeSet<TicketId>,
    /// Tickets that nobody needs to be told of any more: they have ended for good.
    over: BTreeSet<TicketId>,
}

impl Tickets {
    pub fn waits_for_turn(&self, call: CallId) -> bool {
        self.waits.contains_key(&call)
    }

    pub fn step(&mut self, step: &Step<'_>) -> Verdict {
        let request = step.request();
        if let Some(Command::Cancel { call }) = step.command() {
            self.waits.remove(call);
        }
        let mut touched = BTreeSet::new();
        for change in step.changes {
            self.see(step, change, &mut touched)?;
        }
        for id in &touched {
            if let Some(fifo) = self.live.get(id) {
                serves_in_order(id, fifo)?;
            }
        }
        if let Some(request) = request
            && let Command::Fifo(command) = &request.command
        {
            self.wait(step, request, command);
        }
        for effect in step.effects {
            self.told_of(step, effect)?;
        }
        self.nobody_is_late(step, &touched)?;
        match (request, step.reply()) {
            (Some(request), Some(reply)) => self.look(request, reply),
            _ => Ok(()),
        }
    }

    fn see(&mut self, step: &Step<'_>, change: &Change, touched: &mut BTreeSet<Id>) -> Verdict {
        match change {
            Change::Put(Record {
                key: Key::Fifo(space, fifo),
                ..
            }) => {
                let Some(Command::Fifo(FifoCommand::Create { settings, .. })) = step.command()
                else {
                    return broken(format!("nobody has made {fifo}"));
                };
                let made = Fifo {
                    settings: *settings,
                    tickets: BTreeMap::new(),
                    used: step.now,
                };
                self.live.insert((space.clone(), fifo.clone()), made);
            }
            Change::Delete(Key::Fifo(space, fifo)) => {
                let id = (space.clone(), fifo.clone());
                let Some(gone) = self.live.remove(&id) else {
                    return broken(format!("{fifo} was not there"));
                };
                self.may_go(step, &id, &gone)?;
            }
            Change::Put(Record {
                key: Key::Ticket(space, fifo, number),
                value: Value::Ticket(value),
            }) => {
                let id = (space.clone(), fifo.clone());
                let state = state_of(value.state);
                let ends = (value.ends_nanos > 0).then(|| Time::from_nanos(value.ends_nanos));
                self.move_ticket(step, &id, *number, &value.id, state, ends)?;
                touched.insert(id);
            }
            Change::Delete(Key::Ticket(space, fifo, number)) => {
                let id = (space.clone(), fifo.clone());
                self.end_ticket(step, &id, *number)?;
                touched.insert(id);
            }
            _ => {}
        }
        Ok(())
    }

    /// A FIFO goes when it is deleted, or when nobody has used it for so long.
    fn may_go(&self, step: &Step<'_>, id: &Id, fifo: &Fifo) -> Verdict {
        if let Some(left) = fifo.tickets.first_key_value() {
            return broken(format!("{id:?} went without {left:?}"));
        }
        let deleted = match step.command() {
            Some(Command::Fifo(FifoCommand::Delete { id: asked, .. })) => *asked == id.1,
            Some(_) => false,
            None => {
                let span = fifo.settings.unused_destroy_timeout;
                span.is_some_and(|span| fifo.used + span <= step.now)
            }
        };
        if !deleted {
            return broken(format!("{id:?} went at {:?}: {fifo:?}", step.now));
        }
        Ok(())
    }

    fn move_ticket(
        &mut self,
        step: &Step<'_>,
        id: &Id,
        number: u64,
        ticket: &[u8],
        state: TicketState,
        ends: Option<Time>,
    ) -> Verdict {
        let Some(fifo) = self.live.get_mut(id) else {
            return broken(format!("a ticket of {id:?}, which is not there"));
        };
        let command = match step.command() {
            Some(Command::Fifo(command)) => Some(command),
            _ => None,
        };
        let Some(before) = fifo.tickets.get(&number).cloned() else {
            let Some(FifoCommand::CreateTicket {
                id: asked,
                overrides,
                ..
            }) = command
            else {
                return broken(format!("nobody has made the ticket {number}"));
            };
            if number <= self.highest || asked.0.to_be_bytes() != *ticket {
                return broken(format!("the ticket {number} comes after {}", self.highest));
            }
            self.highest = number;
            let mut timeouts = fifo.settings.timeouts;
            if fifo.settings.allow_overrides {
                timeouts.wait = overrides.wait.unwrap_or(timeouts.wait);
                timeouts.accept = overrides.accept.unwrap_or(timeouts.accept);
                timeouts.done = overrides.done.unwrap_or(timeouts.done);
            }
            let ends_at = match state {
                Waiting => None,
                _ => timeouts.accept.map(|accept| step.now + accept),
            };
            if !matches!(state, Waiting | Notified) || ends != ends_at {
                return broken(format!("{number} was made {state:?} until {ends:?}"));
            }
            let made = Ticket {
                id: *asked,
                state,
                ends,
                timeouts,
            };
            fifo.tickets.insert(number, made);
            fifo.used = step.now;
            let space = id.0.clone();
            self.places.insert((space, *asked), (id.1.clone(), number));
            return Ok(());
        };
        let of_ticket = (id.0.clone(), before.id);
        let mut waiting = self.waits.values();
        let waits = waiting.any(|waits| waits.ticket == of_ticket);
        // In one tick a wait can end just before the turn comes.
        let goes_on = |waits: &Waits| waits.ends.is_none_or(|ends| ends > step.now);
        let mut waiting = self.waits.values();
        let still_waits = waiting.any(|waits| waits.ticket == of_ticket && goes_on(waits));
        let is_asked = |asked: &TicketId| *asked == before.id;
        let due = before.ends.is_some_and(|ends| ends <= step.now);
        let timeouts = before.timeouts;
        let after = |span: Option<Duration>| span.map(|span| step.now + span);
        let (may, ends_at) = match (before.state, state) {
            (Waiting, Notified) => (!still_waits, after(timeouts.accept)),
            (Waiting, Accepted) => (waits, after(timeouts.done)),
            (Notified, Accepted) => {
                let waited =
                    matches!(command, Some(FifoCommand::Wait { ticket, .. }) if is_asked(ticket));
                (waited, after(timeouts.done))
            }
            (Accepted, Notified) => {
                let given_back =
                    matches!(command, Some(FifoCommand::GiveBack { ticket }) if is_asked(ticket));
                let was_read = self.read.contains(&before.id);
                (given_back && !was_read, after(timeouts.accept))
            }
            (Accepted, Accepted) => match command {
                Some(FifoCommand::Extend { ticket, done, .. }) if is_asked(ticket) => {
                    let ends = after(done.or(timeouts.done));
                    let ends = before.ends.and_then(|before| Some(ends?.max(before)));
                    (true, ends)
                }
                _ => (false, None),
            },
            (Notified | Accepted, Lapsed) => {
                let promise = self.promises.get(&before.id).copied().unwrap_or_default();
                let early = before.state == Accepted && promise > step.real;
                (due && !early, after(Some(LAPSED_MEMORY)))
            }
            _ => (false, None),
        };
        if !may || ends != ends_at {
            return broken(format!(
                "{before:?} became {state:?} until {ends:?}, not {ends_at:?}, at {:?}",
                step.now
            ));
        }
        if (before.state, state) == (Accepted, Notified) {
            self.promises.remove(&before.id);
        }
        if let Some(ticket) = fifo.tickets.get_mut(&number) {
            (ticket.state, ticket.ends) = (state, ends);
        }
        Ok(())
    }

    fn end_ticket(&mut self, step: &Step<'_>, id: &Id, number: u64) -> Verdict {
        let fifo = self.live.get_mut(id);
        let Some(gone) = fifo.and_then(|fifo| fifo.tickets.remove(&number)) else {
            return broken(format!("the ticket {number} was not there"));
        };
        self.places.remove(&(id.0.clone(), gone.id));
        let may = match step.command() {
            Some(Command::Fifo(
                FifoCommand::Complete { ticket, .. } | FifoCommand::Cancel { ticket, .. },
            )) => *ticket == gone.id && gone.state != Lapsed,
            Some(Command::Fifo(FifoCommand::Delete { id: fifo, .. })) => *fifo == id.1,
            Some(_) => false,
            None => {
                let forgotten = gone.state == Lapsed && gone.ends.is_some_and(|at| at <= step.now);
                let key = Key::Fifo(id.0.clone(), id.1.clone());
                let unused = gone.state != Accepted && step.changes.contains(&Change::Delete(key));
                forgotten || unused
            }
        };
        if !may {
            return broken(format!("{gone:?} ended at {:?}", step.now));
        }
        Ok(())
    }

    /// A call that is not answered at once waits from now on.
    fn wait(&mut self, step: &Step<'_>, request: &Request, command: &FifoCommand) {
        let FifoCommand::Wait { ticket, wait, .. } = command else {
            return;
        };
        let id = (request.namespace.clone(), *ticket);
        let Some((fifo, number)) = self.places.get(&id) else {
            return;
        };
        let Some(fifo) = self.live.get(&(id.0.clone(), fifo.clone())) else {
            return;
        };
        if step.reply().is_none()
            && let Some(of) = fifo.tickets.get(number)
        {
            let ends = wait.or(of.timeouts.wait).map(|wait| step.now + wait);
            self.waits.insert(request.call, Waits { ticket: id, ends });
        }
    }

    /// Who is told fits what it waits for.
    fn told_of(&mut self, step: &Step<'_>, effect: &Effect) -> Verdict {
        let call = effect.call();
        let applied = step.request().is_some_and(|request| request.call == call);
        match effect {
            Effect::InLine(_, standing) => {
                let waits = self.waits.get(&call);
                let is = waits.map_or(0, |waits| self.place(&waits.ticket));
                // In one tick the line can move on behind it.
                let fits = match step.cause {
                    Cause::Tick => waits.is_some() && is <= standing.position,
                    Cause::Apply(_) => is == standing.position,
                };
                if !fits || standing.position == 0 {
                    return broken(format!("{call:?} was told {standing:?} at {is}"));
                }
            }
            Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Ready(view)))) => {
                let waited = self.waits.remove(&call).map(|waits| waits.ticket.1);
                let asked = match step.command() {
                    Some(Command::Fifo(FifoCommand::Wait { ticket, .. })) if applied => {
                        Some(*ticket)
                    }
                    _ => None,
                };
                if waited.or(asked) != Some(view.id) || view.state != Accepted {
                    return broken(format!("{call:?} was told {view:?}"));
                }
            }
            Effect::Reply(_, Err(refusal)) => {
                let waits = self.waits.remove(&call);
                let Some(waits) = waits.filter(|_| !applied) else {
                    return Ok(());
                };
                let fits = match refusal {
                    Refusal::TurnTimedOut(id, standing) => {
                        *id == waits.ticket.1
                            && standing.position > 0
                            && waits.ends.is_some_and(|ends| ends <= step.now)
                    }
                    Refusal::TicketEnded(id, end) => {
                        *id == waits.ticket.1 && Some(*end) == end_of(step)
                    }
                    _ => false,
                };
                if !fits {
                    return broken(format!("{waits:?} was told {refusal:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Nobody waits for what has come or can't come any more, and after a tick nothing is overdue.
    fn nobody_is_late(&self, step: &Step<'_>, touched: &BTreeSet<Id>) -> Verdict {
        let tick = matches!(step.cause, Cause::Tick);
        if tick || !touched.is_empty() {
            for (call, waits) in &self.waits {
                if self.place(&waits.ticket) == 0 {
                    return broken(format!("{call:?} was not told what became of {waits:?}"));
                }
                if tick && waits.ends.is_some_and(|ends| ends <= step.now) {
                    return broken(format!("{waits:?} still waits at {:?}", step.now));
                }
            }
        }
        if !tick {
            return Ok(());
        }
        let due = |ticket: &Ticket| ticket.ends.is_some_and(|ends| ends <= step.now);
        for fifo in self.live.values() {
            if let Some(late) = fifo.tickets.values().find(|ticket| due(ticket)) {
                return broken(format!("{late:?} is there at {:?}", step.now));
            }
        }
        Ok(())
    }

    fn place(&self, ticket: &(Namespace, TicketId)) -> u32 {
        let place = self.places.get(ticket);
        place.map_or(0, |(fifo, number)| {
            let fifo = self.live.get(&(ticket.0.clone(), fifo.clone()));
            fifo.map_or(0, |fifo| fifo.position(*number))
        })
    }

    /// What was answered fits what is there.
    fn look(&self, request: &Request, reply: &Result<Answer, Refusal>) -> Verdict {
        let Command::Fifo(command) = &request.command else {
            return Ok(());
        };
        let space = &request.namespace;
        let fits = match reply {
            Ok(Answer::Fifo(answer)) => match answer {
                FifoAnswer::Fifo(view) => self.is_fifo(space, view),
                FifoAnswer::Fifos { fifos, .. } => {
                    fifos.windows(2).all(|pair| pair[0].id < pair[1].id)
                        && fifos.iter().all(|view| self.is_fifo(space, view))
                }
                FifoAnswer::Ticket(view) | FifoAnswer::Ready(view) => self.is(space, view),
                FifoAnswer::Tickets { tickets, more } => self.lists(space, command, tickets, *more),
                FifoAnswer::Deleted(_) | FifoAnswer::Completed | FifoAnswer::Cancelled => true,
            },
            Ok(_) => false,
            Err(refusal) => self.may_refuse(space, command, refusal),
        };
        if !fits {
            return broken(format!("{command:?} was answered {reply:?}"));
        }
        Ok(())
    }

    fn lists(
        &self,
        space: &Namespace,
        command: &FifoCommand,
        tickets: &[TicketView],
        more: bool,
    ) -> bool {
        let FifoCommand::ListTickets { fifo, after, limit } = command else {
            return false;
        };
        let Some(fifo) = self.live.get(&(space.clone(), fifo.clone())) else {
            return false;
        };
        let after = after.unwrap_or(0);
        let asked = fifo.living().filter(|(number, _)| **number > after);
        let asked: Vec<u64> = asked.map(|(number, _)| *number).collect();
        let listed: Vec<u64> = tickets.iter().map(|view| view.number).collect();
        listed == asked[..asked.len().min(*limit)]
            && more == (asked.len() > *limit)
            && tickets.iter().all(|view| self.is(space, view))
    }

    fn is_fifo(&self, space: &Namespace, view: &FifoView) -> bool {
        let fifo = self.live.get(&(space.clone(), view.id.clone()));
        fifo.is_some_and(|fifo| {
            fifo.settings == view.settings
                && fifo.counts() == (view.serving_count, view.waiting_count)
                && view.tickets.iter().all(|view| self.is(space, view))
        })
    }

    fn is(&self, space: &Namespace, view: &TicketView) -> bool {
        let fifo = self.live.get(&(space.clone(), view.fifo.clone()));
        let ticket = fifo.and_then(|fifo| Some((fifo, fifo.tickets.get(&view.number)?)));
        ticket.is_some_and(|(fifo, ticket)| {
            let lapses = matches!(ticket.state, Notified | Accepted) && ticket.ends.is_some();
            (ticket.id, ticket.state, ticket.timeouts) == (view.id, view.state, view.timeouts)
                && view.position == fifo.position(view.number)
                && view.lapses_in.is_some() == lapses
        })
    }

    fn may_refuse(&self, space: &Namespace, command: &FifoCommand, refusal: &Refusal) -> bool {
        let state = |ticket: &TicketId| {
            let (fifo, number) = self.places.get(&(space.clone(), *ticket))?;
            let fifo = self.live.get(&(space.clone(), fifo.clone()))?;
            Some(fifo.tickets.get(number)?.state)
        };
        let is_there = |fifo: &FifoId| self.live.contains_key(&(space.clone(), fifo.clone()));
        match (command, refusal) {
            (_, Refusal::FifoNotFound(fifo)) => !is_there(fifo),
            (FifoCommand::Create { .. }, Refusal::FifoExists(fifo)) => is_there(fifo),
            (_, Refusal::TicketNotFound(ticket)) => state(ticket).is_none(),
            (_, Refusal::TicketLapsed(ticket)) => state(ticket) == Some(Lapsed),
            (FifoCommand::Extend { .. }, Refusal::TicketNotAccepted(ticket)) => {
                matches!(state(ticket), Some(Waiting | Notified))
            }
            (
                FifoCommand::Wait {
                    wait: Some(wait), ..
                },
                Refusal::TurnTimedOut(ticket, Standing { position, .. }),
            ) => wait.is_zero() && *position == self.place(&(space.clone(), *ticket)),
            (_, Refusal::Invalid(invalid)) => matches!(invalid.field, "ticket" | "overrides"),
            // S12 looks into these.
            (_, Refusal::RequestIdReused(_)) => true,
            _ => false,
        }
    }

    pub fn commit(&mut self, changes: &[Change]) -> Verdict {
        for change in changes {
            match change {
                Change::Put(Record { key, value }) if is_of_fifos(key) => {
                    if let (Key::Ticket(_, _, number), Value::Ticket(ticket)) = (key, value) {
                        let id = id_of(ticket);
                        if self.over.contains(&id) {
                            return broken(format!("{id} was told ended and is back"));
                        }
                        self.committed.insert((id, state_of(ticket.state)));
                        self.durable_ids.insert(id);
                        self.highest_committed = self.highest_committed.max(*number);
                    }
                    self.durable.insert(key.clone(), value.clone());
                }
                Change::Delete(key) => {
                    if let Some(Value::Ticket(ticket)) = self.durable.remove(key) {
                        self.durable_ids.remove(&id_of(&ticket));
                    }
                }
                Change::Put(_) => {}
            }
        }
        Ok(())
    }

    /// What is told is committed; what is acknowledged is a promise.
    pub fn told(&mut self, told: &Told<'_>) -> Verdict {
        let Effect::Reply(_, reply) = told.effect else {
            return Ok(());
        };
        match reply {
            Ok(Answer::Fifo(FifoAnswer::Ticket(view) | FifoAnswer::Ready(view))) => {
                self.is_committed(view)?;
                // Others may have it taken from them when somebody gives it back.
                let is_ready = matches!(reply, Ok(Answer::Fifo(FifoAnswer::Ready(_))));
                let extends = matches!(
                    told.asked.command,
                    Command::Fifo(FifoCommand::Extend { .. })
                );
                if is_ready || extends {
                    let until = view.lapses_in.map(|left| told.made + left);
                    let until = until.unwrap_or(Time::from_nanos(u64::MAX));
                    let promise = self.promises.entry(view.id).or_default();
                    *promise = until.max(*promise);
                }
                Ok(())
            }
            Ok(Answer::Fifo(FifoAnswer::Fifo(view))) => view
                .tickets
                .iter()
                .try_for_each(|view| self.is_committed(view)),
            Ok(Answer::Fifo(FifoAnswer::Tickets { tickets, .. })) => {
                tickets.iter().try_for_each(|view| self.is_committed(view))
            }
            Ok(Answer::Fifo(FifoAnswer::Completed | FifoAnswer::Cancelled)) => {
                let Command::Fifo(
                    FifoCommand::Complete { ticket, .. } | FifoCommand::Cancel { ticket, .. },
                ) = &told.asked.command
                else {
                    return broken("an end was told to a call that asked for none");
                };
                self.over.insert(*ticket);
                if self.durable_ids.contains(ticket) {
                    return broken(format!("{ticket} was told ended and is in the store"));
                }
                Ok(())
            }
            Err(Refusal::TicketLapsed(id)) if !self.committed.contains(&(*id, Lapsed)) => {
                broken(format!("{id} was told lapsed and that isn't committed"))
            }
            _ => Ok(()),
        }
    }

    /// A client reads an answer.
    pub fn read(&mut self, effect: &Effect) {
        if let Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Ready(view)))) = effect {
            self.read.insert(view.id);
        }
    }

    fn is_committed(&self, view: &TicketView) -> Verdict {
        if self.committed.contains(&(view.id, view.state)) {
            return Ok(());
        }
        broken(format!("{view:?} was told and isn't committed"))
    }

    /// What is loaded is what was committed; it starts from there.
    pub fn crash(&mut self, records: &[Record], now: Time) -> Verdict {
        let records = records.iter().filter(|record| is_of_fifos(&record.key));
        let loaded: BTreeMap<Key, Value> = records
            .map(|record| (record.key.clone(), record.value.clone()))
            .collect();
        if loaded != self.durable {
            let durable = &self.durable;
            return broken(format!("at {now:?} {loaded:?} is loaded of {durable:?}"));
        }
        self.waits.clear();
        self.live.clear();
        self.places.clear();
        for (key, value) in loaded {
            match (key, value) {
                (Key::Fifo(space, fifo), Value::Fifo(value)) => {
                    let loaded = Fifo {
                        settings: settings_of(&value),
                        tickets: BTreeMap::new(),
                        used: now,
                    };
                    self.live.insert((space, fifo), loaded);
                }
                (Key::Ticket(space, fifo, number), Value::Ticket(value)) => {
                    let id = id_of(&value);
                    let ends = (value.ends_nanos > 0).then(|| Time::from_nanos(value.ends_nanos));
                    let ticket = Ticket {
                        id,
                        state: state_of(value.state),
                        ends,
                        timeouts: timeouts_of(value.timeouts.as_ref()),
                    };
                    self.places
                        .insert((space.clone(), id), (fifo.clone(), number));
                    if let Some(fifo) = self.live.get_mut(&(space, fifo)) {
                        fifo.tickets.insert(number, ticket);
                    }
                }
                _ => {}
            }
        }
        self.highest = self.highest_committed;
        Ok(())
    }
}

/// As many have their turn as can, and they are the first.
fn serves_in_order(id: &Id, fifo: &Fifo) -> Verdict {
    let (serving, waiting) = fifo.counts();
    let most = fifo.settings.concurrency as usize;
    if serving > most || waiting > 0 && serving < most {
        return broken(format!(
            "{id:?} serves {serving} while {waiting} wait: {fifo:?}"
        ));
    }
    let behind = fifo.living().skip(serving);
    match behind
        .into_iter()
        .find(|(_, ticket)| ticket.state != Waiting)
    {
        Some(early) => broken(format!("{early:?} has overtaken somebody: {fifo:?}")),
        None => Ok(()),
    }
}

/// What those who wait for a ticket that ends in this step are told.
fn end_of(step: &Step<'_>) -> Option<TicketEnd> {
    match step.command() {
        Some(Command::Fifo(FifoCommand::Complete { .. })) => Some(TicketEnd::Done),
        Some(Command::Fifo(FifoCommand::Cancel { .. })) => Some(TicketEnd::Cancelled),
        Some(Command::Fifo(FifoCommand::Delete { .. })) => Some(TicketEnd::Deleted),
        _ => None,
    }
}

fn is_of_fifos(key: &Key) -> bool {
    matches!(key, Key::Fifo(..) | Key::Ticket(..))
}

fn id_of(ticket: &TicketValue) -> TicketId {
    let id = ticket.id.as_slice().try_into();
    TicketId(id.map_or(0, u128::from_be_bytes))
}

fn state_of(stored: u32) -> TicketState {
    match stored {
        TicketValue::WAITING => Waiting,
        TicketValue::NOTIFIED => Notified,
        TicketValue::ACCEPTED => Accepted,
        _ => Lapsed,
    }
}

fn settings_of(stored: &FifoValue) -> FifoSettings {
    FifoSettings {
        timeouts: timeouts_of(stored.timeouts.as_ref()),
        unused_destroy_timeout: span_of(stored.unused_destroy_nanos),
        allow_overrides: stored.allow_overrides,
        concurrency: stored.concurrency,
    }
}

fn timeouts_of(stored: Option<&TimeoutsValue>) -> TicketTimeouts {
    let stored = stored.cloned().unwrap_or_default();
    TicketTimeouts {
        wait: span_of(stored.wait_nanos),
        accept: span_of(stored.accept_nanos),
        done: span_of(stored.done_nanos),
    }
}

fn span_of(nanos: u64) -> Option<Duration> {
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}
