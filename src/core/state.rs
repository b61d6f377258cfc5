//! The state of a shard, and the one entry to the rules.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use smallvec::SmallVec;

use super::command::*;
use super::fifo::{Fifo, Ticket};
use super::history::History;
use super::lapse::Lapsed;
use super::limits::*;
use super::line::Pace;
use super::lock::UNBOUNDED;
use super::name::{
    About, FifoId, LeaseId, LockName, Namespace, QueueName, ReleaseDelay, RequestId, TicketId,
    ValueKey,
};
use super::queue::{Consumer, Item, Queue};
use super::record::{Change, Key, Record, ShardValue, Value};
use super::request::Remembered;
use super::time::{Time, WallTime};
use super::timer::{Expiry, Timer, Timers};
use super::value::{KeptValue, Put};
use super::webhook::Webhooks;

/// The times of one application.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The core's time. One that is before an earlier one counts as that.
    pub now: Time,
    /// The wall clock, for people to read.
    pub wall: WallTime,
}

/// What applications put out.
#[derive(Debug, Default)]
pub struct Out {
    /// To be made durable, in this order.
    pub changes: Vec<Change>,
    /// To be told, in this order, once the changes are durable.
    pub effects: Vec<Effect>,
}

impl Out {
    pub(super) fn put(&mut self, key: Key, value: Value) {
        self.changes.push(Change::Put(Record { key, value }));
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.changes.push(Change::Delete(key));
    }

    pub(super) fn refuse(&mut self, call: CallId, refusal: Refusal) {
        self.effects.push(Effect::Reply(call, Err(refusal)));
    }

    pub(super) fn answer(&mut self, call: CallId, answer: Answer) {
        self.effects.push(Effect::Reply(call, Ok(answer)));
    }
}

macro_rules! index_types {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name(pub(super) u32);

        impl From<usize> for $name {
            // A table has fewer than 2^32 entries: the limits see to it.
            fn from(index: usize) -> $name {
                $name(index as u32)
            }
        }

        impl From<$name> for usize {
            fn from(index: $name) -> usize {
                index.0 as usize
            }
        }
    )*};
}

index_types! {
    /// Where a namespace stands.
    SpaceIx,
    /// Where a lock stands.
    LockIx,
    /// Where a grant stands.
    GrantIx,
    /// Where a lease stands.
    LeaseIx,
    /// Where a waiter stands.
    WaiterIx,
    /// Where a value stands.
    ValueIx,
    /// Where a queue stands.
    QueueIx,
    /// Where an item of a queue stands.
    ItemIx,
    /// Where a consumer stands.
    ConsumerIx,
    /// Where a FIFO stands.
    FifoIx,
    /// Where a ticket stands.
    TicketIx,
    /// Where a webhook stands.
    WebhookIx,
}

/// A table whose entries keep their place until they are removed.
#[derive(Debug)]
pub(super) struct Table<I, T>(Slab<T>, std::marker::PhantomData<I>);

impl<I, T> Default for Table<I, T> {
    fn default() -> Self {
        Table(Slab::new(), std::marker::PhantomData)
    }
}

impl<I: From<usize> + Into<usize> + Copy, T> Table<I, T> {
    pub(super) fn insert(&mut self, entry: T) -> I {
        self.0.insert(entry).into()
    }

    pub(super) fn remove(&mut self, index: I) -> T {
        self.0.remove(index.into())
    }

    pub(super) fn get(&self, index: I) -> Option<&T> {
        self.0.get(index.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.0.iter().map(|(index, entry)| (index.into(), entry))
    }
}

/// An index is only ever kept where its entry lives, so a missing entry is a defect of the core.
impl<I: Into<usize> + Copy, T> std::ops::Index<I> for Table<I, T> {
    type Output = T;

