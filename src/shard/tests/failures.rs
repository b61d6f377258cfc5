//! What is left when a commit fails, the rules panic, or the server stops.

use super::store::Wrong;
use super::*;
use crate::store::crash::Fault;

const LEASE: LeaseId = LeaseId(1);

/// A shard, the lock "held" taken for ever, and a commit that is to go wrong under way: it holds
/// what `ask` asks for.
fn going_wrong(wrong: Wrong, ask: Command) -> (Arc<ScriptedStore>, Shard, u64, Call) {
    let (store, shard) = start();
    let held = shard.take("held");
    store.hold_commits();
    let call = shard.ask(ask);
    store.until_one_waits();
    store.next_goes(wrong);
    (store, shard, held, call)
}

#[test]
fn after_a_failed_commit_whoever_has_no_answer_is_told_and_the_committed_stays() {
    for wrong in [
        Wrong::Fault(Fault::Before),
        Wrong::Fault(Fault::After),
        Wrong::Full,
        Wrong::Panic,
    ] {
        let failure = match wrong {
            Wrong::Full => Failure::StorageFull,
            _ => Failure::Unavailable,
        };
        let ask = Command::Acquire(asks_once("lost"));
        let (store, shard, held, call) = going_wrong(wrong, ask);
        let waiter = shard.acquire(waits("held"));
        let behind = shard.ask(get("held"));
        let mut watch = shard.watch(&namespace(), name("held"));
        let new = SessionLease::New {
            id: LEASE,
            ttl: TTL,
            about: None,
        };
        let session = shard.open_session(&namespace(), new);
        session.submit(
            vec![],
            vec![
                (1, Command::Acquire(waits("held"))),
                (2, get("held")),
                (3, Command::Acquire(waits("held"))),
            ],
        );
        store.let_go();
        assert_eq!(wait(call), Err(failure.clone()), "{wrong:?}");
        assert_eq!(wait(waiter), Err(failure.clone()));
        assert_eq!(wait(behind), Err(failure.clone()));
        let news = block_on(watch.next());
        assert!(matches!(news, Some(WatchNews::Failed(why)) if why == failure));
        assert!(block_on(watch.next()).is_none());
        let mut replies = Vec::new();
        let why = 'ended: loop {
            for news in block_on(session.news()) {
                match news {
                    SessionNews::Reply(number, Err(why)) if why == failure => replies.push(number),
                    SessionNews::Ended(why) => break 'ended why,
                    other => panic!("{other:?}"),
                }
            }
        };
        replies.sort_unstable();
        assert_eq!((replies, why), (vec![1, 2, 3], failure));
        shard.until_it_serves();
        assert_eq!(shard.holders("held"), [held]);
        assert_eq!(shard.view("held").waiter_count, 0);
        // Nobody was told of this grant, so nobody holds it.
        assert_eq!(shard.holders("lost"), [0_u64; 0], "{wrong:?}");
        assert!(shard.take("lost") > held);
        shard.stop();
    }
}

#[test]
fn a_request_id_finds_the_grant_whose_commit_seemed_to_fail() {
    let request_id = Some(RequestId::new("once").unwrap());
    let acquire = Acquire {
        request_id,
        ..asks_once("a")
    };
    let wrong = Wrong::Fault(Fault::After);
    let ask = Command::Acquire(acquire.clone());
    let (store, shard, held, call) = going_wrong(wrong, ask);
    store.let_go();
    assert_eq!(wait(call), Err(Failure::Unavailable));
    shard.until_it_serves();
    assert_eq!(shard.holders("a"), [held + 1]);
    assert_eq!(token(wait(shard.acquire(acquire))), held + 1);
    shard.stop();
}

#[test]
fn a_place_in_line_on_a_lease_survives_a_failed_commit() {
    let (store, shard) = start();
    let held = shard.take("a");
    wait(shard.ask(create_lease(LEASE))).unwrap();
    let mut first = shard.acquire(waits_on(LEASE, "a", "first"));
    assert_eq!(queued(&mut first), 1);
    store.next_goes(Wrong::Fault(Fault::Before));
    assert_eq!(
        wait(shard.acquire(asks_once("b"))),
        Err(Failure::Unavailable)
    );
    assert_eq!(wait(first), Err(Failure::Unavailable));
    shard.until_it_serves();
    let mut second = shard.acquire(waits_on(LEASE, "a", "second"));
    assert_eq!(queued(&mut second), 2);
    let mut first = shard.acquire(waits_on(LEASE, "a", "first"));
    assert_eq!(queued(&mut first), 1);
    wait(shard.ask(release("a", held))).unwrap();
    assert!(token(wait(first)) > held);
    assert!(told(&mut second).is_none());
    shard.stop();
}

