//! `holdfast value`: small values under keys, changed atomically.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::client::{self, Client, ConnectArgs};
use super::error::{CliError, EXIT_CODES};
use super::input;
use super::listing::{self, PageArgs};
use super::output::Output;
use super::views;
use crate::api::Reason;
use crate::api::http::view::ValueJson;
use crate::core::Invalid;
use crate::proto::v1::watch_value_response::Event;
use crate::proto::v1::{
    self, CompareAndSetValueRequest, DeleteValueRequest, GetValueRequest, ListValuesRequest,
    PutValueRequest, ValueEventKind, WatchValueRequest,
};

/// Keep small values under keys, and change them atomically
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct ValueArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: ValueCommand,
}

#[derive(Subcommand, Debug)]
enum ValueCommand {
    Get(GetArgs),
    Put(PutArgs),
    Delete(DeleteArgs),
    List(ListArgs),
    Watch(WatchArgs),
}

/// Print a value, byte for byte
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast value get release
  holdfast value get release --json | jq -r .revision")]
struct GetArgs {
    /// The value's key
    #[arg(value_name = "KEY")]
    key: String,
}

/// Keep a value under a key, and print its revision
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast value put release 1.4.2
  holdfast value put report --ttl 1h --file report.bin
  holdfast value put leader me --expected-revision 0      # only where there is none
  date | holdfast value put last-run -")]
struct PutArgs {
    /// The value's key
    #[arg(value_name = "KEY")]
    key: String,

    /// The value, at most 64 KiB; - reads it from stdin
    #[arg(
        value_name = "VALUE|-",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    value: Option<String>,

    /// A file that holds the value
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// How long the value stays: 100ms to 30d; without it, until it is deleted
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,

    /// Only in place of the value with this revision; 0: only where there is none
    #[arg(long, value_name = "N")]
    expected_revision: Option<String>,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Take a value away
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast value delete release
  holdfast value delete release --expected-revision 42")]
struct DeleteArgs {
    /// The value's key
    #[arg(value_name = "KEY")]
    key: String,

