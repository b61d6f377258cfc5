//! Values: what callers keep under keys, each change with a revision of its own.
//!
//! Invariant: revisions come from one counter per shard, which is part of every commit: they rise in
//! the order of commits, also over deletion, re-creation and crashes.
//!
//! A value's end is committed with the value, and nothing prolongs it; so it needs no rule of its own
//! after a restart, as the core's time is never ahead of what was served.

use std::sync::Arc;
use std::time::Duration;

use super::command::*;
use super::limits::*;
use super::name::{RequestId, ValueBytes, ValueKey};
use super::page::{named, page};
use super::record::{self, Key, Value};
use super::request::{Done, Kind, Recall};
use super::state::{CallRole, Out, SpaceIx, State, ValueIx};
use super::time::Time;
use super::timer::Timer;

/// What is kept under a key.
#[derive(Debug)]
pub(super) struct KeptValue {
    space: SpaceIx,
    key: ValueKey,
    bytes: ValueBytes,
    revision: u64,
    /// `None`: it has no expiry.
    ends: Option<Time>,
}

impl KeptValue {
    pub(super) fn record(&self) -> record::KeptValue {
        record::KeptValue {
            bytes: self.bytes.bytes().clone(),
            revision: self.revision,
            ends_nanos: self.ends.map_or(0, Time::as_nanos),
        }
    }

    /// How much it counts in its namespace.
    fn weight(&self) -> usize {
        weight(&self.key, &self.bytes)
    }
}

fn weight(key: &ValueKey, bytes: &ValueBytes) -> usize {
    key.as_str().len() + bytes.len()
}

/// What a put asks for; a retry has to ask for the same.
#[derive(Hash)]
pub(super) struct Put {
    pub(super) key: ValueKey,
    pub(super) bytes: ValueBytes,
    pub(super) ttl: Option<Duration>,
    pub(super) expected_revision: Option<u64>,
}

impl State {
    pub(super) fn find_value(&self, space: SpaceIx, key: &ValueKey) -> Option<ValueIx> {
        self.space_of(space).values.get(key).copied()
    }

    pub(super) fn put_value(
        &mut self,
        call: CallId,
        space: SpaceIx,
        put: Put,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let request = match self.recall(call, space, request_id, Kind::PutValue, &put, out) {
            Recall::New(request) => request,
            Recall::Done(Done::ValuePut(revision)) => {
                return out.answer(call, Answer::ValuePut(revision));
            }
            _ => return,
        };
        let before = self.find_value(space, &put.key);
        if let Err(refusal) = self.expect_revision(&put.key, before, put.expected_revision) {
            return out.refuse(call, refusal);
        }
        if let Err(refusal) = self.has_room_for_value(space, before, &put) {
            return out.refuse(call, refusal);
        }
        if let Some(before) = before {
            self.forget_value(before);
        }
        self.last_revision += 1;
        let revision = self.last_revision;
        let ends = put.ttl.map(|ttl| self.now + ttl);
        let index = self.keep_value(space, put.key, put.bytes, revision, ends);
        let record = Value::Value(self.values[index].record());
        out.put(self.value_key(index), record);
        self.remember(space, request, Done::ValuePut(revision), out);
        out.answer(call, Answer::ValuePut(revision));
        self.announce_value(index, ValueEventKind::Put, out);
    }

