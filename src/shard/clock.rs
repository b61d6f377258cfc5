//! Drives the core's time from the monotonic clock.
//!
//! Time moves only while the shard is being served: a process that was stopped, a machine that was
//! suspended or a commit that hangs moves it by one step at most, so that holders whose renewals
//! could not be read meanwhile don't lose their leases for it.

use std::time::{Duration, Instant};

use crate::core::Time;

/// The most by which time moves between two looks at the clock. The shard's thread looks at least
/// once in half of it.
pub const STEP_MAX: Duration = Duration::from_secs(1);

/// The core's clock.
#[derive(Debug)]
pub struct Clock {
    now: Time,
    seen: Instant,
    /// Where time stops until the commit that is under way has ended.
    stop_at: Option<Time>,
}

impl Clock {
    /// A clock that goes on from `now`.
    pub fn resume(now: Time) -> Clock {
        Clock {
            now,
            seen: Instant::now(),
            stop_at: None,
        }
    }

    /// The time, moved on by what has passed since the last look, at most by [`STEP_MAX`], and
    /// while a commit is under way by no more than that in all.
    pub fn now(&mut self, committing: bool) -> Time {
        self.advance(Instant::now(), committing)
    }

    /// Makes it so that `span` more has passed since the last look.
    #[cfg(test)]
    pub(super) fn sleep(&mut self, span: Duration) {
        self.seen = self.seen.checked_sub(span).unwrap_or(self.seen);
    }

    fn advance(&mut self, instant: Instant, committing: bool) -> Time {
        let passed = instant.saturating_duration_since(self.seen);
        self.seen = instant;
        let next = self.now + passed.min(STEP_MAX);
        self.stop_at = committing.then(|| self.stop_at.unwrap_or(self.now + STEP_MAX));
        self.now = self.stop_at.map_or(next, |stop_at| next.min(stop_at));
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn time_follows_the_monotonic_clock() {
        let mut clock = Clock::resume(Time::from_nanos(7));
        let start = clock.seen;
        let now = clock.advance(start + 900 * MS, false);
        assert_eq!(now.since(Time::from_nanos(7)), 900 * MS);
    }

    #[test]
    fn a_stopped_process_loses_one_step_at_most() {
        let mut clock = Clock::resume(Time::ZERO);
        let start = clock.seen;
        let now = clock.advance(start + 3_600_000 * MS, false);
        assert_eq!(now.since(Time::ZERO), STEP_MAX);
    }

    #[test]
    fn time_never_goes_back() {
        let mut clock = Clock::resume(Time::ZERO);
        let start = clock.seen;
        let later = clock.advance(start + 5 * MS, false);
        assert_eq!(clock.advance(start, false), later);
    }

    #[test]
    fn a_commit_that_hangs_stops_time_after_one_step() {
        let mut clock = Clock::resume(Time::ZERO);
        let start = clock.seen;
        for look in 1..100 {
            clock.advance(start + look * 100 * MS, true);
        }
        assert_eq!(clock.now, Time::ZERO + STEP_MAX);
        let after = clock.advance(start + 10_000 * MS, false);
        assert_eq!(after.since(Time::ZERO), STEP_MAX + 100 * MS);
    }
}
