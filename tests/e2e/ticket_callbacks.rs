//! Tickets whose turn is told by a call back, over real sockets: receivers are called in the order of
//! the tickets; their answer accepts the turn or lets it lapse, and so does their silence.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holdfast::proto::v1::fifo_service_client::FifoServiceClient;
use holdfast::proto::v1::{Callback, CreateTicketRequest};
use serde_json::{Value, json};

use crate::grpc::{self, soon};
use crate::http;
use crate::receiver::{Receiver, Seen, calling_server, calling_server_over, status};
use crate::server::Server;
use crate::webhooks::{delete, reaches, webhook};

const TICKETS: &str = "/api/v1/fifos/line/tickets";

async fn new_fifo(addr: SocketAddr, settings: Value) {
    let mut body = json!({"id": "line"});
    body.as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    let made = http::post(addr, "/api/v1/fifos", body).await;
    assert_eq!(made.status, 200, "{}", made.text());
}

/// A ticket that calls back, as it was told.
async fn ticket(addr: SocketAddr, url: String) -> Value {
    let body = json!({"callback": {"url": url}});
    let made = http::post(addr, TICKETS, body).await;
    assert_eq!(made.status, 200, "{}", made.text());
    made.json()
}

async fn read(addr: SocketAddr, ticket: &Value) -> Value {
    let path = format!("{TICKETS}/{}", text(ticket, "id"));
    http::get(addr, &path).await.json()
}

async fn complete(addr: SocketAddr, ticket: &Value) -> u16 {
    let path = format!("{TICKETS}/{}/complete", text(ticket, "id"));
    http::post(addr, &path, json!({})).await.status
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{value}"))
}

/// Checks that a post tells of this ticket.
fn tells_of(post: &Seen, ticket: &Value) {
    let body = post.json();
    assert_eq!(post.id(), text(ticket, "webhook"));
    assert_eq!(body["type"], "ticket.ready");
    assert_eq!(body["data"]["fifo"], "line");
    assert_eq!(body["data"]["ticket"], ticket["id"]);
    assert_eq!(body["data"]["number"], ticket["number"]);
    assert_eq!(body["data"]["done_timeout"], ticket["done_timeout"]);
}

#[tokio::test]
async fn tickets_are_called_in_order_each_when_the_one_before_is_done() {
    let mut server = calling_server();
    let addr = server.addr;
    let receiver = Receiver::taking().await;
    new_fifo(addr, json!({"done_timeout": "5m"})).await;
    let mut tickets = Vec::new();
    for name in ["a", "b", "c"] {
        tickets.push(ticket(addr, receiver.url(name)).await);
    }
    assert_eq!(tickets[0]["state"], "NOTIFIED");
    assert_eq!(tickets[2]["position"], 2);
    for (n, ticket) in tickets.iter().enumerate() {
        tells_of(&receiver.nth(n + 1).await, ticket);
        let taken = reaches(addr, text(ticket, "webhook"), "taken").await;
        assert_eq!(
            (&taken["fifo"], &taken["ticket"], &taken["lock"]),
            (&json!("line"), &ticket["id"], &Value::Null)
        );
        let accepted = read(addr, ticket).await;
        assert_eq!(
            (&accepted["state"], &accepted["webhook"]),
            (&json!("ACCEPTED"), &Value::Null)
        );
        // Whoever stands behind is called by this completion and by nothing before it.
        assert_eq!(receiver.seen().len(), n + 1);
        assert_eq!(complete(addr, ticket).await, 200);
    }
    assert_eq!(receiver.paths(), ["/a", "/b", "/c"]);
    server.assert_well("tickets that call back").await;
}

