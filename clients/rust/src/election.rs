//! Elections: a lock whose holder leads.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tonic::Streaming;

use crate::convert;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::lock::Lock;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::watch_lock_response::Event;
use crate::proto::{Holder, LockEventKind, WatchLockRequest, WatchLockResponse};

/// An election: made by [`Client::election`](crate::Client::election).
#[derive(Clone, Debug)]
#[must_use]
pub struct Election(Lock);

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// The number of the term: greater than that of any earlier one.
    pub fencing_token: u64,
    /// Who it is, in its own words.
    pub owner: String,
    /// What it says of itself.
    pub metadata: BTreeMap<String, String>,
    /// Since when, by the server's wall clock.
    pub since: Option<SystemTime>,
}

impl From<Holder> for Leader {
    fn from(holder: Holder) -> Leader {
        Leader {
            fencing_token: holder.fencing_token,
            owner: holder.owner,
            metadata: holder.metadata,
            since: convert::time(holder.acquire_time),
        }
    }
}

impl Election {
    pub(crate) fn new(lock: Lock) -> Election {
        Election(lock)
    }

    /// Waits to be elected. The one that was leads until it resigns, by [`Grant::release`] or by
    /// dropping the grant, or loses it. `name` is how others see it.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`].
    pub async fn campaign(&self, name: impl Into<String>) -> Result<Grant> {
        self.0.clone().owner(name).acquire().await
    }

    /// The lock behind it, for a campaign with a TTL, a bounded wait or metadata.
    pub fn lock(&self) -> Lock {
        self.0.clone()
    }

    /// Follows who leads.
    pub fn observe(&self) -> Observer {
        Observer {
            lock: self.0.clone(),
            events: None,
            told: None,
        }
    }
}

/// Follows an election: made by [`Election::observe`].
#[derive(Debug)]
pub struct Observer {
    lock: Lock,
    events: Option<Streaming<WatchLockResponse>>,
    /// What was told last.
    told: Option<Option<Leader>>,
}

impl Observer {
    /// Who leads, at first and whenever it changes; `None`: nobody. A connection that breaks is made
    /// again, and only what has changed is told.
    ///
    /// # Errors
    ///
    /// What the server says, such as [`Error::PermissionDenied`], and [`Error::Unavailable`] when
    /// the server can't be reached for the whole call timeout; asking again then goes on.
    pub async fn next(&mut self) -> Result<Option<Leader>> {
        loop {
            let leader = self.event().await?;
            if self.told.as_ref() != Some(&leader) {
                self.told = Some(leader.clone());
                return Ok(leader);
            }
        }
    }

    async fn event(&mut self) -> Result<Option<Leader>> {
        loop {
            let events = match &mut self.events {
                Some(events) => events,
                None => {
                    let events = self.watch().await?;
                    self.events.insert(events)
                }
            };
            match events.message().await {
                Ok(Some(message)) => {
                    if let Some(leader) = leader_of(message) {
                        return Ok(leader);
                    }
                }
                Ok(None) => self.events = None,
                Err(status) => {
                    self.events = None;
                    let error = Error::from(status);
                    if !error.may_be_retried() && error.reason() != "SLOW_READER" {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn watch(&self) -> Result<Streaming<WatchLockResponse>> {
        let shared = self.lock.client().shared();
        shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(WatchLockRequest {
                    lock: self.lock.name().to_owned(),
                });
                async move { LockServiceClient::new(channel).watch_lock(request).await }
            })
            .await
    }
}

/// Who leads after an event; the outer `None`: it says nothing of that.
fn leader_of(message: WatchLockResponse) -> Option<Option<Leader>> {
    match message.event? {
        Event::State(lock) => Some(lock.holders.into_iter().next().map(Leader::from)),
        Event::Change(change) => match change.kind() {
            LockEventKind::Granted => change.holder.map(|holder| Some(holder.into())),
            _ => (change.holder_count == 0).then_some(None),
        },
    }
}
