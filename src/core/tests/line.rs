//! Who waits, and who is next.

use super::*;

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let mut rules = Rules::new();
    let mut held = rules.take(acquire("a"));
    let calls: Vec<CallId> = (0..5).map(|_| rules.stand(acquire("a"))).collect();
    for call in calls {
        rules.release("a", held).unwrap();
        held = rules.got(call);
    }
}

#[test]
fn a_shared_request_stands_behind_a_waiting_exclusive_one() {
    let mut rules = Rules::new();
    let held = rules.take(shared("a"));
    let exclusive = rules.stand(acquire("a"));
    let behind = rules.stand(shared("a"));
    assert!(is_held(&rules.call(Command::Acquire(shared("a")))));
    rules.release("a", held).unwrap();
    let held = rules.got(exclusive);
    assert_eq!(rules.reply(behind), None);
    rules.release("a", held).unwrap();
    rules.got(behind);
}

#[test]
fn shared_waiters_behind_each_other_are_served_together_in_one_commit() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let first = rules.stand(shared("a"));
    let second = rules.stand(shared("a"));
    let exclusive = rules.stand(acquire("a"));
    let third = rules.stand(shared("a"));
    rules.release("a", held).unwrap();
    assert!(rules.got(first) < rules.got(second));
    assert_eq!(rules.reply(exclusive), None);
    assert_eq!(rules.reply(third), None);
}

#[test]
fn a_line_stops_at_the_first_that_does_not_fit() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let first = rules.stand(up_to("a", 2));
    let second = rules.stand(up_to("a", 2));
    let third = rules.stand(up_to("a", 5));
    rules.release("a", held).unwrap();
    let first = rules.got(first);
    rules.got(second);
    assert_eq!(rules.reply(third), None);
    rules.release("a", first).unwrap();
    rules.got(third);
}

#[test]
fn asking_once_never_stands_in_line() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    assert!(is_held(&rules.call(Command::Acquire(acquire("a")))));
    assert_eq!(rules.view("a").waiter_count, 0);
}

#[test]
fn a_wait_ends_at_its_time_and_tells_who_holds() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let call = rules.stand(acquire("a"));
    rules.pass(WAIT - MS);
    assert_eq!(rules.reply(call), None);
    rules.pass(MS);
    let reply = rules.reply(call);
    assert!(is_timed_out(&reply));
    if let Some(Err(Refusal::WaitTimedOut(view))) = reply {
        assert_eq!(view.holders[0].fencing_token, held);
        assert_eq!(view.waiter_count, 0);
    }
}

#[test]
fn who_times_out_lets_those_behind_it_go_on() {
    let mut rules = Rules::new();
    rules.take(shared("a"));
    let exclusive = rules.stand(acquire("a"));
    let behind = rules.stand(Acquire {
        wait: 10 * WAIT,
        ..shared("a")
    });
    rules.pass(WAIT);
    assert!(is_timed_out(&rules.reply(exclusive)));
    rules.got(behind);
}

#[test]
fn a_lease_that_ends_just_as_a_wait_does_serves_the_waiter() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    let call = rules.stand(Acquire {
        wait: TTL,
        ..acquire("a")
    });
    rules.pass(TTL);
    rules.got(call);
}

#[test]
fn a_caller_that_hangs_up_leaves_the_line() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let gone = rules.stand(acquire("a"));
    let next = rules.stand(acquire("a"));
    rules.ask(Command::Cancel { call: gone });
    rules.release("a", held).unwrap();
    rules.got(next);
    assert_eq!(rules.reply(gone), None);
}

#[test]
fn who_hangs_up_lets_those_behind_it_go_on() {
    let mut rules = Rules::new();
    rules.take(shared("a"));
    let exclusive = rules.stand(acquire("a"));
    let behind = rules.stand(shared("a"));
    rules.ask(Command::Cancel { call: exclusive });
    rules.got(behind);
}

#[test]
fn a_withdrawn_call_is_told_so_once() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let call = rules.stand(acquire("a"));
    rules.ask(Command::Withdraw { call });
    assert_eq!(rules.reply(call), Some(Err(Refusal::Cancelled)));
    rules.ask(Command::Withdraw { call });
    rules.ask(Command::Cancel { call });
    rules.release("a", held).unwrap();
    assert_eq!(rules.reply(call), None);
    assert!(!rules.view("a").exists());
}

#[test]
fn a_cancel_that_comes_after_the_grant_changes_nothing() {
    let mut rules = Rules::new();
    let first = rules.take(acquire("a"));
    let call = rules.stand(acquire("a"));
    rules.release("a", first).unwrap();
    rules.ask(Command::Cancel { call });
    rules.ask(Command::Withdraw { call });
    let held = rules.got(call);
    assert!(rules.holds("a", held));
}

#[test]
fn a_grant_given_back_goes_to_the_next_in_line() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let next = rules.stand(acquire("a"));
    rules.give_back("a", held);
    rules.got(next);
    assert!(!rules.holds("a", held));
}

#[test]
fn positions_are_told_once_in_an_interval_and_only_where_they_changed() {
    let mut rules = Rules::new();
    rules.pass(SEC);
    rules.take(acquire("a"));
    let calls: Vec<CallId> = (0..5).map(|_| rules.stand(acquire("a"))).collect();
    rules.ask(Command::Cancel { call: calls[1] });
    rules.ask(Command::Cancel { call: calls[2] });
    rules.pass(limits::POSITION_INTERVAL);
    assert!(rules.positions(calls[0]).is_empty());
    assert_eq!(rules.positions(calls[3]), [2]);
    assert_eq!(rules.positions(calls[4]), [3]);
    rules.ask(Command::Cancel { call: calls[3] });
    rules.pass(limits::POSITION_INTERVAL / 2);
    assert!(rules.positions(calls[4]).is_empty());
    rules.pass(limits::POSITION_INTERVAL / 2);
    assert_eq!(rules.positions(calls[4]), [2]);
}

