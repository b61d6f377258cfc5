//! Release delays: what a lost grant leaves behind.

use super::*;

const DELAY: Duration = Duration::from_secs(3);

/// What is asked for with a delay of 3 s.
fn delayed(acquire: Acquire) -> Acquire {
    delayed_by(DELAY, acquire)
}

fn delayed_by(delay: Duration, acquire: Acquire) -> Acquire {
    Acquire {
        release_delay: ReleaseDelay::new(delay).unwrap(),
        ..acquire
    }
}

impl Rules {
    fn held_back_for(&mut self, lock: &str) -> Option<Duration> {
        self.view(lock).held_back_for
    }

    fn is_refused_as_held(&mut self, acquire: Acquire) -> bool {
        is_held(&self.call(Command::Acquire(acquire)))
    }

    fn has_lapsed_record(&self, lock: &str, token: u64) -> bool {
        let space = Namespace::new("default").unwrap();
        self.has_record(&Key::Lapsed(space, name(lock), token))
    }
}

#[test]
fn an_expired_grant_holds_its_lock_back_for_its_delay_and_no_longer() {
    let mut rules = Rules::new();
    let lost = rules.take(delayed(acquire("a")));
    rules.pass(TTL);
    assert!(!rules.holds("a", lost));
    assert_eq!(rules.held_back_for("a"), Some(DELAY));
    rules.pass(DELAY - MS);
    assert!(rules.is_refused_as_held(acquire("a")));
    assert!(rules.is_refused_as_held(shared("a")));
    rules.pass(MS);
    assert!(!rules.view("a").exists());
    assert_eq!(rules.state.records().len(), 1);
    rules.take(acquire("a"));
}

#[test]
fn waiters_are_served_in_order_the_moment_that_the_delay_is_over() {
    let mut rules = Rules::new();
    rules.take(delayed(acquire("a")));
    let first = rules.stand(Acquire {
        wait: 60 * SEC,
        ..acquire("a")
    });
    let second = rules.stand(Acquire {
        wait: 60 * SEC,
        ..acquire("a")
    });
    rules.pass(TTL);
    rules.pass(DELAY - MS);
    assert_eq!(rules.reply(first), None);
    assert_eq!(rules.state.next_deadline(), Some(rules.now + MS));
    rules.pass(MS);
    let token = rules.got(first);
    assert_eq!(rules.reply(second), None);
    rules.release("a", token).unwrap();
    rules.got(second);
}

#[test]
fn a_hold_that_lapsed_is_over_for_its_holder() {
    let mut rules = Rules::new();
    let watcher = rules.ask(Command::Watch { lock: name("a") });
    let session = rules.session(SessionLease::New {
        id: LeaseId(1),
        ttl: 600 * SEC,
        about: None,
    });
    let lost = rules.take(Acquire {
        session: Some(session),
        ..delayed(acquire("a"))
    });
    rules.told.clear();
    rules.pass(TTL);
    assert!(rules.told.contains(&Effect::Lost {
        session,
        lock: name("a"),
        fencing_token: lost,
        cause: EndCause::Expired,
    }));
    assert!(rules.told.iter().any(|effect| {
        matches!(effect, Effect::Changed(call, event)
            if *call == watcher && matches!(event.change, LockChange::Ended(_, EndCause::Expired)))
    }));
    let refusal = Err(Refusal::NotHolder(name("a")));
    assert_eq!(rules.renew("a", lost, None), refusal);
    assert_eq!(rules.release("a", lost), refusal);
    let view = rules.view("a");
    assert_eq!((view.holder_count, view.holders.len()), (0, 0));
    assert!(view.held_back_for.is_some());
    rules.give_back("a", lost);
    assert_eq!(rules.held_back_for("a"), Some(DELAY));
    rules.told.clear();
    rules.pass(DELAY);
    assert_eq!(rules.told.len(), 1);
    assert_eq!(rules.told[0].call(), watcher);
}

