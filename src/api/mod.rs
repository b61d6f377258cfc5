//! The surfaces: adapters that turn a call into a command, ask the shard, and shape the answer.
//!
//! An adapter holds no rule of the service and no state of its own.

pub mod dialects;
pub mod error;
pub mod fifo;
mod grant_token;
pub mod grpc;
pub mod http;
pub mod openapi;
mod page;
pub mod rest;
pub mod webhook;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub use error::{ApiError, Reason};
pub use grant_token::{GrantTokens, Receipts};
pub use webhook::WebhookSecrets;

use crate::core::{
    About, Acquire, Delivery, Fnv1a, Hold, Invalid, LeaseId, LockName, Mode, Namespace, Proof,
    QueueName, Refusal, ReleaseDelay, RequestId,
};
use crate::shard::Shard;
use crate::store::{ShardId, Store, StoreError};
use crate::webhook::Sender;

/// How many shards namespaces are spread over. One writer suffices for one store on one machine:
/// more would only split its commits.
pub const SHARDS: u16 = 1;

/// What every adapter works with. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    shards: Vec<Shard>,
    grant_tokens: GrantTokens,
    receipts: Receipts,
    webhook_secrets: WebhookSecrets,
    sender: Sender,
    ttl_default: Duration,
    stopping: CancellationToken,
}

/// Whom a request comes from. The authentication layer puts it into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The namespace that it works in, and sees nothing outside of.
    pub namespace: Namespace,
    /// What it may do there.
    pub role: Role,
}

/// What a caller may do in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Use locks, leases, FIFOs, queues and values.
    Use,
    /// Also end grants and FIFOs of others, list what there is, see whose ticket is which, remove items
    /// of queues, and see where webhooks go.
    Admin,
}

impl Identity {
    /// Refuses who is not an administrator.
    pub fn require_admin(&self) -> Result<(), ApiError> {
        match self.role {
            Role::Admin => Ok(()),
            Role::Use => Err(ApiError::new(
                Reason::PermissionDenied,
                "this needs an API token with the role admin",
            )),
        }
    }
}

impl Api {
    /// Claims and loads every shard of the store. Blocks. What `sender` is to post waits for
    /// [`Api::post_webhooks`].
    pub fn start(
        store: Arc<dyn Store>,
        ttl_default: Duration,
        sender: Sender,
    ) -> Result<Api, StoreError> {
        let server_key = store.server_key();
        let shards = (0..SHARDS)
            .map(|id| Shard::start(store.clone(), ShardId(id)))
            .collect::<Result<_, _>>()?;
        Ok(Api(Arc::new(Inner {
            shards,
            grant_tokens: GrantTokens::new(&server_key),
            receipts: Receipts::new(&server_key),
            webhook_secrets: WebhookSecrets::new(&server_key),
            sender,
            ttl_default,
            stopping: CancellationToken::new(),
        })))
    }

