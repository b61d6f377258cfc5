//! A store that forgets everything with its process: for tests, and for a server nobody relies on.
//!
//! It must never be the default, because it acknowledges what no crash leaves behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Batch, Epoch, ShardId, Store, StoreError, Visit, check_size};

/// Shards in memory.
#[derive(Debug)]
pub struct MemoryStore {
    server_key: [u8; 32],
    shards: Mutex<HashMap<ShardId, Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    newest: u64,
    claimed: bool,
    live: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store with the given key.
    #[must_use]
    pub fn new(server_key: [u8; 32]) -> Self {
        Self {
            server_key,
            shards: Mutex::default(),
        }
    }

    /// A panic elsewhere leaves no shard half-changed, so a poisoned lock still guards whole ones.
    fn shards(&self) -> MutexGuard<'_, HashMap<ShardId, Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn server_key(&self) -> [u8; 32] {
        self.server_key
    }

    fn claim(&self, shard: ShardId, visit: &mut Visit<'_>) -> Result<Epoch, StoreError> {
        let mut shards = self.shards();
        let shard = shards.entry(shard).or_default();
        shard.newest += 1;
        shard.claimed = false;
        for (key, value) in &shard.live {
            visit(key, value)?;
        }
        shard.claimed = true;
        Ok(Epoch(shard.newest))
    }

    fn commit(&self, id: ShardId, epoch: Epoch, batch: &Batch) -> Result<(), StoreError> {
        let mut shards = self.shards();
        let shard = shards
            .get_mut(&id)
            .ok_or(StoreError::Closed { shard: id })?;
        if epoch.0 != shard.newest {
            return Err(StoreError::Deposed {
                shard: id,
                epoch,
                newest: Epoch(shard.newest),
            });
        }
        if !shard.claimed {
            return Err(StoreError::Closed { shard: id });
        }
        check_size(batch)?;
        for (key, value) in batch {
            match value {
                Some(value) => shard.live.insert(key.to_vec(), value.to_vec()),
                None => shard.live.remove(key),
            };
        }
        Ok(())
    }

    fn release(&self, shard: ShardId, epoch: Epoch) {
        if let Some(shard) = self.shards().get_mut(&shard)
            && shard.newest == epoch.0
        {
            shard.claimed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn memory_keeps_the_contract() {
        let store = MemoryStore::new([7; 32]);
        conformance::check(store, |store| store);
    }
}
