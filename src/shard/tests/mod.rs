//! The shard under a store that does as it is told: what is told when, what survives, who is left
//! with what.
//!
//! No test sleeps for luck: the store says when a commit has begun, and lets it end on demand.

#![allow(clippy::unwrap_used, clippy::panic)]

mod commits;
mod failures;
mod fifos;
mod limits;
mod queue;
mod races;
mod store;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use store::ScriptedStore;

use super::*;
use crate::core::{
    Acquire, Answer, Hold, LeaseId, LockView, Mode, Proof, ReleaseDelay, RequestId, SessionLease,
};

/// How long anything may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn start() -> (Arc<ScriptedStore>, Shard) {
    let store = Arc::new(ScriptedStore::new());
    let shard = Shard::start(store.clone(), ShardId(0)).unwrap();
    (store, shard)
}

fn namespace() -> Namespace {
    Namespace::new("default").unwrap()
}

fn name(lock: &str) -> LockName {
    LockName::new(lock).unwrap()
}

/// An acquire that holds for ever and asks once.
fn asks_once(lock: &str) -> Acquire {
    Acquire {
        lock: name(lock),
        mode: Mode::Exclusive,
        max_shared: None,
        hold: Hold::Forever,
        release_delay: ReleaseDelay::default(),
        wait: Duration::ZERO,
        about: None,
        request_id: None,
        session: None,
        must_exist: false,
        open: false,
        subscribe: None,
    }
}

/// An acquire that holds for ever and stands in line.
fn waits(lock: &str) -> Acquire {
    Acquire {
        wait: HOUR,
        ..asks_once(lock)
    }
}

/// An acquire whose place in line and grant hang on a lease and can be asked for again.
fn waits_on(lease: LeaseId, lock: &str, request_id: &str) -> Acquire {
    Acquire {
        hold: Hold::Lease(lease),
        request_id: Some(RequestId::new(request_id).unwrap()),
        ..waits(lock)
    }
}

fn release(lock: &str, token: u64) -> Command {
    Command::Release {
        lock: name(lock),
        proof: Proof::Token(token),
        session: None,
        request_id: None,
    }
}

fn renew(lock: &str, token: u64) -> Command {
    Command::Renew {
        lock: name(lock),
        proof: Proof::Token(token),
        ttl: None,
    }
}

fn get(lock: &str) -> Command {
    Command::GetLock { lock: name(lock) }
}

fn create_lease(id: LeaseId) -> Command {
    Command::CreateLease {
        id,
        ttl: TTL,
        about: None,
        request_id: None,
    }
}

impl Shard {
    fn ask(&self, command: Command) -> Call {
        self.call(&namespace(), command)
    }

    fn acquire(&self, acquire: Acquire) -> Call {
        self.ask(Command::Acquire(acquire))
    }

    /// The fencing token of a lock that is to be had.
    fn take(&self, lock: &str) -> u64 {
        token(wait(self.acquire(waits(lock))))
    }

    fn view(&self, lock: &str) -> LockView {
        match wait(self.ask(get(lock))) {
            Ok(Answer::Lock(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    /// Who holds a lock, by fencing token.
    fn holders(&self, lock: &str) -> Vec<u64> {
        let holders = self.view(lock).holders;
        holders.iter().map(|holder| holder.fencing_token).collect()
    }

    fn until_it_serves(&self) {
        until("the shard serves", || self.is_serving());
    }

    fn until_its_thread_sleeps(&self) {
        until("the thread sleeps", || {
            self.inner().work().sleeps_until.is_some()
        });
    }
}

/// Runs a future to its end, which must come.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(PATIENCE, future)
                .await
                .unwrap_or_else(|_| panic!("it never came"))
        })
}

fn wait(call: Call) -> Outcome {
    block_on(call.outcome())
}

/// What a call has been told by now.
fn told(call: &mut Call) -> Option<Outcome> {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match call.poll_progress(&mut cx) {
            Poll::Ready(Progress::Done(outcome)) => return Some(outcome),
            Poll::Ready(Progress::Queued(_)) => {}
            Poll::Pending => return None,
        }
    }
}

/// The position that a call stands at by now.
fn queued(call: &mut Call) -> u32 {
    match block_on(call.progress()) {
        Progress::Queued(standing) => standing.position,
        other => panic!("{other:?}"),
    }
}

fn token(outcome: Outcome) -> u64 {
    match outcome {
        Ok(Answer::Granted(granted)) => granted.holder.fencing_token,
        other => panic!("not granted: {other:?}"),
    }
}

/// Waits for what is bound to come without anybody being told of it.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it never came that {what}");
        std::thread::yield_now();
    }
}

/// Runs what must end, on a thread of its own.
fn ends(act: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(act);
    until("the thread ends", || thread.is_finished());
    thread.join().unwrap();
}
