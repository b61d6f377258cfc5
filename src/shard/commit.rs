//! The shard's thread: ticks, commits, and lets news out; loads again when a commit fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::news::{Amends, Wakers};
use super::work::{Lost, OpenBatch, Stage};
use super::{Failure, Inner, lock};
use crate::core::limits::{LOCK_NAME_BYTES_MAX, VALUE_BYTES_MAX};
use crate::core::{Change, State};
use crate::store::{BATCH_BYTES_MAX, Batch, Epoch, ShardId, Store, StoreError};

/// The first pause before the store is claimed once more, when claiming it again at once did not
/// help; it doubles up to [`RECLAIM_PAUSE_MAX`].
const RECLAIM_PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`RECLAIM_PAUSE_MIN`].
const RECLAIM_PAUSE_MAX: Duration = Duration::from_secs(2);

/// From this size on a batch is committed in parts, cut between two applications.
const PART_BYTES: usize = BATCH_BYTES_MAX / 2;
/// More than the bytes of any encoded change: twice those of the largest, a value with its key. One
/// application that puts out more than fits is cut between two changes.
const CHANGE_BYTES_MAX: usize = 2 * (VALUE_BYTES_MAX + LOCK_NAME_BYTES_MAX);

/// How many callers are told before they are woken: many at once keep their mutexes from being
/// fought over, and the first must not wait for the last.
const WAKE_TOGETHER: usize = 64;

/// Claims the shard and loads its state.
pub(super) fn load(store: &dyn Store, id: ShardId) -> Result<(Epoch, State), StoreError> {
    let mut loader = State::loader();
    let epoch = store.claim(id, &mut |key, value| {
        loader.record(key, value).map_err(unreadable)
    })?;
    Ok((epoch, loader.finish()))
}

fn unreadable(what: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable {
        what: what.to_string(),
    }
}

/// Starts the shard's thread.
pub(super) fn spawn(inner: Arc<Inner>, epoch: Epoch) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(format!("shard-{}", inner.id.0))
        .spawn(move || run(&inner, epoch))
        .map(drop)
}

fn run(inner: &Inner, mut epoch: Epoch) {
    let _ended = Ended(inner);
    let mut pause = Duration::ZERO;
    let mut encoded = Encoded::default();
    loop {
        let mut batch = OpenBatch::default();
        let stepped = unless_panic(|| step(inner, epoch, &mut batch, &mut encoded));
        let failure = match stepped {
            Ok(Step::Committed) => {
                pause = Duration::ZERO;
                continue;
            }
            Ok(Step::Told) => continue,
            Ok(Step::Stopped) => break,
            Ok(Step::Lost) => Failure::Unavailable,
            Err(error) => {
                tracing::error!(%error, "a commit failed; loading the shard again");
                failure_of(&error)
            }
        };
        fail_all(inner, batch, &failure);
        match reload(inner, &mut pause) {
            Some(claimed) => epoch = claimed,
            None => break,
        }
    }
    inner.store.release(inner.id, epoch);
}

/// However the thread ends, nobody waits for it in vain.
struct Ended<'a>(&'a Inner);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        lock(&self.0.work).stage = Stage::Stopped;
        fail_all(self.0, OpenBatch::default(), &Failure::Stopping);
        lock(&self.0.work).has_ended = true;
        self.0.ended.notify_all();
    }
}

/// What one round of the thread came to.
enum Step {
    /// A batch was committed and told.
    Committed,
    /// A batch without changes was told.
    Told,
    /// There is no state any more.
    Lost,
    /// The shard stops, and nothing is left to commit.
    Stopped,
}

/// Waits for a batch, commits it and lets its news out. What is left in `batch` after an error was
/// not told.
fn step(
    inner: &Inner,
    epoch: Epoch,
    batch: &mut OpenBatch,
    encoded: &mut Encoded,
) -> Result<Step, StoreError> {
    match next_batch(inner) {
        Next::Batch(next) => *batch = next,
        Next::Lost => return Ok(Step::Lost),
        Next::Stop => return Ok(Step::Stopped),
    }
    commit(inner, epoch, batch, encoded)?;
    let_out(inner, batch);
    Ok(if batch.changes.is_empty() {
        Step::Told
    } else {
        Step::Committed
    })
}

enum Next {
    Batch(OpenBatch),
    Lost,
    Stop,
}

