//! Queues over real sockets: each item to one consumer, `kill -9`, dead letters, bad input on REST.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use holdfast::proto::v1::consume_request::Message;
use holdfast::proto::v1::consume_response::Event;
use holdfast::proto::v1::queue_service_client::QueueServiceClient;
use holdfast::proto::v1::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::grpc::{soon, span, try_channel};
use crate::http::{self, JSON, request};
use crate::server::Server;

const CONSUMERS: usize = 10;
const ITEMS: usize = 100;
const JOBS: &str = "/api/v1/queues/jobs";

async fn post(addr: SocketAddr, action: &str, body: Value) -> Value {
    let answer = http::post(addr, &format!("{JOBS}/{action}"), body).await;
    assert!(answer.status < 300, "{action}: {}", answer.text());
    answer.json()
}

async fn enqueue(addr: SocketAddr, value: impl std::fmt::Display) {
    post(addr, "enqueue", json!({"value": value.to_string()})).await;
}

/// The items of a part of the queue, by value.
async fn values(addr: SocketAddr, part: &str) -> Vec<String> {
    let path = format!("{JOBS}/items?part={part}&page_size=1000");
    let items = http::get(addr, &path).await.json();
    assert!(items["next_page_token"].is_null(), "more than one page");
    let value = |item: &Value| item["value"].as_str().unwrap().to_owned();
    items["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(value)
        .collect()
}

/// Waits until the queue's state has this in a field.
async fn settles(addr: SocketAddr, field: &str, expected: u64) {
    let settled = async {
        while http::get(addr, JOBS).await.json()[field] != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(settled).await;
}

fn assert_each_once(taken: Vec<Vec<String>>) {
    let mut taken = taken.concat();
    taken.sort();
    let mut expected: Vec<_> = (0..ITEMS).map(|n| n.to_string()).collect();
    expected.sort();
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn ten_consumers_that_wait_take_a_hundred_items_each_once() {
    let server = Server::memory();
    let addr = server.addr;
    let mut consumers = JoinSet::new();
    for _ in 0..CONSUMERS {
        consumers.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let item = post(addr, "dequeue", json!({"wait": "10m"})).await;
                match item["value"].as_str().unwrap() {
                    "end" => return taken,
                    value => taken.push(value.to_owned()),
                }
            }
        });
    }
    for n in 0..ITEMS {
        enqueue(addr, n).await;
    }
    for _ in 0..CONSUMERS {
        enqueue(addr, "end").await;
    }
    assert_each_once(soon(consumers.join_all()).await);
}

