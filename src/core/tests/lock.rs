//! Who holds.

use super::*;

#[test]
fn an_exclusive_holder_holds_alone() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    assert!(is_held(&rules.call(Command::Acquire(acquire("a")))));
    assert!(is_held(&rules.call(Command::Acquire(shared("a")))));
}

#[test]
fn shared_holders_hold_together_and_keep_exclusive_ones_out() {
    let mut rules = Rules::new();
    rules.take(shared("a"));
    rules.take(shared("a"));
    assert!(is_held(&rules.call(Command::Acquire(acquire("a")))));
    assert_eq!(rules.view("a").holder_count, 2);
}

#[test]
fn the_smallest_max_shared_counts_whoever_came_first() {
    let mut rules = Rules::new();
    let strict = rules.take(up_to("a", 2));
    rules.take(up_to("a", 9));
    assert!(is_held(&rules.call(Command::Acquire(up_to("a", 9)))));
    rules.release("a", strict).unwrap();
    rules.take(up_to("a", 9));
    rules.take(up_to("a", 9));
    assert!(is_held(&rules.call(Command::Acquire(up_to("a", 3)))));
}

#[test]
fn locks_of_other_namespaces_are_other_locks() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let call = rules.ask_in("other", Command::Acquire(acquire("a")));
    let other = rules.got(call);
    assert!(other > held);
    let call = rules.ask_in(
        "other",
        Command::Release {
            lock: name("a"),
            proof: Proof::Token(held),
            session: None,
            request_id: None,
        },
    );
    assert_eq!(rules.reply(call), Some(Err(Refusal::NotHolder(name("a")))));
}

#[test]
fn a_free_lock_is_forgotten() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    rules.release("a", held).unwrap();
    assert_eq!(rules.state.records().len(), 1);
    assert!(!rules.view("a").exists());
}

#[test]
fn fencing_tokens_rise_over_release_and_crash() {
    let mut rules = Rules::new();
    let first = rules.take(acquire("a"));
    rules.release("a", first).unwrap();
    rules.crash();
    let second = rules.take(acquire("a"));
    assert!(second > first);
}

#[test]
fn a_token_of_an_earlier_grant_changes_nothing() {
    let mut rules = Rules::new();
    let stale = rules.take(acquire("a"));
    rules.release("a", stale).unwrap();
    let current = rules.take(acquire("a"));
    let before = rules.state.records();
    assert_eq!(
        rules.release("a", stale),
        Err(Refusal::NotHolder(name("a")))
    );
    assert_eq!(
        rules.renew("a", stale, None),
        Err(Refusal::NotHolder(name("a")))
    );
    rules.give_back("a", stale);
    assert!(!rules.holds("a", stale));
    assert!(rules.holds("a", current));
    assert_eq!(rules.state.records(), before);
}

#[test]
fn a_lock_that_must_exist_and_does_not_is_not_found() {
    let mut rules = Rules::new();
    let acquire = Acquire {
        must_exist: true,
        ..acquire("a")
    };
    let reply = rules.call(Command::Acquire(acquire.clone()));
    assert_eq!(reply, Err(Refusal::LockNotFound(name("a"))));
    rules.take(super::acquire("a"));
    assert!(is_held(&rules.call(Command::Acquire(acquire))));
}

fn reserve(rules: &mut Rules, lock: &str, destroy_after: Duration) {
    let reserved = rules.call(Command::Reserve {
        lock: name(lock),
        destroy_after,
        request_id: None,
    });
    assert_eq!(reserved, Ok(Answer::Reserved(name(lock))));
}

#[test]
fn a_reserved_lock_stays_until_it_was_unused_for_its_time() {
    let mut rules = Rules::new();
    reserve(&mut rules, "a", 20 * SEC);
    rules.pass(15 * SEC);
    let held = rules.take(acquire("a"));
    rules.pass(9 * SEC);
    assert!(rules.view("a").reserved);
    rules.release("a", held).unwrap();
    rules.pass(19 * SEC);
    assert!(rules.view("a").exists());
    rules.pass(SEC);
    assert!(!rules.view("a").exists());
    assert!(!rules.has_record(&Key::Lock(Namespace::new("default").unwrap(), name("a"))));
}

