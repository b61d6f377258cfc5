//! FIFOs over real sockets: order among many callers, turns that never overlap, `kill -9`, bad input.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::grpc::soon;
use crate::http::{self, JSON, request};
use crate::server::Server;

const CALLERS: usize = 400;
const CLIENTS: usize = 100;
const KILLED_CLIENTS: usize = 12;
/// How many tickets are acknowledged before the server is killed, at least.
const TICKETS_BEFORE_DEATH: u64 = 150;

async fn new_fifo(addr: SocketAddr) -> String {
    let made = http::get(addr, "/fifo/new").await;
    assert_eq!(made.status, 200, "{}", made.text());
    made.json()["uuid"].as_str().unwrap().to_owned()
}

async fn ticket(addr: SocketAddr, fifo: &str) -> String {
    let made = http::form(addr, "POST", &format!("/fifo/{fifo}/ticket"), "").await;
    assert_eq!(made.status, 200, "{}", made.text());
    made.json()["ticket"].as_str().unwrap().to_owned()
}

async fn read(addr: SocketAddr, fifo: &str) -> Value {
    http::get(addr, &format!("/api/v1/fifos/{fifo}"))
        .await
        .json()
}

#[tokio::test]
async fn four_hundred_callers_at_once_are_served_in_the_order_of_their_tickets() {
    let mut server = Server::memory();
    let addr = server.addr;
    let fifo = new_fifo(addr).await;
    let mut tickets = Vec::new();
    for _ in 0..CALLERS {
        tickets.push(ticket(addr, &fifo).await);
    }
    let mut callers = tokio::task::JoinSet::new();
    let served = Arc::new(AtomicUsize::new(0));
    // The last one comes first: what counts is the ticket.
    for (number, ticket) in tickets.into_iter().enumerate().rev() {
        let (fifo, served) = (fifo.clone(), served.clone());
        callers.spawn(async move {
            let turn = http::get(addr, &format!("/fifo/{fifo}/wait/{ticket}")).await;
            assert_eq!((turn.status, turn.body.len()), (200, 0), "{}", turn.text());
            assert_eq!(served.fetch_add(1, Ordering::SeqCst), number);
            let done = http::get(addr, &format!("/fifo/{fifo}/done/{ticket}")).await;
            assert_eq!(done.status, 200, "{}", done.text());
        });
    }
    soon(callers.join_all()).await;
    assert_eq!(served.load(Ordering::SeqCst), CALLERS);
    server.assert_well("400 callers").await;
}

#[tokio::test]
async fn a_hundred_clients_through_one_fifo_never_overlap() {
    let mut server = Server::memory();
    let addr = server.addr;
    let fifo = new_fifo(addr).await;
    let inside = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (fifo, inside, turns) = (fifo.clone(), inside.clone(), turns.clone());
        clients.spawn(async move {
            let ticket = ticket(addr, &fifo).await;
            let native = format!("/api/v1/fifos/{fifo}/tickets/{ticket}");
            let by_sync = client % 2 == 0;
            let turn = match by_sync {
                true => http::get(addr, &format!("/fifo/{fifo}/wait/{ticket}")).await,
                false => http::post(addr, &format!("{native}/wait"), json!({})).await,
            };
            assert_eq!(turn.status, 200, "{}", turn.text());
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            tokio::task::yield_now().await;
            assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1, "two at once");
            turns.fetch_add(1, Ordering::SeqCst);
            let done = match by_sync {
                true => http::get(addr, &format!("/fifo/{fifo}/done/{ticket}")).await,
                false => http::post(addr, &format!("{native}/complete"), json!({})).await,
            };
            assert_eq!(done.status, 200, "{}", done.text());
        });
    }
    soon(clients.join_all()).await;
    assert_eq!(turns.load(Ordering::SeqCst), CLIENTS);
    let end = read(addr, &fifo).await;
    assert_eq!(
        (&end["serving_count"], &end["waiting_count"]),
        (&json!(0), &json!(0))
    );
    server.assert_well("100 clients").await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_its_ticket_where_it_stands() {
    let server = Server::memory();
    let addr = server.addr;
    let fifo = new_fifo(addr).await;
    let first = ticket(addr, &fifo).await;
    let second = ticket(addr, &fifo).await;
    // Its first news say that it waits.
    let path = format!("/api/v1/fifos/{fifo}/tickets/{second}/wait");
    let events = request("POST", path.as_bytes(), &["accept: text/event-stream"], b"");
    let mut caller = http::connect(addr).await;
    caller.write_all(&events).await.unwrap();
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains("event: queued") {
        assert_ne!(soon(caller.read_buf(&mut told)).await.unwrap(), 0);
    }
    drop(caller);
    assert_eq!(read(addr, &fifo).await["waiting_count"], 1);
    http::get(addr, &format!("/fifo/{fifo}/done/{first}")).await;
    let wait = format!("/fifo/{fifo}/wait/{second}");
    assert_eq!(soon(http::get(addr, &wait)).await.status, 200);
}

