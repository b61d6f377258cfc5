//! The generated clients, and what most tests do with them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holdfast::proto::v1::attach_request::Call;
use holdfast::proto::v1::lease_service_client::LeaseServiceClient;
use holdfast::proto::v1::lock_service_client::LockServiceClient;
use holdfast::proto::v1::session_service_client::SessionServiceClient;
use holdfast::proto::v1::*;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

use crate::server::PATIENCE;

pub type Locks = LockServiceClient<Channel>;

pub async fn try_channel(addr: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{addr}"))
        .unwrap()
        .connect()
        .await
}

pub async fn locks(addr: SocketAddr) -> Locks {
    LockServiceClient::new(try_channel(addr).await.unwrap())
}

pub async fn leases(addr: SocketAddr) -> LeaseServiceClient<Channel> {
    LeaseServiceClient::new(try_channel(addr).await.unwrap())
}

/// What must come in good time.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(PATIENCE, what).await.expect("it never came")
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
        wait: span(Duration::from_secs(3600)),
        ..ask(lock)
    }
}

pub fn ttl(duration: Duration) -> Option<acquire_lock_request::Hold> {
    span(duration).map(acquire_lock_request::Hold::Ttl)
}

pub async fn acquire(locks: &mut Locks, request: AcquireLockRequest) -> Grant {
    let answer = soon(locks.acquire_lock(request)).await.unwrap();
    answer.into_inner().grant.unwrap()
}

pub fn release_of(grant: &Grant) -> ReleaseLockRequest {
    ReleaseLockRequest {
        lock: grant.lock.clone(),
        grant_token: grant.grant_token.clone(),
        request_id: String::new(),
    }
}

pub async fn release(locks: &mut Locks, grant: &Grant) {
    soon(locks.release_lock(release_of(grant))).await.unwrap();
}

pub async fn get(locks: &mut Locks, lock: &str) -> Lock {
    let request = GetLockRequest { lock: lock.into() };
    let answer = soon(locks.get_lock(request)).await.unwrap();
    answer.into_inner().lock.unwrap()
}

pub async fn is_current(locks: &mut Locks, lock: &str, fencing_token: u64) -> bool {
    let request = CheckGrantRequest {
        lock: lock.into(),
        fencing_token,
    };
    let answer = soon(locks.check_grant(request)).await.unwrap();
    answer.into_inner().current
}

/// Waits until a lock has so many holders and waiters.
pub async fn settles(locks: &mut Locks, lock: &str, holders: u32, waiters: u32) {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = get(locks, lock).await;
        if (seen.holder_count, seen.waiter_count) == (holders, waiters) {
            return;
        }
        assert!(
            Instant::now() < end,
            "{lock} never had {holders} holders and {waiters} waiters, but {} and {}",
            seen.holder_count,
            seen.waiter_count
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.unwrap_or_else(|| panic!("no reason: {status:?}"))
        .reason
}

/// A session from the caller's side.
pub struct Session {
    calls: mpsc::Sender<AttachRequest>,
    pub told: Streaming<AttachResponse>,
    pub lease_id: String,
    pub resumed: bool,
    last_call: u64,
}

impl Session {
    /// Opens a session, or takes up that with this lease.
    pub async fn open(channel: Channel, lease_id: &str) -> Result<Session, Status> {
        let (calls, inbound) = mpsc::channel(1024);
        let open = OpenSession {
            lease_id: lease_id.into(),
            ..Default::default()
        };
        let open = AttachRequest {
            call_id: 1,
            call: Some(Call::Open(open)),
        };
        calls.send(open).await.unwrap();
        let mut told = SessionServiceClient::new(channel)
            .attach(ReceiverStream::new(inbound))
            .await?
            .into_inner();
        match told.message().await?.and_then(|first| first.result) {
            Some(attach_response::Result::Opened(opened)) => Ok(Session {
                calls,
                told,
                lease_id: opened.lease.unwrap().lease_id,
                resumed: opened.resumed,
                last_call: 1,
            }),
            other => panic!("not opened: {other:?}"),
        }
    }

    /// Sends a call and tells its number.
    pub async fn send(&mut self, call: Call) -> Result<u64, Status> {
        self.last_call += 1;
        let request = AttachRequest {
            call_id: self.last_call,
            call: Some(call),
        };
        let sent = self.calls.send(request).await;
        sent.map_err(|_| Status::unavailable("the stream has ended"))?;
        Ok(self.last_call)
    }

    /// The next answer that is final, with its call's number.
    pub async fn answer(&mut self) -> Result<(u64, attach_response::Result), Status> {
        loop {
            let told = self.told.message().await?;
            let told = told.ok_or_else(|| Status::unavailable("the stream has ended"))?;
            match told.result.unwrap() {
                attach_response::Result::Queued(_) => {}
                result => return Ok((told.call_id, result)),
            }
        }
    }

    /// Sends one call, with nothing else under way, and waits for its answer.
    pub async fn call(&mut self, call: Call) -> Result<attach_response::Result, Status> {
        let number = self.send(call).await?;
        let (answered, result) = self.answer().await?;
        assert_eq!(answered, number, "{result:?}");
        Ok(result)
    }
}
