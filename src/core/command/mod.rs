//! All that can be asked of the core, and all that it can answer or tell.

mod fifo;
mod queue;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

pub use fifo::*;
pub use queue::*;
pub use webhook::*;

use super::name::{
    About, FifoId, LeaseId, LockName, Namespace, QueueName, ReleaseDelay, RequestId, TicketId,
    ValueBytes, ValueKey, WebhookId,
};
use super::time::WallTime;

/// Numbers a call. The shard gives every call a new one; the core answers under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A command, for whom, and under which number it is to be answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// The call.
    pub call: CallId,
    /// The namespace of whoever calls: the command sees and changes nothing outside it.
    pub namespace: Namespace,
    /// What is asked.
    pub command: Command,
}

/// With whom a holder shares a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It holds the lock alone.
    Exclusive,
    /// It holds the lock together with other shared holders.
    Shared,
}

impl Mode {
    /// Shared, or else exclusive.
    pub fn of(shared: bool) -> Mode {
        match shared {
            true => Mode::Shared,
            false => Mode::Exclusive,
        }
    }
}

/// What keeps a grant alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Nothing: it ends only by a release.
    Forever,
    /// A lease of its own with this TTL.
    Ttl(Duration),
    /// A shared lease.
    Lease(LeaseId),
}

/// What shows that a caller may renew or release a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The fencing token of a grant whose grant token the adapter has verified.
    Token(u64),
    /// Nothing but the lock's name: good for open grants only.
    Open,
}

/// What an acquire asks for.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// The lock.
    pub lock: LockName,
    /// Alone or shared.
    pub mode: Mode,
    /// The most holders at once; `None`: no bound.
    pub max_shared: Option<u32>,
    /// What keeps the grant alive.
    pub hold: Hold,
    /// How long the lock is held back when the grant is lost: expired, forced, or not taken by the
    /// receiver of its webhook.
    pub release_delay: ReleaseDelay,
    /// How long to stand in line; zero asks once.
    pub wait: Duration,
    /// Who asks.
    pub about: Option<Arc<About>>,
    /// Makes a retry safe.
    pub request_id: Option<RequestId>,
    /// The session whose call this is: it gets the grant's loss notice.
    pub session: Option<CallId>,
    /// Refuse with [`Refusal::LockNotFound`] where the lock is neither held, held back, waited for nor
    /// reserved.
    pub must_exist: bool,
    /// Whoever knows the lock's name may renew and release the grant.
    pub open: bool,
    /// Answer at once with [`WebhookAnswer::Subscribed`], and call back when the lock is granted.
    pub subscribe: Option<Subscribe>,
}

/// A session's lease: a new one, or that of an earlier session.
#[derive(Clone, Debug)]
pub enum SessionLease {
    /// Makes a lease.
    New {
        /// Its id, made by the adapter.
        id: LeaseId,
        /// Its TTL.
        ttl: Duration,
        /// Whose it is.
        about: Option<Arc<About>>,
    },
    /// Takes up a lease that lives.
    Resume(LeaseId),
}

