//! What is told on stderr: how the line moves, and what is lost.

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use holdfast_client::{Error, proto};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::hold::Held;
use crate::cli::awaited::{Awaited, Retrying};
use crate::cli::output::{Output, Progress};
use crate::cli::views;

/// How often a line on a terminal is written anew.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end waits for a reader of the news.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until then; for ever where there is no such moment.
pub async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Tells how things go.
#[derive(Debug)]
pub struct News {
    output: Output,
    progress: Progress,
    /// The last place that was told.
    told: Option<Place>,
    /// Since when there has been something to wait for.
    since: Option<Instant>,
    /// Ends when what is being told has been told.
    telling: RefCell<Option<Receiver<()>>>,
}

impl News {
    /// In the form of `output`; with `quiet`, nothing but errors.
    pub fn new(output: Output, quiet: bool) -> News {
        News {
            output,
            progress: Progress::new(output, quiet),
            told: None,
            since: None,
            telling: RefCell::default(),
        }
    }

    /// Whether nothing but errors is told.
    pub fn is_quiet(&self) -> bool {
        self.progress.is_quiet()
    }

    /// Tells a place in line where it has changed.
    pub fn queued(&mut self, place: &Place) {
        self.since.get_or_insert_with(Instant::now);
        if self.told.as_ref() != Some(place) {
            self.told = Some(place.clone());
            self.progress.show(place);
        }
    }

    /// When the line is to be written anew; `None`: never.
    pub fn next_redraw(&self) -> Option<Instant> {
        let shown = self.told.is_some() && self.progress.is_live();
        shown.then(|| Instant::now() + REDRAW_INTERVAL)
    }

    /// Writes the line anew: time has passed.
    pub fn redraw(&mut self, place: &Place) {
        self.progress.show(place);
    }

    /// Tells that the server does not answer.
    pub fn no_answer(&mut self, place: &Place, error: &Error) {
        self.told = None;
        let message = error.details().message.clone();
        self.progress
            .show(&Retrying::new(place.awaited.clone(), message));
    }

    /// Tells that the waiting is over.
    pub fn got(&mut self, held: &Held) {
        self.progress.finish();
        if self.is_quiet() {
            return;
        }
        let got: Vec<Got> = match held {
            Held::Locks(grants) => {
                let got = |grant| Got::lock(grant, self.since);
                grants.iter().map(got).collect()
            }
            Held::Turn(turn) => vec![Got::turn(turn.fifo(), self.since)],
        };
        for got in got {
            // Who did not wait, or saw the line go, needs no telling.
            if self.output.json || (got.after.is_some() && !self.progress.is_live()) {
                self.output.note(&got);
            }
        }
    }

    /// Tells that something was lost; aside, since what is to be done about it must not wait for a
    /// reader of the news.
    pub fn lost(&self, loss: &Loss) {
        let (told, telling) = channel();
        let (output, loss) = (self.output, loss.clone());
        std::thread::spawn(move || {
            output.note(&loss);
            drop(told);
        });
        self.telling.replace(Some(telling));
    }

    /// Tells that something could not be given back.
    pub fn not_given_back(&self, error: &Error) {
        self.output.note(&NotGivenBack {
            event: "not_released",
            message: error.details().message.clone(),
        });
    }
}

impl Drop for News {
    fn drop(&mut self) {
        if let Some(telling) = self.telling.take() {
            // It ends with the sender, whatever became of that.
            let _ = telling.recv_timeout(TELL_TIMEOUT);
        }
    }
}

/// A place in line, and who holds what is waited for, where that is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    event: &'static str,
    #[serde(flatten)]
    awaited: Awaited,
    /// The place, 1 for the next; 0: not known yet.
    pub position: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holders: Vec<Holder>,
    holder_count: u32,
    /// Nobody holds the lock, but its last holder may not have ended yet.
    held_back: bool,
}

/// Who holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Holder {
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquire_time: Option<String>,
    #[serde(skip)]
    since: Option<SystemTime>,
}

impl Holder {
    fn new(owner: String, since: Option<prost_types::Timestamp>) -> Holder {
        Holder {
            owner,
            fencing_token: None,
            acquire_time: since.as_ref().map(ToString::to_string),
            since: since.and_then(|since| since.try_into().ok()),
        }
    }
}

impl Place {
    /// A place in the line of this.
    pub fn new(awaited: Awaited) -> Place {
        Place {
            event: "queued",
            awaited,
            position: 0,
            holders: Vec::new(),
            holder_count: 0,
            held_back: false,
        }
    }

