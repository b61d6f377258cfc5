//! S3. Fencing tokens strictly rise in commit order: across release, deletion and re-creation of a
//! lock, and crashes.

use std::collections::BTreeSet;

use holdfast::core::{Change, Key, Record};

use super::Verdict;

super::property!("S3", "fencing tokens strictly rise in commit order");

#[derive(Default)]
pub struct TokensRise {
    highest: u64,
    held: BTreeSet<Key>,
}

impl TokensRise {
    pub fn commit(&mut self, changes: &[Change]) -> Verdict {
        for change in changes {
            match change {
                Change::Put(Record {
                    key: key @ Key::Grant(_, lock, token),
                    ..
                }) => {
                    if !self.held.insert(key.clone()) {
                        continue;
                    }
                    if *token <= self.highest {
                        let highest = self.highest;
                        return broken(format!("{lock} got the token {token} after {highest}"));
                    }
                    self.highest = *token;
                }
                Change::Delete(key) => drop(self.held.remove(key)),
                Change::Put(_) => {}
            }
        }
        Ok(())
    }
}
