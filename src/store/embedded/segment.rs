//! One file of the log: a run of records, each a batch made durable with a single sync.
//!
//! Records are numbered without gaps across all files of a shard and carry a checksum of their own,
//! so that a record that was lost, moved or changed is noticed when the log is read. A file is only
//! ever appended to, and removed as a whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::directory::sync_directory;
use super::disk::{self, Blank, Volume, failed, guard};
use super::replay::Replay;
use crate::store::StoreError;

/// A log is written once and read twice at most, so what a cache is for is the pages of the commit
/// that is under way, and the inner pages on the way to the log's end.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

const PREFIX: &str = "log-";
const SUFFIX: &str = ".redb";
const NEW_FILE: &str = "log.new";
const SPARE_FILE: &str = "log-spare.new";

/// Checksum (u32 LE), then epoch (u64 LE), then the batch.
const CHECKSUM_BYTES: usize = 4;
const HEADER_BYTES: usize = CHECKSUM_BYTES + 8;

/// A file of the log.
pub(super) struct Segment {
    database: Database,
    path: PathBuf,
    /// Counts the files of a shard's log, from 1.
    number: u64,
    records: u64,
    bytes: u64,
}

/// What reading a file of the log found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The number of the last record, or of the one before the first.
    pub(super) sequence: u64,
    /// The newest epoch of any record.
    pub(super) epoch: u64,
}

impl Segment {
    /// Makes an empty file of the log, durable under its name.
    pub(super) fn create(
        volume: &Arc<Volume>,
        directory: &Path,
        number: u64,
    ) -> Result<Self, StoreError> {
        let blank = Blank::new(directory.join(NEW_FILE))?;
        Self::create_in(volume, directory, number, blank, |_| Ok(()))
    }

    /// A file to be made one of the log in a while, see [`Segment::create_from`].
    pub(super) fn blank(directory: &Path) -> Result<Blank, StoreError> {
        Blank::new(directory.join(SPARE_FILE))
    }

    /// Makes `blank` an empty file of the log, durable under its name.
    pub(super) fn create_from(
        blank: Blank,
        volume: &Arc<Volume>,
        directory: &Path,
        number: u64,
    ) -> Result<Self, StoreError> {
        Self::create_in(volume, directory, number, blank, |_| Ok(()))
    }

