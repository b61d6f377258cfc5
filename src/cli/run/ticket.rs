//! Standing in a FIFO: a ticket, and its turn.

use std::time::Duration;

use holdfast_client::proto::TicketState;
use holdfast_client::{Client, Error, FifoOptions, Ticket, TicketOptions};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::news::{Loss, News, Place, at};
use super::plan::Plan;
use super::standing::Standing;
use crate::api::Reason;
use crate::cli::awaited::Awaited;
use crate::cli::error::CliError;
use crate::cli::input::Wait;

/// How long taking a ticket back may take.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest pause between two looks at how long a turn lasts: a timer doesn't count the time in
/// which the machine is suspended.
const LOOK_MAX: Duration = Duration::from_millis(250);
const LOOK_MIN: Duration = Duration::from_millis(5);

/// A turn, and when to count it as lost.
#[derive(Debug)]
pub struct Turn {
    turn: holdfast_client::Turn,
    fifo: String,
    /// It is lost when it has no more time left than this: what the command takes to end. A FIFO
    /// holds no turn back.
    reserve: Duration,
}

/// Takes a ticket of the FIFO, which is made where it is not there.
pub async fn draw(client: &Client, plan: &Plan, id: &str) -> Result<Ticket, CliError> {
    let fifo = client.fifo(id);
    let draw = async {
        fifo.create(FifoOptions::default().allow_overrides())
            .await?;
        let mut options = TicketOptions::default().owner(plan.owner.clone());
        for (key, value) in &plan.metadata {
            options = options.metadata(key, value);
        }
        // Else the FIFO's own timeout counts: how long its line stands after a crash.
        if fifo.get().await?.allow_overrides {
            options = options.done_timeout(plan.ttl + plan.release_delay());
        }
        fifo.ticket_with(options).await
    };
    draw.await.map_err(CliError::from_client)
}

/// Gives the ticket up. Where that fails it lapses when its turn comes.
pub async fn take_back(ticket: &Ticket) {
    let _ = timeout(GIVE_UP_TIMEOUT, ticket.cancel()).await;
}

/// Waits for the ticket's turn, telling how that goes.
pub async fn wait(
    client: &Client,
    plan: &Plan,
    ticket: &Ticket,
    news: &mut News,
) -> Result<Turn, CliError> {
    let until = match plan.wait {
        Wait::For(wait) if wait.is_zero() => {
            let read = ticket.get().await.map_err(CliError::from_client)?;
            if read.state() == TicketState::Waiting {
                return Err(not_had(&read.fifo));
            }
            Wait::For(plan.timeout).until()
        }
        wait => wait.until(),
    };
    let turn = stand(client, ticket, until, news).await?;
    let reserve = plan.release_delay();
    // A FIFO with timeouts that are too short for that is served as well as it can be.
    let reserve = turn
        .remaining()
        .map_or(reserve, |left| reserve.min(left / 2));
    Ok(Turn {
        fifo: ticket.fifo().to_owned(),
        turn,
        reserve,
    })
}

/// Stands in the FIFO until then, telling how that goes.
async fn stand(
    client: &Client,
    ticket: &Ticket,
    until: Option<Instant>,
    news: &mut News,
) -> Result<holdfast_client::Turn, CliError> {
    let fifo = client.fifo(ticket.fifo());
    let (told, positions) = watch::channel(0);
    let turn = async {
        loop {
            let tell = |position| {
                told.send_replace(position);
            };
            let turn = ticket.wait_watching(tell).await;
            // The FIFO bounds how long one wait lasts; the ticket stays in line.
            if !matches!(turn, Err(Error::WaitTimedOut(_))) {
                return turn.map_err(CliError::from_client);
            }
        }
    };
    let waiting = async {
        tokio::select! {
            biased;
            turn = turn => turn,
            () = at(until) => Err(not_had(ticket.fifo())),
        }
    };
    let standing = Standing {
        place: Place::new(Awaited::Fifo(ticket.fifo().to_owned())),
        news,
        next_look: None,
        heard: true,
    };
    let look = async || fifo.get().await;
    standing
        .until(waiting, positions, look, |standing, found| {
            if let Ok(found) = found {
                standing.place.is_served_to(found);
                standing.news.queued(&standing.place);
            }
            Ok(None)
        })
        .await
}

fn not_had(fifo: &str) -> CliError {
    let message = format!("the ticket's turn in the FIFO {fifo} did not come in time");
    CliError::new(Reason::TurnTimedOut, message)
}

impl Turn {
    /// What the command is told of it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HOLDFAST_FIFO", self.fifo.clone()),
            ("HOLDFAST_TICKET", self.turn.ticket().id().to_owned()),
        ]
    }

    /// The FIFO.
    pub fn fifo(&self) -> &str {
        &self.fifo
    }

    /// How long there is until the command has to be ended; `None`: for ever.
    fn left(&self) -> Option<Duration> {
        let left = self.turn.remaining()?;
        Some(left.saturating_sub(self.reserve))
    }

    /// Whether it is lost.
    pub fn is_lost(&self) -> bool {
        self.turn.is_lost() || self.left().is_some_and(|left| left.is_zero())
    }

    /// Extends it, and waits until it is lost.
    pub async fn lost(&self) -> Loss {
        let over = async {
            while !self.is_lost() {
                let pause = self.left().unwrap_or(LOOK_MAX);
                sleep(pause.clamp(LOOK_MIN, LOOK_MAX)).await;
            }
        };
        tokio::select! {
            biased;
            () = over => self.loss("lapsed"),
            _ = self.turn.keep() => self.loss("ended"),
        }
    }

    /// That it is lost.
    pub fn loss(&self, cause: &str) -> Loss {
        Loss::of_turn(&self.fifo, cause)
    }

    /// Says that the work is done.
    pub async fn done(self) -> Result<(), Error> {
        self.turn.done().await
    }
}
