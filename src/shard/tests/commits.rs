//! What is told when, and how time goes, while commits come and go.

use std::sync::Mutex;
use std::task::Wake;

use super::*;

#[test]
fn nothing_is_told_before_its_commit_nor_a_read_behind_it() {
    let (store, shard) = start();
    store.hold_commits();
    let mut call = shard.acquire(asks_once("a"));
    store.until_one_waits();
    let mut read = shard.ask(get("a"));
    let mut elsewhere = shard.ask(get("b"));
    assert!(told(&mut call).is_none());
    assert!(told(&mut read).is_none());
    assert!(told(&mut elsewhere).is_none());
    store.let_go();
    let granted = token(wait(call));
    let Ok(Answer::Lock(view)) = wait(read) else {
        panic!("no view");
    };
    assert_eq!(view.holders[0].fencing_token, granted);
    wait(elsewhere).unwrap();
    shard.stop();
}

#[test]
fn the_next_batch_is_applied_while_the_last_is_being_committed() {
    let (store, shard) = start();
    store.hold_commits();
    let first = shard.acquire(asks_once("a"));
    store.until_one_waits();
    let others: Vec<_> = (0..100)
        .map(|n| shard.acquire(asks_once(&n.to_string())))
        .collect();
    assert_eq!(store.commits(), 1);
    store.let_go();
    let mut last = token(wait(first));
    for other in others {
        let next = token(wait(other));
        assert!(next > last, "fencing tokens rise in the order of the calls");
        last = next;
    }
    assert_eq!(store.commits(), 2);
    shard.stop();
}

#[test]
fn reads_and_renewals_of_short_leases_wait_for_nothing_when_nothing_is_pending() {
    let (store, shard) = start();
    let token = token(wait(shard.acquire(Acquire {
        hold: Hold::Ttl(TTL),
        ..asks_once("a")
    })));
    shard.until_its_thread_sleeps();
    let commits = store.commits();
    for command in [get("a"), renew("a", token), get("b")] {
        told(&mut shard.ask(command)).unwrap().unwrap();
    }
    assert_eq!(store.commits(), commits);
    shard.stop();
}

#[test]
fn a_deadline_before_the_next_look_at_the_clock_wakes_the_thread() {
    let (_store, shard) = start();
    shard.take("a");
    shard.until_its_thread_sleeps();
    let sleeps_until = shard.inner().work().sleeps_until.unwrap();
    // It stands in line without a commit that would wake the thread.
    let mut call = shard.acquire(Acquire {
        wait: Duration::from_millis(1),
        ..waits("a")
    });
    let woken = shard.inner().work().sleeps_until;
    assert!(woken.is_none_or(|until| until < sleeps_until));
    assert_eq!(queued(&mut call), 1);
    let refused = wait(call).unwrap_err();
    assert!(matches!(
        refused,
        Failure::Refused(Refusal::WaitTimedOut(_))
    ));
    shard.stop();
}

#[test]
fn time_stands_still_while_a_commit_hangs() {
    let (store, shard) = start();
    let token = token(wait(shard.acquire(Acquire {
        hold: Hold::Ttl(TTL),
        ..asks_once("a")
    })));
    store.hold_commits();
    let hangs = shard.acquire(asks_once("b"));
    store.until_one_waits();
    let reads: Vec<_> = (0..100)
        .map(|_| {
            shard.inner().work().sleep(HOUR);
            shard.ask(get("a"))
        })
        .collect();
    shard.inner().work().sleep(HOUR);
    store.let_go();
    wait(hangs).unwrap();
    for read in reads {
        let Ok(Answer::Lock(view)) = wait(read) else {
            panic!("no view");
        };
        assert!(view.holders[0].expires_in.unwrap() >= TTL - 2 * clock::STEP_MAX);
    }
    assert_eq!(shard.holders("a"), [token]);
    shard.stop();
}

#[test]
fn more_than_a_store_takes_at_once_is_committed_in_parts() {
    const LOCKS: usize = 20_000;
    let long = |n: usize| format!("{n:0>500}");
    let lease = LeaseId(1);
    let (store, shard) = start();
    wait(shard.ask(create_lease(lease))).unwrap();
    store.hold_commits();
    let first = shard.acquire(asks_once("a"));
    store.until_one_waits();
    // One batch of many applications, and then one of a single large one.
    let calls: Vec<_> = (0..LOCKS)
        .map(|n| {
            shard.acquire(Acquire {
                hold: Hold::Lease(lease),
                ..asks_once(&long(n))
            })
        })
        .collect();
    store.let_go();
    wait(first).unwrap();
    for call in calls {
        token(wait(call));
    }
    let revoke = Command::RevokeLease {
        id: lease,
        request_id: None,
    };
    assert_eq!(wait(shard.ask(revoke)), Ok(Answer::Revoked(LOCKS)));
    assert_eq!(store.claims(), 1, "nothing failed");
    assert!(store.commits() >= 6);
    shard.stop();
    let again = Shard::start(store, ShardId(0)).unwrap();
    assert_eq!(again.holders(&long(LOCKS - 1)), [0_u64; 0]);
    assert_eq!(again.holders("a").len(), 1);
    again.stop();
}

/// Asks the shard something at the moment it is woken.
struct Asks(Shard, Mutex<usize>);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        drop(self.0.ask(get("a")));
        *lock(&self.1) += 1;
    }
}

#[test]
fn whoever_is_woken_may_ask_the_shard_at_once() {
    ends(|| {
        let (_store, shard) = start();
        let asks = Arc::new(Asks(shard.clone(), Mutex::default()));
        let woken = || *lock(&asks.1);
        let waker = Waker::from(asks.clone());
        let mut cx = Context::from_waker(&waker);
        let new = SessionLease::New {
            id: LeaseId(1),
            ttl: TTL,
            about: None,
        };
        let session = shard.open_session(&namespace(), new);
        assert_eq!(block_on(session.news()).len(), 1);
        shard.until_its_thread_sleeps();
        let mut news = Vec::new();
        let mut watch = shard.watch(&namespace(), name("a"));
        assert!(watch.poll_next(&mut cx).is_ready());

        // Told by the caller itself, by the thread, and by whoever stops the shard.
        assert!(session.poll_news(&mut cx, &mut news).is_pending());
        session.submit(vec![], vec![(1, get("a"))]);
        until("a read wakes", || woken() == 1);
        assert!(session.poll_news(&mut cx, &mut news).is_ready());
        news.clear();
        assert!(session.poll_news(&mut cx, &mut news).is_pending());
        assert!(watch.poll_next(&mut cx).is_pending());
        session.submit(vec![], vec![(2, Command::Acquire(asks_once("a")))]);
        until("a grant wakes", || woken() == 3);
        assert!(session.poll_news(&mut cx, &mut news).is_ready());
        news.clear();
        while watch.poll_next(&mut cx).is_ready() {}
        let mut call = shard.acquire(waits("a"));
        assert_eq!(queued(&mut call), 1);
        assert!(call.poll_progress(&mut cx).is_pending());
        assert!(session.poll_news(&mut cx, &mut news).is_pending());
        shard.stop_accepting();
        until("the end wakes", || woken() == 6);
        shard.stop();
    });
}
