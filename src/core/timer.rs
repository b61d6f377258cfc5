//! Deadlines, in one ordered set.

use std::collections::BTreeSet;
use std::time::Duration;

use super::limits::{LONG_TTL, LONG_TTL_SLACK};
use super::state::{
    ConsumerIx, FifoIx, GrantIx, ItemIx, LeaseIx, LockIx, TicketIx, ValueIx, WaiterIx, WebhookIx,
};
use super::time::Time;

/// All that can come due. Being told too early or twice is harmless: whoever handles it looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A lock that was loaded with a line may have room for the first in it.
    Serve(LockIx),
    /// A shared lease may have ended.
    Lease(LeaseIx),
    /// A grant's own lease may have ended.
    Grant(GrantIx),
    /// The release delay of a grant that lost this lock has passed.
    Lapsed(LockIx),
    /// A wait times out.
    Wait(WaiterIx),
    /// A reserved lock may have been unused for too long.
    Reserved(LockIx),
    /// The positions of a line have changed and may be told.
    Positions(LockIx),
    /// The oldest remembered request is forgotten.
    Requests,
    /// A value's TTL has passed.
    Value(ValueIx),
    /// An item's TTL has passed, or it was not acknowledged in time.
    Item(ItemIx),
    /// A wait for an item times out.
    Consumer(ConsumerIx),
    /// A FIFO that was loaded has turns to give.
    ServeFifo(FifoIx),
    /// A ticket lapses, or one that has lapsed is forgotten.
    Ticket(TicketIx),
    /// A call has waited enough for this ticket's turn.
    Turn(TicketIx),
    /// A FIFO may have been unused for too long.
    Fifo(FifoIx),
    /// The positions of a FIFO's tickets have changed and may be told.
    FifoPositions(FifoIx),
    /// A webhook was not taken in time, or is to be forgotten.
    Webhook(WebhookIx),
}

// Every lease has one: what is wider than an index belongs into the table that has the entry.
const _: () = assert!(size_of::<Timer>() <= 8);

/// The set of deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn unset(&mut self, at: Time, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out the earliest deadline that is not after `now`.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (at, _) = self.0.first()?;
        if *at > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}

/// The liveness deadline of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    pub(super) ttl: Duration,
    /// When it ends unless renewed.
    pub(super) ends: Time,
    /// Where its timer stands. A renewal leaves it: when it comes due it is set anew.
    pub(super) timer: Time,
    /// The end that was committed last.
    pub(super) committed: Time,
}

impl Expiry {
    pub(super) fn new(now: Time, ttl: Duration) -> Expiry {
        let ends = now + ttl;
        Expiry {
            ttl,
            ends,
            timer: ends,
            committed: ends,
        }
    }

    /// As loaded: a short lease starts its TTL anew, and a long one, whose renewals are committed
    /// but for a slack, gets the slack. So neither ends early; nor does a short one that was long
    /// when its end was committed.
    pub(super) fn loaded(now: Time, ttl: Duration, committed: Time) -> Expiry {
        let ends = if ttl < LONG_TTL {
            committed.max(now + ttl)
        } else {
            committed + LONG_TTL_SLACK
        };
        Expiry {
            ttl,
            ends,
            timer: ends,
            committed,
        }
    }

    /// Starts the TTL anew; says whether that has to be committed.
    pub(super) fn renew(&mut self, now: Time) -> bool {
        self.ends = self.ends.max(now + self.ttl);
        if self.ttl < LONG_TTL || self.ends.since(self.committed) <= LONG_TTL_SLACK {
            return false;
        }
        self.committed = self.ends;
        true
    }

    pub(super) fn left(&self, now: Time) -> Duration {
        self.ends.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_renewal_never_brings_the_end_nearer() {
        let mut expiry = Expiry::new(Time::ZERO, 10 * SEC);
        expiry.renew(Time::ZERO + 5 * SEC);
        assert_eq!(expiry.ends, Time::ZERO + 15 * SEC);
        expiry.ttl = SEC;
        expiry.renew(Time::ZERO + 6 * SEC);
        assert_eq!(expiry.ends, Time::ZERO + 15 * SEC);
    }

    #[test]
    fn short_leases_need_no_commit_and_start_anew_when_loaded() {
        let mut expiry = Expiry::new(Time::ZERO, 10 * SEC);
        assert!(!expiry.renew(Time::ZERO + 9 * SEC));
        let loaded = Expiry::loaded(Time::ZERO + 2 * SEC, expiry.ttl, expiry.committed);
        assert_eq!(loaded.ends, Time::ZERO + 12 * SEC);
    }

    #[test]
    fn a_long_lease_never_ends_early_over_a_crash() {
        let mut expiry = Expiry::new(Time::ZERO, 600 * SEC);
        for second in 1..400 {
            let now = Time::ZERO + second * SEC;
            expiry.renew(now);
            let loaded = Expiry::loaded(now, expiry.ttl, expiry.committed);
            assert!(loaded.ends >= expiry.ends);
            assert!(loaded.ends <= expiry.ends + LONG_TTL_SLACK);
        }
    }
}
