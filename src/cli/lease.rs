//! `holdfast lease`: shared leases, with which one heartbeat keeps many locks.

use std::fmt::{self, Display};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::Serialize;
use tokio::time::Instant;

use super::client::{self, Client, ConnectArgs};
use super::error::{CliError, EXIT_CODES};
use super::input;
use super::listing::{self, PageArgs};
use super::output::Output;
use super::views;
use crate::api::Reason;
use crate::proto::v1::{
    CreateLeaseRequest, GetLeaseRequest, ListLeasesRequest, RenewLeaseRequest, RenewLeaseResponse,
    RevokeLeaseRequest,
};

/// How often a lease is renewed in the time of its TTL: two renewals may fail before it ends.
const RENEWALS_PER_TTL: u32 = 3;
/// The shortest time between two renewals.
const RENEW_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How long to wait before a failed renewal is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Make and keep shared leases: one heartbeat for many locks
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct LeaseArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: LeaseCommand,
}

#[derive(Subcommand, Debug)]
enum LeaseCommand {
    Create(CreateArgs),
    Renew(RenewArgs),
    KeepAlive(KeepAliveArgs),
    Revoke(RevokeArgs),
    Get(GetArgs),
    List(ListArgs),
}

/// Make a lease, on which many locks can hang
///
/// The lease's id is what proves the right to use it: treat it as a password.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lease create --ttl 30s --owner ci-42

In a script:
  lease=$(holdfast lease create --ttl 30s --shell) || exit
  eval \"$lease\"
  holdfast lease keep-alive & heartbeat=$!
  printenv HOLDFAST_LEASE_ID | holdfast lock acquire deploy --wait 10m --lease -
  ./deploy
  kill $heartbeat
  holdfast lease revoke")]
struct CreateArgs {
    /// How long the lease lasts without a renewal: 100ms to 30d; the server's default is 60s
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,

    /// Whose lease it is, for people to read; without it user@host:pid, with the pid of the calling
    /// process
    #[arg(long)]
    owner: Option<String>,

    /// What to say of the owner besides; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,

    /// Makes a retry safe: the same id gets the same lease, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,

    /// Print a line for a shell to evaluate, which sets HOLDFAST_LEASE_ID
    #[arg(long, conflicts_with = "json")]
    shell: bool,
}

/// Which lease.
#[derive(Args, Debug)]
struct IdArgs {
    /// The lease's id; - reads it from stdin
    ///
    /// Other users of the machine may see the command line: stdin or the environment keep the secret
    /// from them.
    #[arg(
        value_name = "LEASE_ID|-",
        env = "HOLDFAST_LEASE_ID",
        hide_env_values = true,
        value_parser = input::secret
    )]
    lease_id: SecretString,
}

impl IdArgs {
    fn read(&self) -> Result<String, CliError> {
        input::secret_or_stdin("lease_id", &self.lease_id)
    }
}

/// Start a lease's TTL anew
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lease renew                              # the id is in HOLDFAST_LEASE_ID")]
struct RenewArgs {
    #[command(flatten)]
    id: IdArgs,
}

/// Renew a lease again and again, until Ctrl-C or until the lease has ended
///
/// It renews when a third of the TTL has passed. A server that can't be reached is asked again while
/// the lease can still live. When this command ends the lease lives on until its TTL has passed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lease keep-alive & heartbeat=$!          # the id is in HOLDFAST_LEASE_ID
  holdfast lease keep-alive --json                  # tells every renewal, on stdout")]
struct KeepAliveArgs {
    #[command(flatten)]
    id: IdArgs,
}