#[test]
fn while_the_state_is_being_loaded_calls_are_refused_at_once() {
    let (store, shard) = start();
    let held = shard.take("a");
    store.hold_claims();
    store.next_goes(Wrong::Fault(Fault::Before));
    wait(shard.acquire(asks_once("b"))).unwrap_err();
    store.until_one_waits();
    assert!(!shard.is_serving());
    let mut refused = [
        shard.ask(get("a")),
        shard.ask(release("a", held)),
        shard.acquire(waits("a")),
    ];
    for call in &mut refused {
        assert_eq!(told(call), Some(Err(Failure::Unavailable)));
    }
    store.let_go();
    shard.until_it_serves();
    assert_eq!(shard.holders("a"), [held]);
    shard.stop();
}

/// A grant that waits for its caller, who has not looked yet.
fn untaken(shard: &Shard, acquire: Acquire) -> Call {
    let call = shard.acquire(acquire);
    until("the grant is told", || call.is_told());
    call
}

#[test]
fn a_grant_given_back_is_given_back_even_if_that_commit_fails() {
    let (store, shard) = start();
    let call = untaken(&shard, asks_once("a"));
    store.hold_commits();
    drop(call);
    store.until_one_waits();
    store.next_goes(Wrong::Fault(Fault::Before));
    store.let_go();
    until("it was claimed again", || store.claims() == 2);
    shard.until_it_serves();
    assert_eq!(shard.holders("a"), [0_u64; 0]);
    shard.stop();
}

#[test]
fn a_grant_whose_caller_leaves_while_the_state_is_being_loaded_is_given_back() {
    let (store, shard) = start();
    let call = untaken(&shard, asks_once("a"));
    store.hold_claims();
    store.next_goes(Wrong::Fault(Fault::Before));
    wait(shard.acquire(asks_once("b"))).unwrap_err();
    store.until_one_waits();
    drop(call);
    store.let_go();
    shard.until_it_serves();
    assert_eq!(shard.holders("a"), [0_u64; 0]);
    shard.stop();
}

#[test]
fn a_retry_that_leaves_takes_no_grant_from_whoever_was_told_before() {
    let (store, shard) = start();
    let acquire = Acquire {
        request_id: Some(RequestId::new("once").unwrap()),
        ..asks_once("a")
    };
    let held = token(wait(shard.acquire(acquire.clone())));
    drop(untaken(&shard, acquire.clone()));
    assert_eq!(shard.holders("a"), [held]);
    store.next_goes(Wrong::Fault(Fault::Before));
    wait(shard.acquire(asks_once("b"))).unwrap_err();
    shard.until_it_serves();
    drop(untaken(&shard, acquire));
    assert_eq!(shard.holders("a"), [held]);
    shard.stop();
}

#[test]
fn when_the_rules_panic_nobody_is_left_waiting_and_the_state_is_loaded_again() {
    let (store, shard) = start();
    let held = shard.take("a");
    let waiter = shard.acquire(waits("a"));
    shard.until_its_thread_sleeps();
    shard.inner().enter(|work| {
        work.run(|_, _, out| {
            out.effects.clear();
            panic!("scripted")
        });
    });
    assert_eq!(wait(waiter), Err(Failure::Unavailable));
    shard.until_it_serves();
    assert_eq!(store.claims(), 2);
    assert_eq!(shard.holders("a"), [held]);
    shard.stop();
}

#[test]
fn when_the_rules_panic_what_was_applied_and_not_committed_is_failed() {
    let (store, shard) = start();
    store.hold_commits();
    let first = shard.acquire(asks_once("a"));
    store.until_one_waits();
    let second = shard.acquire(asks_once("b"));
    let slot = Arc::new(call::Slot::new(&namespace()));
    let panicked = shard.inner().enter(|work| {
        let id = work.next_call();
        work.run(|_, _, _| panic!("scripted"));
        work.route(id, Some(Caller::Call(slot.clone())));
        id
    });
    let panicked = Call::new(shard.clone(), panicked, slot);
    assert_eq!(
        told(&mut shard.acquire(asks_once("c"))),
        Some(Err(Failure::Unavailable))
    );
    store.let_go();
    // The commit that was under way is told; what was only applied is not there.
    assert!(wait(first).is_ok());
    assert_eq!(wait(second), Err(Failure::Unavailable));
    assert_eq!(wait(panicked), Err(Failure::Unavailable));
    shard.until_it_serves();
    assert_eq!(shard.holders("a").len(), 1);
    assert_eq!(shard.holders("b").len(), 0);
    shard.stop();
}