    fn index(&self, index: I) -> &T {
        &self.0[index.into()]
    }
}

impl<I: Into<usize> + Copy, T> std::ops::IndexMut<I> for Table<I, T> {
    fn index_mut(&mut self, index: I) -> &mut T {
        &mut self.0[index.into()]
    }
}

/// The state of a shard.
#[derive(Debug, Default)]
pub struct State {
    pub(super) now: Time,
    pub(super) wall: WallTime,
    pub(super) last_fencing_token: u64,
    pub(super) last_arrival: u64,
    pub(super) last_revision: u64,
    /// The clock at the last commit that this state knows of.
    pub(super) clock_committed: Time,
    pub(super) spaces: Vec<Space>,
    pub(super) space_by_name: HashMap<Namespace, SpaceIx, foldhash::fast::RandomState>,
    pub(super) locks: Table<LockIx, Lock>,
    pub(super) grants: Table<GrantIx, Grant>,
    pub(super) leases: Table<LeaseIx, Lease>,
    pub(super) waiters: Table<WaiterIx, Waiter>,
    pub(super) values: Table<ValueIx, KeptValue>,
    pub(super) queues: Table<QueueIx, Queue>,
    pub(super) items: Table<ItemIx, Item>,
    pub(super) consumers: Table<ConsumerIx, Consumer>,
    /// The order in which consumers wait; it is not stored, as they are not.
    pub(super) last_turn: u64,
    pub(super) fifos: Table<FifoIx, Fifo>,
    pub(super) tickets: Table<TicketIx, Ticket>,
    pub(super) webhooks: Webhooks,
    /// Calls that are told more than once, or later.
    pub(super) calls: HashMap<CallId, CallRole, foldhash::fast::RandomState>,
    pub(super) timers: Timers,
    /// Remembered requests in the order in which they are forgotten.
    pub(super) request_order: VecDeque<(Time, SpaceIx, RequestId)>,
    /// About how many of these have been forgotten already.
    pub(super) request_order_stale: usize,
}

/// What a call that stays is.
#[derive(Debug)]
pub(super) enum CallRole {
    Waiter(WaiterIx),
    Watcher(SpaceIx, LockName),
    ValueWatcher(SpaceIx, ValueKey),
    Ticket(TicketIx),
    Session(LeaseIx),
    Consumer(ConsumerIx),
    WebhookFollower,
}

/// A namespace.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) name: Namespace,
    pub(super) locks: BTreeMap<LockName, LockIx>,
    pub(super) history: History,
    pub(super) leases: BTreeMap<LeaseId, LeaseIx>,
    pub(super) requests: HashMap<RequestId, Remembered, foldhash::fast::RandomState>,
    pub(super) watchers: HashMap<LockName, Vec<CallId>, foldhash::fast::RandomState>,
    pub(super) values: BTreeMap<ValueKey, ValueIx>,
    /// How many bytes the values have, with their keys.
    pub(super) value_bytes: usize,
    pub(super) value_watchers: HashMap<ValueKey, Vec<CallId>, foldhash::fast::RandomState>,
    pub(super) queues: BTreeMap<QueueName, QueueIx>,
    /// How many items its queues have, dead ones included.
    pub(super) item_count: usize,
    /// How many bytes these have.
    pub(super) item_bytes: usize,
    pub(super) fifos: BTreeMap<FifoId, FifoIx>,
    /// Of all FIFOs, those that have lapsed included.
    pub(super) tickets: HashMap<TicketId, TicketIx, foldhash::fast::RandomState>,
    /// By number.
    pub(super) webhooks: BTreeMap<u64, WebhookIx>,
    /// The numbers of those that are over, by when they are forgotten.
    pub(super) webhooks_over: BTreeSet<(Time, u64)>,
}

/// A lock that is held, held back, waited for or reserved.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) space: SpaceIx,
    pub(super) name: LockName,
    /// By fencing token.
    pub(super) holders: SmallVec<[GrantIx; 4]>,
    /// The smallest `max_shared` among the holders, those who lost it and hold it back included.
    pub(super) shared_bound: u32,
    pub(super) line: Option<Box<Line>>,
    rare: Option<Box<Rare>>,
}

// Most have one holder and nothing else, and there may be millions.
const _: () = assert!(size_of::<Lock>() <= 72);

/// What few locks have: one pointer is all that it costs the others.
#[derive(Debug, Default)]
struct Rare {
    lapsed: Lapsed,
    reserved: Option<Reserved>,
}

impl Lock {
    pub(super) fn new(space: SpaceIx, name: LockName) -> Lock {
        Lock {
            space,
            name,
            holders: SmallVec::new(),
            shared_bound: UNBOUNDED,
            line: None,
            rare: None,
        }
    }

    /// Whether somebody holds it, or has lost it and holds it back.
    pub(super) fn is_in_use(&self) -> bool {
        !self.holders.is_empty() || self.lapsed().is_some()
    }

    /// Those who lost it and hold it back, where there are any.
    pub(super) fn lapsed(&self) -> Option<&Lapsed> {
        let rare = self.rare.as_ref()?;
        (rare.lapsed.len() > 0).then_some(&rare.lapsed)
    }

    pub(super) fn reserved(&self) -> Option<&Reserved> {
        self.rare.as_ref()?.reserved.as_ref()
    }

