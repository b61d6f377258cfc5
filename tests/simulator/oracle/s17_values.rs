//! S17. Revisions of values strictly rise in commit order; a value changes only where its revision is
//! the expected one; what is read is what was put last; what was acknowledged is there after a crash;
//! no value ends before its TTL or outlives it by more than a tick; who watches is told every change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast::core::{
    Answer, CallId, Change, Command, Effect, Key, Namespace, Record, Refusal, Request, Time, Value,
    ValueBytes, ValueKey, ValueView,
};

use super::book::{Cause, Step};
use super::{Told, Verdict};

super::property!(
    "S17",
    "values change by their revisions, last as promised, and are told"
);

type Id = (Namespace, ValueKey);

#[derive(Clone, Debug)]
struct Kept {
    bytes: ValueBytes,
    revision: u64,
    /// When it has to end, by the core's time.
    ends: Option<Time>,
}

#[derive(Default)]
pub struct Values {
    live: BTreeMap<Id, Kept>,
    /// Committed, with the revision of each.
    durable: BTreeMap<Id, u64>,
    /// Every revision that was ever committed, and the highest.
    committed: BTreeSet<u64>,
    highest: u64,
    /// Until when acknowledged values last at least, in the world's time; `None`: for ever.
    promises: BTreeMap<u64, Option<Time>>,
    watchers: BTreeMap<CallId, Id>,
}

impl Values {
    pub fn step(&mut self, step: &Step<'_>) -> Verdict {
        if let Some(request) = step.request() {
            self.look(request, step)?;
            if let Command::Cancel { call } = &request.command {
                self.watchers.remove(call);
            }
        }
        let mut changes: BTreeMap<Id, usize> = BTreeMap::new();
        for change in step.changes {
            if let Some(id) = self.see(step, change)? {
                *changes.entry(id).or_default() += 1;
            }
        }
        if let Cause::Tick = step.cause {
            let due = |kept: &Kept| kept.ends.is_some_and(|ends| ends <= step.now);
            if let Some(late) = self.live.iter().find(|(_, kept)| due(kept)) {
                return broken(format!("{late:?} is there at {:?}", step.now));
            }
        }
        self.watch(step, &changes)
    }

    /// What was answered fits what is there.
    fn look(&self, request: &Request, step: &Step<'_>) -> Verdict {
        let (Some(reply), space) = (step.reply(), &request.namespace) else {
            return Ok(());
        };
        let revision = |key: &ValueKey| {
            let kept = self.live.get(&(space.clone(), key.clone()));
            kept.map_or(0, |kept| kept.revision)
        };
        let changed = !step.changes.is_empty();
        let fits = match (&request.command, reply) {
            (Command::GetValue { key }, Ok(Answer::Value(view))) => {
                view.key == *key && self.is(space, view)
            }
            (Command::GetValue { key }, Err(Refusal::ValueNotFound(_))) => revision(key) == 0,
            (
                Command::ListValues {
                    prefix,
                    after,
                    limit,
                },
                Ok(Answer::Values { values, more }),
            ) => {
                let after = after.as_deref().unwrap_or_default();
                let asked = self.live.keys().filter(|(of, key)| {
                    of == space && key.as_str().starts_with(prefix) && key.as_str() > after
                });
                let asked: Vec<_> = asked.map(|(_, key)| key).collect();
                let listed: Vec<_> = values.iter().map(|view| &view.key).collect();
                listed == asked[..asked.len().min(*limit)]
                    && *more == (asked.len() > *limit)
                    && values.iter().all(|view| self.is(space, view))
            }
            // A retry changes nothing; S12 looks into what it is told.
            (
                Command::PutValue {
                    key,
                    expected_revision: Some(expected),
                    ..
                },
                Ok(Answer::ValuePut(_)),
            )
            | (
                Command::DeleteValue {
                    key,
                    expected_revision: Some(expected),
                    ..
                },
                Ok(Answer::ValueDeleted(_)),
            ) => !changed || *expected == revision(key),
            (
                Command::PutValue {
                    key,
                    expected_revision: Some(expected),
                    ..
                }
                | Command::DeleteValue {
                    key,
                    expected_revision: Some(expected),
                    ..
                },
                Err(Refusal::RevisionMismatch(found)),
            ) => {
                let current = found.current.as_ref();
                *expected != revision(key)
                    && found.revision() == revision(key)
                    && current.is_none_or(|view| self.is(space, view))
            }
            (Command::DeleteValue { key, .. }, Err(Refusal::ValueNotFound(_))) => {
                revision(key) == 0
            }
            _ => true,
        };
        if !fits {
            return broken(format!("{:?} was answered {reply:?}", request.command));
        }
        Ok(())
    }

    fn is(&self, space: &Namespace, view: &ValueView) -> bool {
        let kept = self.live.get(&(space.clone(), view.key.clone()));
        kept.is_some_and(|kept| {
            (&kept.bytes, kept.revision) == (&view.bytes, view.revision)
                && kept.ends.is_some() == view.expires_in.is_some()
        })
    }

