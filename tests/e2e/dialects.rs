//! The scripts of webmutex, getlock, sync and lockable as they stand, with only the host replaced; and all
//! dialects over one lock space.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast::proto::v1::*;
use serde_json::{Value, json};

use crate::grpc::{self, acquire, ask, get, release, settles, soon, ttl, waiting};
use crate::http::{self, Answer};
use crate::server::{Server, clear_environment, run};

/// Runs a script of `tests/dialects` against the server in a directory of its own.
pub fn script(server: &Server, program: &str, name: &str) {
    script_as(server, program, name, None);
}

/// The same with an API token.
pub fn script_as(server: &Server, program: &str, name: &str, token: Option<&str>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/dialects")
        .join(name);
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    clear_environment(&mut command);
    command
        .arg(file)
        .current_dir(place.path())
        .env("HOST", server.host());
    match token {
        Some(token) => command.env("TOKEN", token),
        None => command.env_remove("TOKEN"),
    };
    let done = run(command);
    let (out, err) = (&done.stdout, &done.stderr);
    assert!(
        done.status.success(),
        "{name}: {}\n{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    );
}

#[test]
fn the_script_of_webmutex_runs() {
    script(&Server::memory(), "bash", "webmutex.sh");
}

#[test]
fn the_script_of_getlock_runs() {
    script(&Server::memory(), "bash", "getlock.sh");
}

#[test]
fn the_script_of_sync_runs() {
    script(&Server::memory(), "bash", "sync.sh");
}

#[test]
fn the_client_of_lockable_runs_from_many_threads() {
    script(&Server::memory(), "python3", "lockable.py");
}

const UUID: &str = "28c9c1be-7bb8-4e8c-b22e-c16402a421d5";

/// What each dialect says of the lock `UUID` when it is asked to take it.
struct Asked {
    server: Server,
    locks: grpc::Locks,
}

impl Asked {
    async fn new() -> Asked {
        let server = Server::memory();
        let locks = grpc::locks(server.addr).await;
        Asked { server, locks }
    }

    async fn getlock(&self, method: &str) -> Answer {
        http::form(self.server.addr, method, &format!("/v1/{UUID}"), "").await
    }

    async fn lockable(&self, verb: &str) -> bool {
        let answer = http::get(self.server.addr, &format!("/v1/{verb}/{UUID}")).await;
        assert_eq!(answer.status, 200);
        answer.json()["response"].as_bool().unwrap()
    }

    async fn webmutex(&self, verb: &str, body: &str) -> (u16, Value) {
        let answer = http::form(self.server.addr, "POST", &format!("/{verb}/{UUID}"), body).await;
        (answer.status, answer.json())
    }

    /// Nobody else gets it, whatever they speak.
    async fn assert_held(&mut self) {
        let status = soon(self.locks.acquire_lock(ask(UUID))).await.unwrap_err();
        assert_eq!(grpc::reason(&status), "LOCK_HELD");
        let path = format!("/api/v1/locks/{UUID}/acquire");
        let refused = http::post(self.server.addr, &path, json!({})).await;
        assert_eq!(refused.status, 423);
        assert_eq!(refused.json()["error"]["reason"], "LOCK_HELD");
        let (status, body) = self.webmutex("grab", "").await;
        assert_eq!((status, &body["status"]), (400, &json!("fail")));
        assert_eq!(self.webmutex("status", "").await.1["in_use"], true);
        assert!(!self.lockable("acquire").await);
        let read = self.getlock("GET").await;
        assert_eq!((read.status, &read.json()["locked"]), (423, &json!(true)));
    }

    async fn assert_free(&mut self) {
        assert_eq!(get(&mut self.locks, UUID).await.holder_count, 0);
        assert_eq!(self.getlock("GET").await.status, 404);
        assert_eq!(self.webmutex("status", "").await.0, 404);
        assert!(!self.lockable("heartbeat").await);
    }

    /// No call without its token touches a closed grant.
    async fn assert_closed(&self) {
        for method in ["PUT", "DELETE"] {
            let refused = self.getlock(method).await;
            assert_eq!(refused.status, 423, "{method}");
            assert_eq!(refused.json()["locked"], true, "{method}");
        }
        assert!(!self.lockable("heartbeat").await);
        assert!(!self.lockable("release").await);
        let (status, body) = self
            .webmutex("release", "token=1.AAAAAAAAAAAAAAAAAAAAAA")
            .await;
        assert_eq!((status, &body["status"]), (400, &json!("fail")));
    }
}

#[tokio::test]
async fn a_lock_taken_by_grpc_is_held_and_closed_for_every_dialect() {
    let mut asked = Asked::new().await;
    let grant = acquire(&mut asked.locks, ask(UUID)).await;
    asked.assert_held().await;
    asked.assert_closed().await;
    release(&mut asked.locks, &grant).await;
    asked.assert_free().await;
}

#[tokio::test]
async fn a_lock_taken_by_lockable_is_open_for_getlock() {
    let mut asked = Asked::new().await;
    assert!(asked.lockable("acquire").await);
    asked.assert_held().await;
    assert_eq!(asked.getlock("PUT").await.status, 200);
    assert!(asked.lockable("heartbeat").await);
    assert_eq!(asked.getlock("DELETE").await.status, 200);
    asked.assert_free().await;
}

#[tokio::test]
async fn a_lock_taken_by_getlock_is_open_for_lockable() {
    let mut asked = Asked::new().await;
    assert_eq!(asked.getlock("PUT").await.status, 201);
    asked.assert_held().await;
    assert!(asked.lockable("heartbeat").await);
    assert!(asked.lockable("release").await);
    asked.assert_free().await;
}

#[tokio::test]
async fn a_mutex_of_webmutex_is_released_by_its_token_through_grpc() {
    let server = Server::memory();
    let mut locks = grpc::locks(server.addr).await;
    let reserved = http::form(server.addr, "POST", "/reserve", "").await;
    let id = reserved.json()["id"].as_str().unwrap().to_owned();
    let body = format!("id={id}");
    let grabbed = http::form(server.addr, "POST", "/grab", &body).await.json();
    assert_eq!(get(&mut locks, &id).await.holder_count, 1);
    for verb in ["acquire", "heartbeat", "release"] {
        let answer = http::get(server.addr, &format!("/v1/{verb}/{id}")).await;
        assert_eq!(answer.json()["response"], false, "{verb}");
    }
    let request = ReleaseLockRequest {
        lock: id.clone(),
        grant_token: grabbed["token"].as_str().unwrap().into(),
        request_id: String::new(),
    };
    soon(locks.release_lock(request)).await.unwrap();
    let status = http::get(server.addr, &format!("/status/{id}")).await;
    assert_eq!(status.json(), json!({"status": "ok", "in_use": false}));
}

#[tokio::test]
async fn one_line_is_served_in_order_whatever_its_callers_speak() {
    let server = Server::memory();
    let mut locks = grpc::locks(server.addr).await;
    let first = http::get(server.addr, "/v1/acquire/line").await;
    assert_eq!(first.json()["response"], true);

    let mut by_grpc = locks.clone();
    let by_grpc = tokio::spawn(async move {
        let mut request = waiting("line");
        request.hold = ttl(Duration::from_secs(60));
        acquire(&mut by_grpc, request).await
    });
    settles(&mut locks, "line", 1, 1).await;
    let addr = server.addr;
    let by_lockable =
        tokio::spawn(async move { http::get(addr, "/v1/acquire/line?wait=10m").await });
    settles(&mut locks, "line", 1, 2).await;
    let by_webmutex =
        tokio::spawn(async move { http::form(addr, "POST", "/grab/line", "wait=10m").await });
    settles(&mut locks, "line", 1, 3).await;
    let by_rest = tokio::spawn(async move {
        http::post(addr, "/api/v1/locks/line/acquire", json!({"wait": "10m"})).await
    });
    settles(&mut locks, "line", 1, 4).await;

    assert_eq!(
        http::get(addr, "/v1/release/line").await.json()["response"],
        true
    );
    let grant = soon(by_grpc).await.unwrap();
    assert!(!by_lockable.is_finished());
    release(&mut locks, &grant).await;
    assert_eq!(soon(by_lockable).await.unwrap().json()["response"], true);
    assert!(!by_webmutex.is_finished());
    assert_eq!(
        http::get(addr, "/v1/release/line").await.json()["response"],
        true
    );
    let grabbed = soon(by_webmutex).await.unwrap().json();
    assert!(!by_rest.is_finished());
    let token = grabbed["token"].as_str().unwrap();
    let body = format!("id=line&token={token}");
    assert_eq!(
        http::form(addr, "POST", "/release", &body).await.status,
        200
    );
    let rest = soon(by_rest).await.unwrap();
    assert_eq!(rest.status, 200, "{}", rest.text());
    let token = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let last = rest.json()["grant_token"].as_str().unwrap().to_owned();
    assert!(grant.fencing_token < token(grabbed["token"].as_str().unwrap()));
    assert!(token(grabbed["token"].as_str().unwrap()) < token(&last));
}
