//! The client.

use std::sync::Arc;

use tokio::runtime::Handle;
use tonic::transport::Channel;

use crate::builder::{Builder, Config};
use crate::election::Election;
use crate::error::Result;
use crate::fifo::Fifo;
use crate::lease::{Lease, LeaseOptions};
use crate::lock::{Lock, RwLock};
use crate::queue::Queue;
use crate::session::Shared;
use crate::value::Value;

/// A connection to a server, and the session that keeps what it holds. Clones are the same client.
///
/// When the last clone and the last thing taken through it are dropped, the session is closed in the
/// background; [`Client::close`] waits for that.
#[derive(Clone, Debug)]
pub struct Client(Arc<Owner>);

/// Ends the client when it is dropped.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.begin_end();
    }
}

impl Client {
    /// Connects to a server, such as `http://127.0.0.1:4653`, with defaults for everything else.
    ///
    /// # Errors
    ///
    /// As [`Builder::connect`].
    pub async fn connect(address: impl Into<String>) -> Result<Client> {
        Client::builder(address).connect().await
    }

    /// A client that is to be told more than an address.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address)
    }

    pub(crate) fn new(config: Config, channel: Channel) -> Client {
        let shared = Arc::new(Shared::new(config, channel, Handle::current()));
        shared.start();
        Client(Arc::new(Owner(shared)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Gives back all that is held over the session, and waits until the server has heard of it: at
    /// most 2 s. Whatever is asked afterwards fails.
    pub async fn close(&self) {
        self.shared().begin_end();
        self.shared().ended().await;
    }

    /// A lock: 1 to 512 bytes of UTF-8 without control characters. Nothing is asked yet.
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.clone(), name.into())
    }

    /// A lock that many may read and one may write.
    pub fn rw_lock(&self, name: impl Into<String>) -> RwLock {
        RwLock::new(self.lock(name))
    }

    /// A lock that up to `permits`, 1 to 1,000,000, may hold at once. Where holders asked for
    /// different numbers the smallest counts.
    pub fn semaphore(&self, name: impl Into<String>, permits: u32) -> Lock {
        self.lock(name).shared().max_shared(permits)
    }

    /// An election, whose leader is the one that holds the lock of this name.
    pub fn election(&self, name: impl Into<String>) -> Election {
        Election::new(self.lock(name))
    }

    /// Makes a lease of its own, which many locks can hang on; it is renewed until it is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) where the TTL is out of its bounds,
    /// [`Error::Limit`](crate::Error::Limit) where there is no room for one more.
    pub async fn lease(&self, options: impl Into<LeaseOptions>) -> Result<Lease> {
        Lease::create(self.clone(), options.into()).await
    }

    /// A FIFO: a durable line. Nothing is asked yet.
    pub fn fifo(&self, id: impl Into<String>) -> Fifo {
        Fifo::new(self.clone(), id.into())
    }

    /// A queue of items. Nothing is asked yet.
    pub fn queue(&self, name: impl Into<String>) -> Queue {
        Queue::new(self.clone(), name.into())
    }

    /// A value under a key. Nothing is asked yet.
    pub fn value(&self, key: impl Into<String>) -> Value {
        Value::new(self.clone(), key.into())
    }
}
