//! Values over real sockets: atomic changes, `kill -9`, bad input on gRPC and REST.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::proto::v1::value_service_client::ValueServiceClient;
use holdfast::proto::v1::*;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use crate::grpc::{reason, soon, span, try_channel};
use crate::http::{self, JSON, request};
use crate::server::Server;

const CLIENTS: usize = 20;
const INCREMENTS: usize = 20;

type Values = ValueServiceClient<Channel>;

async fn values(addr: std::net::SocketAddr) -> Values {
    ValueServiceClient::new(try_channel(addr).await.unwrap())
}

async fn send(server: &Server, method: &str, path: &str, body: serde_json::Value) -> http::Answer {
    let kind = format!("content-type: {JSON}");
    let body = body.to_string();
    let bytes = request(method, path.as_bytes(), &[&kind], body.as_bytes());
    http::send(server.addr, &bytes).await
}

/// The number under a key and its revision; both 0 where there is none.
async fn read(values: &mut Values, key: &str) -> Result<(u64, u64), tonic::Status> {
    match values.get_value(GetValueRequest { key: key.into() }).await {
        Ok(answer) => {
            let value = answer.into_inner().value.unwrap();
            let number = String::from_utf8(value.value).unwrap().parse().unwrap();
            Ok((number, value.revision))
        }
        Err(status) if status.code() == Code::NotFound => Ok((0, 0)),
        Err(status) => Err(status),
    }
}

/// Adds one by compare-and-set, however often it takes; the number that it came to.
async fn increment(values: &mut Values) -> Result<u64, tonic::Status> {
    loop {
        let (number, revision) = read(values, "counter").await?;
        let request = CompareAndSetValueRequest {
            key: "counter".into(),
            value: (number + 1).to_string().into_bytes(),
            expected_revision: revision,
            ..Default::default()
        };
        match values.compare_and_set_value(request).await {
            Ok(_) => return Ok(number + 1),
            Err(status) if status.code() == Code::Aborted => {
                assert_eq!(reason(&status), "REVISION_MISMATCH");
            }
            Err(status) => return Err(status),
        }
    }
}

#[tokio::test]
async fn twenty_clients_increment_one_value_twenty_times_each() {
    let server = Server::memory();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let mut values = values(server.addr).await;
        clients.spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..INCREMENTS {
                numbers.push(increment(&mut values).await.unwrap());
            }
            numbers
        });
    }
    let numbers = soon(clients.join_all()).await.concat();
    let distinct: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(distinct.len(), CLIENTS * INCREMENTS);
    let end = read(&mut values(server.addr).await, "counter").await;
    assert_eq!(end.unwrap().0, (CLIENTS * INCREMENTS) as u64);
}

#[tokio::test]
async fn kill_9_loses_no_acknowledged_value() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::over(dir.path());
    let addr = server.addr;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let mut values = values(addr).await;
        let acknowledged = acknowledged.clone();
        clients.spawn(async move {
            let mut mine = 0;
            while let Ok(number) = increment(&mut values).await {
                acknowledged.fetch_max(number, Ordering::SeqCst);
                mine += 1;
            }
            mine
        });
    }
    while acknowledged.load(Ordering::SeqCst) < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill();
    let mine = soon(clients.join_all()).await;
    let server = Server::over(dir.path());
    let mut values = values(server.addr).await;
    let (number, revision) = read(&mut values, "counter").await.unwrap();
    let told = acknowledged.load(Ordering::SeqCst);
    assert!(number >= told, "{number} of {told}");
    assert!(number >= mine.iter().sum::<u64>());
    let put = PutValueRequest {
        key: "other".into(),
        ..Default::default()
    };
    let next = values.put_value(put).await.unwrap().into_inner().revision;
    assert!(next > revision);
}

