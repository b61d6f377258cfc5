//! The data directory: whose it is, which format it has, and that one process at a time has it.
//!
//! A directory that is not ours, or not readable by this program, is refused and never emptied:
//! what lies there may be the only copy of somebody's state. The lock is the operating system's, so
//! it goes with the process, however that ends.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Raised whenever this program could misread what an older one wrote, or the other way round.
pub(super) const FORMAT_VERSION: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_NEW_FILE: &str = "FORMAT.new";
const LOCK_FILE: &str = "LOCK";

/// What may lie in a directory that is still to become ours: our own traces of an interrupted start,
/// and what a fresh file system brings along.
const HARMLESS: [&str; 6] = [
    LOCK_FILE,
    FORMAT_NEW_FILE,
    "lost+found",
    // API tokens may be made before the first start.
    "tokens.lock",
    "tokens.toml",
    "tokens.toml.new",
];

const MAGIC: &[u8; 16] = b"holdfast data\r\n\0";
const KEY_BYTES: usize = 32;

/// A data directory that this process has to itself.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    server_key: [u8; KEY_BYTES],
    _lock: File,
}

impl Directory {
    /// Opens the directory, or makes one where there is nothing yet.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        make_directory(path)?;
        // Before the lock file is made: a foreign directory is left as it was found.
        refuse_foreign(path)?;
        let lock = lock(path)?;
        refuse_foreign(path)?;
        let server_key = match fs::read(path.join(FORMAT_FILE)) {
            Ok(bytes) => parse_format(path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => write_format(path)?,
            Err(error) => return Err(StoreError::from_io(&path.join(FORMAT_FILE), error)),
        };
        Ok(Self {
            path: path.to_owned(),
            server_key,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn server_key(&self) -> [u8; KEY_BYTES] {
        self.server_key
    }
}

/// Makes the names in a directory as durable as the files they stand for.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::from_io(path, error))
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(StoreError::Foreign {
                path: path.to_owned(),
                what: "it is not a directory".to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::from_io(path, error)),
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| StoreError::from_io(path, error))?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Refuses a directory that has something in it and no format file.
fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::from_io(path, error);
    let mut stranger = None;
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name == FORMAT_FILE {
            return Ok(());
        }
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            stranger = Some(name);
        }
    }
    match stranger {
        None => Ok(()),
        Some(name) => Err(StoreError::Foreign {
            path: path.to_owned(),
            what: format!(
                "it has no {FORMAT_FILE} file and is not empty: there is {}",
                name.display()
            ),
        }),
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = path.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| StoreError::from_io(&lock_path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::from_io(&lock_path, error)),
    }
}

fn parse_format(path: &Path, bytes: &[u8]) -> Result<[u8; KEY_BYTES], StoreError> {
    let format_path = path.join(FORMAT_FILE);
    let damaged = |what: &str| StoreError::Damaged {
        path: format_path.clone(),
        what: what.to_owned(),
    };
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(StoreError::Foreign {
            path: format_path,
            what: "it does not begin as one of ours does".to_owned(),
        });
    };
    let (version, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged("it ends before its version"))?;
    let found = u32::from_le_bytes(*version);
    if found != FORMAT_VERSION {
        return Err(StoreError::Version {
            path: path.to_owned(),
            found,
            expected: FORMAT_VERSION,
        });
    }
    let (key, rest) = rest
        .split_first_chunk::<KEY_BYTES>()
        .ok_or_else(|| damaged("it ends within the server key"))?;
    let checked = bytes.len() - rest.len();
    let expected = bytes
        .get(..checked)
        .map(crc32fast::hash)
        .unwrap_or_default();
    if rest != expected.to_le_bytes() {
        return Err(damaged("its checksum does not match"));
    }
    Ok(*key)
}

fn write_format(path: &Path) -> Result<[u8; KEY_BYTES], StoreError> {
    let new_path = path.join(FORMAT_NEW_FILE);
    let io = |error| StoreError::from_io(&new_path, error);
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io(io::Error::other(error)))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&key);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new_path)
        .map_err(io)?;
    file.write_all(&bytes).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&new_path, path.join(FORMAT_FILE)).map_err(io)?;
    sync_directory(path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_directory_is_private_and_keeps_its_key() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let key = Directory::open(&path).unwrap().server_key();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(FORMAT_FILE)), 0o600);
        assert_eq!(Directory::open(&path).unwrap().server_key(), key);
        let other = Directory::open(&temp.path().join("c")).unwrap();
        assert_ne!(other.server_key(), key);
    }

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let first = Directory::open(temp.path()).unwrap();
        let error = Directory::open(temp.path()).unwrap_err();
        assert!(matches!(&error, StoreError::InUse { path } if path == temp.path()));
        drop(first);
        Directory::open(temp.path()).unwrap();
    }

    #[test]
    fn a_foreign_place_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("thesis.tex"), "draft").unwrap();
        let error = Directory::open(temp.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert!(!temp.path().join(LOCK_FILE).exists());
        let error = Directory::open(&temp.path().join("thesis.tex")).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }));
    }

    #[test]
    fn a_start_that_was_interrupted_is_taken_up_again() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(FORMAT_NEW_FILE), "holdf").unwrap();
        Directory::open(temp.path()).unwrap();
    }

    #[test]
    fn every_other_format_is_refused_for_what_it_is() {
        let temp = tempfile::tempdir().unwrap();
        drop(Directory::open(temp.path()).unwrap());
        let path = temp.path().join(FORMAT_FILE);
        let good = fs::read(&path).unwrap();
        let reopen = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Directory::open(temp.path()).unwrap_err()
        };
        let mut newer = good.clone();
        newer[MAGIC.len()] += 1;
        assert!(
            matches!(reopen(&newer), StoreError::Version { found, .. } if found == FORMAT_VERSION + 1)
        );
        let mut garbled = good.clone();
        garbled[MAGIC.len() + 10] ^= 1;
        assert!(matches!(reopen(&garbled), StoreError::Damaged { .. }));
        for cut in MAGIC.len()..good.len() {
            assert!(matches!(reopen(&good[..cut]), StoreError::Damaged { .. }));
        }
        assert!(matches!(reopen(b"hello"), StoreError::Foreign { .. }));
    }
}
