//! A store for tests that loses what a crash would lose, whenever it is told to.
//!
//! It wraps any store and bends only what the contract leaves open: a commit that fails may have
//! become durable or not, but whole or not at all, and nothing more is taken until the shard is
//! claimed again. With [`CrashStore::delay_syncs`] it breaks the contract on purpose, as a disk that
//! acknowledges too early does: a test of durability must then fail.
//!
//! It has no clock and no randomness but the seed it is given.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Batch, Epoch, ShardId, Store, StoreError, Visit};

/// Where a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Before anything was written: the batch is lost.
    Before,
    /// In the middle of the write: recovery finds half a record and drops it, so the batch is lost.
    Torn,
    /// After the sync and before the acknowledgement: the batch is there.
    After,
}

/// How often commits fail by themselves, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odds {
    /// [`Fault::Before`].
    pub before: u16,
    /// [`Fault::Torn`].
    pub torn: u16,
    /// [`Fault::After`].
    pub after: u16,
}

/// What has happened so far, so that a test can tell whether it tried anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commits acknowledged.
    pub committed: u64,
    /// Commits that failed and are lost.
    pub lost: u64,
    /// Commits that failed and are there all the same.
    pub kept: u64,
    /// Calls of [`CrashStore::crash`].
    pub crashes: u64,
}

/// A store that fails on demand.
#[derive(Debug)]
pub struct CrashStore<S> {
    inner: S,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    /// The claims that may still commit.
    running: HashMap<ShardId, Epoch>,
    /// Commits to let pass, and how the one after them fails.
    next: Option<(u64, Fault)>,
    odds: Odds,
    random: u64,
    delayed: bool,
    /// Acknowledged and not synced.
    unsynced: Vec<(ShardId, Epoch, Batch)>,
    counts: Counts,
}

impl<S: Store> CrashStore<S> {
    /// Wraps a store; nothing fails until it is asked to.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
        }
    }

    /// Wraps a store whose commits fail at random: the same ones for the same seed and calls.
    pub fn with_seed(inner: S, seed: u64, odds: Odds) -> Self {
        let store = Self::new(inner);
        {
            let mut plan = store.plan();
            plan.odds = odds;
            plan.random = seed;
        }
        store
    }

    /// Lets `passing` more commits pass and makes the one after them fail.
    pub fn fail_after(&self, passing: u64, fault: Fault) {
        self.plan().next = Some((passing, fault));
    }

    /// Makes the next commit fail.
    pub fn fail_next(&self, fault: Fault) {
        self.fail_after(0, fault);
    }

    /// From now on commits are acknowledged before they are durable (`true`), or no longer.
    ///
    /// # Errors
    /// Those of [`CrashStore::sync`], when it is turned off.
    pub fn delay_syncs(&self, delayed: bool) -> Result<(), StoreError> {
        self.plan().delayed = delayed;
        if delayed { Ok(()) } else { self.sync() }
    }

    /// Makes durable what was acknowledged too early.
    ///
    /// # Errors
    /// The wrapped store's own.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.write_out(&mut self.plan())
    }

    /// The power goes: everything unsynced is lost, and every shard must be claimed again.
    pub fn crash(&self) {
        let mut plan = self.plan();
        plan.counts.lost += plan.unsynced.len() as u64;
        plan.counts.crashes += 1;
        plan.unsynced.clear();
        plan.running.clear();
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.plan().counts
    }

    fn write_out(&self, plan: &mut Plan) -> Result<(), StoreError> {
        for (shard, epoch, batch) in plan.unsynced.drain(..) {
            self.inner.commit(shard, epoch, &batch)?;
        }
        Ok(())
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn fault(&mut self) -> Option<Fault> {
        if let Some((passing, fault)) = self.next {
            if passing == 0 {
                self.next = None;
                return Some(fault);
            }
            self.next = Some((passing - 1, fault));
        }
        let Odds {
            before,
            torn,
            after,
        } = self.odds;
        if self.odds == Odds::default() {
            return None;
        }
        let draw = u16::try_from(next_random(&mut self.random) % 1000).unwrap_or_default();
        match draw {
            draw if draw < before => Some(Fault::Before),
            draw if draw < before + torn => Some(Fault::Torn),
            draw if draw < before + torn + after => Some(Fault::After),
            _ => None,
        }
    }
}