    pub(super) fn reserved_mut(&mut self) -> Option<&mut Reserved> {
        self.rare.as_mut()?.reserved.as_mut()
    }

    /// Reserves it, or not; gives what it was.
    pub(super) fn set_reserved(&mut self, reserved: Option<Reserved>) -> Option<Reserved> {
        self.change_rare(|rare| std::mem::replace(&mut rare.reserved, reserved))
    }

    pub(super) fn change_lapsed<T>(&mut self, change: impl FnOnce(&mut Lapsed) -> T) -> T {
        self.change_rare(|rare| change(&mut rare.lapsed))
    }

    /// Makes the rare parts for a change, and drops them where nothing is left in them.
    fn change_rare<T>(&mut self, change: impl FnOnce(&mut Rare) -> T) -> T {
        let mut rare = self.rare.take().unwrap_or_default();
        let changed = change(&mut rare);
        if rare.lapsed.len() > 0 || rare.reserved.is_some() {
            self.rare = Some(rare);
        }
        changed
    }
}

/// What a reserved lock knows beyond others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    pub(super) destroy_after: Duration,
    pub(super) last_used: Time,
    pub(super) timer: Time,
}

/// The waiters of a lock. It is dropped when it is empty.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By order of arrival.
    pub(super) places: BTreeMap<u64, WaiterIx>,
    /// When positions are told.
    pub(super) pace: Pace,
}

/// What one asks for, and what it gets.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) mode: Mode,
    pub(super) max_shared: Option<u32>,
    pub(super) open: bool,
    pub(super) release_delay: ReleaseDelay,
    pub(super) keeper: Keeper,
    pub(super) about: Option<Arc<About>>,
    pub(super) session: Option<CallId>,
    pub(super) request: Option<(RequestId, u64)>,
    /// What calls back when it is granted.
    pub(super) webhook: Option<WebhookIx>,
}

/// What will keep a grant alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    Nothing,
    Ttl(Duration),
    Lease(LeaseIx),
}

/// What keeps a grant alive.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeptBy {
    Nothing,
    Own(Expiry),
    Lease(LeaseIx),
}

/// A hold on a lock.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) lock: LockIx,
    pub(super) fencing_token: u64,
    pub(super) mode: Mode,
    pub(super) open: bool,
    pub(super) release_delay: ReleaseDelay,
    pub(super) max_shared: Option<u32>,
    /// How many calls were told of it and have not given it back.
    pub(super) told: u32,
    pub(super) kept_by: KeptBy,
    pub(super) about: Option<Arc<About>>,
    pub(super) acquired_at: WallTime,
    pub(super) session: Option<CallId>,
    pub(super) request: Option<Box<(RequestId, u64)>>,
}

// There is one for each lock that is held, and there may be millions.
const _: () = assert!(size_of::<Grant>() <= 112);

/// A place in line.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) lock: LockIx,
    pub(super) arrival: u64,
    /// Whom to tell: more than one where a call was retried, none where all are gone and the place
    /// lasts as long as its lease.
    pub(super) calls: SmallVec<[CallId; 1]>,
    pub(super) ask: Ask,
    pub(super) deadline: Time,
    pub(super) since: WallTime,
    /// The position that was told last.
    pub(super) told: u32,
}

impl Waiter {
    /// Whether the place outlives its callers: they can come back to it only with a request id,
    /// where nobody is called back.
    pub(super) fn is_durable(&self) -> bool {
        let comes_back = matches!(self.ask.keeper, Keeper::Lease(_)) && self.ask.request.is_some();
        comes_back || self.ask.webhook.is_some()
    }
}

/// A shared lease.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) space: SpaceIx,
    pub(super) id: LeaseId,
    pub(super) expiry: Expiry,
    pub(super) about: Option<Arc<About>>,
    pub(super) created_at: WallTime,
    /// By fencing token.
    pub(super) grants: BTreeMap<u64, GrantIx>,
    /// By order of arrival.
    pub(super) waiters: BTreeMap<u64, WaiterIx>,
    pub(super) session: Option<CallId>,
}

