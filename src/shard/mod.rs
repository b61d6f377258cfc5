//! A shard makes the core durable and timely.
//!
//! Callers apply their commands themselves, one at a time under the shard's mutex; the changes and
//! effects gather in the open batch. One thread per shard takes the open batch, commits it, and
//! only then lets its effects out, while the next batch gathers. The same thread sleeps until the
//! next deadline and ticks the core.
//!
//! Invariant: nothing is told before the changes it came with, and all earlier ones, are durable.
//! Invariant: when a commit fails, or the rules panic, the state in memory is dropped and loaded
//! again from the store; whoever has no answer by then is told that there is none.
//! Invariant: a mutex of a call, watch or session may be taken under the shard's, never the other
//! way round, and nobody is woken under either.

mod call;
mod calls;
mod clock;
mod commit;
mod news;
mod session;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use call::Slot;
pub use call::{Call, Outcome, Progress};
pub use calls::Calls;
use news::{Amends, Caller};
use session::Outbox;
pub use session::{SESSION_NEWS_MAX, SESSION_WAITING_MAX, Session, SessionNews};
use watch::Feed;
pub use watch::{WATCH_NEWS_MAX, WATCH_VALUE_BYTES_MAX, Watch, WatchNews};
pub(crate) use work::wall_time;
use work::{Stage, Work};

use crate::core::{
    Acquire, CallId, Command, LockName, Namespace, QueueCommand, QueueName, Refusal, RequestId,
    SessionLease, ValueKey, WebhookCommand,
};
use crate::store::{ShardId, Store, StoreError};

/// The most answers that wait for one commit before further calls are refused. As many more may be
/// in the commit before.
pub const UNCOMMITTED_MAX: usize = 32_768;
/// How much further renewals and releases may go: overload must not cost a holder its lock.
pub const UNCOMMITTED_RESERVE: usize = 32_768;
/// The most events for watchers that wait for one commit; further ones cut their watchers off.
pub const UNCOMMITTED_EVENTS_MAX: usize = 262_144;

/// The most bytes of values that wait for one commit before further ones are refused. As many more
/// may be in the commit before.
pub const UNCOMMITTED_VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The rules refused it; nothing was changed.
    Refused(Refusal),
    /// Too much is under way; nothing was changed. Try again in a moment.
    Overloaded,
    /// The store has no room. Ask again with the same request id once there is.
    StorageFull,
    /// The server is stopping; nothing was changed. Another may take over.
    Stopping,
    /// The store failed: whether the call changed anything is unknown. Ask again with the same
    /// request id.
    Unavailable,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

/// A handle to a shard. Cheap to clone. Once all of them are gone, calls, watches and sessions
/// included, the shard stops by itself.
#[derive(Clone)]
pub struct Shard(Arc<Handle>);

struct Handle(Arc<Inner>);

/// What the handles share with the shard's thread.
struct Inner {
    id: ShardId,
    store: Arc<dyn Store>,
    work: Mutex<Work>,
    /// Wakes the shard's thread.
    wake: Condvar,
    /// Wakes those who wait for the thread's end.
    ended: Condvar,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut work = lock(&self.0.work);
        work.stage = work.stage.max(Stage::Stopping);
        self.0.wake.notify_one();
    }
}

impl Shard {
    /// Claims the shard, loads its state and starts its thread.
    ///
    /// Fails when the store can't be claimed or what it holds can't be read.
    pub fn start(store: Arc<dyn Store>, id: ShardId) -> Result<Shard, StoreError> {
        let (epoch, core) = commit::load(store.as_ref(), id)?;
        let inner = Arc::new(Inner {
            id,
            store,
            work: Mutex::new(Work::new(core)),
            wake: Condvar::new(),
            ended: Condvar::new(),
        });
        commit::spawn(inner.clone(), epoch).map_err(|source| {
            inner.store.release(id, epoch);
            StoreError::Io {
                path: "a thread for the shard".into(),
                source,
            }
        })?;
        Ok(Shard(Arc::new(Handle(inner))))
    }

    /// Asks for something that has one answer. Dropping the returned call cancels it.
    pub fn call(&self, namespace: &Namespace, command: Command) -> Call {
        let slot = Arc::new(Slot::new(namespace));
        let id = self.submit(namespace, command, Caller::Call(slot.clone()));
        Call::new(self.clone(), id, slot)
    }

    /// Follows a lock. Dropping the returned watch ends it.
    pub fn watch(&self, namespace: &Namespace, lock: LockName) -> Watch {
        self.follow(namespace, Command::Watch { lock })
    }

    /// Follows what is under a key. Dropping the returned watch ends it.
    pub fn watch_value(&self, namespace: &Namespace, key: ValueKey) -> Watch {
        self.follow(namespace, Command::WatchValue { key })
    }

    /// Takes items of a queue as they come: [`WatchNews::Item`] for each. Dropping the returned watch
    /// ends it, and gives back what was not read.
    pub fn consume(
        &self,
        namespace: &Namespace,
        queue: QueueName,
        window: u32,
        ack_timeout: Duration,
    ) -> Watch {
        let consume = QueueCommand::Consume {
            queue,
            window,
            ack_timeout,
        };
        self.follow(namespace, Command::Queue(consume))
    }

    /// Follows which webhooks are to be posted, over all namespaces. The newest follower only is
    /// told; `namespace` is any. Dropping the returned watch ends it.
    pub fn follow_webhooks(&self, namespace: &Namespace) -> Watch {
        self.follow(namespace, Command::Webhook(WebhookCommand::Follow))
    }

