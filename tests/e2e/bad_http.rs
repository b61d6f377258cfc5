//! Bad input over HTTP, as bytes on sockets: the native REST API and each dialect name the field and
//! the bound in their own shape, and never fail, hang or grow for it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http::{self, Answer, FORM, JSON, request};
use crate::server::Server;

const UUID: &str = "28c9c1be-7bb8-4e8c-b22e-c16402a421d5";
const GETLOCK: &str = "/v1/28c9c1be-7bb8-4e8c-b22e-c16402a421d5";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// Where a lock is taken in each surface, and the shape of its errors.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Surface {
    Rest,
    Webmutex,
    Getlock,
    Lockable,
}

use Surface::*;

const ALL: [Surface; 4] = [Rest, Webmutex, Getlock, Lockable];

impl Surface {
    fn method(self) -> &'static str {
        match self {
            Getlock => "PUT",
            _ => "POST",
        }
    }

    fn path(self, mutex: &str) -> String {
        match self {
            Rest => "/api/v1/locks/free/acquire".to_owned(),
            Webmutex => format!("/grab/{mutex}"),
            Getlock => GETLOCK.to_owned(),
            Lockable => "/v1/acquire/free".to_owned(),
        }
    }

    /// What is wrong, in the surface's own shape.
    fn problem(self, answer: &Answer) -> String {
        let body = answer.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Rest => {
                let error = &body["error"];
                assert_eq!(error["code"], answer.status, "{body}");
                assert!(error["reason"].is_string(), "{body}");
                let field = text(&error["field"]);
                let message = text(&error["message"]);
                assert!(message.starts_with(&field), "{body}");
                message
            }
            Webmutex => {
                assert_eq!(body["status"], "fail", "{body}");
                text(&body["reason"])
            }
            Getlock => text(&body["message"]),
            Lockable => {
                assert_eq!(body["response"], false, "{body}");
                text(&body["reason"])
            }
        }
    }

    fn assert_refused(self, case: &str, answer: &Answer, status: u16, names: &str) {
        assert_eq!(answer.status, status, "{self:?} {case}: {}", answer.text());
        let problem = self.problem(answer);
        assert!(!problem.is_empty(), "{self:?} {case}: {}", answer.text());
        assert!(problem.contains(names), "{self:?} {case}: {problem}");
    }
}

async fn mutex(addr: SocketAddr) -> String {
    let reserved = http::form(addr, "POST", "/reserve", "").await.json();
    reserved["id"].as_str().unwrap().to_owned()
}

