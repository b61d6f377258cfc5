//! The two ends of a call: the shard's, which tells, and the caller's, which waits or walks away.
//!
//! A caller that walks away must leave no trace: dropping its end takes it out of the line, and a
//! grant that was told at the same moment is given back. One mutex decides which came first, so
//! there is no gap between the two.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::news::{Reached, give_back, replace_waker};
use super::{Failure, Shard, lock};
use crate::core::{Answer, CallId, Command, Namespace, Standing};

/// The outcome of a call.
pub type Outcome = Result<Answer, Failure>;

/// What a waiting caller is told next.
#[derive(Debug)]
pub enum Progress {
    /// It stands in line there.
    Queued(Standing),
    /// It has its answer; there is no more.
    Done(Outcome),
}

/// The newest news of one call. A slow reader gets the newest position, not all of them.
pub(super) struct Slot {
    namespace: Namespace,
    state: Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    standing: Option<Standing>,
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    gone: bool,
}

impl Slot {
    pub(super) fn new(namespace: &Namespace) -> Slot {
        Slot {
            namespace: namespace.clone(),
            state: Mutex::default(),
        }
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Tells a position; returns who has to be woken.
    pub(super) fn queued(&self, standing: Standing) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.standing = Some(standing);
        state.waker.take()
    }

    /// Tells the outcome.
    pub(super) fn done(&self, outcome: Outcome) -> Reached<Outcome> {
        let mut state = lock(&self.state);
        if state.gone {
            return Reached::Nobody(outcome);
        }
        state.outcome = Some(outcome);
        Reached::Reader(state.waker.take())
    }
}

/// The caller's end of a call. Dropping it before its outcome was taken cancels the call.
#[must_use = "dropping a call cancels it"]
pub struct Call {
    shard: Shard,
    id: CallId,
    slot: Arc<Slot>,
    taken: bool,
}

impl Call {
    pub(super) fn new(shard: Shard, id: CallId, slot: Arc<Slot>) -> Call {
        Call {
            shard,
            id,
            slot,
            taken: false,
        }
    }

    /// Waits for the next news: positions, and at last the outcome. Cancel-safe.
    ///
    /// Must not be called again after [`Progress::Done`].
    pub async fn progress(&mut self) -> Progress {
        poll_fn(|cx| self.poll_progress(cx)).await
    }

    /// As [`Call::progress`], for streams.
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let mut state = lock(&self.slot.state);
        if let Some(outcome) = state.outcome.take() {
            self.taken = true;
            return Poll::Ready(Progress::Done(outcome));
        }
        if let Some(standing) = state.standing.take() {
            return Poll::Ready(Progress::Queued(standing));
        }
        let replaced = replace_waker(&mut state.waker, cx);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Whether the outcome is there and was not taken.
    #[cfg(test)]
    pub(super) fn is_told(&self) -> bool {
        lock(&self.slot.state).outcome.is_some()
    }

    /// Waits for the outcome, passing over positions.
    pub async fn outcome(mut self) -> Outcome {
        loop {
            if let Progress::Done(outcome) = self.progress().await {
                return outcome;
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let (outcome, waker) = {
            let mut state = lock(&self.slot.state);
            state.gone = true;
            (state.outcome.take(), state.waker.take())
        };
        drop(waker);
        let command = match outcome {
            None => Some(Command::Cancel { call: self.id }),
            Some(outcome) => give_back(&outcome),
        };
        if let Some(command) = command {
            self.shard.tell(&self.slot.namespace, command);
        }
    }
}
