//! `holdfast run`: a command that runs while a lock is held, and no longer.
//!
//! One promise counts for more than all others: *nothing of the command runs without the lock.* So it
//! runs in a process group of its own, which is ended as a whole: when the lock is lost, when the
//! command has ended and left something behind, and, by the [`guardian`], when this process is killed.
//!
//! [`hold`] takes what is asked for; [`supervise`] starts the command, stands between it and the
//! signals, the terminal and the loss of what is held, and ends it.

mod group;
pub mod guardian;
mod hold;
mod line;
mod news;
mod owner;
mod plan;
mod signals;
mod standing;
mod supervise;
mod terminal;
mod ticket;

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};

use holdfast_client::Client;

use self::group::Group;
use self::news::News;
use self::plan::Plan;
use self::signals::Signals;
use self::supervise::{Done, Supervisor};
use super::client::{self, ConnectArgs};
use super::error::{CliError, Exit};
use super::output::Output;

/// What a signal's number is added to.
const SIGNALED: u8 = 128;

/// Run a command while holding a lock
///
/// Waits for the lock, runs the command, and gives the lock back when the command has ended. While
/// it runs the lock is kept. If the lock is lost the command is ended, before anyone else can have
/// the lock. If holdfast itself is killed, the command does not live on (on Linux).
///
/// The command runs in a process group of its own, without a shell in between, and has the standard
/// input. INT, TERM, HUP, QUIT, USR1 and USR2 are passed on to it; while waiting they end the waiting.
/// Processes that the command leaves behind in its group are ended with it. On a terminal ^C, ^Z, fg
/// and bg work as if the command had been run directly; a stopped job keeps its lock for the TTL only.
#[derive(Args, Debug)]
#[command(
    override_usage = "holdfast run [OPTIONS] LOCK... -- COMMAND [ARGS]...\n       \
                      holdfast run [OPTIONS] --fifo ID -- COMMAND [ARGS]..."
)]
#[command(after_help = "\
The command's environment has, each overriding what was inherited:
  HOLDFAST_LOCK           the lock; of several locks one a line, in the order of their names
  HOLDFAST_FENCING_TOKEN  the number of the grant, for the resource to check; one a line likewise
  HOLDFAST_LEASE_ID       the lease that all of them hang on
  HOLDFAST_FIFO, HOLDFAST_TICKET  instead of these three, with --fifo

Exit codes:
  N    the command's own
  64   the command line or a value in it can't be read, or is out of its bounds
  69   the server can't be reached, or can't serve now
  70   a defect, here or in the server
  75   the lock was not had: it is held, or was not granted in time (see --conflict-exit-code)
  76   the lock was lost while the command ran, whatever its own code, 0 too
  77   the server refused: the API token is missing, unknown or not good for this
  1    the server refused for another reason, such as a line that is full
  126  the command can't be run
  127  the command can't be found
  128+N  signal N ended the command, or the waiting

Examples:
  holdfast run deploy -- ./deploy.sh production
  holdfast run deploy --wait 10m --ttl 1m -- make release
  holdfast run nightly --wait 0s -E 0 -- ./backup     # cron: skipped while another one runs
  holdfast run db cache -- ./migrate                  # both, or neither
  holdfast run gpu --max 4 -- ./train                 # four at a time
  holdfast run docs --shared -- ./read                # with other readers, without a writer
  holdfast run --fifo deploys -- ./deploy.sh          # a place in line that outlives connections
  holdfast run x -- sh -c 'put --fencing-token \"$HOLDFAST_FENCING_TOKEN\"'")]