/// What can be asked.
#[derive(Clone, Debug)]
pub enum Command {
    /// Makes a reserved lock. Answer: [`Answer::Reserved`].
    Reserve {
        /// The fresh name, made by the adapter.
        lock: LockName,
        /// How long it stays unused.
        destroy_after: Duration,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Takes a lock. Answer: [`Answer::Granted`].
    Acquire(Acquire),
    /// Takes a lock with an open exclusive grant, or renews the open grant that holds it.
    /// Answer: [`Answer::Put`].
    PutOpen {
        /// The lock.
        lock: LockName,
        /// The new TTL; `None`: the one it has, or `default_ttl` for a new grant.
        ttl: Option<Duration>,
        /// The TTL of a new grant where `ttl` is `None`.
        default_ttl: Duration,
        /// Who asks.
        about: Option<Arc<About>>,
    },
    /// Prolongs a grant. Answer: [`Answer::Renewed`].
    Renew {
        /// The lock.
        lock: LockName,
        /// Whose grant.
        proof: Proof,
        /// A new TTL for the grant's own lease.
        ttl: Option<Duration>,
    },
    /// Ends a grant. Answer: [`Answer::Released`].
    Release {
        /// The lock.
        lock: LockName,
        /// Whose grant.
        proof: Proof,
        /// The session whose call this is: it needs no loss notice.
        session: Option<CallId>,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Reads a lock. Answer: [`Answer::Lock`].
    GetLock {
        /// The lock.
        lock: LockName,
    },
    /// Tells what stands behind a lock. Answer: [`Answer::Explained`].
    Explain {
        /// The lock.
        lock: LockName,
    },
    /// Lists locks by name. Answer: [`Answer::Locks`].
    ListLocks {
        /// Only names that begin so.
        prefix: String,
        /// Only names after this one.
        after: Option<String>,
        /// The most locks to list.
        limit: usize,
    },
    /// Follows a lock until cancelled: [`Effect::Watching`], then [`Effect::Changed`] for each change.
    Watch {
        /// The lock.
        lock: LockName,
    },
    /// Ends grants of others, and the release delays of those that were lost before.
    /// Answer: [`Answer::Forced`].
    ForceRelease {
        /// The lock.
        lock: LockName,
        /// Only the hold with this token; `None`: all of them.
        fencing_token: Option<u64>,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Asks whether a grant is current. Answer: [`Answer::Checked`].
    Check {
        /// The lock.
        lock: LockName,
        /// The grant's fencing token.
        fencing_token: u64,
    },
    /// Makes a shared lease. Answer: [`Answer::Lease`].
    CreateLease {
        /// The fresh id, made by the adapter.
        id: LeaseId,
        /// The TTL.
        ttl: Duration,
        /// Whose it is.
        about: Option<Arc<About>>,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Prolongs a shared lease. Answer: [`Answer::Renewed`].
    RenewLease {
        /// The lease.
        id: LeaseId,
    },
    /// Ends a shared lease and all that hangs on it. Answer: [`Answer::Revoked`].
    RevokeLease {
        /// The lease.
        id: LeaseId,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Reads a lease. Answer: [`Answer::Lease`].
    GetLease {
        /// The lease.
        id: LeaseId,
    },
    /// Lists leases by id. Answer: [`Answer::Leases`].
    ListLeases {
        /// Only ids after this one.
        after: Option<LeaseId>,
        /// The most leases to list.
        limit: usize,
    },
    /// Keeps a value under a key. Answer: [`Answer::ValuePut`].
    PutValue {
        /// The key.
        key: ValueKey,
        /// The value.
        bytes: ValueBytes,
        /// How long it stays; `None`: until it is deleted.
        ttl: Option<Duration>,
        /// Only in place of the value with this revision; 0: only where there is none. `None`: in
        /// any case.
        expected_revision: Option<u64>,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Takes a value away. Answer: [`Answer::ValueDeleted`].
    DeleteValue {
        /// The key.
        key: ValueKey,
        /// Only the value with this revision; `None`: in any case.
        expected_revision: Option<u64>,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Reads a value. Answer: [`Answer::Value`].
    GetValue {
        /// The key.
        key: ValueKey,
    },
    /// Lists values by key. Answer: [`Answer::Values`].
    ListValues {
        /// Only keys that begin so.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
        /// The most values to list; a page has fewer where they are large.
        limit: usize,
    },
    /// Follows a value until cancelled: [`Effect::WatchingValue`], then [`Effect::ValueChanged`] for
    /// each change.
    WatchValue {
        /// The key.
        key: ValueKey,
    },
    /// Asks something of FIFOs.
    Fifo(FifoCommand),
    /// Asks something of queues.
    Queue(QueueCommand),
    /// Asks something of webhooks.
    Webhook(WebhookCommand),
    /// Opens a session, which lasts until this call is cancelled or its lease ends: then
    /// [`Effect::SessionEnded`]. Told at once: [`Effect::SessionOpened`], or a refusal.
    OpenSession {
        /// Its lease.
        lease: SessionLease,
    },
    /// A session has spoken: starts the TTL of its lease anew, and forgets the requests whose answers
    /// it has. Not answered.
    Touch {
        /// The session's call.
        session: CallId,
        /// Requests that will not be asked for again. Ids of none, or of one that waits, are ignored.
        answered: Vec<RequestId>,
    },
    /// Takes a waiting acquire out of its line for good: the waiting call is refused with
    /// [`Refusal::Cancelled`]. Not answered itself; harmless for a call that doesn't wait.
    Withdraw {
        /// The call that waits.
        call: CallId,
    },
    /// The caller of a waiting, watching or session call is gone. A place in line without a lease
    /// and request id is given up. Not answered; harmless for any other call.
    Cancel {
        /// The call whose caller is gone.
        call: CallId,
    },
    /// A grant could not be told to its caller, who is gone: ends it, unless a retry has been told
    /// of it meanwhile. Not answered; harmless when the grant has ended.
    GiveBack {
        /// The lock.
        lock: LockName,
        /// The grant's fencing token.
        fencing_token: u64,
    },
}

/// What everyone in the namespace may see of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// The fencing token.
    pub fencing_token: u64,
    /// Alone or shared.
    pub mode: Mode,
    /// Who holds.
    pub about: Option<Arc<About>>,
    /// When the grant was made.
    pub acquired_at: WallTime,
    /// The time until it ends unless renewed; `None`: it has no expiry.
    pub expires_in: Option<Duration>,
    /// The TTL of what it hangs on; `None`: it has no expiry.
    pub ttl: Option<Duration>,
    /// Whether whoever knows the lock's name may renew and release it.
    pub open: bool,
}

/// A lock as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockView {
    /// The name.
    pub name: LockName,
    /// The first holders, by fencing token.
    pub holders: Vec<HolderView>,
    /// How many holders there are.
    pub holder_count: usize,
    /// How many stand in line.
    pub waiter_count: usize,
    /// Whether it stays while it is free.
    pub reserved: bool,
    /// How long the release delays of holders that lost it go on; `None`: there are none.
    pub held_back_for: Option<Duration>,
}

impl LockView {
    /// Whether the lock is in use or reserved: one that is neither was never heard of.
    pub fn exists(&self) -> bool {
        self.reserved || self.is_in_use()
    }

    /// Whether somebody holds it, or has lost it and holds it back.
    pub fn is_in_use(&self) -> bool {
        self.holder_count > 0 || self.held_back_for.is_some()
    }
}

/// What stands behind a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The lock as it stands.
    pub lock: LockView,
    /// The first in line, in order.
    pub waiters: Vec<WaiterView>,
    /// How the last holds ended that are remembered, the newest first.
    pub past_holds: Vec<PastHold>,
}

/// What everyone in the namespace may see of a place in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// Alone or shared.
    pub mode: Mode,
    /// Who waits.
    pub about: Option<Arc<About>>,
    /// When the place was taken.
    pub since: WallTime,
    /// The time until it is given up.
    pub ends_in: Duration,
}

/// A hold that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastHold {
    /// The grant, as it was, without a time to its end; without its metadata where that was large.
    pub holder: HolderView,
    /// How it ended.
    pub cause: EndCause,
    /// When.
    pub at: WallTime,
}

/// A grant as told to its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The lock.
    pub lock: LockName,
    /// The grant.
    pub holder: HolderView,
    /// The shared lease that it hangs on.
    pub lease: Option<LeaseId>,
}

/// A shared lease as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The id.
    pub id: LeaseId,
    /// The TTL.
    pub ttl: Duration,
    /// The time until it ends unless renewed.
    pub expires_in: Duration,
    /// Whose it is.
    pub about: Option<Arc<About>>,
    /// When it was made.
    pub created_at: WallTime,
    /// How many grants hang on it.
    pub grant_count: usize,
    /// How many places in line hang on it.
    pub waiter_count: usize,
}

