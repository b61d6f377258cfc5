//! Two tenants, told apart by tokens that the command line made: neither sees anything of the other
//! through any surface, each is allowed what its role says, and who has no token is told so in the
//! words of each surface.

use std::net::SocketAddr;
use std::path::Path;

use holdfast::proto::v1::*;
use serde_json::{Value, json};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request};

use crate::dialects::script_as;
use crate::grpc::{self, ask, soon};
use crate::http::{self, Answer};
use crate::receiver::{Receiver, calling_server_over};
use crate::server::{Server, holdfast, run};

const UUID: &str = "28c9c1be-7bb8-4e8c-b22e-c16402a421d5";

/// Makes a token as an operator does.
pub fn token(dir: &Path, namespace: &str, role: &str) -> String {
    let mut create = holdfast(&["token", "create", "--namespace", namespace, "--role", role]);
    create.arg("--data-dir").arg(dir);
    let done = run(create);
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Somebody with a token.
struct Caller {
    addr: SocketAddr,
    token: String,
}

impl Caller {
    async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [
            format!("authorization: Bearer {}", self.token),
            format!("content-type: {}", http::FORM),
        ];
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let bytes = http::request(method, path.as_bytes(), &headers, body.as_bytes());
        http::send(self.addr, &bytes).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &body.to_string()).await
    }

    fn grpc<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value: AsciiMetadataValue = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    }
}

struct Tenants {
    server: Server,
    _dir: tempfile::TempDir,
    /// Administrators of two namespaces, so that no role hides what the namespace must.
    here: Caller,
    there: Caller,
    /// Somebody who is none.
    user: Caller,
}

impl Tenants {
    fn start() -> Tenants {
        Tenants::over(Server::over)
    }

    fn over(start: impl FnOnce(&Path) -> Server) -> Tenants {
        let dir = tempfile::tempdir().unwrap();
        let [here, there, user] = [("here", "admin"), ("there", "admin"), ("here", "use")]
            .map(|(namespace, role)| token(dir.path(), namespace, role));
        let server = start(dir.path());
        let caller = |token| Caller {
            addr: server.addr,
            token,
        };
        Tenants {
            here: caller(here),
            there: caller(there),
            user: caller(user),
            server,
            _dir: dir,
        }
    }
}

