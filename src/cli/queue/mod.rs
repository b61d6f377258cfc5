//! `holdfast queue`: items in line, each taken by one consumer.

mod calls;
mod consume;
mod produce;
mod stream;
mod views;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::client::{self, Client, ConnectArgs};
use super::error::{CliError, EXIT_CODES};
use super::input;
use super::listing::PageArgs;
use super::output::Output;

/// Put items in line, and take each once
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct QueueArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Subcommand, Debug)]
enum QueueCommand {
    Push(PushArgs),
    Pop(PopArgs),
    Consume(ConsumeArgs),
    Ack(AckArgs),
    Return(ReturnArgs),
    Extend(ExtendArgs),
    Peek(PeekArgs),
    Length(LengthArgs),
    Get(GetArgs),
    List(ListArgs),
    Configure(ConfigureArgs),
    Purge(PurgeArgs),
    Redrive(RedriveArgs),
    Delete(DeleteArgs),
}

/// Put an item at the end of a queue, and print its id
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue push jobs 'resize cat.jpg'
  holdfast queue push jobs --ttl 1h - < job.bin
  find . -name '*.jpg' | holdfast queue push jobs --lines")]
struct PushArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// The item, at most 64 KiB; - reads it from stdin
    #[arg(
        value_name = "VALUE|-",
        required_unless_present = "lines",
        conflicts_with = "lines"
    )]
    value: Option<String>,

    /// Make an item of each line of stdin, without its line break; print how many there were
    #[arg(long)]
    lines: bool,

    /// How long it may wait for a consumer: 100ms to 30d; without it, for ever
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    request_id: Option<String>,
}

/// Take the first item of a queue, and print it, byte for byte
///
/// Without --ack-timeout the item is gone with that. With it, the item comes again, before all
/// others, unless `holdfast queue ack` says in that time that it has been dealt with; the receipt
/// that this needs is printed on stderr, and with --json beside the item. Where there is no item in
/// time nothing is printed on stdout, and the exit code is 75.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue pop jobs
  holdfast queue pop jobs --wait 10m
  while job=$(holdfast queue pop jobs); do work \"$job\"; done

At least once, whatever happens to the worker:
  item=$(holdfast queue pop jobs --ack-timeout 5m --json) || exit
  work \"$(jq -r .value <<< \"$item\")\" && jq -r .receipt <<< \"$item\" | holdfast queue ack jobs -")]
struct PopArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// How long to wait in line for an item, up to 24h; without it, not at all
    #[arg(long, value_name = "DURATION")]
    wait: Option<String>,

    /// How long there is to acknowledge the item: 100ms to 7d; without it, the item is gone
    #[arg(long, value_name = "DURATION")]
    ack_timeout: Option<String>,

    /// Makes a retry safe: the same id gets the same item, for 2 minutes
    #[arg(long, value_name = "ID", requires = "ack_timeout")]
    request_id: Option<String>,
}

/// Take items as they come, and print each on a line, or run a command for each, until Ctrl-C
///
/// An item is acknowledged once it was written, or once its command has ended with 0. An item whose
/// command fails is returned: it comes again at once, or goes to the dead letters after too many
/// deliveries. While a command runs its item stays its own, however long that takes. An item may come
/// twice, as when this process is killed: at least once is what is promised.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue consume jobs
  holdfast queue consume jobs --json | jq -r .value
  holdfast queue consume jobs -- ./work           # the item is on the command's stdin
  holdfast queue consume jobs --wait 0 -- ./work  # ends when the queue is empty")]
struct ConsumeArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// How many items may be on their way, and not printed and acknowledged: 1 to 1,000; the default
    /// is 100
    #[arg(long, value_name = "N", conflicts_with_all = ["wait", "command"])]
    window: Option<u32>,

    /// How long an item stays with this consumer when it dies: 100ms to 7d; the default is 60s
    #[arg(long, value_name = "DURATION")]
    ack_timeout: Option<String>,

    /// End when no item came for so long; without it, go on until Ctrl-C
    #[arg(long, value_name = "DURATION")]
    wait: Option<String>,

    /// The command to run for each item, which it gets on its stdin, and its id in HOLDFAST_ITEM_ID
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