/// A value as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueView {
    /// The key.
    pub key: ValueKey,
    /// The value.
    pub bytes: ValueBytes,
    /// Its revision: higher than that of anything put earlier in the namespace.
    pub revision: u64,
    /// The time until it ends; `None`: it has no expiry.
    pub expires_in: Option<Duration>,
}

/// What stands where another revision was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key.
    pub key: ValueKey,
    /// What is there; `None`: nothing.
    pub current: Option<ValueView>,
}

impl Mismatch {
    /// The revision of what is there; 0: there is nothing.
    pub fn revision(&self) -> u64 {
        self.current.as_ref().map_or(0, |value| value.revision)
    }
}

/// What a call that succeeded is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The reserved lock exists.
    Reserved(LockName),
    /// The lock is the caller's.
    Granted(Granted),
    /// The open grant was made, or else refreshed.
    Put {
        /// The grant.
        granted: Granted,
        /// Whether it was made by this call.
        created: bool,
    },
    /// The lease was renewed.
    Renewed {
        /// The time won; `None`: the grant has no expiry.
        expires_in: Option<Duration>,
    },
    /// The grant has ended.
    Released,
    /// The lock as it stands.
    Lock(LockView),
    /// What stands behind the lock.
    Explained(Box<Explanation>),
    /// A page of locks.
    Locks {
        /// The locks.
        locks: Vec<LockView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// So many grants and release delays were ended.
    Forced(usize),
    /// Whether the grant is current.
    Checked {
        /// Whether it is.
        current: bool,
        /// The time until it ends unless renewed.
        expires_in: Option<Duration>,
    },
    /// The lease as it stands.
    Lease(LeaseView),
    /// A page of leases.
    Leases {
        /// The leases.
        leases: Vec<LeaseView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// The lease has ended, and so many grants with it.
    Revoked(usize),
    /// The value is kept, under this revision.
    ValuePut(u64),
    /// The value with this revision is gone.
    ValueDeleted(u64),
    /// The value as it stands.
    Value(ValueView),
    /// A page of values.
    Values {
        /// The values.
        values: Vec<ValueView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// An answer about FIFOs.
    Fifo(FifoAnswer),
    /// An answer about queues.
    Queue(QueueAnswer),
    /// An answer about webhooks.
    Webhook(WebhookAnswer),
}

/// Why a call was refused. A refused call changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Bad input that only the state can tell.
    Invalid(super::name::Invalid),
    /// The lock can't be had at once.
    LockHeld(Box<LockView>),
    /// The lock could not be had in time.
    WaitTimedOut(Box<LockView>),
    /// The proof is not of a current grant of this lock.
    NotHolder(LockName),
    /// The lock is neither held nor reserved.
    LockNotFound(LockName),
    /// There is no value under the key.
    ValueNotFound(ValueKey),
    /// The value has another revision than was expected.
    RevisionMismatch(Box<Mismatch>),
    /// There is no such FIFO.
    FifoNotFound(FifoId),
    /// There is a FIFO with this id.
    FifoExists(FifoId),
    /// The ticket is done or never was.
    TicketNotFound(TicketId),
    /// The ticket was not accepted or not done in time.
    TicketLapsed(TicketId),
    /// The ticket ended while the call waited for its turn.
    TicketEnded(TicketId, TicketEnd),
    /// The ticket's turn did not come while the call waited; it stays in line.
    TurnTimedOut(TicketId, Standing),
    /// The ticket's turn has not been accepted.
    TicketNotAccepted(TicketId),
    /// There is no such webhook, or it was over long ago.
    WebhookNotFound(WebhookId),
    /// The webhook does not wait for its turn any more.
    WebhookNotWaiting(WebhookId),
    /// The delivery was acknowledged, returned, or not acknowledged in time.
    DeliveryEnded(QueueName),
    /// The lease has ended or never was.
    LeaseNotFound,
    /// The lease ended while the caller stood in line.
    LeaseExpired,
    /// The caller took back its call.
    Cancelled,
    /// The session was taken up by another stream.
    SessionTaken,
    /// The request id was used with other parameters.
    RequestIdReused(RequestId),
    /// There is no room for one more.
    LimitReached {
        /// Of what there are too many.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
}

/// A place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Counted from 1.
    pub position: u32,
    /// About how long it will take; `None`: no history tells.
    pub time_to_go: Option<Duration>,
}

/// What happened to a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndCause {
    /// Its own release, or its caller was gone when the grant came.
    Released,
    /// Its lease was not renewed in time.
    Expired,
    /// Its shared lease was revoked.
    Revoked,
    /// An administrator.
    Forced,
    /// The receiver of its webhook refused it.
    CallbackRefused,
    /// The receiver of its webhook did not take it in time.
    CallbackTimedOut,
}

