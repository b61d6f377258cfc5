//! A disk for tests: it forgets, tears and refuses as real ones do.
//!
//! Files live in a real directory; beside them stands what was not synced yet. A crash lets each
//! unsynced sector reach the disk or not, as the seed has it. After a failed sync the written bytes
//! can still be read, and are on the disk no more than before: a later sync that works does not
//! bring them there.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Mutex;

use super::disk::Disk;
use crate::store::crash::next_random;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct FaultDisk(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By inode: a file is renamed while it has unsynced bytes.
    files: HashMap<u64, Unsynced>,
    dead: bool,
    syncs: u64,
    fail_sync_at: Option<u64>,
    cut_at_next_sync: bool,
    writes: u64,
    full_from_write: Option<u64>,
    /// By inode: up to where the disk has given a file room.
    given: HashMap<u64, u64>,
    gives_no_more: bool,
}

#[derive(Debug)]
struct Unsynced {
    file: File,
    changes: Vec<Change>,
    /// A sync of these failed.
    given_up: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write {
        offset: u64,
        old: Vec<u8>,
        new: Vec<u8>,
    },
    Len {
        old: u64,
        new: u64,
    },
}

impl FaultDisk {
    /// The `nth` sync from now on fails, once; 0 is the next.
    pub(super) fn fail_sync(&self, nth: u64) {
        let mut inner = self.0.lock().unwrap();
        inner.fail_sync_at = Some(inner.syncs + nth);
    }

    /// The power goes during the next sync: [`FaultDisk::crash`] then decides, sector by sector, what
    /// of the bytes it was to sync has arrived.
    pub(super) fn cut_at_next_sync(&self) {
        self.0.lock().unwrap().cut_at_next_sync = true;
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.0.lock().unwrap().fail_sync_at.is_none()
    }

    /// There is room for `writes` more writes, and then for none.
    pub(super) fn fill_up(&self, writes: u64) {
        let mut inner = self.0.lock().unwrap();
        inner.full_from_write = Some(inner.writes + writes);
    }

    /// There is room where files have been written before, and nowhere else.
    pub(super) fn give_no_more(&self) {
        self.0.lock().unwrap().gives_no_more = true;
    }

    pub(super) fn make_room(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.full_from_write = None;
        inner.gives_no_more = false;
    }

    /// The power goes. The store must be dropped and opened on another disk after this.
    pub(super) fn crash(&self, seed: u64) {
        let mut inner = self.0.lock().unwrap();
        inner.dead = true;
        let mut random = seed;
        let mut files: Vec<_> = inner.files.drain().collect();
        files.sort_unstable_by_key(|(inode, _)| *inode);
        for (_, unsynced) in files {
            let changes: Vec<_> = unsynced.given_up.iter().chain(&unsynced.changes).collect();
            for change in changes.iter().rev() {
                match change {
                    Change::Write { offset, old, .. } => {
                        unsynced.file.write_all_at(old, *offset).unwrap();
                    }
                    Change::Len { old, .. } => unsynced.file.set_len(*old).unwrap(),
                }
            }
            // A disk that said no has kept nothing of it; of the rest it may have kept anything.
            let lucky = next_random(&mut random).is_multiple_of(4);
            for change in &unsynced.changes {
                match change {
                    Change::Write { offset, new, .. } => {
                        for (number, sector) in new.chunks(SECTOR_BYTES).enumerate() {
                            if lucky || next_random(&mut random).is_multiple_of(2) {
                                let at = offset + (number * SECTOR_BYTES) as u64;
                                unsynced.file.write_all_at(sector, at).unwrap();
                            }
                        }
                    }
                    Change::Len { new, .. } => unsynced.file.set_len(*new).unwrap(),
                }
            }
        }
    }

    fn change(&self, file: &File, change: impl FnOnce() -> io::Result<Change>) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.check()?;
        inner.writes += 1;
        if inner
            .full_from_write
            .is_some_and(|from| inner.writes > from)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let unsynced = match inner.files.entry(file.metadata()?.ino()) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(Unsynced {
                file: file.try_clone()?,
                changes: Vec::new(),
                given_up: Vec::new(),
            }),
        };
        unsynced.changes.push(change()?);
        Ok(())
    }
}

impl Inner {
    /// Gives a file room for a write, if there is any.
    fn give(&mut self, file: &File, end: u64) -> io::Result<()> {
        let metadata = file.metadata()?;
        let given = self.given.entry(metadata.ino()).or_default();
        // A file that was cut, or is another one by now, has given its room back.
        *given = (*given).min(metadata.len());
        if end > *given {
            if self.gives_no_more {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *given = end;
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }
}

impl Disk for FaultDisk {
    fn write(&self, file: &File, _: &Path, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        self.0.lock().unwrap().give(file, end)?;
        let len = file.metadata()?.len();
        if end > len {
            // A write that makes the file grow changes its length too, and that may be lost.
            self.change(file, || Ok(Change::Len { old: len, new: end }))?;
        }
        self.change(file, || {
            let len = len.saturating_sub(offset);
            let mut old = vec![0; data.len().min(usize::try_from(len).unwrap())];
            file.read_exact_at(&mut old, offset)?;
            file.write_all_at(data, offset)?;
            Ok(Change::Write {
                offset,
                old,
                new: data.to_vec(),
            })
        })
    }

    fn sync(&self, file: &File, _: &Path) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.check()?;
        if inner.cut_at_next_sync {
            inner.dead = true;
            return inner.check();
        }
        let number = inner.syncs;
        inner.syncs += 1;
        let fails = inner.fail_sync_at == Some(number);
        let unsynced = inner.files.get_mut(&file.metadata()?.ino());
        if fails {
            if let Some(unsynced) = unsynced {
                let lost = std::mem::take(&mut unsynced.changes);
                unsynced.given_up.extend(lost);
            }
            inner.fail_sync_at = None;
            return Err(io::Error::other("injected"));
        }
        if let Some(unsynced) = unsynced {
            unsynced.changes.clear();
        }
        Ok(())
    }

    fn set_len(&self, file: &File, _: &Path, len: u64) -> io::Result<()> {
        self.change(file, || {
            let old = file.metadata()?.len();
            file.set_len(len)?;
            Ok(Change::Len { old, new: len })
        })
    }
}