impl State {
    /// Applies one command: changes the state, and puts out what is to be committed and what is to
    /// be told after that.
    pub fn apply(&mut self, context: Context, request: Request, out: &mut Out) {
        self.move_to(context);
        let Request {
            call,
            namespace,
            command,
        } = request;
        let space = self.space(&namespace);
        match command {
            Command::Reserve {
                lock,
                destroy_after,
                request_id,
            } => self.reserve(call, space, lock, destroy_after, request_id, out),
            Command::Acquire(acquire) => self.acquire(call, space, acquire, out),
            Command::PutOpen {
                lock,
                ttl,
                default_ttl,
                about,
            } => self.put_open(call, space, lock, ttl, default_ttl, about, out),
            Command::Renew { lock, proof, ttl } => self.renew(call, space, lock, proof, ttl, out),
            Command::Release {
                lock,
                proof,
                session,
                request_id,
            } => self.release(call, space, lock, proof, session, request_id, out),
            Command::GetLock { lock } => {
                let view = self.view_by_name(space, &lock);
                out.answer(call, Answer::Lock(view));
            }
            Command::Explain { lock } => {
                let explanation = Box::new(self.explain(space, &lock));
                out.answer(call, Answer::Explained(explanation));
            }
            Command::ListLocks {
                prefix,
                after,
                limit,
            } => {
                let answer = self.list_locks(space, &prefix, after.as_deref(), limit);
                out.answer(call, answer);
            }
            Command::Watch { lock } => self.watch(call, space, lock, out),
            Command::ForceRelease {
                lock,
                fencing_token,
                request_id,
            } => self.force_release(call, space, lock, fencing_token, request_id, out),
            Command::Check {
                lock,
                fencing_token,
            } => {
                let answer = self.check(space, &lock, fencing_token);
                out.answer(call, answer);
            }
            Command::CreateLease {
                id,
                ttl,
                about,
                request_id,
            } => self.create_lease(call, space, id, ttl, about, request_id, out),
            Command::RenewLease { id } => self.renew_lease(call, space, id, out),
            Command::RevokeLease { id, request_id } => {
                self.revoke_lease(call, space, id, request_id, out);
            }
            Command::GetLease { id } => match self.find_lease(space, id) {
                Some(lease) => out.answer(call, Answer::Lease(self.view_lease(lease))),
                None => out.refuse(call, Refusal::LeaseNotFound),
            },
            Command::ListLeases { after, limit } => {
                let answer = self.list_leases(space, after, limit);
                out.answer(call, answer);
            }
            Command::PutValue {
                key,
                bytes,
                ttl,
                expected_revision,
                request_id,
            } => {
                let put = Put {
                    key,
                    bytes,
                    ttl,
                    expected_revision,
                };
                self.put_value(call, space, put, request_id, out);
            }
            Command::DeleteValue {
                key,
                expected_revision,
                request_id,
            } => self.delete_value(call, space, key, expected_revision, request_id, out),
            Command::GetValue { key } => match self.find_value(space, &key) {
                Some(value) => out.answer(call, Answer::Value(self.view_value(value))),
                None => out.refuse(call, Refusal::ValueNotFound(key)),
            },
            Command::ListValues {
                prefix,
                after,
                limit,
            } => {
                let answer = self.list_values(space, &prefix, after.as_deref(), limit);
                out.answer(call, answer);
            }
            Command::WatchValue { key } => self.watch_value(call, space, key, out),
            Command::Fifo(command) => self.fifo(call, space, command, out),
            Command::Queue(command) => self.queue(call, space, command, out),
            Command::Webhook(command) => self.webhook(call, space, command, out),
            Command::OpenSession { lease } => self.open_session(call, space, lease, out),
            Command::Touch { session, answered } => {
                if let Some(CallRole::Session(lease)) = self.calls.get(&session) {
                    self.prolong_lease(*lease, out);
                    self.forget_answered(space, &answered, out);
                }
            }
            Command::Withdraw { call } => self.withdraw(call, out),
            Command::Cancel { call } => self.cancel(call, out),
            Command::GiveBack {
                lock,
                fencing_token,
            } => self.give_back(space, &lock, fencing_token, out),
        }
    }

    /// Handles deadlines that have passed, at most [`TIMERS_PER_TICK_MAX`] of them. Calling it too
    /// early or too often is harmless.
    pub fn tick(&mut self, context: Context, out: &mut Out) {
        self.move_to(context);
        for _ in 0..TIMERS_PER_TICK_MAX {
            let Some(timer) = self.timers.pop_due(self.now) else {
                break;
            };
            match timer {
                Timer::Serve(lock) => self.settle(lock, out),
                Timer::Lease(lease) => self.lease_is_due(lease, out),
                Timer::Grant(grant) => self.grant_is_due(grant, out),
                Timer::Lapsed(lock) => self.lapsed_is_due(lock, out),
                Timer::Wait(waiter) => self.wait_is_due(waiter, out),
                Timer::Reserved(lock) => self.reserved_is_due(lock, out),
                Timer::Positions(lock) => self.positions_are_due(lock, out),
                Timer::Requests => self.requests_are_due(out),
                Timer::Value(value) => self.value_is_due(value, out),
                Timer::Item(item) => self.item_is_due(item, out),
                Timer::Consumer(consumer) => self.consumer_is_due(consumer, out),
                Timer::ServeFifo(fifo) => self.serve_tickets(fifo, out),
                Timer::Ticket(ticket) => self.ticket_is_due(ticket, out),
                Timer::Turn(ticket) => self.turn_is_due(ticket, out),
                Timer::Fifo(fifo) => self.fifo_is_due(fifo, out),
                Timer::FifoPositions(fifo) => self.fifo_positions_are_due(fifo, out),
                Timer::Webhook(webhook) => self.webhook_timer_is_due(webhook, out),
            }
        }
        if self.now >= self.clock_commit_due() {
            self.mark_clock(out);
        }
    }