    pub(super) fn delete_value(
        &mut self,
        call: CallId,
        space: SpaceIx,
        key: ValueKey,
        expected_revision: Option<u64>,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let asked = (&key, expected_revision);
        let request = match self.recall(call, space, request_id, Kind::DeleteValue, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::ValueDeleted(revision)) => {
                return out.answer(call, Answer::ValueDeleted(revision));
            }
            _ => return,
        };
        let before = self.find_value(space, &key);
        if let Err(refusal) = self.expect_revision(&key, before, expected_revision) {
            return out.refuse(call, refusal);
        }
        let Some(index) = before else {
            return out.refuse(call, Refusal::ValueNotFound(key));
        };
        let revision = self.values[index].revision;
        self.remember(space, request, Done::ValueDeleted(revision), out);
        out.answer(call, Answer::ValueDeleted(revision));
        self.end_value(index, ValueEventKind::Deleted, out);
    }

    pub(super) fn watch_value(
        &mut self,
        call: CallId,
        space: SpaceIx,
        key: ValueKey,
        out: &mut Out,
    ) {
        let value = self.find_value(space, &key);
        let value = value.map(|index| self.view_value(index));
        let watchers = self
            .space_mut(space)
            .value_watchers
            .entry(key.clone())
            .or_default();
        if watchers.len() >= WATCHERS_PER_VALUE_MAX {
            let refusal = Refusal::LimitReached {
                what: "watchers of one value",
                max: WATCHERS_PER_VALUE_MAX,
            };
            return out.refuse(call, refusal);
        }
        watchers.push(call);
        self.calls.insert(call, CallRole::ValueWatcher(space, key));
        out.effects.push(Effect::WatchingValue(call, value));
    }

    pub(super) fn list_values(
        &self,
        space: SpaceIx,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Answer {
        let found = named(&self.space_of(space).values, prefix, after);
        let mut bytes = 0;
        let fitting = found.clone().take(limit).take_while(|index| {
            let has_room = bytes < VALUE_PAGE_BYTES_MAX;
            bytes += self.values[*index].weight();
            has_room
        });
        let (values, more) = page(found, fitting.count(), |index| self.view_value(index));
        Answer::Values { values, more }
    }

    pub(super) fn value_is_due(&mut self, index: ValueIx, out: &mut Out) {
        let ends = self.values.get(index).and_then(|value| value.ends);
        if ends.is_some_and(|ends| ends <= self.now) {
            self.end_value(index, ValueEventKind::Expired, out);
        }
    }

    /// Keeps a value under a key that has none, without committing it.
    pub(super) fn keep_value(
        &mut self,
        space: SpaceIx,
        key: ValueKey,
        bytes: ValueBytes,
        revision: u64,
        ends: Option<Time>,
    ) -> ValueIx {
        let value = KeptValue {
            space,
            key: key.clone(),
            bytes,
            revision,
            ends,
        };
        let weight = value.weight();
        let index = self.values.insert(value);
        if let Some(ends) = ends {
            self.timers.set(ends, Timer::Value(index));
        }
        let space = self.space_mut(space);
        space.values.insert(key, index);
        space.value_bytes += weight;
        index
    }

    pub(super) fn value_key(&self, index: ValueIx) -> Key {
        let value = &self.values[index];
        let space = &self.space_of(value.space).name;
        Key::Value(space.clone(), value.key.clone())
    }

    pub(super) fn view_value(&self, index: ValueIx) -> ValueView {
        let value = &self.values[index];
        ValueView {
            key: value.key.clone(),
            bytes: value.bytes.clone(),
            revision: value.revision,
            expires_in: value.ends.map(|ends| ends.since(self.now)),
        }
    }

    /// Refuses where what is there is not what was expected.
    fn expect_revision(
        &self,
        key: &ValueKey,
        found: Option<ValueIx>,
        expected: Option<u64>,
    ) -> Result<(), Refusal> {
        let revision = found.map_or(0, |index| self.values[index].revision);
        if expected.is_none_or(|expected| expected == revision) {
            return Ok(());
        }
        Err(Refusal::RevisionMismatch(Box::new(Mismatch {
            key: key.clone(),
            current: found.map(|index| self.view_value(index)),
        })))
    }

    fn has_room_for_value(
        &self,
        space: SpaceIx,
        before: Option<ValueIx>,
        put: &Put,
    ) -> Result<(), Refusal> {
        let space = self.space_of(space);
        if before.is_none() && space.values.len() >= VALUES_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "values in one namespace",
                max: VALUES_PER_NAMESPACE_MAX,
            });
        }
        // What makes it no larger is let through, whatever there is.
        let freed = before.map_or(0, |index| self.values[index].weight());
        let weight = weight(&put.key, &put.bytes);
        if weight > freed && space.value_bytes - freed + weight > VALUE_BYTES_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "bytes of keys and values in one namespace",
                max: VALUE_BYTES_PER_NAMESPACE_MAX,
            });
        }
        Ok(())
    }

    fn end_value(&mut self, index: ValueIx, kind: ValueEventKind, out: &mut Out) {
        out.delete(self.value_key(index));
        self.announce_value(index, kind, out);
        self.forget_value(index);
    }

    /// Takes a value out of the state, without committing it.
    fn forget_value(&mut self, index: ValueIx) {
        let value = self.values.remove(index);
        if let Some(ends) = value.ends {
            self.timers.unset(ends, Timer::Value(index));
        }
        let weight = value.weight();
        let space = self.space_mut(value.space);
        space.values.remove(&value.key);
        space.value_bytes -= weight;
    }

    /// Tells those who watch a value what has happened to it.
    fn announce_value(&self, index: ValueIx, kind: ValueEventKind, out: &mut Out) {
        let value = &self.values[index];
        let watchers = &self.space_of(value.space).value_watchers;
        let Some(watchers) = watchers.get(&value.key) else {
            return;
        };
        let event = Arc::new(ValueEvent {
            kind,
            value: self.view_value(index),
            at: self.wall,
        });
        let effects = watchers
            .iter()
            .map(|call| Effect::ValueChanged(*call, event.clone()));
        out.effects.extend(effects);
    }
}
