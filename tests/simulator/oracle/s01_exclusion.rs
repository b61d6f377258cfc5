//! S1. Committed holds of one lock never overlap, save SHARED with SHARED, and of those never more
//! than the smallest `max_shared` among them.
//!
//! A hold spans from the commit of its record to the commit of its deletion, and, where it was lost,
//! for its release delay from then on, unless somebody ended that by force. Its mode and its delay are
//! those that were asked for, whatever the record says; the delay is counted in the world's time.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::core::{Change, Key, LockName, Mode, Record, Time};

use super::Verdict;
use super::book::{LapsedHold, LockId, Seen, Step};

super::property!(
    "S1",
    "committed holds of a lock never overlap, save shared ones up to max_shared"
);

/// What the holder of a token asked for, and when it was granted.
#[derive(Clone, Copy, Debug)]
struct Asked {
    shared: bool,
    max_shared: Option<u32>,
    real: Time,
}

#[derive(Default)]
pub struct Exclusion {
    /// A token that was never committed can come again.
    asked: BTreeMap<u64, Asked>,
    spans: BTreeMap<LockId, Vec<u64>>,
    /// What grants leave behind that were lost, until the loss is committed.
    losses: BTreeMap<u64, LapsedHold>,
    /// What was lost and still counts.
    lapsed: BTreeMap<LockId, BTreeMap<u64, LapsedHold>>,
    /// Whose delays were ended by force, until that is committed.
    freed: BTreeSet<u64>,
}

impl Exclusion {
    pub fn step(&mut self, step: &Step<'_>, seen: &Seen) {
        for begun in &seen.begun {
            let asked = begun.asked.as_ref();
            let asked = Asked {
                shared: asked.is_some_and(|asked| asked.mode == Mode::Shared),
                max_shared: asked.and_then(|asked| asked.max_shared),
                real: step.real,
            };
            self.asked.insert(begun.token, asked);
        }
        for ended in &seen.ended {
            if let Some(lapsed) = ended.lapsed {
                self.losses.insert(ended.token, lapsed);
            }
        }
        self.freed.extend(&seen.freed);
    }

    pub fn commit(&mut self, changes: &[Change]) -> Verdict {
        for change in changes {
            match change {
                Change::Put(Record {
                    key: Key::Grant(space, lock, token),
                    ..
                }) => {
                    let id = (space.clone(), lock.clone());
                    let spans = self.spans.entry(id.clone()).or_default();
                    if !spans.contains(token) {
                        spans.push(*token);
                        self.check(&id, *token)?;
                    }
                }
                Change::Delete(Key::Grant(space, lock, token)) => {
                    let lock = (space.clone(), lock.clone());
                    if let Some(spans) = self.spans.get_mut(&lock) {
                        spans.retain(|other| other != token);
                    }
                    self.asked.remove(token);
                    if let Some(lapsed) = self.losses.remove(token) {
                        self.lapsed.entry(lock).or_default().insert(*token, lapsed);
                    }
                }
                Change::Delete(Key::Lapsed(space, lock, token)) if self.freed.remove(token) => {
                    let lock = (space.clone(), lock.clone());
                    if let Some(lapsed) = self.lapsed.get_mut(&lock) {
                        lapsed.remove(token);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What was not committed has not happened.
    pub fn crash(&mut self) {
        self.losses.clear();
        self.freed.clear();
    }

    /// Whether a new holder can stand beside the others.
    fn check(&mut self, lock: &LockId, token: u64) -> Verdict {
        let Some(new) = self.asked.get(&token).copied() else {
            return Ok(());
        };
        let lapsed = self.lapsed.entry(lock.clone()).or_default();
        lapsed.retain(|_, hold| hold.promised > new.real);
        let spans = self.spans.get(lock).into_iter().flatten();
        let holders: Vec<(u64, Asked)> = spans
            .filter_map(|token| Some((*token, *self.asked.get(token)?)))
            .collect();
        let all = holders
            .iter()
            .map(|(_, asked)| (asked.shared, asked.max_shared));
        let all = all.chain(lapsed.values().map(|hold| (hold.shared, hold.max_shared)));
        let all: Vec<(bool, Option<u32>)> = all.collect();
        let alone = all.len() < 2 || all.iter().all(|(shared, _)| *shared);
        let bound = all.iter().filter_map(|(_, bound)| *bound).min();
        if !alone || bound.is_some_and(|bound| all.len() > bound as usize) {
            return broken(held_together(&lock.1, &holders, lapsed));
        }
        Ok(())
    }
}

fn held_together(
    lock: &LockName,
    holders: &[(u64, Asked)],
    lapsed: &BTreeMap<u64, LapsedHold>,
) -> String {
    format!("the lock {lock} is held together by {holders:?}, and held back by {lapsed:?}")
}
