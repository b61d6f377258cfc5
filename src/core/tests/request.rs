//! What makes a retry safe.

use super::*;
use crate::core::limits::{REQUEST_MEMORY, REQUEST_ORDER_SLACK};

#[test]
fn a_retried_acquire_gets_the_same_grant() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.pass(SEC);
    let again = granted(rules.call(Command::Acquire(with_id(acquire("a"), "r"))));
    assert_eq!(again.holder.fencing_token, held);
    assert_eq!(again.holder.expires_in, Some(9 * SEC));
    assert!(rules.changes.is_empty());
}

fn a_session(rules: &mut Rules) -> CallId {
    rules.session(SessionLease::New {
        id: LeaseId(7),
        ttl: TTL,
        about: None,
    })
}

#[test]
fn what_a_session_has_the_answer_of_is_forgotten_at_once() {
    let mut rules = Rules::new();
    let session = a_session(&mut rules);
    let held = rules.take(with_id(acquire("a"), "r"));
    let waits = rules.stand(with_id(acquire("a"), "w"));
    rules.take(with_id(acquire("b"), "s"));
    let touch = |session, ids: &[&str]| Command::Touch {
        session,
        answered: ids.iter().map(|id| RequestId::new(id).unwrap()).collect(),
    };
    rules.ask(touch(CallId(0), &["r"]));
    assert!(rules.changes.is_empty(), "no session said so");
    rules.ask(touch(session, &["r", "unknown", "w"]));
    let deleted = |change: &Change| matches!(change, Change::Delete(Key::Request(_, id)) if id.as_str() == "r");
    assert!(matches!(&rules.changes[..], [change] if deleted(change)));
    assert!(is_held(
        &rules.call(Command::Acquire(with_id(acquire("a"), "r")))
    ));
    // What was not named, and who waits, is remembered.
    granted(rules.call(Command::Acquire(with_id(acquire("b"), "s"))));
    rules.release("a", held).unwrap();
    rules.got(waits);
}

#[test]
fn what_was_forgotten_early_takes_no_memory() {
    let mut rules = Rules::new();
    let session = a_session(&mut rules);
    rules.take(with_id(acquire("kept"), "kept"));
    for number in 0..4 * REQUEST_ORDER_SLACK {
        let id = format!("r{number}");
        let held = rules.take(acquire("a"));
        let released = rules.call(Command::Release {
            lock: LockName::new("a").unwrap(),
            proof: Proof::Token(held),
            session: None,
            request_id: Some(RequestId::new(&id).unwrap()),
        });
        assert!(matches!(released, Ok(Answer::Released)));
        rules.ask(Command::Touch {
            session,
            answered: vec![RequestId::new(&id).unwrap()],
        });
        assert!(rules.state.request_order.len() <= 2 * REQUEST_ORDER_SLACK + 2);
    }
    // What was not named is forgotten in its time.
    granted(rules.call(Command::Acquire(with_id(acquire("kept"), "kept"))));
    rules.pass(REQUEST_MEMORY);
    assert!(rules.state.request_order.is_empty());
    assert!(
        rules
            .state
            .spaces
            .iter()
            .all(|space| space.requests.is_empty())
    );
}

#[test]
fn a_retry_of_a_grant_that_has_ended_has_no_time_left() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.pass(TTL);
    let other = rules.take(acquire("a"));
    let again = granted(rules.call(Command::Acquire(with_id(acquire("a"), "r"))));
    assert_eq!(again.holder.fencing_token, held);
    assert_eq!(again.holder.expires_in, Some(Duration::ZERO));
    assert!(rules.holds("a", other));
}

#[test]
fn a_retry_while_the_first_call_waits_stands_where_that_stands() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let first = rules.stand(with_id(acquire("a"), "r"));
    rules.stand(acquire("a"));
    let retry = rules.ask(Command::Acquire(Acquire {
        wait: WAIT,
        ..with_id(acquire("a"), "r")
    }));
    assert_eq!(rules.positions(retry), [1]);
    assert_eq!(rules.view("a").waiter_count, 2);
    rules.release("a", held).unwrap();
    assert_eq!(rules.got(first), rules.got(retry));
}

