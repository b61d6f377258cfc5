//! The running server: everything between the operating system and the surfaces.
//!
//! It starts and stops things and lets requests in; it knows no rule of the service, and no shape of
//! any surface beyond those of the refusals that come before one.

mod auth;
mod body;
pub mod config;
mod docs;
mod error;
mod front;
mod health;
pub mod limits;
mod listen;
pub mod logs;
mod origin;
mod refusal;
mod router;
mod serve;
mod store;
mod tls;
pub mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

pub use body::BodyTimedOut;
pub use config::{Config, Settings};
pub use error::StartError;
pub use tls::TlsFiles;

use self::front::Front;
use self::health::Phase;
use self::limits::STORE_CLOSE_PATIENCE;
use self::origin::Origins;
use self::serve::Connections;
use self::store::Closed;
use self::tls::Tls;
use self::tokens::{TokenTable, TokensFile};
use crate::api::{Api, grpc};
use crate::core::Namespace;
use crate::webhook::Sender;

/// The namespace of those who need no token.
const NAMESPACE_DEFAULT: &str = "default";

/// A server that runs. Dropping it cuts its connections off; [`Server::shutdown`] is the way to end
/// it well.
pub struct Server {
    local_addr: SocketAddr,
    is_encrypted: bool,
    front: Arc<Front>,
    health: grpc::Health,
    running: Running,
    store_closed: Closed,
}

impl Server {
    /// Binds, opens the store, loads it and serves. While it loads, the port answers already: health
    /// with 503, everything else with `UNAVAILABLE`.
    ///
    /// # Errors
    /// One sentence that says what to do. Nothing is left running.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let origins = Origins::new(&config.allow_origins)?;
        let (addresses, tokens, tls, webhooks) = blocking({
            let config = config.clone();
            move || {
                let addresses = listen::resolve(&config.listen)?;
                let tokens = load_tokens(&config, &addresses)?;
                let tls = config.tls.map(Tls::load).transpose()?;
                let webhooks = Sender::new(config.webhook_addresses)?;
                Ok((addresses, tokens, tls.map(Arc::new), webhooks))
            }
        })
        .await?;
        let listener = listen::bind(&addresses)?;
        let local_addr = listener.local_addr().map_err(|source| StartError::Bind {
            address: addresses.first().copied().unwrap_or(UNSPECIFIED),
            source,
        })?;

        let cors = origins.cors();
        let front = Arc::new(Front::new(&config, Arc::new(tokens), origins));
        let connections = Connections::new(&config.timers, connections_max(&config), tls.clone());
        let mut running = Running {
            connections: connections.clone(),
            background: Vec::new(),
            api: None,
        };
        let answer = {
            let front = front.clone();
            move |request| front.clone().answer(request)
        };
        running.background.push(match cors {
            None => tokio::spawn(connections.accept(listener, service_fn(answer))),
            Some(cors) => {
                let service = tower::Layer::layer(&cors, tower::service_fn(answer));
                let service = hyper_util::service::TowerToHyperService::new(service);
                tokio::spawn(connections.accept(listener, service))
            }
        });

        let (api, store_closed) = blocking({
            let config = config.clone();
            move || {
                let (store, closed) = store::open(config.store, config.data_dir.as_deref())?;
                let api = Api::start(store, config.ttl_default, webhooks)
                    .map_err(|source| StartError::Store { source })?;
                Ok((api, closed))
            }
        })
        .await?;
        running.api = Some(api.clone());
        let health = grpc::Health::new();
        let services = grpc::Services::new(&api);
        let router = router::assemble(&api, services.clone(), &config, &health)?;
        front.open(api.clone(), services, router);
        let tokens = front.tokens.clone();
        let checking = again_and_again(config.timers.tokens_check, move || {
            tokens.refresh();
        });
        running.background.push(tokio::spawn(checking));
        if let Some(tls) = tls {
            let checking = again_and_again(config.timers.tls_check, move || tls.refresh());
            running.background.push(tokio::spawn(checking));
        }
        running.background.push(tokio::spawn(api.post_webhooks()));
        Ok(Server {
            local_addr,
            is_encrypted: config.tls.is_some(),
            front,
            health,
            running,
            store_closed,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether callers without an API token are let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.front.tokens.anonymous(), tokens::Found::Caller(_))
    }

