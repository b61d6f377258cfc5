//! The rules of release delays: a hold that was lost keeps others out for a while, so that its
//! holder's work can be stopped before the next holder begins.
//!
//! Invariant: the holders of a lock and its lapsed holds together are one exclusive hold, or shared ones
//! up to the smallest `max_shared` among them.
//! Invariant: a hold lapses in the commit that takes it from its holder, and stops counting once, when
//! its delay is over or somebody forces it; whoever fits then is served in that same commit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::{EndCause, LockChange, Mode};
use super::lock::UNBOUNDED;
use super::record::{Key, LapsedValue, Value};
use super::state::*;
use super::time::Time;
use super::timer::Timer;

/// The holds of a lock that were lost and whose release delays have not passed.
#[derive(Debug, Default)]
pub(super) struct Lapsed(BTreeMap<LapsedKey, LapsedHold>);

/// What tells the lapsed holds of a lock apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LapsedKey {
    /// When it stops counting: the first to do so is the first of all.
    pub(super) until: Time,
    pub(super) fencing_token: u64,
}

/// A hold that was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct LapsedHold {
    pub(super) mode: Mode,
    pub(super) max_shared: Option<u32>,
}

impl Lapsed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How long it takes until none of them counts.
    pub(super) fn left(&self, now: Time) -> Duration {
        let last = self.0.last_key_value();
        last.map_or(Duration::ZERO, |(key, _)| key.until.since(now))
    }

    /// With whom they share the lock: all of them with each other, or else there is one.
    pub(super) fn mode(&self) -> Option<Mode> {
        self.0.values().next().map(|hold| hold.mode)
    }

    /// Those that a force release means.
    pub(super) fn meant(&self, only: Option<u64>) -> Vec<LapsedKey> {
        let is_meant = |key: &&LapsedKey| only.is_none_or(|token| key.fencing_token == token);
        self.0.keys().filter(is_meant).copied().collect()
    }

    pub(super) fn bounds(&self) -> impl Iterator<Item = u32> {
        let bound = |hold: &LapsedHold| hold.max_shared.unwrap_or(UNBOUNDED);
        self.0.values().map(bound)
    }

    /// The first whose delay is over.
    fn due(&self, now: Time) -> Option<LapsedKey> {
        let (key, _) = self.0.first_key_value()?;
        (key.until <= now).then_some(*key)
    }

    /// Whether one of them stops counting just then.
    fn ends_at(&self, until: Time) -> bool {
        let key = |fencing_token| LapsedKey {
            until,
            fencing_token,
        };
        self.0.range(key(0)..=key(u64::MAX)).next().is_some()
    }
}

impl EndCause {
    /// Whether the holder did not end it, nor was asked: its work may still go on.
    fn is_loss(self) -> bool {
        match self {
            EndCause::Expired | EndCause::Forced | EndCause::CallbackTimedOut => true,
            EndCause::Released | EndCause::Revoked | EndCause::CallbackRefused => false,
        }
    }
}

impl State {
    /// A grant has ended: where it was lost and asked for a delay, it still counts for so long.
    pub(super) fn hold_back(&mut self, grant: &Grant, cause: EndCause, out: &mut Out) {
        if grant.release_delay.is_zero() || !cause.is_loss() {
            return;
        }
        let key = LapsedKey {
            until: self.now + grant.release_delay.span(),
            fencing_token: grant.fencing_token,
        };
        let hold = LapsedHold {
            mode: grant.mode,
            max_shared: grant.max_shared,
        };
        self.insert_lapsed(grant.lock, key, hold);
        let record = self.lapsed_key(grant.lock, grant.fencing_token);
        out.put(record, Value::Lapsed(hold.record(key.until)));
    }

    /// Puts a lapsed hold where it belongs: its lock and its timer.
    pub(super) fn insert_lapsed(&mut self, lock: LockIx, key: LapsedKey, hold: LapsedHold) {
        self.timers.set(key.until, Timer::Lapsed(lock));
        let lock = &mut self.locks[lock];
        let bound = hold.max_shared.unwrap_or(UNBOUNDED);
        lock.shared_bound = lock.shared_bound.min(bound);
        lock.change_lapsed(|lapsed| lapsed.0.insert(key, hold));
    }

    /// Lets a lapsed hold count no more. The lock has to be settled afterwards.
    pub(super) fn end_lapsed(&mut self, index: LockIx, key: LapsedKey, out: &mut Out) {
        let lock = &mut self.locks[index];
        let Some(hold) = lock.change_lapsed(|lapsed| lapsed.0.remove(&key)) else {
            return;
        };
        // Those that end at the same time share a timer.
        if lock.lapsed().is_none_or(|left| !left.ends_at(key.until)) {
            self.timers.unset(key.until, Timer::Lapsed(index));
        }
        self.unbound(index, hold.max_shared);
        out.delete(self.lapsed_key(index, key.fencing_token));
        let over = || LockChange::ReleaseDelayEnded(key.fencing_token);
        self.announce(index, over, out);
    }

    pub(super) fn lapsed_is_due(&mut self, index: LockIx, out: &mut Out) {
        let due = |state: &State| state.locks[index].lapsed()?.due(state.now);
        while let Some(key) = due(self) {
            self.end_lapsed(index, key, out);
        }
        self.settle(index, out);
    }

    /// How long lapsed holds hold a lock back; `None`: there are none.
    pub(super) fn held_back_for(&self, lock: &Lock) -> Option<Duration> {
        lock.lapsed().map(|lapsed| lapsed.left(self.now))
    }

    fn lapsed_key(&self, lock: LockIx, fencing_token: u64) -> Key {
        let lock = &self.locks[lock];
        let space = self.space_of(lock.space).name.clone();
        Key::Lapsed(space, lock.name.clone(), fencing_token)
    }

    /// Every lapsed hold's record.
    pub(super) fn lapsed_records(&self) -> impl Iterator<Item = (Key, Value)> {
        self.locks.iter().flat_map(move |(index, lock)| {
            let holds = lock.lapsed().into_iter().flat_map(|lapsed| &lapsed.0);
            holds.map(move |(key, hold)| {
                let record = self.lapsed_key(index, key.fencing_token);
                (record, Value::Lapsed(hold.record(key.until)))
            })
        })
    }
}

impl LapsedHold {
    fn record(&self, until: Time) -> LapsedValue {
        LapsedValue {
            shared: self.mode == Mode::Shared,
            max_shared: self.max_shared.unwrap_or(0),
            ends_nanos: until.as_nanos(),
        }
    }

    pub(super) fn read(value: &LapsedValue) -> LapsedHold {
        LapsedHold {
            mode: Mode::of(value.shared),
            max_shared: (value.max_shared > 0).then_some(value.max_shared),
        }
    }
}
