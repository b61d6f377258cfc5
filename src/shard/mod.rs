//! A shard makes the core durable and timely.
//!
//! Callers apply their commands themselves, one at a time under the shard's mutex; the changes and
//! effects gather in the open batch. One thread per shard takes the open batch, commits it, and
//! only then lets its effects out, while the next batch gathers. The same thread sleeps until the
//! next deadline and ticks the core.
//!
//! Invariant: nothing is told before the changes it came with, and all earlier ones, are durable.
//! Invariant: when a commit fails, the state in memory is dropped and loaded again from the store.

mod call;
mod clock;
mod commit;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub use call::{
    Call, Outcome, Progress, SESSION_NEWS_MAX, SESSION_WAITING_MAX, Session, SessionNews, Watch,
    WatchNews,
};
use call::{Caller, Outbox, Slot, lock};
use clock::Clock;

use crate::core::{
    Acquire, CallId, Change, Command, Context, Effect, LockName, Namespace, Out, Refusal, Request,
    SessionLease, State, WallTime,
};
use crate::store::{ShardId, Store, StoreError};

/// The most answers that wait for their commit before further calls are refused.
pub const UNCOMMITTED_MAX: usize = 32_768;
/// How much further renewals and releases may go: overload must not cost a holder its lock.
pub const UNCOMMITTED_RESERVE: usize = 32_768;
/// How many events a watcher may be behind before it is cut off.
pub const WATCH_NEWS_MAX: usize = 1_024;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The rules refused it; nothing was changed.
    Refused(Refusal),
    /// Too much is under way; nothing was changed. Try again in a moment.
    Overloaded,
    /// The store has no room; nothing was changed.
    StorageFull,
    /// The server is stopping; nothing was changed. Another may take over.
    Stopping,
    /// The store failed: whether the call changed anything is unknown. Ask again with the same
    /// request id.
    Unavailable,
}

/// A handle to a shard. Cheap to clone.
#[derive(Clone)]
pub struct Shard(Arc<Inner>);

struct Inner {
    id: ShardId,
    store: Arc<dyn Store>,
    work: Mutex<Work>,
    /// Wakes the shard's thread.
    wake: Condvar,
    last_call: AtomicU64,
}

/// What the mutex guards.
struct Work {
    status: Status,
    core: State,
    clock: Clock,
    out: Out,
    open: OpenBatch,
    /// Whether the shard's thread is committing a batch or letting its effects out.
    committing: bool,
    /// Those who may be told more than once, or later than in the batch that they called in.
    callers: HashMap<CallId, (Namespace, Caller), foldhash::fast::RandomState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Serving,
    /// A commit failed; the state is being loaded again.
    Reloading,
    Stopping,
    Stopped,
}

/// What gathers while the batch before is being committed.
#[derive(Default)]
struct OpenBatch {
    changes: Vec<Change>,
    deliveries: Vec<Delivery>,
}

/// One piece of news, for whom.
struct Delivery {
    namespace: Namespace,
    to: DeliverTo,
}

enum DeliverTo {
    Done(Arc<Slot>, Outcome),
    Queued(Arc<Slot>, u32),
    Watch(tokio::sync::mpsc::Sender<WatchNews>, CallId, WatchNews),
    Session(Arc<Outbox>, SessionNews),
}

impl Shard {
    /// Claims the shard, loads its state and starts its thread.
    ///
    /// Fails when the store can't be claimed or what it holds can't be read.
    pub fn start(store: Arc<dyn Store>, id: ShardId) -> Result<Shard, StoreError> {
        let (epoch, core) = commit::load(store.as_ref(), id)?;
        let shard = Shard(Arc::new(Inner {
            id,
            store,
            work: Mutex::new(Work {
                status: Status::Serving,
                clock: Clock::resume(core.now()),
                core,
                out: Out::default(),
                open: OpenBatch::default(),
                committing: false,
                callers: HashMap::default(),
            }),
            wake: Condvar::new(),
            last_call: AtomicU64::new(0),
        }));
        commit::spawn(shard.clone(), epoch).map_err(|source| StoreError::Io {
            path: "a thread for the shard".into(),
            source,
        })?;
        Ok(shard)
    }

