//! What is held while the command runs.

use futures_util::future::{join_all, select_all};
use holdfast_client::{Client, Error, Grant};
use secrecy::ExposeSecret as _;

use super::Failure;
use super::line;
use super::news::{Loss, News};
use super::plan::{Plan, What};
use super::signals::Signals;
use super::ticket::{self, Turn};
use crate::cli::client::{self, ConnectArgs};
use crate::cli::error::CliError;

/// What is held.
#[derive(Debug)]
pub enum Held {
    /// Locks, in the order of their names; all on the lease of one session.
    Locks(Vec<Grant>),
    /// A ticket's turn.
    Turn(Turn),
}

/// Connects, or says in one sentence why that can't be.
pub async fn connect(args: &ConnectArgs, plan: &Plan) -> Result<Client, CliError> {
    let addr = client::base_url(&args.addr)?;
    let mut builder = Client::builder(addr.clone())
        .session_ttl(plan.ttl)
        .owner(plan.owner.clone())
        .call_timeout(plan.timeout)
        .connect_timeout(plan.timeout);
    if let Some(tls) = client::tls_config(&addr, &args.tls)? {
        builder = builder.tls(tls);
    }
    if let Some(token) = client::token(args)? {
        builder = builder.token(token.expose_secret());
    }
    let connected = builder.connect().await.map_err(CliError::from_client);
    connected
        .map_err(|error| error.adding("; another server is named with --addr or HOLDFAST_ADDR"))
}

/// Takes what is asked for, waiting for it. A signal ends the waiting, and then nothing is held.
pub async fn take(
    client: &Client,
    plan: &Plan,
    news: &mut News,
    signals: &mut Signals,
) -> Result<Held, Failure> {
    match &plan.what {
        What::Locks { names, .. } => {
            let taking = line::take(client, plan, names, news);
            signals.unless_one_comes(taking).await.map(Held::Locks)
        }
        What::Fifo(id) => {
            // Not cut short by a signal: a ticket that nobody knows of would hold up the line.
            let ticket = ticket::draw(client, plan, id).await?;
            let waiting = ticket::wait(client, plan, &ticket, news);
            match signals.unless_one_comes(waiting).await {
                Ok(turn) => Ok(Held::Turn(turn)),
                Err(failure) => {
                    ticket::take_back(&ticket).await;
                    Err(failure)
                }
            }
        }
    }
}

impl Held {
    /// What the command is told of it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Held::Locks(grants) => {
                let lines =
                    |of: fn(&Grant) -> String| grants.iter().map(of).collect::<Vec<_>>().join("\n");
                let lease = grants.iter().find_map(Grant::lease_id).unwrap_or_default();
                vec![
                    ("HOLDFAST_LOCK", lines(|grant| grant.lock().to_owned())),
                    (
                        "HOLDFAST_FENCING_TOKEN",
                        lines(|grant| grant.fencing_token().to_string()),
                    ),
                    ("HOLDFAST_LEASE_ID", lease.to_owned()),
                ]
            }
            Held::Turn(turn) => turn.environment(),
        }
    }

    /// Whether any of it is lost.
    pub fn is_lost(&self) -> bool {
        match self {
            Held::Locks(grants) => grants.iter().any(Grant::is_lost),
            Held::Turn(turn) => turn.is_lost(),
        }
    }

    /// Keeps it, and waits until any of it is lost.
    pub async fn lost(&self) -> Loss {
        match self {
            Held::Locks(grants) => first_loss(grants).await,
            Held::Turn(turn) => turn.lost().await,
        }
    }

    /// Gives all of it back. Tells what could not be.
    ///
    /// # Errors
    /// Some of it was lost before.
    pub async fn give_back(self, news: &News) -> Result<(), Loss> {
        match self {
            Held::Locks(grants) => {
                let released = join_all(grants.into_iter().map(|grant| async {
                    let lock = grant.lock().to_owned();
                    let released = grant.release().await;
                    given_back(released, news, || Loss::of_lock(&lock, "expired"))
                }));
                released.await.into_iter().collect()
            }
            Held::Turn(turn) => {
                let loss = turn.loss("lapsed");
                given_back(turn.done().await, news, || loss)
            }
        }
    }
}

/// Waits until any of the grants is lost.
pub async fn first_loss(grants: &[Grant]) -> Loss {
    if grants.is_empty() {
        return std::future::pending().await;
    }
    let losses = grants.iter().map(|grant| {
        Box::pin(async { Loss::of_lock(grant.lock(), &format!("{:?}", grant.lost().await)) })
    });
    select_all(losses).await.0
}

/// What came of giving something back.
fn given_back(
    done: Result<(), Error>,
    news: &News,
    loss: impl FnOnce() -> Loss,
) -> Result<(), Loss> {
    match done {
        Err(Error::Lost(_) | Error::NotHolder(_)) => Err(loss()),
        Err(error) => {
            // It ends by itself; the command's work was done under it.
            news.not_given_back(&error);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