/// End a lease, and every grant and place in line that hangs on it
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lease revoke                             # the id is in HOLDFAST_LEASE_ID")]
struct RevokeArgs {
    #[command(flatten)]
    id: IdArgs,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Tell a lease's state
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lease get --json | jq .expires_in        # the id is in HOLDFAST_LEASE_ID")]
struct GetArgs {
    #[command(flatten)]
    id: IdArgs,
}

/// List leases
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lease list
  holdfast lease list --json | jq -r '.leases[].owner'")]
struct ListArgs {
    #[command(flatten)]
    page: PageArgs,
}

impl LeaseArgs {
    /// Asks the server and prints its answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        client::call(&self.connect, async |client, output| {
            match self.command {
                LeaseCommand::Create(args) => create(&client, output, args).await?,
                LeaseCommand::Renew(args) => renew(&client, output, args).await?,
                LeaseCommand::KeepAlive(args) => keep_alive(&client, output, args).await?,
                LeaseCommand::Revoke(args) => revoke(&client, output, args).await?,
                LeaseCommand::Get(args) => get(&client, output, args).await?,
                LeaseCommand::List(args) => list(&client, output, args).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn create(client: &Client, output: Output, args: CreateArgs) -> Result<(), CliError> {
    let ttl = args.ttl.as_deref();
    let request = CreateLeaseRequest {
        ttl: ttl
            .map(|ttl| input::proto_duration("ttl", ttl))
            .transpose()?,
        owner: args.owner.unwrap_or_else(input::default_owner),
        metadata: input::metadata(&args.metadata)?,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.leases().create_lease(request)).await?;
    let lease = views::Lease::from(answer.lease.unwrap_or_default());
    match args.shell {
        true => output.text(&lease.to_shell()),
        false => output.answer(&lease),
    }
}

async fn renew(client: &Client, output: Output, args: RenewArgs) -> Result<(), CliError> {
    let lease_id = args.id.read()?;
    let answer = renew_once(client, lease_id).await?;
    output.answer(&views::Renewed::from(answer.expires_in))
}

async fn renew_once(client: &Client, lease_id: String) -> Result<RenewLeaseResponse, CliError> {
    let request = RenewLeaseRequest { lease_id };
    client.ask(client.leases().renew_lease(request)).await
}

async fn revoke(client: &Client, output: Output, args: RevokeArgs) -> Result<(), CliError> {
    let request = RevokeLeaseRequest {
        lease_id: args.id.read()?,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.leases().revoke_lease(request)).await?;
    output.answer(&Revoked {
        revoked: true,
        released: answer.released_count,
    })
}

async fn get(client: &Client, output: Output, args: GetArgs) -> Result<(), CliError> {
    let request = GetLeaseRequest {
        lease_id: args.id.read()?,
    };
    let answer = client.ask(client.leases().get_lease(request)).await?;
    output.answer(&views::Lease::from(answer.lease.unwrap_or_default()))
}

async fn list(client: &Client, output: Output, args: ListArgs) -> Result<(), CliError> {
    let ask = async |page_size, page_token| {
        let request = ListLeasesRequest {
            page_size,
            page_token,
        };
        let page = client.ask(client.leases().list_leases(request)).await?;
        Ok((page.leases, page.next_page_token))
    };
    let (leases, next_page_token) = args.page.read(ask).await?;
    output.answer(&Leases {
        leases,
        next_page_token,
    })
}

async fn keep_alive(client: &Client, output: Output, args: KeepAliveArgs) -> Result<(), CliError> {
    let lease_id = args.id.read()?;
    let mut told = false;
    // When the lease may end: the server counts from when it got the renewal, which is later than
    // when it was sent.
    let mut may_end_at: Option<Instant> = None;
    loop {
        let sent = Instant::now();
        let renewal = renew_once(client, lease_id.clone());
        let renewed = match may_end_at {
            Some(end) => tokio::time::timeout_at(end, renewal)
                .await
                .unwrap_or_else(|_| Err(CliError::new(Reason::Unavailable, "no answer in time"))),
            None => renewal.await,
        };
        let pause = match (renewed, may_end_at) {
            (Ok(answer), _) => {
                let won = answer.expires_in.unwrap_or_default();
                let won = Duration::try_from(won).unwrap_or_default();
                may_end_at = sent.checked_add(won);
                let kept = Kept::new(won);
                match output.json {
                    true => output.answer(&kept)?,
                    false if !told => output.note(&kept),
                    false => {}
                }
                told = true;
                (won / RENEWALS_PER_TTL).max(RENEW_INTERVAL_MIN)
            }
            (Err(error), Some(end)) if error.reason.retry_after().is_some() => {
                if Instant::now() + RETRY_INTERVAL >= end {
                    let message =
                        format!("the lease may have ended, as it could not be renewed: {error}");
                    return Err(CliError::new(Reason::Unavailable, message));
                }
                output.note(&Trouble {
                    event: "retrying",
                    message: error.to_string(),
                });
                told = false;
                RETRY_INTERVAL
            }
            (Err(error), _) => return Err(error),
        };
        tokio::time::sleep(pause).await;
    }
}

/// A lease that goes on living.
#[derive(Serialize)]
struct Kept {
    event: &'static str,
    expires_in: f64,
}

impl Kept {
    fn new(won: Duration) -> Kept {
        Kept {
            event: "renewed",
            expires_in: won.as_secs_f64(),
        }
    }
}

impl Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "keeping the lease alive; it lasts {} s without this",
            self.expires_in
        )
    }
}

/// A renewal that failed and will be tried again.
#[derive(Serialize)]
struct Trouble {
    event: &'static str,
    message: String,
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "renewing again, as {}", self.message)
    }
}

#[derive(Serialize)]
struct Revoked {
    revoked: bool,
    released: u32,
}

impl Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revoked; released {}", views::grants(self.released))
    }
}

#[derive(Serialize)]
struct Leases {
    leases: Vec<views::Lease>,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_page_token: String,
}

impl Display for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(f, "leases", &self.leases, &self.next_page_token)
    }
}