/// What a watcher was told, each with how long the lock is held back after it; it is taken.
fn changes(rules: &mut Rules) -> Vec<(&'static str, u64, Option<Duration>)> {
    let mut changes = Vec::new();
    for effect in std::mem::take(&mut rules.told) {
        if let Effect::Changed(_, event) = effect {
            let kind = match &event.change {
                LockChange::Granted(_) => "granted",
                LockChange::Ended(..) => "ended",
                LockChange::ReleaseDelayEnded(_) => "delay ended",
            };
            changes.push((kind, event.change.fencing_token(), event.held_back_for));
        }
    }
    changes
}

#[test]
fn a_watcher_is_told_that_a_lock_is_held_back_and_when_that_is_over() {
    let mut rules = Rules::new();
    rules.ask(Command::Watch { lock: name("a") });
    let lost = rules.take(delayed(acquire("a")));
    rules.pass(TTL);
    rules.pass(DELAY - MS);
    assert_eq!(
        changes(&mut rules),
        [("granted", lost, None), ("ended", lost, Some(DELAY))]
    );
    rules.pass(MS);
    assert_eq!(changes(&mut rules), [("delay ended", lost, None)]);
}

#[test]
fn a_watcher_is_told_of_the_end_of_each_delay_also_where_somebody_forces_it_or_waits() {
    let mut rules = Rules::new();
    rules.ask(Command::Watch { lock: name("a") });
    let [first, second] = [2, 9].map(|s| rules.take(delayed_by(s * SEC, shared("a"))));
    rules.pass(TTL);
    let waiter = rules.stand(Acquire {
        wait: 60 * SEC,
        ..acquire("a")
    });
    changes(&mut rules);
    rules.pass(2 * SEC);
    let left = Some(7 * SEC);
    assert_eq!(changes(&mut rules), [("delay ended", first, left)]);
    rules.force("a", Some(second));
    let next = rules.got(waiter);
    assert_eq!(
        changes(&mut rules),
        [("delay ended", second, None), ("granted", next, None)]
    );
}

#[test]
fn a_release_has_no_delay() {
    let mut rules = Rules::new();
    let held = rules.take(delayed(acquire("a")));
    rules.release("a", held).unwrap();
    rules.take(acquire("a"));
}

#[test]
fn a_grant_that_is_given_back_has_no_delay() {
    let mut rules = Rules::new();
    let held = rules.take(delayed(acquire("a")));
    rules.give_back("a", held);
    rules.take(acquire("a"));
}

#[test]
fn a_revoked_lease_has_no_delay_and_one_that_expires_has_those_of_its_grants() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    rules.take(delayed(on_lease(acquire("a"), lease)));
    rules.revoke(lease).unwrap();
    rules.take(acquire("a"));

    let lease = rules.lease(TTL);
    rules.take(delayed(on_lease(acquire("b"), lease)));
    rules.take(on_lease(acquire("c"), lease));
    rules.pass(TTL);
    assert_eq!(rules.held_back_for("b"), Some(DELAY));
    rules.take(acquire("c"));
    rules.pass(DELAY);
    rules.take(acquire("b"));
}

#[test]
fn a_forced_grant_lapses_and_forcing_once_more_ends_the_delay() {
    let mut rules = Rules::new();
    let lost = rules.take(delayed(acquire("a")));
    let waiter = rules.stand(acquire("a"));
    assert_eq!(rules.force("a", None), 1);
    assert_eq!(rules.reply(waiter), None);
    assert!(rules.has_lapsed_record("a", lost));
    assert_eq!(rules.force("a", None), 1);
    rules.got(waiter);
    assert!(!rules.has_lapsed_record("a", lost));
    // Its timer is gone with it.
    rules.pass(DELAY);
    assert_eq!(rules.view("a").holder_count, 1);
}