/// The next number of a seeded row of them (splitmix64).
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl<S: Store> Store for CrashStore<S> {
    fn server_key(&self) -> [u8; 32] {
        self.inner.server_key()
    }

    fn claim(&self, shard: ShardId, visit: &mut Visit<'_>) -> Result<Epoch, StoreError> {
        let mut plan = self.plan();
        // What has not been lost yet is what a reader sees.
        self.write_out(&mut plan)?;
        plan.running.remove(&shard);
        let epoch = self.inner.claim(shard, visit)?;
        plan.running.insert(shard, epoch);
        Ok(epoch)
    }

    fn commit(&self, shard: ShardId, epoch: Epoch, batch: &Batch) -> Result<(), StoreError> {
        let mut plan = self.plan();
        match plan.running.get(&shard) {
            Some(newest) if *newest == epoch => {}
            // The wrapped store knows best why an epoch may not write. An empty batch asks without
            // changing anything.
            _ => {
                self.inner.commit(shard, epoch, &Batch::new())?;
                return Err(StoreError::Stopped { shard });
            }
        }
        super::check_size(batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let Some(fault) = plan.fault() else {
            if plan.delayed {
                plan.unsynced.push((shard, epoch, batch.clone()));
            } else {
                self.inner.commit(shard, epoch, batch)?;
            }
            plan.counts.committed += 1;
            return Ok(());
        };
        plan.running.remove(&shard);
        match fault {
            Fault::Before | Fault::Torn => plan.counts.lost += 1,
            Fault::After => {
                self.write_out(&mut plan)?;
                self.inner.commit(shard, epoch, batch)?;
                plan.counts.kept += 1;
            }
        }
        Err(StoreError::Io {
            path: "crash-store".into(),
            source: std::io::Error::other(format!("injected failure: {fault:?}")),
        })
    }

    fn release(&self, shard: ShardId, epoch: Epoch) {
        let mut plan = self.plan();
        // Releasing is no sync, but the wrapped store takes nothing more under this epoch.
        let _stays_unsynced = self.write_out(&mut plan);
        if plan.running.get(&shard) == Some(&epoch) {
            plan.running.remove(&shard);
        }
        self.inner.release(shard, epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{self, dump};
    use crate::store::memory::MemoryStore;

    const SHARD: ShardId = ShardId(3);

    fn put(key: &[u8]) -> Batch {
        let mut batch = Batch::new();
        batch.put(key, b"x");
        batch
    }

    fn keys(store: &impl Store) -> Vec<Vec<u8>> {
        let (_, live) = dump(store, SHARD);
        live.into_keys().collect()
    }

    #[test]
    fn without_faults_it_keeps_the_contract() {
        let store = CrashStore::new(MemoryStore::new([1; 32]));
        conformance::check(store, |store| {
            store.crash();
            store
        });
    }

    #[test]
    fn a_failed_commit_is_there_whole_or_not_at_all_and_stops_the_shard() {
        let store = CrashStore::new(MemoryStore::new([1; 32]));
        for (fault, expected) in [(Fault::Before, 0), (Fault::Torn, 0), (Fault::After, 1)] {
            let (epoch, before) = dump(&store, SHARD);
            store.fail_next(fault);
            store
                .commit(SHARD, epoch, &put(format!("{fault:?}").as_bytes()))
                .unwrap_err();
            let again = store.commit(SHARD, epoch, &put(b"later"));
            assert!(matches!(again, Err(StoreError::Stopped { .. })));
            assert_eq!(keys(&store).len(), before.len() + expected, "{fault:?}");
        }
    }

    #[test]
    fn a_crash_loses_what_was_acknowledged_too_early_and_nothing_else() {
        let store = CrashStore::new(MemoryStore::new([1; 32]));
        let (epoch, _) = dump(&store, SHARD);
        store.commit(SHARD, epoch, &put(b"synced")).unwrap();
        store.delay_syncs(true).unwrap();
        store.commit(SHARD, epoch, &put(b"unsynced")).unwrap();
        store.crash();
        assert!(store.commit(SHARD, epoch, &put(b"later")).is_err());
        assert_eq!(keys(&store), [b"synced".to_vec()]);
    }

    #[test]
    fn the_same_seed_fails_the_same_commits() {
        let odds = Odds {
            before: 100,
            torn: 100,
            after: 100,
        };
        let run = |seed| {
            let store = CrashStore::with_seed(MemoryStore::new([1; 32]), seed, odds);
            let mut failed = Vec::new();
            let (mut epoch, _) = dump(&store, SHARD);
            for step in 0..1000_u32 {
                if store
                    .commit(SHARD, epoch, &put(&step.to_le_bytes()))
                    .is_err()
                {
                    failed.push(step);
                    epoch = store.claim(SHARD, &mut |_, _| Ok(())).unwrap();
                }
            }
            (failed, store.counts())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let (_, counts) = run(1);
        assert!(counts.lost > 100 && counts.kept > 50, "{counts:?}");
    }
}
