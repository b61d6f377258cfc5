//! LockService.

use std::time::Duration;

use holdfast::api::Role;
use holdfast::proto::v1::*;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::*;

#[tokio::test]
async fn a_lock_is_taken_renewed_checked_and_released() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let mut request = ask("deploy");
    request.owner = "ci-42".into();
    request.metadata = [("job".to_owned(), "7".to_owned())].into();
    let grant = locks.acquire_lock(request).await.unwrap().into_inner();
    let grant = grant.grant.unwrap();
    assert_eq!(grant.lock, "deploy");
    assert_eq!(grant.owner, "ci-42");
    assert_eq!(grant.metadata["job"], "7");
    assert_eq!(grant.mode(), LockMode::Exclusive);
    assert_eq!(grant.expires_in.unwrap().seconds, 60);

    let seen = get(&mut locks, "deploy").await;
    assert_eq!(seen.state(), LockState::Held);
    assert_eq!(seen.holders[0].fencing_token, grant.fencing_token);

    let renew = RenewLockRequest {
        lock: "deploy".into(),
        grant_token: grant.grant_token.clone(),
        ttl: span(Duration::from_secs(120)),
    };
    let renewed = locks.renew_lock(renew).await.unwrap().into_inner();
    assert_eq!(renewed.expires_in.unwrap().seconds, 120);

    let check = CheckGrantRequest {
        lock: "deploy".into(),
        fencing_token: grant.fencing_token,
    };
    assert!(
        locks
            .check_grant(check.clone())
            .await
            .unwrap()
            .into_inner()
            .current
    );
    release(&mut locks, &grant).await;
    assert!(!locks.check_grant(check).await.unwrap().into_inner().current);
    assert_eq!(get(&mut locks, "deploy").await.state(), LockState::Free);

    let status = locks.release_lock(release_of(&grant)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "NOT_HOLDER");
}

#[tokio::test]
async fn who_comes_too_late_is_told_who_holds() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let mut request = ask("deploy");
    request.owner = "ci-42".into();
    let grant = locks.acquire_lock(request).await.unwrap().into_inner();
    let fencing_token = grant.grant.unwrap().fencing_token.to_string();

    let status = locks.acquire_lock(ask("deploy")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "LOCK_HELD");
    let about = status.get_details_error_info().unwrap().metadata;
    assert_eq!(about["owner"], "ci-42");
    assert_eq!(about["fencing_token"], fencing_token);

    let mut request = ask("deploy");
    request.wait = span(Duration::from_millis(20));
    let status = soon(locks.acquire_lock(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&status), "WAIT_TIMED_OUT");
}

#[tokio::test]
async fn a_subscriber_learns_its_positions_and_then_its_grant() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let first = acquire(&mut locks, "deploy").await;
    let subscribe = || SubscribeAndGrabRequest {
        lock: "deploy".into(),
        ..Default::default()
    };
    let mut second = locks
        .subscribe_and_grab(subscribe())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(position(&mut second).await, 1);
    let mut third = locks
        .subscribe_and_grab(subscribe())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(position(&mut third).await, 2);

    release(&mut locks, &first).await;
    let granted = grant(&mut second).await;
    assert!(granted.fencing_token > first.fencing_token);
    assert!(soon(second.message()).await.unwrap().is_none());
    assert_eq!(position(&mut third).await, 1);
    release(&mut locks, &granted).await;
    grant(&mut third).await;
}

#[tokio::test]
async fn a_subscriber_to_a_free_lock_never_waits() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let request = SubscribeAndGrabRequest {
        lock: "deploy".into(),
        ..Default::default()
    };
    let mut news = locks
        .subscribe_and_grab(request.clone())
        .await
        .unwrap()
        .into_inner();
    grant(&mut news).await;
    let request = SubscribeAndGrabRequest {
        wait: span(Duration::ZERO),
        ..request
    };
    let mut news = locks
        .subscribe_and_grab(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        reason(&soon(news.message()).await.unwrap_err()),
        "LOCK_HELD"
    );
}

async fn event(
    news: &mut tonic::Streaming<SubscribeAndGrabResponse>,
) -> subscribe_and_grab_response::Event {
    soon(news.message()).await.unwrap().unwrap().event.unwrap()
}

async fn position(news: &mut tonic::Streaming<SubscribeAndGrabResponse>) -> u32 {
    match event(news).await {
        subscribe_and_grab_response::Event::Queued(queued) => queued.position,
        other => panic!("{other:?}"),
    }
}