/// A change of who holds a lock, or holds it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockEvent {
    /// What has changed.
    pub change: LockChange,
    /// When.
    pub at: WallTime,
    /// How many hold the lock after it.
    pub holder_count: usize,
    /// How many stand in line after it.
    pub waiter_count: usize,
    /// The time until the release delays of lost grants have passed, after it; `None`: there are none.
    pub held_back_for: Option<Duration>,
}

/// What has changed about a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// This grant began.
    Granted(HolderView),
    /// This grant ended, and how.
    Ended(HolderView, EndCause),
    /// The lost grant with this fencing token holds the lock back no more.
    ReleaseDelayEnded(u64),
}

impl LockChange {
    /// The fencing token of the grant that it happened to.
    pub fn fencing_token(&self) -> u64 {
        match self {
            LockChange::Granted(holder) | LockChange::Ended(holder, _) => holder.fencing_token,
            LockChange::ReleaseDelayEnded(fencing_token) => *fencing_token,
        }
    }

    /// The grant that it happened to, as far as it is known still.
    pub fn holder(&self) -> Option<&HolderView> {
        match self {
            LockChange::Granted(holder) | LockChange::Ended(holder, _) => Some(holder),
            LockChange::ReleaseDelayEnded(_) => None,
        }
    }
}

