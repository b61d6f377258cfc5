//! The shard's thread: ticks, commits, and lets effects out; loads again when a commit fails.

use std::sync::PoisonError;
use std::time::Duration;

use super::clock::{Clock, STEP_MAX};
use super::{Failure, OpenBatch, Shard, Status, Undelivered, Work, lock};
use crate::core::{CallId, Change, State};
use crate::store::{Batch, Epoch, ShardId, Store, StoreError};

/// The first pause before the store is claimed again after a failure; it doubles up to
/// [`RECLAIM_PAUSE_MAX`].
const RECLAIM_PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`RECLAIM_PAUSE_MIN`].
const RECLAIM_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Claims the shard and loads its state.
pub(super) fn load(store: &dyn Store, id: ShardId) -> Result<(Epoch, State), StoreError> {
    let mut loader = State::loader();
    let epoch = store.claim(id, &mut |key, value| {
        loader.record(key, value).map_err(unreadable)
    })?;
    Ok((epoch, loader.finish()))
}

fn unreadable(damage: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable {
        what: damage.to_string(),
    }
}

/// Starts the shard's thread.
pub(super) fn spawn(shard: Shard, epoch: Epoch) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(format!("shard-{}", shard.0.id.0))
        .spawn(move || run(&shard, epoch))
        .map(drop)
}

fn run(shard: &Shard, mut epoch: Epoch) {
    let mut encoded = Batch::default();
    loop {
        let Some(batch) = next_batch(shard) else {
            break;
        };
        match commit(shard, epoch, &batch, &mut encoded) {
            Ok(()) => let_out(shard, batch),
            Err(error) => {
                tracing::error!(%error, "a commit failed; loading the shard again");
                let failure = match &error {
                    StoreError::Full { .. } => Failure::StorageFull,
                    _ => Failure::Unavailable,
                };
                fail_all(shard, batch, &failure);
                match reload(shard) {
                    Some(claimed) => epoch = claimed,
                    None => break,
                }
            }
        }
    }
    shard.0.store.release(shard.0.id, epoch);
    lock(&shard.0.work).status = Status::Stopped;
    shard.0.wake.notify_all();
}

/// Waits for something to commit, ticking the core at its deadlines; `None` when the shard stops.
fn next_batch(shard: &Shard) -> Option<OpenBatch> {
    let mut work = lock(&shard.0.work);
    work.committing = false;
    loop {
        let wait = work.tick();
        if !work.open.changes.is_empty() || !work.open.deliveries.is_empty() {
            work.committing = true;
            let mut batch = std::mem::take(&mut work.open);
            work.seal(&mut batch);
            return Some(batch);
        }
        if work.status == Status::Stopping {
            // A last mark of the clock, so that long leases go on from here.
            let Work { core, out, .. } = &mut *work;
            if core.mark_clock(out) {
                continue;
            }
            return None;
        }
        work = shard
            .0
            .wake
            .wait_timeout(work, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

impl Work {
    /// Applies a tick where one is due, and says how long to sleep before the next.
    fn tick(&mut self) -> Duration {
        let context = self.context();
        if self
            .core
            .next_deadline()
            .is_some_and(|at| at <= context.now)
        {
            self.core.tick(context, &mut self.out);
        }
        self.route(CallId(0), None);
        match self.core.next_deadline() {
            Some(at) => at.since(context.now).min(STEP_MAX / 2),
            None => STEP_MAX / 2,
        }
    }
}

impl Work {
    /// Adds the shard's own record, which every batch with changes ends with.
    fn seal(&mut self, batch: &mut OpenBatch) {
        if !batch.changes.is_empty() {
            std::mem::swap(&mut self.out.changes, &mut batch.changes);
            self.core.mark_clock(&mut self.out);
            std::mem::swap(&mut self.out.changes, &mut batch.changes);
        }
    }
}

fn commit(
    shard: &Shard,
    epoch: Epoch,
    batch: &OpenBatch,
    encoded: &mut Batch,
) -> Result<(), StoreError> {
    if batch.changes.is_empty() {
        return Ok(());
    }
    encoded.clear();
    for change in &batch.changes {
        encode(change, encoded);
    }
    shard.0.store.commit(shard.0.id, epoch, encoded)
}

fn encode(change: &Change, batch: &mut Batch) {
    match change {
        Change::Put(record) => {
            batch.put_with(&record.key.encode(), |value| record.encode_value(value));
        }
        Change::Delete(key) => batch.delete(&key.encode()),
    }
}

fn let_out(shard: &Shard, batch: OpenBatch) {
    for delivery in batch.deliveries {
        match delivery.deliver() {
            None => {}
            Some(Undelivered::Outcome(namespace, outcome)) => {
                shard.give_back(&namespace, &outcome);
            }
            // Its receiver sees the channel close, which is how a slow reader is cut off.
            Some(Undelivered::Watch(call)) => {
                lock(&shard.0.work).callers.remove(&call);
            }
        }
    }
}

fn fail_all(shard: &Shard, batch: OpenBatch, failure: &Failure) {
    let (open, callers) = {
        let mut work = lock(&shard.0.work);
        if work.status == Status::Serving {
            work.status = Status::Reloading;
        }
        work.core = State::default();
        work.out.changes.clear();
        work.out.effects.clear();
        (
            std::mem::take(&mut work.open),
            std::mem::take(&mut work.callers),
        )
    };
    for delivery in batch.deliveries.into_iter().chain(open.deliveries) {
        delivery.fail(failure.clone());
    }
    for (_, caller) in callers.into_values() {
        caller.fail(failure.clone());
    }
}

/// Claims the shard again, as often as it takes; `None` when the shard is to stop.
fn reload(shard: &Shard) -> Option<Epoch> {
    let mut pause = RECLAIM_PAUSE_MIN;
    loop {
        if lock(&shard.0.work).status == Status::Stopping {
            return None;
        }
        match load(shard.0.store.as_ref(), shard.0.id) {
            Ok((epoch, core)) => {
                let mut work = lock(&shard.0.work);
                work.clock = Clock::resume(core.now());
                work.core = core;
                if work.status == Status::Reloading {
                    work.status = Status::Serving;
                }
                tracing::info!(epoch = epoch.0, "the shard serves again");
                return Some(epoch);
            }
            Err(error) => {
                tracing::error!(%error, "the shard can't be loaded");
                let work = lock(&shard.0.work);
                drop(
                    shard
                        .0
                        .wake
                        .wait_timeout(work, pause)
                        .unwrap_or_else(PoisonError::into_inner),
                );
                pause = (pause * 2).min(RECLAIM_PAUSE_MAX);
            }
        }
    }
}
