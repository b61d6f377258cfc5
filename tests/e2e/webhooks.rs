//! Places in line whose turn is told by a call back, over real sockets: whoever is called is called
//! in order, one at a time, until it has taken its turn, also across a crash; and a turn that nobody
//! takes is the next one's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::dialects::script;
use crate::grpc::{self, settles, soon};
use crate::http;
use crate::receiver::{Receiver, calling_server, calling_server_over, status};

/// Subscribes over REST, and tells the webhook's id.
async fn subscribe(addr: SocketAddr, lock: &str, callback: Value) -> String {
    let body = json!({"ttl": "5m", "callback": callback});
    let path = format!("/api/v1/locks/{lock}/acquire");
    let answer = http::post(addr, &path, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["webhook"].as_str().unwrap().to_owned()
}

pub async fn webhook(addr: SocketAddr, id: &str) -> Value {
    let answer = http::get(addr, &format!("/api/v1/webhooks/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Waits until a webhook is in this state, and tells it.
pub async fn reaches(addr: SocketAddr, id: &str, state: &str) -> Value {
    let mut seen = Value::Null;
    let end = Instant::now() + crate::server::PATIENCE;
    while Instant::now() < end {
        seen = webhook(addr, id).await;
        if seen["state"] == state {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it was never {state}: {seen}")
}

async fn release(addr: SocketAddr, lock: &str, token: &str) -> u16 {
    let body = json!({"grant_token": token});
    http::post(addr, &format!("/api/v1/locks/{lock}/release"), body)
        .await
        .status
}

pub async fn delete(addr: SocketAddr, path: &str) -> http::Answer {
    http::send(addr, &http::request("DELETE", path.as_bytes(), &[], b"")).await
}

#[test]
fn the_script_of_webmutex_that_subscribes_runs() {
    script(&calling_server(), "bash", "webmutex_subscribe.sh");
}

#[tokio::test]
async fn subscribers_in_line_are_called_one_at_a_time_in_order() {
    let mut server = calling_server();
    let addr = server.addr;
    let receiver = Receiver::taking().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(subscribe(addr, "line", json!({"url": receiver.url(name)})).await);
    }
    for (n, id) in ids.iter().enumerate() {
        let post = receiver.nth(n + 1).await;
        assert_eq!(post.id(), id);
        assert_eq!(reaches(addr, id, "taken").await["last_status"], 200);
        let lock = http::get(addr, "/api/v1/locks/line").await.json();
        assert_eq!(
            (&lock["holder_count"], &lock["waiters"]),
            (&json!(1), &json!(2 - n))
        );
        let body = post.json();
        assert_eq!(body["type"], "lock.granted");
        assert_eq!(body["data"]["lock"], "line");
        assert_eq!(
            body["data"]["fencing_token"],
            lock["holders"][0]["fencing_token"]
        );
        // Whoever stands behind is called by this release and by nothing before it.
        assert_eq!(receiver.seen().len(), n + 1);
        assert_eq!(release(addr, "line", &post.token()).await, 200);
    }
    assert_eq!(receiver.paths(), ["/a", "/b", "/c"]);
    server.assert_well("callbacks").await;
}

#[tokio::test]
async fn a_receiver_that_refuses_gives_its_turn_to_the_next() {
    let server = calling_server();
    let addr = server.addr;
    let receiver =
        Receiver::start(async |post| status(if post.path == "/gone" { 410 } else { 204 })).await;
    let gone = subscribe(addr, "x", json!({"url": receiver.url("gone")})).await;
    let next = subscribe(addr, "x", json!({"url": receiver.url("next")})).await;
    let refused = reaches(addr, &gone, "refused").await;
    assert_eq!(
        (&refused["last_status"], &refused["attempts"]),
        (&json!(410), &json!(1))
    );
    reaches(addr, &next, "taken").await;
    assert_eq!(receiver.paths(), ["/gone", "/next"]);
}

#[tokio::test]
async fn a_post_that_failed_is_repeated_under_the_same_id_with_the_same_token() {
    let server = calling_server();
    let addr = server.addr;
    let receiver =
        Receiver::start(async |post| status(if post.nth == 1 { 500 } else { 200 })).await;
    let id = subscribe(addr, "x", json!({"url": receiver.url("flaky")})).await;
    let taken = reaches(addr, &id, "taken").await;
    assert_eq!(
        (&taken["attempts"], &taken["last_status"]),
        (&json!(2), &json!(200))
    );
    let [first, second] = &receiver.seen()[..] else {
        panic!("{:?}", receiver.paths());
    };
    assert_eq!((first.id(), second.id()), (id.as_str(), id.as_str()));
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn a_turn_that_is_not_taken_in_time_is_the_next_ones() {
    const ACCEPT: Duration = Duration::from_secs(1);
    let server = calling_server();
    let addr = server.addr;
    let receiver = Receiver::start(async |post| match post.path.as_str() {
        "/hangs" => std::future::pending().await,
        _ => status(200),
    })
    .await;
    // Nobody listens on a port that was free a moment ago.
    let down = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down_url = format!("http://{}/", down.local_addr().unwrap());
    drop(down);
    let began = Instant::now();
    let callback = |url: String| json!({"url": url, "accept_timeout": "1s"});
    let hangs = subscribe(addr, "x", callback(receiver.url("hangs"))).await;
    let down = subscribe(addr, "x", callback(down_url)).await;
    let next = subscribe(addr, "x", callback(receiver.url("next"))).await;
    reaches(addr, &next, "taken").await;
    assert!(began.elapsed() >= 2 * ACCEPT, "{:?}", began.elapsed());
    let late = receiver.seen()[0].clone();
    assert_eq!(late.path, "/hangs");
    assert_eq!(webhook(addr, &hangs).await["state"], "timed_out");
    let down = webhook(addr, &down).await;
    assert_eq!(down["state"], "timed_out");
    assert!(down["last_error"].is_string(), "{down}");
    // Who comes too late holds nothing.
    assert_eq!(release(addr, "x", &late.token()).await, 409);
}

#[tokio::test]
async fn a_receiver_can_tell_by_the_signature_who_called() {
    let server = calling_server();
    let addr = server.addr;
    let receiver = Receiver::taking().await;
    let own = http::get(addr, "/api/v1/webhook-secret").await.json();
    let own = own["secret"].as_str().unwrap();
    let brought = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    subscribe(addr, "a", json!({"url": receiver.url("a")})).await;
    receiver.nth(1).await;
    subscribe(
        addr,
        "b",
        json!({"url": receiver.url("b"), "secret": brought}),
    )
    .await;
    receiver.nth(2).await;
    let verify = |secret: &str, nth: usize| {
        let post = &receiver.seen()[nth];
        let verifier = standardwebhooks::Webhook::new(secret).unwrap();
        verifier.verify(post.body.as_bytes(), &post.headers).is_ok()
    };
    assert!(verify(own, 0) && !verify(brought, 0));
    assert!(verify(brought, 1) && !verify(own, 1));
    let listed = http::get(addr, "/api/v1/webhooks").await.text();
    assert!(!listed.contains(brought), "{listed}");
}

#[tokio::test]
async fn a_crash_before_the_turn_was_taken_has_the_same_post_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = calling_server_over(dir.path(), "127.0.0.1:0");
    let addr = server.addr;
    let receiver = Receiver::start(async |post| match post.nth {
        1 => std::future::pending().await,
        _ => status(200),
    })
    .await;
    let url = |path| json!({"url": receiver.url(path), "accept_timeout": "1m"});
    let first = subscribe(addr, "x", url("first")).await;
    let second = subscribe(addr, "x", url("second")).await;
    let before = receiver.nth(1).await;
    server.kill();

    let mut server = calling_server_over(dir.path(), &addr.to_string());
    let after = receiver.nth(2).await;
    assert_eq!((before.id(), after.id()), (first.as_str(), first.as_str()));
    assert_eq!(before.token(), after.token());
    reaches(addr, &first, "taken").await;
    // The place behind it was kept.
    assert_eq!(webhook(addr, &second).await["state"], "waiting");
    assert_eq!(release(addr, "x", &after.token()).await, 200);
    assert_eq!(receiver.nth(3).await.id(), second);
    assert_eq!(receiver.paths(), ["/first", "/first", "/second"]);
    server.assert_well("a crash").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = calling_server();
    let addr = server.addr;
    let inner = Receiver::taking().await;
    let location = inner.url("inner");
    let outer = Receiver::start(move |_| {
        let location = location.clone();
        async move {
            let mut redirect = status(307);
            redirect
                .headers_mut()
                .insert("location", location.parse().unwrap());
            redirect
        }
    })
    .await;
    let callback = json!({"url": outer.url("outer"), "accept_timeout": "1s"});
    let id = subscribe(addr, "x", callback).await;
    let over = reaches(addr, &id, "timed_out").await;
    assert_eq!(over["last_status"], 307);
    assert!(inner.seen().is_empty());
}

#[tokio::test]
async fn a_crowd_is_called_whole_and_never_more_than_the_limit_at_a_time() {
    const CROWD: usize = 100;
    const AT_A_TIME: usize = holdfast::webhook::IN_FLIGHT_PER_NAMESPACE_MAX;
    let mut server = calling_server();
    let addr = server.addr;
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let receiver = Receiver::start({
        let (busy, most) = (busy.clone(), most.clone());
        move |_| {
            let (busy, most) = (busy.clone(), most.clone());
            async move {
                let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                // Long enough for the others to come, if they may.
                tokio::time::sleep(Duration::from_millis(50)).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                status(200)
            }
        }
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..CROWD {
        let lock = format!("lock-{n}");
        ids.push(subscribe(addr, &lock, json!({"url": receiver.url(&lock)})).await);
    }
    for id in &ids {
        reaches(addr, id, "taken").await;
    }
    assert_eq!(receiver.seen().len(), CROWD);
    let most = most.load(Ordering::SeqCst);
    assert!((2..=AT_A_TIME).contains(&most), "{most} at a time");
    server.assert_well("a crowd").await;
}

#[tokio::test]
async fn a_place_can_be_given_up_and_the_listing_tells_of_all() {
    let server = calling_server();
    let addr = server.addr;
    let receiver = Receiver::taking().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(subscribe(addr, "x", json!({"url": receiver.url(name)})).await);
    }
    reaches(addr, &ids[0], "taken").await;
    let cancelled = delete(addr, &format!("/api/v1/webhooks/{}", ids[1])).await;
    assert_eq!(
        (cancelled.status, cancelled.json()),
        (200, json!({"cancelled": true}))
    );
    for (id, state) in [(&ids[0], "taken"), (&ids[1], "cancelled")] {
        let refused = delete(addr, &format!("/api/v1/webhooks/{id}")).await;
        assert_eq!(refused.status, 409, "{state}: {}", refused.text());
        assert_eq!(refused.json()["error"]["reason"], "WEBHOOK_NOT_WAITING");
    }
    assert_eq!(
        release(addr, "x", &receiver.nth(1).await.token()).await,
        200
    );
    reaches(addr, &ids[2], "taken").await;
    assert_eq!(receiver.paths(), ["/a", "/c"]);

    let first = http::get(addr, "/api/v1/webhooks?page_size=2").await.json();
    let token = first["next_page_token"].as_str().unwrap();
    let path = format!("/api/v1/webhooks?page_size=2&page_token={token}");
    let second = http::get(addr, &path).await.json();
    assert_eq!(second["next_page_token"], Value::Null);
    let listed: Vec<_> = [&first, &second]
        .into_iter()
        .flat_map(|page| page["webhooks"].as_array().unwrap().clone())
        .map(|webhook| (webhook["id"].clone(), webhook["state"].clone()))
        .collect();
    let expected: Vec<_> = ids
        .iter()
        .zip(["taken", "cancelled", "taken"])
        .map(|(id, state)| (json!(id), json!(state)))
        .collect();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_subscriber_whose_connection_is_gone_keeps_its_place_among_the_others() {
    let server = calling_server();
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    let held = grpc::acquire(&mut locks, grpc::ask("x")).await;
    let receiver = Receiver::taking().await;
    let id = subscribe(addr, "x", json!({"url": receiver.url("x")})).await;
    let mut behind = locks.clone();
    let behind = tokio::spawn(async move { grpc::acquire(&mut behind, grpc::waiting("x")).await });
    settles(&mut locks, "x", 1, 2).await;
    grpc::release(&mut locks, &held).await;
    let post = receiver.nth(1).await;
    reaches(addr, &id, "taken").await;
    assert!(!behind.is_finished());
    assert_eq!(release(addr, "x", &post.token()).await, 200);
    let behind = soon(behind).await.unwrap();
    assert!(behind.fencing_token.to_string().as_str() != post.json()["data"]["fencing_token"]);
}
