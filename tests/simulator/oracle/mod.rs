//! Judges a run, step by step: one file for each property of the service, its claim on top.
//!
//! What the properties go by is the [`Book`], which the oracle keeps for itself from what was asked
//! and what came out of the core.

pub mod book;
mod losses;
mod s01_exclusion;
mod s02_stops_in_time;
mod s03_tokens_rise;
mod s04_durable;
mod s05_committed_first;
mod s06_never_early;
mod s07_stale;
mod s08_order;
mod s09_nobody_forgotten;
mod s10_one_answer;
mod s11_items;
mod s11_tickets;
mod s12_same_outcome;
mod s16_replay;
mod s17_values;
mod s18_webhooks;

use std::collections::BTreeMap;

use holdfast::core::{
    CallId, Change, Command, Effect, Key, LeaseId, LockName, Request, State, TicketValue, Time,
    Value,
};

use book::{Book, Seen, Step};

/// A property that does not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    pub property: &'static str,
    pub claim: &'static str,
    pub what: String,
}

pub type Verdict = Result<(), Failure>;

/// Declares a file's property: its number and its claim.
macro_rules! property {
    ($number:literal, $claim:literal) => {
        fn broken<T>(what: impl Into<String>) -> Result<T, super::Failure> {
            Err(super::Failure {
                property: $number,
                claim: $claim,
                what: what.into(),
            })
        }
    };
}
use property;

/// What a client is told, and of what.
pub struct Told<'a> {
    pub effect: &'a Effect,
    /// What the call asked for.
    pub asked: &'a Request,
    /// When the call was sent, in the world's time.
    pub sent: Time,
    /// When and in which step the core made the effect.
    pub made: Time,
    pub made_in: u64,
    /// When the client is told.
    pub at: Time,
    /// The session's lease that the call kept alive, and until when.
    pub kept: Option<(LeaseId, Time)>,
    /// What the store holds just then.
    pub store: &'a BTreeMap<Key, Value>,
}

/// How often what happened: a run that did too little proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Tally(pub BTreeMap<&'static str, u64>);

impl Tally {
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }
}

/// All properties together.
#[derive(Default)]
pub struct Oracle {
    pub tally: Tally,
    book: Book,
    durable: Book,
    exclusion: s01_exclusion::Exclusion,
    stops_in_time: s02_stops_in_time::StopsInTime,
    tokens_rise: s03_tokens_rise::TokensRise,
    durability: s04_durable::Durable,
    committed_first: s05_committed_first::CommittedFirst,
    never_early: s06_never_early::NeverEarly,
    stale: s07_stale::Stale,
    one_answer: s10_one_answer::OneAnswer,
    items: s11_items::Items,
    tickets: s11_tickets::Tickets,
    same_outcome: s12_same_outcome::SameOutcome,
    replay: s16_replay::Replay,
    values: s17_values::Values,
    webhooks: s18_webhooks::Webhooks,
}

impl Oracle {
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Whether a call waits for the turn of a ticket.
    pub fn waits_for_turn(&self, call: CallId) -> bool {
        self.tickets.waits_for_turn(call)
    }

    /// A request is about to be applied.
    pub fn before(&mut self, request: &Request, state: &State) {
        self.same_outcome.before(&self.book, request);
        self.stale.before(&self.book, request, state);
    }

    /// The core was entered.
    pub fn step(&mut self, step: &Step<'_>, state: &State) -> Verdict {
        let seen = self.book.see(step);
        self.count(step, &seen);
        self.exclusion.step(step, &seen);
        self.stops_in_time.step(step, &seen);
        self.replay.step(step);
        self.never_early.step(step, &seen)?;
        self.stale.step(step, state)?;
        s08_order::step(step, &seen)?;
        self.one_answer.step(&self.book, step, &seen)?;
        self.same_outcome.step(step, &seen)?;
        self.values.step(step)?;
        self.items.step(step)?;
        self.tickets.step(step)?;
        self.webhooks.step(&self.book, step)?;
        losses::step(step, &seen)?;
        s06_never_early::not_for_ever(&self.book, step)?;
        s12_same_outcome::forgotten(&self.book, step)?;
        s09_nobody_forgotten::step(&self.book, step)
    }

