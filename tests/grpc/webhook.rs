//! Webhooks over gRPC: subscribing, reading, listing, giving up, and the secret.

use std::time::Duration;

use holdfast::api::Role;
use holdfast::proto::v1::webhook_service_client::WebhookServiceClient;
use holdfast::proto::v1::*;
use holdfast::webhook::{AddressPolicy, Sender};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::support::*;

/// It may call this machine, and calls nobody: its posting task does not run.
async fn calling_server(role: Role) -> Server {
    let policy = AddressPolicy::parse(["127.0.0.0/8"]).unwrap();
    let store = std::sync::Arc::new(holdfast::store::MemoryStore::new([7; 32]));
    let sender = Sender::new(policy).unwrap();
    let api = holdfast::api::Api::start(store, Duration::from_secs(60), sender).unwrap();
    Server::over(api, Some(("default", role))).await
}

async fn webhooks(server: &Server) -> WebhookServiceClient<Channel> {
    WebhookServiceClient::new(server.channel().await)
}

fn subscription(lock: &str) -> AcquireLockRequest {
    AcquireLockRequest {
        callback: Some(Callback {
            url: "http://127.0.0.1:9/turn?key=s".into(),
            secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into(),
            accept_timeout: span(Duration::from_secs(90)),
        }),
        ..ask(lock)
    }
}

async fn subscribe(server: &Server, request: AcquireLockRequest) -> String {
    let mut locks = server.locks().await;
    let answer = locks.acquire_lock(request).await.unwrap().into_inner();
    assert!(answer.grant.is_none());
    answer.webhook
}

#[tokio::test]
async fn a_webhook_tells_where_it_stands_until_it_is_given_up() {
    let server = calling_server(Role::Admin).await;
    let mut client = webhooks(&server).await;
    let due = subscribe(&server, subscription("x")).await;
    let waiting = subscribe(&server, subscription("x")).await;
    server.settles("x", 1, 1).await;
    let get = async |id: &str| {
        let request = GetWebhookRequest { webhook: id.into() };
        let answer = webhooks(&server).await.get_webhook(request).await.unwrap();
        answer.into_inner().webhook.unwrap()
    };
    let seen = get(&due).await;
    assert_eq!((seen.id.as_str(), seen.lock.as_str()), (due.as_str(), "x"));
    assert_eq!(seen.url, "http://127.0.0.1:9/turn?key=s");
    assert_eq!(seen.state(), WebhookState::Due);
    let left = seen.accept_in.unwrap().seconds;
    assert!((1..=90).contains(&left), "{left}");
    let seen = get(&waiting).await;
    assert_eq!(seen.state(), WebhookState::Waiting);
    assert!(seen.accept_in.is_none() && seen.create_time.is_some());

    let mut request = ListWebhooksRequest {
        page_size: 1,
        page_token: String::new(),
    };
    let first = client
        .list_webhooks(request.clone())
        .await
        .unwrap()
        .into_inner();
    request.page_token = first.next_page_token;
    let second = client.list_webhooks(request).await.unwrap().into_inner();
    assert_eq!(first.webhooks[0].id, due);
    assert_eq!(second.webhooks[0].id, waiting);
    assert_eq!(second.next_page_token, "");

    let cancel = |id: &str, request_id: &str| CancelWebhookRequest {
        webhook: id.into(),
        request_id: request_id.into(),
    };
    for _ in 0..2 {
        client
            .cancel_webhook(cancel(&waiting, "once"))
            .await
            .unwrap();
    }
    assert_eq!(get(&waiting).await.state(), WebhookState::Cancelled);
    server.settles("x", 1, 0).await;
    for id in [&due, &waiting] {
        let status = client.cancel_webhook(cancel(id, "")).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "WEBHOOK_NOT_WAITING");
    }
}

#[tokio::test]
async fn a_retry_of_a_subscription_has_the_same_webhook() {
    let server = calling_server(Role::Admin).await;
    let request = AcquireLockRequest {
        request_id: "r".into(),
        ..subscription("x")
    };
    let first = subscribe(&server, request.clone()).await;
    assert_eq!(subscribe(&server, request.clone()).await, first);
    let mut other = request;
    other.callback = Some(Callback {
        url: "http://127.0.0.1:9/other".into(),
        ..Default::default()
    });
    let mut locks = server.locks().await;
    let status = locks.acquire_lock(other).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn a_subscriber_that_will_not_wait_is_refused_a_held_lock() {
    let server = calling_server(Role::Admin).await;
    let mut locks = server.locks().await;
    acquire(&mut locks, "x").await;
    let request = AcquireLockRequest {
        wait: span(Duration::ZERO),
        ..subscription("x")
    };
    let status = locks.acquire_lock(request).await.unwrap_err();
    assert_eq!(reason(&status), "LOCK_HELD");
    let listed = webhooks(&server)
        .await
        .list_webhooks(ListWebhooksRequest::default())
        .await;
    assert!(listed.unwrap().into_inner().webhooks.is_empty());
}

#[tokio::test]
async fn only_an_administrator_lists_webhooks_and_reads_the_secret() {
    let server = calling_server(Role::Use).await;
    let mut client = webhooks(&server).await;
    let id = subscribe(&server, subscription("x")).await;
    let listed = client.list_webhooks(ListWebhooksRequest::default()).await;
    let secret = client.get_webhook_secret(GetWebhookSecretRequest {}).await;
    for status in [listed.unwrap_err(), secret.unwrap_err()] {
        assert_eq!(status.code(), Code::PermissionDenied);
    }
    // Whoever knows the id may read it.
    let request = GetWebhookRequest { webhook: id };
    client.get_webhook(request).await.unwrap();
    let admin = calling_server(Role::Admin).await;
    let secret = webhooks(&admin)
        .await
        .get_webhook_secret(GetWebhookSecretRequest {})
        .await;
    assert!(secret.unwrap().into_inner().secret.starts_with("whsec_"));
}

#[tokio::test]
async fn a_session_takes_no_callback() {
    let server = calling_server(Role::Admin).await;
    let (sender, calls) = tokio::sync::mpsc::channel(2);
    for (call_id, call) in [
        (1, attach_request::Call::Open(OpenSession::default())),
        (2, attach_request::Call::AcquireLock(subscription("x"))),
    ] {
        let call = Some(call);
        sender.send(AttachRequest { call_id, call }).await.unwrap();
    }
    let mut told = server
        .sessions()
        .await
        .attach(tokio_stream::wrappers::ReceiverStream::new(calls))
        .await
        .unwrap()
        .into_inner();
    soon(told.message()).await.unwrap().unwrap();
    let told = soon(told.message()).await.unwrap().unwrap();
    match told.result {
        Some(attach_response::Result::Error(error)) => assert_eq!(error.field, "callback"),
        other => panic!("{other:?}"),
    }
    let mut locks = server.locks().await;
    assert_eq!(get(&mut locks, "x").await.holder_count, 0);
}

#[tokio::test]
async fn an_address_inside_the_network_is_refused_by_its_field() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let status = locks.acquire_lock(subscription("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let bad = status.get_details_bad_request().unwrap();
    assert_eq!(bad.field_violations[0].field, "callback.url");
}
