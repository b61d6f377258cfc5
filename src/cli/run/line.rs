//! Standing in line for locks.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_client::{Client, Error, Grant, Lock, proto};
use tokio::sync::watch;
use tokio::time::Instant;

use super::hold::first_loss;
use super::news::{News, Place};
use super::plan::{Plan, What};
use super::standing::Standing;
use crate::cli::awaited::Awaited;
use crate::cli::error::CliError;

/// When the server is first asked who holds the lock, where it said nothing by itself: one that does
/// not answer then is no server.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How often it is asked again, to see whether it is there still.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Takes all locks, one after the other. What was lost while waiting for the next is taken anew.
pub async fn take(
    client: &Client,
    plan: &Plan,
    names: &BTreeSet<String>,
    news: &mut News,
) -> Result<Vec<Grant>, CliError> {
    let until = plan.wait.until();
    'afresh: loop {
        let mut grants = Vec::with_capacity(names.len());
        for name in names {
            let lock = asked_for(client, plan, name, until);
            let granted = tokio::select! {
                biased;
                granted = stand(&lock, news) => granted?,
                _ = first_loss(&grants) => continue 'afresh,
            };
            grants.push(granted);
        }
        return Ok(grants);
    }
}

/// The lock as it is to be held, waited for until then.
fn asked_for(client: &Client, plan: &Plan, name: &str, until: Option<Instant>) -> Lock {
    let mut lock = client
        .lock(name)
        .owner(plan.owner.clone())
        .release_delay(plan.release_delay());
    if let What::Locks {
        shared: true, max, ..
    } = plan.what
    {
        lock = lock.shared().max_shared(max);
    }
    for (key, value) in &plan.metadata {
        lock = lock.metadata(key, value);
    }
    match until {
        Some(until) => lock.wait(until.saturating_duration_since(Instant::now())),
        None => lock,
    }
}

/// Stands in line for one lock, telling how that goes.
async fn stand(lock: &Lock, news: &mut News) -> Result<Grant, CliError> {
    let (told, positions) = watch::channel(0);
    let acquiring = lock.acquire_watching(move |position| {
        told.send_replace(position);
    });
    let standing = Standing {
        place: Place::new(Awaited::Lock(lock.name().to_owned())),
        news,
        next_look: Some(Instant::now() + FIRST_LOOK),
        heard: false,
    };
    let acquiring = async { acquiring.await.map_err(CliError::from_client) };
    let look = async || lock.get().await;
    standing.until(acquiring, positions, look, looked).await
}

/// Takes in who holds the lock.
fn looked(
    standing: &mut Standing<'_>,
    found: Result<proto::Lock, Error>,
) -> Result<Option<Instant>, CliError> {
    let Standing {
        place, news, heard, ..
    } = standing;
    match found {
        Ok(found) => {
            place.is_held_by(found);
            news.queued(place);
        }
        Err(error) if *heard => news.no_answer(place, &error),
        Err(error) => return Err(CliError::from_client(error)),
    }
    Ok((!news.is_quiet()).then(|| Instant::now() + LOOK_INTERVAL))
}