#[test]
fn a_place_on_a_lease_with_a_request_id_stands_through_hang_up_and_crash() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let lease = rules.lease(60 * SEC);
    let mine = with_id(on_lease(acquire("a"), lease), "r");
    let mine = Acquire {
        wait: 60 * SEC,
        ..mine
    };
    let call = rules.stand(mine.clone());
    rules.ask(Command::Cancel { call });
    rules.crash();
    rules.tick();
    let behind = rules.stand(acquire("a"));
    let call = rules.ask(Command::Acquire(mine));
    assert_eq!(rules.positions(call), [1]);
    rules.release("a", held).unwrap();
    rules.got(call);
    assert_eq!(rules.reply(behind), None);
}

#[test]
fn a_place_on_a_lease_without_a_request_id_goes_with_its_caller() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    let lease = rules.lease(60 * SEC);
    let call = rules.stand(on_lease(acquire("a"), lease));
    rules.ask(Command::Cancel { call });
    assert_eq!(rules.view("a").waiter_count, 0);
}

#[test]
fn a_lock_is_granted_to_a_durable_place_whose_caller_is_away() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let lease = rules.lease(60 * SEC);
    let mine = with_id(on_lease(acquire("a"), lease), "r");
    let call = rules.stand(mine.clone());
    rules.ask(Command::Cancel { call });
    rules.release("a", held).unwrap();
    let away = rules.view("a").holders[0].fencing_token;
    assert_eq!(rules.take(mine), away);
}

#[test]
fn places_that_were_not_durable_are_gone_after_a_crash_and_the_first_tick_serves_the_next() {
    let mut rules = Rules::new();
    rules.take(shared("a"));
    rules.stand(acquire("a"));
    let lease = rules.lease(60 * SEC);
    let mine = with_id(on_lease(shared("a"), lease), "r");
    rules.stand(mine.clone());
    rules.crash();
    // Nobody overtakes before the first tick either.
    assert!(is_held(&rules.call(Command::Acquire(shared("a")))));
    // Nor does a call that ends nothing bring the line forward.
    assert_eq!(rules.force("a", Some(u64::MAX)), 0);
    assert_eq!(rules.view("a").holder_count, 1);
    assert_eq!(rules.state.next_deadline(), Some(rules.now));
    rules.tick();
    assert_eq!(rules.view("a").holder_count, 2);
    rules.take(mine);
}

#[test]
fn a_loaded_line_whose_lock_went_before_the_first_tick_is_no_trouble() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let lease = rules.lease(60 * SEC);
    rules.stand(with_id(on_lease(acquire("a"), lease), "r"));
    rules.crash();
    rules.revoke(lease).unwrap();
    rules.release("a", held).unwrap();
    rules.take(acquire("b"));
    rules.tick();
    assert_eq!(rules.view("b").holder_count, 1);
}

#[test]
fn a_durable_wait_keeps_its_deadline_over_a_crash() {
    let mut rules = Rules::new();
    let forever = Acquire {
        hold: Hold::Forever,
        ..acquire("a")
    };
    rules.take(forever);
    let lease = rules.lease(60 * SEC);
    rules.stand(with_id(on_lease(acquire("a"), lease), "r"));
    rules.pass(3 * SEC);
    rules.lease(60 * SEC);
    rules.crash();
    rules.pass(WAIT - 3 * SEC - MS);
    assert_eq!(rules.view("a").waiter_count, 1);
    rules.pass(MS);
    assert_eq!(rules.view("a").waiter_count, 0);
}

#[test]
fn a_line_has_so_many_places_and_no_more() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    let waits = || {
        Command::Acquire(Acquire {
            wait: WAIT,
            ..acquire("a")
        })
    };
    for _ in 0..limits::WAITERS_PER_LOCK_MAX {
        rules.ask(waits());
    }
    rules.told.clear();
    let refused = rules.call(waits());
    assert!(matches!(refused, Err(Refusal::LimitReached { .. })));
}

#[test]
fn ticking_early_or_twice_is_harmless() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    rules.stand(acquire("a"));
    let before = rules.state.records();
    for _ in 0..3 {
        rules.tick();
        assert!(rules.changes.is_empty());
    }
    assert_eq!(rules.state.records(), before);
    assert!(rules.holds("a", held));
}

#[test]
fn time_that_goes_back_counts_as_standing_still() {
    let mut rules = Rules::new();
    rules.pass(100 * SEC);
    let held = rules.take(acquire("a"));
    rules.now = Time::ZERO;
    rules.tick();
    assert_eq!(rules.renew("a", held, None), renewed(TTL));
    rules.now = Time::ZERO + 100 * SEC + TTL;
    rules.tick();
    assert!(!rules.holds("a", held));
}

#[test]
fn more_deadlines_than_one_tick_takes_are_left_to_the_next() {
    let mut rules = Rules::new();
    let locks = limits::TIMERS_PER_TICK_MAX + 10;
    for lock in 0..locks {
        rules.take(acquire(&format!("lock-{lock}")));
    }
    rules.pass(TTL);
    assert_eq!(
        rules
            .changes
            .iter()
            .filter(|c| matches!(c, Change::Delete(_)))
            .count(),
        limits::TIMERS_PER_TICK_MAX
    );
    assert!(
        rules
            .state
            .next_deadline()
            .is_some_and(|at| at <= rules.now)
    );
    rules.tick();
    assert_eq!(rules.state.records().len(), 1);
}