    /// Over a store in memory, for tests.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(crate) fn in_memory() -> Api {
        let store = Arc::new(crate::store::MemoryStore::new([7; 32]));
        let sender = Sender::new(Default::default()).unwrap();
        Api::start(store, Duration::from_secs(60), sender).unwrap()
    }

    /// The shard that owns a namespace.
    pub fn shard(&self, namespace: &Namespace) -> &Shard {
        let mut hasher = Fnv1a::default();
        namespace.hash(&mut hasher);
        let index = hasher.finish() % self.0.shards.len() as u64;
        &self.0.shards[index as usize]
    }

    /// Makes and reads grant tokens.
    pub fn grant_tokens(&self) -> &GrantTokens {
        &self.0.grant_tokens
    }

    /// Makes and reads receipts.
    pub fn receipts(&self) -> &Receipts {
        &self.0.receipts
    }

    /// Makes the secrets that webhooks are signed with.
    pub fn webhook_secrets(&self) -> &WebhookSecrets {
        &self.0.webhook_secrets
    }

    /// Posts webhooks, and tells where they may be posted.
    pub fn sender(&self) -> &Sender {
        &self.0.sender
    }

    fn shards(&self) -> &[Shard] {
        &self.0.shards
    }

    /// The TTL of a grant or lease whose caller named none.
    pub fn ttl_default(&self) -> Duration {
        self.0.ttl_default
    }

    /// Whether every shard serves.
    pub fn is_serving(&self) -> bool {
        self.0.shards.iter().all(Shard::is_serving)
    }

    /// Refuses new calls and tells those that wait to come back.
    pub fn stop_accepting(&self) {
        self.0.stopping.cancel();
        self.0.shards.iter().for_each(Shard::stop_accepting);
    }

    /// Waits until no more calls are accepted: for streams that are silent, which no shard tells.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.0.stopping.clone().cancelled_owned()
    }

    /// Commits what is under way and lets the store go. Blocks.
    pub fn stop(&self) {
        self.0.shards.iter().for_each(Shard::stop);
    }

    /// What a grant token proves: the hold, or nothing.
    pub fn proof(
        &self,
        namespace: &Namespace,
        lock: &LockName,
        grant_token: &str,
    ) -> Result<Proof, ApiError> {
        self.grant_tokens()
            .verify(namespace, lock, grant_token)
            .map(Proof::Token)
            .ok_or_else(|| ApiError::not_holder(lock))
    }

    /// The delivery that a receipt proves the right to.
    pub fn delivery(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        receipt: &str,
    ) -> Result<Delivery, ApiError> {
        self.receipts()
            .verify(namespace, queue, receipt)
            .ok_or_else(|| Refusal::DeliveryEnded(queue.clone()).into())
    }
}

/// What callers of every surface may say of an acquire, before it is checked.
#[derive(Clone, Debug, Default)]
pub struct AcquireInput {
    /// The lock's name.
    pub lock: String,
    /// Shared, or else exclusive.
    pub shared: bool,
    /// 0: no bound.
    pub max_shared: u32,
    /// What keeps the grant alive; `None`: the surface's default.
    pub hold: Option<Hold>,
    /// How long the lock is held back when the grant is lost.
    pub release_delay: Duration,
    /// How long to stand in line.
    pub wait: Duration,
    /// Who asks.
    pub owner: String,
    /// What it says of itself.
    pub metadata: std::collections::BTreeMap<String, String>,
    /// Empty: none.
    pub request_id: String,
}

impl AcquireInput {
    /// Checks everything; `hold_default` stands where the caller named none.
    pub fn check(self, hold_default: Hold) -> Result<Acquire, Invalid> {
        let mode = Mode::of(self.shared);
        let hold = self.hold.unwrap_or(hold_default);
        if let Hold::Ttl(ttl) = hold {
            crate::core::check_ttl(ttl)?;
        }
        Ok(Acquire {
            lock: LockName::new(&self.lock)?,
            mode,
            max_shared: crate::core::check_max_shared(mode, self.max_shared)?,
            hold,
            release_delay: ReleaseDelay::new(self.release_delay)?,
            wait: crate::core::check_wait(self.wait)?,
            about: About::new(&self.owner, self.metadata)?,
            request_id: request_id(&self.request_id)?,
            session: None,
            must_exist: false,
            open: false,
            subscribe: None,
        })
    }
}

/// Checks a request id; empty stands for none.
pub fn request_id(text: &str) -> Result<Option<RequestId>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    RequestId::new(text).map(Some)
}

/// Reads the id of a lease: a UUID in any of its usual forms.
pub fn lease_id(text: &str) -> Result<LeaseId, Invalid> {
    text.parse::<uuid::Uuid>()
        .map(|id| LeaseId(id.as_u128()))
        .map_err(|_| Invalid::new("lease_id", "must be a UUID, as CreateLease answers it"))
}

/// Writes the id of a lease.
pub fn lease_id_text(id: LeaseId) -> String {
    uuid::Uuid::from_u128(id.0).to_string()
}

/// A fresh id of a lease.
pub fn fresh_lease_id() -> LeaseId {
    LeaseId(uuid::Uuid::new_v4().as_u128())
}

/// A fresh name of a reserved lock: 32 hexadecimal digits.
pub fn fresh_lock_name() -> Result<LockName, Invalid> {
    LockName::new(&uuid::Uuid::new_v4().simple().to_string())
}
