//! Delivers one webhook: attempts with pauses, until it is accepted or refused or its time is up.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{AttemptOutcome, Delivery, Schedule, Sender, Turns};
use crate::core::{Namespace, WallTime};
use crate::shard::wall_time;

/// A webhook and whose it is.
#[derive(Clone, Debug)]
pub struct Job {
    /// In whose turns it is sent.
    pub namespace: Namespace,
    /// What is sent, and where.
    pub delivery: Delivery,
}

/// An attempt that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which one of this run of [`deliver`], from 1.
    pub number: u32,
    /// When it began.
    pub at: WallTime,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: AttemptOutcome,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The receiver took it.
    Accepted,
    /// The receiver wants it no more.
    Refused,
    /// There is no time left for a further attempt. That may be said somewhat before `until`.
    Expired,
}

/// Sends a webhook until the receiver takes or refuses it, or there is no time left before `until`.
/// Each attempt waits for its turn, and is reported once it is over.
///
/// Whoever drops this gives the attempt up that is under way; the receiver may have got it.
pub async fn deliver(
    sender: &Sender,
    turns: &Turns,
    job: &Job,
    until: Instant,
    mut report: impl FnMut(Attempt),
) -> Delivered {
    let mut schedule = Schedule::new(job.delivery.id);
    let mut number = 0;
    loop {
        let Ok(turn) = timeout_at(until, turns.take(&job.namespace)).await else {
            return Delivered::Expired;
        };
        let (began, at) = (Instant::now(), wall_time());
        let left = until.saturating_duration_since(began);
        if left.is_zero() {
            return Delivered::Expired;
        }
        let outcome = sender.attempt(&job.delivery, at.0 / 1000, left).await;
        drop(turn);
        number += 1;
        report(Attempt {
            number,
            at,
            took: began.elapsed(),
            outcome: outcome.clone(),
        });
        let retry_after = match outcome {
            AttemptOutcome::Accepted { .. } => return Delivered::Accepted,
            AttemptOutcome::Refused => return Delivered::Refused,
            AttemptOutcome::Failed { retry_after, .. } => retry_after,
        };
        match schedule.next_pause(Instant::now(), until, retry_after) {
            Some(pause) => sleep(pause).await,
            None => return Delivered::Expired,
        }
    }
}