    /// Clients go on for so many percent of the TTL: too many are a deliberate bug.
    pub fn clients_stop_at(&mut self, percent: u32) {
        self.stops_in_time.percent = percent;
    }

    /// A deliberate bug has changed what the store holds: the replay is to go by that, so that the
    /// other properties get to see it.
    pub fn bent(&mut self, store: &BTreeMap<Key, Value>) {
        self.replay.bent(store);
    }

    /// The open batch is complete; what comes back is to be handed to [`Oracle::commit`].
    pub fn seal(&mut self, state: &State, has_changes: bool) -> Result<Book, Failure> {
        if has_changes {
            self.replay.seal(state)?;
        }
        Ok(self.book.clone())
    }

    /// The shard's own record has joined a batch.
    pub fn marked(&mut self, change: &Change) {
        self.replay.change(change);
    }

    /// A batch has become durable.
    pub fn commit(&mut self, changes: &[Change], book: Book) -> Verdict {
        self.durable = book;
        self.tokens_rise.commit(changes)?;
        self.exclusion.commit(changes)?;
        self.values.commit(changes)?;
        self.items.commit(changes);
        self.tickets.commit(changes)?;
        self.webhooks.commit(changes);
        self.durability.commit(changes);
        self.committed_first.commit(changes);
        self.replay.commit(changes);
        Ok(())
    }

    /// Somebody is told something.
    pub fn told(&mut self, told: &Told<'_>) -> Verdict {
        self.committed_first.told(told)?;
        self.durability.told(told);
        self.values.told(told)?;
        self.items.told(told)?;
        self.tickets.told(told)?;
        self.webhooks.told(told)?;
        self.never_early.told(told)?;
        self.stops_in_time.told(told)
    }

    /// A client has read an answer to a call of its own.
    pub fn read(&mut self, told: &Told<'_>) -> Verdict {
        self.stops_in_time.read(told);
        self.items.read(told.effect);
        self.tickets.read(told.effect);
        self.one_answer.read(told.effect)
    }

    /// A client acts no more on a grant of its own.
    pub fn stopped(&mut self, lock: &LockName, token: u64) {
        self.stops_in_time.stopped(lock, token);
    }

    /// All that was not durable is gone, and `state` is what was loaded.
    pub fn crash(&mut self, state: &State) -> Verdict {
        self.book = self.durable.after_crash(&self.book, state.now());
        self.durable = self.book.clone();
        self.exclusion.crash();
        self.one_answer.crash(&self.book);
        let records = state.records();
        self.values.crash(&records, state.now())?;
        self.items.crash(&records)?;
        self.tickets.crash(&records, state.now())?;
        self.webhooks.crash(&records)?;
        self.durability.crash(&records)?;
        self.replay.crash(&records)
    }

    /// The run is over and all deadlines have passed: `waiting` calls have no answer yet.
    pub fn finish(&self, waiting: &[CallId]) -> Verdict {
        self.one_answer.finish(waiting)
    }

