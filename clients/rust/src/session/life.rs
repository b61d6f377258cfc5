//! How long something lives by the client's own reckoning, which never outlasts the server's.
//!
//! The server counts a TTL from when it handles a renewal, the client from when it *sent* the last
//! one that was acknowledged, which is earlier, less a margin. So what is alive here is alive there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::{MARGIN_MAX, MARGIN_MIN, SESSION_RENEWAL_MAX};

/// What keeps a life going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// The session's lease.
    Session,
    /// A shared lease with this id.
    Lease(String),
    /// A grant's own lease.
    Grant { lock: String, grant_token: String },
}

/// Something that ends unless it is renewed.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) keeps: Keeps,
    pub(crate) ttl: Duration,
    times: Mutex<Times>,
    /// What `times` says of its end, in nanoseconds, for those who only want to know that it lives: 0
    /// once it has ended, and never later than there.
    lives_until: AtomicU64,
}

#[derive(Debug)]
struct Times {
    /// When it counts as ended.
    good_until: Duration,
    /// Ended: for good, whatever is heard later.
    ended: bool,
    /// When it is to be renewed.
    renew_at: Duration,
    /// When the renewal that has no answer was sent.
    asked_at: Option<Duration>,
}

/// What is to be done about a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before this moment.
    At(Duration),
    /// It is to be renewed.
    Renewal,
    /// A renewal has been without an answer for too long: the connection is no good.
    Answer,
    /// It has ended.
    End,
}

/// A moment of the client's clock as a number; one in 584 years counts as that.
fn nanos(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}

/// By how much a life is reckoned shorter than the server's.
pub(crate) fn margin(ttl: Duration) -> Duration {
    (ttl / 10).clamp(MARGIN_MIN, MARGIN_MAX).min(ttl / 2)
}

impl Keeps {
    /// How long to wait with a renewal of what lasts so long.
    fn renewal_after(&self, lasts: Duration) -> Duration {
        match self {
            Keeps::Session => (lasts / 4).min(SESSION_RENEWAL_MAX),
            Keeps::Lease(_) | Keeps::Grant { .. } => lasts / 4,
        }
    }
}

impl Life {
    /// One whose last acknowledged renewal was sent at `sent`, when it had `left` to live.
    pub(crate) fn new(keeps: Keeps, ttl: Duration, sent: Duration, left: Duration) -> Life {
        let renew_at = sent + keeps.renewal_after(left.min(ttl));
        let good_until = (sent + left).saturating_sub(margin(ttl));
        Life {
            keeps,
            ttl,
            times: Mutex::new(Times {
                good_until,
                ended: false,
                renew_at,
                asked_at: None,
            }),
            lives_until: AtomicU64::new(nanos(good_until)),
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has ended by now; once it has, it stays so.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        if nanos(now) < self.lives_until.load(Ordering::Acquire) {
            return false;
        }
        let mut times = self.times();
        self.look(&mut times, now);
        times.ended
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        let mut times = self.times();
        times.ended = true;
        self.lives_until.store(0, Ordering::Release);
    }

    /// Notes whether it has ended by now.
    fn look(&self, times: &mut Times, now: Duration) {
        if now >= times.good_until {
            times.ended = true;
            self.lives_until.store(0, Ordering::Release);
        }
    }

    /// How long it has left by now.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        let times = self.times();
        match times.ended {
            true => Duration::ZERO,
            false => times.good_until.saturating_sub(now),
        }
    }

    /// Notes that a renewal is being sent.
    pub(crate) fn asked(&self, now: Duration) {
        self.times().asked_at = Some(now);
    }

    /// Notes that a renewal sent at `sent` was acknowledged with `left` to live. Whether it is
    /// alive: an answer that comes too late revives nothing.
    pub(crate) fn renewed(&self, now: Duration, sent: Duration, left: Duration) -> bool {
        let mut times = self.times();
        times.asked_at = None;
        self.look(&mut times, now);
        if times.ended {
            return false;
        }
        let until = (sent + left).saturating_sub(margin(self.ttl));
        times.good_until = times.good_until.max(until);
        self.lives_until
            .store(nanos(times.good_until), Ordering::Release);
        times.renew_at = sent + self.keeps.renewal_after(self.ttl);
        true
    }

    /// Notes that a renewal failed in a way that may pass, or that its connection broke: it is to be
    /// renewed again after `pause`.
    pub(crate) fn not_renewed(&self, now: Duration, pause: Duration) {
        let mut times = self.times();
        times.asked_at = None;
        times.renew_at = now + pause;
    }

    /// What is to be done by now.
    pub(crate) fn due(&self, now: Duration) -> Due {
        if self.is_over(now) {
            return Due::End;
        }
        let times = self.times();
        let next = match times.asked_at {
            Some(asked) if now >= asked + self.ttl / 3 => return Due::Answer,
            Some(asked) => asked + self.ttl / 3,
            None if now >= times.renew_at => return Due::Renewal,
            None => times.renew_at,
        };
        Due::At(next.min(times.good_until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);
    const TTL: Duration = Duration::from_secs(10);

    fn life() -> Life {
        Life::new(Keeps::Session, TTL, 100 * SEC, TTL)
    }

    #[test]
    fn a_life_ends_before_the_server_can_end_it() {
        let life = life();
        assert!(!life.is_over(109 * SEC - Duration::from_nanos(1)));
        assert!(life.is_over(109 * SEC));
        assert_eq!(life.left(105 * SEC), Duration::ZERO);
    }

    #[test]
    fn the_margin_is_a_tenth_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(margin(ms(100)), ms(50));
        assert_eq!(margin(ms(300)), ms(100));
        assert_eq!(margin(ms(5000)), ms(500));
        assert_eq!(margin(3600 * SEC), 5 * SEC);
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent() {
        let life = life();
        assert_eq!(life.due(102 * SEC), Due::At(100 * SEC + TTL / 4));
        assert_eq!(life.due(103 * SEC), Due::Renewal);
        life.asked(103 * SEC);
        assert!(life.renewed(106 * SEC, 103 * SEC, TTL));
        assert_eq!(life.left(106 * SEC), 6 * SEC);
        assert!(life.is_over(112 * SEC));
    }

    #[test]
    fn what_is_lost_stays_lost() {
        let life = life();
        life.asked(103 * SEC);
        assert!(!life.renewed(109 * SEC, 103 * SEC, TTL));
        assert!(life.is_over(100 * SEC));
        assert_eq!(life.due(100 * SEC), Due::End);
    }

    #[test]
    fn a_renewal_without_an_answer_is_noticed_while_there_is_time_left() {
        let life = life();
        life.asked(103 * SEC);
        assert_eq!(life.due(106 * SEC), Due::At(103 * SEC + TTL / 3));
        assert_eq!(life.due(107 * SEC), Due::Answer);
        life.not_renewed(107 * SEC, SEC);
        assert_eq!(life.due(107 * SEC), Due::At(108 * SEC));
        assert_eq!(life.due(108 * SEC), Due::Renewal);
    }

    #[test]
    fn an_answer_about_less_never_takes_away() {
        let life = life();
        assert!(life.renewed(102 * SEC, 101 * SEC, SEC));
        assert_eq!(life.left(102 * SEC), 7 * SEC);
    }
}
