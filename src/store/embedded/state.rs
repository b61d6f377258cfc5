//! The state: every live key's value as far as the log has been folded into it.
//!
//! It is written in the background only, and read only when a shard is loaded. How far it has come
//! is written with the last piece of a fold, in the same transaction, and never before: a fold that
//! was interrupted is done again from its beginning.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

use super::directory::sync_directory;
use super::disk::{self, Blank, Volume, failed};
use super::replay::Write;
use super::segment::Position;
use crate::store::StoreError;

/// Enough for the inner pages of a tree of millions of keys and the pieces of a fold; everything
/// else is read once, in order.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

const LIVE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("live");
const FOLDED: TableDefinition<'_, &str, u64> = TableDefinition::new("folded");
const FOLDED_SEGMENT: &str = "segment";
const FOLDED_SEQUENCE: &str = "sequence";
const FOLDED_EPOCH: &str = "epoch";

const FILE: &str = "state.redb";
const NEW_FILE: &str = "state.new";

/// A value's checksum stands behind it.
const CHECKSUM_BYTES: usize = 4;

/// How far the log is in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// The last file of the log that is folded whole; 0 for none.
    pub(super) segment: u64,
    /// Where the log stood at its end.
    pub(super) position: Position,
}

impl Folded {
    const NOTHING: Self = Self {
        segment: 0,
        position: Position {
            sequence: 0,
            epoch: 0,
        },
    };
}

/// The folded state of a shard.
pub(super) struct State {
    database: Database,
    path: PathBuf,
}

impl State {
    /// Makes an empty one.
    pub(super) fn create(volume: &Arc<Volume>, directory: &Path) -> Result<Self, StoreError> {
        Self::create_with(volume, directory, |transaction| {
            write_folded(transaction, Folded::NOTHING)?;
            transaction.open_table(LIVE)?;
            Ok(())
        })
    }

    fn create_with(
        volume: &Arc<Volume>,
        directory: &Path,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, StoreError> {
        let new_path = directory.join(NEW_FILE);
        let database = Blank::new(new_path.clone())?.into_database(volume, CACHE_BYTES)?;
        let write = || -> Result<(), redb::Error> {
            let transaction = begin(&database)?;
            fill(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| failed(&new_path, error))?;
        let path = directory.join(FILE);
        fs::rename(&new_path, &path).map_err(|error| StoreError::from_io(&path, error))?;
        sync_directory(directory)?;
        Ok(Self { database, path })
    }

    pub(super) fn open(volume: &Arc<Volume>, directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let database = disk::open(volume, &path, CACHE_BYTES)?;
        Ok(Self { database, path })
    }

    /// Writes the same state into a new file, and puts it in this one's place: for when a sync has
    /// failed, see [`super::segment::Segment::rewrite`].
    pub(super) fn rewrite(
        self,
        volume: &Arc<Volume>,
        directory: &Path,
    ) -> Result<Self, StoreError> {
        let folded = self.folded()?;
        let read =
            || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(LIVE)?) };
        let old = read().map_err(|error| failed(&self.path, error))?;
        Self::create_with(volume, directory, |transaction| {
            write_folded(transaction, folded)?;
            let mut live = transaction.open_table(LIVE)?;
            let mut end = live.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
            for entry in old.iter()? {
                let (key, value) = entry?;
                end.insert_before(key.value(), value.value())
                    .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            }
            end.close()?;
            Ok(())
        })
    }

