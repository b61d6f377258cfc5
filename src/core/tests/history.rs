//! What stands behind a lock: who waits since when, and how its last holds ended.

use std::sync::Arc;

use super::*;

impl Rules {
    fn explain(&mut self, lock: &str) -> Explanation {
        match self.call(Command::Explain { lock: name(lock) }) {
            Ok(Answer::Explained(explained)) => *explained,
            other => panic!("{other:?}"),
        }
    }

    /// How the last holds ended, the newest first.
    fn causes(&mut self, lock: &str) -> Vec<EndCause> {
        let past = self.explain(lock).past_holds;
        past.iter().map(|past| past.cause).collect()
    }

    fn take_and_release(&mut self, acquire: Acquire) -> u64 {
        let lock = acquire.lock.clone();
        let token = self.take(acquire);
        self.release(lock.as_str(), token).unwrap();
        token
    }
}

fn by(owner: &str, metadata_bytes: usize, acquire: Acquire) -> Acquire {
    let metadata = match metadata_bytes {
        0 => BTreeMap::new(),
        bytes => [("k".to_owned(), "x".repeat(bytes - 1))].into(),
    };
    Acquire {
        about: About::new(owner, metadata).unwrap(),
        ..acquire
    }
}

#[test]
fn a_lock_that_nobody_named_has_an_empty_answer_and_leaves_nothing_behind() {
    let mut rules = Rules::new();
    let explained = rules.explain("a");
    assert_eq!(explained.lock, rules.view("a"));
    assert!(explained.waiters.is_empty() && explained.past_holds.is_empty());
    assert_eq!(rules.state.locks.iter().count(), 0);
}

#[test]
fn a_past_hold_is_told_with_its_owner_and_its_times() {
    let mut rules = Rules::new();
    let token = rules.take(by("ci-42", 10, acquire("a")));
    rules.wall = WallTime(7_000);
    rules.release("a", token).unwrap();
    let explained = rules.explain("a");
    assert_eq!(explained.lock.holder_count, 0);
    let [past] = explained.past_holds.as_slice() else {
        panic!("{explained:?}");
    };
    assert_eq!((past.cause, past.at), (EndCause::Released, WallTime(7_000)));
    assert_eq!(past.holder.fencing_token, token);
    assert_eq!(past.holder.acquired_at, WallTime(1_000));
    assert_eq!(past.holder.expires_in, None);
    let about = past.holder.about.as_ref().unwrap();
    assert_eq!((about.owner(), about.metadata().len()), ("ci-42", 1));
}

#[test]
fn each_way_to_end_is_told_as_what_it_was_the_newest_first() {
    let mut rules = Rules::new();
    rules.take_and_release(acquire("a"));
    rules.take(acquire("a"));
    rules.pass(TTL);
    let lease = rules.lease(TTL);
    rules.take(on_lease(acquire("a"), lease));
    rules.revoke(lease).unwrap();
    rules.take(acquire("a"));
    rules.force("a", None);
    let callback = Callback {
        url: CallbackUrl::new("https://example.com/turn").unwrap(),
        secret: None,
        accept_timeout: SEC,
        shape: CallbackShape::Native,
    };
    let subscribe = |id| Acquire {
        wait: SEC,
        subscribe: Some(Subscribe {
            id: WebhookId(id),
            callback: Arc::new(callback.clone()),
        }),
        ..acquire("a")
    };
    rules.ask(Command::Acquire(subscribe(1)));
    rules.ask(Command::Webhook(WebhookCommand::Settled {
        id: WebhookId(1),
        taken: false,
        attempt: Attempt::default(),
    }));
    rules.ask(Command::Acquire(subscribe(2)));
    rules.pass(SEC);
    assert_eq!(
        rules.causes("a"),
        [
            EndCause::CallbackTimedOut,
            EndCause::CallbackRefused,
            EndCause::Forced,
            EndCause::Revoked,
            EndCause::Expired,
            EndCause::Released,
        ]
    );
}

