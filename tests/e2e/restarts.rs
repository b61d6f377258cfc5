//! A server that stops, is stopped, or may not start: nothing that was acknowledged is lost, nothing
//! ends early, and whoever must act is told what is wrong.

use std::path::Path;
use std::time::{Duration, Instant};

use holdfast::proto::v1::*;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::grpc::{
    self, acquire, ask, get, is_current, release, settles, soon, span, ttl, waiting,
};
use crate::http;
use crate::server::{Server, run, serve_over};

/// How late the end of a short lease may come: a second, and what an unoptimized server on a busy
/// machine takes to tell of it.
const LATE: Duration = Duration::from_secs(10);

async fn wait_until_free(locks: &mut grpc::Locks, lock: &str) {
    settles(locks, lock, 0, 0).await;
}

#[tokio::test]
async fn a_server_stopped_for_longer_than_a_ttl_ends_nothing_early() {
    const TTL: Duration = Duration::from_secs(4);
    let mut server = Server::memory();
    let mut locks = grpc::locks(server.addr).await;
    let mut request = ask("x");
    request.hold = ttl(TTL);
    let grant = acquire(&mut locks, request).await;
    let mut next = locks.clone();
    let next = tokio::spawn(async move { acquire(&mut next, waiting("x")).await });
    settles(&mut locks, "x", 1, 1).await;

    server.signal("STOP");
    // That much time must pass, and nothing tells when it has but time itself.
    tokio::time::sleep(TTL + Duration::from_secs(1)).await;
    server.signal("CONT");
    let continued = Instant::now();
    let renew = RenewLockRequest {
        lock: "x".into(),
        grant_token: grant.grant_token.clone(),
        ttl: None,
    };
    soon(locks.renew_lock(renew)).await.unwrap();
    assert!(is_current(&mut locks, "x", grant.fencing_token).await);

    // Now nobody renews any more: it ends, not early and not for ever, and the next is served.
    let next = soon(next).await.unwrap();
    assert!(continued.elapsed() >= TTL, "{:?}", continued.elapsed());
    assert!(
        continued.elapsed() < TTL + LATE,
        "{:?}",
        continued.elapsed()
    );
    assert!(next.fencing_token > grant.fencing_token);
    server.assert_well("a stop").await;
}

#[tokio::test]
async fn a_restart_in_mid_ttl_ends_nothing_early_and_everything_in_time() {
    const TTL: Duration = Duration::from_secs(2);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::over(dir.path());
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    let mut leases = grpc::leases(addr).await;
    let create = CreateLeaseRequest {
        ttl: span(TTL),
        ..Default::default()
    };
    let lease = soon(leases.create_lease(create))
        .await
        .unwrap()
        .into_inner()
        .lease
        .unwrap();
    let mut own = ask("own");
    own.hold = ttl(TTL);
    let own = acquire(&mut locks, own).await;
    let mut shared = ask("shared");
    shared.hold = Some(acquire_lock_request::Hold::LeaseId(lease.lease_id.clone()));
    let shared = acquire(&mut locks, shared).await;
    let mut long = ask("long");
    long.hold = ttl(Duration::from_secs(3600));
    let long = acquire(&mut locks, long).await;
    let mut forever = ask("forever");
    forever.hold = Some(acquire_lock_request::Hold::NoExpiry(true));
    let forever = acquire(&mut locks, forever).await;
    assert_eq!(
        http::get(addr, "/v1/acquire/open").await.json()["response"],
        true
    );
    server.kill();
    // While nobody serves, time stands still.
    tokio::time::sleep(TTL + Duration::from_millis(500)).await;

    let started = Instant::now();
    let mut server = Server::over_at(dir.path(), addr);
    let mut locks = grpc::locks(addr).await;
    for grant in [&own, &shared, &long, &forever] {
        assert!(
            is_current(&mut locks, &grant.lock, grant.fencing_token).await,
            "{}",
            grant.lock
        );
    }
    assert_eq!(
        http::get(addr, "/v1/heartbeat/open").await.json()["response"],
        true
    );
    let renew = RenewLeaseRequest {
        lease_id: lease.lease_id,
    };
    soon(grpc::leases(addr).await.renew_lease(renew))
        .await
        .unwrap();
    for lock in ["own", "shared"] {
        wait_until_free(&mut locks, lock).await;
        assert!(started.elapsed() >= TTL, "{lock}: {:?}", started.elapsed());
        assert!(
            started.elapsed() < TTL + LATE,
            "{lock}: {:?}",
            started.elapsed()
        );
    }
    for grant in [&long, &forever] {
        assert!(is_current(&mut locks, &grant.lock, grant.fencing_token).await);
        release(&mut locks, grant).await;
    }
    let again = acquire(&mut locks, ask("own")).await;
    assert!(again.fencing_token > forever.fencing_token);
    server.assert_well("a restart").await;
}

