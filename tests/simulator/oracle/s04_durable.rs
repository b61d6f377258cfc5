//! S4. What was acknowledged is there after a crash: grants, leases, reserved locks and durable
//! places in line; and what was acknowledged as ended stays ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use holdfast::core::{Answer, Change, Command, Effect, Key, Proof, Record, RequestId, Value};

use super::{Told, Verdict};

super::property!("S4", "what was acknowledged is there after a crash");

/// How many acknowledged ends are looked for after a crash.
const ENDED_MAX: usize = 256;

#[derive(Default)]
pub struct Durable {
    committed: BTreeSet<Key>,
    /// Committed places in line, by whom: a place is told by its request, not by its number.
    places: BTreeMap<(String, String), Key>,
    acknowledged: BTreeSet<Key>,
    ended: VecDeque<Key>,
}

impl Durable {
    pub fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(Record { key, value }) => {
                    if let (Key::Waiter(space, ..), Value::Waiter(value)) = (key, value) {
                        let request = (space.to_string(), value.request_id.clone());
                        self.places.insert(request, key.clone());
                    }
                    self.committed.insert(key.clone());
                }
                Change::Delete(key) => {
                    self.committed.remove(key);
                    self.acknowledged.remove(key);
                    if matches!(key, Key::Waiter(..)) {
                        self.places.retain(|_, place| place != key);
                    }
                }
            }
        }
    }

    pub fn told(&mut self, told: &Told<'_>) {
        let space = told.asked.namespace.clone();
        let key = match told.effect {
            Effect::Reply(_, Ok(Answer::Granted(granted) | Answer::Put { granted, .. })) => {
                let token = granted.holder.fencing_token;
                Key::Grant(space, granted.lock.clone(), token)
            }
            Effect::Reply(_, Ok(Answer::Reserved(lock))) => Key::Lock(space, lock.clone()),
            Effect::Reply(_, Ok(Answer::Lease(lease))) | Effect::SessionOpened { lease, .. } => {
                Key::Lease(space, lease.id)
            }
            Effect::Queued(..) => {
                let Command::Acquire(acquire) = &told.asked.command else {
                    return;
                };
                let request = acquire.request_id.as_ref().map(RequestId::to_string);
                let request = (space.to_string(), request.unwrap_or_default());
                match self.places.get(&request) {
                    Some(place) => place.clone(),
                    None => return,
                }
            }
            Effect::Reply(_, Ok(Answer::Released)) => {
                if let Command::Release {
                    lock,
                    proof: Proof::Token(token),
                    ..
                } = &told.asked.command
                {
                    self.ended
                        .push_back(Key::Grant(space, lock.clone(), *token));
                    if self.ended.len() > ENDED_MAX {
                        self.ended.pop_front();
                    }
                }
                return;
            }
            _ => return,
        };
        // What has ended since has not to be there.
        if self.committed.contains(&key) {
            self.acknowledged.insert(key);
        }
    }

    pub fn crash(&mut self, loaded: &[Record]) -> Verdict {
        let loaded: BTreeSet<&Key> = loaded.iter().map(|record| &record.key).collect();
        if let Some(lost) = self.acknowledged.iter().find(|key| !loaded.contains(key)) {
            return broken(format!("{lost:?} was acknowledged and is gone"));
        }
        match self.ended.iter().find(|key| loaded.contains(key)) {
            Some(back) => broken(format!("{back:?} was acknowledged as ended and is back")),
            None => Ok(()),
        }
    }
}
