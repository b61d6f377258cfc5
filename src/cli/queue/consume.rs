//! `holdfast queue consume`: items as they come, each acknowledged once it has been dealt with.
//!
//! Whoever prints them for ever reads a stream. A command gets one item at a time, each by a call of
//! its own, and so does who ends with the queue: only a call tells that there was no item in time.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::api::Reason;
use crate::cli::signal::Signals;
use crate::core::Invalid;
use crate::core::limits::{ACK_TIMEOUT_DEFAULT, WAIT_MAX};
use crate::proto::v1::{AcknowledgeRequest, DequeueRequest, ExtendRequest, Item, ReturnRequest};

/// How often the time to acknowledge is started anew in its course: two attempts may fail.
const EXTENSIONS_PER_TIMEOUT: u32 = 3;
/// The shortest time between two of them.
const EXTEND_INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) async fn run(
    client: &Client,
    output: Output,
    args: ConsumeArgs,
) -> Result<(), CliError> {
    if args.command.is_empty() && args.wait.is_none() {
        return stream::run(client, output, args).await;
    }
    let wait = args.wait.as_deref();
    let wait = wait.map(|wait| input::duration("wait", wait)).transpose()?;
    let ack_timeout = args.ack_timeout.as_deref();
    let ack_timeout = ack_timeout
        .map(|span| input::duration("ack_timeout", span))
        .transpose()?;
    let worker = Worker {
        client,
        output,
        queue: args.queue,
        ack_timeout: ack_timeout.unwrap_or(ACK_TIMEOUT_DEFAULT),
        command: args.command,
    };
    let mut signals = Signals::listen()?;
    loop {
        // A signal waits for the item at hand, and a call that is given up leaves the line.
        let item = tokio::select! {
            biased;
            exit = signals.next() => {
                return Err(CliError::interrupted(exit, NO_MORE));
            }
            item = worker.take(wait) => item?,
        };
        match item {
            Some(item) if worker.command.is_empty() => worker.print(item).await?,
            Some(item) => worker.run(item).await?,
            None => return Ok(()),
        }
    }
}

/// What is told when a signal ends it.
pub(super) const NO_MORE: &str = "no more items are taken";

/// Who takes one item at a time.
struct Worker<'a> {
    client: &'a Client,
    output: Output,
    queue: String,
    ack_timeout: Duration,
    command: Vec<String>,
}

impl Worker<'_> {
    /// The next item; `None`: there was none in time. Without a time it waits for ever.
    async fn take(&self, wait: Option<Duration>) -> Result<Option<Item>, CliError> {
        let span = wait.unwrap_or(WAIT_MAX);
        loop {
            let request = DequeueRequest {
                queue: self.queue.clone(),
                wait: Some(input::to_proto("wait", span)?),
                ack_timeout: Some(input::to_proto("ack_timeout", self.ack_timeout)?),
                request_id: String::new(),
            };
            let mut queues = self.client.queues();
            let answer = self
                .client
                .ask_waiting(span, queues.dequeue(request))
                .await?;
            if answer.item.is_some() || wait.is_some() {
                return Ok(answer.item);
            }
        }
    }

    async fn print(&self, mut item: Item) -> Result<(), CliError> {
        let receipt = std::mem::take(&mut item.receipt);
        match print(self.output, item) {
            Ok(()) => self.acknowledge(receipt).await,
            Err(error) => {
                give_back(self.client, &self.queue, receipt).await;
                Err(error)
            }
        }
    }

    async fn acknowledge(&self, receipt: String) -> Result<(), CliError> {
        let request = AcknowledgeRequest {
            queue: self.queue.clone(),
            receipt,
            request_id: String::new(),
        };
        match self
            .client
            .ask(self.client.queues().acknowledge(request))
            .await
        {
            // It is somebody else's by now, or was: no reason to stop.
            Err(error) if error.reason == Reason::DeliveryEnded => self.output.error(&error),
            done => drop(done?),
        }
        Ok(())
    }

    /// Runs the command with an item on its stdin. The item stays this consumer's meanwhile.
    async fn run(&self, item: Item) -> Result<(), CliError> {
        let interval = (self.ack_timeout / EXTENSIONS_PER_TIMEOUT).max(EXTEND_INTERVAL_MIN);
        let mut ended = pin!(run_command(&self.command, item.id, &item.value));
        let mut extend_at = Some(Instant::now() + interval);
        let ended = loop {
            tokio::select! {
                ended = &mut ended => break ended,
                () = sleep_until(extend_at.unwrap_or_else(Instant::now)), if extend_at.is_some() => {
                    extend_at = self.extend(&item).await.then(|| Instant::now() + interval);
                }
            }
        };
        match ended {
            Ok(status) if status.success() => self.acknowledge(item.receipt).await,
            Ok(status) => {
                self.output.note(&Failed {
                    event: "returned",
                    id: item.id.to_string(),
                    status: status.to_string(),
                });
                give_back(self.client, &self.queue, item.receipt).await;
                Ok(())
            }
            Err(error) => {
                give_back(self.client, &self.queue, item.receipt).await;
                let expected = format!("cannot be run: {error}");
                Err(Invalid::new("command", expected).into())
            }
        }
    }

    /// Starts the time to acknowledge anew; whether there is any use in doing so again.
    async fn extend(&self, item: &Item) -> bool {
        let request = ExtendRequest {
            queue: self.queue.clone(),
            receipt: item.receipt.clone(),
            ack_timeout: None,
        };
        match self.client.ask(self.client.queues().extend(request)).await {
            Ok(_) => true,
            Err(error) => {
                self.output.error(&error);
                error.reason != Reason::DeliveryEnded
            }
        }
    }
}

/// Prints an item on a line, or as JSON.
pub(super) fn print(output: Output, item: Item) -> Result<(), CliError> {
    if output.json {
        output.answer(&views::Item::from(item))
    } else {
        output.line(&item.value)
    }
}

/// Gives an item back. If that fails it comes again when its time is over.
pub(super) async fn give_back(client: &Client, queue: &str, receipt: String) {
    let request = ReturnRequest {
        queue: queue.to_owned(),
        receipt,
        request_id: String::new(),
    };
    let _ = client.ask(client.queues().r#return(request)).await;
}

async fn run_command(command: &[String], id: u64, value: &[u8]) -> io::Result<ExitStatus> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("HOLDFAST_ITEM_ID", id.to_string())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read what it gets.
        let _ = stdin.write_all(value).await;
    }
    child.wait().await
}

/// A command that failed.
#[derive(serde::Serialize)]
struct Failed {
    event: &'static str,
    id: String,
    status: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "returned the item {}: {}", self.id, self.status)
    }
}