#[test]
fn a_store_that_can_not_be_claimed_is_tried_again_until_it_can() {
    let (store, shard) = start();
    let held = shard.take("a");
    store.claims_fail(true);
    store.next_goes(Wrong::Fault(Fault::Before));
    wait(shard.acquire(asks_once("b"))).unwrap_err();
    until("it was tried often", || store.claims() > 3);
    assert!(!shard.is_serving());
    store.claims_fail(false);
    shard.until_it_serves();
    assert_eq!(shard.holders("a"), [held]);
    shard.stop();
}

#[test]
fn a_stop_ends_whatever_the_store_does_at_that_moment() {
    // While it can't be claimed.
    let (store, shard) = start();
    store.claims_fail(true);
    store.next_goes(Wrong::Fault(Fault::Before));
    wait(shard.acquire(asks_once("a"))).unwrap_err();
    until("it was tried", || store.claims() > 1);
    ends(move || shard.stop());

    // While the last commit fails.
    for wrong in [Wrong::Fault(Fault::Before), Wrong::Panic] {
        let ask = Command::Acquire(asks_once("a"));
        let (store, shard, held, call) = going_wrong(wrong, ask);
        let stopping = shard.clone();
        let stop = std::thread::spawn(move || stopping.stop());
        until("it stops", || shard.inner().work().stage == Stage::Stopping);
        store.let_go();
        ends(move || stop.join().unwrap());
        assert_eq!(wait(call), Err(Failure::Unavailable));
        let again = Shard::start(store, ShardId(0)).unwrap();
        assert_eq!(again.holders("held"), [held]);
        again.stop();
    }

    // A second time, and by two at once.
    let (_store, shard) = start();
    let other = shard.clone();
    let stop = std::thread::spawn(move || other.stop());
    shard.stop();
    ends(move || stop.join().unwrap());
    shard.stop();
}

#[test]
fn a_stop_commits_what_it_acknowledges_and_sends_those_who_wait_away() {
    let (store, shard) = start();
    let held = shard.take("held");
    let first = shard.acquire(waits("held"));
    let second = shard.acquire(waits("held"));
    let mut watch = shard.watch(&namespace(), name("held"));
    assert!(matches!(
        block_on(watch.next()),
        Some(WatchNews::State(view)) if view.waiter_count == 2
    ));
    store.hold_commits();
    let under_way = shard.acquire(asks_once("a"));
    store.until_one_waits();
    let applied = shard.acquire(asks_once("b"));
    shard.stop_accepting();
    assert_eq!(
        told(&mut shard.ask(get("held"))),
        Some(Err(Failure::Stopping))
    );
    store.let_go();
    let tokens = [token(wait(under_way)), token(wait(applied))];
    assert_eq!(wait(first), Err(Failure::Stopping));
    assert_eq!(wait(second), Err(Failure::Stopping));
    assert!(matches!(
        block_on(watch.next()),
        Some(WatchNews::Failed(Failure::Stopping))
    ));
    shard.stop();
    let again = Shard::start(store, ShardId(0)).unwrap();
    assert_eq!(again.holders("a"), [tokens[0]]);
    assert_eq!(again.holders("b"), [tokens[1]]);
    assert_eq!(again.holders("held"), [held]);
    assert_eq!(again.view("held").waiter_count, 0);
    again.stop();
}

#[test]
fn what_is_given_back_while_the_server_drains_goes_to_nobody_who_was_sent_away() {
    let (store, shard) = start();
    let untaken = untaken(&shard, asks_once("a"));
    let waiter = shard.acquire(waits("a"));
    shard.stop_accepting();
    assert_eq!(wait(waiter), Err(Failure::Stopping));
    drop(untaken);
    shard.stop();
    let again = Shard::start(store, ShardId(0)).unwrap();
    assert_eq!(again.holders("a"), [0_u64; 0]);
    again.stop();
}

#[test]
fn time_stands_still_while_the_server_drains() {
    let (_store, shard) = start();
    let call = shard.acquire(Acquire {
        hold: Hold::Ttl(Duration::from_millis(900)),
        ..asks_once("a")
    });
    wait(call).unwrap();
    shard.stop_accepting();
    let before = shard.inner().work().core_now();
    for _ in 0..10 {
        shard.inner().work().sleep(HOUR);
        shard.inner().enter(|work| assert!(work.tick().is_some()));
    }
    assert_eq!(shard.inner().work().core_now(), before);
    shard.stop();
}

#[test]
fn a_shard_that_nobody_has_a_handle_of_lets_its_store_go() {
    let (store, shard) = start();
    let call = shard.acquire(asks_once("a"));
    drop(shard);
    let granted = token(wait(call));
    until("the store is let go", || Arc::strong_count(&store) == 1);
    let again = Shard::start(store, ShardId(0)).unwrap();
    assert_eq!(again.holders("a"), [granted]);
    again.stop();
}
