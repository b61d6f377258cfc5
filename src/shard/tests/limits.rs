//! What is refused, and what passes all the same, when there is too much or too little room.

use super::*;
use crate::core::LockChange;

#[test]
fn overload_refuses_at_once_and_lets_renewals_and_releases_pass() {
    let (store, shard) = start();
    let held = token(wait(shard.acquire(Acquire {
        hold: Hold::Ttl(TTL),
        ..asks_once("held")
    })));
    store.hold_commits();
    let hangs = shard.acquire(asks_once("a"));
    store.until_one_waits();
    let reads: Vec<_> = (0..UNCOMMITTED_MAX)
        .map(|_| shard.ask(get("held")))
        .collect();
    for refused in [get("held"), Command::Acquire(asks_once("b"))] {
        assert_eq!(
            told(&mut shard.ask(refused)),
            Some(Err(Failure::Overloaded))
        );
    }
    let mut passing = [
        shard.ask(renew("held", held)),
        shard.ask(release("held", held)),
    ];
    for call in &mut passing {
        assert!(told(call).is_none());
    }
    store.let_go();
    for call in passing.into_iter().chain(reads).chain([hangs]) {
        wait(call).unwrap();
    }
    assert_eq!(shard.holders("held"), [0_u64; 0]);
    wait(shard.acquire(asks_once("b"))).unwrap();
    shard.stop();
}

#[test]
fn even_renewals_have_a_bound() {
    let (store, shard) = start();
    store.hold_commits();
    let hangs = shard.acquire(asks_once("a"));
    store.until_one_waits();
    let renewals: Vec<_> = (0..UNCOMMITTED_MAX + UNCOMMITTED_RESERVE)
        .map(|_| shard.ask(renew("b", 1)))
        .collect();
    assert_eq!(
        told(&mut shard.ask(renew("b", 1))),
        Some(Err(Failure::Overloaded))
    );
    store.let_go();
    wait(hangs).unwrap();
    for call in renewals {
        wait(call).unwrap_err();
    }
    shard.stop();
}

#[test]
fn events_for_watchers_crowd_nobody_out() {
    const WATCHERS: usize = 40;
    let (store, shard) = start();
    let watches: Vec<_> = (0..WATCHERS)
        .map(|_| shard.watch(&namespace(), name("busy")))
        .collect();
    store.hold_commits();
    let mut calls = Vec::new();
    for token in 1..=1000 {
        calls.push(shard.acquire(asks_once("busy")));
        calls.push(shard.ask(release("busy", token)));
    }
    const { assert!(2000 * WATCHERS > UNCOMMITTED_MAX + UNCOMMITTED_RESERVE) };
    let mut last = shard.acquire(asks_once("busy"));
    assert!(told(&mut last).is_none());
    store.let_go();
    for call in calls.into_iter().chain([last]) {
        wait(call).unwrap();
    }
    drop(watches);
    shard.stop();
}

#[test]
fn a_watcher_that_is_cut_off_has_seen_everything_before() {
    let (store, shard) = start();
    let mut watch = shard.watch(&namespace(), name("busy"));
    store.hold_commits();
    let mut calls = Vec::new();
    for token in 1..=1000 {
        calls.push(shard.acquire(asks_once("busy")));
        calls.push(shard.ask(release("busy", token)));
    }
    store.let_go();
    // It reads while the shard tells.
    let mut seen = Vec::new();
    while let Some(news) = block_on(watch.next()) {
        if let WatchNews::Changed(event) = news {
            let ended = matches!(event.change, LockChange::Ended(..));
            seen.push((event.change.fencing_token(), ended));
            if seen.len() == 2000 {
                break;
            }
        }
    }
    let all = (1..=1000).flat_map(|token| [(token, false), (token, true)]);
    assert!(seen.len() >= WATCH_NEWS_MAX - 1);
    assert!(all.take(seen.len()).eq(seen));
    for call in calls {
        wait(call).unwrap();
    }
    shard.stop();
}

#[test]
fn a_watcher_that_was_cut_off_gets_nothing_more() {
    let (_store, shard) = start();
    let mut watch = shard.watch(&namespace(), name("busy"));
    while shard.inner().work().watches() > 0 {
        let token = shard.take("busy");
        wait(shard.ask(release("busy", token))).unwrap();
    }
    for _ in 0..WATCH_NEWS_MAX {
        assert!(block_on(watch.next()).is_some());
        wait(shard.ask(renew("busy", 1))).unwrap_err();
        let token = shard.take("busy");
        wait(shard.ask(release("busy", token))).unwrap();
    }
    assert!(block_on(watch.next()).is_none());
    shard.stop();
}

#[test]
fn without_room_nothing_grows_and_holders_go_on() {
    let lease = LeaseId(1);
    let put = |lock: &str| Command::PutOpen {
        lock: name(lock),
        ttl: Some(TTL),
        default_ttl: TTL,
        about: None,
    };
    let open = |lease| Command::OpenSession { lease };
    let new = || SessionLease::New {
        id: LeaseId(9),
        ttl: TTL,
        about: None,
    };
    let (store, shard) = start();
    let held = shard.take("held");
    let renewed = shard.take("renewed");
    wait(shard.ask(put("open"))).unwrap();
    wait(shard.ask(create_lease(lease))).unwrap();
    let waiter = shard.acquire(waits("held"));
    store.set_room(false);
    let reserve = Command::Reserve {
        lock: name("reserved"),
        destroy_after: HOUR,
        request_id: None,
    };
    for grows in [
        Command::Acquire(asks_once("a")),
        put("b"),
        reserve,
        create_lease(LeaseId(2)),
        open(new()),
    ] {
        let said = format!("{grows:?}");
        assert_eq!(wait(shard.ask(grows)), Err(Failure::StorageFull), "{said}");
    }
    let mut session = shard.open_session(&namespace(), new());
    let news = block_on(session.news());
    assert!(matches!(
        news[..],
        [SessionNews::Ended(Failure::StorageFull)]
    ));
    session = shard.open_session(&namespace(), SessionLease::Resume(lease));
    assert!(matches!(
        block_on(session.news())[..],
        [SessionNews::Opened { resumed: true, .. }]
    ));
    session.submit(
        vec![],
        vec![
            (1, Command::Acquire(asks_once("a"))),
            (2, renew("renewed", renewed)),
        ],
    );
    let mut news = Vec::new();
    while news.len() < 2 {
        news.extend(block_on(session.news()));
    }
    assert!(matches!(
        news[..],
        [
            SessionNews::Reply(1, Err(Failure::StorageFull)),
            SessionNews::Reply(2, Ok(_))
        ]
    ));
    for goes_on in [
        get("held"),
        renew("renewed", renewed),
        put("open"),
        release("held", held),
        Command::RenewLease { id: lease },
        Command::RevokeLease {
            id: lease,
            request_id: None,
        },
    ] {
        let said = format!("{goes_on:?}");
        assert!(wait(shard.ask(goes_on)).is_ok(), "{said}");
    }
    // Whoever stood in line before is served.
    assert!(token(wait(waiter)) > held);
    store.set_room(true);
    wait(shard.acquire(asks_once("a"))).unwrap();
    shard.stop();
}
