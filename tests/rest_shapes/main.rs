//! The shapes of the HTTP surfaces: every status, field and header that a client may rely on, asked
//! of the real routes over a real shard, without a socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fifos;
mod queues;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::StreamExt;
use holdfast::api::dialects::DialectOptions;
use holdfast::api::http::{no_such_path, unauthenticated};
use holdfast::api::{Api, Identity, Role, dialects, rest};
use holdfast::core::Namespace;
use holdfast::store::MemoryStore;
use holdfast::webhook::Sender;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

struct Server {
    api: Api,
    router: Router,
}

struct Reply {
    status: u16,
    headers: axum::http::HeaderMap,
    json: Value,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self, name: &str) -> String {
        self.json[name].as_str().unwrap().to_owned()
    }
}

impl Server {
    fn start() -> Server {
        Server::with(DialectOptions::default())
    }

    fn with(options: DialectOptions) -> Server {
        let store = Arc::new(MemoryStore::new([7; 32]));
        let sender = Sender::new(Default::default()).unwrap();
        let api = Api::start(store, Duration::from_secs(60), sender).unwrap();
        let router = rest::routes(api.clone())
            .merge(dialects::routes(api.clone(), options))
            .fallback(no_such_path);
        Server { api, router }
    }

    async fn raw(&self, identity: Option<Identity>, mut request: Request) -> Response {
        if let Some(identity) = identity {
            request.extensions_mut().insert(identity);
        }
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, request: Request) -> Reply {
        self.send_as(Role::Admin, "default", request).await
    }

    async fn send_as(&self, role: Role, namespace: &str, request: Request) -> Reply {
        let namespace = Namespace::new(namespace).unwrap();
        let identity = Identity { namespace, role };
        let response = self.raw(Some(identity), request).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&bytes)))
        };
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json,
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(request("GET", path, None, "")).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(request("POST", path, Some("application/json"), &body))
            .await
    }

    /// As `curl -d` or `curl -F` would, with a form.
    async fn form(&self, method: &str, path: &str, form: &str) -> Reply {
        let kind = "application/x-www-form-urlencoded";
        self.send(request(method, path, Some(kind), form)).await
    }
}

fn request(method: &str, path: &str, kind: Option<&str>, body: &str) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

fn events_request(method: &str, path: &str, body: &str) -> Request {
    let mut request = request(method, path, Some("application/json"), body);
    let accept = "text/event-stream".parse().unwrap();
    request.headers_mut().insert("accept", accept);
    request
}

/// The next event of a stream, as its name and its data.
async fn next_event(body: &mut axum::body::BodyDataStream) -> Option<(String, Value)> {
    loop {
        let chunk = String::from_utf8(body.next().await?.unwrap().to_vec()).unwrap();
        let field = |name: &str| {
            chunk.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(": ")
                    .map(str::to_owned)
            })
        };
        if let (Some(event), Some(data)) = (field("event"), field("data")) {
            return Some((event, serde_json::from_str(&data).unwrap()));
        }
    }
}

const ACQUIRE: &str = "/api/v1/locks/deploy/acquire";

#[tokio::test]
async fn a_lock_is_acquired_renewed_checked_and_released() {
    let server = Server::start();
    let asked = json!({"ttl": "30s", "owner": "ci-42", "metadata": {"job": "7"}});
    let grant = server.post(ACQUIRE, asked).await;
    assert_eq!(grant.status, 200, "{}", grant.json);
    assert_eq!(grant.json["lock"], "deploy");
    assert_eq!(grant.json["mode"], "EXCLUSIVE");
    assert_eq!(grant.json["owner"], "ci-42");
    assert_eq!(grant.json["metadata"], json!({"job": "7"}));
    assert!(grant.json["expires_in"].as_f64().unwrap() > 29.0);
    assert!(grant.text("acquire_time").ends_with('Z'));
    let fencing: u64 = grant.text("fencing_token").parse().unwrap();
    let token = grant.text("grant_token");

    let lock = server.get("/api/v1/locks/deploy").await;
    assert_eq!(lock.status, 200);
    assert_eq!(lock.json["name"], "deploy");
    assert_eq!(lock.json["state"], "HELD");
    assert_eq!(lock.json["waiters"], 0);
    assert_eq!(lock.json["reserved"], false);
    let holder = &lock.json["holders"][0];
    assert_eq!(holder["fencing_token"], fencing.to_string());
    assert_eq!(holder["owner"], "ci-42");
    assert!(holder.get("grant_token").is_none());

    for sent in [json!(fencing), json!(fencing.to_string())] {
        let check = server
            .post("/api/v1/locks/deploy/check", json!({"fencing_token": sent}))
            .await;
        assert_eq!(check.json["current"], true);
    }
    let renew = server
        .post(
            "/api/v1/locks/deploy/renew",
            json!({"grant_token": token, "ttl": "2m"}),
        )
        .await;
    assert_eq!(renew.status, 200, "{}", renew.json);
    assert!(renew.json["expires_in"].as_f64().unwrap() > 119.0);

    let release = json!({"grant_token": token});
    let released = server
        .post("/api/v1/locks/deploy/release", release.clone())
        .await;
    assert_eq!(
        (released.status, &released.json["released"]),
        (200, &json!(true))
    );
    let again = server.post("/api/v1/locks/deploy/release", release).await;
    assert_eq!(again.status, 409);
    assert_eq!(again.json["error"]["reason"], "NOT_HOLDER");
    assert_eq!(again.json["error"]["code"], 409);
    let free = server.get("/api/v1/locks/deploy").await;
    assert_eq!(free.json["state"], "FREE");
}