async fn assert_free(addr: SocketAddr, mutex: &str) {
    for name in ["free", UUID, mutex] {
        let lock = http::get(addr, &format!("/api/v1/locks/{name}")).await;
        assert_eq!(lock.json()["state"], "FREE", "{name} was taken");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_by_every_surface() {
    let mut server = Server::memory();
    let addr = server.addr;
    let mutex = mutex(addr).await;
    let deep = |open: &str, close: &str| {
        format!(
            "{{\"owner\":{}1{}}}",
            open.repeat(30_000),
            close.repeat(30_000)
        )
        .into_bytes()
    };
    let large = |bytes: usize| format!("owner={}", "x".repeat(bytes)).into_bytes();
    let part = |head: &str, body: &str| {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n--b--\r\n")
    };
    let not_utf8 = [
        b"--b\r\nContent-Disposition: form-data; name=\"owner\"\r\n\r\n",
        &b"\xff\r\n--b--\r\n"[..],
    ]
    .concat();
    let cases: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        ("too large", FORM, large(64 * 1024), 413, "65536"),
        ("far too large", FORM, large(8 << 20), 413, "bytes"),
        (
            "far too large JSON",
            JSON,
            deep("[", "]").repeat(100),
            413,
            "bytes",
        ),
        ("deep JSON", JSON, deep("[", "]"), 400, "body"),
        (
            "deep objects",
            JSON,
            deep("{\"a\":", "}")[..60_000].to_vec(),
            400,
            "body",
        ),
        ("half JSON", JSON, b"{\"owner\":".to_vec(), 400, "body"),
        ("no object", JSON, b"[1]".to_vec(), 400, "object"),
        ("NaN in JSON", JSON, b"{\"ttl\":NaN}".to_vec(), 400, "body"),
        (
            "no UTF-8 in JSON",
            JSON,
            b"{\"owner\":\"\xff\"}".to_vec(),
            400,
            "body",
        ),
        (
            "half a surrogate",
            JSON,
            b"{\"owner\":\"\\ud800\"}".to_vec(),
            400,
            "body",
        ),
        ("no UTF-8", FORM, b"owner=%ff".to_vec(), 400, "owner"),
        ("no UTF-8 in a name", FORM, b"%ff=1".to_vec(), 400, "UTF-8"),
        (
            "given twice",
            FORM,
            b"owner=a&owner=b".to_vec(),
            400,
            "owner",
        ),
        (
            "a part without a name",
            MULTIPART,
            part("x=1", "1").into(),
            400,
            "name",
        ),
        (
            "a part that is not UTF-8",
            MULTIPART,
            not_utf8,
            400,
            "owner",
        ),
        (
            "half a part",
            MULTIPART,
            b"--b\r\nContent-Disp".to_vec(),
            400,
            "body",
        ),
        (
            "another boundary",
            MULTIPART,
            b"--c\r\n\r\n--c--".to_vec(),
            400,
            "body",
        ),
        (
            "no boundary",
            "multipart/form-data",
            b"--b--".to_vec(),
            400,
            "boundary",
        ),
    ];
    for surface in ALL {
        let path = surface.path(&mutex);
        for (case, kind, body, status, names) in &cases {
            let kind = format!("content-type: {kind}");
            let bytes = request(surface.method(), path.as_bytes(), &[&kind], body);
            let answer = http::send(addr, &bytes).await;
            surface.assert_refused(case, &answer, *status, names);
        }
        for kind in ["text/html", "application/x-protobuf", "nonsense"] {
            let header = format!("content-type: {kind}");
            let bytes = request(surface.method(), path.as_bytes(), &[&header], b"<p>");
            let answer = http::send(addr, &bytes).await;
            let status = if surface == Rest { 415 } else { 400 };
            surface.assert_refused(kind, &answer, status, "application/json");
        }
    }
    assert_free(addr, &mutex).await;
    assert!(server.memory_mib() < 256, "{} MiB", server.memory_mib());
    server.assert_well("bad bodies").await;
}

#[tokio::test]
async fn a_value_out_of_its_bounds_is_refused_by_every_surface_with_its_field() {
    let mut server = Server::memory();
    let addr = server.addr;
    let mutex = mutex(addr).await;
    let refused = async |surface: Surface, body: Value, field: &str| {
        let kind = format!("content-type: {JSON}");
        let path = surface.path(&mutex);
        let bytes = body.to_string();
        let bytes = request(
            surface.method(),
            path.as_bytes(),
            &[&kind],
            bytes.as_bytes(),
        );
        let answer = http::send(addr, &bytes).await;
        surface.assert_refused(&body.to_string(), &answer, 400, field);
        if surface == Rest {
            assert_eq!(answer.json()["error"]["field"], field, "{body}");
        }
    };
    for surface in ALL {
        for ttl in [
            json!("NaN"),
            json!("inf"),
            json!("-inf"),
            json!("-1s"),
            json!("-1"),
            json!(-1),
            json!(-0.5),
            json!(1e300),
            json!("1e300"),
            json!("31d"),
            json!(2_678_400),
            json!(""),
            json!("soon"),
            json!("1M"),
            json!(true),
            json!([1]),
            json!({"s": 1}),
        ] {
            refused(surface, json!({"ttl": ttl}), "ttl").await;
        }
        for owner in [
            json!("a\u{0}b"),
            json!("a\nb"),
            json!("x".repeat(513)),
            json!(["a"]),
        ] {
            refused(surface, json!({"owner": owner}), "owner").await;
        }
        if surface == Getlock {
            refused(surface, json!({"ttl": 0}), "ttl").await;
            continue;
        }
        for ttl in [json!("99ms"), json!(0), json!("0")] {
            refused(surface, json!({"ttl": ttl}), "ttl").await;
        }
        for wait in [
            json!("-1s"),
            json!("24h1ns"),
            json!("none"),
            json!("5"),
            json!("NaN"),
        ] {
            refused(surface, json!({"wait": wait}), "wait").await;
        }
    }
    let keys = |n: usize| -> Value {
        (0..n)
            .map(|i| (i.to_string(), json!("x")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for (body, field) in [
        (json!({"nonsense": 1}), "nonsense"),
        (json!({"Owner": "a"}), "Owner"),
        (json!({"mode": "BOTH"}), "mode"),
        (json!({"mode": 1}), "mode"),
        (json!({"max_shared": 2}), "max_shared"),
        (json!({"max_shared": -1, "mode": "SHARED"}), "max_shared"),
        (
            json!({"max_shared": 1_000_001, "mode": "SHARED"}),
            "max_shared",
        ),
        (json!({"max_shared": 1.5, "mode": "SHARED"}), "max_shared"),
        (
            json!({"max_shared": 4_294_967_296_u64, "mode": "SHARED"}),
            "max_shared",
        ),
        (json!({"release_delay": "-1s"}), "release_delay"),
        (json!({"release_delay": "1h1ns"}), "release_delay"),
        (json!({"release_delay": "none"}), "release_delay"),
        (json!({"release_delay": "5"}), "release_delay"),
        (json!({"release_delay": 1e300}), "release_delay"),
        (json!({"release_delay": []}), "release_delay"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"metadata": {"": "a"}}), "metadata"),
        (json!({"metadata": {"a": "\u{0}"}}), "metadata"),
        (json!({"metadata": {"x".repeat(129): "a"}}), "metadata"),
        (json!({"metadata": {"a": "x".repeat(4096)}}), "metadata"),
        (json!({"metadata": keys(33)}), "metadata"),
        (json!({"lease": "x"}), "lease"),
        (json!({"lease": UUID, "ttl": "1s"}), "ttl"),
        (json!({"request_id": "x".repeat(129)}), "request_id"),
        (json!({"request_id": "a\u{7}"}), "request_id"),
        (json!({"request_id": 7}), "request_id"),
    ] {
        refused(Rest, body, field).await;
    }
    // The bounds themselves are good.
    let most = json!({
        "mode": "SHARED", "max_shared": 1_000_000, "ttl": "30d", "wait": "24h",
        "release_delay": "1h", "owner": "x".repeat(512), "request_id": "x".repeat(128),
        "metadata": {"k".repeat(128): "x".repeat(4096 - 128)},
    });
    let granted = http::post(addr, "/api/v1/locks/bounds/acquire", most).await;
    assert_eq!(granted.status, 200, "{}", granted.text());
    let least = json!({"ttl": "100ms", "wait": 0, "metadata": keys(32)});
    let granted = http::post(addr, "/api/v1/locks/least/acquire", least).await;
    assert_eq!(granted.status, 200, "{}", granted.text());
    assert_free(addr, &mutex).await;
    server.assert_well("values out of bounds").await;
}

#[tokio::test]
async fn a_name_has_its_bounds_on_every_surface() {
    let mut server = Server::memory();
    let addr = server.addr;
    let ask = async |method: &str, path: String| {
        http::send(addr, &request(method, path.as_bytes(), &[], b"")).await
    };
    let longest = "x".repeat(512);
    // 512 bytes of two-byte letters, percent-encoded.
    let letters = "%C3%A9".repeat(256);
    for name in [longest.as_str(), &letters, "a%2Fb%20c", "%F0%9F%94%92", "x"] {
        let granted = ask("POST", format!("/api/v1/locks/{name}/acquire")).await;
        assert_eq!(granted.status, 200, "{name}: {}", granted.text());
        let held = ask("GET", format!("/v1/acquire/{name}")).await;
        assert_eq!(
            (held.status, &held.json()["response"]),
            (200, &json!(false))
        );
    }
    let over = format!("{longest}x");
    let bad = [
        (over.as_str(), "512"),
        ("%C3%A9".repeat(257).leak(), "512"),
        ("%00", "control"),
        ("a%0Ab", "control"),
        ("%7F", "control"),
        ("%C2%85", "control"),
        ("%FF", "UTF-8"),
        ("%C3", "UTF-8"),
        ("", "512"),
    ];
    for (name, bound) in bad {
        for (method, action) in [
            ("POST", "/acquire"),
            ("POST", "/renew"),
            ("POST", "/release"),
            ("POST", "/check"),
            ("POST", "/force-release"),
            ("GET", "/watch"),
            ("GET", "/why"),
            ("GET", ""),
        ] {
            // Without a name and an action it is another path.
            if name.is_empty() && action.is_empty() {
                continue;
            }
            let answer = ask(method, format!("/api/v1/locks/{name}{action}")).await;
            Rest.assert_refused(&format!("{action} {name}"), &answer, 400, bound);
            assert_eq!(answer.json()["error"]["field"], "lock", "{action} {name}");
        }
        for verb in ["acquire", "heartbeat", "release"] {
            let answer = ask("GET", format!("/v1/{verb}/{name}")).await;
            Lockable.assert_refused(&format!("{verb} {name}"), &answer, 400, bound);
        }
        for verb in ["grab", "release", "status"] {
            let answer = ask("POST", format!("/{verb}/{name}?token=x")).await;
            let status = match (verb, bound) {
                ("status", "UTF-8") => 400,
                ("status", _) if !name.is_empty() => 404,
                _ => 400,
            };
            Webmutex.assert_refused(&format!("{verb} {name}"), &answer, status, "");
        }
    }
    for id in [
        "x",
        "0",
        "28c9c1be7bb84e8cb22ec16402a421d5",
        "28c9c1be-7bb8-4e8c-b22e-c16402a421d",
        "28c9c1be-7bb8-4e8c-b22e-c16402a421dg",
        "{28c9c1be-7bb8-4e8c-b22e-c16402a421d5}",
        "urn:uuid:28c9c1be-7bb8-4e8c-b22e-c16402a421d5",
        "%00",
        over.as_str(),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = ask(method, format!("/v1/{id}")).await;
            Getlock.assert_refused(&format!("{method} {id}"), &answer, 404, "UUID");
        }
    }
    for (method, path) in [
        ("GET", "/api/v1/leases/x"),
        ("POST", "/api/v1/leases/x/renew"),
        ("POST", "/api/v1/leases/%00/revoke"),
    ] {
        let answer = ask(method, path.to_owned()).await;
        Rest.assert_refused(path, &answer, 400, "lease_id");
    }
    server.assert_well("bad names").await;
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let mut server = Server::memory();
    let addr = server.addr;
    let paths: &[(&str, &[&str])] = &[
        ("/api/v1/locks", &["GET", "POST"]),
        ("/api/v1/locks/x", &["GET"]),
        ("/api/v1/locks/x/acquire", &["POST"]),
        ("/api/v1/locks/x/renew", &["POST"]),
        ("/api/v1/locks/x/release", &["POST"]),
        ("/api/v1/locks/x/check", &["POST"]),
        ("/api/v1/locks/x/force-release", &["POST"]),
        ("/api/v1/locks/x/watch", &["GET"]),
        ("/api/v1/locks/x/why", &["GET"]),
        ("/api/v1/leases", &["GET", "POST"]),
        ("/api/v1/leases/x", &["GET"]),
        ("/api/v1/leases/x/renew", &["POST"]),
        ("/api/v1/leases/x/revoke", &["POST"]),
        ("/api/v1/webhooks", &["GET"]),
        ("/api/v1/webhooks/x", &["GET", "DELETE"]),
        ("/api/v1/webhook-secret", &["GET"]),
        ("/api/v1/fifos", &["GET", "POST"]),
        ("/api/v1/fifos/x", &["GET", "DELETE"]),
        ("/api/v1/fifos/x/tickets", &["GET", "POST"]),
        ("/api/v1/fifos/x/tickets/y", &["GET", "DELETE"]),
        ("/api/v1/fifos/x/tickets/y/wait", &["POST"]),
        ("/api/v1/fifos/x/tickets/y/extend", &["POST"]),
        ("/api/v1/fifos/x/tickets/y/complete", &["POST"]),
        ("/api/v1/fifos/x/tickets/y/cancel", &["POST"]),
        ("/fifo/new", &["GET", "POST"]),
        ("/fifo/x/ticket", &["GET", "POST"]),
        ("/fifo/x/wait/y", &["GET", "POST"]),
        ("/fifo/x/done/y", &["GET", "POST"]),
        ("/reserve", &["POST"]),
        ("/grab", &["POST"]),
        ("/grab/x", &["POST"]),
        ("/release", &["POST"]),
        ("/status", &["GET", "POST"]),
        ("/subscribe_and_grab", &["POST"]),
        (GETLOCK, &["GET", "PUT", "DELETE"]),
        ("/v1/acquire/x", &["GET", "POST"]),
        ("/v1/heartbeat/x", &["GET", "POST"]),
        ("/v1/release/x", &["GET", "POST"]),
        ("/api/v1/queues", &["GET"]),
        ("/api/v1/queues/x", &["GET", "PUT", "DELETE"]),
        ("/api/v1/queues/x/enqueue", &["POST"]),
        ("/api/v1/queues/x/dequeue", &["POST"]),
        ("/api/v1/queues/x/consume", &["POST"]),
        ("/api/v1/queues/x/ack", &["POST"]),
        ("/api/v1/queues/x/return", &["POST"]),
        ("/api/v1/queues/x/extend", &["POST"]),
        ("/api/v1/queues/x/items", &["GET"]),
        ("/api/v1/queues/x/length", &["GET"]),
        ("/api/v1/queues/x/purge", &["POST"]),
        ("/api/v1/queues/x/redrive", &["POST"]),
        ("/livez", &["GET"]),
        ("/readyz", &["GET"]),
    ];
    for (path, allowed) in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            if allowed.contains(&method) {
                continue;
            }
            let answer = http::send(addr, &request(method, path.as_bytes(), &[], b"")).await;
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
            let allow = answer.header("allow").unwrap_or_default();
            let mut told: Vec<_> = allow.split(',').map(str::trim).collect();
            told.retain(|method| *method != "HEAD");
            told.sort_unstable();
            let mut allowed = allowed.to_vec();
            allowed.sort_unstable();
            assert_eq!(told, allowed, "{method} {path}");
        }
    }
    server.assert_well("wrong methods").await;
}

