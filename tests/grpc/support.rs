//! A server in this process, and what most tests do with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast::api::grpc::{self, Health};
use holdfast::api::{Api, Identity, Role};
use holdfast::core::Namespace;
use holdfast::proto::v1::fifo_service_client::FifoServiceClient;
use holdfast::proto::v1::lease_service_client::LeaseServiceClient;
use holdfast::proto::v1::lock_service_client::LockServiceClient;
use holdfast::proto::v1::session_service_client::SessionServiceClient;
use holdfast::proto::v1::*;
use holdfast::store::MemoryStore;
use holdfast::webhook::Sender;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub api: Api,
    pub health: Health,
    pub address: SocketAddr,
}

impl Server {
    /// Everyone is an administrator of the namespace `default`.
    pub async fn start() -> Server {
        let store = Arc::new(MemoryStore::new([7; 32]));
        let sender = Sender::new(Default::default()).unwrap();
        let api = Api::start(store, Duration::from_secs(60), sender).unwrap();
        Server::over(api, Some(("default", Role::Admin))).await
    }

    pub async fn over(api: Api, identity: Option<(&str, Role)>) -> Server {
        let health = Health::new();
        let mut routes = grpc::routes(grpc::Services::new(&api), &health).unwrap();
        if let Some((namespace, role)) = identity {
            let namespace = Namespace::new(namespace).unwrap();
            routes = routes.layer(axum::Extension(Identity { namespace, role }));
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Server {
            api,
            health,
            address,
        }
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub async fn locks(&self) -> LockServiceClient<Channel> {
        LockServiceClient::new(self.channel().await)
    }

    pub async fn fifos(&self) -> FifoServiceClient<Channel> {
        FifoServiceClient::new(self.channel().await)
    }

    pub async fn leases(&self) -> LeaseServiceClient<Channel> {
        LeaseServiceClient::new(self.channel().await)
    }

    pub async fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel().await)
    }

    /// Waits until a lock has so many holders and waiters.
    pub async fn settles(&self, lock: &str, holders: u32, waiters: u32) {
        let mut client = self.locks().await;
        let settled = async {
            loop {
                let seen = get(&mut client, lock).await;
                if (seen.holder_count, seen.waiter_count) == (holders, waiters) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled)
            .await
            .unwrap_or_else(|_| panic!("{lock} never had {holders} holders and {waiters} waiters"));
    }
}

/// What must come in good time.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it never came")
}

pub fn span(duration: Duration) -> Option<prost_types::Duration> {
    Some(duration.try_into().unwrap())
}

pub fn ask(lock: &str) -> AcquireLockRequest {
    AcquireLockRequest {
        lock: lock.into(),
        ..Default::default()
    }
}

pub fn waiting(lock: &str) -> AcquireLockRequest {
    AcquireLockRequest {
        wait: span(PATIENCE),
        ..ask(lock)
    }
}

pub async fn get(client: &mut LockServiceClient<Channel>, lock: &str) -> Lock {
    let request = GetLockRequest { lock: lock.into() };
    let response = client.get_lock(request).await.unwrap().into_inner();
    response.lock.unwrap()
}

pub async fn acquire(client: &mut LockServiceClient<Channel>, lock: &str) -> Grant {
    let response = client.acquire_lock(ask(lock)).await.unwrap().into_inner();
    response.grant.unwrap()
}

pub async fn release(client: &mut LockServiceClient<Channel>, grant: &Grant) {
    client.release_lock(release_of(grant)).await.unwrap();
}

pub fn release_of(grant: &Grant) -> ReleaseLockRequest {
    ReleaseLockRequest {
        lock: grant.lock.clone(),
        grant_token: grant.grant_token.clone(),
        request_id: String::new(),
    }
}

pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_else(|| panic!("no reason: {status:?}"))
}

/// The field that a refusal names, and the word of its reason.
pub fn bad_field(status: &Status) -> String {
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().next().unwrap().field
}