    /// Asks for something that has one answer. Dropping the returned call cancels it.
    pub fn call(&self, namespace: &Namespace, command: Command) -> Call {
        let slot = Arc::new(Slot::default());
        let id = self.next_call();
        self.submit(namespace, id, command, Caller::Slot(slot.clone()));
        Call {
            shard: self.clone(),
            namespace: namespace.clone(),
            id,
            slot,
            taken: false,
        }
    }

    /// Follows a lock. Dropping the returned watch ends it.
    pub fn watch(&self, namespace: &Namespace, lock: LockName) -> Watch {
        let (sender, news) = tokio::sync::mpsc::channel(WATCH_NEWS_MAX);
        let id = self.next_call();
        self.submit(
            namespace,
            id,
            Command::Watch { lock },
            Caller::Watch(sender),
        );
        Watch {
            shard: self.clone(),
            namespace: namespace.clone(),
            id,
            news,
        }
    }

    /// Opens a session. Its first news are [`SessionNews::Opened`], or [`SessionNews::Ended`].
    pub fn open_session(&self, namespace: &Namespace, lease: SessionLease) -> Session {
        let outbox = Arc::new(Outbox::default());
        let id = self.next_call();
        self.submit(
            namespace,
            id,
            Command::OpenSession { lease },
            Caller::SessionItself(outbox.clone()),
        );
        Session {
            shard: self.clone(),
            namespace: namespace.clone(),
            id,
            outbox,
        }
    }

    /// Whether the shard serves: false while it loads again after a failure, and when it stops.
    pub fn is_serving(&self) -> bool {
        lock(&self.0.work).status == Status::Serving
    }

    /// Refuses new calls and fails those that wait with [`Failure::Stopping`].
    pub fn stop_accepting(&self) {
        let mut work = lock(&self.0.work);
        if matches!(work.status, Status::Serving | Status::Reloading) {
            work.status = Status::Stopping;
        }
        for (_, (_, caller)) in work.callers.drain() {
            caller.fail(Failure::Stopping);
        }
    }

