//! Streams that keep a lease alive, and what they are told.

use super::*;

const ID: LeaseId = LeaseId(7);

fn new() -> SessionLease {
    SessionLease::New {
        id: ID,
        ttl: TTL,
        about: None,
    }
}

/// What a session was told of losses; it is taken.
fn losses(rules: &mut Rules, of: CallId) -> Vec<(u64, EndCause)> {
    let mut losses = Vec::new();
    rules.told.retain(|effect| match effect {
        Effect::Lost {
            session,
            fencing_token,
            cause,
            ..
        } if *session == of => {
            losses.push((*fencing_token, *cause));
            false
        }
        _ => true,
    });
    losses
}

fn ended(rules: &Rules, of: CallId) -> Option<Refusal> {
    rules.told.iter().find_map(|effect| match effect {
        Effect::SessionEnded { session, why } if *session == of => Some(why.clone()),
        _ => None,
    })
}

fn in_session(acquire: Acquire, session: CallId) -> Acquire {
    Acquire {
        session: Some(session),
        ..acquire
    }
}

#[test]
fn any_traffic_keeps_a_session_alive() {
    let mut rules = Rules::new();
    let session = rules.session(new());
    for _ in 0..5 {
        rules.pass(TTL - MS);
        rules.ask(Command::Touch {
            session,
            answered: vec![],
        });
    }
    assert_eq!(ended(&rules, session), None);
    rules.pass(TTL);
    assert_eq!(ended(&rules, session), Some(Refusal::LeaseExpired));
}

#[test]
fn a_session_is_told_of_the_grants_that_it_loses() {
    let mut rules = Rules::new();
    let session = rules.session(new());
    let on_its_lease = rules.take(in_session(on_lease(acquire("a"), ID), session));
    let own = rules.take(in_session(
        Acquire {
            hold: Hold::Ttl(SEC),
            ..acquire("b")
        },
        session,
    ));
    rules.pass(SEC);
    assert_eq!(losses(&mut rules, session), [(own, EndCause::Expired)]);
    rules.force("a", None);
    assert_eq!(
        losses(&mut rules, session),
        [(on_its_lease, EndCause::Forced)]
    );
}

#[test]
fn a_session_is_not_told_of_its_own_releases_but_of_others() {
    let mut rules = Rules::new();
    let session = rules.session(new());
    let mine = rules.take(in_session(acquire("a"), session));
    let release = Command::Release {
        lock: name("a"),
        proof: Proof::Token(mine),
        session: Some(session),
        request_id: None,
    };
    rules.call(release).unwrap();
    assert_eq!(losses(&mut rules, session), []);
    let mine = rules.take(in_session(acquire("a"), session));
    rules.release("a", mine).unwrap();
    assert_eq!(losses(&mut rules, session), [(mine, EndCause::Released)]);
}

#[test]
fn a_session_whose_lease_ends_is_told_of_its_grants_first() {
    let mut rules = Rules::new();
    let session = rules.session(new());
    let held = rules.take(in_session(on_lease(acquire("a"), ID), session));
    rules.told.clear();
    rules.pass(TTL);
    let last = rules.told.last();
    assert!(matches!(last, Some(Effect::SessionEnded { session: to, .. }) if *to == session));
    assert_eq!(losses(&mut rules, session), [(held, EndCause::Expired)]);
}

#[test]
fn a_session_taken_up_by_another_stream_ends_and_its_lease_lives_on() {
    let mut rules = Rules::new();
    let first = rules.session(new());
    let held = rules.take(in_session(on_lease(acquire("a"), ID), first));
    rules.pass(9 * SEC);
    let second = rules.session(SessionLease::Resume(ID));
    assert_eq!(ended(&rules, first), Some(Refusal::SessionTaken));
    rules.pass(9 * SEC);
    assert!(rules.holds("a", held));
    // The lease's losses are the new stream's to hear.
    rules.pass(SEC);
    assert_eq!(losses(&mut rules, first), []);
    assert_eq!(losses(&mut rules, second), [(held, EndCause::Expired)]);
}

#[test]
fn the_old_stream_of_a_session_taken_up_neither_keeps_nor_ends_it() {
    let mut rules = Rules::new();
    let first = rules.session(new());
    let second = rules.session(SessionLease::Resume(ID));
    rules.ask(Command::Cancel { call: first });
    rules.pass(9 * SEC);
    rules.ask(Command::Touch {
        session: first,
        answered: vec![],
    });
    rules.pass(SEC);
    assert_eq!(ended(&rules, second), Some(Refusal::LeaseExpired));
}

#[test]
fn a_session_that_goes_away_leaves_its_lease_for_the_ttl() {
    let mut rules = Rules::new();
    let session = rules.session(new());
    let held = rules.take(in_session(on_lease(acquire("a"), ID), session));
    rules.ask(Command::Cancel { call: session });
    rules.pass(TTL - MS);
    assert!(rules.holds("a", held));
    rules.pass(MS);
    assert!(!rules.holds("a", held));
    assert_eq!(losses(&mut rules, session), []);
}

#[test]
fn a_session_can_be_taken_up_after_a_crash() {
    let mut rules = Rules::new();
    let session = rules.session(new());
    let held = rules.take(in_session(on_lease(acquire("a"), ID), session));
    rules.crash();
    rules.tick();
    let session = rules.session(SessionLease::Resume(ID));
    rules.force("a", None);
    assert_eq!(losses(&mut rules, session), [(held, EndCause::Forced)]);
}

#[test]
fn a_session_that_has_ended_can_not_be_taken_up() {
    let mut rules = Rules::new();
    rules.session(new());
    rules.pass(TTL);
    let call = rules.ask(Command::OpenSession {
        lease: SessionLease::Resume(ID),
    });
    assert_eq!(rules.reply(call), Some(Err(Refusal::LeaseNotFound)));
}

#[test]
fn a_retry_through_another_session_moves_the_loss_notices_there() {
    let mut rules = Rules::new();
    let first = rules.session(new());
    let mine = with_id(acquire("a"), "r");
    let held = rules.take(in_session(mine.clone(), first));
    let second = rules.session(SessionLease::Resume(ID));
    assert_eq!(rules.take(in_session(mine, second)), held);
    rules.ask(Command::Touch {
        session: second,
        answered: vec![],
    });
    rules.release("a", held).unwrap();
    assert_eq!(losses(&mut rules, second), [(held, EndCause::Released)]);
}
