//! The turn of a ticket.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::convert;
use crate::error::{Error, Result};
use crate::fifo::Ticket;
use crate::limits::{LOOK_MAX, LOOK_MIN};
use crate::proto;
use crate::session::margin;

/// A ticket's turn: its work may be done. It lapses unless it is done, or extended, in time; by the
/// client's own reckoning it does so before the server can let the next one begin.
///
/// Dropping it does nothing: whoever knows the ticket may go on with it.
#[derive(Debug)]
#[must_use = "a turn that is not done holds up the line until it lapses"]
pub struct Turn {
    ticket: Ticket,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// When it counts as lapsed; `None`: it does not lapse.
    good_until: Option<Duration>,
    /// How long it had when that was reckoned.
    span: Duration,
    lapsed: bool,
}

impl Turn {
    /// Reads the turn of a ticket that was accepted.
    pub(crate) async fn new(ticket: Ticket) -> Result<Turn> {
        let sent = ticket.client().shared().now();
        let read = ticket.get().await?;
        if read.state() != proto::TicketState::Accepted {
            return Err(Error::lost("the turn lapsed before it could begin"));
        }
        let turn = Turn {
            ticket,
            times: Mutex::new(Times {
                good_until: None,
                span: Duration::ZERO,
                lapsed: false,
            }),
        };
        turn.heard(sent, read);
        match turn.is_lost() {
            true => Err(Error::lost("the turn lapsed before it could begin")),
            false => Ok(turn),
        }
    }

    /// Reckons anew from an answer to a call that was begun at `sent`.
    fn heard(&self, sent: Duration, read: proto::Ticket) {
        let span = read.lapses_in.map(convert::duration);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.good_until = span.map(|span| (sent + span).saturating_sub(margin(span)));
        times.span = span.unwrap_or_default();
    }

    fn times(&self) -> Times {
        let now = self.ticket.client().shared().now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.lapsed |= times.good_until.is_some_and(|until| now >= until);
        *times
    }

    /// The ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Whether it has lapsed, or by this client's reckoning may have.
    pub fn is_lost(&self) -> bool {
        self.times().lapsed
    }

    /// How long there is for the work, at least; `None`: without end.
    pub fn remaining(&self) -> Option<Duration> {
        let now = self.ticket.client().shared().now();
        let times = self.times();
        match times.lapsed {
            true => Some(Duration::ZERO),
            false => times.good_until.map(|until| until.saturating_sub(now)),
        }
    }

    /// Waits until it is lost.
    pub async fn lost(&self) {
        while !self.is_lost() {
            // A timer does not count the time in which the machine is suspended: so look often.
            let pause = self.remaining().unwrap_or(LOOK_MAX);
            tokio::time::sleep(pause.clamp(LOOK_MIN, LOOK_MAX)).await;
        }
    }

    /// Starts the time for the work anew, with `done` or the ticket's own timeout.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] where it has lapsed, [`Error::NotFound`] where the ticket has ended.
    pub async fn extend(&self, done: Option<Duration>) -> Result<()> {
        if self.is_lost() {
            return Err(Error::lost("the turn has lapsed"));
        }
        let sent = self.ticket.client().shared().now();
        let read = self.ticket.extend(done).await?;
        // Looks once more at the old end: an answer that comes too late revives nothing.
        if self.is_lost() {
            return Err(Error::lost("the turn has lapsed"));
        }
        self.heard(sent, read);
        Ok(())
    }

    /// Says that the work is done: the next one is let in.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] where the turn had lapsed before, so that the work may have met another's.
    pub async fn done(self) -> Result<()> {
        let lost = self.is_lost();
        let done = self.ticket.complete().await;
        if lost {
            return Err(Error::lost("the turn lapsed before it was done"));
        }
        done
    }

    /// Extends the turn in time, again and again, while this is awaited. It ends when the turn is
    /// lost: with how.
    pub async fn keep(&self) -> Error {
        let extending = async {
            loop {
                let times = self.times();
                if times.good_until.is_none() {
                    return std::future::pending().await;
                }
                tokio::time::sleep(times.span / 4).await;
                match self.extend(None).await {
                    Ok(()) => {}
                    Err(error) if error.may_be_retried() => {}
                    Err(error) => return error,
                }
            }
        };
        tokio::select! {
            biased;
            () = self.lost() => Error::lost("the turn lapsed"),
            error = extending => error,
        }
    }

    /// Runs `work`, extending the turn meanwhile.
    pub(crate) async fn run<T>(&self, work: impl AsyncFnOnce(&Turn) -> T) -> Result<T> {
        tokio::select! {
            biased;
            error = self.keep() => Err(error),
            done = work(self) => Ok(done),
        }
    }
}