    fn see(&mut self, step: &Step<'_>, change: &Change) -> Result<Option<Id>, super::Failure> {
        match change {
            Change::Put(Record {
                key: Key::Value(space, key),
                value: Value::Value(_),
            }) => {
                let (
                    Some(Command::PutValue {
                        key: asked,
                        bytes,
                        ttl,
                        ..
                    }),
                    Some(Ok(Answer::ValuePut(revision))),
                ) = (step.command(), step.reply())
                else {
                    return broken(format!("nobody has put {key}"));
                };
                if asked != key {
                    return broken(format!("{key} was put in place of {asked}"));
                }
                let id = (space.clone(), key.clone());
                let kept = Kept {
                    bytes: bytes.clone(),
                    revision: *revision,
                    ends: ttl.map(|ttl| step.now + ttl),
                };
                self.live.insert(id.clone(), kept);
                Ok(Some(id))
            }
            Change::Delete(Key::Value(space, key)) => {
                let id = (space.clone(), key.clone());
                let gone = self.live.remove(&id);
                let revision = gone.map_or(0, |kept| kept.revision);
                let expired = matches!(step.cause, Cause::Tick);
                match self.promises.get(&revision) {
                    Some(promise) if expired && promise.is_none_or(|until| until > step.real) => {
                        broken(format!(
                            "{key} ended at {:?}, promised until {promise:?}",
                            step.real
                        ))
                    }
                    _ => Ok(Some(id)),
                }
            }
            _ => Ok(None),
        }
    }

    /// Every watcher is told as many changes as there were.
    fn watch(&mut self, step: &Step<'_>, changes: &BTreeMap<Id, usize>) -> Verdict {
        let mut told: BTreeMap<CallId, usize> = BTreeMap::new();
        for effect in step.effects {
            if let Effect::ValueChanged(call, event) = effect {
                let watched = self.watchers.get(call).map(|(_, key)| key);
                if watched != Some(&event.value.key) {
                    return broken(format!("{call:?} does not watch {event:?}"));
                }
                *told.entry(*call).or_default() += 1;
            }
        }
        for (call, id) in &self.watchers {
            let (told, due) = (told.get(call), changes.get(id));
            if told != due {
                return broken(format!("{call:?} was told {told:?} changes of {due:?}"));
            }
        }
        if let (Some(request), Some(Command::WatchValue { key })) = (step.request(), step.command())
        {
            for effect in step.effects {
                if let Effect::WatchingValue(call, view) = effect {
                    let id = (request.namespace.clone(), key.clone());
                    let there = self.live.contains_key(&id);
                    let fits = view.as_ref().is_none_or(|view| self.is(&id.0, view));
                    if there != view.is_some() || !fits {
                        return broken(format!("{key} is watched as {view:?}"));
                    }
                    self.watchers.insert(*call, id);
                }
            }
        }
        Ok(())
    }

    pub fn commit(&mut self, changes: &[Change]) -> Verdict {
        for change in changes {
            match change {
                Change::Put(Record {
                    key: Key::Value(space, key),
                    value: Value::Value(value),
                }) => {
                    let revision = value.revision;
                    if revision <= self.highest {
                        let highest = self.highest;
                        return broken(format!(
                            "{key} got the revision {revision} after {highest}"
                        ));
                    }
                    self.highest = revision;
                    self.committed.insert(revision);
                    self.durable.insert((space.clone(), key.clone()), revision);
                }
                Change::Delete(Key::Value(space, key)) => {
                    self.durable.remove(&(space.clone(), key.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is told is committed; what is acknowledged is a promise.
    pub fn told(&mut self, told: &Told<'_>) -> Verdict {
        let seen: Vec<u64> = match told.effect {
            Effect::Reply(_, Ok(Answer::ValuePut(revision))) => {
                if let Command::PutValue { ttl, .. } = &told.asked.command
                    && !self.promises.contains_key(revision)
                {
                    // A retry comes later than the put, and promises no more than that.
                    let until = |ttl: Duration| told.made + ttl;
                    if !told_again(told) {
                        self.promises.insert(*revision, ttl.map(until));
                    }
                }
                vec![*revision]
            }
            Effect::Reply(_, Ok(Answer::Value(view))) => vec![view.revision],
            Effect::Reply(_, Ok(Answer::Values { values, .. })) => {
                values.iter().map(|view| view.revision).collect()
            }
            Effect::Reply(_, Err(Refusal::RevisionMismatch(found))) => {
                found.current.iter().map(|view| view.revision).collect()
            }
            Effect::WatchingValue(_, view) => view.iter().map(|view| view.revision).collect(),
            Effect::ValueChanged(_, event) => vec![event.value.revision],
            _ => return Ok(()),
        };
        match seen.iter().find(|seen| !self.committed.contains(seen)) {
            Some(early) => broken(format!("the revision {early} was told and isn't committed")),
            None => Ok(()),
        }
    }

    /// What is loaded is what was committed; it starts from there.
    pub fn crash(&mut self, records: &[Record], now: Time) -> Verdict {
        self.watchers.clear();
        self.live.clear();
        let mut loaded = BTreeMap::new();
        for record in records {
            let (Key::Value(space, key), Value::Value(value)) = (&record.key, &record.value) else {
                continue;
            };
            let id = (space.clone(), key.clone());
            loaded.insert(id.clone(), value.revision);
            let ends = (value.ends_nanos > 0).then(|| Time::from_nanos(value.ends_nanos));
            let kept = Kept {
                bytes: ValueBytes::new(value.bytes.clone()).unwrap_or_default(),
                revision: value.revision,
                ends,
            };
            self.live.insert(id, kept);
        }
        if loaded != self.durable {
            let durable = &self.durable;
            return broken(format!("at {now:?} {loaded:?} is loaded of {durable:?}"));
        }
        Ok(())
    }
}

/// Whether the answer is that of an earlier call: such a one may come when the value has ended.
fn told_again(told: &Told<'_>) -> bool {
    super::book::request_id(&told.asked.command).is_some()
}