#[tokio::test]
async fn a_watcher_is_told_of_puts_deletions_and_ends() {
    let server = Server::memory();
    let mut values = values(server.addr).await;
    let watch = WatchValueRequest { key: "k".into() };
    let mut told = soon(values.watch_value(watch)).await.unwrap().into_inner();
    let first = soon(told.message()).await.unwrap().unwrap();
    let Some(watch_value_response::Event::State(state)) = first.event else {
        panic!("{first:?}");
    };
    assert_eq!(state.value, None);
    let put = |ttl| PutValueRequest {
        key: "k".into(),
        value: b"one".to_vec(),
        ttl,
        ..Default::default()
    };
    values.put_value(put(None)).await.unwrap();
    let deletion = DeleteValueRequest {
        key: "k".into(),
        ..Default::default()
    };
    values.delete_value(deletion).await.unwrap();
    let short = span(Duration::from_millis(100));
    values.put_value(put(short)).await.unwrap();
    for kind in [
        ValueEventKind::Put,
        ValueEventKind::Deleted,
        ValueEventKind::Put,
        ValueEventKind::Expired,
    ] {
        let news = soon(told.message()).await.unwrap().unwrap();
        let Some(watch_value_response::Event::Change(change)) = news.event else {
            panic!("{news:?}");
        };
        assert_eq!(change.kind(), kind);
        assert_eq!(change.value.unwrap().value, b"one");
    }
}

#[tokio::test]
async fn rest_puts_reads_lists_and_deletes() {
    let server = Server::memory();
    let put = send(
        &server,
        "PUT",
        "/api/v1/values/a%2Fb",
        json!({"value": "one"}),
    )
    .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let revision = put.json()["revision"].clone();
    let got = http::get(server.addr, "/api/v1/values/a%2Fb").await.json();
    assert_eq!(
        got,
        json!({"key": "a/b", "value": "one", "revision": revision})
    );
    let taken = json!({"value": "two", "expected_revision": "0"});
    let refused = send(&server, "PUT", "/api/v1/values/a%2Fb", taken).await;
    assert_eq!(refused.status, 409);
    let error = &refused.json()["error"];
    assert_eq!(error["reason"], "REVISION_MISMATCH");
    assert_eq!(error["current"], got);
    let binary = json!({"value_base64": "/w==", "ttl": "1h", "expected_revision": 0});
    let put = send(&server, "PUT", "/api/v1/values/a%2Fc", binary).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let page = "/api/v1/values?prefix=a/&page_size=1";
    let first = http::get(server.addr, page).await.json();
    assert_eq!(first["values"], json!([got]));
    let token = first["next_page_token"].as_str().unwrap();
    let rest = http::get(server.addr, &format!("{page}&page_token={token}")).await;
    let rest = rest.json();
    assert_eq!(rest["values"][0]["value_base64"], "/w==");
    assert!(rest["values"][0]["expires_in"].as_f64().unwrap() > 3000.0);
    assert!(rest["next_page_token"].is_null());
    let stale = "/api/v1/values/a%2Fb?expected_revision=999";
    let refused = send(&server, "DELETE", stale, json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let fresh = format!(
        "/api/v1/values/a%2Fb?expected_revision={}",
        revision.as_str().unwrap()
    );
    let deleted = send(&server, "DELETE", &fresh, json!({})).await;
    assert_eq!(
        deleted.json(),
        json!({"deleted": true, "revision": revision})
    );
    let gone = http::get(server.addr, "/api/v1/values/a%2Fb").await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.json()["error"]["reason"], "VALUE_NOT_FOUND");
}

#[tokio::test]
async fn the_largest_value_fits_however_it_is_written() {
    let mut server = Server::memory();
    let controls = "\u{1}".repeat(64 * 1024);
    let put = send(
        &server,
        "PUT",
        "/api/v1/values/k",
        json!({"value": controls}),
    )
    .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let got = http::get(server.addr, "/api/v1/values/k").await.json();
    assert_eq!(got["value"], controls);
    let larger = json!({"value": "x".repeat(64 * 1024 + 1)});
    let refused = send(&server, "PUT", "/api/v1/values/k", larger).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["field"], "value");
    let huge = json!({"value": "x".repeat(512 * 1024)});
    let refused = send(&server, "PUT", "/api/v1/values/k", huge).await;
    assert_eq!(refused.status, 413);
    server.assert_well("large values").await;
}