#[tokio::test]
async fn a_tenant_sees_and_changes_nothing_of_another_through_any_surface() {
    let Tenants {
        mut server,
        _dir,
        here,
        there,
        ..
    } = Tenants::start();
    let mut locks = grpc::locks(server.addr).await;
    let mut leases = grpc::leases(server.addr).await;

    let held = here
        .post("/api/v1/locks/mine/acquire", json!({"owner": "secret"}))
        .await
        .json();
    let (grant_token, fencing) = (&held["grant_token"], &held["fencing_token"]);
    assert!(grant_token.is_string(), "{held}");
    let lease = here.post("/api/v1/leases", json!({})).await.json();
    let lease_id = lease["lease_id"].as_str().unwrap();
    let mutex = here.post("/reserve", json!({})).await.json();
    let mutex = mutex["id"].as_str().unwrap();
    assert_eq!(
        here.send("PUT", &format!("/v1/{UUID}"), "").await.status,
        201
    );
    assert_eq!(
        here.send("GET", "/v1/acquire/taken", "").await.json()["response"],
        true
    );

    // Over there all of it is free, unknown and not listed.
    let seen = there.send("GET", "/api/v1/locks/mine", "").await.json();
    assert_eq!(
        (&seen["state"], &seen["holders"]),
        (&json!("FREE"), &json!([]))
    );
    let listed = there.send("GET", "/api/v1/locks", "").await.json();
    assert_eq!(listed["locks"], json!([]));
    assert_eq!(
        there.send("GET", "/api/v1/leases", "").await.json()["leases"],
        json!([])
    );
    let request = there.grpc(ListLocksRequest::default());
    assert!(
        soon(locks.list_locks(request))
            .await
            .unwrap()
            .into_inner()
            .locks
            .is_empty()
    );
    let request = there.grpc(GetLockRequest {
        lock: "mine".into(),
    });
    let seen = soon(locks.get_lock(request)).await.unwrap().into_inner();
    assert_eq!(seen.lock.unwrap().holder_count, 0);
    let why = there.send("GET", "/api/v1/locks/mine/why", "").await.json();
    assert_eq!(why["lock"]["state"], "FREE");
    assert_eq!(
        (&why["waiters"], &why["past_holds"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        there
            .send("GET", &format!("/status/{mutex}"), "")
            .await
            .status,
        404
    );
    assert_eq!(
        there
            .send("POST", &format!("/grab/{mutex}"), "")
            .await
            .status,
        400
    );
    assert_eq!(
        there.send("GET", &format!("/v1/{UUID}"), "").await.status,
        404
    );
    assert_eq!(
        there
            .send("DELETE", &format!("/v1/{UUID}"), "")
            .await
            .status,
        404
    );
    for verb in ["heartbeat", "release"] {
        let answer = there.send("GET", &format!("/v1/{verb}/taken"), "").await;
        assert_eq!(answer.json()["response"], false, "{verb}");
    }

    // What proves a hold here proves nothing there.
    for action in ["renew", "release"] {
        let path = format!("/api/v1/locks/mine/{action}");
        let refused = there.post(&path, json!({"grant_token": grant_token})).await;
        assert_eq!(refused.json()["error"]["reason"], "NOT_HOLDER", "{action}");
    }
    let body = json!({"fencing_token": fencing});
    let check = there.post("/api/v1/locks/mine/check", body.clone()).await;
    assert_eq!(check.json()["current"], false);
    let forced = there.post("/api/v1/locks/mine/force-release", body).await;
    assert_eq!(forced.json()["released"], 0);
    for action in ["renew", "revoke"] {
        let path = format!("/api/v1/leases/{lease_id}/{action}");
        let refused = there.post(&path, json!({})).await;
        assert_eq!(
            refused.json()["error"]["reason"],
            "LEASE_NOT_FOUND",
            "{action}"
        );
    }
    let body = json!({"lease": lease_id});
    let refused = there.post("/api/v1/locks/x/acquire", body).await;
    assert_eq!(refused.json()["error"]["reason"], "LEASE_NOT_FOUND");
    let request = there.grpc(GetLeaseRequest {
        lease_id: lease_id.into(),
    });
    let refused = soon(leases.get_lease(request)).await.unwrap_err();
    assert_eq!(grpc::reason(&refused), "LEASE_NOT_FOUND");

    // The same names are other locks, and the same request id is another request.
    let request = there.grpc(AcquireLockRequest {
        request_id: "same".into(),
        ..ask("mine")
    });
    soon(locks.acquire_lock(request)).await.unwrap();
    let other = json!({"request_id": "same", "ttl": "5m"});
    assert_eq!(
        here.post("/api/v1/locks/other/acquire", other).await.status,
        200
    );
    assert_eq!(
        there.send("PUT", &format!("/v1/{UUID}"), "").await.status,
        201
    );
    assert_eq!(
        there.send("GET", "/v1/acquire/taken", "").await.json()["response"],
        true
    );

    // And here nothing has changed.
    let body = json!({"fencing_token": fencing});
    let check = here.post("/api/v1/locks/mine/check", body).await;
    assert_eq!(check.json()["current"], true);
    assert_eq!(
        here.send("GET", &format!("/status/{mutex}"), "")
            .await
            .json()["in_use"],
        false
    );
    assert_eq!(
        here.send("GET", "/v1/release/taken", "").await.json()["response"],
        true
    );
    server.assert_well("two tenants").await;
}

#[test]
fn the_client_of_lockable_runs_in_two_namespaces_at_once() {
    let Tenants {
        server,
        _dir,
        there,
        user,
        ..
    } = Tenants::start();
    std::thread::scope(|scope| {
        for caller in [&there, &user] {
            let client = || script_as(&server, "python3", "lockable.py", Some(&caller.token));
            scope.spawn(client);
        }
    });
}

#[tokio::test]
async fn a_watch_tells_nothing_of_another_tenant() {
    let Tenants {
        server,
        _dir,
        here,
        there,
        ..
    } = Tenants::start();
    let mut locks = grpc::locks(server.addr).await;
    let request = there.grpc(WatchLockRequest { lock: "x".into() });
    let mut news = soon(locks.watch_lock(request)).await.unwrap().into_inner();
    soon(news.message()).await.unwrap().unwrap();
    soon(locks.acquire_lock(here.grpc(ask("x")))).await.unwrap();
    let own = soon(locks.acquire_lock(there.grpc(ask("x"))))
        .await
        .unwrap()
        .into_inner();
    let told = soon(news.message()).await.unwrap().unwrap().event;
    let Some(watch_lock_response::Event::Change(change)) = told else {
        panic!("{told:?}");
    };
    let own = own.grant.unwrap().fencing_token;
    assert_eq!(change.holder.unwrap().fencing_token, own);
}

#[tokio::test]
async fn only_an_administrator_lists_and_forces() {
    let Tenants {
        mut server,
        _dir,
        here,
        user,
        ..
    } = Tenants::start();
    let mut locks = grpc::locks(server.addr).await;
    let mut leases = grpc::leases(server.addr).await;
    let held = user.post("/api/v1/locks/x/acquire", json!({})).await;
    assert_eq!(held.status, 200);
    for (method, path) in [
        ("GET", "/api/v1/locks"),
        ("GET", "/api/v1/leases"),
        ("POST", "/api/v1/locks/x/force-release"),
    ] {
        let refused = user.send(method, path, "").await;
        assert_eq!(refused.status, 403, "{path}");
        assert_eq!(
            refused.json()["error"]["reason"],
            "PERMISSION_DENIED",
            "{path}"
        );
        assert_eq!(here.send(method, path, "").await.status, 200, "{path}");
    }
    // A lock that the caller names is no listing.
    let why = user.send("GET", "/api/v1/locks/x/why", "").await;
    assert_eq!(why.status, 200);
    let list_locks = soon(locks.list_locks(user.grpc(ListLocksRequest::default()))).await;
    let list_leases = soon(leases.list_leases(user.grpc(ListLeasesRequest::default()))).await;
    let force = ForceReleaseLockRequest {
        lock: "x".into(),
        ..Default::default()
    };
    let force = soon(locks.force_release_lock(user.grpc(force))).await;
    for refused in [
        list_locks.unwrap_err(),
        list_leases.unwrap_err(),
        force.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    server.assert_well("roles").await;
}

#[tokio::test]
async fn who_has_no_token_is_told_in_the_words_of_each_surface() {
    let Tenants {
        mut server,
        _dir,
        here,
        ..
    } = Tenants::start();
    let wrong = format!("{}x", here.token);
    let basic = |text: &str| {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        format!("authorization: Basic {encoded}")
    };
    for header in [
        "x-none: x".to_owned(),
        "authorization: Bearer".to_owned(),
        format!("authorization: Bearer {wrong}"),
        format!("authorization: Digest {}", here.token),
        "authorization: Basic ???".to_owned(),
        basic(&format!("{wrong}:")),
        basic(&format!(":{}", here.token)),
        format!("authorization: Bearer {}", "x".repeat(8_000)),
    ] {
        for (method, path, challenge, shape) in [
            (
                "GET",
                "/api/v1/locks/x",
                "Bearer",
                ("/error/reason", json!("UNAUTHENTICATED")),
            ),
            ("POST", "/reserve", "Basic", ("/status", json!("fail"))),
            ("POST", "/grab/x", "Basic", ("/status", json!("fail"))),
            (
                "PUT",
                &format!("/v1/{UUID}"),
                "Basic",
                ("/locked", Value::Null),
            ),
            ("GET", "/v1/acquire/x", "Basic", ("/response", json!(false))),
        ] {
            let bytes = http::request(method, path.as_bytes(), &[&header], b"");
            let refused = http::send(server.addr, &bytes).await;
            assert_eq!(refused.status, 401, "{path} {header}");
            let told = refused.header("www-authenticate").unwrap_or_default();
            assert!(told.starts_with(challenge), "{path}: {told}");
            let body = refused.json();
            assert!(body.is_object(), "{path}: {}", refused.text());
            let (pointer, value) = shape;
            assert_eq!(
                body.pointer(pointer).unwrap_or(&Value::Null),
                &value,
                "{path}"
            );
        }
        // Whether the server lives is nobody's secret.
        for path in ["/livez", "/readyz", "/healthz"] {
            let bytes = http::request("GET", path.as_bytes(), &[&header], b"");
            assert_eq!(http::send(server.addr, &bytes).await.status, 200, "{path}");
        }
    }
    let mut locks = grpc::locks(server.addr).await;
    let refused = soon(locks.acquire_lock(ask("x"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(grpc::reason(&refused), "UNAUTHENTICATED");
    let header = basic(&format!("{}:", here.token));
    let bytes = http::request("GET", b"/v1/acquire/x", &[&header], b"");
    assert_eq!(
        http::send(server.addr, &bytes).await.json()["response"],
        true
    );
    server.assert_well("wrong tokens").await;
    assert!(!server.log().contains(&here.token), "a token was logged");
}

#[tokio::test]
async fn a_tenant_sees_no_webhook_of_another_and_has_a_secret_of_its_own() {
    let Tenants {
        mut server,
        _dir,
        here,
        there,
        user,
    } = Tenants::over(|dir| calling_server_over(dir, "127.0.0.1:0"));
    let receiver = Receiver::taking().await;
    // Held, so that the place in line stays one.
    let held = here.post("/api/v1/locks/x/acquire", json!({})).await;
    assert_eq!(held.status, 200);
    let body = json!({"callback": {"url": receiver.url("turn")}});
    let subscribed = user.post("/api/v1/locks/x/acquire", body).await;
    assert_eq!(subscribed.status, 202, "{}", subscribed.text());
    let id = subscribed.json()["webhook"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/webhooks/{id}");
    for method in ["GET", "DELETE"] {
        let refused = there.send(method, &path, "").await;
        assert_eq!(refused.status, 404, "{method}: {}", refused.text());
    }
    let listed = there.send("GET", "/api/v1/webhooks", "").await.json();
    assert_eq!(listed["webhooks"], json!([]));
    let listed = here.send("GET", "/api/v1/webhooks", "").await.json();
    assert_eq!(listed["webhooks"][0]["id"], id);
    for path in ["/api/v1/webhooks", "/api/v1/webhook-secret"] {
        assert_eq!(user.send("GET", path, "").await.status, 403, "{path}");
    }
    let secret = async |caller: &Caller| {
        let answer = caller.send("GET", "/api/v1/webhook-secret", "").await;
        answer.json()["secret"].as_str().unwrap().to_owned()
    };
    assert_ne!(secret(&here).await, secret(&there).await);
    assert_eq!(user.send("GET", &path, "").await.json()["state"], "waiting");
    assert_eq!(user.send("DELETE", &path, "").await.status, 200);
    server.assert_well("webhooks of two tenants").await;
}
