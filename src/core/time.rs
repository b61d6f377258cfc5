//! The core's time: a number that moves only while its shard is being served.
//!
//! It is not the wall clock and is never compared with one. The shard advances it from the
//! monotonic clock and resumes it from the last commit, so that a restart, a fail-over or a clock
//! jump can end nothing early.

use std::ops::Add;
use std::time::Duration;

/// A moment in the served time of a shard, in nanoseconds since the shard was first claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment at which the shard was first claimed.
    pub const ZERO: Time = Time(0);

    /// The moment `nanos` nanoseconds after [`Time::ZERO`].
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since [`Time::ZERO`].
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How much later this moment is than `earlier`; zero when it is not later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// The moment `span` later; the end of time when there is none.
    fn add(self, span: Duration) -> Time {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }
}

/// Milliseconds of the wall clock since 1970, for people to read. No rule depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);