/// What one client was told before the server died.
#[derive(Default)]
struct Journal {
    /// Acknowledged, and nobody was asked to end them: number and id.
    kept: Vec<(u64, String)>,
    /// Acknowledged to be done.
    done: Vec<String>,
    /// Acknowledged tickets of which nobody knows whether they are done.
    unknown: Vec<String>,
}

/// Makes two tickets and does the first, again and again, until the server dies.
async fn work(addr: SocketAddr, fifo: &str, acknowledged: &AtomicU64) -> Journal {
    let mut journal = Journal::default();
    let tickets = format!("/api/v1/fifos/{fifo}/tickets");
    let none = json!({});
    loop {
        let mut made = Vec::new();
        for _ in 0..2 {
            let Ok(answer) = http::try_post(addr, &tickets, &none).await else {
                journal.kept.append(&mut made);
                return journal;
            };
            let json = answer.json();
            let number = json["number"].as_str().unwrap().parse().unwrap();
            made.push((number, json["id"].as_str().unwrap().to_owned()));
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        let (_, first) = made.remove(0);
        journal.kept.append(&mut made);
        // Its turn may be far away, so it is waited for a moment only, and done wherever it stands.
        let wait = format!("{tickets}/{first}/wait");
        if http::try_post(addr, &wait, &json!({"wait": "2ms"}))
            .await
            .is_err()
        {
            journal.unknown.push(first);
            return journal;
        }
        match http::try_post(addr, &format!("/fifo/{fifo}/done/{first}"), &none).await {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{}", answer.text());
                journal.done.push(first);
            }
            Err(_) => {
                journal.unknown.push(first);
                return journal;
            }
        }
    }
}

/// All tickets that live, in the order of their turns.
async fn line(addr: SocketAddr, fifo: &str) -> Vec<(u64, String)> {
    let (mut line, mut token) = (Vec::new(), String::new());
    loop {
        let page = format!("/api/v1/fifos/{fifo}/tickets?page_size=1000&page_token={token}");
        let page = http::get(addr, &page).await.json();
        line.extend(page["tickets"].as_array().unwrap().iter().map(|ticket| {
            let number = ticket["number"].as_str().unwrap().parse().unwrap();
            (number, ticket["id"].as_str().unwrap().to_owned())
        }));
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => return line,
        }
    }
}

