//! One file of the log: a run of records, each a batch made durable with a single sync.
//!
//! The file is written with zeros before the log needs it, and records are laid into them one behind
//! the other, each in one write. Records are numbered without gaps across all files of a shard and
//! carry a checksum, so that a record that was lost, moved or changed is noticed when the log is
//! read. A file is only ever appended to, and removed as a whole.
//!
//! Invariant: a record is written only when the one before it is durable. So after a crash at most
//! the last record of the log is not whole: it was never acknowledged, and is cut off. A broken
//! record that a whole one follows is damage, and the log is refused.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::sync_directory;
use super::disk::{self, Blank, Volume};
use super::replay::Replay;
use crate::store::{BATCH_BYTES_MAX, StoreError};

const PREFIX: &str = "log-";
const SUFFIX: &str = ".log";
const NEW_FILE: &str = "log.new";
const SPARE_FILE: &str = "log-spare.new";

/// Where records begin: what a disk writes whole, so that a search for whole records need not look
/// at every byte, and a torn record leaves the ones before it alone.
const ALIGN: usize = 512;

/// The file begins with this, its number (u64 LE) and a checksum of both (u32 LE).
const MAGIC: &[u8; 16] = b"holdfast log 1\n\0";
const NUMBER_AT: usize = MAGIC.len();
const FILE_CHECKSUM_AT: usize = NUMBER_AT + 8;

/// A record begins with this mark, a checksum of all that follows (u32 LE), its number (u64 LE), its
/// epoch (u64 LE) and the length of its batch (u32 LE). The batch follows, and zeros up to the next
/// multiple of [`ALIGN`].
const RECORD_MARK: &[u8; 4] = b"rec\n";
const CHECKSUMMED_AT: usize = RECORD_MARK.len() + 4;
const LEN_AT: usize = CHECKSUMMED_AT + 8 + 8;
const HEADER_BYTES: usize = LEN_AT + 4;

