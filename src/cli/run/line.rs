//! Standing in line for locks.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Fuse, FutureExt as _};
use holdfast_client::{Client, Grant, Lock};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::hold::first_loss;
use super::news::{News, Place, at};
use super::plan::{Plan, What};
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
    let (told, mut positions) = mpsc::unbounded_channel();
    let mut acquiring = pin!(lock.acquire_watching(move |position| {
        let _ = told.send(position);
    }));
    let mut looking = pin!(Fuse::terminated());
    let mut next_look = Some(Instant::now() + FIRST_LOOK);
    let mut heard = false;
    let mut place = Place::new(Awaited::Lock(lock.name().to_owned()));
    loop {
        tokio::select! {
            biased;
            granted = &mut acquiring => return granted.map_err(CliError::from_client),
            Some(position) = positions.recv() => {
                heard = true;
                place.position = position;
                next_look = None;
                if !news.is_quiet() {
                    looking.set(lock.get().fuse());
                }
            }
            // Who holds is told where it is known: it never holds up the grant.
            found = &mut looking => {
                match found {
                    Ok(found) => {
                        heard = true;
                        place.is_held_by(found);
                        news.queued(&place);
                    }
                    Err(error) if heard => news.no_answer(&place, &error),
                    Err(error) => return Err(CliError::from_client(error)),
                }
                next_look = (!news.is_quiet()).then(|| Instant::now() + LOOK_INTERVAL);
            }
            () = at(next_look) => {
                next_look = None;
                looking.set(lock.get().fuse());
            }
            () = at(news.next_redraw()) => news.redraw(&place),
        }
    }
}