    /// Tells how a post went, or what came of a webhook. What can't be told now is told again by
    /// whoever posts it next: it is due until it is settled.
    pub fn report_webhook(&self, namespace: &Namespace, report: WebhookCommand) {
        self.tell(namespace, Command::Webhook(report));
    }

    /// For a stream that makes many calls, each of which the rules answer at once.
    pub fn calls(&self, namespace: &Namespace) -> Calls {
        Calls::new(self.clone(), namespace)
    }

    /// Opens a session. Its first news are [`SessionNews::Opened`], or [`SessionNews::Ended`].
    pub fn open_session(&self, namespace: &Namespace, lease: SessionLease) -> Session {
        let outbox = Arc::new(Outbox::new(namespace));
        let id = self.submit(
            namespace,
            Command::OpenSession { lease },
            Caller::Session(outbox.clone()),
        );
        Session::new(self.clone(), id, outbox)
    }

    /// Whether the shard serves: false while it loads again after a failure, and when it stops.
    pub fn is_serving(&self) -> bool {
        self.inner().work().is_serving()
    }

    /// Refuses new calls and fails those that wait with [`Failure::Stopping`]. Time stands still
    /// from here on: who can't renew must lose nothing by it.
    pub fn stop_accepting(&self) {
        self.inner().enter(|work| {
            if work.stage == Stage::Accepting {
                work.stage = Stage::Draining;
                work.turn_away(&Failure::Stopping);
            }
        });
    }

    /// Commits what is under way, gives the shard back to the store and ends its thread. Blocks for
    /// as long as the store does.
    pub fn stop(&self) {
        self.stop_accepting();
        let inner = self.inner();
        let mut work = inner.work();
        work.stage = work.stage.max(Stage::Stopping);
        inner.wake.notify_one();
        while !work.has_ended {
            work = inner
                .ended
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn inner(&self) -> &Inner {
        &self.0.0
    }

    fn follow(&self, namespace: &Namespace, command: Command) -> Watch {
        let feed = Arc::new(Feed::new(namespace));
        let id = self.submit(namespace, command, Caller::Watch(feed.clone()));
        Watch::new(self.clone(), id, feed)
    }

    fn submit(&self, namespace: &Namespace, command: Command, caller: Caller) -> CallId {
        let inner = self.inner();
        let has_room = !work::may_grow(&command) || inner.store.has_room(inner.id);
        inner.enter(|work| {
            let id = work.next_call();
            work.submit(id, namespace, command, caller, has_room);
            id
        })
    }

    fn submit_session(
        &self,
        session: &Session,
        answered: Vec<RequestId>,
        calls: Vec<(u64, Command)>,
    ) {
        let inner = self.inner();
        let outbox = session.outbox();
        let namespace = outbox.namespace();
        let grows = calls.iter().any(|(_, command)| work::may_grow(command));
        let has_room = !grows || inner.store.has_room(inner.id);
        inner.enter(|work| {
            work.touch(namespace, session.id(), answered);
            for (number, command) in calls {
                let id = work.next_call();
                let caller = Caller::SessionCall(outbox.clone(), number);
                let waits =
                    matches!(&command, Command::Acquire(Acquire { wait, .. }) if !wait.is_zero());
                if waits && session.waiting() >= SESSION_WAITING_MAX {
                    let refusal = Refusal::LimitReached {
                        what: "waiting calls of one session",
                        max: SESSION_WAITING_MAX,
                    };
                    work.refuse(id, caller, refusal.into());
                } else {
                    work.submit(id, namespace, command, caller, has_room);
                }
            }
        });
    }

    fn submit_calls(&self, outbox: &Arc<Outbox>, calls: Vec<(u64, Command)>, grows: bool) {
        let inner = self.inner();
        let has_room = !grows || inner.store.has_room(inner.id);
        inner.enter(|work| {
            for (number, command) in calls {
                let id = work.next_call();
                let caller = Caller::SessionCall(outbox.clone(), number);
                work.submit(id, outbox.namespace(), command, caller, has_room);
            }
        });
    }

    /// Applies a command that has no answer.
    fn tell(&self, namespace: &Namespace, command: Command) {
        self.inner().tell(namespace, command);
    }
}

impl Inner {
    fn work(&self) -> MutexGuard<'_, Work> {
        lock(&self.work)
    }

    /// Works on the state; then, with the mutex free again, wakes whoever has to be.
    fn enter<T>(&self, act: impl FnOnce(&mut Work) -> T) -> T {
        let mut work = self.work();
        let done = act(&mut work);
        work.flush();
        let (mut wakers, amends) = work.take_follow_ups();
        let wake_thread = work.must_wake_thread();
        drop(work);
        if wake_thread {
            self.wake.notify_one();
        }
        wakers.wake();
        self.make(amends);
        done
    }

    fn tell(&self, namespace: &Namespace, command: Command) {
        // Whoever was removed is dropped only here, with the mutex free.
        drop(self.enter(|work| work.tell(namespace, command)));
    }

    fn make(&self, amends: impl IntoIterator<Item = Amends>) {
        for Amends { namespace, command } in amends {
            self.tell(&namespace, command);
        }
    }
}

/// What these mutexes guard is made anew wherever it could be half changed, so one whose holder
/// panicked is still a mutex.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
