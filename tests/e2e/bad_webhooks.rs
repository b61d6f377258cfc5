//! Bad input about webhooks, on every surface: each is refused with the field at fault, and nothing
//! inside the network is called for it.

use holdfast::proto::v1::webhook_service_client::WebhookServiceClient;
use holdfast::proto::v1::*;
use serde_json::{Value, json};
use tonic_types::StatusExt as _;

use crate::grpc::{self, ask, soon, span};
use crate::http;
use crate::receiver::{Receiver, calling_server};
use crate::server::Server;

fn callback(url: &str) -> Callback {
    Callback {
        url: url.into(),
        ..Default::default()
    }
}

pub fn field(status: &tonic::Status) -> String {
    let bad = status.get_details_bad_request();
    let bad = bad.unwrap_or_else(|| panic!("no field: {status:?}"));
    bad.field_violations[0].field.clone()
}

#[tokio::test]
async fn addresses_inside_the_network_are_refused_at_subscription() {
    let mut server = Server::memory();
    let addr = server.addr;
    let receiver = Receiver::taking().await;
    let port = receiver.addr.port();
    let mutex = http::form(addr, "POST", "/reserve", "").await.json();
    let mutex = mutex["id"].as_str().unwrap();
    let mut locks = grpc::locks(addr).await;
    for host in [
        "127.0.0.1",
        "127.1",
        "127.255.255.254",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "10.255.255.255",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        let url = format!("http://{host}:{port}/turn");
        let answer = http::post(
            addr,
            "/api/v1/locks/x/acquire",
            json!({"callback": {"url": url}}),
        )
        .await;
        assert_eq!(answer.status, 400, "{url}: {}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(error["field"], "callback.url", "{url}: {error}");

        let body = format!("endpoint={url}");
        let answer = http::form(addr, "POST", &format!("/subscribe_and_grab/{mutex}"), &body).await;
        assert_eq!(answer.status, 400, "{url}: {}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["status"], "fail");
        let reason = answer["reason"].as_str().unwrap();
        assert!(reason.starts_with("endpoint: "), "{url}: {reason}");

        let request = AcquireLockRequest {
            callback: Some(callback(&url)),
            ..ask("x")
        };
        let status = soon(locks.acquire_lock(request)).await.unwrap_err();
        assert_eq!(field(&status), "callback.url", "{url}");
    }
    let listed = http::get(addr, "/api/v1/webhooks").await.json();
    assert_eq!(listed["webhooks"], json!([]));
    assert!(receiver.seen().is_empty());
    for lock in ["x", mutex] {
        let lock = http::get(addr, &format!("/api/v1/locks/{lock}")).await;
        assert_eq!(lock.json()["state"], "FREE");
    }
    server.assert_well("refused addresses").await;
}

#[tokio::test]
async fn a_bad_callback_is_refused_with_its_field() {
    let mut server = calling_server();
    let addr = server.addr;
    let mutex = http::form(addr, "POST", "/reserve", "").await.json();
    let mutex = mutex["id"].as_str().unwrap();
    let long = format!("http://127.0.0.1/{}", "x".repeat(2_048));
    let good = "http://127.0.0.1:9/";
    for (url, part) in [
        ("", "url"),
        ("127.0.0.1", "url"),
        ("ftp://127.0.0.1/", "url"),
        ("file:///etc/passwd", "url"),
        ("http://", "url"),
        ("http://a b/", "url"),
        ("http://user:password@127.0.0.1/", "url"),
        ("http://no-such-host.invalid/", "url"),
        (long.as_str(), "url"),
    ] {
        refused_everywhere(addr, mutex, part, url, "", None).await;
    }
    for secret in ["x", "whsec_", "whsec_!", "whsec_AAAA", &"A".repeat(200)] {
        refused_everywhere(addr, mutex, "secret", good, secret, None).await;
    }
    for seconds in [0, -1, 3_601] {
        refused_everywhere(addr, mutex, "accept_timeout", good, "", Some(seconds)).await;
    }
    for (body, field) in [
        (json!({"callback": good}), "callback"),
        (json!({"callback": []}), "callback"),
        (json!({"callback": {}}), "callback"),
        (json!({"callback": {"url": good, "uri": good}}), "callback"),
        (
            json!({"callback": {"url": good, "accept_timeout": "soon"}}),
            "callback",
        ),
        (json!({"callback": {"url": good}, "wait": "31d"}), "wait"),
        (json!({"callback": {"url": good}, "ttl": "1ms"}), "ttl"),
    ] {
        let answer = http::post(addr, "/api/v1/locks/x/acquire", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(answer.json()["error"]["field"], field, "{body}");
    }
    let body = json!({"callback": {"url": good}}).to_string();
    let headers = [
        "accept: text/event-stream",
        "content-type: application/json",
    ];
    let path = b"/api/v1/locks/x/acquire";
    let answer = http::send(
        addr,
        &http::request("POST", path, &headers, body.as_bytes()),
    )
    .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"]["field"], "callback");

    for (path, body, names) in [
        ("/subscribe_and_grab", "endpoint=http://127.0.0.1:9/", "id"),
        (
            "/subscribe_and_grab/unknown",
            "endpoint=http://127.0.0.1:9/",
            "unknown",
        ),
        (&format!("/subscribe_and_grab/{mutex}"), "", "endpoint"),
        (
            &format!("/subscribe_and_grab/{mutex}"),
            "endpoint=http://127.0.0.1:9/&wait=31d",
            "wait",
        ),
        (
            &format!("/subscribe_and_grab/{mutex}"),
            "endpoint=http://127.0.0.1:9/&ttl=-1",
            "ttl",
        ),
    ] {
        let answer = http::form(addr, "POST", path, body).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["status"], "fail", "{path} {body}");
        assert!(
            answer["reason"].as_str().unwrap().contains(names),
            "{answer}"
        );
    }
    assert_eq!(
        http::get(addr, "/api/v1/locks/x").await.json()["state"],
        "FREE"
    );
    server.assert_well("bad callbacks").await;
}

/// Subscribes with a callback whose `part` is bad, through every surface that takes one.
async fn refused_everywhere(
    addr: std::net::SocketAddr,
    mutex: &str,
    part: &str,
    url: &str,
    secret: &str,
    accept_seconds: Option<i64>,
) {
    let case = format!("{url} {secret} {accept_seconds:?}");
    let mut callback = json!({"url": url, "secret": secret});
    // A negative span can't be read, so the whole object can't.
    let named = match accept_seconds {
        Some(seconds) if seconds < 0 => "callback".to_owned(),
        _ => format!("callback.{part}"),
    };
    if let Some(seconds) = accept_seconds {
        callback["accept_timeout"] = json!(seconds);
    }
    for callback in [callback.clone(), json!(callback.to_string())] {
        let body = json!({"callback": callback});
        let answer = http::post(addr, "/api/v1/locks/x/acquire", body).await;
        assert_eq!(answer.status, 400, "{case}: {}", answer.text());
        assert_eq!(answer.json()["error"]["field"], *named, "{case}");
    }
    let mut body = json!({"id": mutex, "endpoint": url, "secret": secret});
    if let Some(seconds) = accept_seconds {
        body["accept_timeout"] = json!(seconds);
    }
    let answer = http::post(addr, "/subscribe_and_grab", body).await;
    assert_eq!(answer.status, 400, "{case}: {}", answer.text());
    let reason = answer.json()["reason"].as_str().unwrap().to_owned();
    let parameter = if part == "url" { "endpoint" } else { part };
    assert!(reason.starts_with(parameter), "{case}: {reason}");
    let request = AcquireLockRequest {
        callback: Some(Callback {
            url: url.into(),
            secret: secret.into(),
            accept_timeout: accept_seconds
                .map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        }),
        ..ask("x")
    };
    let mut locks = grpc::locks(addr).await;
    let status = soon(locks.acquire_lock(request)).await.unwrap_err();
    assert_eq!(field(&status), format!("callback.{part}"), "{case}");
}

#[tokio::test]
async fn calls_about_webhooks_name_what_is_wrong() {
    let mut server = Server::memory();
    let addr = server.addr;
    let unknown = format!("msg_{}", "0".repeat(32));
    let mut webhooks = WebhookServiceClient::new(grpc::try_channel(addr).await.unwrap());
    let rest = async |method: &str, path: &str| {
        let answer = http::send(addr, &http::request(method, path.as_bytes(), &[], b"")).await;
        let error: Value = answer.json()["error"].clone();
        (answer.status, error)
    };
    for id in [
        "x",
        "msg_",
        "msg_0",
        "msg_+0000000000000000000000000000000",
        "%00",
    ] {
        for method in ["GET", "DELETE"] {
            let (status, error) = rest(method, &format!("/api/v1/webhooks/{id}")).await;
            assert_eq!(
                (status, &error["field"]),
                (400, &json!("webhook")),
                "{method} {id}"
            );
        }
        let get = GetWebhookRequest { webhook: id.into() };
        let status = soon(webhooks.get_webhook(get)).await.unwrap_err();
        assert_eq!(field(&status), "webhook", "{id}");
        let cancel = CancelWebhookRequest {
            webhook: id.into(),
            ..Default::default()
        };
        let status = soon(webhooks.cancel_webhook(cancel)).await.unwrap_err();
        assert_eq!(field(&status), "webhook", "{id}");
    }
    for method in ["GET", "DELETE"] {
        let (status, error) = rest(method, &format!("/api/v1/webhooks/{unknown}")).await;
        assert_eq!(status, 404, "{error}");
        assert_eq!(error["reason"], "WEBHOOK_NOT_FOUND");
    }
    let get = GetWebhookRequest {
        webhook: unknown.clone(),
    };
    let status = soon(webhooks.get_webhook(get)).await.unwrap_err();
    assert_eq!(grpc::reason(&status), "WEBHOOK_NOT_FOUND");
    for (query, field) in [
        ("prefix=a", "prefix"),
        ("page_size=1001", "page_size"),
        ("page_token=AA", "page_token"),
        ("nonsense=1", "nonsense"),
    ] {
        let (status, error) = rest("GET", &format!("/api/v1/webhooks?{query}")).await;
        assert_eq!((status, &error["field"]), (400, &json!(field)), "{query}");
    }
    let path = format!("/api/v1/webhooks/{unknown}?request_id={}", "x".repeat(129));
    let (status, error) = rest("DELETE", &path).await;
    assert_eq!((status, &error["field"]), (400, &json!("request_id")));
    let long = CancelWebhookRequest {
        webhook: unknown,
        request_id: "x".repeat(129),
    };
    let status = soon(webhooks.cancel_webhook(long)).await.unwrap_err();
    assert_eq!(field(&status), "request_id");
    for (page_size, page_token, named) in [(1_001, "", "page_size"), (0, "AA", "page_token")] {
        let list = ListWebhooksRequest {
            page_size,
            page_token: page_token.into(),
        };
        let status = soon(webhooks.list_webhooks(list)).await.unwrap_err();
        assert_eq!(field(&status), named);
    }
    let request = AcquireLockRequest {
        callback: Some(callback("http://127.0.0.1:9/")),
        wait: span(std::time::Duration::from_secs(31 * 86_400)),
        ..ask("x")
    };
    let mut locks = grpc::locks(addr).await;
    let status = soon(locks.acquire_lock(request)).await.unwrap_err();
    assert_eq!(field(&status), "wait");
    server.assert_well("bad calls about webhooks").await;
}