/// How much of a file is looked at or copied at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// A file of the log.
pub(super) struct Segment {
    volume: Arc<Volume>,
    file: File,
    path: PathBuf,
    /// Counts the files of a shard's log, from 1.
    number: u64,
    records: u64,
    /// Where the next record goes.
    end: u64,
    /// The record on its way to the file.
    buffer: Vec<u8>,
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
        Self::create_from(
            Blank::new(directory.join(NEW_FILE))?,
            volume,
            directory,
            number,
        )
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
        Self::create_with(blank, volume, directory, number, None)
    }

    /// Makes a file of the log, with the records of another, in place of the one of that number.
    fn create_with(
        blank: Blank,
        volume: &Arc<Volume>,
        directory: &Path,
        number: u64,
        records: Option<&Segment>,
    ) -> Result<Self, StoreError> {
        let (file, new_path) = blank.into_file();
        let io = |error| StoreError::from_io(&new_path, error);
        if let Some(records) = records {
            records.copy_into(volume, &file, &new_path)?;
        }
        volume
            .write(&file, &new_path, 0, &file_header(number))
            .map_err(io)?;
        volume.sync(&file, &new_path).map_err(io)?;
        let path = path_of(directory, number);
        fs::rename(&new_path, &path).map_err(|error| StoreError::from_io(&path, error))?;
        sync_directory(directory)?;
        Ok(Self::new(volume, file, path, number))
    }

    fn new(volume: &Arc<Volume>, file: File, path: PathBuf, number: u64) -> Self {
        Self {
            volume: Arc::clone(volume),
            file,
            path,
            number,
            records: 0,
            end: ALIGN as u64,
            buffer: Vec::new(),
        }
    }

    /// Opens a file, which has to be read before anything is appended to it.
    pub(super) fn open(
        volume: &Arc<Volume>,
        directory: &Path,
        number: u64,
    ) -> Result<Self, StoreError> {
        let path = path_of(directory, number);
        let file = disk::open_file(&path)?;
        let mut header = [0; ALIGN];
        let whole = file.read_exact_at(&mut header, 0).is_ok() && header == file_header(number);
        if !whole {
            return Err(StoreError::Damaged {
                path,
                what: format!("it does not begin as file {number} of a log"),
            });
        }
        Ok(Self::new(volume, file, path, number))
    }

    /// Writes the same bytes into a new file, and puts it in this one's place.
    ///
    /// For when a sync has failed: what a file then seems to hold may be on no disk, and the system
    /// says so only once.
    pub(super) fn rewrite(
        self,
        volume: &Arc<Volume>,
        directory: &Path,
    ) -> Result<Self, StoreError> {
        let blank = Blank::new(directory.join(NEW_FILE))?;
        Self::create_with(blank, volume, directory, self.number, Some(&self))
    }

    fn copy_into(&self, volume: &Volume, file: &File, path: &Path) -> Result<(), StoreError> {
        let len = self.len()?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = ALIGN as u64;
        while at < len {
            let size = usize::try_from(len - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            piece.truncate(size);
            self.file
                .read_exact_at(&mut piece, at)
                .map_err(|error| StoreError::from_io(&self.path, error))?;
            volume
                .write(file, path, at, &piece)
                .map_err(|error| StoreError::from_io(path, error))?;
            at += size as u64;
        }
        Ok(())
    }

    /// Makes a batch durable as record number `sequence`.
    pub(super) fn append(
        &mut self,
        sequence: u64,
        epoch: u64,
        batch: &[u8],
    ) -> Result<(), StoreError> {
        let len = u32::try_from(batch.len()).map_err(|_| StoreError::TooLarge {
            bytes: batch.len(),
            bytes_max: BATCH_BYTES_MAX,
        })?;
        let buffer = &mut self.buffer;
        buffer.clear();
        buffer.extend_from_slice(RECORD_MARK);
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&sequence.to_le_bytes());
        buffer.extend_from_slice(&epoch.to_le_bytes());
        buffer.extend_from_slice(&len.to_le_bytes());
        buffer.extend_from_slice(batch);
        let checksum = checksum(buffer.get(CHECKSUMMED_AT..).unwrap_or_default());
        if let Some(place) = buffer.get_mut(RECORD_MARK.len()..CHECKSUMMED_AT) {
            place.copy_from_slice(&checksum);
        }
        buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
        let io = |error| StoreError::from_io(&self.path, error);
        self.volume
            .write(&self.file, &self.path, self.end, buffer)
            .map_err(io)?;
        self.volume.sync(&self.file, &self.path).map_err(io)?;
        self.end += buffer.len() as u64;
        self.records += 1;
        Ok(())
    }

    /// Reads every record after `from`, adds its batch to `replay`, and says where the log stands.
    pub(super) fn read(
        &mut self,
        from: Position,
        replay: &mut Replay,
    ) -> Result<Position, StoreError> {
        let damaged = |what| StoreError::Damaged {
            path: self.path.clone(),
            what,
        };
        let len = self.len()?;
        let mut position = from;
        let mut records = 0;
        let mut at = ALIGN as u64;
        let mut bytes = Vec::new();
        while let Some(record) = self.record_at(at, len, &mut bytes)? {
            let after = position.sequence;
            if record.sequence != after + 1 {
                return Err(damaged(format!(
                    "record {} follows record {after}: those between them are lost",
                    record.sequence
                )));
            }
            replay
                .push(record.batch)
                .map_err(|error| damaged(format!("record {} is {error}", record.sequence)))?;
            position = Position {
                sequence: record.sequence,
                epoch: position.epoch.max(record.epoch),
            };
            records += 1;
            at = record.next;
        }
        if !self.is_blank_from(at, len)? {
            let broken = position.sequence + 1;
            for behind in (at..len).step_by(ALIGN) {
                if let Some(whole) = self.record_at(behind, len, &mut bytes)? {
                    return Err(damaged(format!(
                        "record {broken} at byte {at} is broken, and record {} behind it is whole",
                        whole.sequence
                    )));
                }
            }
            // What is left of a commit that was cut short; the next record must not be mixed with it.
            tracing::warn!(
                path = %self.path.display(),
                record = broken,
                "cut off a record that was not written to its end"
            );
            let io = |error| StoreError::from_io(&self.path, error);
            self.volume
                .set_len(&self.file, &self.path, at)
                .map_err(io)?;
            self.volume.sync(&self.file, &self.path).map_err(io)?;
        }
        self.records = records;
        self.end = at;
        Ok(position)
    }

    fn len(&self) -> Result<u64, StoreError> {
        let metadata = self.file.metadata();
        metadata
            .map(|metadata| metadata.len())
            .map_err(|error| StoreError::from_io(&self.path, error))
    }

    /// The record at `at`, read into `bytes`; `None` where there is no whole one.
    fn record_at<'a>(
        &self,
        at: u64,
        len: u64,
        bytes: &'a mut Vec<u8>,
    ) -> Result<Option<Record<'a>>, StoreError> {
        let io = |error| StoreError::from_io(&self.path, error);
        let left = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
        bytes.resize(ALIGN.min(left), 0);
        self.file.read_exact_at(bytes, at).map_err(io)?;
        let Some(record_bytes) = size_of_record(bytes).filter(|size| *size <= left) else {
            return Ok(None);
        };
        let had = bytes.len();
        if record_bytes > had {
            bytes.resize(record_bytes, 0);
            let rest = bytes.get_mut(had..).unwrap_or_default();
            self.file.read_exact_at(rest, at + had as u64).map_err(io)?;
        }
        Ok(unseal(bytes, at))
    }

    /// Whether nothing but zeros follows.
    fn is_blank_from(&self, mut at: u64, len: u64) -> Result<bool, StoreError> {
        let mut piece = vec![0; PIECE_BYTES];
        while at < len {
            let size = usize::try_from(len - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            piece.truncate(size);
            self.file
                .read_exact_at(&mut piece, at)
                .map_err(|error| StoreError::from_io(&self.path, error))?;
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += size as u64;
        }
        Ok(true)
    }

    /// Removes the file. Its records must be in the state, durably.
    pub(super) fn remove(self) -> Result<(), StoreError> {
        fs::remove_file(&self.path).map_err(|error| StoreError::from_io(&self.path, error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end
    }
}

/// A whole record.
struct Record<'a> {
    sequence: u64,
    epoch: u64,
    batch: &'a [u8],
    /// Where the next one begins.
    next: u64,
}

/// How many bytes the record takes that begins so; `None` where none does.
fn size_of_record(bytes: &[u8]) -> Option<usize> {
    let (mark, rest) = bytes.split_first_chunk::<4>()?;
    let (len, _) = rest
        .get(LEN_AT - RECORD_MARK.len()..)?
        .split_first_chunk::<4>()?;
    (mark == RECORD_MARK).then_some(HEADER_BYTES + u32::from_le_bytes(*len) as usize)
}

/// Reads the record that `bytes` begin with and that stands at `at`; `None` where it is not whole.
fn unseal(bytes: &[u8], at: u64) -> Option<Record<'_>> {
    let size = size_of_record(bytes)?;
    let (stored, rest) = bytes
        .get(RECORD_MARK.len()..size)?
        .split_first_chunk::<4>()?;
    if checksum(rest) != *stored {
        return None;
    }
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (_, batch) = rest.split_first_chunk::<4>()?;
    Some(Record {
        sequence: u64::from_le_bytes(*sequence),
        epoch: u64::from_le_bytes(*epoch),
        batch,
        next: (at + size as u64).next_multiple_of(ALIGN as u64),
    })
}

fn file_header(number: u64) -> [u8; ALIGN] {
    let mut header = [0; ALIGN];
    let (magic, rest) = header.split_at_mut(NUMBER_AT);
    magic.copy_from_slice(MAGIC);
    let (place, rest) = rest.split_at_mut(FILE_CHECKSUM_AT - NUMBER_AT);
    place.copy_from_slice(&number.to_le_bytes());
    let (place, _) = rest.split_at_mut(4);
    place.copy_from_slice(&checksum(&number.to_le_bytes()));
    header
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

fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_le_bytes()
}