#[test]
fn a_reserved_lock_outlives_its_destroy_time_while_it_is_held() {
    let mut rules = Rules::new();
    reserve(&mut rules, "a", SEC);
    let forever = Acquire {
        hold: Hold::Forever,
        ..acquire("a")
    };
    let held = rules.take(forever);
    for _ in 0..10 {
        rules.pass(SEC);
    }
    assert!(rules.holds("a", held));
    rules.release("a", held).unwrap();
    assert!(rules.view("a").reserved);
    rules.pass(SEC);
    assert!(!rules.view("a").exists());
}

#[test]
fn a_reserved_lock_survives_a_crash_and_its_time_starts_anew() {
    let mut rules = Rules::new();
    reserve(&mut rules, "a", 10 * SEC);
    rules.pass(9 * SEC);
    rules.crash();
    rules.pass(9 * SEC);
    assert!(rules.view("a").reserved);
    rules.pass(SEC);
    assert!(!rules.view("a").exists());
}

#[test]
fn a_reservation_made_twice_is_destroyed_once() {
    let mut rules = Rules::new();
    reserve(&mut rules, "a", 10 * SEC);
    reserve(&mut rules, "a", 2 * SEC);
    rules.pass(2 * SEC);
    assert!(!rules.view("a").exists());
    rules.pass(10 * SEC);
    assert!(!rules.view("a").exists());
}

#[test]
fn an_open_grant_is_renewed_and_released_by_whoever_knows_the_name() {
    let mut rules = Rules::new();
    let open = Acquire {
        open: true,
        ..acquire("a")
    };
    rules.take(open);
    rules.pass(SEC);
    let renew = Command::Renew {
        lock: name("a"),
        proof: Proof::Open,
        ttl: None,
    };
    assert_eq!(rules.call(renew), renewed(TTL));
    let release = Command::Release {
        lock: name("a"),
        proof: Proof::Open,
        session: None,
        request_id: None,
    };
    assert_eq!(rules.call(release), Ok(Answer::Released));
}

#[test]
fn a_closed_grant_is_not_released_by_name() {
    let mut rules = Rules::new();
    rules.take(acquire("a"));
    let release = Command::Release {
        lock: name("a"),
        proof: Proof::Open,
        session: None,
        request_id: None,
    };
    assert_eq!(rules.call(release), Err(Refusal::NotHolder(name("a"))));
    assert!(is_held(&rules.call(put("a", None))));
}

#[test]
fn putting_an_open_grant_makes_it_once_and_then_refreshes_it() {
    let mut rules = Rules::new();
    let first = rules.call(put("a", Some(3 * SEC)));
    assert!(matches!(first, Ok(Answer::Put { created: true, .. })));
    rules.pass(2 * SEC);
    let second = rules.call(put("a", None));
    assert!(matches!(second, Ok(Answer::Put { created: false, .. })));
    let second = granted(second);
    assert_eq!(second.holder.expires_in, Some(3 * SEC));
    assert_eq!(second.holder.fencing_token, token(first));
}

#[test]
fn putting_an_open_grant_with_a_shorter_ttl_brings_its_end_nearer() {
    let mut rules = Rules::new();
    let held = token(rules.call(put("a", Some(600 * SEC))));
    rules.call(put("a", Some(2 * SEC))).unwrap();
    rules.pass(2 * SEC);
    assert!(!rules.holds("a", held));
}

#[test]
fn a_shortened_open_grant_stays_short_over_a_crash() {
    let mut rules = Rules::new();
    let held = token(rules.call(put("a", Some(600 * SEC))));
    rules.call(put("a", Some(2 * SEC))).unwrap();
    rules.crash();
    rules.pass(2 * SEC);
    assert!(!rules.holds("a", held));
}

#[test]
fn a_forced_release_ends_the_one_named_or_else_all() {
    let mut rules = Rules::new();
    let first = rules.take(shared("a"));
    rules.take(shared("a"));
    rules.take(shared("a"));
    assert_eq!(rules.force("a", Some(first)), 1);
    assert_eq!(rules.force("a", Some(first)), 0);
    assert_eq!(rules.force("a", None), 2);
    assert_eq!(rules.force("a", None), 0);
}

#[test]
fn a_grant_without_expiry_ends_by_a_release_only() {
    let mut rules = Rules::new();
    let forever = Acquire {
        hold: Hold::Forever,
        ..acquire("a")
    };
    let held = rules.take(forever);
    rules.pass(400 * 24 * 3600 * SEC);
    assert!(rules.holds("a", held));
    assert_eq!(
        rules.renew("a", held, None),
        Ok(Answer::Renewed { expires_in: None })
    );
    let refused = rules.renew("a", held, Some(SEC));
    assert!(matches!(refused, Err(Refusal::Invalid(invalid)) if invalid.field == "ttl"));
}