#[test]
fn a_delay_is_ended_by_its_fencing_token_alone() {
    let mut rules = Rules::new();
    let lost = rules.take(delayed(acquire("a")));
    rules.pass(TTL);
    assert_eq!(rules.force("a", Some(lost + 1)), 0);
    assert!(rules.held_back_for("a").is_some());
    assert_eq!(rules.force("a", Some(lost)), 1);
    assert_eq!(rules.force("a", Some(lost)), 0);
    assert!(!rules.view("a").exists());
}

#[test]
fn forcing_all_ends_the_delays_there_are_and_begins_those_of_the_holders() {
    let mut rules = Rules::new();
    let lost = rules.take(delayed(shared("a")));
    rules.pass(TTL);
    let held = rules.take(delayed(shared("a")));
    assert_eq!(rules.force("a", None), 2);
    assert!(!rules.has_lapsed_record("a", lost));
    assert!(rules.has_lapsed_record("a", held));
    assert_eq!(rules.force("a", None), 1);
    assert!(!rules.view("a").exists());
}

#[test]
fn a_retried_force_release_does_not_end_the_delay_that_it_began() {
    let mut rules = Rules::new();
    rules.take(delayed(acquire("a")));
    let force = Command::ForceRelease {
        lock: name("a"),
        fencing_token: None,
        request_id: id("force"),
    };
    assert_eq!(rules.call(force.clone()), Ok(Answer::Forced(1)));
    assert_eq!(rules.call(force), Ok(Answer::Forced(1)));
    assert_eq!(rules.held_back_for("a"), Some(DELAY));
}

#[test]
fn lapsed_shared_holds_count_among_the_sharers() {
    let mut rules = Rules::new();
    rules.take(delayed(up_to("a", 2)));
    rules.pass(TTL);
    let beside = rules.take(up_to("a", 2));
    assert!(rules.is_refused_as_held(up_to("a", 9)));
    assert!(rules.is_refused_as_held(acquire("a")));
    let view = rules.view("a");
    assert_eq!((view.holder_count, view.held_back_for), (1, Some(DELAY)));
    rules.pass(DELAY);
    rules.take(up_to("a", 2));
    rules.release("a", beside).unwrap();
}

#[test]
fn the_max_shared_of_a_lapsed_hold_bounds_the_lock_until_its_end() {
    let mut rules = Rules::new();
    rules.take(delayed(up_to("a", 2)));
    rules.pass(TTL);
    rules.take(up_to("a", 9));
    assert!(rules.is_refused_as_held(up_to("a", 9)));
    rules.pass(DELAY);
    rules.take(up_to("a", 9));
    rules.take(up_to("a", 9));
}

#[test]
fn delays_that_end_together_end_in_time_though_one_of_them_was_forced() {
    let mut rules = Rules::new();
    let [forced, second, third] = [(); 3].map(|()| rules.take(delayed(shared("a"))));
    rules.pass(TTL);
    assert_eq!(rules.force("a", Some(forced)), 1);
    rules.pass(DELAY - MS);
    assert!(rules.is_refused_as_held(acquire("a")));
    assert!(rules.has_lapsed_record("a", second));
    rules.pass(MS);
    assert!(!rules.has_lapsed_record("a", second));
    assert!(!rules.has_lapsed_record("a", third));
    rules.take(acquire("a"));
}

#[test]
fn a_lock_is_held_back_until_the_last_of_several_delays() {
    let mut rules = Rules::new();
    let long = rules.take(delayed_by(9 * SEC, shared("a")));
    rules.take(delayed_by(2 * SEC, shared("a")));
    rules.pass(TTL);
    assert_eq!(rules.held_back_for("a"), Some(9 * SEC));
    rules.pass(2 * SEC);
    assert!(rules.is_refused_as_held(acquire("a")));
    assert_eq!(rules.held_back_for("a"), Some(7 * SEC));
    rules.take(delayed_by(SEC, shared("a")));
    assert_eq!(rules.force("a", Some(long)), 1);
    assert_eq!(rules.held_back_for("a"), None);
    assert_eq!(rules.view("a").holder_count, 1);
}

