//! A server that is told to stop finishes what is under way, says so, and ends.

use std::time::Duration;

use holdfast::proto::v1::lease_service_client::LeaseServiceClient;
use holdfast::proto::v1::lock_service_client::LockServiceClient;
use holdfast::proto::v1::session_service_client::SessionServiceClient;
use holdfast::proto::v1::{
    AcquireLockRequest, AttachRequest, SubscribeAndGrabRequest, WatchLockRequest, attach_request,
};
use holdfast::server::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::wire::*;

/// A request of which the server has all but the last byte of its body.
async fn half_sent(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = connect(address).await;
    let head = "POST /api/v1/locks/half/acquire HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body once it has begun with the request.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    stream.write_all(b"{").await.unwrap();
    stream
}

#[tokio::test]
async fn what_is_under_way_is_answered_and_readiness_ends_first() {
    let server = start(Config::throw_away()).await;
    let address = server.local_addr();
    let mut half = half_sent(address).await;
    assert_eq!(status(&ask(address, "GET /readyz HTTP/1.1").await), 200);

    let stopping = tokio::spawn(server.shutdown(PATIENCE));
    let unready = async {
        loop {
            let answer = ask(address, "GET /readyz?verbose HTTP/1.1").await;
            if status(&answer) == 503 {
                return answer;
            }
        }
    };
    let answer = timeout(PATIENCE, unready).await.unwrap();
    assert!(answer.contains("[-]accepting failed"), "{answer}");
    assert_eq!(status(&ask(address, "GET /livez HTTP/1.1").await), 200);
    assert!(!stopping.is_finished());

    half.write_all(b"}").await.unwrap();
    let answer = read_all(&mut half).await;
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("\"reason\":\"STOPPING\""), "{answer}");
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_deadline_ends_what_does_not_finish() {
    let server = start(Config::throw_away()).await;
    let mut half = half_sent(server.local_addr()).await;
    timeout(PATIENCE, server.shutdown(Duration::from_millis(100)))
        .await
        .unwrap();
    assert_eq!(read_all(&mut half).await, "");
}

#[tokio::test]
async fn who_waits_is_told_to_come_back() {
    let server = start(Config::throw_away()).await;
    let address = server.local_addr();
    let url = format!("http://{address}");
    let mut client = LockServiceClient::connect(url.clone()).await.unwrap();
    let acquire = AcquireLockRequest {
        lock: "deploy".to_owned(),
        ..AcquireLockRequest::default()
    };
    client.acquire_lock(acquire).await.unwrap();
    let mut waiting = client
        .subscribe_and_grab(SubscribeAndGrabRequest {
            lock: "deploy".to_owned(),
            ..SubscribeAndGrabRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    waiting.message().await.unwrap().expect("it is queued");
    let mut polling = connect(address).await;
    let body = "{\"wait\":\"10m\"}";
    let poll = format!(
        "POST /api/v1/locks/deploy/acquire HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    polling.write_all(poll.as_bytes()).await.unwrap();
    let queued = async {
        while !ask(address, "GET /api/v1/locks/deploy HTTP/1.1")
            .await
            .contains("\"waiters\":2")
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, queued).await.unwrap();
    let channel = tonic::transport::Endpoint::new(url)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = HealthClient::new(channel);
    let mut watched = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let stopping = tokio::spawn(server.shutdown(PATIENCE));
    let told = waiting.message().await.unwrap_err();
    assert_eq!(told.code(), Code::Unavailable);
    let answer = read_all(&mut polling).await;
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    let last = watched.message().await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing);
    drop((watched, health, client, waiting));
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let server = start(Config::throw_away()).await;
    let address = server.local_addr();
    let client = LockServiceClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let mut idle = connect(address).await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    let silent = connect(address).await;
    timeout(PATIENCE, server.shutdown(Duration::MAX))
        .await
        .unwrap();
    drop((client, silent));
}

#[tokio::test]
async fn streams_that_are_silent_are_ended() {
    let server = start(Config::throw_away()).await;
    let url = format!("http://{}", server.local_addr());
    let mut locks = LockServiceClient::connect(url.clone()).await.unwrap();
    let mut watch = locks
        .watch_lock(WatchLockRequest {
            lock: "x".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().expect("the first state");
    let mut leases = LeaseServiceClient::connect(url.clone()).await.unwrap();
    let (beats, silent) = tokio::sync::mpsc::channel(1);
    let mut alive = leases
        .keep_alive(tokio_stream::wrappers::ReceiverStream::new(silent))
        .await
        .unwrap()
        .into_inner();
    let mut sessions = SessionServiceClient::connect(url).await.unwrap();
    let (calls, asked) = tokio::sync::mpsc::channel(1);
    calls
        .send(AttachRequest {
            call: Some(attach_request::Call::Open(Default::default())),
            call_id: 1,
        })
        .await
        .unwrap();
    let mut session = sessions
        .attach(tokio_stream::wrappers::ReceiverStream::new(asked))
        .await
        .unwrap()
        .into_inner();
    session.message().await.unwrap().expect("it is open");

    let stopping = tokio::spawn(server.shutdown(Duration::MAX));
    let ends = async {
        [
            watch.message().await.map(drop),
            session.message().await.map(drop),
            alive.message().await.map(drop),
        ]
    };
    for end in timeout(PATIENCE, ends).await.unwrap() {
        assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    }
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    drop((beats, calls));
}