#[test]
fn a_hold_that_lapsed_is_past_from_its_loss_on() {
    let mut rules = Rules::new();
    rules.take(Acquire {
        release_delay: ReleaseDelay::new(SEC).unwrap(),
        ..acquire("a")
    });
    rules.pass(TTL);
    let explained = rules.explain("a");
    assert_eq!(explained.lock.held_back_for, Some(SEC));
    assert_eq!(explained.past_holds[0].cause, EndCause::Expired);
    rules.pass(SEC);
    assert_eq!(rules.causes("a"), [EndCause::Expired]);
}

#[test]
fn the_newest_8_holds_of_a_lock_are_remembered() {
    let mut rules = Rules::new();
    let tokens: Vec<u64> = (0..10)
        .map(|_| rules.take_and_release(acquire("a")))
        .collect();
    let past = rules.explain("a").past_holds;
    let told: Vec<u64> = past.iter().map(|past| past.holder.fencing_token).collect();
    let newest: Vec<u64> = tokens.into_iter().rev().take(8).collect();
    assert_eq!(told, newest);
}

#[test]
fn the_lock_that_was_given_up_longest_ago_is_forgotten_first() {
    let mut rules = Rules::new();
    for lock in 0..limits::PAST_LOCKS_MAX {
        rules.take_and_release(acquire(&lock.to_string()));
    }
    rules.take_and_release(acquire("0"));
    // Looking makes nothing younger.
    assert_eq!(rules.causes("1").len(), 1);
    rules.take_and_release(acquire("one more"));
    assert_eq!(rules.causes("1").len(), 0);
    assert_eq!(rules.causes("0").len(), 2);
    assert_eq!(rules.causes("2").len(), 1);
    assert_eq!(rules.causes("one more").len(), 1);
}

#[test]
fn a_namespace_does_not_see_the_past_of_another() {
    let mut rules = Rules::new();
    rules.take_and_release(acquire("a"));
    let call = rules.ask_in("other", Command::Explain { lock: name("a") });
    let Some(Ok(Answer::Explained(explained))) = rules.reply(call) else {
        panic!("not explained");
    };
    assert!(explained.past_holds.is_empty());
}

#[test]
fn metadata_of_a_past_hold_is_left_out_where_it_is_over_1_kib() {
    let mut rules = Rules::new();
    rules.take_and_release(by("small", 1_024, acquire("a")));
    rules.take_and_release(by("large", 1_025, acquire("a")));
    let past = rules.explain("a").past_holds;
    let told: Vec<(&str, usize)> = past
        .iter()
        .filter_map(|past| past.holder.about.as_deref())
        .map(|about| (about.owner(), about.metadata().len()))
        .collect();
    assert_eq!(told, [("large", 0), ("small", 1)]);
}

#[test]
fn who_waits_is_told_in_order_with_the_time_since_when() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    rules.stand(by("first", 0, acquire("a")));
    rules.wall = WallTime(2_000);
    rules.now = rules.now + SEC;
    rules.stand(by("second", 0, shared("a")));
    let waiters = rules.explain("a").waiters;
    let told: Vec<_> = waiters
        .iter()
        .map(|waiter| {
            let owner = waiter.about.as_ref().unwrap().owner();
            (owner, waiter.mode, waiter.since.0, waiter.ends_in)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("first", Mode::Exclusive, 1_000, WAIT - SEC),
            ("second", Mode::Shared, 2_000, WAIT),
        ]
    );
}

#[test]
fn the_first_100_in_line_are_told() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    for _ in 0..101 {
        rules.stand(acquire("a"));
    }
    let explained = rules.explain("a");
    assert_eq!(explained.waiters.len(), 100);
    assert_eq!(explained.lock.waiter_count, 101);
}

#[test]
fn a_durable_place_keeps_its_time_over_a_crash_and_a_retry_and_the_past_is_forgotten() {
    let mut rules = Rules::new();
    let lease = rules.lease(600 * SEC);
    rules.take_and_release(acquire("a"));
    rules.take(acquire("a"));
    let ask = with_id(on_lease(acquire("a"), lease), "r");
    rules.stand(ask.clone());
    rules.wall = WallTime(9_000);
    rules.crash();
    rules.stand(ask);
    let explained = rules.explain("a");
    assert_eq!(explained.waiters[0].since, WallTime(1_000));
    assert_eq!(explained.past_holds, []);
}
