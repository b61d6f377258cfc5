//! Where committed state lives.
//!
//! A store knows nothing of locks: it keeps opaque keys and values, one ordered space for each
//! shard, and makes batches of changes durable, whole or not at all. Reads never reach it: a shard
//! loads its state once, when it claims the shard, and serves from memory.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "the build without tests still refuses them"
    )
)]

mod batch;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod crash;
pub mod embedded;
mod error;
pub mod memory;

pub use batch::{BATCH_BYTES_MAX, Batch, BatchError, Iter};
pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use memory::MemoryStore;

/// Names one shard of a store: 0 up to the store's number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// Counts the claims of a shard. Every claim gets a higher one, and a commit under an epoch that is
/// not the newest is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// Receives one live key and its value while a shard is loaded.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Durable storage of one or more shards.
///
/// Calls block; a shard makes them from a thread of its own.
pub trait Store: Send + Sync + 'static {
    /// A key of 32 random bytes made when the store was made, and the same ever after: the server
    /// derives from it what must survive a restart without being stored (grant tokens).
    fn server_key(&self) -> [u8; 32];

    /// Takes over a shard: raises its epoch durably, so that an earlier claimant can commit no more,
    /// and shows every live key with its newest committed value, once each, in ascending order.
    ///
    /// # Errors
    /// The store's own, or the first one that `visit` returns; the shard is then held by nobody,
    /// earlier claimants included. `visit` must neither call the store nor panic.
    fn claim(&self, shard: ShardId, visit: &mut Visit<'_>) -> Result<Epoch, StoreError>;

    /// Makes a batch durable: on `Ok` the whole batch survives a crash. An empty batch writes
    /// nothing, and fails where any other would be refused.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] leaves all as it was. After any other the outcome is unknown, and
    /// the caller must claim the shard again before it commits anything else.
    fn commit(&self, shard: ShardId, epoch: Epoch, batch: &Batch) -> Result<(), StoreError>;

    /// Whether there is room for more than what renewals, releases and expiries write. Cheap, and
    /// never waits for a commit. A store that says no still commits as long as it can, so that
    /// holders can keep and release what they have; room comes back by itself.
    fn has_room(&self, shard: ShardId) -> bool {
        let _ = shard;
        true
    }

    /// Gives the shard back. Idempotent; an epoch that is not the newest is ignored.
    fn release(&self, shard: ShardId, epoch: Epoch);
}

/// Refuses what no store takes.
fn check_size(batch: &Batch) -> Result<(), StoreError> {
    if batch.bytes_len() > BATCH_BYTES_MAX {
        return Err(StoreError::TooLarge {
            bytes: batch.bytes_len(),
            bytes_max: BATCH_BYTES_MAX,
        });
    }
    Ok(())
}