#[tokio::test]
async fn bad_input_over_rest_names_the_field() {
    let mut server = Server::memory();
    let long = format!("/api/v1/values/{}", "x".repeat(513));
    let k = "/api/v1/values/k";
    for (method, path, body, field) in [
        ("PUT", k, json!({}), "value"),
        ("PUT", k, json!({"value": 1}), "value"),
        (
            "PUT",
            k,
            json!({"value": "x", "value_base64": "eA=="}),
            "value",
        ),
        ("PUT", k, json!({"value_base64": "!"}), "value_base64"),
        ("PUT", k, json!({"value": "x", "ttl": "99ms"}), "ttl"),
        ("PUT", k, json!({"value": "x", "ttl": "31d"}), "ttl"),
        (
            "PUT",
            k,
            json!({"value": "x", "expected_revision": -1}),
            "expected_revision",
        ),
        (
            "PUT",
            k,
            json!({"value": "x", "expected_revision": "x"}),
            "expected_revision",
        ),
        (
            "PUT",
            k,
            json!({"value": "x", "request_id": "x".repeat(129)}),
            "request_id",
        ),
        ("PUT", k, json!({"value": "x", "other": 1}), "other"),
        ("PUT", &long, json!({"value": "x"}), "key"),
        ("PUT", "/api/v1/values/", json!({"value": "x"}), "key"),
        ("PUT", "/api/v1/values/a%00b", json!({"value": "x"}), "key"),
        (
            "DELETE",
            k,
            json!({"expected_revision": "0"}),
            "expected_revision",
        ),
        (
            "GET",
            "/api/v1/values?page_size=1001",
            json!({}),
            "page_size",
        ),
        (
            "GET",
            "/api/v1/values?page_token=%3F",
            json!({}),
            "page_token",
        ),
        ("GET", "/api/v1/values/a%00b/watch", json!({}), "key"),
    ] {
        let answer = send(&server, method, path, body.clone()).await;
        assert_eq!(
            answer.status,
            400,
            "{method} {path} {body}: {}",
            answer.text()
        );
        assert_eq!(
            answer.json()["error"]["field"],
            field,
            "{method} {path} {body}"
        );
    }
    let none = http::get(server.addr, "/api/v1/values").await.json();
    assert_eq!(none["values"], json!([]));
    server.assert_well("bad values").await;
}

#[tokio::test]
async fn bad_input_over_grpc_names_the_field() {
    let mut server = Server::memory();
    let mut values = values(server.addr).await;
    let put = |key: &str, value: Vec<u8>, ttl, request_id: &str| CompareAndSetValueRequest {
        key: key.into(),
        value,
        ttl,
        request_id: request_id.into(),
        ..Default::default()
    };
    for (request, field) in [
        (put("", Vec::new(), None, ""), "key"),
        (put(&"x".repeat(513), Vec::new(), None, ""), "key"),
        (put("a\nb", Vec::new(), None, ""), "key"),
        (put("k", vec![0; 64 * 1024 + 1], None, ""), "value"),
        (put("k", Vec::new(), span(Duration::ZERO), ""), "ttl"),
        (put("k", Vec::new(), None, &"x".repeat(129)), "request_id"),
    ] {
        let status = values.compare_and_set_value(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        assert!(status.message().starts_with(field), "{status:?}");
    }
    let list = ListValuesRequest {
        prefix: "x".repeat(513),
        ..Default::default()
    };
    let status = values.list_values(list).await.unwrap_err();
    assert!(status.message().starts_with("prefix"), "{status:?}");
    server.assert_well("bad values").await;
}
