//! The files of the log and under the databases, and the one place where they touch the disk.
//!
//! Blocks of a log file are written with zeros before the log needs them: syncing a write into such
//! a block costs about half of syncing one that makes the file grow, and a disk that fills up is
//! noticed before a commit depends on it. Everything goes through [`Disk`], so that a test can put
//! one there that fails, tears or forgets.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redb::{Builder, Database, StorageBackend};

use crate::store::StoreError;

/// Zeros go out in pieces of this many bytes with a sync after each, because a sync of the log waits
/// behind whatever the disk has been given at once.
const ZEROS_BYTES: usize = 512 * 1024;

/// The longest rest of a background thread after a piece of its work, during which the disk belongs
/// to the commits; and so the longest that stopping waits for it.
pub(super) const REST_MAX: Duration = Duration::from_millis(50);

/// What a file asks of the disk.
pub(super) trait Disk: Debug + Send + Sync + 'static {
    fn write(&self, file: &File, _path: &Path, offset: u64, data: &[u8]) -> io::Result<()> {
        file.write_all_at(data, offset)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn set_len(&self, file: &File, _path: &Path, len: u64) -> io::Result<()> {
        file.set_len(len)
    }
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {}

/// The disk as one shard knows it.
#[derive(Debug)]
pub(super) struct Volume {
    disk: Arc<dyn Disk>,
    suspect: AtomicBool,
    full: AtomicBool,
}

impl Volume {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            suspect: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// Whether there was no room for the file that the log would go on in after the next one.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(super) fn set_full(&self, full: bool) {
        if self.full.swap(full, Ordering::AcqRel) != full {
            match full {
                true => tracing::warn!("the disk is full: what needs more room is refused"),
                false => tracing::info!("there is room on the disk again"),
            }
        }
    }

    /// Whether a sync has failed, or a write for another reason than lack of room: what the files
    /// seem to hold may then be on no disk, and the system says so only once.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Everything that was in doubt has been written anew.
    pub(super) fn trust(&self) {
        self.suspect.store(false, Ordering::Release);
    }

    fn watch(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::StorageFull
        {
            self.suspect.store(true, Ordering::Release);
        }
        result
    }

    pub(super) fn write(
        &self,
        file: &File,
        path: &Path,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        self.watch(self.disk.write(file, path, offset, data))
    }

    pub(super) fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        // Whatever the reason, a failed sync is never a mere lack of room.
        let result = self.disk.sync(file, path);
        self.watch(result.map_err(|error| io::Error::other(format!("sync failed: {error}"))))
    }

    pub(super) fn set_len(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.watch(self.disk.set_len(file, path, len))
    }
}

/// One database file.
#[derive(Debug)]
struct DiskFile {
    volume: Arc<Volume>,
    file: File,
    path: PathBuf,
    /// The length the database knows of. The file may be longer: its tail is zeros.
    len: AtomicU64,
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Relaxed))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // Growing into the zeros at the file's end changes nothing on the disk. What a database
        // gives back at its end is no longer zeros, and is cut off.
        let known = self.len.load(Ordering::Relaxed);
        if len < known || self.file.metadata()?.len() < len {
            self.volume.set_len(&self.file, &self.path, len)?;
        }
        self.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.volume.sync(&self.file, &self.path)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.volume.write(&self.file, &self.path, offset, data)
    }
}

/// A new file that is to become a database.
#[derive(Debug)]
pub(super) struct Blank {
    file: File,
    path: PathBuf,
}

impl Blank {
    /// Makes an empty file, in place of one that may be there.
    pub(super) fn new(path: PathBuf) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Self { file, path })
    }

    /// Writes zeros into its first `bytes`, taking half the disk's time at most, until `stop`.
    pub(super) fn write_zeros(
        &self,
        volume: &Volume,
        bytes: u64,
        stop: impl Fn() -> bool,
    ) -> Result<(), StoreError> {
        let io = |error| StoreError::from_io(&self.path, error);
        let zeros = vec![0; ZEROS_BYTES];
        let mut offset = 0;
        while offset < bytes && !stop() {
            let start = Instant::now();
            volume
                .write(&self.file, &self.path, offset, &zeros)
                .map_err(io)?;
            volume.sync(&self.file, &self.path).map_err(io)?;
            offset += ZEROS_BYTES as u64;
            thread::sleep(start.elapsed().min(REST_MAX));
        }
        Ok(())
    }

    /// Makes it a plain file.
    pub(super) fn into_file(self) -> (File, PathBuf) {
        (self.file, self.path)
    }

    /// Makes it an empty database.
    pub(super) fn into_database(
        self,
        volume: &Arc<Volume>,
        cache_bytes: usize,
    ) -> Result<Database, StoreError> {
        let Self { file, path } = self;
        database(volume, &path, file, 0, cache_bytes)
    }
}

/// Opens a database, recovering its last whole commit where its process died.
pub(super) fn open(
    volume: &Arc<Volume>,
    path: &Path,
    cache_bytes: usize,
) -> Result<Database, StoreError> {
    let file = open_file(path)?;
    let len = file
        .metadata()
        .map_err(|error| StoreError::from_io(path, error))?
        .len();
    database(volume, path, file, len, cache_bytes)
}

/// Opens a file that must be there and have something in it.
pub(super) fn open_file(path: &Path) -> Result<File, StoreError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Damaged {
            path: path.to_owned(),
            what: "the file is missing".to_owned(),
        },
        _ => StoreError::from_io(path, error),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            what: "the file is empty".to_owned(),
        });
    }
    Ok(file)
}

fn database(
    volume: &Arc<Volume>,
    path: &Path,
    file: File,
    len: u64,
    cache_bytes: usize,
) -> Result<Database, StoreError> {
    let backend = DiskFile {
        volume: Arc::clone(volume),
        file,
        path: path.to_owned(),
        len: AtomicU64::new(len),
    };
    guard(path, || {
        Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(|error| failed(path, error))
    })
}

/// Runs `work` on the file at `path`. The database trusts what it reads and may panic over a damaged
/// page; here that is damage like any other.
pub(super) fn guard<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Whatever the panic left half done is dropped with the shard.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(StoreError::Damaged {
            path: path.to_owned(),
            what: format!("the database panicked over it: {message}"),
        })
    })
}

/// Says of an error of the database what it means for the store.
pub(super) fn failed(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    let damaged = |what: String| StoreError::Damaged {
        path: path.to_owned(),
        what,
    };
    match error.into() {
        redb::Error::Io(error) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(error.to_string()),
            _ => StoreError::from_io(path, error),
        },
        redb::Error::Corrupted(what) => damaged(what),
        error @ (redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::UpgradeRequired(_)) => damaged(error.to_string()),
        error => StoreError::from_io(path, io::Error::other(error)),
    }
}
