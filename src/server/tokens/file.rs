//! The file in the data directory that holds the tokens made with `holdfast token create`.
//!
//! It is replaced as a whole, so a server that reads it at any moment sees one state or the next;
//! whoever changes it holds a lock, so no change is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TokenEntry;
use crate::server::config::describe_toml;
use crate::server::limits::TOKENS_FILE_BYTES_MAX;

const FILE: &str = "tokens.toml";
const NEW_FILE: &str = "tokens.toml.new";
const LOCK_FILE: &str = "tokens.lock";

const BANNER: &str = "\
# Written by `holdfast token`. Only hashes are kept here; a token itself is shown once.
";

/// Why the file of tokens can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The operating system could not read or write it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{}: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A token of that name is there already.
    #[error("there is a token named {0:?} already; choose another name, or revoke it first")]
    NameTaken(String),
    /// No token is meant, or more than one.
    #[error("{count} tokens answer to {wanted:?}; `holdfast token list` shows ids and names")]
    NotOne {
        /// What was asked for.
        wanted: String,
        /// How many there are.
        count: usize,
    },
}

/// The file of tokens in a data directory.
#[derive(Clone, Debug)]
pub struct TokensFile {
    dir: PathBuf,
}

/// Tells one state of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    len: u64,
    mtime: (i64, i64),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default, rename = "token")]
    tokens: Vec<TokenEntry>,
}

impl TokensFile {
    /// Of this data directory, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> TokensFile {
        TokensFile { dir: dir.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// All tokens; none when there is no file.
    pub fn load(&self) -> Result<Vec<TokenEntry>, TokensError> {
        let path = self.path();
        let io = |source| TokensError::Io {
            path: path.clone(),
            source,
        };
        let unreadable = |problem| TokensError::Unreadable {
            path: path.clone(),
            problem,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut text = String::new();
        file.take(TOKENS_FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(io)?;
        if text.len() as u64 > TOKENS_FILE_BYTES_MAX {
            return Err(unreadable(format!(
                "is larger than the {TOKENS_FILE_BYTES_MAX} bytes that are read"
            )));
        }
        let contents: Contents =
            toml::from_str(&text).map_err(|error| unreadable(describe_toml(&text, &error)))?;
        Ok(contents.tokens)
    }

    /// Adds a token.
    pub fn add(&self, entry: TokenEntry) -> Result<(), TokensError> {
        self.change(|tokens| {
            if let Some(name) = &entry.name
                && tokens.iter().any(|token| token.answers_to(name))
            {
                return Err(TokensError::NameTaken(name.clone()));
            }
            tokens.push(entry);
            Ok(())
        })
    }

    /// Takes away the one token that has this name or id, and tells which it was and how many are
    /// left.
    pub fn revoke(&self, wanted: &str) -> Result<(TokenEntry, usize), TokensError> {
        self.change(|tokens| {
            let not_one = |count| TokensError::NotOne {
                wanted: wanted.to_owned(),
                count,
            };
            let mut found = (0..tokens.len())
                .filter(|index| tokens.get(*index).is_some_and(|t| t.answers_to(wanted)));
            match (found.next(), found.count()) {
                (Some(index), 0) => {
                    let gone = tokens.remove(index);
                    Ok((gone, tokens.len()))
                }
                (None, _) => Err(not_one(0)),
                (Some(_), more) => Err(not_one(more + 1)),
            }
        })
    }

    /// The file's state; `None` when there is no file.
    pub(super) fn stamp(&self) -> Result<Option<Stamp>, TokensError> {
        let path = self.path();
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(Stamp {
                inode: found.ino(),
                len: found.len(),
                mtime: (found.mtime(), found.mtime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TokensError::Io { path, source }),
        }
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<TokenEntry>) -> Result<T, TokensError>,
    ) -> Result<T, TokensError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| TokensError::Io { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(at(&self.dir))?;
        let lock_path = self.dir.join(LOCK_FILE);
        let lock =
            private(OpenOptions::new().truncate(false), &lock_path).map_err(at(&lock_path))?;
        give_to_owner_of(&self.dir, &lock).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;

        let mut contents = Contents {
            tokens: self.load()?,
        };
        let done = change(&mut contents.tokens)?;
        let text = toml::to_string(&contents).map_err(|error| TokensError::Unreadable {
            path: self.path(),
            problem: error.to_string(),
        })?;
        let new_path = self.dir.join(NEW_FILE);
        let write = || -> io::Result<()> {
            let mut file = private(OpenOptions::new().truncate(true), &new_path)?;
            give_to_owner_of(&self.dir, &file)?;
            file.write_all(BANNER.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new_path, self.path())?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(at(&new_path))?;
        Ok(done)
    }
}

/// What root writes into the directory of a server that runs as another user, that user must be able
/// to read.
fn give_to_owner_of(dir: &Path, file: &File) -> io::Result<()> {
    let (owner, own) = (fs::metadata(dir)?, file.metadata()?);
    if owner.uid() == own.uid() {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Opens a file that nobody else may read.
fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.create(true).write(true).mode(0o600).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::Role;
    use crate::core::Namespace;
    use crate::server::tokens::TokenHash;
    use std::os::unix::fs::PermissionsExt as _;

    fn entry(name: Option<&str>, secret: &str) -> TokenEntry {
        TokenEntry {
            name: name.map(str::to_owned),
            namespace: Namespace::new("ci").unwrap(),
            role: Role::Use,
            sha256: TokenHash::of(&secret.to_owned().into()),
        }
    }

    #[test]
    fn what_was_added_is_there_until_it_is_revoked() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path().join("a/b"));
        assert_eq!(file.load().unwrap(), []);
        let (one, two) = (entry(Some("one"), "1"), entry(None, "2"));
        file.add(one.clone()).unwrap();
        file.add(two.clone()).unwrap();
        assert_eq!(file.load().unwrap(), [one.clone(), two.clone()]);
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(file.revoke("one").unwrap(), (one, 1));
        assert_eq!(file.revoke(&two.sha256.id()).unwrap(), (two, 0));
        assert_eq!(file.load().unwrap(), []);
    }

    #[test]
    fn a_name_stands_for_one_token() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        file.add(entry(Some("one"), "1")).unwrap();
        let taken = file.add(entry(Some("one"), "2")).unwrap_err();
        assert!(matches!(taken, TokensError::NameTaken(_)));
        let none = file.revoke("two").unwrap_err();
        assert!(matches!(none, TokensError::NotOne { count: 0, .. }));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_alone_and_its_fault_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        fs::write(
            file.path(),
            "[[token]]\nnamespace = \"ci\"\nsha255 = \"x\"\n",
        )
        .unwrap();
        let error = file.add(entry(None, "1")).unwrap_err().to_string();
        assert!(
            error.contains("tokens.toml") && error.contains("sha255"),
            "{error}"
        );
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn concurrent_changes_are_all_kept() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let file = &file;
                scope.spawn(move || file.add(entry(None, &n.to_string())).unwrap());
            }
        });
        assert_eq!(file.load().unwrap().len(), 8);
    }
}
