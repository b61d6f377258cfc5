//! A hold on a lock.

use std::time::Duration;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::session::{Held, Loss};

/// A hold on a lock. It is renewed in the background, knows when it is lost, and gives the lock back
/// when it is dropped.
///
/// It is lost, by the client's own reckoning, before the server can give the lock to anyone else.
#[derive(Debug)]
#[must_use = "dropping a grant gives the lock back"]
pub struct Grant {
    held: Held,
    // After the hold: the release goes out before the lease or the client ends.
    _lease: Option<Lease>,
    client: Client,
}

impl Grant {
    pub(crate) fn new(held: Held, lease: Option<Lease>, client: Client) -> Grant {
        Grant {
            held,
            _lease: lease,
            client,
        }
    }

    /// The lock's name.
    pub fn lock(&self) -> &str {
        &self.held.hold.grant.lock
    }

    /// The number of this grant, greater than that of any earlier one in the namespace. A resource
    /// that keeps the highest it has seen, and refuses lower ones, is safe from former holders.
    pub fn fencing_token(&self) -> u64 {
        self.held.hold.grant.fencing_token
    }

    /// The secret that proves the hold. Treat it as a password.
    pub fn grant_token(&self) -> &str {
        &self.held.hold.grant.grant_token
    }

    /// The shared lease that the grant hangs on, the session's or another; `None`: it has its own or
    /// none. A secret too.
    pub fn lease_id(&self) -> Option<&str> {
        Some(self.held.hold.grant.lease_id.as_str()).filter(|id| !id.is_empty())
    }

    /// Whether it is lost. Reads the clock: right also just after the machine was suspended.
    pub fn is_lost(&self) -> bool {
        self.loss().is_some()
    }

    /// How it was lost; `None`: it is held.
    pub fn loss(&self) -> Option<Loss> {
        self.held.hold.loss(self.client.shared().now())
    }

    /// For how long it is held at least, if no renewal comes through; `None`: it has no expiry.
    pub fn remaining(&self) -> Option<Duration> {
        let now = self.client.shared().now();
        self.held.hold.life.as_ref().map(|life| life.left(now))
    }

    /// Waits until it is lost; while it is held this does not end.
    pub async fn lost(&self) -> Loss {
        self.held.hold.lost(self.client.shared()).await
    }

    /// Gives the lock back, and waits until the server has done it.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] where it was lost before: work done under it may have met another's.
    /// [`Error::Unavailable`] where the server did not answer; the release is still tried in the
    /// background, and the lock is free at the latest when its lease ends.
    pub async fn release(self) -> Result<()> {
        let Grant {
            held,
            _lease,
            client,
        } = self;
        client.shared().release(held).await
    }

    /// Runs `work` while the grant is held, and then gives the lock back. Where the grant is lost
    /// first, the work is dropped where it stands.
    pub(crate) async fn run<T>(self, work: impl AsyncFnOnce(&Grant) -> T) -> Result<T> {
        let done = tokio::select! {
            biased;
            loss = self.lost() => Err(loss),
            done = work(&self) => Ok(done),
        };
        match done {
            Ok(done) => self.release().await.map(|()| done),
            Err(loss) => Err(Error::lost(format!(
                "the grant of the lock {} was lost ({loss:?}) and the work under it was stopped",
                self.lock()
            ))),
        }
    }
}