/// What happened to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueEventKind {
    /// It was put, in place of another or of none.
    Put,
    /// Somebody deleted it.
    Deleted,
    /// Its TTL has passed.
    Expired,
}

/// A change of what is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueEvent {
    /// What happened.
    pub kind: ValueEventKind,
    /// The value as it was put; one that is gone, as it was last.
    pub value: ValueView,
    /// When.
    pub at: WallTime,
}

/// What the core wants told once the changes it came with are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The final answer of a call.
    Reply(CallId, Result<Answer, Refusal>),
    /// A waiting call's position in the line of a lock, counted from 1.
    Queued(CallId, LockName, u32),
    /// A watching call's first news.
    Watching(CallId, LockView),
    /// A watching call's next news.
    Changed(CallId, Arc<LockEvent>),
    /// The first news of a call that watches a value: what is there, if anything.
    WatchingValue(CallId, Option<ValueView>),
    /// The next news of a call that watches a value.
    ValueChanged(CallId, Arc<ValueEvent>),
    /// Where the ticket of a waiting call stands in line.
    InLine(CallId, Standing),
    /// The next item of a call that consumes a queue.
    Delivered(CallId, Delivered),
    /// A delivery to a call that consumes a queue has ended without its doing: where it has not read
    /// the item yet, it need not.
    Recalled(CallId, Delivery),
    /// For a call that follows webhooks: there are some to be fetched.
    WebhooksDue(CallId),
    /// For a call that follows webhooks: this one is not to be posted any more.
    WebhookOver(CallId, WebhookId),
    /// A session call is open.
    SessionOpened {
        /// The session's call.
        session: CallId,
        /// Its lease.
        lease: LeaseView,
        /// Whether the lease was taken up again.
        resumed: bool,
    },
    /// A grant of the session has ended without the session's doing.
    Lost {
        /// The session's call.
        session: CallId,
        /// The lock.
        lock: LockName,
        /// The grant's fencing token.
        fencing_token: u64,
        /// How it ended.
        cause: EndCause,
    },
    /// The session is over: the last effect of its call.
    SessionEnded {
        /// The session's call.
        session: CallId,
        /// Why.
        why: Refusal,
    },
}

impl Effect {
    /// Whom it is for.
    pub fn call(&self) -> CallId {
        match self {
            Effect::Reply(call, _)
            | Effect::Queued(call, ..)
            | Effect::Watching(call, _)
            | Effect::Changed(call, _)
            | Effect::WatchingValue(call, _)
            | Effect::ValueChanged(call, _)
            | Effect::InLine(call, _)
            | Effect::Delivered(call, _)
            | Effect::Recalled(call, _)
            | Effect::WebhooksDue(call)
            | Effect::WebhookOver(call, _)
            | Effect::SessionOpened { session: call, .. }
            | Effect::Lost { session: call, .. }
            | Effect::SessionEnded { session: call, .. } => *call,
        }
    }

    /// Whether nothing follows it for that call.
    pub fn is_last(&self) -> bool {
        matches!(self, Effect::Reply(..) | Effect::SessionEnded { .. })
    }
}
