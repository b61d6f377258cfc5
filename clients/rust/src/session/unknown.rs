//! Grants that the client does not know of.
//!
//! An acquire without its answer is made again with its request id. Where the server has forgotten
//! that meanwhile, it would wait behind the grant that it got, for as long as this client keeps the
//! lease of both alive. So such a lease is given up.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::*;
use crate::convert;
use crate::limits::REQUEST_MEMORY;
use crate::proto::lease_service_client::LeaseServiceClient;
use crate::proto::{GetLeaseRequest, RevokeLeaseRequest};

/// A lease that may have grants which nobody knows of.
struct Doubtful {
    life: Arc<Life>,
    lease_id: String,
    /// How many grants of it are known.
    known: usize,
}

impl Shared {
    /// Gives up the leases that have grants which nobody knows of, and can't ask for again.
    pub(super) async fn give_up_unknown(&self) -> Result<()> {
        let doubtful = self.state().doubtful(self.now());
        for Doubtful {
            life,
            lease_id,
            known,
        } in doubtful
        {
            let mut leases = LeaseServiceClient::new(self.channel());
            let get = GetLeaseRequest {
                lease_id: lease_id.clone(),
            };
            let lease = match leases.get_lease(self.config.request(get)).await {
                Ok(told) => told.into_inner().lease.unwrap_or_default(),
                Err(status) if status.code() == Code::NotFound => continue,
                Err(status) => return Err(status.into()),
            };
            if usize::try_from(lease.grant_count).unwrap_or(usize::MAX) <= known {
                continue;
            }
            // Before the server can give away what hangs on it.
            self.end_life(&life, Loss::Unknown);
            let revoke = RevokeLeaseRequest {
                lease_id,
                request_id: convert::request_id(),
            };
            leases.revoke_lease(self.config.request(revoke)).await?;
        }
        Ok(())
    }
}

impl State {
    /// The leases on which something was asked for so long ago, and nothing heard since, that the
    /// server may have forgotten the request.
    fn doubtful(&self, now: Duration) -> Vec<Doubtful> {
        let mut found: Vec<Doubtful> = Vec::new();
        for pending in self.calls.values() {
            let Pending::Acquire(acquire) = pending else {
                continue;
            };
            if acquire.asked.max(self.told) + REQUEST_MEMORY >= now {
                continue;
            }
            let Some((life, lease_id)) = self.lease_of(acquire) else {
                continue;
            };
            if found.iter().any(|other| Arc::ptr_eq(&other.life, life)) {
                continue;
            }
            let known = self.holds.values().filter(|hold| hold.hangs_on(life));
            found.push(Doubtful {
                life: Arc::clone(life),
                lease_id: lease_id.clone(),
                known: known.count(),
            });
        }
        found
    }

    /// The shared lease that an acquire hangs on, and its id.
    fn lease_of<'a>(&'a self, acquire: &'a PendingAcquire) -> Option<(&'a Arc<Life>, &'a String)> {
        match &acquire.lease {
            Some(life) => match &life.keeps {
                Keeps::Lease(id) => Some((life, id)),
                Keeps::Session | Keeps::Grant { .. } => None,
            },
            None if acquire.is_of_session() => {
                let session = self.session.as_ref()?;
                Some((&session.life, &session.id))
            }
            None => None,
        }
    }
}
