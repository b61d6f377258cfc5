//! The rules of standing in line: who stands where, who leaves, and who is told.

use std::time::Duration;

use super::command::*;
use super::limits::*;
use super::lock::describe;
use super::record::{HoldValue, Key, Value, nanos};
use super::state::*;
use super::time::Time;
use super::timer::Timer;

/// How often the positions of one line are told: not at every change, and the less often the longer
/// the line is.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When positions were told last.
    told_at: Time,
    /// Where the timer to tell them stands.
    timer: Option<Time>,
}

impl Pace {
    /// Positions in a line of `len` have changed: says for when to set the timer, where none is set.
    pub(super) fn moved(&mut self, now: Time, len: usize) -> Option<Time> {
        if self.timer.is_some() {
            return None;
        }
        let intervals = len.div_ceil(POSITIONS_PER_INTERVAL) as u32;
        let at = now.max(self.told_at + POSITION_INTERVAL * intervals);
        self.timer = Some(at);
        Some(at)
    }

    /// The timer is due: positions are told now.
    pub(super) fn tell(&mut self, now: Time) {
        self.timer = None;
        self.told_at = now;
    }

    /// Where the timer stands, if it is set.
    pub(super) fn timer(&self) -> Option<Time> {
        self.timer
    }
}

impl State {
    /// Puts a newcomer at the end of the line, or refuses it.
    pub(super) fn stand_in_line(
        &mut self,
        call: CallId,
        lock_index: LockIx,
        ask: Ask,
        wait: Duration,
        out: &mut Out,
    ) {
        match self.take_place(lock_index, ask, &[call], wait, out) {
            Ok((_, position)) => {
                let name = self.locks[lock_index].name.clone();
                out.effects.push(Effect::Queued(call, name, position));
            }
            Err(refusal) => out.refuse(call, refusal),
        }
    }

    /// Takes a place at the end of a line, for these calls. Gives its position, counted from 1.
    pub(super) fn take_place(
        &mut self,
        lock_index: LockIx,
        ask: Ask,
        calls: &[CallId],
        wait: Duration,
        out: &mut Out,
    ) -> Result<(WaiterIx, u32), Refusal> {
        if wait.is_zero() {
            return Err(Refusal::LockHeld(Box::new(self.view_lock(lock_index))));
        }
        let places = self.locks[lock_index]
            .line
            .as_ref()
            .map_or(0, |line| line.places.len());
        if places >= WAITERS_PER_LOCK_MAX {
            return Err(Refusal::LimitReached {
                what: "waiters of one lock",
                max: WAITERS_PER_LOCK_MAX,
            });
        }
        self.last_arrival += 1;
        let position = places as u32 + 1;
        let index = self.insert_waiter(Waiter {
            lock: lock_index,
            arrival: self.last_arrival,
            calls: calls.into(),
            ask,
            deadline: self.now + wait,
            since: self.wall,
            told: position,
        });
        let roles = calls.iter().map(|call| (*call, CallRole::Waiter(index)));
        self.calls.extend(roles);
        self.put_waiter(index, out);
        Ok((index, position))
    }

    /// Puts a waiter where it belongs: its line, its lease, its timer and the memory of requests.
    pub(super) fn insert_waiter(&mut self, waiter: Waiter) -> WaiterIx {
        let (lock, arrival, deadline) = (waiter.lock, waiter.arrival, waiter.deadline);
        let ask = waiter.ask.clone();
        let index = self.waiters.insert(waiter);
        let space = self.locks[lock].space;
        let line = self.locks[lock].line.get_or_insert_default();
        line.places.insert(arrival, index);
        if let Keeper::Lease(lease) = ask.keeper {
            self.leases[lease].waiters.insert(arrival, index);
        }
        self.timers.set(deadline, Timer::Wait(index));
        self.remember_waiting(space, &ask, index);
        index
    }

    /// Answers the retry of an acquire that stands in line: it stands where it stood, for as long as
    /// the newest call is ready to wait.
    pub(super) fn stand_again(
        &mut self,
        call: CallId,
        index: WaiterIx,
        acquire: &Acquire,
        out: &mut Out,
    ) {
        let lock = self.waiters[index].lock;
        if acquire.wait.is_zero() {
            let view = Box::new(self.view_lock(lock));
            return out.refuse(call, Refusal::LockHeld(view));
        }
        let deadline = self.now + acquire.wait;
        let waiter = &mut self.waiters[index];
        if waiter.calls.len() >= CALLS_PER_WAITER_MAX {
            let refusal = Refusal::LimitReached {
                what: "calls that wait with one request id",
                max: CALLS_PER_WAITER_MAX,
            };
            return out.refuse(call, refusal);
        }
        let before = std::mem::replace(&mut waiter.deadline, deadline);
        waiter.calls.push(call);
        waiter.ask.session = acquire.session.or(waiter.ask.session);
        let arrival = waiter.arrival;
        self.timers.unset(before, Timer::Wait(index));
        self.timers.set(deadline, Timer::Wait(index));
        self.calls.insert(call, CallRole::Waiter(index));
        self.put_waiter(index, out);
        let lock = &self.locks[lock];
        let position = lock
            .line
            .as_ref()
            .map_or(0, |line| line.places.range(..=arrival).count());
        let queued = Effect::Queued(call, lock.name.clone(), position as u32);
        out.effects.push(queued);
    }

