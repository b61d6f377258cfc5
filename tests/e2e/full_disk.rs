//! A disk that fills up under the real binary: here, a limit of how far its files may grow, which is
//! lowered and raised while it runs.
//!
//! Whoever asks is told that there is no room; holders keep what they hold; when there is room again
//! everything goes on, and what was acknowledged is there.

use std::process::Command;
use std::time::{Duration, Instant};

use holdfast::proto::v1::*;
use serde_json::json;
use tonic::Code;

use crate::grpc::{self, acquire, ask, is_current, release, soon, ttl};
use crate::http;
use crate::server::{PATIENCE, Server, run, serve_over};

/// Sets how far the files of a process may grow, in bytes.
fn limit_files(server: &Server, bytes: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit
        .arg(format!("--pid={}", server.id()))
        .arg(format!("--fsize={bytes}:unlimited"));
    let done = run(prlimit);
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_costs_no_holder_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    // The signal that comes with the limit is ignored, and what is ignored stays so over `exec`:
    // a write then fails as on a full disk.
    let serve = serve_over(dir.path(), "127.0.0.1:0");
    let mut shell = Command::new("sh");
    crate::server::clear_environment(&mut shell);
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    shell.arg(serve.get_program()).args(serve.get_args());
    let mut server = Server::spawn(&mut shell);
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    let mut held = Vec::new();
    for n in 0..20 {
        let mut request = ask(&format!("held-{n}"));
        request.hold = ttl(Duration::from_secs(60));
        held.push(acquire(&mut locks, request).await);
    }

    limit_files(&server, "0");
    for n in 0..10 {
        let asked = soon(locks.acquire_lock(ask(&format!("late-{n}")))).await;
        let status = asked.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(grpc::reason(&status), "STORAGE_FULL");
        let path = format!("/api/v1/locks/late-{n}/acquire");
        let answer = http::post(addr, &path, json!({})).await;
        assert_eq!(answer.status, 507, "{}", answer.text());
        assert_eq!(answer.json()["error"]["reason"], "STORAGE_FULL");
        assert!(answer.header("retry-after").is_some());
    }

    limit_files(&server, "unlimited");
    let end = Instant::now() + PATIENCE;
    let late = loop {
        match soon(locks.acquire_lock(ask("late-0"))).await {
            Ok(granted) => break granted.into_inner().grant.unwrap(),
            Err(status) => {
                assert!(
                    matches!(status.code(), Code::ResourceExhausted | Code::Unavailable),
                    "{status:?}"
                );
                assert!(Instant::now() < end, "it never recovers: {status:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    for grant in &held {
        assert!(
            is_current(&mut locks, &grant.lock, grant.fencing_token).await,
            "{}",
            grant.lock
        );
        let renew = RenewLockRequest {
            lock: grant.lock.clone(),
            grant_token: grant.grant_token.clone(),
            ttl: None,
        };
        soon(locks.renew_lock(renew)).await.unwrap();
    }
    release(&mut locks, &held[0]).await;
    server.assert_well("a full disk").await;

    server.kill();
    let server = Server::over_at(dir.path(), addr);
    let mut locks = grpc::locks(addr).await;
    assert!(is_current(&mut locks, "late-0", late.fencing_token).await);
    assert!(late.fencing_token > held[19].fencing_token);
    for (n, grant) in held.iter().enumerate() {
        let current = is_current(&mut locks, &grant.lock, grant.fencing_token).await;
        assert_eq!(current, n > 0, "{}", grant.lock);
    }
    drop(server);
}