    /// When to tick next; `None` when nothing can come due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers
            .first()
            .map(|first| first.min(self.clock_commit_due()))
    }

    /// Puts out the shard's own record. It has to come with every batch that has changes; where
    /// nothing else changed it says how far time has come. False when there is nothing new to say.
    pub fn mark_clock(&mut self, out: &mut Out) -> bool {
        if out.changes.is_empty() && self.clock_committed == self.now {
            return false;
        }
        self.clock_committed = self.now;
        out.put(Key::Shard, Value::Shard(self.shard_value()));
        true
    }

    /// The time of the last application.
    pub fn now(&self) -> Time {
        self.now
    }

    pub(super) fn shard_value(&self) -> ShardValue {
        ShardValue {
            clock_nanos: self.clock_committed.as_nanos(),
            last_fencing_token: self.last_fencing_token,
            last_arrival: self.last_arrival,
            last_revision: self.last_revision,
        }
    }

    fn clock_commit_due(&self) -> Time {
        self.clock_committed + CLOCK_COMMIT_INTERVAL
    }

    fn move_to(&mut self, context: Context) {
        self.now = self.now.max(context.now);
        self.wall = context.wall;
    }

    /// The namespace's place, made at first use.
    pub(super) fn space(&mut self, name: &Namespace) -> SpaceIx {
        if let Some(space) = self.space_by_name.get(name) {
            return *space;
        }
        let space = SpaceIx::from(self.spaces.len());
        self.spaces.push(Space {
            name: name.clone(),
            locks: BTreeMap::new(),
            history: History::default(),
            leases: BTreeMap::new(),
            requests: HashMap::default(),
            watchers: HashMap::default(),
            values: BTreeMap::new(),
            value_bytes: 0,
            value_watchers: HashMap::default(),
            queues: BTreeMap::new(),
            item_count: 0,
            item_bytes: 0,
            fifos: BTreeMap::new(),
            tickets: HashMap::default(),
            webhooks: BTreeMap::new(),
            webhooks_over: BTreeSet::new(),
        });
        self.space_by_name.insert(name.clone(), space);
        space
    }

    pub(super) fn space_of(&self, space: SpaceIx) -> &Space {
        &self.spaces[usize::from(space)]
    }

    pub(super) fn space_mut(&mut self, space: SpaceIx) -> &mut Space {
        &mut self.spaces[usize::from(space)]
    }

    /// Takes back what a call that stays was: its caller is gone.
    fn cancel(&mut self, call: CallId, out: &mut Out) {
        match self.calls.remove(&call) {
            None => {}
            Some(CallRole::Waiter(waiter)) => self.waiter_call_is_gone(waiter, call, out),
            Some(CallRole::Watcher(space, lock)) => {
                forget_watcher(&mut self.space_mut(space).watchers, &lock, call);
            }
            Some(CallRole::ValueWatcher(space, key)) => {
                forget_watcher(&mut self.space_mut(space).value_watchers, &key, call);
            }
            Some(CallRole::Ticket(ticket)) => self.ticket_call_is_gone(ticket, call),
            Some(CallRole::Session(lease)) => self.leases[lease].session = None,
            Some(CallRole::Consumer(consumer)) => self.consumer_is_gone(consumer, out),
            Some(CallRole::WebhookFollower) => self.webhooks.follower = None,
        }
    }
}

/// Takes a call out of those that watch something.
fn forget_watcher<K: std::hash::Hash + Eq>(
    watchers: &mut HashMap<K, Vec<CallId>, foldhash::fast::RandomState>,
    watched: &K,
    call: CallId,
) {
    if let Some(calls) = watchers.get_mut(watched) {
        calls.retain(|other| *other != call);
        if calls.is_empty() {
            watchers.remove(watched);
        }
    }
}