    /// Takes in who holds the lock.
    pub fn is_held_by(&mut self, found: proto::Lock) {
        self.held_back = found.state() == proto::LockState::HeldBack;
        self.holder_count = found.holder_count;
        let holder = |holder: proto::Holder| Holder {
            fencing_token: Some(holder.fencing_token.to_string()),
            ..Holder::new(holder.owner, holder.acquire_time)
        };
        self.holders = found.holders.into_iter().map(holder).collect();
    }

    /// Takes in whose turn it is.
    pub fn is_served_to(&mut self, found: proto::Fifo) {
        self.holder_count = found.serving_count;
        let served = found.tickets.into_iter().filter(|ticket| {
            let state = ticket.state();
            matches!(
                state,
                proto::TicketState::Accepted | proto::TicketState::Notified
            )
        });
        let holder = |ticket: proto::Ticket| Holder::new(ticket.owner, ticket.state_time);
        self.holders = served.map(holder).collect();
    }

    /// Who holds, and for how long, behind something else.
    fn holders_text(&self) -> String {
        let Some(holder) = self.holders.first() else {
            return match self.held_back {
                true => ", held back until its last holder must have ended".to_owned(),
                false => String::new(),
            };
        };
        let mut text = format!(", held by {}", views::name(&holder.owner));
        if let Some(since) = holder.since {
            // Clocks differ: a holder from the future has only begun.
            let span = SystemTime::now().duration_since(since).unwrap_or_default();
            text.push_str(&format!(" for {}", Span(span)));
        }
        if self.holder_count > 1 {
            text.push_str(&format!(" and {} more", self.holder_count - 1));
        }
        text
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {}", self.awaited.name())?;
        if self.position > 0 {
            write!(f, ": number {} in line", self.position)?;
        }
        f.write_str(&self.holders_text())
    }
}

/// What is held now.
#[derive(Serialize)]
struct Got {
    event: &'static str,
    #[serde(flatten)]
    awaited: Awaited,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<String>,
    #[serde(skip)]
    after: Option<Duration>,
}

impl Got {
    fn lock(grant: &holdfast_client::Grant, since: Option<Instant>) -> Got {
        Got {
            event: "acquired",
            awaited: Awaited::Lock(grant.lock().to_owned()),
            fencing_token: Some(grant.fencing_token().to_string()),
            after: since.map(|since| since.elapsed()),
        }
    }

    fn turn(fifo: &str, since: Option<Instant>) -> Got {
        Got {
            event: "acquired",
            awaited: Awaited::Fifo(fifo.to_owned()),
            fencing_token: None,
            after: since.map(|since| since.elapsed()),
        }
    }
}

impl Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = Span(self.after.unwrap_or_default());
        match &self.awaited {
            Awaited::Lock(lock) => write!(f, "got {lock} after {after}"),
            Awaited::Fifo(fifo) => write!(f, "it is the turn in {fifo} after {after}"),
        }
    }
}

/// What was lost.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    event: &'static str,
    #[serde(flatten)]
    lost: Awaited,
    cause: String,
}

impl Loss {
    /// A lock was lost.
    pub fn of_lock(name: &str, cause: &str) -> Loss {
        Loss {
            event: "lost",
            lost: Awaited::Lock(name.to_owned()),
            cause: cause.to_lowercase(),
        }
    }

    /// A turn was lost.
    pub fn of_turn(fifo: &str, cause: &str) -> Loss {
        Loss {
            event: "lost",
            lost: Awaited::Fifo(fifo.to_owned()),
            cause: cause.to_lowercase(),
        }
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = &self.cause;
        match &self.lost {
            Awaited::Lock(lock) => write!(f, "error: the lock {lock} was lost ({cause})"),
            Awaited::Fifo(fifo) => write!(f, "error: the turn in {fifo} was lost ({cause})"),
        }
    }
}

/// What could not be given back.
#[derive(Serialize)]
struct NotGivenBack {
    event: &'static str,
    message: String,
}

impl Display for NotGivenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "warning: it could not be given back and ends by itself: {}",
            self.message
        )
    }
}

/// A span of time for people, in its two largest units.
struct Span(Duration);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, _) => write!(f, "{minutes}m{}s", seconds % 60),
            (0, _, _) => write!(f, "{hours}h{}m", minutes % 60),
            _ => write!(f, "{days}d{}h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (192, "3m12s"),
            (3600, "1h0m"),
            (90_061, "1d1h"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