/// Waits for something to commit, ticking the core at its deadlines.
fn next_batch(inner: &Inner) -> Next {
    let mut work = inner.work();
    work.committing = false;
    loop {
        let Some(wait) = work.tick() else {
            return Next::Lost;
        };
        if let Some(batch) = work.take_batch() {
            work.committing = true;
            work.sleeps_until = None;
            return Next::Batch(batch);
        }
        if work.stage >= Stage::Stopping {
            // A last mark of the clock, so that long leases go on from here.
            if work.mark_clock() {
                continue;
            }
            work.stage = Stage::Stopped;
            return Next::Stop;
        }
        work = inner
            .wake
            .wait_timeout(work, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        work.sleeps_until = None;
    }
}

fn commit(
    inner: &Inner,
    epoch: Epoch,
    batch: &OpenBatch,
    encoded: &mut Encoded,
) -> Result<(), StoreError> {
    let Some((mark, changes)) = batch.changes.split_last() else {
        return Ok(());
    };
    encoded.batch.clear();
    let mut ends = batch.ends.iter().copied().peekable();
    for (index, change) in changes.iter().enumerate() {
        encoded.add(change);
        let full_at = match ends.next_if_eq(&(index + 1)) {
            Some(_) => PART_BYTES,
            None => BATCH_BYTES_MAX - 2 * CHANGE_BYTES_MAX,
        };
        if encoded.batch.bytes_len() >= full_at {
            // Every part says how far the counters have come: no part may be ahead of them.
            encoded.add(mark);
            inner.store.commit(inner.id, epoch, &encoded.batch)?;
            encoded.batch.clear();
        }
    }
    encoded.add(mark);
    inner.store.commit(inner.id, epoch, &encoded.batch)
}

/// Changes on their way into the store, and room to encode a key in.
#[derive(Default)]
struct Encoded {
    batch: Batch,
    key: Vec<u8>,
}

impl Encoded {
    fn add(&mut self, change: &Change) {
        match change {
            Change::Put(record) => {
                record.key.encode_into(&mut self.key);
                let value = |bytes: &mut Vec<u8>| record.encode_value(bytes);
                match record.is_written_once() {
                    true => self.batch.insert_with(&self.key, value),
                    false => self.batch.put_with(&self.key, value),
                }
            }
            Change::Delete(key) => {
                key.encode_into(&mut self.key);
                self.batch.delete(&self.key);
            }
        }
    }
}

fn let_out(inner: &Inner, batch: &mut OpenBatch) {
    let mut wakers = Wakers::default();
    while let Some(news) = batch.news.pop_front() {
        let amends = news.tell(&mut wakers);
        if wakers.len() >= WAKE_TOGETHER {
            wakers.wake();
        }
        inner.make(amends);
    }
    wakers.wake();
}

/// Drops the state, and tells everyone who has no answer that there is none.
fn fail_all(inner: &Inner, batch: OpenBatch, failure: &Failure) {
    let Lost {
        core,
        open,
        callers,
    } = inner.work().lose(failure.clone());
    drop(core);
    let mut wakers = Wakers::default();
    let mut owed: Vec<Amends> = Vec::new();
    owed.extend(batch.amends.into_iter().chain(open.amends));
    for news in batch.news.into_iter().chain(open.news) {
        // A grant that was not told may be durable all the same.
        owed.extend(news.fail(failure.clone(), &mut wakers));
    }
    let (sessions, calls): (Vec<_>, Vec<_>) = callers
        .into_iter()
        .partition(|(_, caller)| caller.is_session());
    for (call, caller) in calls.into_iter().chain(sessions) {
        // A failure that reaches nobody leaves nothing to be done.
        drop(caller.failed(call, failure.clone()).tell(&mut wakers));
    }
    inner.work().owe(owed);
    wakers.wake();
}

/// Claims the shard again, as often as it takes; `None` when the shard is to stop.
fn reload(inner: &Inner, pause: &mut Duration) -> Option<Epoch> {
    loop {
        if !rest(inner, *pause) {
            return None;
        }
        *pause = (*pause * 2).clamp(RECLAIM_PAUSE_MIN, RECLAIM_PAUSE_MAX);
        match unless_panic(|| load(inner.store.as_ref(), inner.id)) {
            Ok((epoch, core)) => {
                inner.enter(|work| work.resume(core));
                tracing::info!(epoch = epoch.0, "the shard serves again");
                return Some(epoch);
            }
            Err(error) => {
                tracing::error!(%error, "the shard can't be loaded");
                inner.work().is_down(failure_of(&error));
            }
        }
    }
}

/// Waits; false when the shard is to stop.
fn rest(inner: &Inner, pause: Duration) -> bool {
    let work = inner.work();
    let (work, _) = inner
        .wake
        .wait_timeout_while(work, pause, |work| work.stage < Stage::Stopping)
        .unwrap_or_else(PoisonError::into_inner);
    work.stage < Stage::Stopping
}

fn failure_of(error: &StoreError) -> Failure {
    match error {
        StoreError::Full { .. } => Failure::StorageFull,
        _ => Failure::Unavailable,
    }
}

/// A panic of what the thread runs is a failure like any other: the state is loaded again.
fn unless_panic<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(unreadable("the shard panicked")))
}
