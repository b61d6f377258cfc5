//! Whether an endpoint may be called: its addresses against the policy, at subscription and again
//! whenever a connection is made, for a name may resolve to something else by then.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Host;

use super::{AddressPolicy, Endpoint};
use crate::core::Invalid;

/// How long a host name may take to be resolved.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// The most host names being resolved at a time. The system's resolver takes a thread for each, and
/// goes on after nobody waits for it any more.
pub const LOOKUPS_MAX: usize = 64;
/// The most addresses of one host that are looked at; the rest are left out.
pub const ADDRESSES_PER_HOST_MAX: usize = 64;

/// Finds the addresses of host names.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`. Whoever asks bounds the time.
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver, with its hosts file.
#[derive(Clone, Debug)]
pub struct SystemResolver(Arc<Semaphore>);

impl Default for SystemResolver {
    fn default() -> SystemResolver {
        SystemResolver(Arc::new(Semaphore::new(LOOKUPS_MAX)))
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (room, host) = (self.0.clone(), host.to_owned());
        Box::pin(async move {
            let room = room.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = move || {
                let _room = room;
                let found = (host.as_str(), 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(lookup)
                .await
                .map_err(io::Error::other)?
        })
    }
}

/// Why a host is not called.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// None of its addresses may be called.
    #[error("{0} is not on the public internet, and the operator does not allow it")]
    Inside(String),
    /// The name has no address, or the resolver failed.
    #[error("the host name {host} can't be resolved: {problem}")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said.
        problem: io::Error,
    },
    /// The resolver took longer than [`LOOKUP_TIMEOUT`].
    #[error("the host name {0} can't be resolved within {LOOKUP_TIMEOUT:?}")]
    Slow(String),
}

/// Decides which endpoints may be called. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    policy: AddressPolicy,
    resolver: Arc<dyn Resolve>,
}

impl Gate {
    /// Judges by `policy` what `resolver` finds.
    pub fn new(policy: AddressPolicy, resolver: impl Resolve) -> Gate {
        Gate {
            policy,
            resolver: Arc::new(resolver),
        }
    }

    /// Checks an endpoint that is subscribed: every address of its host must be one that may be
    /// called. Takes up to [`LOOKUP_TIMEOUT`].
    ///
    /// A name that can't be resolved is refused as well: it is a typing error far more often than
    /// trouble that will have passed, and the caller is still there to mend it.
    ///
    /// # Errors
    /// Names `field`. It does not tell which address a name has.
    pub async fn check(&self, field: &'static str, endpoint: &Endpoint) -> Result<(), Invalid> {
        let checked = async {
            match endpoint.host() {
                Some(Host::Domain(name)) => {
                    let found = self.lookup(name).await?;
                    match found.iter().all(|address| self.policy.allows(*address)) {
                        true => Ok(()),
                        false => Err(Refusal::Inside(name.to_owned())),
                    }
                }
                _ => self.check_literal(endpoint),
            }
        };
        checked.await.map_err(|refusal| {
            Invalid::new(
                field,
                format!("must have a host that may be called: {refusal}"),
            )
        })
    }

    /// Judges an endpoint whose host is an address. It says nothing of names; and HTTP libraries ask
    /// no resolver about addresses.
    pub(super) fn check_literal(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let address = match endpoint.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        match self.policy.allows(address) {
            true => Ok(()),
            false => Err(Refusal::Inside(address.to_string())),
        }
    }

    /// The addresses of a host name that may be called, at least one.
    async fn open(&self, name: &str) -> Result<Vec<IpAddr>, Refusal> {
        let mut addresses = self.lookup(name).await?;
        addresses.retain(|address| self.policy.allows(*address));
        match addresses.is_empty() {
            true => Err(Refusal::Inside(name.to_owned())),
            false => Ok(addresses),
        }
    }

    /// The addresses of a host name, at least one.
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, Refusal> {
        let unresolved = |problem| Refusal::Unresolved {
            host: name.to_owned(),
            problem,
        };
        let found = timeout(LOOKUP_TIMEOUT, self.resolver.resolve(name)).await;
        let mut found = found
            .map_err(|_| Refusal::Slow(name.to_owned()))?
            .map_err(unresolved)?;
        found.truncate(ADDRESSES_PER_HOST_MAX);
        match found.is_empty() {
            true => Err(unresolved(io::Error::other("it has no address"))),
            false => Ok(found),
        }
    }
}

impl reqwest::dns::Resolve for Gate {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let gate = self.clone();
        Box::pin(async move {
            let addresses = gate.open(name.as_str()).await?;
            // The port of the URL takes the place of 0.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