#[tokio::test]
async fn a_bad_page_is_refused() {
    let mut server = Server::memory();
    let addr = server.addr;
    for list in ["locks", "leases", "queues", "fifos", "values"] {
        for (query, field) in [
            ("page_size=1001", "page_size"),
            ("page_size=-1", "page_size"),
            ("page_size=x", "page_size"),
            ("page_size=4294967296", "page_size"),
            ("page_token=%3F", "page_token"),
            ("page_token=_w", "page_token"),
            ("page_token=%FF", "page_token"),
            ("pagesize=1", "pagesize"),
            ("page_size=1&page_size=2", "page_size"),
        ] {
            let answer = http::get(addr, &format!("/api/v1/{list}?{query}")).await;
            Rest.assert_refused(query, &answer, 400, field);
        }
    }
    let long = "x".repeat(513);
    for list in ["locks", "fifos", "queues", "values"] {
        let answer = http::get(addr, &format!("/api/v1/{list}?prefix={long}")).await;
        Rest.assert_refused(list, &answer, 400, "prefix");
    }
    let token = "x".repeat(10_000);
    let answer = http::get(addr, &format!("/api/v1/locks?page_token={token}")).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    server.assert_well("bad pages").await;
}

#[tokio::test]
async fn what_is_no_request_ends_its_own_connection() {
    let mut server = Server::memory();
    let addr = server.addr;
    let long = "x".repeat(70_000);
    let many: String = (0..200).map(|n| format!("h{n}: x\r\n")).collect();
    for bytes in [
        "\r\n\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET  HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        "POST /grab HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "POST /grab HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"
            .to_owned(),
        "POST /grab HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        "POST /grab HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"
            .to_owned(),
        "POST /grab HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nid=".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned(),
    ] {
        let answer = http::exchange_and_end(addr, bytes.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{:.80}: {answer}",
            bytes
        );
    }
    server.assert_well("what is no request").await;
}
