//! `holdfast webhook`: places in line whose turn is told by a call back.

use std::fmt::{self, Display};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::Serialize;

use super::client::{self, Client, ConnectArgs};
use super::error::{CliError, EXIT_CODES};
use super::input;
use super::listing::{self, PageArgs};
use super::output::Output;
use super::views;
use crate::proto::v1::{
    self, CancelWebhookRequest, GetWebhookRequest, GetWebhookSecretRequest, ListWebhooksRequest,
};

/// Look at webhooks, give them up, and tell what they are signed with
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct WebhookArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Subcommand, Debug)]
enum WebhookCommand {
    List(ListArgs),
    Get(GetArgs),
    Cancel(CancelArgs),
    Secret(SecretArgs),
}

/// List webhooks from the oldest on; those that are over for a day
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast webhook list
  holdfast webhook list --json | jq '.webhooks[] | select(.state == \"due\")'")]
struct ListArgs {
    #[command(flatten)]
    page: PageArgs,
}

/// Tell how a webhook stands, how often it was posted, and what came of it
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  webhook=$(holdfast lock acquire deploy --callback https://ci.example/turn)
  holdfast webhook get \"$webhook\" --json | jq -r .state")]
struct GetArgs {
    #[command(flatten)]
    id: IdArgs,
}

/// Give up a place in line that waits for its turn
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast webhook cancel \"$webhook\"")]
struct CancelArgs {
    #[command(flatten)]
    id: IdArgs,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Print what the posts of this namespace are signed with, unless the subscriber brought a secret
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  WEBHOOK_SECRET=$(holdfast webhook secret) ./receiver")]
struct SecretArgs {}

/// Which webhook.
#[derive(Args, Debug)]
struct IdArgs {
    /// The webhook's id, which proves the right to it; - reads it from stdin
    #[arg(value_name = "WEBHOOK|-", value_parser = input::secret)]
    webhook: SecretString,
}

impl IdArgs {
    fn read(&self) -> Result<String, CliError> {
        input::secret_or_stdin("webhook", &self.webhook)
    }
}

impl WebhookArgs {
    /// Asks the server and prints its answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        client::call(&self.connect, async |client, output| {
            match self.command {
                WebhookCommand::List(args) => list(&client, output, args).await?,
                WebhookCommand::Get(args) => get(&client, output, args).await?,
                WebhookCommand::Cancel(args) => cancel(&client, output, args).await?,
                WebhookCommand::Secret(SecretArgs {}) => secret(&client, output).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn list(client: &Client, output: Output, args: ListArgs) -> Result<(), CliError> {
    let ask = async |page_size, page_token| {
        let request = ListWebhooksRequest {
            page_size,
            page_token,
        };
        let page = client.ask(client.webhooks().list_webhooks(request)).await?;
        Ok((page.webhooks, page.next_page_token))
    };
    let (webhooks, next_page_token) = args.page.read(ask).await?;
    output.answer(&Webhooks {
        webhooks,
        next_page_token,
    })
}

async fn get(client: &Client, output: Output, args: GetArgs) -> Result<(), CliError> {
    let webhook = args.id.read()?;
    let request = GetWebhookRequest { webhook };
    let answer = client.ask(client.webhooks().get_webhook(request)).await?;
    output.answer(&Webhook::from(answer.webhook.unwrap_or_default()))
}

async fn cancel(client: &Client, output: Output, args: CancelArgs) -> Result<(), CliError> {
    let request = CancelWebhookRequest {
        webhook: args.id.read()?,
        request_id: args.request_id.unwrap_or_default(),
    };
    client
        .ask(client.webhooks().cancel_webhook(request))
        .await?;
    output.answer(&Cancelled { cancelled: true })
}

async fn secret(client: &Client, output: Output) -> Result<(), CliError> {
    let request = GetWebhookSecretRequest {};
    let answer = client
        .ask(client.webhooks().get_webhook_secret(request))
        .await?;
    output.answer(&Secret {
        secret: answer.secret,
    })
}

#[derive(Serialize)]
struct Webhook {
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lock: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fifo: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ticket: String,
    url: String,
    state: String,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_in: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_time: Option<String>,
}

impl From<v1::Webhook> for Webhook {
    fn from(webhook: v1::Webhook) -> Webhook {
        let state = webhook.state().as_str_name();
        let state = state.strip_prefix("WEBHOOK_STATE_").unwrap_or(state);
        Webhook {
            state: state.to_ascii_lowercase(),
            id: webhook.id,
            lock: webhook.lock,
            fifo: webhook.fifo,
            ticket: webhook.ticket,
            url: webhook.url,
            attempts: webhook.attempts,
            last_status: Some(webhook.last_status).filter(|status| *status != 0),
            last_error: webhook.last_error,
            accept_in: webhook.accept_in.as_ref().map(views::seconds),
            create_time: webhook.create_time.as_ref().map(ToString::to_string),
            state_time: webhook.state_time.as_ref().map(ToString::to_string),
        }
    }
}

impl Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.state)?;
        if self.ticket.is_empty() {
            write!(f, " lock={}", self.lock)?;
        } else {
            write!(f, " fifo={} ticket={}", self.fifo, self.ticket)?;
        }
        write!(f, " attempts={}", self.attempts)?;
        if let Some(status) = self.last_status {
            write!(f, " last_status={status}")?;
        }
        if let Some(seconds) = self.accept_in {
            write!(f, " accept_in={seconds}")?;
        }
        write!(f, " url={}", self.url)?;
        match self.last_error.as_str() {
            "" => Ok(()),
            error => write!(f, " last_error={error:?}"),
        }
    }
}

#[derive(Serialize)]
struct Webhooks {
    webhooks: Vec<Webhook>,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_page_token: String,
}

impl Display for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(f, "webhooks", &self.webhooks, &self.next_page_token)
    }
}

#[derive(Serialize)]
struct Cancelled {
    cancelled: bool,
}

impl Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

#[derive(Serialize)]
struct Secret {
    secret: String,
}

impl Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.secret)
    }
}
