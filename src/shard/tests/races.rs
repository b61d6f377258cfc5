//! Callers that go away at every moment there is: the lock ends free or with the next in line.

use std::sync::Barrier;

use super::*;
use crate::store::crash::next_random;

const ROUNDS: usize = 500;

/// A lock that is held, then a caller who will leave, then one who stays.
fn three(shard: &Shard) -> (u64, Call, Call) {
    let held = shard.take("a");
    (held, shard.acquire(waits("a")), shard.acquire(waits("a")))
}

/// Whoever stayed gets the lock; once it is released nothing is left.
fn is_served_and_leaves_nothing(shard: &Shard, stays: Call, after: u64) {
    let granted = token(wait(stays));
    assert!(granted > after);
    assert_eq!(shard.holders("a"), [granted]);
    wait(shard.ask(release("a", granted))).unwrap();
    let view = shard.view("a");
    assert_eq!((view.holder_count, view.waiter_count), (0, 0));
}

#[test]
fn a_caller_who_leaves_while_queued_leaves_the_line() {
    let (_store, shard) = start();
    let (held, mut leaves, stays) = three(&shard);
    assert_eq!(queued(&mut leaves), 1);
    drop(leaves);
    assert_eq!(shard.view("a").waiter_count, 1);
    wait(shard.ask(release("a", held))).unwrap();
    is_served_and_leaves_nothing(&shard, stays, held);
    shard.stop();
}

#[test]
fn a_caller_who_leaves_between_the_grant_and_its_commit_gives_it_back() {
    let (store, shard) = start();
    let (held, leaves, stays) = three(&shard);
    shard.until_its_thread_sleeps();
    store.hold_commits();
    let released = shard.ask(release("a", held));
    store.until_one_waits();
    drop(leaves);
    store.let_go();
    wait(released).unwrap();
    is_served_and_leaves_nothing(&shard, stays, held + 1);
    shard.stop();
}

#[test]
fn a_caller_who_leaves_with_the_grant_told_and_not_taken_gives_it_back() {
    let (_store, shard) = start();
    let (held, leaves, stays) = three(&shard);
    wait(shard.ask(release("a", held))).unwrap();
    until("it is told", || leaves.is_told());
    drop(leaves);
    is_served_and_leaves_nothing(&shard, stays, held + 1);
    shard.stop();
}

#[test]
fn a_caller_who_has_taken_its_grant_keeps_it() {
    let (_store, shard) = start();
    let (held, leaves, mut stays) = three(&shard);
    wait(shard.ask(release("a", held))).unwrap();
    let granted = token(wait(leaves));
    assert_eq!(shard.holders("a"), [granted]);
    assert!(told(&mut stays).is_none());
    shard.stop();
}

/// Does both at once, as near as two threads can.
fn at_once(barrier: &Barrier, one: impl FnOnce() + Send, other: impl FnOnce()) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            one();
        });
        barrier.wait();
        other();
    });
}

#[test]
fn cancel_and_grant_at_once_leave_exactly_one_holder() {
    let (_store, shard) = start();
    let barrier = Barrier::new(2);
    for _ in 0..ROUNDS {
        let (held, leaves, stays) = three(&shard);
        let mut released = shard.ask(get("a"));
        at_once(
            &barrier,
            || drop(leaves),
            || released = shard.ask(release("a", held)),
        );
        wait(released).unwrap();
        is_served_and_leaves_nothing(&shard, stays, held);
    }
    shard.stop();
}

#[test]
fn a_call_dropped_as_soon_as_it_is_made_leaves_nothing() {
    let (_store, shard) = start();
    for _ in 0..ROUNDS {
        drop(shard.acquire(waits("a")));
    }
    let granted = shard.take("a");
    wait(shard.ask(release("a", granted))).unwrap();
    assert_eq!(shard.view("a").holder_count, 0);
    shard.stop();
}

#[test]
fn many_who_come_and_go_leave_nothing() {
    let (_store, shard) = start();
    std::thread::scope(|scope| {
        for seed in 0..4_u64 {
            let shard = shard.clone();
            scope.spawn(move || {
                let mut random = seed;
                for _ in 0..ROUNDS {
                    let lock = format!("{}", next_random(&mut random) % 3);
                    let mut call = shard.acquire(waits(&lock));
                    match next_random(&mut random) % 4 {
                        0 => {}
                        1 => until("it is told or waits", || {
                            call.is_told() || shard.view(&lock).waiter_count > 0
                        }),
                        2 => drop(told(&mut call).map(|outcome| {
                            wait(shard.ask(release(&lock, token(outcome)))).unwrap();
                        })),
                        _ => {
                            let granted = token(wait(call));
                            assert_eq!(shard.holders(&lock), [granted]);
                            wait(shard.ask(release(&lock, granted))).unwrap();
                        }
                    }
                }
            });
        }
    });
    for lock in ["0", "1", "2"] {
        let granted = shard.take(lock);
        wait(shard.ask(release(lock, granted))).unwrap();
        let view = shard.view(lock);
        assert_eq!((view.holder_count, view.waiter_count), (0, 0));
    }
    shard.stop();
}

fn session(shard: &Shard, lease: u128) -> Session {
    let session = shard.open_session(
        &namespace(),
        SessionLease::New {
            id: LeaseId(lease),
            ttl: TTL,
            about: None,
        },
    );
    assert!(matches!(
        block_on(session.news())[..],
        [SessionNews::Opened { .. }]
    ));
    session
}

fn through(session: &Session, lease: u128, lock: &str) -> Command {
    Command::Acquire(Acquire {
        hold: Hold::Lease(LeaseId(lease)),
        session: Some(session.id()),
        ..waits(lock)
    })
}

#[test]
fn a_session_dropped_while_one_of_its_calls_is_granted_leaves_the_lock_to_the_next() {
    let (_store, shard) = start();
    let barrier = Barrier::new(2);
    for round in 0..ROUNDS as u128 {
        let held = shard.take("a");
        let leaves = session(&shard, round);
        leaves.submit(vec![], vec![(1, through(&leaves, round, "a"))]);
        let stays = shard.acquire(waits("a"));
        let mut released = shard.ask(get("a"));
        at_once(
            &barrier,
            || drop(leaves),
            || released = shard.ask(release("a", held)),
        );
        wait(released).unwrap();
        is_served_and_leaves_nothing(&shard, stays, held);
    }
    shard.stop();
}

#[test]
fn a_session_gives_back_what_it_was_told_and_did_not_read_or_could_not_tell() {
    let (_store, shard) = start();
    let leaves = session(&shard, 1);
    let locks = ["a", "b"];
    for (number, lock) in (1..).zip(locks) {
        leaves.submit(vec![], vec![(number, through(&leaves, 1, lock))]);
        until("it is told", || shard.holders(lock).len() == 1);
        if number == 1 {
            let mut news = block_on(leaves.news());
            assert_eq!(news.len(), 1);
            leaves.untold(&mut news);
        }
    }
    drop(leaves);
    for lock in locks {
        assert_eq!(shard.holders(lock), [0_u64; 0]);
    }
    shard.stop();
}
