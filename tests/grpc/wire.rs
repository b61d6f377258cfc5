//! What is below the messages: health, reflection, grpc-web, and bytes that are no message.

use holdfast::proto::v1::*;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::*;

#[tokio::test]
async fn health_is_told_to_everyone_and_follows_the_server() {
    let server = Server::start().await;
    let nobody = Server::over(server.api.clone(), None).await;
    let mut health = HealthClient::new(nobody.channel().await);
    for (serving, status) in [
        (true, ServingStatus::Serving),
        (false, ServingStatus::NotServing),
    ] {
        nobody.health.set_serving(serving).await;
        for service in [
            "",
            "holdfast.v1.LockService",
            "holdfast.v1.LeaseService",
            "holdfast.v1.SessionService",
            "holdfast.v1.ValueService",
            "holdfast.v1.FifoService",
            "holdfast.v1.WebhookService",
            "holdfast.v1.QueueService",
        ] {
            let service = service.into();
            let seen = health.check(HealthCheckRequest { service }).await.unwrap();
            assert_eq!(seen.into_inner().status(), status);
        }
    }
}

#[tokio::test]
async fn the_schema_can_be_asked_for() {
    let server = Server::start().await;
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = soon(answers.message()).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in [
        "holdfast.v1.LockService",
        "holdfast.v1.LeaseService",
        "holdfast.v1.SessionService",
        "holdfast.v1.ValueService",
        "holdfast.v1.FifoService",
        "holdfast.v1.WebhookService",
        "holdfast.v1.QueueService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{name} not in {names:?}");
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    body
}

/// What a browser does: a POST over HTTP/1.1. Head and body of the answer.
async fn post_web(server: &Server, method: &str, body: &[u8]) -> String {
    post_web_with(server, method, body, "x-none: x").await
}

async fn post_web_with(server: &Server, method: &str, body: &[u8], header: &str) -> String {
    let head = format!(
        "POST /holdfast.v1.{method} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n\
         content-type: application/grpc-web+proto\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_browser_takes_a_lock() {
    let server = Server::start().await;
    let body = framed(&ask("deploy").encode_to_vec());
    let answer = post_web(&server, "LockService/AcquireLock", &body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("grpc-status:0"), "{answer}");
    assert_eq!(
        get(&mut server.locks().await, "deploy").await.holder_count,
        1
    );
    let answer = post_web(&server, "LockService/AcquireLock", &body).await;
    assert!(answer.contains("grpc-status: 9"), "{answer}");
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_fault() {
    let server = Server::start().await;
    let body = framed(b"\xff\xff\xff\xff");
    let answer = post_web(&server, "LockService/AcquireLock", &body).await;
    assert!(answer.contains("grpc-status: 3"), "{answer}");
    let answer = post_web(&server, "LeaseService/KeepAlive", &body).await;
    assert!(answer.contains("grpc-status:3"), "{answer}");
    let answer = post_web(&server, "SessionService/Attach", &body).await;
    assert!(answer.contains("grpc-status:3"), "{answer}");
    let answer = post_web(&server, "LockService/NoSuchMethod", &body).await;
    assert!(answer.contains("grpc-status: 12"), "{answer}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_with_the_bound() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let status = locks
        .acquire_lock(ask(&"x".repeat(1 << 20)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "BODY_TOO_LARGE");
    assert!(status.message().contains("1048576"), "{status:?}");

    let mut leases = server.leases().await;
    let request = KeepAliveRequest {
        lease_id: "x".repeat(1 << 20),
    };
    let answers = leases.keep_alive(tokio_stream::once(request)).await;
    let status = soon(answers.unwrap().into_inner().message())
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "BODY_TOO_LARGE");
}

/// tonic's own client would end the call before the server does.
#[tokio::test]
async fn a_deadline_ends_a_wait_and_leaves_the_line() {
    let server = Server::start().await;
    acquire(&mut server.locks().await, "deploy").await;
    let subscribe = SubscribeAndGrabRequest {
        lock: "deploy".into(),
        ..Default::default()
    };
    for (method, body, status) in [
        (
            "AcquireLock",
            waiting("deploy").encode_to_vec(),
            "grpc-status: 4",
        ),
        (
            "SubscribeAndGrab",
            subscribe.encode_to_vec(),
            "grpc-status:4",
        ),
    ] {
        let method = format!("LockService/{method}");
        let answer = post_web_with(&server, &method, &framed(&body), "grpc-timeout: 30m").await;
        assert!(answer.contains(status), "{answer}");
        assert!(
            answer.contains("deadline has passed") || answer.contains("deadline%20has%20passed"),
            "{answer}"
        );
        server.settles("deploy", 1, 0).await;
    }
}

#[tokio::test]
async fn unknown_paths_are_left_to_others() {
    let server = Server::start().await;
    let answer = post_web(&server, "NoSuchService/Call", &framed(b"")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