    pub(super) fn folded(&self) -> Result<Folded, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(FOLDED)?;
            let field = |name| Ok::<_, redb::Error>(table.get(name)?.map(|value| value.value()));
            Ok((
                field(FOLDED_SEGMENT)?,
                field(FOLDED_SEQUENCE)?,
                field(FOLDED_EPOCH)?,
            ))
        };
        match read().map_err(|error| failed(&self.path, error))? {
            (Some(segment), Some(sequence), Some(epoch)) => Ok(Folded {
                segment,
                position: Position { sequence, epoch },
            }),
            _ => Err(StoreError::Damaged {
                path: self.path.clone(),
                what: "it does not say how far the log is folded".to_owned(),
            }),
        }
    }

    /// Writes one piece of a fold durably; with the last one goes `folded`.
    pub(super) fn apply<'a>(
        &self,
        writes: impl Iterator<Item = Write<'a>>,
        folded: Option<Folded>,
    ) -> Result<(), StoreError> {
        let apply = || -> Result<(), redb::Error> {
            let transaction = begin(&self.database)?;
            {
                let mut live = transaction.open_table(LIVE)?;
                let mut sealed = Vec::new();
                for (key, value) in writes {
                    match value {
                        Some(value) => {
                            sealed.clear();
                            sealed.extend_from_slice(value);
                            sealed.extend_from_slice(&checksum(key, value));
                            live.insert(key, sealed.as_slice())?;
                        }
                        // Removing what is not there would still write the pages on the way.
                        None => {
                            if live.get(key)?.is_some() {
                                live.remove(key)?;
                            }
                        }
                    }
                }
            }
            if let Some(folded) = folded {
                write_folded(&transaction, folded)?;
            }
            transaction.commit()?;
            Ok(())
        };
        apply().map_err(|error| failed(&self.path, error))
    }

    /// Shows every key of the state, with the writes of the log that remains laid over it, in
    /// ascending order.
    pub(super) fn visit<'a>(
        &self,
        writes: impl Iterator<Item = Write<'a>>,
        visit: &mut crate::store::Visit<'_>,
    ) -> Result<(), StoreError> {
        let broken = |error| failed(&self.path, error);
        let read =
            || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(LIVE)?) };
        let live = read().map_err(broken)?;
        let mut writes = writes.peekable();
        let mut rows = 0;
        for entry in live.iter().map_err(|error| broken(error.into()))? {
            let (key, sealed) = entry.map_err(|error| broken(error.into()))?;
            let key = key.value();
            rows += 1;
            while let Some((newer, value)) = writes.next_if(|(newer, _)| *newer < key) {
                show(newer, value, visit)?;
            }
            match writes.next_if(|(newer, _)| *newer == key) {
                Some((_, value)) => show(key, value, visit)?,
                None => visit(key, self.unseal(key, sealed.value())?)?,
            }
        }
        // A damaged page can hide rows, and the rest still looks whole.
        let expected = live.len().map_err(|error| broken(error.into()))?;
        if rows != expected {
            return Err(StoreError::Damaged {
                path: self.path.clone(),
                what: format!("{rows} of its {expected} keys can be read"),
            });
        }
        writes.try_for_each(|(key, value)| show(key, value, visit))
    }

    fn unseal<'a>(&self, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
        sealed
            .split_last_chunk::<CHECKSUM_BYTES>()
            .filter(|(value, stored)| checksum(key, value) == **stored)
            .map(|(value, _)| value)
            .ok_or_else(|| StoreError::Damaged {
                path: self.path.clone(),
                what: format!(
                    "the value of key {:?} does not match its checksum",
                    String::from_utf8_lossy(key)
                ),
            })
    }
}

fn show(
    key: &[u8],
    value: Option<&[u8]>,
    visit: &mut crate::store::Visit<'_>,
) -> Result<(), StoreError> {
    value.map_or(Ok(()), |value| visit(key, value))
}

/// With the free space recorded in each commit, opening the state after a crash costs no walk
/// through all of it. The extra sync is paid in the background.
fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn write_folded(transaction: &WriteTransaction, folded: Folded) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(FOLDED)?;
    table.insert(FOLDED_SEGMENT, folded.segment)?;
    table.insert(FOLDED_SEQUENCE, folded.position.sequence)?;
    table.insert(FOLDED_EPOCH, folded.position.epoch)?;
    Ok(())
}

/// Covers the key too: a whole value under the wrong key is damage.
fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}