    /// Commits what is under way, gives the shard back to the store and ends its thread. Blocks.
    pub fn stop(&self) {
        self.stop_accepting();
        let mut work = lock(&self.0.work);
        self.0.wake.notify_all();
        while work.status != Status::Stopped {
            work = self
                .0
                .wake
                .wait(work)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn next_call(&self) -> CallId {
        CallId(self.0.last_call.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn submit(&self, namespace: &Namespace, call: CallId, command: Command, caller: Caller) {
        let mut work = lock(&self.0.work);
        match work.admit(&command) {
            Ok(()) => {
                let request = Request {
                    call,
                    namespace: namespace.clone(),
                    command,
                };
                work.apply(request, Some(caller));
                work.flush(&self.0.wake);
            }
            Err(failure) => {
                drop(work);
                caller.fail(failure);
            }
        }
    }

    fn submit_session(&self, session: &Session, calls: Vec<(u64, Command)>) {
        let mut work = lock(&self.0.work);
        let touch = Command::Touch {
            session: session.id,
        };
        if work.admit(&touch).is_ok() {
            let request = Request {
                call: self.next_call(),
                namespace: session.namespace.clone(),
                command: touch,
            };
            work.apply(request, None);
        }
        for (number, command) in calls {
            let caller = Caller::Session(session.outbox.clone(), number);
            let full = matches!(&command, Command::Acquire(Acquire { wait, .. }) if !wait.is_zero())
                && session.waiting() >= SESSION_WAITING_MAX;
            let admitted = if full {
                Err(Failure::Refused(Refusal::LimitReached {
                    what: "waiting calls of one session",
                    max: SESSION_WAITING_MAX,
                }))
            } else {
                work.admit(&command)
            };
            match admitted {
                Ok(()) => {
                    let request = Request {
                        call: self.next_call(),
                        namespace: session.namespace.clone(),
                        command,
                    };
                    work.apply(request, Some(caller));
                }
                Err(failure) => caller.fail(failure),
            }
        }
        work.flush(&self.0.wake);
    }

    /// Applies a command that has no answer.
    fn tell(&self, namespace: &Namespace, command: Command) {
        let mut work = lock(&self.0.work);
        if let Command::Cancel { call } = &command {
            work.callers.remove(call);
        }
        // After a stop or a reload there is no call left to cancel.
        if matches!(work.status, Status::Serving | Status::Stopping) {
            let request = Request {
                call: self.next_call(),
                namespace: namespace.clone(),
                command,
            };
            work.apply(request, None);
            work.flush(&self.0.wake);
        }
    }

    /// Ends the grant of an outcome that reached nobody.
    fn give_back(&self, namespace: &Namespace, outcome: &Outcome) {
        if let Some((lock, fencing_token)) = call::untold_grant(outcome) {
            let command = Command::GiveBack {
                lock: lock.clone(),
                fencing_token,
            };
            self.tell(namespace, command);
        }
    }
}

impl Work {
    /// Whether there is room for one more command.
    fn admit(&self, command: &Command) -> Result<(), Failure> {
        match self.status {
            Status::Serving => {}
            Status::Reloading => return Err(Failure::Unavailable),
            Status::Stopping | Status::Stopped => return Err(Failure::Stopping),
        }
        let keeps_or_frees = matches!(
            command,
            Command::Renew { .. }
                | Command::RenewLease { .. }
                | Command::Touch { .. }
                | Command::Release { .. }
                | Command::RevokeLease { .. }
                | Command::ForceRelease { .. }
                | Command::Withdraw { .. }
        );
        let max = if keeps_or_frees {
            UNCOMMITTED_MAX + UNCOMMITTED_RESERVE
        } else {
            UNCOMMITTED_MAX
        };
        if self.open.deliveries.len() >= max {
            return Err(Failure::Overloaded);
        }
        Ok(())
    }

    fn context(&mut self) -> Context {
        Context {
            now: self.clock.now(self.committing),
            wall: wall_time(),
        }
    }

    fn apply(&mut self, request: Request, caller: Option<Caller>) {
        let context = self.context();
        let call = request.call;
        let caller = caller.map(|caller| (request.namespace.clone(), caller));
        self.core.apply(context, request, &mut self.out);
        self.route(call, caller);
    }

    /// Moves what the core put out into the open batch, each effect to its caller. `caller` is
    /// whoever made `call`: most calls are answered at once and never enter the table.
    fn route(&mut self, call: CallId, mut caller: Option<(Namespace, Caller)>) {
        self.open.changes.append(&mut self.out.changes);
        for effect in self.out.effects.drain(..) {
            let to_call = effect.call();
            let answered;
            let to = match (to_call == call && caller.is_some(), effect.is_last()) {
                (true, false) => caller.as_ref(),
                (true, true) => {
                    answered = caller.take();
                    answered.as_ref()
                }
                (false, false) => self.callers.get(&to_call),
                (false, true) => {
                    answered = self.callers.remove(&to_call);
                    answered.as_ref()
                }
            };
            let Some((namespace, to)) = to else {
                // Its caller has cancelled it in the meantime, as the core is about to learn or has
                // just learnt.
                continue;
            };
            if let Some(to) = deliver_to(to, to_call, effect) {
                self.open.deliveries.push(Delivery {
                    namespace: namespace.clone(),
                    to,
                });
            }
        }
        if let Some((namespace, caller)) = caller {
            if let Caller::Session(outbox, number) = &caller {
                outbox.waits(*number, call);
            }
            self.callers.insert(call, (namespace, caller));
        }
    }

    /// Tells at once what waits for no commit; otherwise wakes the shard's thread.
    fn flush(&mut self, wake: &Condvar) {
        if self.committing {
            return;
        }
        if self.open.changes.is_empty() {
            for delivery in std::mem::take(&mut self.open.deliveries) {
                // An outcome without changes carries no grant, so nothing has to be given back.
                drop(delivery.deliver());
            }
        } else {
            wake.notify_all();
        }
    }
}

fn deliver_to(caller: &Caller, call: CallId, effect: Effect) -> Option<DeliverTo> {
    Some(match (caller, effect) {
        (Caller::Slot(slot), Effect::Reply(_, outcome)) => {
            DeliverTo::Done(slot.clone(), outcome.map_err(Failure::from))
        }
        (Caller::Slot(slot), Effect::Queued(_, _, position)) => {
            DeliverTo::Queued(slot.clone(), position)
        }
        (Caller::Watch(news), Effect::Watching(_, view)) => {
            DeliverTo::Watch(news.clone(), call, WatchNews::State(view))
        }
        (Caller::Watch(news), Effect::Changed(_, event)) => {
            DeliverTo::Watch(news.clone(), call, WatchNews::Changed(event))
        }
        (Caller::Watch(news), Effect::Reply(_, Err(refusal))) => {
            DeliverTo::Watch(news.clone(), call, WatchNews::Failed(refusal.into()))
        }
        (Caller::Session(outbox, number), Effect::Reply(_, outcome)) => {
            let outcome = outcome.map_err(Failure::from);
            DeliverTo::Session(outbox.clone(), SessionNews::Reply(*number, outcome))
        }
        (Caller::Session(outbox, number), Effect::Queued(_, lock, position)) => {
            DeliverTo::Session(outbox.clone(), SessionNews::Queued(*number, lock, position))
        }
        (Caller::SessionItself(outbox), Effect::SessionOpened { lease, resumed, .. }) => {
            DeliverTo::Session(outbox.clone(), SessionNews::Opened { lease, resumed })
        }
        (
            Caller::SessionItself(outbox),
            Effect::Lost {
                lock,
                fencing_token,
                cause,
                ..
            },
        ) => DeliverTo::Session(
            outbox.clone(),
            SessionNews::Lost {
                lock,
                fencing_token,
                cause,
            },
        ),
        (
            Caller::SessionItself(outbox),
            Effect::SessionEnded { why, .. } | Effect::Reply(_, Err(why)),
        ) => DeliverTo::Session(outbox.clone(), SessionNews::Ended(why.into())),
        _ => return None,
    })
}

impl Delivery {
    /// Tells the news; returns what reached nobody and matters.
    fn deliver(self) -> Option<Undelivered> {
        let namespace = self.namespace;
        match self.to {
            DeliverTo::Done(slot, outcome) => slot
                .done(outcome)
                .map(|outcome| Undelivered::Outcome(namespace, outcome)),
            DeliverTo::Queued(slot, position) => {
                slot.queued(position);
                None
            }
            DeliverTo::Watch(sender, call, news) => sender
                .try_send(news)
                .is_err()
                .then_some(Undelivered::Watch(call)),
            DeliverTo::Session(outbox, news) => match outbox.push(news) {
                Some(SessionNews::Reply(_, outcome)) => {
                    Some(Undelivered::Outcome(namespace, outcome))
                }
                _ => None,
            },
        }
    }

    /// Says instead that the store failed.
    fn fail(self, failure: Failure) {
        match self.to {
            DeliverTo::Done(slot, _) => drop(slot.done(Err(failure))),
            DeliverTo::Queued(..) => {}
            DeliverTo::Watch(sender, ..) => drop(sender.try_send(WatchNews::Failed(failure))),
            DeliverTo::Session(outbox, SessionNews::Reply(number, _)) => {
                drop(outbox.push(SessionNews::Reply(number, Err(failure))));
            }
            DeliverTo::Session(outbox, SessionNews::Opened { .. } | SessionNews::Ended(_)) => {
                drop(outbox.push(SessionNews::Ended(failure)));
            }
            DeliverTo::Session(..) => {}
        }
    }
}

enum Undelivered {
    Outcome(Namespace, Outcome),
    Watch(CallId),
}

/// The wall clock, for people to read; 1970 where it is set before that.
fn wall_time() -> WallTime {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
