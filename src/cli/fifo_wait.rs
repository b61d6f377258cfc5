//! `holdfast fifo wait`: waits for a ticket's turn, telling how the line moves.
//!
//! The ticket stands where it stands whatever becomes of this command: Ctrl-C stops the waiting, and
//! a later call goes on.

use std::fmt::{self, Display};

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::awaited::{Awaited, Retrying};
use super::client::Client;
use super::error::CliError;
use super::fifo::TicketIdArgs;
use super::fifo_views::ticket_of;
use super::input::{self, Wait};
use super::output::{Output, Progress};
use super::signal::Signals;
use super::views::seconds;
use crate::api::Reason;
use crate::proto::v1::wait_ticket_response::Event;
use crate::proto::v1::{InLine, Ticket, WaitTicketRequest};

/// Wait for a ticket's turn, which accepts it
///
/// From then on the work may take as long as the ticket's done timeout says; `fifo done` ends it.
#[derive(Args, Debug)]
#[command(after_help = "\
News while waiting (the position in line, and about how long it will take) goes to stderr. Ctrl-C stops
the waiting; the ticket keeps its place in line.

Examples:
  holdfast fifo wait deploys \"$ticket\" && ./deploy
  holdfast fifo wait deploys \"$ticket\" --wait 10m
  holdfast fifo wait deploys - --json < ticket.txt")]
pub(super) struct WaitArgs {
    #[command(flatten)]
    ticket: TicketIdArgs,

    /// How long to wait: up to 24h, or forever; without it, the ticket's own timeout; 0 asks once
    #[arg(long, value_name = "DURATION|forever")]
    wait: Option<String>,

    /// Tell nothing while waiting
    #[arg(long, short)]
    quiet: bool,
}

/// Waits and prints the ticket.
pub(super) async fn run(client: &Client, output: Output, args: WaitArgs) -> Result<(), CliError> {
    let wait = args.wait.as_deref().map(input::wait).transpose()?;
    let mut waiting = Waiting {
        client,
        progress: Progress::new(output, args.quiet),
        request: WaitTicketRequest {
            ticket: args.ticket.ticket()?,
            fifo: args.ticket.fifo,
            wait: None,
        },
    };
    let mut signals = Signals::listen()?;
    let ticket = tokio::select! {
        biased;
        turn = waiting.run(wait) => turn?,
        exit = signals.next() => {
            waiting.progress.finish();
            let message = "stopped waiting; the ticket keeps its place in line";
            return Err(CliError::interrupted(exit, message));
        }
    };
    output.answer(&ticket_of(ticket))
}

struct Waiting<'a> {
    client: &'a Client,
    progress: Progress,
    request: WaitTicketRequest,
}

impl Waiting<'_> {
    /// Waits until it is the ticket's turn or the time is over. A server that breaks off, or has too
    /// much to do, is asked again while there is time: waiting twice does no harm.
    async fn run(&mut self, wait: Option<Wait>) -> Result<Ticket, CliError> {
        let until = wait.and_then(Wait::until);
        if let Some(Wait::For(span)) = wait {
            self.request.wait = Some(input::to_proto("wait", span)?);
        }
        loop {
            match self.wait_once().await {
                Ok(ticket) => {
                    self.progress.finish();
                    return Ok(ticket);
                }
                Err(error)
                    if error.reason == Reason::TurnTimedOut
                        && matches!(wait, Some(Wait::Forever)) => {}
                Err(error) => {
                    let Some(retry_at) = error.retry_at(until) else {
                        return Err(error);
                    };
                    let awaited = Awaited::Fifo(self.request.fifo.clone());
                    self.progress
                        .show(&Retrying::new(awaited, error.to_string()));
                    tokio::time::sleep_until(retry_at).await;
                }
            }
            if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                self.request.wait = Some(input::to_proto("wait", left)?);
            }
        }
    }

    async fn wait_once(&mut self) -> Result<Ticket, CliError> {
        let client = self.client;
        let stream = client.fifos().wait_ticket(self.request.clone()).await;
        let mut stream = stream.map_err(|status| client.error(&status))?.into_inner();
        loop {
            let message = stream.message().await;
            let message = message.map_err(|status| client.error(&status))?;
            match message.and_then(|message| message.event) {
                Some(Event::Ready(ticket)) => return Ok(ticket),
                Some(Event::InLine(standing)) => {
                    self.progress
                        .show(&Queued::new(&self.request.fifo, &standing));
                }
                None => {
                    return Err(CliError::new(
                        Reason::Unavailable,
                        "the server ended the wait without an answer",
                    ));
                }
            }
        }
    }
}

/// A place in line.
#[derive(Serialize)]
struct Queued<'a> {
    event: &'static str,
    fifo: &'a str,
    position: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_go: Option<f64>,
}

impl<'a> Queued<'a> {
    fn new(fifo: &'a str, standing: &InLine) -> Queued<'a> {
        Queued {
            event: "queued",
            fifo,
            position: standing.position,
            time_to_go: standing.time_to_go.as_ref().map(seconds),
        }
    }
}

impl Display for Queued<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Queued { fifo, position, .. } = self;
        write!(f, "waiting for {fifo}: number {position} in line")?;
        match self.time_to_go {
            Some(seconds) => write!(f, ", about {seconds:.0} s to go"),
            None => Ok(()),
        }
    }
}
