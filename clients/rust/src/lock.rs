//! Locks.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::lease::Lease;
use crate::proto;
use crate::proto::acquire_lock_request::Hold;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::{AcquireLockRequest, LockMode};
use crate::session::Acquire;

/// A lock, and how to ask for it: made by [`Client::lock`]. Nothing is asked before one of the
/// asynchronous methods is called, any number of times.
#[derive(Clone, Debug)]
#[must_use]
pub struct Lock {
    client: Client,
    name: String,
    mode: LockMode,
    max_shared: u32,
    hold: HoldOn,
    wait: Option<Duration>,
    owner: Option<String>,
    metadata: BTreeMap<String, String>,
    release_delay: Option<Duration>,
}

/// What keeps a grant alive.
#[derive(Clone, Debug)]
enum HoldOn {
    Session,
    Ttl(Duration),
    Lease(Lease),
    Nothing,
}

impl Lock {
    pub(crate) fn new(client: Client, name: String) -> Lock {
        Lock {
            client,
            name,
            mode: LockMode::Exclusive,
            max_shared: 0,
            hold: HoldOn::Session,
            wait: None,
            owner: None,
            metadata: BTreeMap::new(),
            release_delay: None,
        }
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Gives the grant a lease of its own, which ends when it is not renewed for so long: 100 ms to
    /// 30 d. Without this the grant hangs on the session's lease, and costs no heartbeat of its own.
    pub fn ttl(mut self, ttl: Duration) -> Lock {
        self.hold = HoldOn::Ttl(ttl);
        self
    }

    /// Hangs the grant on this lease.
    pub fn lease(mut self, lease: &Lease) -> Lock {
        self.hold = HoldOn::Lease(lease.clone());
        self
    }

    /// Gives the grant no expiry: it ends only by a release, also when this program has died.
    pub fn no_expiry(mut self) -> Lock {
        self.hold = HoldOn::Nothing;
        self
    }

    /// How long to stand in line. Default: for ever. Zero: not at all.
    pub fn wait(mut self, wait: Duration) -> Lock {
        self.wait = Some(wait);
        self
    }

    /// Holds the lock together with other shared holders.
    pub fn shared(mut self) -> Lock {
        self.mode = LockMode::Shared;
        self
    }

    /// Holds the lock alone: the default.
    pub fn exclusive(mut self) -> Lock {
        self.mode = LockMode::Exclusive;
        self.max_shared = 0;
        self
    }

    /// The most shared holders at once, 1 to 1,000,000; 0: no bound.
    pub fn max_shared(mut self, max_shared: u32) -> Lock {
        self.max_shared = max_shared;
        self
    }

    /// Who asks, for people to read: at most 512 bytes. Default: the client's owner.
    pub fn owner(mut self, owner: impl Into<String>) -> Lock {
        self.owner = Some(owner.into());
        self
    }

    /// What the holder says of itself: at most 32 entries and 4 KiB in all.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Lock {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Has the server hold the lock back for so long when the grant is lost, so that work under it can
    /// be stopped before the next holder begins: at most 1 h. A release gives the lock on at once.
    pub fn release_delay(mut self, delay: Duration) -> Lock {
        self.release_delay = Some(delay);
        self
    }

    /// Reads the lock: who holds it since when, and how many wait.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where the name can't be one.
    pub async fn get(&self) -> Result<proto::Lock> {
        let shared = self.client.shared();
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let lock = self.name.clone();
                let request = shared.config.request(proto::GetLockRequest { lock });
                async move { LockServiceClient::new(channel).get_lock(request).await }
            })
            .await?;
        answer.lock.ok_or_else(Error::misfit)
    }

    /// Takes the lock, standing in line for it. Dropping the future leaves the line, and gives back a
    /// grant that was on its way.
    ///
    /// While the server can't be reached this goes on trying, for as long as it may wait and
    /// [`Builder::call_timeout`](crate::Builder::call_timeout) more.
    ///
    /// # Errors
    ///
    /// [`Error::WaitTimedOut`], or [`Error::Held`] where it was not to wait; [`Error::Lost`] where
    /// the lease to hang on ended; [`Error::Limit`] where the line is full; [`Error::Invalid`].
    pub async fn acquire(&self) -> Result<Grant> {
        self.ask(self.wait, None).await
    }

    /// As [`Lock::acquire`], telling the place in line, 1 for the next, whenever it changes.
    pub async fn acquire_watching(&self, mut on_position: impl FnMut(u32)) -> Result<Grant> {
        let (sender, mut places) = watch::channel(None);
        let asking = self.ask(self.wait, Some(sender));
        tokio::pin!(asking);
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                changed = places.changed() => match changed {
                    Ok(()) => {
                        let place = *places.borrow_and_update();
                        place.into_iter().for_each(&mut on_position);
                    }
                    Err(_) => return asking.await,
                }
            }
        }
    }

    /// Takes the lock where it can be had at once; `None`: somebody holds it.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`], and [`Error::Unavailable`] when there is no answer in time.
    pub async fn try_acquire(&self) -> Result<Option<Grant>> {
        match self.ask(Some(Duration::ZERO), None).await {
            Ok(grant) => Ok(Some(grant)),
            Err(Error::Held(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs `work` under the lock, waiting for it, and gives the lock back whatever the work does.
    /// `lock(key) { block }` of the etcd patterns.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`]; and [`Error::Lost`] when the grant was lost, in which case the work was
    /// dropped at the point where it waited.
    pub async fn scope<T>(&self, work: impl AsyncFnOnce(&Grant) -> T) -> Result<T> {
        self.acquire().await?.run(work).await
    }

    /// As [`Lock::scope`], but where somebody else holds the lock the work is not run: `None`.
    /// `tryLock(key) { block }` of the etcd patterns.
    ///
    /// # Errors
    ///
    /// As [`Lock::scope`].
    pub async fn try_scope<T>(&self, work: impl AsyncFnOnce(&Grant) -> T) -> Result<Option<T>> {
        match self.try_acquire().await? {
            Some(grant) => grant.run(work).await.map(Some),
            None => Ok(None),
        }
    }

    async fn ask(
        &self,
        wait: Option<Duration>,
        position: Option<watch::Sender<Option<u32>>>,
    ) -> Result<Grant> {
        let shared = self.client.shared();
        let owner = self.owner.as_ref().unwrap_or(&shared.config.owner);
        let request = AcquireLockRequest {
            lock: self.name.clone(),
            mode: self.mode.into(),
            max_shared: self.max_shared,
            hold: match &self.hold {
                HoldOn::Session => None,
                HoldOn::Ttl(ttl) => Some(Hold::Ttl(convert::span(*ttl))),
                HoldOn::Lease(lease) => Some(Hold::LeaseId(lease.id().to_owned())),
                HoldOn::Nothing => Some(Hold::NoExpiry(true)),
            },
            owner: owner.clone(),
            metadata: self.metadata.clone(),
            release_delay: self.release_delay.map(convert::span),
            ..AcquireLockRequest::default()
        };
        let lease = match &self.hold {
            HoldOn::Lease(lease) => Some(lease.clone()),
            _ => None,
        };
        let acquire = Acquire {
            request,
            wait,
            lease: lease.as_ref().map(Lease::life).transpose()?,
            position,
        };
        let held = shared.acquire(acquire).await?;
        Ok(Grant::new(held, lease, self.client.clone()))
    }
}

/// A lock that many may read and one may write: made by [`Client::rw_lock`]. Nobody overtakes: who
/// wants to read stands behind who waits to write.
#[derive(Clone, Debug)]
#[must_use]
pub struct RwLock(Lock);

impl RwLock {
    pub(crate) fn new(lock: Lock) -> RwLock {
        RwLock(lock)
    }

    /// The lock to read under, shared.
    pub fn read(&self) -> Lock {
        self.0.clone().shared()
    }

    /// The lock to write under, alone.
    pub fn write(&self) -> Lock {
        self.0.clone().exclusive()
    }
}
