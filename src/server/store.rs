//! Which store a server keeps its state in.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::config::StoreKind;
use crate::store::{EmbeddedStore, MemoryStore, Store};

/// Opens the store. Blocks.
pub(super) fn open_store(
    kind: StoreKind,
    data_dir: Option<&Path>,
) -> Result<Arc<dyn Store>, StartError> {
    match kind {
        StoreKind::Memory => {
            let mut server_key = [0; 32];
            getrandom::fill(&mut server_key).map_err(StartError::Randomness)?;
            Ok(Arc::new(MemoryStore::new(server_key)))
        }
        StoreKind::Embedded => {
            let data_dir = data_dir.ok_or(StartError::NoDataDir)?;
            let store =
                EmbeddedStore::open(data_dir).map_err(|source| StartError::Store { source })?;
            Ok(Arc::new(store))
        }
    }
}