#[tokio::test]
async fn a_server_told_to_stop_sends_waiters_away_and_keeps_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::over(dir.path());
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    let mut request = ask("held");
    request.hold = ttl(Duration::from_secs(3600));
    let held = acquire(&mut locks, request).await;
    let reserved = http::form(addr, "POST", "/reserve", "").await.json();
    let reserved = reserved["id"].as_str().unwrap();

    let mut client = locks.clone();
    let by_grpc = tokio::spawn(async move { client.acquire_lock(waiting("held")).await });
    let request = SubscribeAndGrabRequest {
        lock: "held".into(),
        ..Default::default()
    };
    let mut by_stream = soon(locks.subscribe_and_grab(request))
        .await
        .unwrap()
        .into_inner();
    let watch = WatchLockRequest {
        lock: "held".into(),
    };
    let mut by_watch = soon(locks.watch_lock(watch)).await.unwrap().into_inner();
    let by_rest = tokio::spawn(async move {
        http::post(addr, "/api/v1/locks/held/acquire", json!({"wait": "10m"})).await
    });
    let by_events = tokio::spawn(async move {
        let headers = ["accept: text/event-stream"];
        let path = b"/api/v1/locks/held/acquire";
        http::send(addr, &http::request("POST", path, &headers, b"")).await
    });
    let by_webmutex =
        tokio::spawn(async move { http::form(addr, "POST", "/grab/held", "wait=10m").await });
    let by_lockable =
        tokio::spawn(async move { http::get(addr, "/v1/acquire/held?wait=10m").await });
    settles(&mut locks, "held", 1, 6).await;

    let told = Instant::now();
    server.signal("TERM");
    let status = soon(by_grpc).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(grpc::reason(&status), "STOPPING");
    assert!(status.get_details_retry_info().is_some());
    for stream in [
        soon(async {
            while by_stream.message().await?.is_some() {}
            Ok(())
        })
        .await,
        soon(async {
            while by_watch.message().await?.is_some() {}
            Ok(())
        })
        .await,
    ] {
        let status: tonic::Status = stream.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    for (name, waiter) in [
        ("rest", by_rest),
        ("webmutex", by_webmutex),
        ("lockable", by_lockable),
    ] {
        let answer = soon(waiter).await.unwrap();
        assert_eq!(answer.status, 503, "{name}: {}", answer.text());
        assert!(
            answer.header("retry-after").is_some(),
            "{name}: {}",
            answer.head
        );
    }
    let events = soon(by_events).await.unwrap().text();
    assert!(
        events.contains("event: error") && events.contains("STOPPING"),
        "{events}"
    );
    let status = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(10),
        "{:?}",
        told.elapsed()
    );

    let mut server = Server::over_at(dir.path(), addr);
    let mut locks = grpc::locks(addr).await;
    assert!(is_current(&mut locks, "held", held.fencing_token).await);
    assert_eq!(get(&mut locks, "held").await.waiter_count, 0);
    assert!(get(&mut locks, reserved).await.reserved);
    release(&mut locks, &held).await;
    server.assert_well("a stop and a start").await;
}

/// What a server says that may not start over this directory.
fn refused(dir: &Path) -> String {
    let done = run(serve_over(dir, "127.0.0.1:0"));
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(!told.contains("panic"), "{told}");
    assert!(told.contains(dir.to_str().unwrap()), "{told}");
    told
}

#[tokio::test]
async fn a_directory_in_use_or_not_holdfasts_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::over(dir.path());
    let mut locks = grpc::locks(server.addr).await;
    let grant = acquire(&mut locks, ask("x")).await;
    assert!(refused(dir.path()).contains("in use"));
    assert!(is_current(&mut locks, "x", grant.fencing_token).await);
    server.assert_well("a second server").await;

    let foreign = tempfile::tempdir().unwrap();
    let letter = foreign.path().join("letter.txt");
    std::fs::write(&letter, "dear").unwrap();
    assert!(refused(foreign.path()).contains("not a data directory"));
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "dear");
    assert_eq!(std::fs::read_dir(foreign.path()).unwrap().count(), 1);

    refused(&letter);
}

#[tokio::test]
async fn a_lock_that_is_held_back_is_so_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::over(dir.path());
    let mut locks = grpc::locks(server.addr).await;
    let mut request = ask("x");
    request.release_delay = span(Duration::from_secs(3_600));
    acquire(&mut locks, request).await;
    let force = ForceReleaseLockRequest {
        lock: "x".into(),
        ..Default::default()
    };
    locks.force_release_lock(force.clone()).await.unwrap();
    server.kill();

    let server = Server::over(dir.path());
    let mut locks = grpc::locks(server.addr).await;
    let seen = get(&mut locks, "x").await;
    assert_eq!(seen.state(), LockState::HeldBack);
    let left = seen.held_back_for.unwrap().seconds;
    assert!((3_000..=3_600).contains(&left), "{left}");
    let status = locks.acquire_lock(ask("x")).await.unwrap_err();
    assert_eq!(grpc::reason(&status), "LOCK_HELD");
    let answer = locks.force_release_lock(force).await.unwrap();
    assert_eq!(answer.into_inner().released_count, 1);
    acquire(&mut locks, ask("x")).await;
}

#[tokio::test]
async fn a_damaged_directory_is_refused_by_name_and_never_reset() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::over(dir.path());
    let mut locks = grpc::locks(server.addr).await;
    for n in 0..50 {
        acquire(&mut locks, ask(&format!("lock-{n}"))).await;
    }
    server.kill();
    let shard = dir.path().join("shard-00000");
    for file in [
        dir.path().join("FORMAT"),
        shard.join("state.redb"),
        shard.join("log-0000000001.log"),
    ] {
        let whole = std::fs::read(&file).unwrap();
        // Noise all over the file, whatever it is.
        let noise: Vec<u8> = (0..whole.len()).map(|n| (n * 31 % 251) as u8).collect();
        std::fs::write(&file, &noise).unwrap();
        let told = refused(dir.path());
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(told.contains(name), "{name}: {told}");
        assert_eq!(
            std::fs::read(&file).unwrap(),
            noise,
            "{name} was written to"
        );
        std::fs::write(&file, &whole).unwrap();
    }
    // What was put back as it was is all there.
    let server = Server::over(dir.path());
    let mut locks = grpc::locks(server.addr).await;
    for n in 0..50 {
        assert_eq!(get(&mut locks, &format!("lock-{n}")).await.holder_count, 1);
    }
}
