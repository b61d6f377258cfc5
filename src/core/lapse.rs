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

/// The holds of a lock that were lost and whose release delays have not passed. It is dropped when it
/// is empty.
#[derive(Debug, Default)]
pub(super) struct Lapsed {
    /// By fencing token.
    holds: BTreeMap<u64, LapsedHold>,
    /// When the last of them stops counting.
    until: Time,
}

/// A hold that was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct LapsedHold {
    pub(super) mode: Mode,
    pub(super) max_shared: Option<u32>,
    /// When it stops counting.
    pub(super) until: Time,
}

impl Lapsed {
    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }

    /// How long it takes until none of them counts.
    pub(super) fn left(&self, now: Time) -> Duration {
        self.until.since(now)
    }

    /// With whom they share the lock: all of them with each other, or else there is one.
    pub(super) fn mode(&self) -> Option<Mode> {
        self.holds.values().next().map(|hold| hold.mode)
    }

    /// The fencing tokens of those that a force release means.
    pub(super) fn tokens(&self, only: Option<u64>) -> Vec<u64> {
        match only {
            None => self.holds.keys().copied().collect(),
            Some(token) => {
                let holds = self.holds.contains_key(&token);
                holds.then_some(token).into_iter().collect()
            }
        }
    }

    pub(super) fn bounds(&self) -> impl Iterator<Item = u32> {
        let bound = |hold: &LapsedHold| hold.max_shared.unwrap_or(UNBOUNDED);
        self.holds.values().map(bound)
    }

    fn insert(&mut self, fencing_token: u64, hold: LapsedHold) {
        self.until = self.until.max(hold.until);
        self.holds.insert(fencing_token, hold);
    }

    fn remove(&mut self, fencing_token: u64) -> Option<LapsedHold> {
        let hold = self.holds.remove(&fencing_token)?;
        // Those whose time comes go in the order of their ends: then one of the first is as late.
        let as_late = |other: &LapsedHold| other.until == self.until;
        if hold.until == self.until && !self.holds.values().any(as_late) {
            let ends = self.holds.values().map(|hold| hold.until);
            self.until = ends.max().unwrap_or_default();
        }
        Some(hold)
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
        let hold = LapsedHold {
            mode: grant.mode,
            max_shared: grant.max_shared,
            until: self.now + grant.release_delay.span(),
        };
        self.insert_lapsed(grant.lock, grant.fencing_token, hold);
        let key = self.lapsed_key(grant.lock, grant.fencing_token);
        out.put(key, Value::Lapsed(hold.record()));
    }

    /// Puts a lapsed hold where it belongs: its lock and its timer.
    pub(super) fn insert_lapsed(&mut self, lock: LockIx, fencing_token: u64, hold: LapsedHold) {
        let timer = Timer::Lapsed(lock, fencing_token);
        self.timers.set(hold.until, timer);
        let lock = &mut self.locks[lock];
        let bound = hold.max_shared.unwrap_or(UNBOUNDED);
        lock.shared_bound = lock.shared_bound.min(bound);
        let lapsed = lock.lapsed.get_or_insert_default();
        lapsed.insert(fencing_token, hold);
    }

    /// Lets a lapsed hold count no more. The lock has to be settled afterwards.
    pub(super) fn end_lapsed(&mut self, index: LockIx, fencing_token: u64, out: &mut Out) {
        let lock = &mut self.locks[index];
        let Some(lapsed) = &mut lock.lapsed else {
            return;
        };
        let Some(hold) = lapsed.remove(fencing_token) else {
            return;
        };
        if lapsed.len() == 0 {
            lock.lapsed = None;
        }
        let timer = Timer::Lapsed(index, fencing_token);
        self.timers.unset(hold.until, timer);
        self.unbound(index, hold.max_shared);
        out.delete(self.lapsed_key(index, fencing_token));
        let over = || LockChange::ReleaseDelayEnded(fencing_token);
        self.announce(index, over, out);
    }

    pub(super) fn lapsed_is_due(&mut self, index: LockIx, fencing_token: u64, out: &mut Out) {
        self.end_lapsed(index, fencing_token, out);
        self.settle(index, out);
    }

    /// How long lapsed holds hold a lock back; `None`: there are none.
    pub(super) fn held_back_for(&self, lock: &Lock) -> Option<Duration> {
        let lapsed = lock.lapsed.as_ref()?;
        Some(lapsed.left(self.now))
    }

    fn lapsed_key(&self, lock: LockIx, fencing_token: u64) -> Key {
        let lock = &self.locks[lock];
        let space = self.space_of(lock.space).name.clone();
        Key::Lapsed(space, lock.name.clone(), fencing_token)
    }

    /// Every lapsed hold's record.
    pub(super) fn lapsed_records(&self) -> impl Iterator<Item = (Key, Value)> {
        self.locks.iter().flat_map(move |(index, lock)| {
            let holds = lock.lapsed.iter().flat_map(|lapsed| &lapsed.holds);
            holds.map(move |(token, hold)| {
                let key = self.lapsed_key(index, *token);
                (key, Value::Lapsed(hold.record()))
            })
        })
    }
}

impl LapsedHold {
    fn record(&self) -> LapsedValue {
        LapsedValue {
            shared: self.mode == Mode::Shared,
            max_shared: self.max_shared.unwrap_or(0),
            ends_nanos: self.until.as_nanos(),
        }
    }

    /// As stored: the end was committed, and the core's time never runs ahead of it.
    pub(super) fn read(value: &LapsedValue) -> LapsedHold {
        LapsedHold {
            mode: Mode::of(value.shared),
            max_shared: (value.max_shared > 0).then_some(value.max_shared),
            until: Time::from_nanos(value.ends_nanos),
        }
    }
}