    /// Stops: says so to whoever asks after its health, sends those who wait away with a hint to come
    /// back, lets what is under way finish, commits and lets the store go. Connections that have not
    /// finished by the deadline are cut off.
    pub async fn shutdown(self, deadline: Duration) {
        let Server {
            front,
            health,
            mut running,
            store_closed,
            ..
        } = self;
        front.lifecycle.advance(Phase::Stopping);
        health.set_serving(false).await;
        if let Some(api) = &running.api {
            api.stop_accepting();
        }
        running.connections.drain();
        if timeout(deadline, running.connections.drained())
            .await
            .is_err()
        {
            tracing::warn!(
                ?deadline,
                "connections are cut off that did not finish in time"
            );
        }
        running.connections.abort();
        for task in std::mem::take(&mut running.background) {
            task.abort();
            // It was cancelled, which is no news.
            let _ = task.await;
        }
        running.connections.drained().await;
        if let Some(api) = running.api.take() {
            // A panic there has been logged, and there is nothing left to stop.
            let _ = tokio::task::spawn_blocking(move || api.stop()).await;
        }
        // Calls that were cut off let go of the store as they are dropped; whoever waits for the end
        // may want to open it again.
        drop((front, health, running));
        if timeout(STORE_CLOSE_PATIENCE, store_closed).await.is_err() {
            tracing::warn!("something still holds the store");
        }
    }
}

/// What a start has set going. Dropped, it cuts all of it off.
struct Running {
    connections: Connections,
    background: Vec<JoinHandle<()>>,
    api: Option<Api>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(api) = &self.api {
            api.stop_accepting();
        }
        self.connections.abort();
        self.background.iter().for_each(JoinHandle::abort);
    }
}

const UNSPECIFIED: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// The tokens; refused are addresses that others can reach while there are none.
fn load_tokens(config: &Config, addresses: &[SocketAddr]) -> Result<TokenTable, StartError> {
    // With certificates of clients it is not everyone who can reach it.
    let strangers_held_off = config
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    let reachable = addresses
        .iter()
        .find(|a| !listen::is_loopback(**a) && !strangers_held_off)
        .copied();
    let namespace = Namespace::new(NAMESPACE_DEFAULT).map_err(|invalid| StartError::Setting {
        name: "namespace",
        expected: invalid.expected,
    })?;
    let tokens = TokenTable::load(
        config.tokens.clone(),
        config.data_dir.as_ref().map(TokensFile::new),
        namespace,
        config.allow_anonymous || reachable.is_none(),
    )?;
    match reachable {
        Some(address) if tokens.is_empty() && !config.allow_anonymous => {
            Err(StartError::Unprotected { address })
        }
        _ => Ok(tokens),
    }
}

/// Does what blocks, over and over, away from the tasks that must not.
async fn again_and_again(every: Duration, work: impl Fn() + Clone + Send + 'static) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A panic there has been logged; the next tick tries again.
        let _ = tokio::task::spawn_blocking(work.clone()).await;
    }
}

/// As many connections as are allowed and as there are files for.
fn connections_max(config: &Config) -> usize {
    let wanted = u64::from(config.connections_max);
    let allowed = match rlimit::Resource::NOFILE.get_soft() {
        Ok(files) => wanted.min(files.saturating_sub(limits::FILES_RESERVED).max(1)),
        Err(_) => wanted,
    };
    if allowed < wanted {
        tracing::debug!(allowed, "the limit of open files bounds the connections");
    }
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

/// Does what blocks, away from the tasks that must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StartError::Defect)?
}
