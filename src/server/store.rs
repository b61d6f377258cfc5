//! Which store a server keeps its state in, and when it is closed.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::StartError;
use super::config::StoreKind;
use crate::store::{Batch, EmbeddedStore, Epoch, MemoryStore, ShardId, Store, StoreError, Visit};

/// Opens the store. Blocks.
pub(super) fn open(
    kind: StoreKind,
    data_dir: Option<&Path>,
) -> Result<(Arc<dyn Store>, Closed), StartError> {
    match kind {
        StoreKind::Memory => {
            let mut server_key = [0; 32];
            getrandom::fill(&mut server_key).map_err(StartError::Randomness)?;
            Ok(Announced::open(MemoryStore::new(server_key)))
        }
        StoreKind::Embedded => {
            let data_dir = data_dir.ok_or(StartError::NoDataDir)?;
            let store =
                EmbeddedStore::open(data_dir).map_err(|source| StartError::Store { source })?;
            Ok(Announced::open(store))
        }
    }
}

/// Ends once the store is closed, its directory free for another server.
pub(super) struct Closed(oneshot::Receiver<()>);

impl Future for Closed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing is ever sent: the news is that the other end is gone.
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// A store that tells when it is dropped.
struct Announced<S> {
    // Dropped before the news goes out.
    store: S,
    _gone: oneshot::Sender<()>,
}

impl<S: Store> Announced<S> {
    fn open(store: S) -> (Arc<dyn Store>, Closed) {
        let (gone, closed) = oneshot::channel();
        let store = Announced { store, _gone: gone };
        (Arc::new(store), Closed(closed))
    }
}

impl<S: Store> Store for Announced<S> {
    fn server_key(&self) -> [u8; 32] {
        self.store.server_key()
    }

    fn claim(&self, shard: ShardId, visit: &mut Visit<'_>) -> Result<Epoch, StoreError> {
        self.store.claim(shard, visit)
    }

    fn commit(&self, shard: ShardId, epoch: Epoch, batch: &Batch) -> Result<(), StoreError> {
        self.store.commit(shard, epoch, batch)
    }

    fn release(&self, shard: ShardId, epoch: Epoch) {
        self.store.release(shard, epoch);
    }
}
