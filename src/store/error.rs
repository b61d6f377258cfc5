//! Why a store refused.
//!
//! Every error names the place, and says what was found there: the reader is the person who must
//! put it right. None of them is ever answered by starting afresh.

use std::io;
use std::path::{Path, PathBuf};

use super::{Epoch, ShardId};

/// Why a call to a store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system could not read or write. After a commit its outcome is unknown.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// There is no room left on the disk. A claim works again once there is.
    #[error("{}: no room left on the disk ({source})", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The place holds something, and it is not a store's.
    #[error("{} is not a data directory: {what}", path.display())]
    Foreign {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What was found.
        what: String,
    },

    /// Something that was durable can no longer be read as it was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file, or the shard's directory.
        path: PathBuf,
        /// Which record, and what is wrong with it.
        what: String,
    },

    /// The directory was written in another format.
    #[error("{} has format {found}; this program reads format {expected}", path.display())]
    Version {
        /// The directory.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The format this program reads and writes.
        expected: u32,
    },

    /// Another process serves from this directory.
    #[error("{} is in use by another server", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },

    /// Somebody claimed the shard since: nothing was written.
    #[error(
        "shard {} has gone to another claimant: epoch {} is not the newest, {}",
        shard.0, epoch.0, newest.0
    )]
    Deposed {
        /// The shard.
        shard: ShardId,
        /// The epoch of the caller.
        epoch: Epoch,
        /// The newest epoch.
        newest: Epoch,
    },

    /// An earlier write to the shard failed: nothing was written, and nothing will be until the
    /// shard is claimed again.
    #[error("shard {} stopped after a failed write and must be claimed again", shard.0)]
    Stopped {
        /// The shard.
        shard: ShardId,
    },

    /// The shard is not claimed: nothing was written.
    #[error("shard {} is not claimed", shard.0)]
    Closed {
        /// The shard.
        shard: ShardId,
    },

    /// The batch is larger than a store takes: nothing was written, and the claim still holds.
    #[error("a batch of {bytes} bytes is larger than the {bytes_max} that a store takes")]
    TooLarge {
        /// The batch's size, in bytes.
        bytes: usize,
        /// The bound, in bytes.
        bytes_max: usize,
    },

    /// Whoever loads the shard could not make sense of an entry.
    #[error("cannot load an entry: {what}")]
    Unreadable {
        /// Which entry, and what is wrong with it.
        what: String,
    },
}

impl StoreError {
    /// An error of the operating system at `path`, with a full disk told apart from the rest.
    pub fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { path, source },
            _ => Self::Io { path, source },
        }
    }
}
