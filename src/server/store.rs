//! Which store a server keeps its state in.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::config::StoreKind;
use crate::store::{MemoryStore, Store};

/// Opens the store. Blocks.
pub(super) fn open_store(
    kind: StoreKind,
    _data_dir: Option<&Path>,
) -> Result<Arc<dyn Store>, StartError> {
    match kind {
        StoreKind::Memory => {
            let mut server_key = [0; 32];
            getrandom::fill(&mut server_key).map_err(StartError::Randomness)?;
            Ok(Arc::new(MemoryStore::new(server_key)))
        }
        StoreKind::Embedded => Err(StartError::NoDataDir),
    }
}