async fn grant(news: &mut tonic::Streaming<SubscribeAndGrabResponse>) -> Grant {
    match event(news).await {
        subscribe_and_grab_response::Event::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_the_line() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let first = acquire(&mut locks, "deploy").await;
    let request = SubscribeAndGrabRequest {
        lock: "deploy".into(),
        ..Default::default()
    };
    let news = locks.subscribe_and_grab(request).await.unwrap();
    let mut other = server.locks().await;
    let unary = tokio::spawn(async move { other.acquire_lock(waiting("deploy")).await });
    server.settles("deploy", 1, 2).await;
    drop(news);
    server.settles("deploy", 1, 1).await;
    unary.abort();
    server.settles("deploy", 1, 0).await;
    release(&mut locks, &first).await;
    server.settles("deploy", 0, 0).await;
}

#[tokio::test]
async fn a_watcher_sees_the_lock_and_then_its_changes() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let request = WatchLockRequest {
        lock: "deploy".into(),
    };
    let mut news = locks.watch_lock(request).await.unwrap().into_inner();
    let mut next = async || soon(news.message()).await.unwrap().unwrap().event.unwrap();
    let watch_lock_response::Event::State(state) = next().await else {
        panic!("not a state");
    };
    assert_eq!(state.state(), LockState::Free);
    let grant = acquire(&mut locks, "deploy").await;
    release(&mut locks, &grant).await;
    for kind in [LockEventKind::Granted, LockEventKind::Released] {
        let watch_lock_response::Event::Change(change) = next().await else {
            panic!("not a change");
        };
        assert_eq!(change.kind(), kind);
        assert_eq!(change.holder.unwrap().fencing_token, grant.fencing_token);
    }
}

#[tokio::test]
async fn a_reserved_lock_exists_while_it_is_free() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let request = ReserveLockRequest {
        request_id: "r1".into(),
        ..Default::default()
    };
    let name = locks
        .reserve_lock(request.clone())
        .await
        .unwrap()
        .into_inner()
        .lock;
    assert_eq!(name.len(), 32);
    assert_eq!(
        locks.reserve_lock(request).await.unwrap().into_inner().lock,
        name
    );
    assert!(get(&mut locks, &name).await.reserved);
}

#[tokio::test]
async fn a_listing_goes_on_where_it_stopped() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    for name in ["b/2", "a", "b/1", "b/3"] {
        acquire(&mut locks, name).await;
    }
    let mut request = ListLocksRequest {
        prefix: "b/".into(),
        page_size: 2,
        page_token: String::new(),
    };
    let page = locks
        .list_locks(request.clone())
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = page.locks.iter().map(|lock| &lock.name).collect();
    assert_eq!(names, ["b/1", "b/2"]);
    request.page_token = page.next_page_token;
    let page = locks.list_locks(request).await.unwrap().into_inner();
    assert_eq!(page.locks[0].name, "b/3");
    assert_eq!(page.next_page_token, "");
}

#[tokio::test]
async fn only_an_administrator_ends_grants_of_others_and_lists() {
    let admin = Server::start().await;
    let user = Server::over(admin.api.clone(), Some(("default", Role::Use))).await;
    let mut locks = user.locks().await;
    let grant = acquire(&mut locks, "deploy").await;
    let force = ForceReleaseLockRequest {
        lock: "deploy".into(),
        ..Default::default()
    };
    let status = locks.force_release_lock(force.clone()).await.unwrap_err();
    assert_eq!(reason(&status), "PERMISSION_DENIED");
    let list = ListLocksRequest::default();
    let status = locks.list_locks(list).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let list = ListLeasesRequest::default();
    let status = user.leases().await.list_leases(list).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);

    let mut locks = admin.locks().await;
    let forced = locks.force_release_lock(force).await.unwrap().into_inner();
    assert_eq!(forced.released_count, 1);
    let status = locks.release_lock(release_of(&grant)).await.unwrap_err();
    assert_eq!(reason(&status), "NOT_HOLDER");
}

#[tokio::test]
async fn another_namespace_sees_nothing() {
    let server = Server::start().await;
    let other = Server::over(server.api.clone(), Some(("other", Role::Admin))).await;
    let grant = acquire(&mut server.locks().await, "deploy").await;
    let mut locks = other.locks().await;
    assert_eq!(get(&mut locks, "deploy").await.holder_count, 0);
    let status = locks.release_lock(release_of(&grant)).await.unwrap_err();
    assert_eq!(reason(&status), "NOT_HOLDER");
    acquire(&mut locks, "deploy").await;
}

#[tokio::test]
async fn who_is_nobody_gets_nothing() {
    let server = Server::start().await;
    let nobody = Server::over(server.api.clone(), None).await;
    let status = nobody
        .locks()
        .await
        .acquire_lock(ask("x"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason(&status), "UNAUTHENTICATED");
}

#[tokio::test]
async fn bad_input_is_named() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let mut request = ask("x");
    request.hold = Some(acquire_lock_request::Hold::Ttl(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    }));
    let status = locks.acquire_lock(request).await.unwrap_err();
    assert_eq!(bad_field(&status), "ttl");
    let status = locks.acquire_lock(ask("a\nb")).await.unwrap_err();
    assert_eq!(bad_field(&status), "lock");
    let check = CheckGrantRequest {
        lock: "x".into(),
        fencing_token: 0,
    };
    let status = locks.check_grant(check).await.unwrap_err();
    assert_eq!(bad_field(&status), "fencing_token");
    let mut request = Request::new(ask("x"));
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let status = locks.acquire_lock(request).await.unwrap_err();
    assert_eq!(bad_field(&status), "grpc-timeout");
}