#[test]
fn no_lock_has_more_holders_than_the_limit() {
    let mut rules = Rules::new();
    let max = limits::HOLDERS_PER_LOCK_MAX;
    let unbounded = rules.take(shared("a"));
    for _ in 1..max {
        rules.take(shared("a"));
    }
    assert!(is_held(&rules.call(Command::Acquire(shared("a")))));
    rules.release("a", unbounded).unwrap();
    rules.take(shared("a"));
    assert!(is_held(&rules.call(Command::Acquire(shared("a")))));
}

#[test]
fn a_view_shows_the_first_holders_and_counts_all() {
    let mut rules = Rules::new();
    for _ in 0..limits::HOLDERS_SHOWN_MAX + 3 {
        rules.take(shared("a"));
    }
    let view = rules.view("a");
    assert_eq!(view.holders.len(), limits::HOLDERS_SHOWN_MAX);
    assert_eq!(view.holder_count, limits::HOLDERS_SHOWN_MAX + 3);
}

fn list(rules: &mut Rules, prefix: &str, after: Option<&str>) -> (Vec<String>, bool) {
    let listed = rules.call(Command::ListLocks {
        prefix: prefix.to_owned(),
        after: after.map(str::to_owned),
        limit: 2,
    });
    match listed {
        Ok(Answer::Locks { locks, more }) => (
            locks.iter().map(|lock| lock.name.to_string()).collect(),
            more,
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listing_goes_on_behind_the_last_name_and_says_when_it_ends() {
    let mut rules = Rules::new();
    for lock in ["b1", "a", "b3", "b2", "c"] {
        rules.take(acquire(lock));
    }
    assert_eq!(
        list(&mut rules, "b", None),
        (vec!["b1".into(), "b2".into()], true)
    );
    assert_eq!(
        list(&mut rules, "b", Some("b2")),
        (vec!["b3".into()], false)
    );
    assert_eq!(list(&mut rules, "b", Some("b3")), (vec![], false));
    // A page may go on behind a lock that is gone, or one before the prefix.
    assert_eq!(
        list(&mut rules, "b", Some("b11")),
        (vec!["b2".into(), "b3".into()], false)
    );
    assert_eq!(
        list(&mut rules, "b", Some("a")),
        (vec!["b1".into(), "b2".into()], true)
    );
    assert_eq!(list(&mut rules, "d", None), (vec![], false));
}

#[test]
fn a_watcher_is_told_of_every_change_until_it_goes() {
    let mut rules = Rules::new();
    let call = rules.ask(Command::Watch { lock: name("a") });
    let held = rules.take(acquire("a"));
    rules.stand(acquire("a"));
    rules.release("a", held).unwrap();
    let mut changes = Vec::new();
    for effect in &rules.told {
        if let Effect::Changed(to, event) = effect {
            assert_eq!(*to, call);
            let ended = match event.change {
                LockChange::Ended(_, cause) => Some(cause),
                _ => None,
            };
            changes.push((ended, event.holder_count, event.waiter_count));
        }
    }
    let released = Some(EndCause::Released);
    assert_eq!(changes, [(None, 1, 0), (released, 0, 1), (None, 1, 0)]);
    rules.told.clear();
    rules.ask(Command::Cancel { call });
    rules.pass(TTL);
    assert!(!rules.told.iter().any(|effect| effect.call() == call));
}

#[test]
fn a_lock_has_so_many_watchers_and_no_more() {
    let mut rules = Rules::new();
    for _ in 0..limits::WATCHERS_PER_LOCK_MAX {
        rules.ask(Command::Watch { lock: name("a") });
    }
    let refused = rules.call(Command::Watch { lock: name("a") });
    assert!(matches!(refused, Err(Refusal::LimitReached { .. })));
}

#[test]
fn a_max_shared_above_the_limit_does_not_lift_the_limit() {
    let mut rules = Rules::new();
    let max = limits::HOLDERS_PER_LOCK_MAX;
    let unbounded = rules.take(shared("a"));
    for _ in 1..max {
        rules.take(up_to("a", limits::MAX_SHARED_MAX));
    }
    rules.release("a", unbounded).unwrap();
    rules.take(up_to("a", limits::MAX_SHARED_MAX));
    assert!(is_held(
        &rules.call(Command::Acquire(up_to("a", limits::MAX_SHARED_MAX)))
    ));
}
