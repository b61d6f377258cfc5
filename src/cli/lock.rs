//! `holdfast lock`: everything that can be asked of a lock, over gRPC.

use std::fmt::{self, Display};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::Serialize;

use super::acquire::{self, AcquireArgs};
use super::client::{self, Client, ConnectArgs};
use super::error::{CliError, EXIT_CODES, Exit};
use super::input;
use super::listing::{self, PageArgs};
use super::output::Output;
use super::views;
use crate::api::Reason;
use crate::core::Invalid;
use crate::proto::v1::{
    CheckGrantRequest, ForceReleaseLockRequest, GetLockRequest, ListLocksRequest,
    ReleaseLockRequest, RenewLockRequest, ReserveLockRequest, WatchLockRequest,
    watch_lock_response::Event,
};

/// Take, keep, give back and look at locks
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct LockArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: LockCommand,
}

#[derive(Subcommand, Debug)]
enum LockCommand {
    Acquire(AcquireArgs),
    Release(ReleaseArgs),
    Renew(RenewArgs),
    Get(GetArgs),
    List(ListArgs),
    Watch(WatchArgs),
    Check(CheckArgs),
    ForceRelease(ForceReleaseArgs),
    Reserve(ReserveArgs),
}

/// End a grant; the next in line gets the lock
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lock release deploy                      # the grant token is in HOLDFAST_GRANT_TOKEN
  holdfast lock release deploy --grant-token - < grant-token.txt")]
struct ReleaseArgs {
    #[command(flatten)]
    grant: GrantArgs,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Start a grant's TTL anew
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lock renew deploy                        # the grant token is in HOLDFAST_GRANT_TOKEN
  holdfast lock renew deploy --ttl 5m --grant-token - < grant-token.txt")]
struct RenewArgs {
    #[command(flatten)]
    grant: GrantArgs,

    /// A new TTL for the grant: 100ms to 30d; without it, the one it has
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
}

/// Which grant, and what proves the hold.
#[derive(Args, Debug)]
struct GrantArgs {
    /// The lock's name
    #[arg(value_name = "NAME")]
    lock: String,

    /// The grant token that `lock acquire` printed; - reads it from stdin
    ///
    /// Other users of the machine may see the command line: stdin or the environment keep the secret
    /// from them.
    #[arg(
        long,
        value_name = "TOKEN|-",
        env = "HOLDFAST_GRANT_TOKEN",
        hide_env_values = true,
        value_parser = input::secret
    )]
    grant_token: SecretString,
}

/// Tell who holds a lock and how many wait
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lock get deploy
  holdfast lock get deploy --json | jq -r '.holders[].owner'")]
struct GetArgs {
    /// The lock's name
    #[arg(value_name = "NAME")]
    lock: String,
}

/// List locks that are held, held back, waited for or reserved, by name
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lock list
  holdfast lock list --prefix ci/ --limit 10000
  holdfast lock list --json | jq -r '.locks[].name'")]
struct ListArgs {
    /// Only locks whose name begins so
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    page: PageArgs,
}

/// Follow a lock: its state, and then every change of its holders, until Ctrl-C
///
/// Where a lost grant holds the lock back, held_back_for says for how long, and release_delay_ended that
/// it does so no more. The lock is free when nobody holds it and nothing holds it back.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lock watch deploy
  holdfast lock watch deploy --json | jq -c 'select(.event == \"expired\")'")]
struct WatchArgs {
    /// The lock's name; it need not exist yet
    #[arg(value_name = "NAME")]
    lock: String,
}

/// Tell whether the grant with a fencing token is current: exit code 0 if so, 1 if not
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lock check deploy --fencing-token 42 && echo still the holder
  holdfast lock check deploy                        # the number is in HOLDFAST_FENCING_TOKEN")]
struct CheckArgs {
    /// The lock's name
    #[arg(value_name = "NAME")]
    lock: String,

    /// The grant's fencing token, a number
    #[arg(long, value_name = "N", env = "HOLDFAST_FENCING_TOKEN")]
    fencing_token: String,
}

/// End grants of others
///
/// It doesn't stop the former holder's work: only a resource that checks fencing tokens does. With
/// API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast lock force-release deploy
  holdfast lock force-release deploy --fencing-token 42")]
struct ForceReleaseArgs {
    /// The lock's name
    #[arg(value_name = "NAME")]
    lock: String,

    /// Only the grant with this fencing token; without it, every grant of the lock
    // Never from the environment: there stands the caller's own.
    #[arg(long, value_name = "N")]
    fencing_token: Option<String>,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Make a lock with a name of the server's choosing, hard to guess, and print the name
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  lock=$(holdfast lock reserve)
  holdfast lock reserve --unused-destroy-timeout 7d")]
struct ReserveArgs {
    /// How long the lock stays while nobody uses it: 1s to 365d; the server's default is 30d
    #[arg(long, value_name = "DURATION")]
    unused_destroy_timeout: Option<String>,