pub(super) struct RunArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The locks, taken in the order of their names; one that is named twice is taken once
    #[arg(value_name = "LOCK", required_unless_present = "fifo", num_args = 1..)]
    locks: Vec<String>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true, num_args = 1..)]
    command: Vec<OsString>,

    /// How long the lock stays taken after a crash of this machine, or without a connection: 100ms
    /// to 30d
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    ttl: String,

    /// How long to wait for all of it: a duration or forever; 0s: not at all
    #[arg(long, value_name = "DURATION|forever", default_value = "forever")]
    wait: String,

    /// Hold together with other shared holders
    #[arg(long, conflicts_with = "fifo")]
    shared: bool,

    /// Hold together with other shared holders, at most N of them: a semaphore
    #[arg(long, value_name = "N", conflicts_with = "fifo",
          value_parser = clap::value_parser!(u32).range(1..))]
    max: Option<u32>,

    /// Take a ticket of this FIFO instead of a lock; a FIFO that is not there is made
    ///
    /// While the command runs the ticket's time is extended. After a crash its turn lasts for --ttl and
    /// --grace, where the FIFO allows tickets timeouts of their own, as one that is made here does.
    #[arg(long, value_name = "ID", conflicts_with = "locks")]
    fifo: Option<String>,

    /// Who holds, for people to read [default: the CI job's URL where there is one, else
    /// user@host:pid]
    #[arg(long)]
    owner: Option<String>,

    /// What to say of the holder besides; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,

    /// What becomes of the command when the lock is lost: TERM and after --grace KILL; KILL at once;
    /// or nothing. The exit code is 76 in any case
    #[arg(long, value_enum, default_value_t = OnLost::Term)]
    on_lost: OnLost,

    /// How long the command has between TERM and KILL: 0s to 59m. For so long, and a second, the
    /// server holds a lost lock back
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    grace: String,

    /// The exit code where the lock was not had
    #[arg(long, short = 'E', value_name = "N", default_value_t = Exit::NotAcquired as u8)]
    conflict_exit_code: u8,

    /// Give the command an empty standard input
    #[arg(long)]
    no_stdin: bool,

    /// Tell nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

/// What becomes of the command when the lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnLost {
    /// TERM, and KILL after --grace
    Term,
    /// KILL
    Kill,
    /// Nothing
    Ignore,
}

/// Why there is no command, or no more.
enum Failure {
    /// It was told what is wrong.
    Failed(CliError),
    /// This signal ended the waiting.
    Signal(nix::sys::signal::Signal),
}

impl<E: Into<CliError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Failed(error.into())
    }
}

impl RunArgs {
    /// Runs the command and gives the exit code.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let output = self.connect.output();
        let conflict = self.conflict_exit_code;
        client::execute(output, async move {
            Ok(ExitCode::from(match hold_and_run(self, output).await {
                Ok(code) => code,
                Err(Failure::Signal(signal)) => SIGNALED + signal as u8,
                Err(Failure::Failed(error)) => {
                    output.error(&error);
                    match error.exit {
                        Exit::NotAcquired => conflict,
                        exit => exit as u8,
                    }
                }
            }))
        })
    }
}

async fn hold_and_run(args: RunArgs, output: Output) -> Result<u8, Failure> {
    let plan = Plan::new(&args)?;
    let mut signals = Signals::listen()?;
    // The guardian's start takes as long as a connection does: so both at once.
    let group = Group::prepare(plan.grace)?;
    let connecting = hold::connect(&args.connect, &plan);
    let client = signals.unless_one_comes(connecting).await?;
    let done = run_on(&client, &args, &plan, signals, group, output).await;
    client.close().await;
    done
}

async fn run_on(
    client: &Client,
    args: &RunArgs,
    plan: &Plan,
    mut signals: Signals,
    group: Group,
    output: Output,
) -> Result<u8, Failure> {
    let mut news = News::new(output, args.quiet);
    let held = hold::take(client, plan, &mut news, &mut signals).await?;
    news.got(&held);
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]).envs(held.environment());
    if args.no_stdin {
        command.stdin(Stdio::null());
    }
    let done = Supervisor::new(plan, &news, group, signals)?
        .run(&held, command)
        .await;
    let given_back = held.give_back(&news).await;
    match (done?, given_back) {
        (Done::Ended(code), Ok(())) => Ok(code),
        (Done::Lost, _) => Ok(Exit::Lost as u8),
        (Done::Ended(_), Err(loss)) => {
            news.lost(&loss);
            Ok(Exit::Lost as u8)
        }
    }
}