#[tokio::test]
async fn a_receiver_that_refuses_lets_its_ticket_lapse_and_the_next_one_is_called() {
    let server = calling_server();
    let addr = server.addr;
    let receiver =
        Receiver::start(async |post| status(if post.path == "/gone" { 410 } else { 204 })).await;
    new_fifo(addr, json!({})).await;
    let gone = ticket(addr, receiver.url("gone")).await;
    let next = ticket(addr, receiver.url("next")).await;
    let refused = reaches(addr, text(&gone, "webhook"), "refused").await;
    assert_eq!(refused["last_status"], 410);
    reaches(addr, text(&next, "webhook"), "taken").await;
    assert_eq!(read(addr, &gone).await["state"], "LAPSED");
    assert_eq!(read(addr, &next).await["state"], "ACCEPTED");
    assert_eq!(receiver.paths(), ["/gone", "/next"]);
}

#[tokio::test]
async fn a_turn_that_is_not_accepted_in_time_is_the_next_ones() {
    const ACCEPT: Duration = Duration::from_secs(1);
    let server = calling_server();
    let addr = server.addr;
    let receiver = Receiver::start(async |post| match post.path.as_str() {
        "/hangs" => std::future::pending().await,
        "/fails" => status(500),
        _ => status(200),
    })
    .await;
    new_fifo(addr, json!({"accept_timeout": "1s"})).await;
    let began = Instant::now();
    let hangs = ticket(addr, receiver.url("hangs")).await;
    let fails = ticket(addr, receiver.url("fails")).await;
    let next = ticket(addr, receiver.url("next")).await;
    reaches(addr, text(&next, "webhook"), "taken").await;
    assert!(began.elapsed() >= 2 * ACCEPT, "{:?}", began.elapsed());
    for lapsed in [&hangs, &fails] {
        assert_eq!(
            webhook(addr, text(lapsed, "webhook")).await["state"],
            "timed_out"
        );
        assert_eq!(read(addr, lapsed).await["state"], "LAPSED");
        assert_eq!(complete(addr, lapsed).await, 410);
    }
}

#[tokio::test]
async fn a_crash_before_the_turn_was_accepted_has_the_same_post_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = calling_server_over(dir.path(), "127.0.0.1:0");
    let addr = server.addr;
    let receiver = Receiver::start(async |post| match post.nth {
        1 => std::future::pending().await,
        _ => status(200),
    })
    .await;
    new_fifo(addr, json!({"accept_timeout": "1m"})).await;
    let first = ticket(addr, receiver.url("first")).await;
    let second = ticket(addr, receiver.url("second")).await;
    let before = receiver.nth(1).await;
    server.kill();

    let mut server = calling_server_over(dir.path(), &addr.to_string());
    let after = receiver.nth(2).await;
    assert_eq!(before.id(), after.id());
    tells_of(&after, &first);
    reaches(addr, text(&first, "webhook"), "taken").await;
    // The place behind it was kept, and so was what calls back for it.
    let waits = read(addr, &second).await;
    assert_eq!(
        (&waits["state"], &waits["webhook"]),
        (&json!("WAITING"), &second["webhook"])
    );
    assert_eq!(complete(addr, &first).await, 200);
    // Its own path counts anew, so it is the first post there that is left unanswered.
    tells_of(&receiver.nth(3).await, &second);
    server.assert_well("a crash").await;
}

#[tokio::test]
async fn who_waits_accepts_the_turn_as_well_and_then_nobody_is_called() {
    let server = calling_server();
    let addr = server.addr;
    let receiver = Receiver::taking().await;
    new_fifo(addr, json!({})).await;
    let first = ticket(addr, receiver.url("first")).await;
    reaches(addr, text(&first, "webhook"), "taken").await;
    let second = ticket(addr, receiver.url("second")).await;
    let third = ticket(addr, receiver.url("third")).await;
    let path = format!("{TICKETS}/{}/wait", text(&second, "id"));
    let waiting = tokio::spawn(async move { http::post(addr, &path, json!({})).await });
    // A ticket given up by its webhook's id never has its turn.
    let cancelled = delete(
        addr,
        &format!("/api/v1/webhooks/{}", text(&third, "webhook")),
    )
    .await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    assert_eq!(
        read(addr, &third).await["error"]["reason"],
        "TICKET_NOT_FOUND"
    );
    assert_eq!(complete(addr, &first).await, 200);
    let turn = soon(waiting).await.unwrap();
    assert_eq!((turn.status, &turn.json()["id"]), (200, &second["id"]));
    let listed = http::get(addr, "/api/v1/webhooks").await.json();
    let listed: Vec<_> = listed["webhooks"].as_array().unwrap().iter().collect();
    for (webhook, ticket) in listed.iter().zip([&first, &second, &third]) {
        assert_eq!(
            (&webhook["id"], &webhook["fifo"], &webhook["ticket"]),
            (&ticket["webhook"], &json!("line"), &ticket["id"])
        );
    }
    assert_eq!(listed.len(), 3);
}

