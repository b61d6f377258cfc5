//! Where committed state lives.
//!
//! A store knows nothing of locks: it keeps opaque keys and values, one ordered space for each
//! shard, and makes batches of changes durable, whole or not at all. Reads never reach it: a shard
//! loads its state once, when it claims the shard, and serves from memory.

/// Names one shard of a store: 0 up to the store's number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// Counts the claims of a shard. Every claim gets a higher one, and a commit under an epoch that is
/// not the newest is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// An ordered list of writes that become durable together. Of several writes to one key the last
/// one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries one behind the other: op byte (0 delete, 1 put), key length (u32 LE), key, and for a
    /// put value length (u32 LE) and value.
    bytes: Vec<u8>,
    entries: usize,
}

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
    fn claim(&self, shard: ShardId, visit: &mut Visit<'_>) -> Result<Epoch, StoreError>;

    /// Makes a batch durable: on `Ok` the whole batch survives a crash. On `Err` its outcome is
    /// unknown, and the caller must claim the shard again before it commits anything else.
    fn commit(&self, shard: ShardId, epoch: Epoch, batch: &Batch) -> Result<(), StoreError>;

    /// Gives the shard back. Idempotent; an epoch that is not the newest is ignored.
    fn release(&self, shard: ShardId, epoch: Epoch);
}
