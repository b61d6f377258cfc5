//! One shard's files while it is claimed: a state, and the log of what came after it.
//!
//! A new shard's directory gets its name only when it is complete, so one that lacks a file has lost
//! it. Loading checks that nothing is missing between the state and the log's last record.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Tuning;
use super::directory::sync_directory;
use super::disk::Volume;
use super::fold::{Folder, Job};
use super::reached;
use super::replay::Replay;
use super::segment::{self, Segment};
use super::state::State;
use crate::store::{Batch, ShardId, StoreError, Visit};

/// A loaded shard, ready for commits.
pub(super) struct Shard {
    volume: Arc<Volume>,
    directory: PathBuf,
    active: Segment,
    /// The number of the last record.
    sequence: u64,
    /// The newest epoch on disk.
    epoch: u64,
    tuning: Tuning,
    /// At how many bytes the log goes on to the next file; moves up while there is no room for one.
    rotate_bytes: u64,
    folder: Folder,
}

impl Shard {
    /// Opens a shard's files, or makes them where it has none, and shows what they hold.
    ///
    /// On a suspect volume they are all written anew first, so that what is shown is on the disk
    /// and not only in the system's memory. Where the log's last file could not grow, the log goes
    /// on in the empty one after it, which was made when there was room.
    pub(super) fn open(
        volume: &Arc<Volume>,
        root: &Path,
        id: ShardId,
        tuning: Tuning,
        log_is_full: bool,
        visit: &mut Visit<'_>,
    ) -> Result<Self, StoreError> {
        let directory = directory(root, id);
        let suspect = volume.is_suspect();
        if !directory
            .try_exists()
            .map_err(|error| StoreError::from_io(&directory, error))?
        {
            create(volume, root, &directory, tuning)?;
        }
        let mut state = State::open(volume, &directory)?;
        if suspect {
            state = state.rewrite(volume, &directory)?;
        }
        let folded = state.folded()?;
        let mut position = folded.position;
        let mut replay = Replay::default();
        let mut segments = VecDeque::new();
        for number in numbers(&directory, folded.segment)? {
            let mut segment = Segment::open(volume, &directory, number)?;
            if suspect {
                segment = segment.rewrite(volume, &directory)?;
            }
            position = segment.read(position, &mut replay)?;
            segments.push_back(segment);
        }
        let reached = reached::read(&directory)?;
        if position.sequence < reached {
            let path = segments
                .back()
                .map_or_else(|| directory.clone(), |last| last.path().to_owned());
            return Err(StoreError::Damaged {
                path,
                what: format!(
                    "the log ends with record {}, and had come to {reached}",
                    position.sequence
                ),
            });
        }
        replay.finish();
        state.visit(replay.writes(), visit)?;
        drop(replay);

        // Empty files at the end were made in advance: the log goes on in the first of them that
        // follows a record, and keeps the one after that at hand.
        let mut spare: Option<Segment> = None;
        while segments.len() > 1
            && segments.back().is_some_and(|last| last.records() == 0)
            && let Some(empty) = segments.pop_back()
        {
            if let Some(further) = spare.replace(empty) {
                further.remove()?;
            }
        }
        if log_is_full && let Some(empty) = spare.take() {
            segments.push_back(empty);
        }
        let Some(active) = segments.pop_back() else {
            return Err(StoreError::Damaged {
                path: directory,
                what: "the log has no file".to_owned(),
            });
        };
        if suspect {
            volume.trust();
        }
        let folder = Folder::start(Job {
            volume: Arc::clone(volume),
            directory: directory.clone(),
            tuning,
            state,
            waiting: segments,
            next_number: active.number() + 1 + u64::from(spare.is_some()),
            spare,
        })?;
        Ok(Self {
            volume: Arc::clone(volume),
            directory,
            active,
            sequence: position.sequence,
            epoch: position.epoch,
            tuning,
            rotate_bytes: tuning.segment_bytes,
            folder,
        })
    }

    /// Closes the files of a shard that is given back, and notes how far its log has come.
    pub(super) fn close(self) -> Result<(), StoreError> {
        reached::write(&self.volume, &self.directory, self.sequence)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Makes a batch durable. After an error the shard must be dropped.
    pub(super) fn append(&mut self, epoch: u64, batch: &Batch) -> Result<(), StoreError> {
        if let Some(error) = self.folder.failure() {
            return Err(error);
        }
        if self.active.bytes() >= self.rotate_bytes
            || self.active.records() >= self.tuning.segment_records
        {
            self.rotate()?;
        }
        self.active
            .append(self.sequence + 1, epoch, batch.as_bytes())?;
        self.sequence += 1;
        self.epoch = epoch;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), StoreError> {
        match self.folder.next_segment() {
            Ok(next) => {
                self.rotate_bytes = self.tuning.segment_bytes;
                let full = std::mem::replace(&mut self.active, next);
                self.folder.fold(full);
                Ok(())
            }
            // This file has blocks to spare. While they last, holders can still release.
            Err(StoreError::Full { .. })
                if self.active.bytes() < 2 * self.tuning.segment_bytes
                    && self.active.records() < 2 * self.tuning.segment_records =>
            {
                self.rotate_bytes = self.active.bytes() + self.tuning.segment_bytes / 16;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Where a shard's files are.
pub(super) fn directory(root: &Path, id: ShardId) -> PathBuf {
    root.join(format!("shard-{:05}", id.0))
}

/// Makes a shard's files under a name of their own, and gives them theirs when they are complete.
fn create(
    volume: &Arc<Volume>,
    root: &Path,
    directory: &Path,
    tuning: Tuning,
) -> Result<(), StoreError> {
    let new = directory.with_extension("new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::from_io(&new, error));
        }
        _ => {}
    }
    DirBuilder::new()
        .mode(0o700)
        .create(&new)
        .map_err(|error| StoreError::from_io(&new, error))?;
    State::create(volume, &new)?;
    let blank = Segment::blank(&new)?;
    blank.write_zeros(volume, tuning.zeros_bytes, || false)?;
    Segment::create_from(blank, volume, &new, 1)?;
    fs::rename(&new, directory).map_err(|error| StoreError::from_io(directory, error))?;
    sync_directory(root)
}

/// The numbers of the log's files that the state does not have yet. Those it has are removed: their
/// removal was interrupted.
fn numbers(directory: &Path, folded: u64) -> Result<Vec<u64>, StoreError> {
    let mut left = Vec::new();
    for number in segment::list(directory)? {
        let path: PathBuf = segment::path_of(directory, number);
        if number <= folded {
            fs::remove_file(&path).map_err(|error| StoreError::from_io(&path, error))?;
            continue;
        }
        let expected = folded + 1 + left.len() as u64;
        if number != expected {
            return Err(missing(directory, expected));
        }
        left.push(number);
    }
    if left.is_empty() {
        return Err(missing(directory, folded + 1));
    }
    Ok(left)
}

fn missing(directory: &Path, number: u64) -> StoreError {
    StoreError::Damaged {
        path: segment::path_of(directory, number),
        what: "the file is missing".to_owned(),
    }
}
