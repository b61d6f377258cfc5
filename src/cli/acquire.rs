//! `holdfast lock acquire`: stands in line, tells how it goes, and takes the lock.
//!
//! Whoever is told of no grant must hold none: a grant that can't be printed, or that raced with
//! Ctrl-C, is given back.

use std::fmt::{self, Display};
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures_util::future::{Fuse, FutureExt as _};
use serde::Serialize;
use tokio::time::Instant;

use super::awaited::{Awaited, Retrying};
use super::callback::{self, CallbackArgs};
use super::client::Client;
use super::error::CliError;
use super::input::{self, Wait};
use super::output::{Output, Progress};
use super::signal::Signals;
use super::views;
use crate::api::Reason;
use crate::proto::v1::{
    AcquireLockRequest, GetLockRequest, Grant, LockMode, ReleaseLockRequest,
    SubscribeAndGrabRequest, acquire_lock_request as ask, subscribe_and_grab_request as subscribe,
    subscribe_and_grab_response::Event,
};

/// How long leaving the line may take after Ctrl-C.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Take a lock, standing in line for it if asked to
///
/// Prints the grant token, which renews and releases the lock, and the fencing token, which the
/// resource that the lock protects should check. The lock is held on after this command has ended,
/// until it is released or its TTL passes without a renewal.
#[derive(Args, Debug)]
#[command(after_help = "\
News while waiting (the position in line, and who holds the lock) goes to stderr; stdout gets the
grant alone. Ctrl-C leaves the line.

Examples:
  holdfast lock acquire deploy
  holdfast lock acquire deploy --wait 10m --ttl 5m --owner ci-42
  holdfast lock acquire builders --shared --max-shared 3 --wait forever
  holdfast lock acquire deploy --callback https://ci.example/turn    # posts the grant there

In a script:
  grant=$(holdfast lock acquire deploy --wait 10m --shell) || exit
  eval \"$grant\"
  ./deploy --fencing-token \"$HOLDFAST_FENCING_TOKEN\"
  holdfast lock release deploy")]
pub struct AcquireArgs {
    /// The lock's name: 1 to 512 bytes without control characters
    #[arg(value_name = "NAME")]
    lock: String,

    /// How long the grant lasts without a renewal: 100ms to 30d, or none for no expiry; the server's
    /// default is 60s
    #[arg(long, value_name = "DURATION|none", conflicts_with = "lease")]
    ttl: Option<String>,

    /// How long to stand in line: up to 24h, or forever; without it, ask once
    ///
    /// With forever, the caller stands at the end of the line again after every 24h. With --callback
    /// it is up to 30d, and 30d without it.
    #[arg(long, value_name = "DURATION|forever")]
    wait: Option<String>,

    /// Hold the lock together with other shared holders
    #[arg(long)]
    shared: bool,

    /// The most holders at once, this one counted
    #[arg(long, value_name = "N", requires = "shared")]
    max_shared: Option<u32>,

    /// Who holds, for people to read; without it user@host:pid, with the pid of the calling process
    #[arg(long)]
    owner: Option<String>,

    /// What to say of the holder besides; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,

    /// The shared lease that keeps the grant, and the place in line, alive; - reads it from stdin
    #[arg(long, value_name = "LEASE_ID", value_parser = input::secret)]
    lease: Option<secrecy::SecretString>,

    /// How long the lock is held back when the grant is lost: up to 1h; without it, not at all
    ///
    /// A grant is lost when its TTL passes, when it is forced, or when its webhook is not taken in
    /// time. The delay leaves time to stop the work before the next holder begins; after a release
    /// there is none.
    #[arg(long, value_name = "DURATION")]
    release_delay: Option<String>,

    /// Makes a retry safe: the same id gets the same grant, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,

    #[command(flatten)]
    callback: CallbackArgs,

    /// Print lines for a shell to evaluate, which set HOLDFAST_GRANT_TOKEN and HOLDFAST_FENCING_TOKEN
    #[arg(long, conflicts_with_all = ["json", "callback"])]
    shell: bool,

    /// Tell nothing while waiting
    #[arg(long, short)]
    quiet: bool,
}

impl AcquireArgs {
    fn wait(&self) -> Result<Wait, CliError> {
        match &self.wait {
            None => Ok(Wait::For(Duration::ZERO)),
            Some(text) => input::wait(text),
        }
    }

