//! S1. Committed holds of one lock never overlap, save SHARED with SHARED, and of those never more
//! than the smallest `max_shared` among them.
//!
//! A hold spans from the commit of its record to the commit of its deletion. Its mode is the one
//! that was asked for, whatever the record says.

use std::collections::BTreeMap;

use holdfast::core::{Change, Key, Mode, Record};

use super::Verdict;
use super::book::{LockId, Seen};

super::property!(
    "S1",
    "committed holds of a lock never overlap, save shared ones up to max_shared"
);

#[derive(Default)]
pub struct Exclusion {
    /// What the holder of a token asked for. A token that was never committed can come again.
    asked: BTreeMap<u64, (Mode, Option<u32>)>,
    spans: BTreeMap<LockId, Vec<u64>>,
}

impl Exclusion {
    pub fn step(&mut self, seen: &Seen) {
        for begun in &seen.begun {
            let asked = begun.asked.as_ref();
            let asked = asked.map_or((Mode::Exclusive, None), |asked| {
                (asked.mode, asked.max_shared)
            });
            self.asked.insert(begun.token, asked);
        }
    }

    pub fn commit(&mut self, changes: &[Change]) -> Verdict {
        for change in changes {
            match change {
                Change::Put(Record {
                    key: Key::Grant(space, lock, token),
                    ..
                }) => {
                    let spans = self.spans.entry((space.clone(), lock.clone())).or_default();
                    if !spans.contains(token) {
                        spans.push(*token);
                        check(&self.asked, lock.as_str(), spans)?;
                    }
                }
                Change::Delete(Key::Grant(space, lock, token)) => {
                    let lock = (space.clone(), lock.clone());
                    if let Some(spans) = self.spans.get_mut(&lock) {
                        spans.retain(|other| other != token);
                    }
                    self.asked.remove(token);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn check(asked: &BTreeMap<u64, (Mode, Option<u32>)>, lock: &str, holders: &[u64]) -> Verdict {
    let holders: Vec<_> = holders
        .iter()
        .map(|token| (token, asked.get(token)))
        .collect();
    let bound = holders.iter().filter_map(|(_, asked)| (*asked)?.1).min();
    let shared = |asked: &Option<&(Mode, Option<u32>)>| asked.is_some_and(|a| a.0 == Mode::Shared);
    let alone = holders.len() < 2 || holders.iter().all(|(_, asked)| shared(asked));
    if !alone || bound.is_some_and(|bound| holders.len() > bound as usize) {
        return broken(format!("the lock {lock} is held together by {holders:?}"));
    }
    Ok(())
}