    /// Makes a retry safe: the same id gets the same lock, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl LockArgs {
    /// Asks the server and prints its answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        client::call(&self.connect, async |client, output| {
            match self.command {
                LockCommand::Acquire(args) => acquire::run(&client, output, args).await?,
                LockCommand::Release(args) => release(&client, output, args).await?,
                LockCommand::Renew(args) => renew(&client, output, args).await?,
                LockCommand::Get(args) => get(&client, output, args).await?,
                LockCommand::List(args) => list(&client, output, args).await?,
                LockCommand::Watch(args) => watch(&client, output, args).await?,
                LockCommand::Check(args) => return check(&client, output, args).await,
                LockCommand::ForceRelease(args) => force_release(&client, output, args).await?,
                LockCommand::Reserve(args) => reserve(&client, output, args).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn release(client: &Client, output: Output, args: ReleaseArgs) -> Result<(), CliError> {
    let request = ReleaseLockRequest {
        grant_token: input::secret_or_stdin("grant_token", &args.grant.grant_token)?,
        lock: args.grant.lock,
        request_id: args.request_id.unwrap_or_default(),
    };
    client.ask(client.locks().release_lock(request)).await?;
    output.answer(&Released { released: true })
}

async fn renew(client: &Client, output: Output, args: RenewArgs) -> Result<(), CliError> {
    let ttl = args.ttl.as_deref();
    let request = RenewLockRequest {
        grant_token: input::secret_or_stdin("grant_token", &args.grant.grant_token)?,
        lock: args.grant.lock,
        ttl: ttl
            .map(|ttl| input::proto_duration("ttl", ttl))
            .transpose()?,
    };
    let answer = client.ask(client.locks().renew_lock(request)).await?;
    output.answer(&views::Renewed::from(answer.expires_in))
}

async fn get(client: &Client, output: Output, args: GetArgs) -> Result<(), CliError> {
    let request = GetLockRequest { lock: args.lock };
    let answer = client.ask(client.locks().get_lock(request)).await?;
    output.answer(&views::Lock::from(answer.lock.unwrap_or_default()))
}

async fn list(client: &Client, output: Output, args: ListArgs) -> Result<(), CliError> {
    let ask = async |page_size, page_token| {
        let request = ListLocksRequest {
            prefix: args.prefix.clone(),
            page_size,
            page_token,
        };
        let page = client.ask(client.locks().list_locks(request)).await?;
        Ok((page.locks, page.next_page_token))
    };
    let (locks, next_page_token) = args.page.read(ask).await?;
    output.answer(&Locks {
        locks,
        next_page_token,
    })
}

async fn watch(client: &Client, output: Output, args: WatchArgs) -> Result<(), CliError> {
    let lock = args.lock;
    let request = WatchLockRequest { lock: lock.clone() };
    let mut events = client.ask(client.locks().watch_lock(request)).await?;
    loop {
        let message = events.message().await;
        let message = message.map_err(|status| client.error(&status))?;
        match message.and_then(|message| message.event) {
            Some(Event::State(lock)) => output.answer(&State::from(lock))?,
            Some(Event::Change(change)) => output.answer(&views::LockEvent::new(&lock, change))?,
            None => {
                let message = "the server ended the watch";
                return Err(CliError::new(Reason::Unavailable, message));
            }
        }
    }
}

async fn check(client: &Client, output: Output, args: CheckArgs) -> Result<ExitCode, CliError> {
    let request = CheckGrantRequest {
        lock: args.lock,
        fencing_token: fencing_token(&args.fencing_token)?,
    };
    let answer = client.ask(client.locks().check_grant(request)).await?;
    output.answer(&Checked {
        current: answer.current,
        expires_in: answer.expires_in.as_ref().map(views::seconds),
    })?;
    Ok(match answer.current {
        true => ExitCode::SUCCESS,
        false => Exit::No.into(),
    })
}

async fn force_release(
    client: &Client,
    output: Output,
    args: ForceReleaseArgs,
) -> Result<(), CliError> {
    let only = args.fencing_token.as_deref();
    let request = ForceReleaseLockRequest {
        lock: args.lock,
        // Zero stands for every grant, so it can't be what someone asks for by number.
        fencing_token: only.map(fencing_token).transpose()?.unwrap_or(0),
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client
        .ask(client.locks().force_release_lock(request))
        .await?;
    output.answer(&Forced {
        released: answer.released_count,
    })
}

async fn reserve(client: &Client, output: Output, args: ReserveArgs) -> Result<(), CliError> {
    let field = "unused_destroy_timeout";
    let timeout = args.unused_destroy_timeout.as_deref();
    let request = ReserveLockRequest {
        unused_destroy_timeout: timeout
            .map(|timeout| input::proto_duration(field, timeout))
            .transpose()?,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.locks().reserve_lock(request)).await?;
    output.answer(&Reserved { name: answer.lock })
}

/// Reads a fencing token, at least 1.
fn fencing_token(text: &str) -> Result<u64, CliError> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => {
            let expected = format!("must be a whole number, at least 1, is {text:?}");
            Err(Invalid::new("fencing_token", expected).into())
        }
    }
}

#[derive(Serialize)]
struct Released {
    released: bool,
}

impl Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("released")
    }
}

#[derive(Serialize)]
struct Forced {
    released: u32,
}

impl Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "released {}", views::grants(self.released))
    }
}

#[derive(Serialize)]
struct Reserved {
    name: String,
}

impl Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[derive(Serialize)]
struct Checked {
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
}

impl Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.current, self.expires_in) {
            (true, Some(seconds)) => write!(f, "current expires_in={seconds}"),
            (true, None) => write!(f, "current expires_in=never"),
            (false, _) => f.write_str("not current"),
        }
    }
}

#[derive(Serialize)]
struct Locks {
    locks: Vec<views::Lock>,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_page_token: String,
}

impl Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(
            f,
            "locks",
            self.locks.iter().map(views::Lock::summary),
            &self.next_page_token,
        )
    }
}

/// The first news of a watch.
#[derive(Serialize)]
struct State {
    event: &'static str,
    #[serde(flatten)]
    lock: views::Lock,
}

impl From<crate::proto::v1::Lock> for State {
    fn from(lock: crate::proto::v1::Lock) -> State {
        State {
            event: "state",
            lock: lock.into(),
        }
    }
}

impl Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock.fmt(f)
    }
}
