//! S16. Replaying all changes gives exactly the records of the live state; and what is loaded from
//! the committed ones has exactly those records again.

use std::collections::BTreeMap;

use holdfast::core::{Change, Key, Record, State, Value};

use super::Verdict;
use super::book::Step;

super::property!("S16", "replaying the changes gives the state");

/// Every so many batches, all records are compared.
const COMPARE_EVERY: u64 = 8;

#[derive(Default)]
pub struct Replay {
    live: BTreeMap<Key, Value>,
    durable: BTreeMap<Key, Value>,
    sealed: u64,
}

impl Replay {
    pub fn step(&mut self, step: &Step<'_>) {
        for change in step.changes {
            self.change(change);
        }
    }

    pub fn change(&mut self, change: &Change) {
        replay(&mut self.live, change);
    }

    /// Called when the changes so far are all that led to `state`.
    pub fn seal(&mut self, state: &State) -> Verdict {
        self.sealed += 1;
        if !self.sealed.is_multiple_of(COMPARE_EVERY) {
            return Ok(());
        }
        compare(&self.live, &state.records())
    }

    pub fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            replay(&mut self.durable, change);
        }
    }

    pub fn bent(&mut self, store: &BTreeMap<Key, Value>) {
        self.durable.clone_from(store);
    }

    pub fn crash(&mut self, loaded: &[Record]) -> Verdict {
        self.live.clone_from(&self.durable);
        if self.live.is_empty() {
            return Ok(());
        }
        compare(&self.live, loaded)
    }
}

fn replay(records: &mut BTreeMap<Key, Value>, change: &Change) {
    match change {
        Change::Put(Record { key, value }) => drop(records.insert(key.clone(), value.clone())),
        Change::Delete(key) => drop(records.remove(key)),
    }
}

fn compare(replayed: &BTreeMap<Key, Value>, records: &[Record]) -> Verdict {
    let same = replayed.len() == records.len()
        && records
            .iter()
            .zip(replayed)
            .all(|(record, (key, value))| record.key == *key && record.value == *value);
    if same {
        return Ok(());
    }
    let state: BTreeMap<_, _> = records
        .iter()
        .map(|record| (&record.key, &record.value))
        .collect();
    let replayed: BTreeMap<_, _> = replayed.iter().collect();
    let differs = |a: &BTreeMap<&Key, &Value>, b: &BTreeMap<&Key, &Value>| {
        let mut found = Vec::new();
        for (key, value) in a.iter().filter(|(key, value)| b.get(*key) != Some(*value)) {
            found.push(format!("{key:?}: {value:?}"));
        }
        found.join("; ")
    };
    broken(format!(
        "replayed, but not in the state: [{}]; in the state, but not replayed: [{}]",
        differs(&replayed, &state),
        differs(&state, &replayed)
    ))
}
