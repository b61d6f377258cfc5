//! The clock by which a client reckons whether it still holds something.

use std::fmt;
use std::time::Duration;

/// A clock that never goes back and that counts the time in which the machine is suspended.
///
/// Another one than the system's is for tests, which drive it by hand.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time since a moment that stays the same while the program runs.
    fn now(&self) -> Duration;
}

/// The system's clock: `CLOCK_BOOTTIME` on Linux, which counts suspended time. Elsewhere
/// [`std::time::Instant`], which may not.
#[derive(Debug)]
pub struct SystemClock {
    #[cfg(not(target_os = "linux"))]
    start: std::time::Instant,
}

impl SystemClock {
    /// The clock.
    #[allow(clippy::new_without_default)]
    pub fn new() -> SystemClock {
        SystemClock {
            #[cfg(not(target_os = "linux"))]
            start: std::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The time since the machine was started is never negative.
        Duration::try_from(now).unwrap_or_default()
    }

    #[cfg(not(target_os = "linux"))]
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