    fn request(&self) -> Result<AcquireLockRequest, CliError> {
        let hold = match (&self.lease, self.ttl.as_deref()) {
            (Some(lease), _) => Some(ask::Hold::LeaseId(input::secret_or_stdin("lease", lease)?)),
            (None, Some("none")) => Some(ask::Hold::NoExpiry(true)),
            (None, Some(ttl)) => Some(ask::Hold::Ttl(input::proto_duration("ttl", ttl)?)),
            (None, None) => None,
        };
        let mode = if self.shared {
            LockMode::Shared
        } else {
            LockMode::Exclusive
        };
        Ok(AcquireLockRequest {
            lock: self.lock.clone(),
            mode: mode.into(),
            max_shared: self.max_shared.unwrap_or(0),
            hold,
            wait: None,
            owner: self.owner.clone().unwrap_or_else(input::default_owner),
            metadata: input::metadata(&self.metadata)?,
            request_id: self.request_id.clone().unwrap_or_default(),
            callback: self.callback.callback()?,
            release_delay: self
                .release_delay
                .as_deref()
                .map(|delay| input::proto_duration("release_delay", delay))
                .transpose()?,
        })
    }
}

/// Takes the lock and prints the grant.
pub async fn run(client: &Client, output: Output, args: AcquireArgs) -> Result<(), CliError> {
    let mut request = args.request()?;
    if request.callback.is_some() {
        if let Wait::For(wait) = args.wait()?
            && args.wait.is_some()
        {
            request.wait = Some(input::to_proto("wait", wait)?);
        }
        let answer = client.ask(client.locks().acquire_lock(request)).await?;
        return output.answer(&callback::Subscribed::from(answer));
    }
    let grant = match args.wait()? {
        Wait::For(wait) if wait.is_zero() => {
            let answer = client.ask(client.locks().acquire_lock(request)).await?;
            not_ended(answer.grant)?
        }
        wait => {
            if let Wait::For(span) = wait {
                request.wait = Some(input::to_proto("wait", span)?);
            }
            let mut waiting = Waiting {
                client,
                progress: Progress::new(output, args.quiet),
                own_id: args.request_id.is_none(),
                request,
            };
            waiting.run(wait).await?
        }
    };
    let (lock, grant_token) = (grant.lock.clone(), grant.grant_token.clone());
    let grant = views::Grant::from(grant);
    let printed = if args.shell {
        output.text(&grant.to_shell())
    } else {
        output.answer(&grant)
    };
    if printed.is_err() {
        release(client, lock, grant_token).await;
    }
    printed
}

/// The grant of an answer; a retry may be told of one that has ended since.
fn not_ended(grant: Option<Grant>) -> Result<Grant, CliError> {
    let Some(grant) = grant else {
        return Err(CliError::new(
            Reason::Internal,
            "the server granted the lock without saying how",
        ));
    };
    if has_ended(&grant) {
        let message = format!(
            "the grant of the lock {} that this request id got has ended; ask with another id",
            grant.lock
        );
        return Err(CliError::new(Reason::NotHolder, message));
    }
    Ok(grant)
}

fn has_ended(grant: &Grant) -> bool {
    grant
        .expires_in
        .as_ref()
        .is_some_and(|span| span.seconds <= 0 && span.nanos <= 0)
}

/// A caller that stands in line.
struct Waiting<'a> {
    client: &'a Client,
    progress: Progress,
    request: AcquireLockRequest,
    /// Whether the request id is of this command's making, and so may be changed by it.
    own_id: bool,
}

