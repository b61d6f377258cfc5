//! The default store: a directory on this machine, and nothing to install.
//!
//! Layout: log and fold. A commit is one record in a log, made durable with one sync. In the
//! background full files of the log are coalesced, so that the last write of a key wins, written to
//! the state, and removed. A key that was made and removed in between never reaches the state.
//! Loading shows the state with the log that remains laid over it.
//!
//! Invariants:
//! - What the log's files that are newer than the state's mark hold, in order, over the state, is
//!   what was committed. Entries are whole values, so a record that is already in the state does no
//!   harm (see `replay.rs`); a file of the log goes only when all of it is in the state, durably.
//! - After any failed write a shard's files are closed, and nothing is committed until it is claimed
//!   again and they are read anew. A failed sync is never repeated: everything is written to new
//!   files instead.
//! - Nothing that cannot be read whole is skipped, and no file is ever made in place of a lost one.
//!
//! The state is a redb database. The log is plain files of records, because a commit through a
//! database costs twice the time and the processor of a record written into zeros, and the commit is
//! what callers wait for. A fold's transaction and a commit never wait for one another.

mod directory;
mod disk;
#[cfg(test)]
mod faults;
mod fold;
mod reached;
mod replay;
mod segment;
mod shard;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::directory::Directory;
use self::disk::{Disk, RealDisk, Volume, guard};
use self::shard::Shard;
use super::{Batch, Epoch, ShardId, Store, StoreError, Visit, check_size};

/// When a file of the log is full, in bytes of records: large enough that most locks come and go
/// within one, small enough to be read and coalesced in a fraction of a second at the next start.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// When a file of the log is full, in records: bounds the reading where batches are small.
const SEGMENT_RECORDS: u64 = 65_536;

/// How much of a log file is written with zeros in advance: the last record goes beyond
/// [`SEGMENT_BYTES`].
const SEGMENT_ZEROS_BYTES: u64 = SEGMENT_BYTES + 1024 * 1024;

/// How many keys a fold writes in one transaction: a few milliseconds of work.
const FOLD_PIECE_WRITES: usize = 2048;

/// How long after the disk was found full it is looked for room again.
const FULL_REST: Duration = Duration::from_secs(1);

/// The values above; tests take small ones.
#[derive(Clone, Copy, Debug)]
struct Tuning {
    segment_bytes: u64,
    segment_records: u64,
    zeros_bytes: u64,
    fold_piece_writes: usize,
    full_rest: Duration,
}

const TUNING: Tuning = Tuning {
    segment_bytes: SEGMENT_BYTES,
    segment_records: SEGMENT_RECORDS,
    zeros_bytes: SEGMENT_ZEROS_BYTES,
    fold_piece_writes: FOLD_PIECE_WRITES,
    full_rest: FULL_REST,
};

/// A store in a data directory that this process has to itself.
pub struct EmbeddedStore {
    // Dropped before the directory's lock is.
    slots: Mutex<HashMap<ShardId, Arc<Slot>>>,
    directory: Directory,
    disk: Arc<dyn Disk>,
    tuning: Tuning,
}

/// What this process knows of a shard.
struct Slot {
    volume: Arc<Volume>,
    claim: Mutex<Claim>,
}

/// Who may commit to a shard. It is locked for as long as a commit lasts.
#[derive(Default)]
struct Claim {
    newest: Option<Epoch>,
    shard: Option<Shard>,
    /// Why a commit has failed since the shard was claimed.
    stopped: Option<Stopped>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// The file of the log could not grow.
    Full,
    Otherwise,
}

impl EmbeddedStore {
    /// Opens the store in the directory `path`, which is made, readable by this user only, if there
    /// is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open; [`StoreError::Foreign`],
    /// [`StoreError::Version`] and [`StoreError::Damaged`] for a directory that is not one of ours,
    /// or not one that this program can read. It is then left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_on(path, Arc::new(RealDisk), TUNING)
    }

    fn open_on(path: &Path, disk: Arc<dyn Disk>, tuning: Tuning) -> Result<Self, StoreError> {
        Ok(Self {
            slots: Mutex::default(),
            directory: Directory::open(path)?,
            disk,
            tuning,
        })
    }

    fn slot(&self, shard: ShardId) -> Arc<Slot> {
        Arc::clone(lock(&self.slots).entry(shard).or_insert_with(|| {
            Arc::new(Slot {
                volume: Arc::new(Volume::new(Arc::clone(&self.disk))),
                claim: Mutex::default(),
            })
        }))
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("path", &self.directory.path())
            .finish_non_exhaustive()
    }
}

impl Store for EmbeddedStore {
    fn server_key(&self) -> [u8; 32] {
        self.directory.server_key()
    }

    fn claim(&self, shard: ShardId, visit: &mut Visit<'_>) -> Result<Epoch, StoreError> {
        let slot = self.slot(shard);
        let mut claim = lock(&slot.claim);
        // Always read anew: there is one way into a shard, and it is the one after a crash.
        claim.shard = None;
        let log_is_full = claim.stopped == Some(Stopped::Full);
        let root = self.directory.path();
        let mut loaded = guard(&shard::directory(root, shard), || {
            Shard::open(&slot.volume, root, shard, self.tuning, log_is_full, visit)
        })?;
        let epoch = Epoch(loaded.epoch() + 1);
        loaded.append(epoch.0, &Batch::new())?;
        claim.stopped = None;
        claim.newest = Some(epoch);
        claim.shard = Some(loaded);
        Ok(epoch)
    }

    fn commit(&self, id: ShardId, epoch: Epoch, batch: &Batch) -> Result<(), StoreError> {
        let slot = self.slot(id);
        let mut claim = lock(&slot.claim);
        let newest = claim.newest.ok_or(StoreError::Closed { shard: id })?;
        if epoch != newest {
            return Err(StoreError::Deposed {
                shard: id,
                epoch,
                newest,
            });
        }
        let stopped = claim.stopped.is_some();
        let shard = claim.shard.as_mut().ok_or(if stopped {
            StoreError::Stopped { shard: id }
        } else {
            StoreError::Closed { shard: id }
        })?;
        check_size(batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let done = shard.append(epoch.0, batch);
        if let Err(error) = &done {
            claim.stopped = Some(match error {
                StoreError::Full { .. } => Stopped::Full,
                _ => Stopped::Otherwise,
            });
            claim.shard = None;
        }
        done
    }

    fn has_room(&self, shard: ShardId) -> bool {
        !self.slot(shard).volume.is_full()
    }

    fn release(&self, shard: ShardId, epoch: Epoch) {
        let slot = self.slot(shard);
        let mut claim = lock(&slot.claim);
        if claim.newest == Some(epoch)
            && let Some(shard) = claim.shard.take()
            && let Err(error) = shard.close()
        {
            // Nothing is lost by it: the next claim reads the log as after a crash.
            tracing::warn!(%error, "the end of the log could not be noted");
        }
    }
}

/// A panic leaves a shard's files as a crash would, and the next claim reads them as after one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
