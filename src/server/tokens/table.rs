//! The tokens as the server looks them up, kept in step with the file.
//!
//! Invariant: a server that has once asked for tokens never again lets callers in without one, for
//! then revoking the last token, or losing the file, would open it to everyone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use secrecy::SecretString;

use super::file::Stamp;
use super::{TokenEntry, TokenHash, TokensError, TokensFile};
use crate::api::{Identity, Role};
use crate::core::Namespace;

/// Every token that is known.
pub struct TokenTable {
    fixed: Vec<TokenEntry>,
    file: Option<TokensFile>,
    open_to_all: Identity,
    loaded: Mutex<Loaded>,
    current: RwLock<Arc<Current>>,
}

/// What of the file is known.
#[derive(Default)]
struct Loaded {
    stamp: Option<Stamp>,
    /// The last complaint, so that each is logged once.
    problem: Option<String>,
}

#[derive(Default)]
struct Current {
    by_hash: HashMap<TokenHash, Identity>,
    required: bool,
}

/// What a caller's token, or its absence, comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It may come in, as this.
    Caller(Identity),
    /// A token is needed, and there was none.
    Missing,
    /// The token is not one of ours.
    Unknown,
}

impl TokenTable {
    /// The tokens of the configuration and those of the file. `open_without` says whether callers
    /// need none as long as there are none.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn load(
        fixed: Vec<TokenEntry>,
        file: Option<TokensFile>,
        namespace_default: Namespace,
        open_without: bool,
    ) -> Result<TokenTable, TokensError> {
        let table = TokenTable {
            fixed,
            file,
            open_to_all: Identity {
                namespace: namespace_default,
                role: Role::Admin,
            },
            loaded: Mutex::default(),
            current: RwLock::new(Arc::new(Current {
                required: !open_without,
                ..Current::default()
            })),
        };
        let mut loaded = table.loaded();
        let (stamp, tokens) = match &table.file {
            Some(file) => (file.stamp()?, file.load()?),
            None => (None, Vec::new()),
        };
        loaded.stamp = stamp;
        table.install(&tokens);
        drop(loaded);
        Ok(table)
    }

    /// Whether there is any token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current().by_hash.is_empty()
    }

    /// Whom a caller without a token is.
    #[must_use]
    pub fn anonymous(&self) -> Found {
        if self.current().required {
            Found::Missing
        } else {
            Found::Caller(self.open_to_all.clone())
        }
    }

    /// Whom a token stands for. A token made a moment ago is found.
    #[must_use]
    pub fn find(&self, token: &SecretString) -> Found {
        let hash = TokenHash::of(token);
        let look = || self.current().by_hash.get(&hash).cloned();
        let found = look().or_else(|| {
            // Another may have read it in between: so look again, whoever did.
            self.reread(false);
            look()
        });
        found.map_or(Found::Unknown, Found::Caller)
    }

    /// Reads the file again when it has changed, and tells whether it had. A file that can't be read
    /// leaves the tokens as they were.
    pub fn refresh(&self) -> bool {
        self.reread(true)
    }

    /// A flood of unknown tokens must not make the server read a broken file again and again, so a
    /// lookup that missed does not pass `even_if_broken`.
    fn reread(&self, even_if_broken: bool) -> bool {
        let Some(file) = &self.file else {
            return false;
        };
        let mut loaded = self.loaded();
        if loaded.problem.is_some() && !even_if_broken {
            return false;
        }
        // The stamp first: a change between the two is then seen the next time.
        let read = file.stamp().and_then(|stamp| {
            if stamp == loaded.stamp {
                Ok(None)
            } else {
                file.load().map(|tokens| Some((stamp, tokens)))
            }
        });
        match read {
            Ok(None) => {
                loaded.problem = None;
                false
            }
            Ok(Some((stamp, tokens))) => {
                loaded.stamp = stamp;
                loaded.problem = None;
                self.install(&tokens);
                tracing::info!(tokens = tokens.len(), "the file of API tokens has changed");
                true
            }
            Err(error) => {
                let problem = error.to_string();
                if loaded.problem.as_ref() != Some(&problem) {
                    tracing::error!(%problem, "API tokens can't be read; those of before stay valid");
                    loaded.problem = Some(problem);
                }
                false
            }
        }
    }

    fn install(&self, from_file: &[TokenEntry]) {
        let by_hash: HashMap<_, _> = (from_file.iter().chain(&self.fixed))
            .map(|entry| (entry.sha256, entry.identity()))
            .collect();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let required = current.required || !by_hash.is_empty();
        *current = Arc::new(Current { by_hash, required });
    }

    fn current(&self) -> Arc<Current> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::server::tokens::fresh_token;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    fn entry(token: &SecretString) -> TokenEntry {
        TokenEntry {
            name: None,
            namespace: namespace("ci"),
            role: Role::Use,
            sha256: TokenHash::of(token),
        }
    }

    fn table(file: &TokensFile, open: bool) -> TokenTable {
        TokenTable::load(Vec::new(), Some(file.clone()), namespace("default"), open).unwrap()
    }

    #[test]
    fn a_token_made_a_moment_ago_is_found_while_another_reads_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        let table = table(&file, true);
        let barrier = std::sync::Barrier::new(2);
        for _ in 0..100 {
            let token = fresh_token().unwrap();
            let hash = TokenHash::of(&token);
            file.add(entry(&token)).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    table.refresh();
                });
                barrier.wait();
                assert!(matches!(table.find(&token), Found::Caller(_)));
            });
            file.revoke(&hash.id()).unwrap();
        }
    }

    #[test]
    fn without_tokens_everyone_is_an_administrator_of_the_default_namespace() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        let everyone = Identity {
            namespace: namespace("default"),
            role: Role::Admin,
        };
        assert_eq!(table(&file, true).anonymous(), Found::Caller(everyone));
        assert_eq!(table(&file, false).anonymous(), Found::Missing);
    }

    #[test]
    fn a_token_is_valid_from_its_making_to_its_end() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        let table = table(&file, true);
        let token = fresh_token().unwrap();
        assert_eq!(table.find(&token), Found::Unknown);
        file.add(entry(&token)).unwrap();
        let caller = Identity {
            namespace: namespace("ci"),
            role: Role::Use,
        };
        assert_eq!(table.find(&token), Found::Caller(caller));
        assert_eq!(table.anonymous(), Found::Missing);
        file.revoke(&TokenHash::of(&token).id()).unwrap();
        assert!(table.refresh());
        assert_eq!(table.find(&token), Found::Unknown);
    }

    #[test]
    fn the_end_of_the_last_token_lets_nobody_in() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        let token = fresh_token().unwrap();
        file.add(entry(&token)).unwrap();
        let table = table(&file, true);
        assert_eq!(table.anonymous(), Found::Missing);
        file.revoke(&TokenHash::of(&token).id()).unwrap();
        assert!(table.refresh());
        assert_eq!(table.anonymous(), Found::Missing);
        std::fs::remove_file(file.path()).unwrap();
        assert!(table.refresh());
        assert_eq!(table.anonymous(), Found::Missing);
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_tokens_as_they_were() {
        let temp = tempfile::tempdir().unwrap();
        let file = TokensFile::new(temp.path());
        let token = fresh_token().unwrap();
        file.add(entry(&token)).unwrap();
        let table = table(&file, true);
        std::fs::write(file.path(), "no toml").unwrap();
        assert!(!table.refresh());
        assert!(matches!(table.find(&token), Found::Caller(_)));
        let opened = TokenTable::load(Vec::new(), Some(file), namespace("default"), true);
        assert!(opened.is_err());
    }
}
