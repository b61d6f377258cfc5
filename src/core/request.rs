//! The memory of requests, which makes retries safe: the same id gets the same outcome.
//!
//! Only what changed something is remembered: a refusal may be asked for again. A session says which
//! answers it has, and these are forgotten at once.

use std::hash::{Hash, Hasher};

use super::command::*;
use super::limits::*;
use super::name::{FifoId, LeaseId, LockName, RequestId, TicketId, WebhookId};
use super::queue::{Swept, queue_outcome};
use super::record::{Key, OutcomeValue, RequestValue, Value};
use super::state::{Ask, Out, SpaceIx, State, WaiterIx};
use super::time::{Time, WallTime};
use super::timer::Timer;

/// What is known of a request id.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) fingerprint: u64,
    pub(super) what: What,
}

/// Where a remembered request stands.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// It stands in line.
    Waiting(WaiterIx),
    /// It came to this, and is forgotten at that time.
    Done(Done, Time),
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Granted(u64, WallTime),
    Released,
    Reserved(LockName),
    Lease(LeaseId),
    Revoked(usize),
    Forced(usize),
    ValuePut(u64),
    ValueDeleted(u64),
    QueueConfigured,
    QueueDeleted(Swept),
    Enqueued(u64),
    Dequeued(Delivery),
    Acknowledged,
    Returned,
    Purged(Swept),
    Redriven(Swept),
    Fifo(FifoId),
    FifoDeleted(usize),
    Ticket(TicketId),
    TicketCompleted,
    TicketCancelled,
    Subscribed(WebhookId),
    WebhookCancelled,
}

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Acquire,
    Release,
    Reserve,
    CreateLease,
    RevokeLease,
    ForceRelease,
    PutValue,
    DeleteValue,
    ConfigureQueue,
    DeleteQueue,
    Enqueue,
    Dequeue,
    Acknowledge,
    Return,
    Purge,
    Redrive,
    CreateFifo,
    DeleteFifo,
    CreateTicket,
    CompleteTicket,
    CancelTicket,
    CancelWebhook,
}

impl Kind {
    /// How many outcomes may be remembered for one of this kind to be added.
    fn requests_max(self) -> usize {
        match self {
            Kind::Release
            | Kind::RevokeLease
            | Kind::ForceRelease
            | Kind::Acknowledge
            | Kind::Return
            | Kind::CompleteTicket
            | Kind::CancelTicket
            | Kind::CancelWebhook => REQUESTS_TO_GIVE_UP_MAX,
            Kind::Acquire
            | Kind::Reserve
            | Kind::CreateLease
            | Kind::PutValue
            | Kind::DeleteValue
            | Kind::ConfigureQueue
            | Kind::DeleteQueue
            | Kind::Enqueue
            | Kind::Dequeue
            | Kind::Purge
            | Kind::Redrive
            | Kind::CreateFifo
            | Kind::DeleteFifo
            | Kind::CreateTicket => REQUESTS_PER_NAMESPACE_MAX,
        }
    }
}

impl Remembered {
    /// Whether it is done, and to be forgotten at that time.
    fn ends_at(&self, until: Time) -> bool {
        matches!(self.what, What::Done(_, at) if at == until)
    }

    fn kind(&self) -> Kind {
        match &self.what {
            What::Waiting(_) | What::Done(Done::Granted(..) | Done::Subscribed(_), _) => {
                Kind::Acquire
            }
            What::Done(Done::Released, _) => Kind::Release,
            What::Done(Done::Reserved(_), _) => Kind::Reserve,
            What::Done(Done::Lease(_), _) => Kind::CreateLease,
            What::Done(Done::Revoked(_), _) => Kind::RevokeLease,
            What::Done(Done::Forced(_), _) => Kind::ForceRelease,
            What::Done(Done::ValuePut(_), _) => Kind::PutValue,
            What::Done(Done::ValueDeleted(_), _) => Kind::DeleteValue,
            What::Done(Done::QueueConfigured, _) => Kind::ConfigureQueue,
            What::Done(Done::QueueDeleted(_), _) => Kind::DeleteQueue,
            What::Done(Done::Enqueued(_), _) => Kind::Enqueue,
            What::Done(Done::Dequeued(_), _) => Kind::Dequeue,
            What::Done(Done::Acknowledged, _) => Kind::Acknowledge,
            What::Done(Done::Returned, _) => Kind::Return,
            What::Done(Done::Purged(_), _) => Kind::Purge,
            What::Done(Done::Redriven(_), _) => Kind::Redrive,
            What::Done(Done::Fifo(_), _) => Kind::CreateFifo,
            What::Done(Done::FifoDeleted(_), _) => Kind::DeleteFifo,
            What::Done(Done::Ticket(_), _) => Kind::CreateTicket,
            What::Done(Done::TicketCompleted, _) => Kind::CompleteTicket,
            What::Done(Done::TicketCancelled, _) => Kind::CancelTicket,
            What::Done(Done::WebhookCancelled, _) => Kind::CancelWebhook,
        }
    }
}

