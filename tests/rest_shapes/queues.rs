//! The shapes of queues and their items.

use serde_json::{Value, json};

use crate::*;

const QUEUE: &str = "/api/v1/queues/jobs";

impl Server {
    async fn on_queue(&self, action: &str, body: Value) -> Reply {
        self.post(&format!("{QUEUE}/{action}"), body).await
    }

    /// Puts items in line, each a text.
    async fn enqueue(&self, items: &[&str]) {
        for item in items {
            let reply = self.on_queue("enqueue", json!({"value": item})).await;
            assert_eq!(reply.status, 200, "{}", reply.json);
        }
    }

    async fn state(&self) -> Value {
        self.get(QUEUE).await.json
    }

    /// Takes an item that has to be acknowledged: its text and receipt.
    async fn take(&self) -> (String, String) {
        let item = self.on_queue("dequeue", json!({"ack_timeout": "1m"})).await;
        assert_eq!(item.status, 200, "{}", item.json);
        (item.text("value"), item.text("receipt"))
    }
}

#[tokio::test]
async fn an_item_is_put_in_line_looked_at_taken_and_acknowledged() {
    let server = Server::start();
    let put = server
        .on_queue("enqueue", json!({"value": "one", "ttl": "1h"}))
        .await;
    assert_eq!(put.status, 200, "{}", put.json);
    let id = put.text("id");
    let ready = server.get(&format!("{QUEUE}/items")).await;
    let item = &ready.json["items"][0];
    assert_eq!(item["id"], json!(id));
    assert_eq!(item["value"], "one");
    assert_eq!(item["deliveries"], 0);
    assert!(item["expires_in"].as_f64().unwrap() > 3000.0);
    assert!(item["enqueue_time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(item["receipt"], Value::Null);

    let taken = server
        .on_queue("dequeue", json!({"ack_timeout": "1m"}))
        .await;
    assert_eq!(taken.status, 200, "{}", taken.json);
    assert_eq!(taken.json["id"], json!(id));
    assert_eq!(taken.json["value"], "one");
    assert_eq!(taken.json["deliveries"], 1);
    assert!(taken.json["ack_in"].as_f64().unwrap() > 50.0);
    let receipt = taken.text("receipt");
    let delivered = server.get(&format!("{QUEUE}/items?part=delivered")).await;
    assert_eq!(delivered.json["items"][0]["id"], json!(id));
    assert_eq!(delivered.json["items"][0]["receipt"], Value::Null);
    let length = server.get(&format!("{QUEUE}/length")).await;
    let expected = json!({"length": 0, "delivered_count": 1, "dead_count": 0});
    assert_eq!(length.json, expected);

    let longer = json!({"receipt": receipt, "ack_timeout": "1h"});
    let extended = server.on_queue("extend", longer).await;
    assert!(extended.json["ack_in"].as_f64().unwrap() > 3000.0);
    let receipt = json!({ "receipt": receipt });
    let acknowledged = server.on_queue("ack", receipt.clone()).await;
    assert_eq!(acknowledged.json, json!({"acknowledged": true}));
    for action in ["ack", "return", "extend"] {
        let ended = server.on_queue(action, receipt.clone()).await;
        assert_eq!(ended.status, 409, "{action}: {}", ended.json);
        assert_eq!(ended.json["error"]["reason"], "DELIVERY_ENDED");
    }
}

#[tokio::test]
async fn a_delivery_without_an_ack_timeout_is_final_and_an_empty_queue_is_204() {
    let server = Server::start();
    server.enqueue(&["one"]).await;
    let taken = server.on_queue("dequeue", Value::Null).await;
    assert_eq!(taken.json["value"], "one");
    assert_eq!(taken.json["receipt"], Value::Null);
    assert_eq!(taken.json["ack_in"], Value::Null);
    for body in [Value::Null, json!({"wait": "1ms"})] {
        let empty = server.on_queue("dequeue", body).await;
        assert_eq!((empty.status, empty.json), (204, Value::Null));
    }
}

#[tokio::test]
async fn a_long_poll_is_answered_when_an_item_comes() {
    let server = Server::start();
    let waiting = server.on_queue("dequeue", json!({"wait": "10m"}));
    let put = async {
        while server.state().await["consumer_count"] != 1 {
            tokio::task::yield_now().await;
        }
        server.enqueue(&["late"]).await;
    };
    let (taken, ()) = tokio::join!(waiting, put);
    assert_eq!(taken.json["value"], "late", "{}", taken.json);
}

#[tokio::test]
async fn what_is_not_text_comes_and_goes_as_base64() {
    let server = Server::start();
    let binary = json!({"value_base64": "/w=="});
    assert_eq!(server.on_queue("enqueue", binary).await.status, 200);
    let taken = server.on_queue("dequeue", Value::Null).await;
    assert_eq!(taken.json["value_base64"], "/w==");
    assert_eq!(taken.json["value"], Value::Null);
    let controls = "\u{1}".repeat(64 * 1024);
    server.enqueue(&[&controls]).await;
    let taken = server.on_queue("dequeue", Value::Null).await;
    assert_eq!(taken.text("value"), controls);
}

#[tokio::test]
async fn what_is_returned_comes_first_and_dies_after_its_last_delivery() {
    let server = Server::start();
    let configure = request(
        "PUT",
        QUEUE,
        Some("application/json"),
        r#"{"deliveries_max": 2}"#,
    );
    let configured = server.send(configure).await;
    assert_eq!(configured.json["deliveries_max"], 2);
    assert_eq!(configured.json["configured"], true);
    server.enqueue(&["one", "two"]).await;
    for _ in 0..2 {
        let (value, receipt) = server.take().await;
        assert_eq!(value, "one");
        let returned = server.on_queue("return", json!({"receipt": receipt})).await;
        assert_eq!(returned.json, json!({"returned": true}));
    }
    let dead = server.get(&format!("{QUEUE}/items?part=dead")).await;
    assert_eq!(dead.json["items"][0]["value"], "one");
    assert_eq!(server.state().await["dead_count"], 1);
    let redriven = server.on_queue("redrive", Value::Null).await;
    assert_eq!(redriven.json, json!({"redriven": 1, "more": false}));
    let length = server.get(&format!("{QUEUE}/length")).await;
    let expected = json!({"length": 2, "delivered_count": 0, "dead_count": 0});
    assert_eq!(length.json, expected);
}

#[tokio::test]
async fn a_queue_is_read_listed_purged_and_deleted() {
    let server = Server::start();
    let unknown = server.state().await;
    let expected = json!({
        "name": "jobs", "deliveries_max": 20, "configured": false, "ready_count": 0,
        "delivered_count": 0, "dead_count": 0, "bytes": 0, "consumer_count": 0,
    });
    assert_eq!(unknown, expected);
    let endless = request("PUT", QUEUE, None, "deliveries_max=none");
    let endless = server.send(endless).await;
    assert_eq!(endless.json["deliveries_max"], Value::Null);
    server.enqueue(&["one", "two"]).await;
    let other = "/api/v1/queues/jobs%2F2/enqueue";
    assert_eq!(server.post(other, json!({"value": "x"})).await.status, 200);
    let first = server.get("/api/v1/queues?prefix=jobs&page_size=1").await;
    assert_eq!(first.json["queues"][0]["name"], "jobs");
    assert!(first.json["queues"][0]["bytes"].as_u64().unwrap() >= 6);
    let token = first.text("next_page_token");
    let rest = format!("/api/v1/queues?page_token={token}");
    let second = server.get(&rest).await;
    assert_eq!(second.json["queues"][0]["name"], "jobs/2");
    assert_eq!(second.json["next_page_token"], Value::Null);
    let page = format!("{QUEUE}/items?page_size=1");
    let first = server.get(&page).await;
    let token = first.text("next_page_token");
    let second = server.get(&format!("{page}&page_token={token}")).await;
    assert_eq!(second.json["items"][0]["value"], "two");
    assert_eq!(second.json["next_page_token"], Value::Null);
    let purged = server.on_queue("purge", Value::Null).await;
    assert_eq!(purged.json, json!({"purged": 2, "more": false}));
    let purged = server.on_queue("purge", json!({"part": "dead"})).await;
    assert_eq!(purged.json, json!({"purged": 0, "more": false}));
    server.enqueue(&["three"]).await;
    server.take().await;
    let deleted = server.send(request("DELETE", QUEUE, None, "")).await;
    assert_eq!(deleted.json, json!({"purged": 1, "more": false}));
    assert_eq!(server.state().await, unknown);
}

#[tokio::test]
async fn listing_and_removing_want_an_admin_and_another_namespace_sees_nothing() {
    let server = Server::start();
    server.enqueue(&["one"]).await;
    let (_, receipt) = server.take().await;
    for (method, path) in [
        ("GET", "/api/v1/queues"),
        ("DELETE", QUEUE),
        ("POST", "/api/v1/queues/jobs/purge"),
        ("POST", "/api/v1/queues/jobs/redrive"),
    ] {
        let refused = server.send_as(Role::Use, "default", request(method, path, None, ""));
        let refused = refused.await;
        assert_eq!(refused.status, 403, "{method} {path}");
        assert_eq!(refused.json["error"]["reason"], "PERMISSION_DENIED");
    }
    let taken = request("POST", "/api/v1/queues/jobs/dequeue", None, "");
    let empty = server.send_as(Role::Admin, "other", taken).await;
    assert_eq!(empty.status, 204);
    let body = json!({ "receipt": receipt }).to_string();
    let json = Some("application/json");
    let ack = request("POST", "/api/v1/queues/jobs/ack", json, &body);
    let ended = server.send_as(Role::Admin, "other", ack).await;
    assert_eq!(ended.json["error"]["reason"], "DELIVERY_ENDED");
    let used = request("GET", QUEUE, None, "");
    assert_eq!(server.send_as(Role::Use, "default", used).await.status, 200);
}

#[tokio::test]
async fn a_retry_gets_the_same_item() {
    let server = Server::start();
    let put = json!({"value": "one", "request_id": "r1"});
    let first = server.on_queue("enqueue", put.clone()).await;
    let again = server.on_queue("enqueue", put).await;
    assert_eq!(first.json, again.json);
    assert_eq!(server.state().await["ready_count"], 1);
    let other = json!({"value": "two", "request_id": "r1"});
    let reused = server.on_queue("enqueue", other).await;
    assert_eq!(reused.status, 422);
    let take = json!({"ack_timeout": "1m", "request_id": "r2"});
    let first = server.on_queue("dequeue", take.clone()).await;
    let again = server.on_queue("dequeue", take).await;
    assert_eq!(first.text("receipt"), again.text("receipt"));
    let ack = json!({"receipt": first.text("receipt"), "request_id": "r3"});
    for _ in 0..2 {
        let done = server.on_queue("ack", ack.clone()).await;
        assert_eq!(done.json, json!({"acknowledged": true}));
    }
}

#[tokio::test]
async fn a_stream_of_items_goes_on_as_they_are_acknowledged() {
    let server = Server::start();
    server.enqueue(&["one", "two", "three"]).await;
    let path = format!("{QUEUE}/consume");
    let body = json!({"window": 2, "ack_timeout": "1m"}).to_string();
    let mut items = stream(&server, events_request("POST", &path, &body)).await;
    let mut receipts = Vec::new();
    for value in ["one", "two"] {
        let (name, item) = next_event(&mut items).await.unwrap();
        assert_eq!((name.as_str(), &item["value"]), ("item", &json!(value)));
        receipts.push(item["receipt"].clone());
    }
    let state = server.state().await;
    assert_eq!(state["consumer_count"], 1);
    assert_eq!(
        (&state["ready_count"], &state["delivered_count"]),
        (&json!(1), &json!(2))
    );
    let ack = json!({"receipt": receipts[0]});
    assert_eq!(server.on_queue("ack", ack).await.status, 200);
    let (_, item) = next_event(&mut items).await.unwrap();
    assert_eq!(item["value"], "three");
    drop(items);
    while server.state().await["consumer_count"] != 0 {
        tokio::task::yield_now().await;
    }
    // What was told stays with whoever was told.
    assert_eq!(server.state().await["delivered_count"], 2);
    for receipt in [&receipts[1], &item["receipt"]] {
        let done = server.on_queue("ack", json!({ "receipt": receipt })).await;
        assert_eq!(done.status, 200, "{}", done.json);
    }
}

#[tokio::test]
async fn a_stream_tells_that_the_server_stops() {
    let server = Server::start();
    let path = format!("{QUEUE}/consume");
    let mut items = stream(&server, events_request("POST", &path, "")).await;
    while server.state().await["consumer_count"] != 1 {
        tokio::task::yield_now().await;
    }
    server.api.stop_accepting();
    let (name, error) = next_event(&mut items).await.unwrap();
    assert_eq!(name, "error");
    assert_eq!(error["error"]["reason"], "STOPPING");
    assert!(next_event(&mut items).await.is_none());
}