    /// Takes a waiter out of its line, its lease and the tables, and tells nobody.
    pub(super) fn leave_line(&mut self, index: WaiterIx, out: &mut Out) -> Waiter {
        let waiter = self.waiters.remove(index);
        if waiter.is_durable() {
            out.delete(self.waiter_key(&waiter));
        }
        self.timers.unset(waiter.deadline, Timer::Wait(index));
        for call in &waiter.calls {
            self.calls.remove(call);
        }
        if let Keeper::Lease(lease) = waiter.ask.keeper {
            self.leases[lease].waiters.remove(&waiter.arrival);
        }
        let lock = &mut self.locks[waiter.lock];
        let space = lock.space;
        if let Some(line) = &mut lock.line {
            line.places.remove(&waiter.arrival);
            if line.places.is_empty() {
                if let Some(at) = line.pace.timer() {
                    self.timers.unset(at, Timer::Positions(waiter.lock));
                }
                lock.line = None;
            } else if let Some(at) = line.pace.moved(self.now, line.places.len()) {
                self.timers.set(at, Timer::Positions(waiter.lock));
            }
        }
        self.forget_waiting(space, &waiter.ask);
        waiter
    }

    /// Takes a waiter out of its line for good and tells its callers why.
    pub(super) fn turn_away(
        &mut self,
        index: WaiterIx,
        why: impl Fn(&State, LockIx) -> Refusal,
        out: &mut Out,
    ) -> LockIx {
        let waiter = self.leave_line(index, out);
        for call in &waiter.calls {
            out.refuse(*call, why(self, waiter.lock));
        }
        if let Some(webhook) = waiter.ask.webhook {
            self.webhook_is_over(webhook, WebhookState::WaitEnded, out);
        }
        waiter.lock
    }

    pub(super) fn withdraw(&mut self, call: CallId, out: &mut Out) {
        match self.calls.get(&call) {
            Some(CallRole::Waiter(waiter)) => {
                let lock = self.turn_away(*waiter, |_, _| Refusal::Cancelled, out);
                self.settle(lock, out);
            }
            Some(CallRole::Consumer(consumer)) => self.withdraw_consumer(*consumer, out),
            _ => {}
        }
    }

    /// A caller of a waiter is gone; with the last one goes a place that is not durable.
    pub(super) fn waiter_call_is_gone(&mut self, index: WaiterIx, call: CallId, out: &mut Out) {
        let waiter = &mut self.waiters[index];
        waiter.calls.retain(|other| *other != call);
        if waiter.calls.is_empty() && !waiter.is_durable() {
            let lock = self.leave_line(index, out).lock;
            self.settle(lock, out);
        }
    }

    pub(super) fn wait_is_due(&mut self, index: WaiterIx, out: &mut Out) {
        let lock = self.turn_away(
            index,
            |state, lock| Refusal::WaitTimedOut(Box::new(state.view_lock(lock))),
            out,
        );
        self.settle(lock, out);
    }

    pub(super) fn positions_are_due(&mut self, index: LockIx, out: &mut Out) {
        let now = self.now;
        let lock = &mut self.locks[index];
        let Some(line) = &mut lock.line else {
            return;
        };
        line.pace.tell(now);
        for (place, waiter) in line.places.values().enumerate() {
            let waiter = &mut self.waiters[*waiter];
            let position = place as u32 + 1;
            if waiter.told != position {
                waiter.told = position;
                for call in &waiter.calls {
                    let queued = Effect::Queued(*call, lock.name.clone(), position);
                    out.effects.push(queued);
                }
            }
        }
    }

    fn waiter_key(&self, waiter: &Waiter) -> Key {
        let lock = &self.locks[waiter.lock];
        Key::Waiter(
            self.space_of(lock.space).name.clone(),
            lock.name.clone(),
            waiter.arrival,
        )
    }

    fn put_waiter(&self, index: WaiterIx, out: &mut Out) {
        let waiter = &self.waiters[index];
        if waiter.is_durable() {
            out.put(
                self.waiter_key(waiter),
                Value::Waiter(self.waiter_value(waiter)),
            );
        }
    }

    pub(super) fn waiter_value(&self, waiter: &Waiter) -> HoldValue {
        let ask = &waiter.ask;
        let mut value = HoldValue {
            shared: ask.mode == Mode::Shared,
            max_shared: ask.max_shared.unwrap_or(0),
            open: ask.open,
            release_delay_millis: ask.release_delay.millis(),
            ends_nanos: waiter.deadline.as_nanos(),
            acquired_at_ms: waiter.since.0,
            ..HoldValue::default()
        };
        match ask.keeper {
            Keeper::Nothing => {}
            Keeper::Ttl(ttl) => value.ttl_nanos = nanos(ttl),
            Keeper::Lease(lease) => value.lease = self.leases[lease].id.0.to_be_bytes().to_vec(),
        }
        describe(&mut value, ask.about.as_deref(), ask.request.as_ref());
        value
    }

    /// The waiters whose place is durable, with their keys.
    pub(super) fn durable_waiters(&self) -> impl Iterator<Item = (Key, HoldValue)> {
        self.waiters
            .iter()
            .filter(|(_, waiter)| waiter.is_durable())
            .map(|(_, waiter)| (self.waiter_key(waiter), self.waiter_value(waiter)))
    }
}