#[test]
fn forcing_the_last_of_several_delays_leaves_the_next() {
    let mut rules = Rules::new();
    let long = rules.take(delayed_by(9 * SEC, shared("a")));
    rules.take(delayed_by(2 * SEC, shared("a")));
    rules.pass(TTL);
    assert_eq!(rules.force("a", Some(long)), 1);
    assert_eq!(rules.held_back_for("a"), Some(2 * SEC));
}

#[test]
fn a_delay_goes_on_over_a_crash_where_it_stood() {
    let mut rules = Rules::new();
    let lost = rules.take(delayed(acquire("a")));
    rules.pass(TTL);
    rules.pass(SEC);
    // Time is committed with the next change.
    rules.take(acquire("b"));
    rules.crash();
    rules.tick();
    assert_eq!(rules.held_back_for("a"), Some(DELAY - SEC));
    assert!(!rules.holds("a", lost));
    let waiter = rules.stand(acquire("a"));
    rules.pass(DELAY - SEC - MS);
    assert_eq!(rules.reply(waiter), None);
    rules.pass(MS);
    rules.got(waiter);
}

#[test]
fn a_delay_never_ends_early_over_crash_after_crash() {
    let mut rules = Rules::new();
    rules.take(delayed(acquire("a")));
    rules.pass(TTL);
    for _ in 0..5 {
        rules.pass(DELAY - MS);
        rules.crash();
        rules.tick();
        assert_eq!(rules.held_back_for("a"), Some(DELAY));
    }
}

#[test]
fn a_grant_keeps_its_delay_over_a_crash() {
    let mut rules = Rules::new();
    rules.take(delayed(acquire("a")));
    rules.crash();
    rules.pass(TTL);
    assert_eq!(rules.held_back_for("a"), Some(DELAY));
}

#[test]
fn a_durable_place_in_line_keeps_its_delay_over_a_crash() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    let held = rules.take(acquire("a"));
    rules.stand(with_id(delayed(on_lease(acquire("a"), lease)), "r"));
    rules.crash();
    rules.release("a", held).unwrap();
    assert_eq!(rules.view("a").holder_count, 1);
    rules.pass(TTL);
    assert_eq!(rules.held_back_for("a"), Some(DELAY));
}

#[test]
fn a_durable_waiter_of_a_lock_held_back_waits_on_over_a_crash() {
    let mut rules = Rules::new();
    let lease = rules.lease(600 * SEC);
    rules.take(delayed(acquire("a")));
    rules.stand(with_id(
        Acquire {
            wait: 60 * SEC,
            ..on_lease(acquire("a"), lease)
        },
        "r",
    ));
    rules.pass(TTL);
    rules.crash();
    rules.tick();
    assert_eq!(rules.view("a").waiter_count, 1);
    rules.pass(DELAY);
    let view = rules.view("a");
    assert_eq!((view.holder_count, view.waiter_count), (1, 0));
}

#[test]
fn a_waiter_may_time_out_while_the_lock_is_held_back() {
    let mut rules = Rules::new();
    rules.take(delayed_by(60 * SEC, acquire("a")));
    rules.pass(TTL);
    let waiter = rules.stand(acquire("a"));
    rules.pass(WAIT);
    let reply = rules.reply(waiter);
    assert!(is_timed_out(&reply));
    assert!(rules.held_back_for("a").is_some());
}

#[test]
fn a_reserved_lock_is_in_use_while_it_is_held_back() {
    let mut rules = Rules::new();
    rules
        .call(Command::Reserve {
            lock: name("a"),
            destroy_after: 2 * SEC,
            request_id: None,
        })
        .unwrap();
    rules.take(delayed_by(30 * SEC, acquire("a")));
    rules.pass(TTL);
    rules.pass(29 * SEC);
    assert!(rules.view("a").reserved);
    rules.pass(SEC);
    rules.pass(SEC);
    assert!(rules.view("a").reserved);
    rules.pass(SEC);
    assert!(!rules.view("a").exists());
}