/// Forces a lock's release.
async fn force(server: &Server, lock: &str) -> u32 {
    let request = ForceReleaseLockRequest {
        lock: lock.into(),
        ..Default::default()
    };
    let mut locks = server.locks().await;
    let answer = locks.force_release_lock(request).await.unwrap();
    answer.into_inner().released_count
}

#[tokio::test]
async fn a_grant_of_every_way_to_ask_holds_its_lock_back_when_it_is_lost() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let release_delay = span(Duration::from_secs(600));
    let request = AcquireLockRequest {
        release_delay,
        ..ask("unary")
    };
    locks.acquire_lock(request).await.unwrap();
    let subscribe = SubscribeAndGrabRequest {
        lock: "subscribed".into(),
        release_delay,
        ..Default::default()
    };
    let stream = locks.subscribe_and_grab(subscribe).await;
    grant(&mut stream.unwrap().into_inner()).await;
    for lock in ["unary", "subscribed"] {
        assert_eq!(force(&server, lock).await, 1);
        let seen = get(&mut locks, lock).await;
        assert_eq!(seen.state(), LockState::HeldBack);
        assert_eq!((seen.holder_count, seen.holders.len()), (0, 0));
        let left = seen.held_back_for.unwrap().seconds;
        assert!((500..=600).contains(&left), "{left}");
        let status = locks.acquire_lock(ask(lock)).await.unwrap_err();
        assert_eq!(reason(&status), "LOCK_HELD");
        assert!(status.message().contains("held back for"), "{status:?}");
        assert_eq!(force(&server, lock).await, 1);
        let seen = get(&mut locks, lock).await;
        assert_eq!((seen.state(), seen.held_back_for), (LockState::Free, None));
    }
}

#[tokio::test]
async fn a_lock_goes_on_by_itself_when_its_delay_is_over() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let request = AcquireLockRequest {
        hold: Some(acquire_lock_request::Hold::Ttl(
            span(Duration::from_millis(100)).unwrap(),
        )),
        release_delay: span(Duration::from_millis(300)),
        ..ask("deploy")
    };
    let asked = std::time::Instant::now();
    locks.acquire_lock(request).await.unwrap();
    soon(locks.acquire_lock(waiting("deploy"))).await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(400));
}

async fn explain(server: &Server, lock: &str) -> ExplainLockResponse {
    let request = ExplainLockRequest { lock: lock.into() };
    let mut locks = server.locks().await;
    locks.explain_lock(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_stands_behind_a_lock_is_told() {
    let server = Server::start().await;
    let mut locks = server.locks().await;
    let nothing = explain(&server, "deploy").await;
    let lock = nothing.lock.unwrap();
    assert_eq!(
        (lock.name.as_str(), lock.state()),
        ("deploy", LockState::Free)
    );
    assert!(nothing.waiters.is_empty() && nothing.past_holds.is_empty());

    let mut request = ask("deploy");
    request.owner = "first".into();
    request.metadata = [("job".to_owned(), "7".to_owned())].into();
    let answer = locks.acquire_lock(request).await.unwrap().into_inner();
    let first = answer.grant.unwrap();
    release(&mut locks, &first).await;
    acquire(&mut locks, "deploy").await;
    assert_eq!(force(&server, "deploy").await, 1);
    let held = acquire(&mut locks, "deploy").await;
    let subscribe = SubscribeAndGrabRequest {
        lock: "deploy".into(),
        mode: LockMode::Shared.into(),
        owner: "next".into(),
        ..Default::default()
    };
    let stream = locks.subscribe_and_grab(subscribe).await;
    let mut waiting = stream.unwrap().into_inner();
    assert_eq!(position(&mut waiting).await, 1);

    let told = explain(&server, "deploy").await;
    let lock = told.lock.unwrap();
    assert_eq!(lock.holders[0].fencing_token, held.fencing_token);
    let [waiter] = told.waiters.as_slice() else {
        panic!("{:?}", told.waiters);
    };
    assert_eq!((waiter.position, waiter.owner.as_str()), (1, "next"));
    assert_eq!(waiter.mode(), LockMode::Shared);
    assert!(waiter.wait_start_time.unwrap().seconds > 1_600_000_000);
    assert!(waiter.wait_ends_in.unwrap().seconds > 80_000);
    let causes: Vec<LockEventKind> = told.past_holds.iter().map(PastHold::cause).collect();
    assert_eq!(causes, [LockEventKind::Forced, LockEventKind::Released]);
    let past = told.past_holds[1].holder.as_ref().unwrap();
    assert_eq!(past.fencing_token, first.fencing_token);
    assert_eq!(
        (past.owner.as_str(), &past.metadata),
        ("first", &first.metadata)
    );
    assert_eq!(
        (past.acquire_time, past.expires_in),
        (first.acquire_time, None)
    );
    let ended = told.past_holds[1].end_time.unwrap();
    assert!(ended.seconds >= past.acquire_time.unwrap().seconds);
}