#[test]
fn a_retry_waits_as_long_as_it_says_itself() {
    let mut rules = Rules::new();
    rules.take(Acquire {
        hold: Hold::Forever,
        ..acquire("a")
    });
    rules.stand(with_id(acquire("a"), "r"));
    rules.pass(4 * SEC);
    let retry = rules.stand(with_id(acquire("a"), "r"));
    rules.pass(4 * SEC);
    assert_eq!(rules.reply(retry), None);
    rules.pass(SEC);
    assert!(is_timed_out(&rules.reply(retry)));
}

#[test]
fn a_retry_that_does_not_wait_leaves_the_waiting_one_alone() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let first = rules.stand(with_id(acquire("a"), "r"));
    assert!(is_held(
        &rules.call(Command::Acquire(with_id(acquire("a"), "r")))
    ));
    rules.release("a", held).unwrap();
    rules.got(first);
}

#[test]
fn one_of_two_callers_that_hangs_up_leaves_the_place_to_the_other() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let first = rules.stand(with_id(acquire("a"), "r"));
    let retry = rules.stand(with_id(acquire("a"), "r"));
    rules.ask(Command::Cancel { call: first });
    rules.release("a", held).unwrap();
    rules.got(retry);
    assert_eq!(rules.reply(first), None);
}

#[test]
fn the_same_id_with_other_parameters_is_refused_and_changes_nothing() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    let reused = Err(Refusal::RequestIdReused(id("r").unwrap()));
    let other = with_id(acquire("b"), "r");
    assert_eq!(rules.call(Command::Acquire(other)), reused);
    let release = Command::Release {
        lock: name("a"),
        proof: Proof::Token(held),
        session: None,
        request_id: id("r"),
    };
    assert_eq!(rules.call(release), reused);
    assert!(rules.changes.is_empty());
    assert!(rules.holds("a", held));
}

#[test]
fn the_same_id_in_another_namespace_is_another_request() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    let call = rules.ask_in("other", Command::Acquire(with_id(acquire("a"), "r")));
    assert_ne!(rules.got(call), held);
}

#[test]
fn a_refusal_may_be_asked_for_again() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    assert!(is_held(
        &rules.call(Command::Acquire(with_id(acquire("a"), "r")))
    ));
    rules.release("a", held).unwrap();
    rules.take(with_id(acquire("a"), "r"));
}

#[test]
fn a_wait_that_timed_out_may_be_asked_for_again() {
    let mut rules = Rules::new();
    let held = rules.take(Acquire {
        hold: Hold::Forever,
        ..acquire("a")
    });
    let call = rules.stand(with_id(acquire("a"), "r"));
    rules.pass(WAIT);
    assert!(is_timed_out(&rules.reply(call)));
    let call = rules.stand(with_id(acquire("a"), "r"));
    rules.release("a", held).unwrap();
    rules.got(call);
}

#[test]
fn every_changing_call_can_be_retried_with_one_outcome() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let lease = rules.lease(TTL);
    rules.take(on_lease(acquire("b"), lease));
    rules.take(acquire("c"));
    let commands = [
        Command::Release {
            lock: name("a"),
            proof: Proof::Token(held),
            session: None,
            request_id: id("release"),
        },
        Command::RevokeLease {
            id: lease,
            request_id: id("revoke"),
        },
        Command::ForceRelease {
            lock: name("c"),
            fencing_token: None,
            request_id: id("force"),
        },
        Command::Reserve {
            lock: name("d"),
            destroy_after: TTL,
            request_id: id("reserve"),
        },
        Command::CreateLease {
            id: LeaseId(7),
            ttl: TTL,
            about: None,
            request_id: id("create"),
        },
    ];
    for mut command in commands {
        let first = rules.call(command.clone());
        assert!(first.is_ok(), "{first:?}");
        // A retry comes with fresh ids of its own.
        match &mut command {
            Command::Reserve { lock, .. } => *lock = name("fresh"),
            Command::CreateLease { id, .. } => *id = LeaseId(8),
            _ => {}
        }
        assert_eq!(rules.call(command.clone()), first);
        assert!(rules.changes.is_empty());
        rules.crash();
        rules.tick();
        assert_eq!(rules.call(command), first);
    }
}