/// Which delivery of an item.
#[derive(Args, Debug)]
struct DeliveryArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// The item's receipt; - reads it from stdin
    #[arg(value_name = "RECEIPT|-", value_parser = input::secret)]
    receipt: SecretString,
}

/// Say that an item has been dealt with: it is gone
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue ack jobs \"$receipt\"")]
struct AckArgs {
    #[command(flatten)]
    delivery: DeliveryArgs,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Give an item back: it comes again at once, before all others, or goes to the dead letters
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue return jobs \"$receipt\"")]
struct ReturnArgs {
    #[command(flatten)]
    delivery: DeliveryArgs,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Start the time to acknowledge an item anew, and print how long there is
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue extend jobs \"$receipt\"
  holdfast queue extend jobs \"$receipt\" --ack-timeout 1h")]
struct ExtendArgs {
    #[command(flatten)]
    delivery: DeliveryArgs,

    /// How long from now: 100ms to 7d; without it, as the item was delivered
    #[arg(long, value_name = "DURATION")]
    ack_timeout: Option<String>,
}

/// Look at items without taking them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue peek jobs
  holdfast queue peek jobs --dead --json | jq -r '.items[].value'")]
struct PeekArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// The dead letters instead of the items that wait
    #[arg(long, conflicts_with = "delivered")]
    dead: bool,

    /// The items that are with a consumer instead of those that wait
    #[arg(long)]
    delivered: bool,

    #[command(flatten)]
    page: PageArgs,
}

/// Print how many items wait for a consumer
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue length jobs
  holdfast queue length jobs --json | jq .dead_count")]
struct LengthArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,
}

/// Show a queue: how many items it has, who consumes, and how it treats its items
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue get jobs
  holdfast queue get jobs --json | jq .ready_count")]
struct GetArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,
}

/// List queues in the order of their names
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue list
  holdfast queue list --prefix ci/ --json | jq -r '.queues[].name'")]
struct ListArgs {
    /// Only names that begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    page: PageArgs,
}

/// Say how a queue treats its items; it stays from then on, empty or not
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue configure jobs --deliveries-max 5
  holdfast queue configure jobs --deliveries-max none")]
struct ConfigureArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// After so many deliveries without an acknowledgement an item goes to the dead letters: 1 to
    /// 10,000, or none for never; a queue that was not configured has 20
    #[arg(long, value_name = "N|none")]
    deliveries_max: String,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Remove all items that wait, or all dead letters
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue purge jobs
  holdfast queue purge jobs --dead")]
struct PurgeArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// The dead letters instead of the items that wait
    #[arg(long)]
    dead: bool,
}

/// Put all dead letters back in line, their deliveries counted anew
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue redrive jobs")]
struct RedriveArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,
}

/// Remove a queue with all its items, those that are delivered and dead included
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast queue delete jobs")]
struct DeleteArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: String,
}

impl QueueArgs {
    /// Asks the server and prints its answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        client::call(&self.connect, async |client, output| {
            match self.command {
                QueueCommand::Push(args) if args.lines => {
                    produce::run(&client, output, args).await?
                }
                QueueCommand::Push(args) => calls::push(&client, output, args).await?,
                QueueCommand::Pop(args) => return calls::pop(&client, output, args).await,
                QueueCommand::Consume(args) => consume::run(&client, output, args).await?,
                QueueCommand::Ack(args) => calls::ack(&client, output, args).await?,
                QueueCommand::Return(args) => calls::give_back(&client, output, args).await?,
                QueueCommand::Extend(args) => calls::extend(&client, output, args).await?,
                QueueCommand::Peek(args) => calls::peek(&client, output, args).await?,
                QueueCommand::Length(args) => calls::length(&client, output, args).await?,
                QueueCommand::Get(args) => calls::get(&client, output, args).await?,
                QueueCommand::List(args) => calls::list(&client, output, args).await?,
                QueueCommand::Configure(args) => calls::configure(&client, output, args).await?,
                QueueCommand::Purge(args) => calls::purge(&client, output, args).await?,
                QueueCommand::Redrive(args) => calls::redrive(&client, output, args).await?,
                QueueCommand::Delete(args) => calls::delete(&client, output, args).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
