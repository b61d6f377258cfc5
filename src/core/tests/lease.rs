//! What keeps grants alive, and what ends them.

use super::*;

#[test]
fn a_grant_ends_when_nobody_renews_it_and_not_before() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    rules.pass(TTL - MS);
    assert!(rules.holds("a", held));
    rules.pass(MS);
    assert!(!rules.holds("a", held));
}

#[test]
fn a_renewal_starts_the_ttl_anew() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    rules.pass(9 * SEC);
    assert_eq!(rules.renew("a", held, None), renewed(TTL));
    rules.pass(9 * SEC);
    assert!(rules.holds("a", held));
    rules.pass(SEC);
    assert!(!rules.holds("a", held));
}

#[test]
fn a_renewal_with_a_longer_ttl_changes_the_ttl() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    assert_eq!(rules.renew("a", held, Some(3 * TTL)), renewed(3 * TTL));
    rules.pass(2 * TTL);
    assert_eq!(rules.renew("a", held, None), renewed(3 * TTL));
}

#[test]
fn a_renewal_never_shortens() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    assert_eq!(rules.renew("a", held, Some(SEC)), renewed(TTL));
    rules.pass(TTL - MS);
    assert!(rules.holds("a", held));
    assert_eq!(rules.renew("a", held, None), renewed(SEC));
}

#[test]
fn a_renewal_after_the_end_but_before_the_tick_still_counts() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    rules.now = rules.now + 2 * TTL;
    assert_eq!(rules.renew("a", held, None), renewed(TTL));
    rules.tick();
    assert!(rules.holds("a", held));
}

#[test]
fn renewals_of_short_leases_need_no_commit() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    rules.pass(SEC);
    rules.renew("a", held, None).unwrap();
    assert!(rules.changes.is_empty());
}

#[test]
fn renewals_of_long_leases_are_committed_once_they_win_enough() {
    let mut rules = Rules::new();
    let long = Acquire {
        hold: Hold::Ttl(limits::LONG_TTL),
        ..acquire("a")
    };
    let held = rules.take(long);
    rules.pass(limits::LONG_TTL_SLACK);
    rules.renew("a", held, None).unwrap();
    assert!(rules.changes.is_empty());
    rules.pass(MS);
    rules.renew("a", held, None).unwrap();
    assert_eq!(rules.changes.len(), 1);
}

#[test]
fn a_short_lease_starts_its_ttl_anew_after_a_crash() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    rules.pass(9 * SEC);
    rules.crash();
    rules.pass(TTL - MS);
    assert!(rules.holds("a", held));
    rules.pass(MS);
    assert!(!rules.holds("a", held));
}

#[test]
fn crash_after_crash_keeps_a_dead_holders_long_lease_for_the_slack_only() {
    let mut rules = Rules::new();
    let long = Acquire {
        hold: Hold::Ttl(600 * SEC),
        ..acquire("a")
    };
    let held = rules.take(long);
    let end = rules.now + 600 * SEC;
    for _ in 0..6 {
        rules.pass(100 * SEC);
        // Anything that commits brings the committed clock up.
        rules.lease(SEC);
        rules.crash();
        rules.tick();
    }
    assert!(rules.holds("a", held));
    rules.pass((end + limits::LONG_TTL_SLACK).since(rules.now));
    assert!(!rules.holds("a", held));
}

#[test]
fn the_clock_is_committed_while_there_are_deadlines() {
    let mut rules = Rules::new();
    let long = Acquire {
        hold: Hold::Ttl(900 * SEC),
        ..acquire("a")
    };
    rules.take(long);
    rules.pass(limits::CLOCK_COMMIT_INTERVAL);
    assert!(matches!(
        rules.changes.as_slice(),
        [Change::Put(Record {
            key: Key::Shard,
            ..
        })]
    ));
    rules.crash();
    assert_eq!(rules.now, Time::ZERO + limits::CLOCK_COMMIT_INTERVAL);
}

#[test]
fn all_that_hangs_on_a_lease_ends_with_it_in_one_commit_and_the_next_are_served() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    let a = rules.take(on_lease(acquire("a"), lease));
    let b = rules.take(on_lease(acquire("b"), lease));
    rules.take(acquire("c"));
    let mine = rules.stand(Acquire {
        wait: 2 * TTL,
        ..on_lease(acquire("c"), lease)
    });
    let next_a = rules.stand(Acquire {
        wait: 2 * TTL,
        ..acquire("a")
    });
    let next_b = rules.stand(Acquire {
        wait: 2 * TTL,
        ..acquire("b")
    });
    rules.pass(TTL);
    assert_eq!(rules.reply(mine), Some(Err(Refusal::LeaseExpired)));
    assert!(rules.got(next_a) > a);
    assert!(rules.got(next_b) > b);
    let ended = |token| {
        let is_it = |change: &Change| matches!(change, Change::Delete(Key::Grant(_, _, of)) if *of == token);
        rules.changes.iter().any(is_it)
    };
    assert!(ended(a) && ended(b));
}

#[test]
fn a_lease_that_ends_is_not_granted_the_lock_that_it_frees() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    rules.take(on_lease(acquire("a"), lease));
    let mine = rules.stand(Acquire {
        wait: 2 * TTL,
        ..on_lease(acquire("a"), lease)
    });
    rules.pass(TTL);
    assert_eq!(rules.reply(mine), Some(Err(Refusal::LeaseExpired)));
    assert!(!rules.view("a").exists());
}