#[tokio::test]
async fn a_held_lock_is_423_and_says_who_holds_it() {
    let server = Server::start();
    server
        .post(ACQUIRE, json!({"owner": "ci-42", "ttl": "none"}))
        .await;
    for (asked, reason) in [
        (json!({}), "LOCK_HELD"),
        (json!({"wait": "1ms"}), "WAIT_TIMED_OUT"),
        (json!({"wait": 0.001}), "WAIT_TIMED_OUT"),
    ] {
        let refused = server.post(ACQUIRE, asked).await;
        assert_eq!(refused.status, 423);
        let error = &refused.json["error"];
        assert_eq!(error["reason"], reason);
        assert_eq!(error["code"], 423);
        assert_eq!(error["holders"][0]["owner"], "ci-42");
        assert!(error["holders"][0].get("expires_in").is_none());
        assert!(error["message"].as_str().unwrap().contains("ci-42"));
    }
}

#[tokio::test]
async fn a_long_poll_is_answered_when_the_lock_is_free() {
    let server = Server::start();
    let first = server.post(ACQUIRE, Value::Null).await;
    let token = first.text("grant_token");
    let waiting = server.post(ACQUIRE, json!({"wait": "10m"}));
    let releasing = async {
        while server.get("/api/v1/locks/deploy").await.json["waiters"] != 1 {
            tokio::task::yield_now().await;
        }
        let release = json!({"grant_token": token});
        server.post("/api/v1/locks/deploy/release", release).await
    };
    let (granted, released) = tokio::join!(waiting, releasing);
    assert_eq!((granted.status, released.status), (200, 200));
    let (before, after) = (first.text("fencing_token"), granted.text("fencing_token"));
    assert!(after.parse::<u64>().unwrap() > before.parse::<u64>().unwrap());
}

#[tokio::test]
async fn requests_may_be_forms_queries_or_nothing() {
    let server = Server::start();
    let bare = server
        .send(request("POST", "/api/v1/locks/a/acquire", None, ""))
        .await;
    assert_eq!(bare.status, 200);
    assert!(bare.json["expires_in"].as_f64().unwrap() > 59.0);
    let form = "ttl=1h&mode=SHARED&max_shared=2&metadata={\"a\":\"b\"}";
    let form = server.form("POST", "/api/v1/locks/b/acquire", form).await;
    assert_eq!(form.status, 200, "{}", form.json);
    assert_eq!(form.json["mode"], "SHARED");
    assert_eq!(form.json["metadata"]["a"], "b");
    let json_as_form = server
        .form("POST", "/api/v1/locks/c/acquire", "{\"ttl\":\"none\"}")
        .await;
    assert_eq!(json_as_form.status, 200);
    assert!(json_as_form.json.get("expires_in").is_none());
    let query = server
        .send(request(
            "POST",
            "/api/v1/locks/d/acquire?ttl=90s&owner=me",
            None,
            "",
        ))
        .await;
    assert_eq!(query.json["owner"], "me");
}

#[tokio::test]
async fn names_with_slashes_and_letters_of_any_kind_work() {
    let server = Server::start();
    let taken = server
        .post("/api/v1/locks/a%2Fb%20%C3%A9/acquire", Value::Null)
        .await;
    assert_eq!(taken.json["lock"], "a/b é");
    let listed = server.get("/api/v1/locks?prefix=a%2F").await;
    assert_eq!(listed.json["locks"][0]["name"], "a/b é");
    assert_eq!(
        server.get("/api/v1/locks/a%2Fb%20%C3%A9").await.json["state"],
        "HELD"
    );
}

