//! When an attempt that failed is repeated.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::core::WebhookId;

/// The shortest pause, which is before the first repetition. Each further pause is twice as long as
/// the one before, plus up to as much again by chance, so that receivers that failed together are
/// not called together.
pub const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause, chance included.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pauses between the attempts of one webhook.
#[derive(Debug)]
pub struct Schedule(ExponentialBackoff);

impl Schedule {
    /// The pauses of a webhook. Its id, which is random, is where chance comes from.
    #[must_use]
    pub fn new(id: WebhookId) -> Schedule {
        let seed = id.0 as u64 ^ (id.0 >> 64) as u64;
        let backoff = ExponentialBuilder::new()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX / 2)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(seed);
        Schedule(backoff.build())
    }

    /// How long to wait after an attempt that failed at `now`, at least for what the receiver asked
    /// for; `None` where that leaves nothing of the time `until` which there is.
    pub fn next_pause(
        &mut self,
        now: Instant,
        until: Instant,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let pause = self.0.next()?.max(retry_after.unwrap_or_default());
        (pause < until.saturating_duration_since(now)).then_some(pause)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// All pauses until the end of `span`, for attempts that fail at once.
    fn pauses(id: u128, span: Duration) -> Vec<Duration> {
        let mut schedule = Schedule::new(WebhookId(id));
        let mut now = Instant::now();
        let until = now + span;
        std::iter::from_fn(|| {
            let pause = schedule.next_pause(now, until, None)?;
            now += pause;
            assert!(now < until);
            Some(pause)
        })
        .collect()
    }

    #[test]
    fn pauses_double_up_to_a_bound_with_a_part_by_chance() {
        for id in 0..50 {
            let mut least = PAUSE_MIN;
            for pause in pauses(id, HOUR) {
                assert!(pause >= least && pause <= least * 2, "{pause:?}");
                least = (least * 2).min(PAUSE_MAX / 2);
            }
        }
    }

    #[test]
    fn a_webhook_always_has_the_same_pauses_and_two_have_others() {
        let first = pauses(1, HOUR);
        assert_eq!(pauses(1, HOUR), first);
        assert_ne!(pauses(2, HOUR), first);
        assert_ne!(pauses(1 << 64, HOUR), pauses(2 << 64, HOUR));
    }

    #[test]
    fn a_minute_has_room_for_several_repetitions() {
        for id in 0..50 {
            let count = pauses(id, Duration::from_secs(60)).len();
            assert!((4..=7).contains(&count), "{count}");
        }
    }

    #[test]
    fn the_receiver_may_ask_for_more_time_but_not_for_less() {
        let now = Instant::now();
        let mut schedule = Schedule::new(WebhookId(1));
        let mut next = |asked, left| {
            let asked = Duration::from_secs(asked);
            schedule.next_pause(now, now + Duration::from_secs(left), Some(asked))
        };
        assert_eq!(next(20, 21), Some(Duration::from_secs(20)));
        assert!(next(0, 60).unwrap() >= PAUSE_MIN * 2);
        assert_eq!(next(60, 60), None);
        assert_eq!(next(u64::MAX, 60), None);
    }

    #[test]
    fn there_is_no_repetition_when_the_time_is_up() {
        let now = Instant::now();
        let mut schedule = Schedule::new(WebhookId(1));
        assert_eq!(schedule.next_pause(now, now, None), None);
        assert_eq!(schedule.next_pause(now + HOUR, now, None), None);
    }
}