    /// Makes a file of the log that has records in it, in place of the one of that number.
    fn create_in(
        volume: &Arc<Volume>,
        directory: &Path,
        number: u64,
        blank: Blank,
        fill: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>) -> Result<(), redb::Error>,
    ) -> Result<Self, StoreError> {
        let new_path = blank.path().to_owned();
        let database = blank.into_database(volume, CACHE_BYTES)?;
        let transaction = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            fill(&mut transaction.open_table(RECORDS)?)?;
            transaction.commit()?;
            Ok(())
        };
        transaction().map_err(|error| failed(&new_path, error))?;
        let path = path_of(directory, number);
        fs::rename(&new_path, &path).map_err(|error| StoreError::from_io(&path, error))?;
        sync_directory(directory)?;
        Ok(Self {
            database,
            path,
            number,
            records: 0,
            bytes: 0,
        })
    }

    pub(super) fn open(
        volume: &Arc<Volume>,
        directory: &Path,
        number: u64,
    ) -> Result<Self, StoreError> {
        let path = path_of(directory, number);
        let database = disk::open(volume, &path, CACHE_BYTES)?;
        Ok(Self {
            database,
            path,
            number,
            records: 0,
            bytes: 0,
        })
    }

    /// Writes the same records into a new file, and puts it in this one's place.
    ///
    /// For when a sync has failed: what a file then seems to hold may be on no disk, and the system
    /// says so only once.
    pub(super) fn rewrite(
        self,
        volume: &Arc<Volume>,
        directory: &Path,
    ) -> Result<Self, StoreError> {
        let old = self.reader()?;
        let (number, path) = (self.number, self.path.clone());
        let blank = Blank::new(directory.join(NEW_FILE))?;
        let new = Self::create_in(volume, directory, number, blank, |records| {
            for entry in old.iter()? {
                let (sequence, record) = entry?;
                records.insert(sequence.value(), record.value())?;
            }
            Ok(())
        });
        drop(old);
        drop(self);
        new.map(|new| Self { path, ..new })
    }

    /// Makes a batch durable as record number `sequence`.
    pub(super) fn append(
        &mut self,
        sequence: u64,
        epoch: u64,
        batch: &[u8],
    ) -> Result<(), StoreError> {
        let epoch = epoch.to_le_bytes();
        let checksum = checksum(sequence, &[&epoch, batch]);
        let commit = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                let mut room = records.insert_reserve(sequence, HEADER_BYTES + batch.len())?;
                let room: &mut [u8] = room.as_mut();
                if let Some((header, rest)) = room.split_at_mut_checked(HEADER_BYTES)
                    && let Some((first, second)) = header.split_at_mut_checked(CHECKSUM_BYTES)
                {
                    first.copy_from_slice(&checksum);
                    second.copy_from_slice(&epoch);
                    rest.copy_from_slice(batch);
                }
            }
            transaction.commit()?;
            Ok(())
        };
        guard(&self.path, || {
            commit().map_err(|error| failed(&self.path, error))
        })?;
        self.count(batch.len());
        Ok(())
    }

    /// Reads every record after `from`, adds its batch to `replay`, and says where the log stands.
    pub(super) fn read(
        &mut self,
        from: Position,
        replay: &mut Replay,
    ) -> Result<Position, StoreError> {
        let path = self.path.clone();
        guard(&path, || self.read_records(from, replay))
    }

    fn read_records(
        &mut self,
        from: Position,
        replay: &mut Replay,
    ) -> Result<Position, StoreError> {
        let records = self.reader()?;
        let path = self.path.clone();
        let broken = |error: redb::StorageError| failed(&path, error);
        let damaged = |what| StoreError::Damaged {
            path: path.clone(),
            what,
        };
        let mut position = from;
        let mut found = 0;
        for entry in records.iter().map_err(broken)? {
            let (sequence, record) = entry.map_err(broken)?;
            let (sequence, record) = (sequence.value(), record.value());
            if sequence != position.sequence + 1 {
                let after = position.sequence;
                return Err(damaged(format!(
                    "record {sequence} follows record {after}: those between them are lost"
                )));
            }
            let (epoch, batch) = unseal(sequence, record)
                .ok_or_else(|| damaged(format!("record {sequence} does not match its checksum")))?;
            replay
                .push(batch)
                .map_err(|error| damaged(format!("record {sequence} is {error}")))?;
            position = Position {
                sequence,
                epoch: position.epoch.max(epoch),
            };
            self.count(batch.len());
            found += 1;
        }
        // A damaged page can hide records, and the rest still looks whole.
        let expected = records.len().map_err(broken)?;
        if found != expected {
            return Err(damaged(format!(
                "{found} of its {expected} records can be read"
            )));
        }
        Ok(position)
    }

    /// Removes the file. Its records must be in the state, durably.
    pub(super) fn remove(self) -> Result<(), StoreError> {
        let path = self.path.clone();
        // The name goes first: closing the database would only tidy up what nobody will read.
        let removed = fs::remove_file(&path).map_err(|error| StoreError::from_io(&path, error));
        drop(self);
        removed
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn count(&mut self, batch_bytes: usize) {
        self.records += 1;
        self.bytes += (HEADER_BYTES + batch_bytes) as u64;
    }

    fn reader(&self) -> Result<redb::ReadOnlyTable<u64, &'static [u8]>, StoreError> {
        let open =
            || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(RECORDS)?) };
        open().map_err(|error| failed(&self.path, error))
    }
}

/// The numbers of the log's files in a shard's directory, ascending. Files that an interrupted
/// creation left are removed.
pub(super) fn list(directory: &Path) -> Result<Vec<u64>, StoreError> {
    let io = |error| StoreError::from_io(directory, error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        if name == NEW_FILE || name == SPARE_FILE {
            fs::remove_file(directory.join(name.as_ref())).map_err(io)?;
        }
        let number = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix(SUFFIX))
            .and_then(|digits| digits.parse().ok());
        numbers.extend::<Option<u64>>(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Gives back the room of a file that was to become one of the log.
pub(super) fn remove_blank(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(SPARE_FILE);
    fs::remove_file(&path).map_err(|error| StoreError::from_io(&path, error))
}

pub(super) fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{number:010}{SUFFIX}"))
}

fn unseal(sequence: u64, record: &[u8]) -> Option<(u64, &[u8])> {
    let (stored, rest) = record.split_first_chunk::<CHECKSUM_BYTES>()?;
    let (epoch, batch) = rest.split_first_chunk::<8>()?;
    (checksum(sequence, &[rest]) == *stored).then_some((u64::from_le_bytes(*epoch), batch))
}

/// Covers the record's number too: a whole record in the wrong place is damage.
fn checksum(sequence: u64, parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().to_le_bytes()
}