#[test]
fn renewing_a_grant_on_a_shared_lease_renews_the_lease() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    let a = rules.take(on_lease(acquire("a"), lease));
    let b = rules.take(on_lease(acquire("b"), lease));
    rules.pass(9 * SEC);
    assert_eq!(rules.renew("a", a, None), renewed(TTL));
    rules.pass(9 * SEC);
    assert!(rules.holds("b", b));
}

#[test]
fn a_ttl_for_a_grant_on_a_shared_lease_is_refused() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    let held = rules.take(on_lease(acquire("a"), lease));
    let refused = rules.renew("a", held, Some(SEC));
    assert!(matches!(refused, Err(Refusal::Invalid(invalid)) if invalid.field == "ttl"));
    assert!(rules.changes.is_empty());
}

#[test]
fn one_heartbeat_keeps_all_that_hangs_on_a_lease() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    let held = rules.take(on_lease(acquire("a"), lease));
    for _ in 0..20 {
        rules.pass(TTL - MS);
        assert_eq!(rules.call(Command::RenewLease { id: lease }), renewed(TTL));
    }
    assert!(rules.holds("a", held));
}

#[test]
fn a_lease_that_has_ended_is_not_found() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    rules.pass(TTL);
    let not_found = Err(Refusal::LeaseNotFound);
    assert_eq!(rules.call(Command::RenewLease { id: lease }), not_found);
    assert_eq!(rules.call(Command::GetLease { id: lease }), not_found);
    assert_eq!(
        rules.call(Command::Acquire(on_lease(acquire("a"), lease))),
        not_found
    );
    assert_eq!(rules.revoke(lease), not_found);
}

#[test]
fn a_lease_is_not_seen_from_another_namespace() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    let call = rules.ask_in("other", Command::RenewLease { id: lease });
    assert_eq!(rules.reply(call), Some(Err(Refusal::LeaseNotFound)));
}

#[test]
fn a_revoked_lease_ends_what_hangs_on_it_and_says_how_much() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    rules.take(on_lease(acquire("a"), lease));
    rules.take(on_lease(acquire("b"), lease));
    assert_eq!(rules.revoke(lease), Ok(Answer::Revoked(2)));
    assert_eq!(rules.state.records().len(), 1);
}

#[test]
fn a_view_of_a_lease_counts_what_hangs_on_it() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    rules.take(on_lease(acquire("a"), lease));
    rules.take(acquire("b"));
    rules.stand(on_lease(acquire("b"), lease));
    match rules.call(Command::GetLease { id: lease }) {
        Ok(Answer::Lease(view)) => assert_eq!((view.grant_count, view.waiter_count), (1, 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_so_much_hangs_on_one_lease() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    for _ in 0..limits::HOLDS_PER_LEASE_MAX {
        rules.take(on_lease(shared("a"), lease));
    }
    let refused = rules.call(Command::Acquire(on_lease(shared("b"), lease)));
    assert!(matches!(refused, Err(Refusal::LimitReached { .. })));
}

#[test]
fn a_listing_of_leases_goes_on_behind_the_last_id() {
    let mut rules = Rules::new();
    let leases: Vec<LeaseId> = (0..3).map(|_| rules.lease(TTL)).collect();
    let mut page = |after| match rules.call(Command::ListLeases { after, limit: 2 }) {
        Ok(Answer::Leases { leases, more }) => (
            leases.iter().map(|lease| lease.id).collect::<Vec<_>>(),
            more,
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(page(None), (leases[..2].to_vec(), true));
    assert_eq!(page(Some(leases[1])), (leases[2..].to_vec(), false));
    assert_eq!(page(Some(leases[2])), (vec![], false));
}

#[test]
fn an_end_that_was_told_stays_though_the_ttl_became_shorter_and_the_server_crashed() {
    let mut rules = Rules::new();
    let held = rules.take(Acquire {
        hold: Hold::Ttl(600 * SEC),
        ..acquire("a")
    });
    assert_eq!(rules.renew("a", held, Some(SEC)), renewed(600 * SEC));
    rules.crash();
    rules.pass(599 * SEC);
    assert!(rules.holds("a", held));
    rules.pass(SEC);
    assert!(!rules.holds("a", held));
}

#[test]
fn a_short_ttl_that_became_long_lasts_over_a_crash() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    assert_eq!(rules.renew("a", held, Some(600 * SEC)), renewed(600 * SEC));
    rules.crash();
    rules.pass(599 * SEC);
    assert!(rules.holds("a", held));
}

#[test]
fn a_lease_that_ends_with_two_places_in_one_line_is_granted_neither() {
    let mut rules = Rules::new();
    let lease = rules.lease(SEC);
    rules.take(shared("a"));
    let first = rules.stand(on_lease(acquire("a"), lease));
    let second = rules.stand(on_lease(shared("a"), lease));
    rules.pass(SEC);
    assert_eq!(rules.reply(first), Some(Err(Refusal::LeaseExpired)));
    assert_eq!(rules.reply(second), Some(Err(Refusal::LeaseExpired)));
    assert_eq!(rules.view("a").holder_count, 1);
}