/// Takes and acknowledges items on a stream until the last is acknowledged by anyone.
async fn consume(addr: SocketAddr, acknowledged: Arc<AtomicU64>) -> Vec<String> {
    let channel = try_channel(addr).await.unwrap();
    let (requests, inbound) = mpsc::channel(ITEMS);
    let send = async |message| {
        let message = Some(message);
        requests.send(ConsumeRequest { message }).await.unwrap();
    };
    let open = ConsumeOpen {
        queue: "jobs".into(),
        window: 3,
        ack_timeout: span(Duration::from_secs(600)),
    };
    send(Message::Open(open)).await;
    let mut queues = QueueServiceClient::new(channel);
    let told = queues.consume(ReceiverStream::new(inbound)).await;
    let mut told = told.unwrap().into_inner();
    let mut taken = Vec::new();
    while acknowledged.load(Ordering::SeqCst) < ITEMS as u64 {
        let message = tokio::time::timeout(Duration::from_millis(20), told.message()).await;
        // Nothing for a moment: perhaps the others have taken the last one.
        let Ok(message) = message else { continue };
        match message.unwrap().unwrap().event.unwrap() {
            Event::Item(item) => {
                assert_eq!(item.deliveries, 1);
                taken.push(String::from_utf8(item.value).unwrap());
                let receipts = vec![item.receipt];
                send(Message::Acknowledge(ConsumeAcknowledge { receipts })).await;
            }
            Event::Settled(settled) => {
                assert_eq!(settled.error, None);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    taken
}

#[tokio::test]
async fn ten_streams_take_and_acknowledge_a_hundred_items_each_once() {
    let server = Server::memory();
    let addr = server.addr;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut consumers = JoinSet::new();
    for _ in 0..CONSUMERS {
        consumers.spawn(consume(addr, acknowledged.clone()));
    }
    for n in 0..ITEMS {
        enqueue(addr, n).await;
    }
    assert_each_once(soon(consumers.join_all()).await);
    settles(addr, "consumer_count", 0).await;
    let state = http::get(addr, JOBS).await.json();
    assert_eq!(state["ready_count"], 0);
    assert_eq!(state["delivered_count"], 0);
}

/// What the callers of a server know that is killed again and again.
struct Traffic {
    addr: SocketAddr,
    answered: AtomicU64,
    ended: AtomicBool,
}

impl Traffic {
    /// Asks until somebody answers: the request id makes that one call.
    async fn ask(&self, action: &str, body: Value) -> http::Answer {
        loop {
            let asked = http::try_post(self.addr, &format!("{JOBS}/{action}"), &body).await;
            match asked {
                Ok(answer) if answer.status < 500 => {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    return answer;
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::SeqCst)
    }

    /// Puts items in line; those that are acknowledged.
    async fn produce(&self, name: usize) -> Vec<String> {
        let mut put = Vec::new();
        while self.goes_on() {
            let value = format!("{name}-{}", put.len());
            let body = json!({"value": value, "request_id": format!("put-{value}")});
            let answer = self.ask("enqueue", body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            put.push(value);
        }
        put
    }

    /// Takes items, and acknowledges every second one; those that are acknowledged.
    async fn consume(&self, name: usize) -> Vec<String> {
        let mut acknowledged = Vec::new();
        for n in 0.. {
            if !self.goes_on() {
                break;
            }
            let take = json!({"ack_timeout": "1h", "request_id": format!("take-{name}-{n}")});
            let item = self.ask("dequeue", take).await;
            if item.status == 204 {
                continue;
            }
            let item = item.json();
            // Nobody returns anything, and an hour does not pass.
            assert_eq!(item["deliveries"], 1, "{item}");
            if n % 2 == 0 {
                let request_id = format!("ack-{name}-{n}");
                let ack = json!({"receipt": item["receipt"], "request_id": request_id});
                let answer = self.ask("ack", ack).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                acknowledged.push(item["value"].as_str().unwrap().to_owned());
            }
        }
        acknowledged
    }
}

#[tokio::test]
async fn kill_9_loses_no_item_and_brings_none_back_that_was_acknowledged() {
    const CYCLES: u64 = 4;
    const CALLS_PER_CYCLE: u64 = 80;
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::over(dir.path());
    let traffic = Arc::new(Traffic {
        addr: server.addr,
        answered: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    });
    let (mut producers, mut consumers) = (JoinSet::new(), JoinSet::new());
    for name in 0..4 {
        let (producer, consumer) = (traffic.clone(), traffic.clone());
        producers.spawn(async move { producer.produce(name).await });
        consumers.spawn(async move { consumer.consume(name).await });
    }
    for cycle in 1..=CYCLES {
        let enough = async {
            while traffic.answered.load(Ordering::SeqCst) < cycle * CALLS_PER_CYCLE {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon(enough).await;
        server.kill();
        server = Server::over_at(dir.path(), traffic.addr);
    }
    traffic.ended.store(true, Ordering::SeqCst);
    let put = soon(producers.join_all()).await.concat();
    let acknowledged = soon(consumers.join_all()).await.concat();
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());

    let all: BTreeSet<_> = put.iter().collect();
    let gone: BTreeSet<_> = acknowledged.iter().collect();
    assert_eq!(gone.len(), acknowledged.len(), "acknowledged twice");
    let addr = traffic.addr;
    let there = [values(addr, "ready").await, values(addr, "delivered").await].concat();
    let distinct: BTreeSet<_> = there.iter().collect();
    assert_eq!(distinct.len(), there.len(), "in line twice");
    let expected: BTreeSet<_> = all.difference(&gone).copied().collect();
    assert_eq!(distinct, expected);
    server.assert_well("deaths").await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_first_and_is_dead_after_its_last_delivery() {
    let server = Server::memory();
    let addr = server.addr;
    let body = json!({"deliveries_max": 2});
    let configured = send(addr, "PUT", JOBS, &body.to_string()).await;
    assert_eq!(configured.status, 200, "{}", configured.text());
    enqueue(addr, "one").await;
    enqueue(addr, "two").await;
    for delivery in 1..=2 {
        settles(addr, "ready_count", 2).await;
        let item = post(addr, "dequeue", json!({"ack_timeout": "100ms"})).await;
        assert_eq!(
            (&item["value"], &item["deliveries"]),
            (&json!("one"), &json!(delivery))
        );
    }
    settles(addr, "dead_count", 1).await;
    assert_eq!(values(addr, "dead").await, ["one"]);
    assert_eq!(values(addr, "ready").await, ["two"]);
    assert_eq!(post(addr, "redrive", json!({})).await["redriven"], 1);
    assert_eq!(values(addr, "dead").await, [""; 0]);
}

#[tokio::test]
async fn a_consumer_that_hangs_up_takes_nothing_with_it() {
    let server = Server::memory();
    let addr = server.addr;
    let waiting = tokio::spawn(post(addr, "dequeue", json!({"wait": "10m"})));
    settles(addr, "consumer_count", 1).await;
    waiting.abort();
    settles(addr, "consumer_count", 0).await;
    enqueue(addr, "one").await;
    assert_eq!(values(addr, "ready").await, ["one"]);
}

async fn send(addr: SocketAddr, method: &str, path: &str, body: &str) -> http::Answer {
    let kind = format!("content-type: {JSON}");
    let bytes = request(method, path.as_bytes(), &[&kind], body.as_bytes());
    http::send(addr, &bytes).await
}

#[tokio::test]
async fn bad_input_on_every_route_names_the_field_and_its_bound() {
    let mut server = Server::memory();
    let addr = server.addr;
    let long = "x".repeat(129);
    let large = "x".repeat(64 * 1024 + 1);
    let receipt = "1.1.AAAAAAAAAAAAAAAAAAAAAA";
    for (action, body, field, bound) in [
        ("enqueue", json!({}), "value", "missing"),
        ("enqueue", json!({"value": 1}), "value", "string"),
        ("enqueue", json!({"value": large}), "value", "65536"),
        (
            "enqueue",
            json!({"value": "x", "value_base64": "eA=="}),
            "value",
            "value_base64",
        ),
        (
            "enqueue",
            json!({"value_base64": "!"}),
            "value_base64",
            "base64",
        ),
        (
            "enqueue",
            json!({"value": "x", "ttl": "99ms"}),
            "ttl",
            "100ms to 30d",
        ),
        (
            "enqueue",
            json!({"value": "x", "ttl": "31d"}),
            "ttl",
            "100ms to 30d",
        ),
        ("enqueue", json!({"value": "x", "ttl": "soon"}), "ttl", ""),
        (
            "enqueue",
            json!({"value": "x", "request_id": long}),
            "request_id",
            "128",
        ),
        (
            "enqueue",
            json!({"value": "x", "other": 1}),
            "other",
            "unknown",
        ),
        ("dequeue", json!({"wait": "25h"}), "wait", "24h"),
        ("dequeue", json!({"wait": -1}), "wait", ""),
        (
            "dequeue",
            json!({"ack_timeout": "99ms"}),
            "ack_timeout",
            "100ms to 7d",
        ),
        (
            "dequeue",
            json!({"ack_timeout": "8d"}),
            "ack_timeout",
            "100ms to 7d",
        ),
        ("dequeue", json!({"ack_timeout": "none"}), "ack_timeout", ""),
        (
            "dequeue",
            json!({"request_id": "r"}),
            "request_id",
            "ack_timeout",
        ),
        (
            "dequeue",
            json!({"ack_timeout": "1s", "request_id": long}),
            "request_id",
            "128",
        ),
        ("dequeue", json!({"receipt": receipt}), "receipt", "unknown"),
        ("consume", json!({"window": 1001}), "window", "1000"),
        ("consume", json!({"window": -1}), "window", "whole number"),
        (
            "consume",
            json!({"ack_timeout": "0s"}),
            "ack_timeout",
            "100ms to 7d",
        ),
        ("consume", json!({"wait": "1s"}), "wait", "unknown"),
        ("ack", json!({}), "receipt", "missing"),
        ("ack", json!({"receipt": 1}), "receipt", "string"),
        (
            "ack",
            json!({"receipt": "x", "ttl": "1s"}),
            "ttl",
            "unknown",
        ),
        ("return", json!({}), "receipt", "missing"),
        ("return", json!({"receipt": [1]}), "receipt", "string"),
        ("extend", json!({}), "receipt", "missing"),
        (
            "extend",
            json!({"receipt": receipt, "request_id": "r"}),
            "request_id",
            "unknown",
        ),
        (
            "purge",
            json!({"part": "all"}),
            "part",
            "ready, delivered or dead",
        ),
        (
            "purge",
            json!({"part": "delivered"}),
            "part",
            "items that wait",
        ),
        ("purge", json!({"request_id": long}), "request_id", "128"),
        (
            "redrive",
            json!({"request_id": "a\n"}),
            "request_id",
            "control",
        ),
        ("redrive", json!({"part": "dead"}), "part", "unknown"),
    ] {
        let path = format!("{JOBS}/{action}");
        refused(addr, "POST", &path, &body, field, bound).await;
    }
    let none = json!({});
    for (method, path, body, field, bound) in [
        ("PUT", JOBS, &none, "deliveries_max", "missing"),
        (
            "PUT",
            JOBS,
            &json!({"deliveries_max": 0}),
            "deliveries_max",
            "1 to 10000",
        ),
        (
            "PUT",
            JOBS,
            &json!({"deliveries_max": 10_001}),
            "deliveries_max",
            "1 to 10000",
        ),
        (
            "PUT",
            JOBS,
            &json!({"deliveries_max": "never"}),
            "deliveries_max",
            "none",
        ),
        (
            "PUT",
            JOBS,
            &json!({"deliveries_max": 1, "request_id": long}),
            "request_id",
            "128",
        ),
        (
            "DELETE",
            JOBS,
            &json!({"request_id": long}),
            "request_id",
            "128",
        ),
        (
            "GET",
            "/api/v1/queues/jobs/items?part=x",
            &none,
            "part",
            "dead",
        ),
        (
            "GET",
            "/api/v1/queues/jobs/items?page_size=1001",
            &none,
            "page_size",
            "1000",
        ),
        (
            "GET",
            "/api/v1/queues/jobs/items?page_token=AA",
            &none,
            "page_token",
            "listing",
        ),
        (
            "GET",
            "/api/v1/queues/jobs/items?prefix=a",
            &none,
            "prefix",
            "unknown",
        ),
    ] {
        refused(addr, method, path, body, field, bound).await;
    }
    let over = "x".repeat(513);
    for (name, bound) in [
        ("", "512"),
        (over.as_str(), "512"),
        ("a%00b", "control"),
        ("%FF", "UTF-8"),
    ] {
        for (method, action) in [
            ("POST", "/enqueue"),
            ("POST", "/dequeue"),
            ("POST", "/consume"),
            ("POST", "/ack"),
            ("POST", "/return"),
            ("POST", "/extend"),
            ("GET", "/items"),
            ("GET", "/length"),
            ("POST", "/purge"),
            ("POST", "/redrive"),
            ("GET", ""),
            ("PUT", ""),
            ("DELETE", ""),
        ] {
            let path = format!("/api/v1/queues/{name}{action}");
            refused(addr, method, &path, &none, "queue", bound).await;
        }
    }
    // What proves nothing, however it looks.
    for receipt in [
        "",
        "x",
        receipt,
        "1.1.",
        "99999999999999999999.1.AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        for action in ["ack", "return", "extend"] {
            let body = json!({ "receipt": receipt }).to_string();
            let ended = send(addr, "POST", &format!("{JOBS}/{action}"), &body).await;
            assert_eq!(ended.status, 409, "{action} {receipt}: {}", ended.text());
            assert_eq!(ended.json()["error"]["reason"], "DELIVERY_ENDED");
        }
    }
    let queues = http::get(addr, "/api/v1/queues").await.json();
    assert_eq!(queues["queues"], json!([]));
    server.assert_well("bad queues").await;
}

async fn refused(
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
    field: &str,
    bound: &str,
) {
    let answer = send(addr, method, path, &body.to_string()).await;
    let case = format!(
        "{method} {path} {:.80}: {}",
        body.to_string(),
        answer.text()
    );
    assert_eq!(answer.status, 400, "{case}");
    let error = &answer.json()["error"];
    assert_eq!(error["field"], field, "{case}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with(field) && message.contains(bound),
        "{case}"
    );
}