    /// Only the value with this revision
    #[arg(long, value_name = "N")]
    expected_revision: Option<String>,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// List values in the order of their keys
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast value list
  holdfast value list --prefix config/ --json | jq -r '.values[].key'")]
struct ListArgs {
    /// Only keys that begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    page: PageArgs,
}

/// Follow what is under a key, and then every change of it, until Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast value watch release
  holdfast value watch release --json | jq -c 'select(.event == \"put\") | .value'")]
struct WatchArgs {
    /// The value's key; there need not be a value yet
    #[arg(value_name = "KEY")]
    key: String,
}

impl ValueArgs {
    /// Asks the server and prints its answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        client::call(&self.connect, async |client, output| {
            match self.command {
                ValueCommand::Get(args) => get(&client, output, args).await?,
                ValueCommand::Put(args) => put(&client, output, args).await?,
                ValueCommand::Delete(args) => delete(&client, output, args).await?,
                ValueCommand::List(args) => list(&client, output, args).await?,
                ValueCommand::Watch(args) => watch(&client, output, args).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn get(client: &Client, output: Output, args: GetArgs) -> Result<(), CliError> {
    let request = GetValueRequest { key: args.key };
    let answer = client.ask(client.values().get_value(request)).await?;
    let value = answer.value.unwrap_or_default();
    if output.json {
        return output.answer(&Kept::from(value));
    }
    output.bytes(value.value)
}

async fn put(client: &Client, output: Output, args: PutArgs) -> Result<(), CliError> {
    let value = read_value(args.value, args.file)?;
    let ttl = args.ttl.as_deref();
    let ttl = ttl
        .map(|ttl| input::proto_duration("ttl", ttl))
        .transpose()?;
    let request_id = args.request_id.unwrap_or_default();
    let expected = args.expected_revision.as_deref();
    let revision = match expected.map(revision).transpose()? {
        None => {
            let request = PutValueRequest {
                key: args.key,
                value,
                ttl,
                request_id,
            };
            let answer = client.ask(client.values().put_value(request)).await?;
            answer.revision
        }
        Some(expected_revision) => {
            let request = CompareAndSetValueRequest {
                key: args.key,
                value,
                expected_revision,
                ttl,
                request_id,
            };
            let mut values = client.values();
            let answer = client.ask(values.compare_and_set_value(request)).await?;
            answer.revision
        }
    };
    output.answer(&Put {
        revision: revision.to_string(),
    })
}

async fn delete(client: &Client, output: Output, args: DeleteArgs) -> Result<(), CliError> {
    let expected = args.expected_revision.as_deref();
    let expected_revision = match expected.map(revision).transpose()? {
        // Zero stands for any, so it can't be what someone asks for by number.
        Some(0) => {
            return Err(Invalid::new("expected_revision", "must be at least 1, is 0").into());
        }
        expected => expected.unwrap_or(0),
    };
    let request = DeleteValueRequest {
        key: args.key,
        expected_revision,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.values().delete_value(request)).await?;
    output.answer(&Deleted {
        deleted: true,
        revision: answer.revision.to_string(),
    })
}

async fn list(client: &Client, output: Output, args: ListArgs) -> Result<(), CliError> {
    let ask = async |page_size, page_token| {
        let request = ListValuesRequest {
            prefix: args.prefix.clone(),
            page_size,
            page_token,
        };
        let page = client.ask(client.values().list_values(request)).await?;
        Ok((page.values, page.next_page_token))
    };
    let (values, next_page_token) = args.page.read(ask).await?;
    output.answer(&Values {
        values,
        next_page_token,
    })
}

async fn watch(client: &Client, output: Output, args: WatchArgs) -> Result<(), CliError> {
    let request = WatchValueRequest {
        key: args.key.clone(),
    };
    let mut events = client.ask(client.values().watch_value(request)).await?;
    loop {
        let message = events.message().await;
        let message = message.map_err(|status| client.error(&status))?;
        let news = match message.and_then(|message| message.event) {
            Some(Event::State(state)) => News::state(&args.key, state.value),
            Some(Event::Change(change)) => News::change(change),
            None => {
                let message = "the server ended the watch";
                return Err(CliError::new(Reason::Unavailable, message));
            }
        };
        output.answer(&news)?;
    }
}

/// The value that the arguments give.
fn read_value(argument: Option<String>, file: Option<PathBuf>) -> Result<Vec<u8>, CliError> {
    let Some(path) = file else {
        return input::value_or_stdin(argument);
    };
    let read = std::fs::File::open(&path).and_then(input::read_value);
    let read = read.map_err(|error| format!("cannot read {}: {error}", path.display()));
    input::value(read)
}

/// Reads a revision.
fn revision(text: &str) -> Result<u64, CliError> {
    text.parse().map_err(|_| {
        let expected = format!("must be a whole number, is {text:?}");
        Invalid::new("expected_revision", expected).into()
    })
}

/// A value with its summary for people.
#[derive(Serialize)]
struct Kept {
    #[serde(flatten)]
    json: ValueJson,
    #[serde(skip)]
    summary: String,
}

impl From<v1::Value> for Kept {
    fn from(value: v1::Value) -> Kept {
        let left = value.expires_in.as_ref().map(views::seconds);
        let (key, bytes, revision) = (&value.key, value.value.len(), value.revision);
        let mut summary = format!("{key} revision={revision} bytes={bytes}");
        if let Some(seconds) = left {
            summary.push_str(&format!(" expires_in={seconds}"));
        }
        Kept {
            json: ValueJson::of(key, &value.value, revision, left),
            summary,
        }
    }
}

impl Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

#[derive(Serialize)]
struct Put {
    revision: String,
}

impl Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision={}", self.revision)
    }
}

#[derive(Serialize)]
struct Deleted {
    deleted: bool,
    revision: String,
}

impl Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deleted revision={}", self.revision)
    }
}

#[derive(Serialize)]
struct Values {
    values: Vec<Kept>,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_page_token: String,
}

impl Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(f, "values", &self.values, &self.next_page_token)
    }
}

/// News of a watch.
#[derive(Serialize)]
struct News {
    event: &'static str,
    #[serde(flatten)]
    value: Kept,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<String>,
}

impl News {
    fn state(key: &str, value: Option<v1::Value>) -> News {
        let value = value.map(Kept::from).unwrap_or_else(|| Kept {
            json: ValueJson::none(key),
            summary: format!("{key} no value"),
        });
        News {
            event: "state",
            value,
            event_time: None,
        }
    }

    fn change(change: v1::ValueEvent) -> News {
        News {
            event: match ValueEventKind::try_from(change.kind) {
                Ok(ValueEventKind::Put) => "put",
                Ok(ValueEventKind::Deleted) => "deleted",
                Ok(ValueEventKind::Expired) => "expired",
                Ok(ValueEventKind::Unspecified) | Err(_) => "unknown",
            },
            value: change.value.unwrap_or_default().into(),
            event_time: change.event_time.as_ref().map(ToString::to_string),
        }
    }
}

impl Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = &self.event_time {
            write!(f, "{time} ")?;
        }
        write!(f, "{} {}", self.event, self.value)
    }
}