#[test]
fn an_outcome_is_remembered_for_its_time_and_over_a_crash() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.pass(120 * SEC - MS);
    assert_eq!(rules.take(with_id(acquire("a"), "r")), held);
    rules.crash();
    rules.tick();
    assert_eq!(rules.take(with_id(acquire("a"), "r")), held);
}

#[test]
fn an_outcome_is_forgotten_after_its_time() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.pass(limits::REQUEST_MEMORY);
    assert!(rules.take(with_id(acquire("a"), "r")) > held);
    rules.pass(limits::REQUEST_MEMORY);
    assert_eq!(rules.state.records().len(), 1);
}

#[test]
fn a_lease_made_by_a_request_and_ended_since_is_told_so_on_a_retry() {
    let mut rules = Rules::new();
    let create = Command::CreateLease {
        id: LeaseId(7),
        ttl: TTL,
        about: None,
        request_id: id("r"),
    };
    rules.call(create.clone()).unwrap();
    rules.pass(TTL);
    assert_eq!(rules.call(create), Err(Refusal::LeaseExpired));
}

#[test]
fn a_grant_given_back_is_forgotten_and_asked_for_anew() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.give_back("a", held);
    assert!(!rules.holds("a", held));
    assert!(rules.take(with_id(acquire("a"), "r")) > held);
}

#[test]
fn a_grant_told_to_a_retry_as_well_is_given_back_when_both_are_gone() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.take(with_id(acquire("a"), "r"));
    rules.give_back("a", held);
    assert!(rules.holds("a", held));
    rules.give_back("a", held);
    assert!(!rules.holds("a", held));
}

#[test]
fn a_grant_on_a_lease_with_a_request_id_waits_for_its_caller_to_come_back() {
    let mut rules = Rules::new();
    let lease = rules.lease(TTL);
    let mine = with_id(on_lease(acquire("a"), lease), "r");
    let held = rules.take(mine.clone());
    rules.give_back("a", held);
    assert_eq!(rules.take(mine), held);
    rules.pass(TTL);
    assert!(!rules.holds("a", held));
}

#[test]
fn a_put_grant_is_given_back_only_when_nobody_else_was_told_of_it() {
    let mut rules = Rules::new();
    let held = token(rules.call(put("a", None)));
    rules.call(put("a", None)).unwrap();
    rules.give_back("a", held);
    assert!(rules.holds("a", held));
}

#[test]
fn a_grant_given_back_late_leaves_a_newer_request_with_its_id_alone() {
    let mut rules = Rules::new();
    let unread = rules.take(Acquire {
        hold: Hold::Forever,
        ..with_id(acquire("a"), "r")
    });
    rules.pass(limits::REQUEST_MEMORY);
    let newer = rules.take(with_id(acquire("b"), "r"));
    rules.give_back("a", unread);
    assert!(!rules.holds("a", unread));
    assert_eq!(rules.take(with_id(acquire("b"), "r")), newer);
}

#[test]
fn a_grant_that_was_read_before_a_crash_is_not_given_back_by_a_retry_that_hangs_up() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.crash();
    rules.tick();
    rules.take(with_id(acquire("a"), "r"));
    rules.give_back("a", held);
    assert!(rules.holds("a", held));
}

#[test]
fn a_hang_up_from_before_a_reload_does_not_take_the_grant_from_whoever_asked_again() {
    let mut rules = Rules::new();
    let held = rules.take(with_id(acquire("a"), "r"));
    rules.crash();
    rules.give_back("a", held);
    assert_eq!(rules.take(with_id(acquire("a"), "r")), held);
    assert!(rules.holds("a", held));
}

#[test]
fn a_full_memory_of_requests_stops_who_wants_more_and_not_who_gives_up() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let space = rules.state.space(&Namespace::new("default").unwrap());
    for number in 0..limits::REQUESTS_PER_NAMESPACE_MAX {
        let id = RequestId::new(&number.to_string()).unwrap();
        let done = crate::core::request::Done::Released;
        rules.state.keep_request(space, id, 0, done);
    }
    let wanted = rules.call(Command::Acquire(with_id(acquire("b"), "more")));
    assert!(matches!(wanted, Err(Refusal::LimitReached { .. })));
    let given_up = rules.call(Command::Release {
        lock: name("a"),
        proof: Proof::Token(held),
        session: None,
        request_id: id("back"),
    });
    assert_eq!(given_up, Ok(Answer::Released));
}