#[tokio::test]
async fn kill_9_loses_no_acknowledged_ticket_and_brings_none_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::over(dir.path());
    let fifo = new_fifo(server.addr).await;
    let (mut kept, mut done, mut unknown) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for cycle in 0..3 {
        let addr = server.addr;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..KILLED_CLIENTS {
            let (fifo, acknowledged) = (fifo.clone(), acknowledged.clone());
            clients.spawn(async move { work(addr, &fifo, &acknowledged).await });
        }
        let enough = async {
            while acknowledged.load(Ordering::SeqCst) < TICKETS_BEFORE_DEATH {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon(enough).await;
        server.kill();
        for journal in soon(clients.join_all()).await {
            kept.extend(journal.kept);
            done.extend(journal.done);
            unknown.extend(journal.unknown);
        }

        server = Server::over(dir.path());
        let line = line(server.addr, &fifo).await;
        assert!(line.is_sorted_by(|a, b| a.0 < b.0), "cycle {cycle}");
        let there: BTreeSet<_> = line.iter().cloned().collect();
        for ticket in &kept {
            assert!(there.contains(ticket), "cycle {cycle}: {ticket:?} is lost");
        }
        for (_, id) in &line {
            assert!(!done.contains(id), "cycle {cycle}: {id} was done");
        }
    }
    // The line goes on: whoever is first has its turn, and then the next.
    let addr = server.addr;
    for (_, id) in line(addr, &fifo).await.into_iter().take(20) {
        let turn = format!("/fifo/{fifo}/wait/{id}");
        assert_eq!(soon(http::get(addr, &turn)).await.status, 200);
        let done = http::get(addr, &format!("/fifo/{fifo}/done/{id}")).await;
        assert_eq!(done.status, 200);
    }
    server.assert_well("kill -9").await;
}

async fn send(server: &Server, method: &str, path: &str, body: &Value) -> http::Answer {
    let kind = format!("content-type: {JSON}");
    let body = body.to_string();
    let bytes = request(method, path.as_bytes(), &[&kind], body.as_bytes());
    http::send(server.addr, &bytes).await
}

#[tokio::test]
async fn bad_input_over_rest_names_the_field() {
    let mut server = Server::memory();
    let made = http::post(server.addr, "/api/v1/fifos", json!({"id": "x"})).await;
    assert_eq!(made.status, 200);
    http::post(server.addr, "/api/v1/fifos", json!({"id": "other"})).await;
    let made = http::post(server.addr, "/api/v1/fifos/x/tickets", json!({})).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let fifos = "/api/v1/fifos";
    let tickets = "/api/v1/fifos/x/tickets";
    let long = format!("{fifos}/{}", "x".repeat(513));
    let of = |verb: &str| format!("{tickets}/{id}{verb}");
    let mut cases: Vec<(&str, String, Value, &str)> = vec![
        ("POST", fifos.into(), json!({"id": "x".repeat(513)}), "id"),
        ("POST", fifos.into(), json!({"id": "a\u{0}b"}), "id"),
        ("POST", fifos.into(), json!({"id": 1}), "id"),
        (
            "POST",
            fifos.into(),
            json!({"concurrency": 10_001}),
            "concurrency",
        ),
        (
            "POST",
            fifos.into(),
            json!({"concurrency": -1}),
            "concurrency",
        ),
        (
            "POST",
            fifos.into(),
            json!({"concurrency": 1.5}),
            "concurrency",
        ),
        (
            "POST",
            fifos.into(),
            json!({"allow_overrides": "maybe"}),
            "allow_overrides",
        ),
        (
            "POST",
            fifos.into(),
            json!({"request_id": "x".repeat(129)}),
            "request_id",
        ),
        ("POST", fifos.into(), json!({"nonsense": 1}), "nonsense"),
        (
            "GET",
            format!("{fifos}?page_size=1001"),
            json!({}),
            "page_size",
        ),
        (
            "GET",
            format!("{fifos}?page_token=%3F"),
            json!({}),
            "page_token",
        ),
        ("GET", long.clone(), json!({}), "fifo"),
        ("GET", format!("{fifos}/a%00b"), json!({}), "fifo"),
        ("GET", format!("{fifos}/%FF"), json!({}), "fifo"),
        ("GET", format!("{fifos}/"), json!({}), "fifo"),
        ("DELETE", long.clone(), json!({}), "fifo"),
        (
            "DELETE",
            format!("{fifos}/x"),
            json!({"request_id": 7}),
            "request_id",
        ),
        ("POST", format!("{fifos}//tickets"), json!({}), "fifo"),
        ("POST", format!("{long}/tickets"), json!({}), "fifo"),
        (
            "POST",
            tickets.into(),
            json!({"done_timeout": "1s"}),
            "done_timeout",
        ),
        (
            "POST",
            tickets.into(),
            json!({"owner": "x".repeat(513)}),
            "owner",
        ),
        ("POST", tickets.into(), json!({"owner": "a\nb"}), "owner"),
        (
            "POST",
            tickets.into(),
            json!({"metadata": {"": "a"}}),
            "metadata",
        ),
        ("POST", tickets.into(), json!({"metadata": []}), "metadata"),
        (
            "POST",
            tickets.into(),
            json!({"request_id": "a\u{7}"}),
            "request_id",
        ),
        ("POST", tickets.into(), json!({"priority": 1}), "priority"),
        (
            "GET",
            format!("{tickets}?page_size=x"),
            json!({}),
            "page_size",
        ),
        (
            "GET",
            format!("{tickets}?page_token=AA"),
            json!({}),
            "page_token",
        ),
        ("GET", format!("{tickets}?prefix=a"), json!({}), "prefix"),
        ("GET", format!("{tickets}/"), json!({}), "ticket"),
        ("POST", of("/wait"), json!({"wait": "24h1ns"}), "wait"),
        ("POST", of("/wait"), json!({"wait": "-1s"}), "wait"),
        ("POST", of("/wait"), json!({"wait": "none"}), "wait"),
        ("POST", of("/wait"), json!({"waits": "1s"}), "waits"),
        (
            "POST",
            of("/extend"),
            json!({"done_timeout": 0}),
            "done_timeout",
        ),
        (
            "POST",
            of("/extend"),
            json!({"done_timeout": "366d"}),
            "done_timeout",
        ),
        (
            "POST",
            of("/extend"),
            json!({"done_timeout": "1M"}),
            "done_timeout",
        ),
        (
            "POST",
            of("/complete"),
            json!({"request_id": "x".repeat(129)}),
            "request_id",
        ),
        ("POST", of("/cancel"), json!({"nonsense": 1}), "nonsense"),
        (
            "DELETE",
            of(""),
            json!({"request_id": "x".repeat(129)}),
            "request_id",
        ),
    ];
    for field in [
        "wait_timeout",
        "accept_timeout",
        "done_timeout",
        "unused_destroy_timeout",
    ] {
        for span in [
            json!("1M"),
            json!("-1s"),
            json!(-1),
            json!("5"),
            json!("366d"),
            json!(1e300),
            json!(true),
        ] {
            cases.push(("POST", fifos.into(), json!({field: span}), field));
        }
    }
    for (method, verb) in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/wait"),
        ("POST", "/extend"),
        ("POST", "/complete"),
        ("POST", "/cancel"),
    ] {
        for ticket in ["x", "%00", "%FF", "28c9c1be-7bb8-4e8c-b22e-c16402a421dg"] {
            cases.push((
                method,
                format!("{tickets}/{ticket}{verb}"),
                json!({}),
                "ticket",
            ));
        }
        cases.push((
            method,
            format!("{fifos}/other/tickets/{id}{verb}"),
            json!({}),
            "ticket",
        ));
        cases.push((
            method,
            format!("{long}/tickets/{id}{verb}"),
            json!({}),
            "fifo",
        ));
    }
    for (method, path, body, field) in &cases {
        let answer = send(&server, method, path, body).await;
        let case = format!("{method} {path} {body}: {}", answer.text());
        assert_eq!(answer.status, 400, "{case}");
        assert_eq!(answer.json()["error"]["field"], *field, "{case}");
    }
    let end = read(server.addr, "x").await;
    assert_eq!(
        (&end["serving_count"], &end["waiting_count"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(end["tickets"][0]["state"], "NOTIFIED");
    let listed = http::get(server.addr, "/api/v1/fifos").await.json();
    assert_eq!(listed["fifos"].as_array().unwrap().len(), 2);
    server.assert_well("bad input about FIFOs").await;
}

#[tokio::test]
async fn bad_input_in_sync_is_told_as_text() {
    let mut server = Server::memory();
    let fifo = new_fifo(server.addr).await;
    let ticket = ticket(server.addr, &fifo).await;
    let other = new_fifo(server.addr).await;
    let large = "x".repeat(70_000);
    for (path, body, status, names) in [
        (
            "/fifo/new".to_owned(),
            "wait_timeout=1M",
            400,
            "wait_timeout",
        ),
        ("/fifo/new".to_owned(), "{\"wait_timeout\":", 400, "body"),
        (
            "/fifo/new".to_owned(),
            "wait_timeout=%ff",
            400,
            "wait_timeout",
        ),
        (
            "/fifo/new".to_owned(),
            "done_timeout=1s&done_timeout=2s",
            400,
            "done_timeout",
        ),
        ("/fifo/new".to_owned(), &large, 413, "bytes"),
        (
            "/fifo/new".to_owned(),
            "unused_destroy_timeout=-1s",
            400,
            "unused_destroy_timeout",
        ),
        (
            "/fifo/new".to_owned(),
            "{\"allow_overrides\":7}",
            400,
            "allow_overrides",
        ),
        (
            format!("/fifo/{fifo}/ticket"),
            "accept_timeout=1y",
            400,
            "accept_timeout",
        ),
        (format!("/fifo/{fifo}/ticket"), "owner=a%00b", 400, "owner"),
        (format!("/fifo/{fifo}/ticket"), &large, 413, "bytes"),
        ("/fifo/%00/ticket".to_owned(), "", 400, "fifo"),
        ("/fifo/%FF/ticket".to_owned(), "", 400, "fifo"),
        ("/fifo//ticket".to_owned(), "", 400, "fifo"),
        (format!("/fifo/{fifo}/wait/%00"), "", 400, "ticket"),
        (format!("/fifo/{fifo}/wait/"), "", 400, "ticket"),
        (format!("/fifo/{fifo}/done/x"), "", 400, "ticket"),
        (format!("/fifo/{other}/wait/{ticket}"), "", 400, "ticket"),
        (format!("/fifo/{other}/done/{ticket}"), "", 400, "ticket"),
        (format!("/fifo/{ticket}/wait/{ticket}"), "", 404, "FIFO"),
        (format!("/fifo/{fifo}/done/{fifo}"), "", 404, "ticket"),
    ] {
        let answer = http::form(server.addr, "POST", &path, body).await;
        let case = format!("{path} {body:.40}: {}", answer.text());
        assert_eq!(answer.status, status, "{case}");
        assert!(answer.text().contains(names), "{case}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{case}"
        );
    }
    for path in [
        "/fifo/new".to_owned(),
        format!("/fifo/{fifo}/done/{ticket}"),
    ] {
        for method in ["PUT", "DELETE", "PATCH", "BREW"] {
            let answer = http::form(server.addr, method, &path, "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            let allow = answer.header("allow").unwrap();
            assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
        }
    }
    let end = read(server.addr, &fifo).await;
    assert_eq!(end["tickets"].as_array().unwrap().len(), 1);
    server.assert_well("bad input in sync").await;
}