#[test]
fn a_lock_that_is_held_back_exists_and_is_listed() {
    let mut rules = Rules::new();
    rules.take(delayed(acquire("a")));
    rules.pass(TTL);
    let must_exist = Acquire {
        must_exist: true,
        ..acquire("a")
    };
    assert!(rules.is_refused_as_held(must_exist));
    let listed = rules.call(Command::ListLocks {
        prefix: String::new(),
        after: None,
        limit: 10,
    });
    let Ok(Answer::Locks { locks, .. }) = listed else {
        panic!("{listed:?}");
    };
    assert_eq!(locks.len(), 1);
    assert_eq!(locks[0].held_back_for, Some(DELAY));
}

#[test]
fn putting_an_open_grant_is_refused_while_the_lock_is_held_back() {
    let mut rules = Rules::new();
    rules.take(Acquire {
        open: true,
        ..delayed(acquire("a"))
    });
    rules.pass(TTL);
    let reply = rules.call(put("a", None));
    assert!(is_held(&reply));
    rules.pass(DELAY);
    let created = rules.call(put("a", None));
    assert!(matches!(created, Ok(Answer::Put { created: true, .. })));
}

#[test]
fn another_delay_under_the_same_request_id_is_another_request() {
    let mut rules = Rules::new();
    let token = rules.take(with_id(delayed(acquire("a")), "r"));
    assert_eq!(rules.take(with_id(delayed(acquire("a")), "r")), token);
    let other = with_id(acquire("a"), "r");
    let reply = rules.call(Command::Acquire(other));
    assert!(matches!(reply, Err(Refusal::RequestIdReused(_))));
}

#[test]
fn a_retry_after_the_loss_is_told_that_the_grant_has_ended() {
    let mut rules = Rules::new();
    let ask = with_id(delayed(acquire("a")), "r");
    let token = rules.take(ask.clone());
    rules.pass(TTL);
    let again = granted(rules.call(Command::Acquire(ask)));
    assert_eq!(again.holder.fencing_token, token);
    assert_eq!(again.holder.expires_in, Some(Duration::ZERO));
}

#[test]
fn a_delay_is_checked_and_counts_in_whole_milliseconds() {
    let hour = Duration::from_secs(3600);
    assert_eq!(ReleaseDelay::new(hour).unwrap().span(), hour);
    let invalid = ReleaseDelay::new(hour + Duration::from_nanos(1)).unwrap_err();
    assert_eq!(invalid.field, "release_delay");
    assert!(invalid.to_string().contains("1h"), "{invalid}");
    let odd = ReleaseDelay::new(Duration::from_nanos(1)).unwrap();
    assert_eq!(odd.span(), MS);
    assert!(ReleaseDelay::new(Duration::ZERO).unwrap().is_zero());
}

#[test]
fn a_lapsed_hold_beside_one_that_it_excludes_is_damage() {
    let mut rules = Rules::new();
    let lost = rules.take(delayed(acquire("a")));
    rules.pass(TTL);
    let space = Namespace::new("default").unwrap();
    let stored = rules.store.clone();
    rules.force("a", None);
    rules.take(acquire("a"));
    let key = Key::Lapsed(space, name("a"), lost).encode();
    rules.store.insert(key.clone(), stored[&key].clone());
    let mut loader = State::loader();
    let failed = rules
        .store
        .iter()
        .find_map(|(key, value)| loader.record(key, value).err());
    assert!(failed.unwrap().0.contains("exclude each other"));
}

#[test]
fn who_waits_until_the_end_of_the_delay_is_served_and_not_sent_away() {
    let mut rules = Rules::new();
    rules.take(delayed(acquire("a")));
    let waiter = rules.stand(Acquire {
        wait: TTL + DELAY,
        ..acquire("a")
    });
    rules.pass(TTL);
    rules.pass(DELAY);
    rules.got(waiter);
}
