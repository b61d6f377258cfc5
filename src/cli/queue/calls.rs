//! The subcommands that make one call, or one for each page.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::views::{Done, Items, Length, Queue, Queues, Receipt};
use super::*;
use crate::cli::error::Exit;
use crate::cli::views::seconds;
use crate::core::Invalid;
use crate::core::limits::DELIVERIES_MAX_MAX;
use crate::proto::v1::{
    AcknowledgeRequest, ConfigureQueueRequest, DeleteQueueRequest, DequeueRequest, EnqueueRequest,
    ExtendRequest, GetQueueRequest, ListQueuesRequest, Part, PeekRequest, PurgeRequest,
    RedriveRequest, ReturnRequest,
};

pub(super) async fn push(client: &Client, output: Output, args: PushArgs) -> Result<(), CliError> {
    let request = EnqueueRequest {
        value: input::value_or_stdin(args.value)?,
        ttl: optional_span("ttl", args.ttl.as_deref())?,
        queue: args.queue,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.queues().enqueue(request)).await?;
    output.answer(&Done("id", answer.id.to_string()))
}

/// A duration that may be left out, for a message.
pub(super) fn optional_span(
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<prost_types::Duration>, CliError> {
    text.map(|text| input::proto_duration(field, text))
        .transpose()
}

/// That there was no item in time.
#[derive(Serialize)]
struct Empty<'a> {
    empty: bool,
    queue: &'a str,
}

impl std::fmt::Display for Empty<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no item in the queue {}", self.queue)
    }
}