impl Waiting<'_> {
    /// Stands in line until the lock is had, the time is over, or a signal comes.
    async fn run(&mut self, wait: Wait) -> Result<Grant, CliError> {
        let mut signals = Signals::listen()?;
        tokio::select! {
            biased;
            stood = self.stand_in_line(wait) => stood,
            exit = signals.next() => {
                self.give_up().await;
                let message = format!("gave up the place in line for {}", self.request.lock);
                Err(CliError::interrupted(exit, message))
            }
        }
    }

    /// Stands in line until the lock is had or the time is over. A server that breaks off, or has too
    /// much to do, is asked again, under the same request id, while there is time.
    async fn stand_in_line(&mut self, wait: Wait) -> Result<Grant, CliError> {
        let until = wait.until();
        if self.own_id {
            self.request.request_id = fresh_request_id();
        }
        loop {
            match self.stand().await {
                // The grant was given back, or expired, before this command was told of it.
                Ok(grant) if self.own_id && has_ended(&grant) => {
                    self.request.request_id = fresh_request_id();
                }
                Ok(grant) => return not_ended(Some(grant)),
                Err(error)
                    if error.reason == Reason::WaitTimedOut && matches!(wait, Wait::Forever) => {}
                Err(error) => {
                    let Some(retry_at) = error.retry_at(until) else {
                        return Err(error);
                    };
                    let awaited = Awaited::Lock(self.request.lock.clone());
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

    /// Stands in line once, telling every change of the position.
    async fn stand(&mut self) -> Result<Grant, CliError> {
        let (client, lock) = (self.client, self.request.lock.clone());
        let request = subscription(&self.request);
        let stream = client.locks().subscribe_and_grab(request).await;
        let mut stream = stream.map_err(|status| client.error(&status))?.into_inner();
        let mut lookup = pin!(Fuse::terminated());
        let mut position = 0;
        loop {
            tokio::select! {
                message = stream.message() => {
                    let message = message.map_err(|status| client.error(&status))?;
                    match message.and_then(|message| message.event) {
                        Some(Event::Granted(grant)) => {
                            self.progress.finish();
                            return Ok(grant);
                        }
                        Some(Event::Queued(queued)) => {
                            position = queued.position;
                            if !self.progress.is_quiet() {
                                lookup.set(look_up(client, lock.clone()).fuse());
                            }
                        }
                        None => return Err(CliError::new(
                            Reason::Unavailable,
                            "the server ended the wait without an answer",
                        )),
                    }
                }
                // Who holds is told where it is known: it never holds up the grant.
                found = &mut lookup => {
                    let found = found.ok().and_then(|answer| answer.lock);
                    self.progress.show(&Queued::new(&lock, position, found));
                }
            }
        }
    }

    /// Leaves the line for certain: asking again under the same id, without waiting, takes the place
    /// of the first call, and gives the grant that may have raced with the signal.
    async fn give_up(&mut self) {
        self.progress.finish();
        let request = AcquireLockRequest {
            wait: None,
            ..self.request.clone()
        };
        let leave = async {
            if let Ok(answer) = self.client.locks().acquire_lock(request).await
                && let Some(grant) = answer.into_inner().grant
            {
                release(self.client, grant.lock, grant.grant_token).await;
            }
        };
        // If this takes too long, the end of the connection does the same for all but that grant.
        let _ = tokio::time::timeout(GIVE_UP_TIMEOUT, leave).await;
    }
}

/// Gives back a grant that nobody will use. If that fails it ends with its TTL.
async fn release(client: &Client, lock: String, grant_token: String) {
    let request = ReleaseLockRequest {
        lock,
        grant_token,
        request_id: String::new(),
    };
    let _ = client.ask(client.locks().release_lock(request)).await;
}

async fn look_up(
    client: &Client,
    lock: String,
) -> Result<crate::proto::v1::GetLockResponse, CliError> {
    client
        .ask(client.locks().get_lock(GetLockRequest { lock }))
        .await
}

fn fresh_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn subscription(request: &AcquireLockRequest) -> SubscribeAndGrabRequest {
    let request = request.clone();
    SubscribeAndGrabRequest {
        lock: request.lock,
        mode: request.mode,
        max_shared: request.max_shared,
        hold: request.hold.map(|hold| match hold {
            ask::Hold::Ttl(ttl) => subscribe::Hold::Ttl(ttl),
            ask::Hold::LeaseId(id) => subscribe::Hold::LeaseId(id),
            ask::Hold::NoExpiry(no_expiry) => subscribe::Hold::NoExpiry(no_expiry),
        }),
        // Absent means 24 h, which is the most there is.
        wait: request.wait,
        owner: request.owner,
        metadata: request.metadata,
        request_id: request.request_id,
        release_delay: request.release_delay,
    }
}

/// A place in line, and who holds the lock, where that is known.
#[derive(Serialize)]
struct Queued<'a> {
    event: &'static str,
    lock: &'a str,
    position: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holders: Vec<views::Holder>,
    holder_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back_for: Option<f64>,
}

impl<'a> Queued<'a> {
    fn new(lock: &'a str, position: u32, found: Option<crate::proto::v1::Lock>) -> Queued<'a> {
        let found = found.unwrap_or_default();
        Queued {
            event: "queued",
            lock,
            position,
            holders: found.holders.into_iter().map(Into::into).collect(),
            holder_count: found.holder_count,
            held_back_for: found.held_back_for.as_ref().map(views::seconds),
        }
    }
}

impl Display for Queued<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Queued { lock, position, .. } = self;
        write!(f, "waiting for {lock}: number {position} in line")?;
        if let Some(holder) = self.holders.first() {
            write!(f, ", held by {}", holder.name())?;
        }
        match self.holder_count {
            0 => match self.held_back_for {
                Some(seconds) => write!(f, ", held back for {seconds}s as its holder lost it"),
                None => Ok(()),
            },
            1 => Ok(()),
            count => write!(f, " and {} more", count - 1),
        }
    }
}