/// What to do with a request that has an id.
pub(super) enum Recall {
    /// It is new; where it has an id, it is to be remembered under this.
    New(Option<(RequestId, u64)>),
    /// It was refused, and has been told so.
    Refused,
    /// It stands in line already.
    Waiting(WaiterIx),
    /// It is done already.
    Done(Done),
}

/// FNV-1a, 64 bits: a hash that is the same in every process of one build. What is hashed through
/// `derive(Hash)` may give another one in another build: so an upgrade may refuse, once, a retry of a
/// request that came before it.
#[derive(Clone, Copy, Debug)]
pub struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Fnv1a {
        Fnv1a(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv1a {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The fingerprint of a request's parameters.
fn fingerprint(kind: Kind, parameters: impl Hash) -> u64 {
    let mut hasher = Fnv1a::default();
    (kind, parameters).hash(&mut hasher);
    hasher.finish()
}

impl State {
    /// Looks up a request id; a conflict or a full memory is refused here.
    pub(super) fn recall(
        &self,
        call: CallId,
        space: SpaceIx,
        id: Option<RequestId>,
        kind: Kind,
        parameters: impl Hash,
        out: &mut Out,
    ) -> Recall {
        let Some(id) = id else {
            return Recall::New(None);
        };
        let requests = &self.space_of(space).requests;
        let fingerprint = fingerprint(kind, parameters);
        match requests.get(&id) {
            // Fingerprints of two kinds differ, save by an accident that must leave no call hanging.
            Some(known) if known.fingerprint != fingerprint || known.kind() != kind => {
                out.refuse(call, Refusal::RequestIdReused(id));
                Recall::Refused
            }
            Some(known) => match &known.what {
                What::Waiting(waiter) => Recall::Waiting(*waiter),
                What::Done(done, _) => Recall::Done(done.clone()),
            },
            None if requests.len() >= kind.requests_max() => {
                let refusal = Refusal::LimitReached {
                    what: "request ids to remember",
                    max: kind.requests_max(),
                };
                out.refuse(call, refusal);
                Recall::Refused
            }
            None => Recall::New(Some((id, fingerprint))),
        }
    }

    /// Remembers that a request stands in line.
    pub(super) fn remember_waiting(&mut self, space: SpaceIx, ask: &Ask, waiter: WaiterIx) {
        if let Some((id, fingerprint)) = &ask.request {
            let known = Remembered {
                fingerprint: *fingerprint,
                what: What::Waiting(waiter),
            };
            self.space_mut(space).requests.insert(id.clone(), known);
        }
    }

    /// Remembers what a request came to.
    pub(super) fn remember(
        &mut self,
        space: SpaceIx,
        request: Option<(RequestId, u64)>,
        done: Done,
        out: &mut Out,
    ) {
        let Some((id, fingerprint)) = request else {
            return;
        };
        let key = Key::Request(self.space_of(space).name.clone(), id.clone());
        out.put(key, Value::Request(done_value(fingerprint, &done)));
        self.keep_request(space, id, fingerprint, done);
    }

    /// Keeps a remembered request for its time, without committing it.
    pub(super) fn keep_request(
        &mut self,
        space: SpaceIx,
        id: RequestId,
        fingerprint: u64,
        done: Done,
    ) {
        let until = self.now + REQUEST_MEMORY;
        let known = Remembered {
            fingerprint,
            what: What::Done(done, until),
        };
        self.space_mut(space).requests.insert(id.clone(), known);
        if self.request_order.is_empty() {
            self.timers.set(until, Timer::Requests);
        }
        self.request_order.push_back((until, space, id));
    }

    /// Forgets a request whose waiter has left the line.
    pub(super) fn forget_waiting(&mut self, space: SpaceIx, ask: &Ask) {
        if let Some((id, _)) = &ask.request {
            self.space_mut(space).requests.remove(id);
        }
    }

    /// Forgets a request whose grant was given back: nobody has seen its outcome. Where the id has
    /// come to stand for another request since, that one stays.
    pub(super) fn forget_granted(
        &mut self,
        space: SpaceIx,
        id: &RequestId,
        fencing_token: u64,
        out: &mut Out,
    ) {
        let granted =
            |done: &Done| matches!(done, Done::Granted(token, _) if *token == fencing_token);
        self.forget_done(space, id, granted, out);
    }

    /// Forgets a request whose outcome is this: nobody has seen it.
    pub(super) fn forget_done(
        &mut self,
        space: SpaceIx,
        id: &RequestId,
        is_this: impl Fn(&Done) -> bool,
        out: &mut Out,
    ) {
        let space = self.space_mut(space);
        let is_this = space
            .requests
            .get(id)
            .is_some_and(|known| matches!(&known.what, What::Done(done, _) if is_this(done)));
        if is_this {
            space.requests.remove(id);
            out.delete(Key::Request(space.name.clone(), id.clone()));
            self.request_order_stale += 1;
        }
    }

    /// Forgets requests before their time: whoever made them has the answers.
    pub(super) fn forget_answered(&mut self, space: SpaceIx, ids: &[RequestId], out: &mut Out) {
        for id in ids {
            self.forget_done(space, id, |_| true, out);
        }
        if self.request_order_stale > self.request_order.len() / 2 + REQUEST_ORDER_SLACK {
            let spaces = &self.spaces;
            self.request_order.retain(|(until, space, id)| {
                let known = spaces[usize::from(*space)].requests.get(id);
                known.is_some_and(|known| known.ends_at(*until))
            });
            self.request_order_stale = 0;
        }
    }

    pub(super) fn requests_are_due(&mut self, out: &mut Out) {
        for _ in 0..TIMERS_PER_TICK_MAX {
            let Some((until, ..)) = self.request_order.front() else {
                return;
            };
            if *until > self.now {
                break;
            }
            let Some((until, space, id)) = self.request_order.pop_front() else {
                return;
            };
            // The id may have been forgotten, and even used anew, before its time.
            let space = self.space_mut(space);
            let known = space.requests.get(&id);
            if known.is_some_and(|known| known.ends_at(until)) {
                space.requests.remove(&id);
                out.delete(Key::Request(space.name.clone(), id));
            } else {
                self.request_order_stale = self.request_order_stale.saturating_sub(1);
            }
        }
        if let Some((until, ..)) = self.request_order.front() {
            self.timers.set(*until, Timer::Requests);
        }
    }
}

/// A remembered outcome as stored.
pub(super) fn done_value(fingerprint: u64, done: &Done) -> RequestValue {
    let mut value = RequestValue {
        fingerprint,
        ..RequestValue::default()
    };
    value.outcome = Some(match done {
        Done::Granted(fencing_token, at) => {
            value.acquired_at_ms = at.0;
            OutcomeValue::Granted(*fencing_token)
        }
        Done::Released => OutcomeValue::Released(true),
        Done::Reserved(lock) => OutcomeValue::Reserved(lock.to_string()),
        Done::Lease(id) => OutcomeValue::Lease(id.0.to_be_bytes().to_vec()),
        Done::Revoked(count) => OutcomeValue::Revoked(*count as u64),
        Done::Forced(count) => OutcomeValue::Forced(*count as u64),
        Done::ValuePut(revision) => OutcomeValue::ValuePut(*revision),
        Done::ValueDeleted(revision) => OutcomeValue::ValueDeleted(*revision),
        Done::QueueConfigured
        | Done::QueueDeleted(_)
        | Done::Enqueued(_)
        | Done::Dequeued(_)
        | Done::Acknowledged
        | Done::Returned
        | Done::Purged(_)
        | Done::Redriven(_) => OutcomeValue::Queue(queue_outcome(done)),
        Done::Fifo(id) => OutcomeValue::Fifo(id.to_string()),
        Done::FifoDeleted(count) => OutcomeValue::FifoDeleted(*count as u64),
        Done::Ticket(id) => OutcomeValue::Ticket(id.0.to_be_bytes().to_vec()),
        Done::TicketCompleted => OutcomeValue::TicketCompleted(true),
        Done::TicketCancelled => OutcomeValue::TicketCancelled(true),
        Done::Subscribed(id) => OutcomeValue::Subscribed(id.0.to_be_bytes().to_vec()),
        Done::WebhookCancelled => OutcomeValue::WebhookCancelled(true),
    });
    value
}