pub(super) async fn pop(
    client: &Client,
    output: Output,
    args: PopArgs,
) -> Result<ExitCode, CliError> {
    let wait = match &args.wait {
        Some(wait) => input::duration("wait", wait)?,
        None => Duration::ZERO,
    };
    let request = DequeueRequest {
        queue: args.queue.clone(),
        wait: Some(input::to_proto("wait", wait)?),
        ack_timeout: optional_span("ack_timeout", args.ack_timeout.as_deref())?,
        request_id: args.request_id.unwrap_or_default(),
    };
    let mut queues = client.queues();
    let answer = client.ask_waiting(wait, queues.dequeue(request)).await?;
    let Some(item) = answer.item else {
        let queue = &args.queue;
        output.note(&Empty { empty: true, queue });
        return Ok(Exit::NotAcquired.into());
    };
    if output.json {
        output.answer(&views::Item::from(item))?;
        return Ok(ExitCode::SUCCESS);
    }
    let receipt = item.receipt;
    output.bytes(item.value)?;
    if !receipt.is_empty() {
        output.note(&Receipt { receipt });
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn ack(client: &Client, output: Output, args: AckArgs) -> Result<(), CliError> {
    let request = AcknowledgeRequest {
        receipt: input::secret_or_stdin("receipt", &args.delivery.receipt)?,
        queue: args.delivery.queue,
        request_id: args.request_id.unwrap_or_default(),
    };
    client.ask(client.queues().acknowledge(request)).await?;
    output.answer(&Done("acknowledged", true))
}

pub(super) async fn give_back(
    client: &Client,
    output: Output,
    args: ReturnArgs,
) -> Result<(), CliError> {
    let request = ReturnRequest {
        receipt: input::secret_or_stdin("receipt", &args.delivery.receipt)?,
        queue: args.delivery.queue,
        request_id: args.request_id.unwrap_or_default(),
    };
    client.ask(client.queues().r#return(request)).await?;
    output.answer(&Done("returned", true))
}

pub(super) async fn extend(
    client: &Client,
    output: Output,
    args: ExtendArgs,
) -> Result<(), CliError> {
    let request = ExtendRequest {
        receipt: input::secret_or_stdin("receipt", &args.delivery.receipt)?,
        queue: args.delivery.queue,
        ack_timeout: optional_span("ack_timeout", args.ack_timeout.as_deref())?,
    };
    let answer = client.ask(client.queues().extend(request)).await?;
    let left = answer.ack_in.as_ref().map_or(0.0, seconds);
    output.answer(&Done("ack_in", left))
}

pub(super) async fn peek(client: &Client, output: Output, args: PeekArgs) -> Result<(), CliError> {
    let part = match (args.dead, args.delivered) {
        (true, _) => Part::Dead,
        (_, true) => Part::Delivered,
        _ => Part::Ready,
    };
    let ask = async |page_size, page_token| {
        let request = PeekRequest {
            queue: args.queue.clone(),
            part: part.into(),
            page_size,
            page_token,
        };
        let page = client.ask(client.queues().peek(request)).await?;
        Ok((page.items, page.next_page_token))
    };
    let (items, next_page_token) = args.page.read(ask).await?;
    output.answer(&Items {
        items,
        next_page_token,
    })
}

async fn read(client: &Client, queue: String) -> Result<Queue, CliError> {
    let request = GetQueueRequest { queue };
    let answer = client.ask(client.queues().get_queue(request)).await?;
    Ok(answer.queue.unwrap_or_default().into())
}

pub(super) async fn length(
    client: &Client,
    output: Output,
    args: LengthArgs,
) -> Result<(), CliError> {
    output.answer(&Length::from(read(client, args.queue).await?))
}

pub(super) async fn get(client: &Client, output: Output, args: GetArgs) -> Result<(), CliError> {
    output.answer(&read(client, args.queue).await?)
}

pub(super) async fn list(client: &Client, output: Output, args: ListArgs) -> Result<(), CliError> {
    let ask = async |page_size, page_token| {
        let request = ListQueuesRequest {
            prefix: args.prefix.clone(),
            page_size,
            page_token,
        };
        let page = client.ask(client.queues().list_queues(request)).await?;
        Ok((page.queues, page.next_page_token))
    };
    let (queues, next_page_token) = args.page.read(ask).await?;
    output.answer(&Queues {
        queues,
        next_page_token,
    })
}

pub(super) async fn configure(
    client: &Client,
    output: Output,
    args: ConfigureArgs,
) -> Result<(), CliError> {
    let request = ConfigureQueueRequest {
        queue: args.queue,
        deliveries_max: deliveries_max(&args.deliveries_max)?,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.queues().configure_queue(request)).await?;
    output.answer(&Queue::from(answer.queue.unwrap_or_default()))
}

/// Reads a number of deliveries; `none` is 0 in a message, and 0 by itself would be a trap.
fn deliveries_max(text: &str) -> Result<u32, CliError> {
    if text == "none" {
        return Ok(0);
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        let expected = format!("must be none, or 1 to {DELIVERIES_MAX_MAX}, is {text:?}");
        Invalid::new("deliveries_max", expected).into()
    })
}

/// Asks until there is no more to do, and says how much was done.
async fn until_done(
    mut ask: impl AsyncFnMut() -> Result<(u32, bool), CliError>,
) -> Result<u64, CliError> {
    let mut done = 0;
    loop {
        let (count, more) = ask().await?;
        done += u64::from(count);
        if !more {
            return Ok(done);
        }
    }
}

pub(super) async fn purge(
    client: &Client,
    output: Output,
    args: PurgeArgs,
) -> Result<(), CliError> {
    let part = if args.dead { Part::Dead } else { Part::Ready };
    let purged = until_done(async || {
        let request = PurgeRequest {
            queue: args.queue.clone(),
            part: part.into(),
            ..Default::default()
        };
        let answer = client.ask(client.queues().purge(request)).await?;
        Ok((answer.count, answer.more))
    });
    output.answer(&Done("purged", purged.await?))
}

pub(super) async fn redrive(
    client: &Client,
    output: Output,
    args: RedriveArgs,
) -> Result<(), CliError> {
    let redriven = until_done(async || {
        let request = RedriveRequest {
            queue: args.queue.clone(),
            ..Default::default()
        };
        let answer = client.ask(client.queues().redrive(request)).await?;
        Ok((answer.count, answer.more))
    });
    output.answer(&Done("redriven", redriven.await?))
}

pub(super) async fn delete(
    client: &Client,
    output: Output,
    args: DeleteArgs,
) -> Result<(), CliError> {
    let purged = until_done(async || {
        let request = DeleteQueueRequest {
            queue: args.queue.clone(),
            ..Default::default()
        };
        let answer = client.ask(client.queues().delete_queue(request)).await?;
        Ok((answer.count, answer.more))
    });
    output.answer(&Done("purged", purged.await?))
}
