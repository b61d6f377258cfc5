//! Leases that are made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::proto::lease_service_client::LeaseServiceClient;
use crate::proto::{CreateLeaseRequest, RevokeLeaseRequest};
use crate::session::{Keeps, Life, Loss};

/// How a lease is to be made. A [`Duration`] is one with that TTL.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LeaseOptions {
    ttl: Option<Duration>,
    owner: Option<String>,
    metadata: BTreeMap<String, String>,
}

impl LeaseOptions {
    /// How long the lease lasts without a renewal: 100 ms to 30 d. Default: the server's, 60 s.
    pub fn ttl(mut self, ttl: Duration) -> LeaseOptions {
        self.ttl = Some(ttl);
        self
    }

    /// Whose it is, for people to read: at most 512 bytes. Default: the client's owner.
    pub fn owner(mut self, owner: impl Into<String>) -> LeaseOptions {
        self.owner = Some(owner.into());
        self
    }

    /// What the owner says of itself: at most 32 entries and 4 KiB in all.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> LeaseOptions {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

impl From<Duration> for LeaseOptions {
    fn from(ttl: Duration) -> LeaseOptions {
        LeaseOptions::default().ttl(ttl)
    }
}

/// A lease that is renewed in the background: one heartbeat for all locks that hang on it. Clones are
/// the same lease. When the last one is dropped it is renewed no more, and ends with its TTL;
/// [`Lease::revoke`] ends it at once.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    id: String,
    life: Arc<Life>,
    client: Client,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.client.shared().end_life(&self.life, Loss::Expired);
    }
}

impl Lease {
    pub(crate) async fn create(client: Client, options: LeaseOptions) -> Result<Lease> {
        let shared = client.shared();
        let request = CreateLeaseRequest {
            ttl: options.ttl.map(convert::span),
            owner: options.owner.unwrap_or_else(|| shared.config.owner.clone()),
            metadata: options.metadata,
            request_id: convert::request_id(),
        };
        let mut sent = shared.now();
        let created = shared
            .call(Duration::ZERO, |channel| {
                sent = shared.now();
                let request = shared.config.request(request.clone());
                async move { LeaseServiceClient::new(channel).create_lease(request).await }
            })
            .await?;
        let lease = created.lease.ok_or_else(Error::misfit)?;
        let ttl = lease.ttl.map(convert::duration).unwrap_or_default();
        let left = lease.expires_in.map(convert::duration).unwrap_or_default();
        let keeps = Keeps::Lease(lease.lease_id.clone());
        let life = Arc::new(Life::new(keeps, ttl, sent, left));
        shared.keep(Arc::clone(&life));
        Ok(Lease(Arc::new(Kept {
            id: lease.lease_id,
            life,
            client,
        })))
    }

    /// The lease's id. Whoever knows it may renew, use and revoke the lease.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Whether it has ended, or by this client's reckoning may have ended.
    pub fn is_lost(&self) -> bool {
        self.0.life.is_over(self.0.client.shared().now())
    }

    pub(crate) fn life(&self) -> Result<Arc<Life>> {
        match self.is_lost() {
            true => Err(Error::lost("the lease has ended")),
            false => Ok(Arc::clone(&self.0.life)),
        }
    }

    /// Ends the lease with all that hangs on it; how many grants that were.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where it has ended already.
    pub async fn revoke(&self) -> Result<u32> {
        let shared = self.0.client.shared();
        shared.end_life(&self.0.life, Loss::Revoked);
        let request = RevokeLeaseRequest {
            lease_id: self.0.id.clone(),
            request_id: convert::request_id(),
        };
        let revoked = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(request.clone());
                async move { LeaseServiceClient::new(channel).revoke_lease(request).await }
            })
            .await?;
        Ok(revoked.released_count)
    }
}