#[tokio::test]
async fn bad_input_is_refused_naming_the_field() {
    let server = Server::start();
    let long = "x".repeat(513);
    for (path, body, field) in [
        (ACQUIRE, json!({"nonsense": 1}), "nonsense"),
        (ACQUIRE, json!({"ttl": "30"}), "ttl"),
        (ACQUIRE, json!({"ttl": "1M"}), "ttl"),
        (ACQUIRE, json!({"ttl": -1}), "ttl"),
        (ACQUIRE, json!({"ttl": "-5s"}), "ttl"),
        (ACQUIRE, json!({"ttl": "1ms"}), "ttl"),
        (ACQUIRE, json!({"ttl": "31d"}), "ttl"),
        (ACQUIRE, json!({"ttl": true}), "ttl"),
        (ACQUIRE, json!({"ttl": "1s", "lease": "x"}), "ttl"),
        (ACQUIRE, json!({"wait": "25h"}), "wait"),
        (ACQUIRE, json!({"wait": "none"}), "wait"),
        (ACQUIRE, json!({"release_delay": "61m"}), "release_delay"),
        (ACQUIRE, json!({"release_delay": "none"}), "release_delay"),
        (ACQUIRE, json!({"mode": "BOTH"}), "mode"),
        (ACQUIRE, json!({"max_shared": 3}), "max_shared"),
        (
            ACQUIRE,
            json!({"mode": "SHARED", "max_shared": 1_000_001}),
            "max_shared",
        ),
        (ACQUIRE, json!({"owner": "a\u{0}b"}), "owner"),
        (ACQUIRE, json!({"owner": long}), "owner"),
        (ACQUIRE, json!({"metadata": {"a": 1}}), "metadata"),
        (
            ACQUIRE,
            json!({"metadata": {"a": "x".repeat(5000)}}),
            "metadata",
        ),
        (ACQUIRE, json!({"lease": "x"}), "lease"),
        (ACQUIRE, json!({"request_id": long}), "request_id"),
        ("/api/v1/locks/%00/acquire", json!({}), "lock"),
        ("/api/v1/locks/%ff/acquire", json!({}), "lock"),
        ("/api/v1/locks//acquire", json!({}), "lock"),
        (&format!("/api/v1/locks/{long}/acquire"), json!({}), "lock"),
        ("/api/v1/locks/x/renew", json!({}), "grant_token"),
        (
            "/api/v1/locks/x/renew",
            json!({"grant_token": "x", "ttl": "none"}),
            "ttl",
        ),
        ("/api/v1/locks/x/release", json!({}), "grant_token"),
        ("/api/v1/locks/x/check", json!({}), "fencing_token"),
        (
            "/api/v1/locks/x/check",
            json!({"fencing_token": "0"}),
            "fencing_token",
        ),
        (
            "/api/v1/locks/x/check",
            json!({"fencing_token": 1.5}),
            "fencing_token",
        ),
        (
            "/api/v1/locks/x/force-release",
            json!({"fencing_token": "x"}),
            "fencing_token",
        ),
        (
            "/api/v1/locks",
            json!({"unused_destroy_timeout": "1ms"}),
            "unused_destroy_timeout",
        ),
        ("/api/v1/leases", json!({"ttl": "none"}), "ttl"),
        ("/api/v1/leases/x/renew", json!({}), "lease_id"),
    ] {
        let refused = server.post(path, body.clone()).await;
        assert_eq!(refused.status, 400, "{path} {body}");
        let error = &refused.json["error"];
        assert_eq!(error["code"], 400);
        assert_eq!(error["reason"], "INVALID_ARGUMENT");
        assert_eq!(error["field"], field, "{path} {body} {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(field), "{message}");
    }
    for query in [
        "page_size=1001",
        "page_size=-1",
        "page_token=%3F",
        "prefx=a",
    ] {
        let refused = server.get(&format!("/api/v1/locks?{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
    }
}

#[tokio::test]
async fn every_refusal_of_a_request_as_such_has_the_one_shape() {
    let server = Server::start();
    let deep = format!("{{\"metadata\":{}1{}}}", "[".repeat(9000), "]".repeat(9000));
    let large = format!("{{\"owner\":\"{}\"}}", "x".repeat(70_000));
    let json = Some("application/json");
    for (request, status, reason) in [
        (request("POST", ACQUIRE, json, "{"), 400, "INVALID_ARGUMENT"),
        (
            request("POST", ACQUIRE, json, "[]"),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            request("POST", ACQUIRE, json, &deep),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            request("POST", ACQUIRE, json, &large),
            413,
            "BODY_TOO_LARGE",
        ),
        (
            request("POST", ACQUIRE, Some("text/html"), "x"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            request("GET", "/api/v1/nothing", None, ""),
            404,
            "NO_SUCH_PATH",
        ),
        (
            request("DELETE", "/api/v1/locks/x", None, ""),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (request("GET", ACQUIRE, None, ""), 405, "METHOD_NOT_ALLOWED"),
    ] {
        let refused = server.send(request).await;
        assert_eq!(refused.status, status);
        assert_eq!(refused.json["error"]["reason"], reason);
        assert_eq!(refused.json["error"]["code"], status);
        assert!(
            !refused.json["error"]["message"]
                .as_str()
                .unwrap()
                .is_empty()
        );
        assert_eq!(refused.headers.contains_key("allow"), status == 405);
    }
    let wrong = server
        .send(request("DELETE", "/api/v1/locks", None, ""))
        .await;
    assert_eq!(wrong.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test]
async fn listing_goes_page_by_page_and_wants_an_admin() {
    let server = Server::start();
    for name in ["a", "b", "c"] {
        server
            .post(&format!("/api/v1/locks/{name}/acquire"), Value::Null)
            .await;
    }
    let first = server.get("/api/v1/locks?page_size=2").await;
    assert_eq!(first.json["locks"].as_array().unwrap().len(), 2);
    let token = first.text("next_page_token");
    let second = server
        .get(&format!("/api/v1/locks?page_size=2&page_token={token}"))
        .await;
    assert_eq!(second.json["locks"][0]["name"], "c");
    assert!(second.json.get("next_page_token").is_none());
    for path in ["/api/v1/locks", "/api/v1/leases"] {
        let refused = server
            .send_as(Role::Use, "default", request("GET", path, None, ""))
            .await;
        assert_eq!(refused.status, 403);
        assert_eq!(refused.json["error"]["reason"], "PERMISSION_DENIED");
    }
    let force = request("POST", "/api/v1/locks/a/force-release", None, "");
    assert_eq!(
        server.send_as(Role::Use, "default", force).await.status,
        403
    );
}

#[tokio::test]
async fn another_namespace_sees_nothing() {
    let server = Server::start();
    server.post(ACQUIRE, Value::Null).await;
    let seen = server
        .send_as(
            Role::Admin,
            "other",
            request("GET", "/api/v1/locks/deploy", None, ""),
        )
        .await;
    assert_eq!(seen.json["state"], "FREE");
    let taken = server
        .send_as(Role::Use, "other", request("POST", ACQUIRE, None, ""))
        .await;
    assert_eq!(taken.status, 200);
}

#[tokio::test]
async fn force_release_ends_the_grants_it_names() {
    let server = Server::start();
    let grant = server.post(ACQUIRE, json!({"ttl": "none"})).await;
    let path = "/api/v1/locks/deploy/force-release";
    let stale = server.post(path, json!({"fencing_token": "999999"})).await;
    assert_eq!((stale.status, &stale.json["released"]), (200, &json!(0)));
    let named = json!({"fencing_token": grant.text("fencing_token")});
    assert_eq!(server.post(path, named).await.json["released"], 1);
    assert_eq!(server.post(path, Value::Null).await.json["released"], 0);
}

#[tokio::test]
async fn a_retry_gets_the_same_grant_and_other_parameters_get_422() {
    let server = Server::start();
    let asked = json!({"request_id": "r1", "ttl": "30s"});
    let first = server.post(ACQUIRE, asked.clone()).await;
    let again = server.post(ACQUIRE, asked).await;
    assert_eq!(first.text("grant_token"), again.text("grant_token"));
    let other = server
        .post(ACQUIRE, json!({"request_id": "r1", "ttl": "40s"}))
        .await;
    assert_eq!(other.status, 422);
    assert_eq!(other.json["error"]["field"], "request_id");
}

#[tokio::test]
async fn a_lease_keeps_many_locks_and_ends_them() {
    let server = Server::start();
    let lease = server
        .post("/api/v1/leases", json!({"ttl": "1m", "owner": "me"}))
        .await;
    assert_eq!(lease.status, 200, "{}", lease.json);
    assert_eq!(lease.json["ttl"], 60.0);
    assert_eq!(lease.json["owner"], "me");
    let id = lease.text("lease_id");
    let grant = server.post(ACQUIRE, json!({"lease": id})).await;
    assert_eq!(grant.text("lease_id"), id);
    let read = server.get(&format!("/api/v1/leases/{id}")).await;
    assert_eq!(read.json["grant_count"], 1);
    let renewed = server
        .post(&format!("/api/v1/leases/{id}/renew"), Value::Null)
        .await;
    assert!(renewed.json["expires_in"].as_f64().unwrap() > 59.0);
    assert_eq!(
        server.get("/api/v1/leases").await.json["leases"][0]["lease_id"],
        id
    );
    let revoked = server
        .post(&format!("/api/v1/leases/{id}/revoke"), Value::Null)
        .await;
    assert_eq!(
        (revoked.status, &revoked.json["released"]),
        (200, &json!(1))
    );
    let gone = server.get(&format!("/api/v1/leases/{id}")).await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.json["error"]["reason"], "LEASE_NOT_FOUND");
    let late = server.post(ACQUIRE, json!({"lease": id})).await;
    assert_eq!(
        (late.status, &late.json["error"]["field"]),
        (404, &json!("lease"))
    );
}

async fn stream(server: &Server, request: Request) -> axum::body::BodyDataStream {
    let identity = Identity {
        namespace: Namespace::new("default").unwrap(),
        role: Role::Admin,
    };
    let response = server.raw(Some(identity), request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn a_stream_tells_the_place_in_line_and_then_the_grant() {
    let server = Server::start();
    let first = server.post(ACQUIRE, Value::Null).await;
    let mut events = stream(
        &server,
        events_request("POST", ACQUIRE, "{\"owner\":\"b\"}"),
    )
    .await;
    let (name, data) = next_event(&mut events).await.unwrap();
    assert_eq!((name.as_str(), &data["position"]), ("queued", &json!(1)));
    let release = json!({"grant_token": first.text("grant_token")});
    server.post("/api/v1/locks/deploy/release", release).await;
    let (name, data) = next_event(&mut events).await.unwrap();
    assert_eq!((name.as_str(), &data["owner"]), ("granted", &json!("b")));
    assert!(data["grant_token"].is_string());
    assert!(next_event(&mut events).await.is_none());
}

#[tokio::test]
async fn a_stream_that_is_refused_ends_with_an_error() {
    let server = Server::start();
    server.post(ACQUIRE, Value::Null).await;
    let mut events = stream(
        &server,
        events_request("POST", ACQUIRE, "{\"wait\":\"0s\"}"),
    )
    .await;
    let (name, data) = next_event(&mut events).await.unwrap();
    assert_eq!(name, "error");
    assert_eq!(data["error"]["reason"], "LOCK_HELD");
    assert!(next_event(&mut events).await.is_none());
    let refused = server
        .send(events_request("POST", ACQUIRE, "{\"wait\":\"99h\"}"))
        .await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn whoever_drops_its_stream_leaves_the_line() {
    let server = Server::start();
    server.post(ACQUIRE, Value::Null).await;
    let mut events = stream(&server, events_request("POST", ACQUIRE, "")).await;
    next_event(&mut events).await.unwrap();
    assert_eq!(server.get("/api/v1/locks/deploy").await.json["waiters"], 1);
    drop(events);
    assert_eq!(server.get("/api/v1/locks/deploy").await.json["waiters"], 0);
}

#[tokio::test]
async fn a_watch_tells_the_state_and_every_change() {
    let server = Server::start();
    let mut events = stream(
        &server,
        events_request("GET", "/api/v1/locks/deploy/watch", ""),
    )
    .await;
    let (name, data) = next_event(&mut events).await.unwrap();
    assert_eq!((name.as_str(), &data["state"]), ("state", &json!("FREE")));
    let grant = server.post(ACQUIRE, json!({"owner": "a"})).await;
    let (name, data) = next_event(&mut events).await.unwrap();
    assert_eq!(
        (name.as_str(), &data["holder"]["owner"]),
        ("granted", &json!("a"))
    );
    assert_eq!(data["holder_count"], 1);
    let release = json!({"grant_token": grant.text("grant_token")});
    server.post("/api/v1/locks/deploy/release", release).await;
    assert_eq!(next_event(&mut events).await.unwrap().0, "released");
    server.post(ACQUIRE, Value::Null).await;
    next_event(&mut events).await.unwrap();
    server
        .post("/api/v1/locks/deploy/force-release", Value::Null)
        .await;
    assert_eq!(next_event(&mut events).await.unwrap().0, "forced");
}

#[tokio::test]
async fn a_watch_tells_how_long_a_lock_is_held_back_and_when_that_is_over() {
    let server = Server::start();
    let grant = server.post(ACQUIRE, json!({"release_delay": "1h"})).await;
    let mut events = stream(
        &server,
        events_request("GET", "/api/v1/locks/deploy/watch", ""),
    )
    .await;
    next_event(&mut events).await.unwrap();
    let force = "/api/v1/locks/deploy/force-release";
    server.post(force, Value::Null).await;
    let (name, data) = next_event(&mut events).await.unwrap();
    assert_eq!(
        (name.as_str(), &data["holder_count"]),
        ("forced", &json!(0))
    );
    assert_eq!(data["held_back_for"], json!(3600.0));
    server.post(force, Value::Null).await;
    let (name, data) = next_event(&mut events).await.unwrap();
    assert_eq!(name, "release_delay_ended");
    assert_eq!(data["fencing_token"], grant.text("fencing_token"));
    assert_eq!(
        (data.get("holder"), data.get("held_back_for")),
        (None, None)
    );
}

#[tokio::test]
async fn what_stands_behind_a_lock_is_told() {
    let server = Server::start();
    let why = "/api/v1/locks/deploy/why";
    let nothing = server.get(why).await;
    assert_eq!(nothing.status, 200);
    assert_eq!(
        nothing.json,
        json!({
            "lock": {
                "name": "deploy", "state": "FREE", "holders": [], "holder_count": 0, "waiters": 0,
                "reserved": false,
            },
            "waiters": [],
            "past_holds": [],
        })
    );
    let ask = json!({"owner": "first", "metadata": {"job": "1"}});
    let grant = server.post(ACQUIRE, ask).await;
    let release = json!({"grant_token": grant.text("grant_token")});
    server.post("/api/v1/locks/deploy/release", release).await;
    server.post(ACQUIRE, json!({"owner": "second"})).await;
    server
        .post("/api/v1/locks/deploy/force-release", Value::Null)
        .await;
    server.post(ACQUIRE, json!({"owner": "third"})).await;
    let ask = json!({"owner": "fourth", "mode": "SHARED"}).to_string();
    let mut waiting = stream(&server, events_request("POST", ACQUIRE, &ask)).await;
    next_event(&mut waiting).await.unwrap();

    let told = server.get(why).await.json;
    assert_eq!(told["lock"]["holders"][0]["owner"], "third");
    let waiter = &told["waiters"][0];
    assert_eq!(
        (&waiter["position"], &waiter["owner"], &waiter["mode"]),
        (&json!(1), &json!("fourth"), &json!("SHARED"))
    );
    assert!(waiter["wait_start_time"].as_str().unwrap().ends_with('Z'));
    assert!(waiter["wait_ends_in"].as_f64().unwrap() > 80_000.0);
    let past = told["past_holds"].as_array().unwrap();
    assert_eq!(past.len(), 2);
    assert_eq!(
        (&past[0]["cause"], &past[0]["holder"]["owner"]),
        (&json!("forced"), &json!("second"))
    );
    assert_eq!(
        (&past[1]["cause"], &past[1]["holder"]["metadata"]["job"]),
        (&json!("released"), &json!("1"))
    );
    assert_eq!(
        past[1]["holder"]["fencing_token"],
        json!(grant.text("fencing_token"))
    );
    assert!(past[1]["holder"].get("expires_in").is_none());
    assert!(past[1]["end_time"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_lost_grant_holds_its_lock_back_until_it_is_forced_once_more() {
    let server = Server::start();
    let (lock, force) = ("/api/v1/locks/deploy", "/api/v1/locks/deploy/force-release");
    let ask = json!({"release_delay": "1h"});
    let grant = server.post(ACQUIRE, ask.clone()).await;
    let held = server.get(lock).await.json;
    assert_eq!(
        (&held["state"], held.get("held_back_for")),
        (&json!("HELD"), None)
    );
    let forced = server.post(force, Value::Null).await.json;
    assert_eq!(forced, json!({"released": 1}));

    let seen = server.get(lock).await.json;
    assert_eq!(
        (&seen["state"], &seen["holder_count"]),
        (&json!("HELD_BACK"), &json!(0))
    );
    let left = seen["held_back_for"].as_f64().unwrap();
    assert!(left > 3_000.0 && left <= 3_600.0, "{left}");
    let check = json!({"fencing_token": grant.text("fencing_token")});
    let check = server.post("/api/v1/locks/deploy/check", check).await.json;
    assert_eq!(check["current"], false);
    let refused = server.post(ACQUIRE, Value::Null).await;
    assert_eq!(refused.status, 423);
    let message = refused.json["error"]["message"].as_str().unwrap();
    assert!(message.contains("is held back for 3"), "{message}");
    // In the dialects it is not to be had either.
    let refused = server.form("GET", "/v1/acquire/deploy", "").await;
    assert_eq!(refused.json["response"], false);
    let status = server.get("/status?id=deploy").await;
    assert_eq!(status.json["in_use"], true);

    let form = format!("fencing_token={}", grant.text("fencing_token"));
    let forced = server.form("POST", force, &form).await.json;
    assert_eq!(forced, json!({"released": 1}));
    assert_eq!(server.get(lock).await.json["state"], "FREE");

    let grant = server.post(ACQUIRE, ask).await;
    let release = json!({"grant_token": grant.text("grant_token")});
    server.post("/api/v1/locks/deploy/release", release).await;
    assert_eq!(server.get(lock).await.json["state"], "FREE");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off_and_told() {
    let server = Server::start();
    let watch = events_request("GET", "/api/v1/locks/deploy/watch", "");
    let mut events = stream(&server, watch).await;
    for _ in 0..600 {
        let grant = server.post(ACQUIRE, Value::Null).await;
        let release = json!({"grant_token": grant.text("grant_token")});
        server.post("/api/v1/locks/deploy/release", release).await;
    }
    let mut last = None;
    while let Some(event) = next_event(&mut events).await {
        last = Some(event);
    }
    let (name, data) = last.unwrap();
    assert_eq!(name, "error");
    assert_eq!(data["error"]["reason"], "SLOW_READER");
}

#[tokio::test]
async fn waiters_are_told_to_come_back_when_the_server_stops() {
    let server = Server::start();
    server.post(ACQUIRE, Value::Null).await;
    server.api.stop_accepting();
    let refused = server.post(ACQUIRE, json!({"wait": "1m"})).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json["error"]["reason"], "STOPPING");
    assert_eq!(refused.header("retry-after"), Some("1"));
    for (path, field) in [("/grab/x", "status"), ("/v1/acquire/x", "response")] {
        let refused = server.form("POST", path, "").await;
        assert_eq!(refused.status, 503);
        assert!(refused.json.get(field).is_some());
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn who_has_no_token_is_told_in_the_words_of_the_surface() {
    for (path, field, challenge) in [
        ("/api/v1/locks", "error", "Bearer"),
        ("/grab/x", "status", "Basic realm=\"holdfast\""),
        (
            "/v1/28c9c1be-7bb8-4e8c-b22e-c16402a421d5",
            "message",
            "Basic realm=\"holdfast\"",
        ),
        ("/v1/acquire/x", "response", "Basic realm=\"holdfast\""),
    ] {
        let response = unauthenticated(path);
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], challenge);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(json.get(field).is_some(), "{json}");
    }
    // A request that no authentication layer has seen is nobody's.
    let server = Server::start();
    let response = server.raw(None, request("POST", ACQUIRE, None, "")).await;
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn webmutex_reserves_grabs_and_releases() {
    let server = Server::start();
    let reserved = server.send(request("POST", "/reserve", None, "")).await;
    assert_eq!(
        (reserved.status, &reserved.json["status"]),
        (200, &json!("ok"))
    );
    let id = reserved.text("id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));

    let status = server.get(&format!("/status?id={id}")).await;
    assert_eq!(status.json, json!({"status": "ok", "in_use": false}));
    let multipart =
        format!("--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n{id}\r\n--b--\r\n");
    let kind = Some("multipart/form-data; boundary=b");
    let grabbed = server
        .send(request("POST", "/grab", kind, &multipart))
        .await;
    assert_eq!(
        (grabbed.status, &grabbed.json["status"]),
        (200, &json!("ok"))
    );
    assert_eq!(grabbed.json["id"], id);
    assert!(grabbed.json.get("expires_in").is_none());
    let token = grabbed.text("token");
    let status = server.form("POST", &format!("/status/{id}/"), "").await;
    assert_eq!(status.json, json!({"status": "ok", "in_use": true}));

    let held = server.form("POST", &format!("/grab/{id}"), "").await;
    assert_eq!((held.status, &held.json["status"]), (400, &json!("fail")));
    let late = server
        .form("POST", &format!("/grab/{id}/"), "wait=1ms")
        .await;
    assert_eq!(late.status, 400);
    for bad in ["", "token=wrong", &format!("token={token}x")] {
        let refused = server.form("POST", &format!("/release/{id}"), bad).await;
        assert_eq!(
            (refused.status, &refused.json["status"]),
            (400, &json!("fail"))
        );
    }
    let released = server
        .form("POST", "/release", &format!("id={id}&token={token}"))
        .await;
    assert_eq!(released.json, json!({"status": "ok"}));
    let grabbed = server
        .form(
            "POST",
            "/grab",
            &format!("{{\"id\":\"{id}\",\"ttl\":\"1m\"}}"),
        )
        .await;
    assert!(grabbed.json["expires_in"].as_f64().unwrap() > 59.0);
    let stale = server
        .form("POST", "/release", &format!("id={id}&token={token}"))
        .await;
    assert_eq!(stale.status, 400);
}

#[tokio::test]
async fn webmutex_fails_as_documented() {
    let server = Server::start();
    let long = "x".repeat(600);
    for id in ["unknown", "%00", long.as_str()] {
        for (path, status) in [("/grab", 400), ("/release", 400), ("/status", 404)] {
            let refused = server
                .form("POST", path, &format!("id={id}&token=1.x"))
                .await;
            assert_eq!(refused.status, status, "{path} {id}");
            assert_eq!(refused.json["status"], "fail");
        }
    }
    for (path, form, named) in [
        ("/grab", "", "id"),
        ("/grab/", "", "id"),
        ("/status", "", "id"),
        ("/release/x", "", "token"),
        ("/grab/x", "id=y", "id"),
        ("/grab/x", "wait=soon", "wait"),
        ("/grab/x", "wait=25h", "wait"),
        ("/grab/x", "ttl=1M", "ttl"),
        ("/grab/x", "ttl=-1s", "ttl"),
    ] {
        let refused = server.form("POST", path, form).await;
        assert_eq!(
            (refused.status, &refused.json["status"]),
            (400, &json!("fail"))
        );
        assert!(
            refused.text("reason").contains(named),
            "{path} {form} {}",
            refused.json
        );
    }
    for (params, names) in [
        ("id=x&endpoint=http://127.0.0.1/", "endpoint"),
        ("id=x", "endpoint"),
        ("endpoint=http://127.0.0.1/", "id"),
    ] {
        let refused = server.form("POST", "/subscribe_and_grab", params).await;
        assert_eq!(
            (refused.status, &refused.json["status"]),
            (400, &json!("fail"))
        );
        assert!(
            refused.text("reason").starts_with(names),
            "{}",
            refused.json
        );
    }
    for (method, path, allow) in [
        ("GET", "/reserve", "POST"),
        ("GET", "/grab/x", "POST"),
        ("PUT", "/status", "GET,HEAD,POST"),
        ("GET", "/subscribe_and_grab", "POST"),
    ] {
        let refused = server.send(request(method, path, None, "")).await;
        assert_eq!(refused.status, 405);
        assert_eq!(refused.header("allow"), Some(allow));
        assert_eq!(refused.json["status"], "fail");
    }
}

const UUID: &str = "28c9c1be-7bb8-4e8c-b22e-c16402a421d5";

#[tokio::test]
async fn getlock_puts_reads_and_deletes() {
    let server = Server::start();
    let path = format!("/v1/{UUID}");
    let absent = server.get(&path).await;
    assert_eq!(
        (absent.status, &absent.json["locked"]),
        (404, &json!(false))
    );
    assert!(absent.json.get("lock").is_none());

    let put = server.send(request("PUT", &path, None, "")).await;
    assert_eq!((put.status, &put.json["locked"]), (201, &json!(true)));
    let lock = &put.json["lock"];
    assert_eq!((&lock["id"], &lock["ttl"]), (&json!(UUID), &json!(60.0)));
    let (made, ends) = (
        lock["timestamp"].as_f64().unwrap(),
        lock["expires"].as_f64().unwrap(),
    );
    assert!((ends - made - 60.0).abs() < 1.0);

    let put = server.form("PUT", &path, "ttl=3600").await;
    assert_eq!(
        (put.status, &put.json["lock"]["ttl"]),
        (200, &json!(3600.0))
    );
    let kept = server
        .send(request(
            "PUT",
            &path.to_uppercase().replace("/V1", "/v1"),
            None,
            "",
        ))
        .await;
    assert_eq!(
        (kept.status, &kept.json["lock"]["ttl"]),
        (200, &json!(3600.0))
    );
    let read = server.get(&path).await;
    assert_eq!((read.status, &read.json["locked"]), (423, &json!(true)));
    assert_eq!(read.json["lock"]["id"], UUID);

    let deleted = server.send(request("DELETE", &path, None, "")).await;
    assert_eq!(
        (deleted.status, &deleted.json["locked"]),
        (200, &json!(false))
    );
    let again = server.send(request("DELETE", &path, None, "")).await;
    assert_eq!((again.status, &again.json["locked"]), (404, &json!(false)));
}

#[tokio::test]
async fn getlock_refuses_what_is_not_its_own() {
    let server = Server::start();
    for method in ["GET", "PUT", "DELETE"] {
        for id in ["x", "28c9c1be", "%00", "acquire"] {
            let refused = server
                .send(request(method, &format!("/v1/{id}"), None, ""))
                .await;
            assert_eq!(
                (refused.status, &refused.json["locked"]),
                (404, &json!(false))
            );
        }
    }
    let path = format!("/v1/{UUID}");
    for ttl in ["0", "-1", "NaN", "inf", "1e99", "x", "", "60s", "2592001"] {
        let refused = server.form("PUT", &path, &format!("ttl={ttl}")).await;
        assert_eq!(refused.status, 400, "{ttl}");
        assert!(refused.text("message").contains("ttl"));
    }
    let wrong = server.form("POST", &path, "").await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("GET,HEAD,PUT,DELETE"))
    );

    let acquire = format!("/api/v1/locks/{UUID}/acquire");
    let grant = server.post(&acquire, Value::Null).await;
    for method in ["GET", "PUT", "DELETE"] {
        let refused = server.send(request(method, &path, None, "")).await;
        assert_eq!(
            (refused.status, &refused.json["locked"]),
            (423, &json!(true)),
            "{method}"
        );
    }
    let check = json!({"fencing_token": grant.text("fencing_token")});
    let check = server
        .post(&format!("/api/v1/locks/{UUID}/check"), check)
        .await;
    assert_eq!(check.json["current"], true);
}

#[tokio::test]
async fn lockable_answers_true_or_false() {
    let server = Server::start();
    let taken = server.get("/v1/acquire/deploy").await;
    assert_eq!((taken.status, &taken.json["response"]), (200, &json!(true)));
    assert!(taken.json["expires_in"].as_f64().unwrap() > 59.0);
    for (path, response) in [
        ("/v1/acquire/deploy", false),
        ("/v1/acquire/deploy?wait=1ms", false),
        ("/v1/heartbeat/deploy", true),
        ("/v1/heartbeat/other", false),
        ("/v1/release/deploy", true),
        ("/v1/release/deploy", false),
        ("/v1/heartbeat/deploy", false),
        ("/v1/acquire/deploy/?ttl=2m", true),
    ] {
        let reply = server.get(path).await;
        assert_eq!(
            (reply.status, &reply.json["response"]),
            (200, &json!(response)),
            "{path}"
        );
    }
    let posted = server.form("POST", "/v1/release/deploy", "").await;
    assert_eq!(posted.json, json!({"response": true}));
    // A grant taken with a token is nobody else's to keep or release.
    let grant = server.post(ACQUIRE, Value::Null).await;
    for path in [
        "/v1/acquire/deploy",
        "/v1/heartbeat/deploy",
        "/v1/release/deploy",
    ] {
        let reply = server.get(path).await;
        assert_eq!(
            (reply.status, &reply.json["response"]),
            (200, &json!(false))
        );
    }
    let check = json!({"fencing_token": grant.text("fencing_token")});
    let check = server.post("/api/v1/locks/deploy/check", check).await;
    assert_eq!(check.json["current"], true);
}

#[tokio::test]
async fn lockable_refuses_bad_values() {
    let server = Server::start();
    let long = "x".repeat(600);
    for (path, named) in [
        ("/v1/acquire/", "lock"),
        ("/v1/acquire/%00", "lock"),
        (&format!("/v1/acquire/{long}"), "lock"),
        ("/v1/acquire/x?ttl=1M", "ttl"),
        ("/v1/heartbeat/x?ttl=-1s", "ttl"),
        ("/v1/acquire/x?wait=soon", "wait"),
    ] {
        let refused = server.get(path).await;
        assert_eq!(
            (refused.status, &refused.json["response"]),
            (400, &json!(false)),
            "{path}"
        );
        assert!(refused.text("reason").contains(named), "{}", refused.json);
    }
    let wrong = server
        .send(request("DELETE", "/v1/acquire/x", None, ""))
        .await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("GET,HEAD,POST"))
    );
}

#[tokio::test]
async fn a_dialect_that_is_switched_off_is_not_there() {
    let server = Server::with(DialectOptions {
        webmutex: false,
        getlock: false,
        ..DialectOptions::default()
    });
    for path in [
        "/reserve",
        "/grab/x",
        "/v1/28c9c1be-7bb8-4e8c-b22e-c16402a421d5",
    ] {
        assert_eq!(server.form("POST", path, "").await.status, 404, "{path}");
    }
    assert_eq!(server.get("/v1/acquire/x").await.status, 200);
}

#[tokio::test]
async fn the_operator_sets_the_times_of_the_dialects() {
    let server = Server::with(DialectOptions {
        webmutex_ttl: Some(Duration::from_secs(10)),
        lockable_ttl: Duration::from_secs(20),
        getlock_ttl_max: Duration::from_secs(30),
        ..DialectOptions::default()
    });
    let id = server.form("POST", "/reserve", "").await.text("id");
    let grabbed = server.form("POST", &format!("/grab/{id}"), "").await;
    assert!((9.0..=10.0).contains(&grabbed.json["expires_in"].as_f64().unwrap()));
    let taken = server.get("/v1/acquire/x").await;
    assert!((19.0..=20.0).contains(&taken.json["expires_in"].as_f64().unwrap()));
    let path = format!("/v1/{UUID}");
    assert_eq!(server.form("PUT", &path, "ttl=31").await.status, 400);
    assert_eq!(
        server.form("PUT", &path, "").await.json["lock"]["ttl"],
        30.0
    );
}