    fn count(&mut self, step: &Step<'_>, seen: &Seen) {
        use holdfast::core::{
            Answer, FifoAnswer, FifoCommand, QueueAnswer, Record, Refusal, WebhookAnswer,
            WebhookStage,
        };
        let tally = &mut self.tally;
        for begun in &seen.begun {
            tally.count("grants");
            if matches!(begun.to, book::Grantee::Place(_)) {
                tally.count("grants from a line");
                if seen.delays_over.contains(&begun.lock) {
                    tally.count("grants after a delay");
                }
            }
            let holders = &self.book.locks.get(&begun.lock);
            if holders.is_some_and(|lock| lock.holders.len() > 1) {
                tally.count("shared overlaps");
            }
        }
        if seen.begun.len() > 1 {
            tally.count("several grants in one step");
        }
        let lapsed = seen.ended.iter().filter(|ended| ended.lapsed.is_some());
        tally.add("holds lapsed", lapsed.count() as u64);
        tally.add("delays ended by force", seen.freed.len() as u64);
        tally.add("delays over", seen.delays_over.len() as u64);
        let expired = if step.request().is_none() {
            seen.ended.len()
        } else {
            0
        };
        tally.add("expiries", expired as u64);
        tally.add("leases ended", seen.ended_leases.len() as u64);
        tally.add("requests forgotten", seen.forgotten.len() as u64);
        if matches!(step.command(), Some(Command::GiveBack { .. })) {
            tally.add("grants given back", seen.ended.len() as u64);
        }
        let lapsed = step.changes.iter().filter(|change| has_lapsed(change));
        tally.add("tickets lapsed", lapsed.count() as u64);
        if let Some(Command::Fifo(FifoCommand::GiveBack { .. })) = step.command() {
            tally.add("turns given back", step.changes.len() as u64);
        }
        for change in step.changes {
            if let Change::Put(Record {
                value: Value::Webhook(value),
                ..
            }) = change
            {
                tally.count(match value.stage() {
                    WebhookStage::Due => "webhooks due",
                    WebhookStage::Taken => "turns taken",
                    WebhookStage::Refused => "turns refused",
                    WebhookStage::TimedOut => "turns not taken in time",
                    _ => "other stages of webhooks",
                });
            }
        }
        for effect in step.effects {
            tally.count(match effect {
                Effect::Queued(..) => "positions told",
                Effect::Reply(_, Ok(Answer::Explained(_))) => "locks explained",
                Effect::Changed(..) => "watched changes",
                Effect::Lost { .. } => "loss notices",
                Effect::SessionEnded { .. } => "sessions ended",
                Effect::SessionOpened { resumed: true, .. } => "sessions resumed",
                Effect::Reply(_, Ok(Answer::Renewed { .. })) => "renewals",
                Effect::Reply(_, Ok(Answer::Released)) => "releases",
                Effect::Reply(_, Ok(Answer::Put { created: false, .. })) => "open grants refreshed",
                Effect::Reply(_, Err(Refusal::WaitTimedOut(_))) => "waits timed out",
                Effect::Reply(_, Err(Refusal::LockHeld(_))) => "refused as held",
                Effect::Reply(_, Err(Refusal::NotHolder(_))) => "refused as stale",
                Effect::Reply(_, Err(Refusal::LeaseExpired)) => "waits ended with a lease",
                Effect::Reply(_, Ok(Answer::ValuePut(_))) => "values put",
                Effect::Reply(_, Ok(Answer::ValueDeleted(_))) => "values deleted",
                Effect::Reply(_, Err(Refusal::RevisionMismatch(_))) => "refused by revision",
                Effect::ValueChanged(..) => "watched changes of values",
                Effect::InLine(..) => "places of tickets told",
                Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Fifo(_)))) => "FIFOs told",
                Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Ready(_)))) => "turns accepted",
                Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Completed))) => "tickets completed",
                Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Cancelled))) => "tickets cancelled",
                Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Deleted(_)))) => "FIFOs deleted",
                Effect::Reply(_, Err(Refusal::TurnTimedOut(..))) => "turns waited for in vain",
                Effect::Reply(_, Err(Refusal::TicketEnded(..))) => "tickets ended under who waits",
                Effect::Reply(_, Err(Refusal::TicketLapsed(_))) => "refused as lapsed",
                Effect::Reply(_, Ok(Answer::Webhook(WebhookAnswer::Subscribed(_)))) => {
                    "subscriptions"
                }
                Effect::Reply(_, Ok(Answer::Webhook(WebhookAnswer::Cancelled))) => {
                    "webhooks cancelled"
                }
                Effect::WebhooksDue(_) => "followers told",
                Effect::Reply(_, Err(Refusal::RequestIdReused(_))) => "request ids reused",
                Effect::Delivered(..) => "items of streams",
                Effect::Reply(_, Ok(Answer::Queue(answer))) => match answer {
                    QueueAnswer::Enqueued(_) => "items enqueued",
                    QueueAnswer::Delivered(_) => "items delivered",
                    QueueAnswer::Acknowledged => "items acknowledged",
                    QueueAnswer::Returned => "items returned",
                    QueueAnswer::Empty => "waits for items ended",
                    _ => "other answers of queues",
                },
                Effect::Reply(_, Err(Refusal::DeliveryEnded(_))) => "deliveries that had ended",
                _ => "other effects",
            });
        }
    }
}

fn has_lapsed(change: &Change) -> bool {
    match change {
        Change::Put(record) => {
            matches!(&record.value, Value::Ticket(of) if of.state == TicketValue::LAPSED)
        }
        Change::Delete(_) => false,
    }
}