#[tokio::test]
async fn a_bad_callback_of_a_ticket_is_refused_with_its_field() {
    let mut server = calling_server();
    let addr = server.addr;
    new_fifo(addr, json!({})).await;
    let good = "http://127.0.0.1:9/";
    for (url, secret, accept, named) in [
        ("", "", None, "callback.url"),
        ("ftp://127.0.0.1/", "", None, "callback.url"),
        ("http://no-such-host.invalid/", "", None, "callback.url"),
        ("http://10.0.0.1/", "", None, "callback.url"),
        (good, "whsec_AAAA", None, "callback.secret"),
        (good, "", Some(60), "callback.accept_timeout"),
    ] {
        refused(addr, url, secret, accept, named).await;
    }
    for body in [
        json!({"callback": good}),
        json!({"callback": {}}),
        json!({"callback": {"url": good, "uri": good}}),
    ] {
        let answer = http::post(addr, TICKETS, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(answer.json()["error"]["field"], "callback", "{body}");
    }
    assert_nobody_stands(addr).await;
    server.assert_well("bad callbacks of tickets").await;
}

#[tokio::test]
async fn a_ticket_can_call_no_address_inside_the_network() {
    let server = Server::memory();
    let addr = server.addr;
    let receiver = Receiver::taking().await;
    new_fifo(addr, json!({})).await;
    for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"] {
        let url = format!("http://{host}:{}/turn", receiver.addr.port());
        refused(addr, &url, "", None, "callback.url").await;
    }
    assert_nobody_stands(addr).await;
    assert!(receiver.seen().is_empty());
}

/// Asks for a ticket with a bad callback over REST and gRPC.
async fn refused(addr: SocketAddr, url: &str, secret: &str, accept: Option<i64>, named: &str) {
    let case = format!("{url} {secret} {accept:?}");
    let mut callback = json!({"url": url, "secret": secret});
    if let Some(seconds) = accept {
        callback["accept_timeout"] = json!(seconds);
    }
    let answer = http::post(addr, TICKETS, json!({"callback": callback})).await;
    assert_eq!(answer.status, 400, "{case}: {}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["field"], named, "{case}: {error}");
    if accept.is_some() {
        assert!(
            text(error, "message").contains("a ticket's own accept timeout counts"),
            "{error}"
        );
    }
    let request = CreateTicketRequest {
        fifo: "line".into(),
        callback: Some(Callback {
            url: url.into(),
            secret: secret.into(),
            accept_timeout: accept.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        }),
        ..Default::default()
    };
    let mut fifos = FifoServiceClient::new(grpc::try_channel(addr).await.unwrap());
    let status = soon(fifos.create_ticket(request)).await.unwrap_err();
    assert_eq!(crate::bad_webhooks::field(&status), named, "{case}");
}

async fn assert_nobody_stands(addr: SocketAddr) {
    let listed = http::get(addr, TICKETS).await.json();
    assert_eq!(listed["tickets"], json!([]));
    let listed = http::get(addr, "/api/v1/webhooks").await.json();
    assert_eq!(listed["webhooks"], json!([]));
}
