//! Values: revisions, compare-and-set, TTLs, listing and watching.

use super::*;

fn key(text: &str) -> ValueKey {
    ValueKey::new(text).unwrap()
}

fn bytes(text: &str) -> ValueBytes {
    ValueBytes::new(text.as_bytes().to_vec()).unwrap()
}

fn put(of: &str, value: &str) -> Command {
    Command::PutValue {
        key: key(of),
        bytes: bytes(value),
        ttl: None,
        expected_revision: None,
        request_id: None,
    }
}

fn put_with_ttl(of: &str, value: &str) -> Command {
    Command::PutValue {
        key: key(of),
        bytes: bytes(value),
        ttl: Some(TTL),
        expected_revision: None,
        request_id: None,
    }
}

fn cas(of: &str, value: &str, revision: u64, request_id: Option<RequestId>) -> Command {
    Command::PutValue {
        key: key(of),
        bytes: bytes(value),
        ttl: None,
        expected_revision: Some(revision),
        request_id,
    }
}

fn delete(of: &str, expected_revision: Option<u64>) -> Command {
    Command::DeleteValue {
        key: key(of),
        expected_revision,
        request_id: None,
    }
}

impl Rules {
    fn put(&mut self, command: Command) -> u64 {
        match self.call(command) {
            Ok(Answer::ValuePut(revision)) => revision,
            other => panic!("not put: {other:?}"),
        }
    }

    fn value(&mut self, of: &str) -> Option<ValueView> {
        match self.call(Command::GetValue { key: key(of) }) {
            Ok(Answer::Value(view)) => Some(view),
            Err(Refusal::ValueNotFound(missing)) if missing == key(of) => None,
            other => panic!("{other:?}"),
        }
    }

    fn keys(&mut self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        match self.call(Command::ListValues {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit,
        }) {
            Ok(Answer::Values { values, more }) => {
                let keys = values.iter().map(|value| value.key.to_string());
                (keys.collect(), more)
            }
            other => panic!("{other:?}"),
        }
    }

    /// What those who watch values were told; it is taken.
    fn value_events(&mut self, call: CallId) -> Vec<(ValueEventKind, u64)> {
        let mut events = Vec::new();
        self.told.retain(|effect| match effect {
            Effect::ValueChanged(to, event) if *to == call => {
                events.push((event.kind, event.value.revision));
                false
            }
            _ => true,
        });
        events
    }
}

fn is_mismatch(reply: Result<Answer, Refusal>, revision: u64) -> bool {
    matches!(reply, Err(Refusal::RevisionMismatch(found)) if found.revision() == revision)
}

#[test]
fn what_was_put_is_read() {
    let mut rules = Rules::new();
    assert_eq!(rules.value("a"), None);
    let revision = rules.put(put("a", "one"));
    let view = rules.value("a").unwrap();
    assert_eq!((view.bytes, view.revision), (bytes("one"), revision));
    assert_eq!(view.expires_in, None);
    let next = rules.put(put("a", "two"));
    assert!(next > revision);
    assert_eq!(rules.value("a").unwrap().bytes, bytes("two"));
}

#[test]
fn a_namespace_sees_nothing_of_another() {
    let mut rules = Rules::new();
    rules.put(put("a", "one"));
    let call = rules.ask_in("other", Command::GetValue { key: key("a") });
    let reply = rules.reply(call);
    assert!(matches!(reply, Some(Err(Refusal::ValueNotFound(_)))));
}

#[test]
fn revisions_rise_over_deletion_and_crashes() {
    let mut rules = Rules::new();
    let first = rules.put(put("a", "one"));
    let deleted = rules.call(delete("a", None));
    assert_eq!(deleted, Ok(Answer::ValueDeleted(first)));
    rules.crash();
    let second = rules.put(put("a", "one"));
    assert!(second > first);
    rules.crash();
    assert_eq!(rules.value("a").unwrap().revision, second);
    assert!(rules.put(put("b", "")) > second);
}

#[test]
fn compare_and_set_needs_the_current_revision() {
    let mut rules = Rules::new();
    let missing = rules.call(cas("a", "x", 7, None));
    assert!(is_mismatch(missing, 0));
    let first = rules.put(cas("a", "one", 0, None));
    let taken = rules.call(cas("a", "x", 0, None));
    assert!(is_mismatch(taken, first));
    let second = rules.put(cas("a", "two", first, None));
    let stale = rules.call(cas("a", "x", first, None));
    assert!(is_mismatch(stale, second));
    assert!(rules.changes.is_empty());
    assert_eq!(rules.value("a").unwrap().bytes, bytes("two"));
}

#[test]
fn a_mismatch_tells_what_is_there() {
    let mut rules = Rules::new();
    rules.put(put("a", "one"));
    let Err(Refusal::RevisionMismatch(found)) = rules.call(cas("a", "x", 0, None)) else {
        panic!("no mismatch");
    };
    assert_eq!(found.current, rules.value("a"));
}

#[test]
fn a_deletion_needs_the_expected_revision_too() {
    let mut rules = Rules::new();
    let first = rules.put(put("a", "one"));
    let second = rules.put(put("a", "two"));
    let stale = rules.call(delete("a", Some(first)));
    assert!(is_mismatch(stale, second));
    let gone = rules.call(delete("a", Some(second)));
    assert_eq!(gone, Ok(Answer::ValueDeleted(second)));
    let again = rules.call(delete("a", Some(second)));
    assert!(is_mismatch(again, 0));
    let missing = rules.call(delete("a", None));
    assert_eq!(missing, Err(Refusal::ValueNotFound(key("a"))));
}

#[test]
fn a_retry_gets_the_first_revision_and_changes_nothing() {
    let mut rules = Rules::new();
    let first = rules.put(cas("a", "one", 0, id("r")));
    let other = rules.put(put("a", "two"));
    rules.crash();
    assert_eq!(rules.put(cas("a", "one", 0, id("r"))), first);
    assert!(rules.changes.is_empty());
    assert_eq!(rules.value("a").unwrap().revision, other);
    let reused = rules.call(cas("a", "other", 0, id("r")));
    assert!(matches!(reused, Err(Refusal::RequestIdReused(_))));
}

#[test]
fn a_refused_put_is_not_remembered() {
    let mut rules = Rules::new();
    let refused = rules.call(cas("a", "one", 1, id("r")));
    assert!(is_mismatch(refused, 0));
    assert_eq!(rules.put(cas("b", "one", 0, id("r"))), 1);
}

#[test]
fn a_retried_deletion_is_told_as_the_first() {
    let mut rules = Rules::new();
    let revision = rules.put(put("a", "one"));
    let deletion = Command::DeleteValue {
        key: key("a"),
        expected_revision: None,
        request_id: id("r"),
    };
    rules.call(deletion.clone()).unwrap();
    rules.put(put("a", "two"));
    rules.crash();
    let again = rules.call(deletion);
    assert_eq!(again, Ok(Answer::ValueDeleted(revision)));
    assert!(rules.value("a").is_some());
}

#[test]
fn a_value_ends_with_its_ttl_and_not_before() {
    let mut rules = Rules::new();
    rules.put(put_with_ttl("a", "one"));
    rules.pass(TTL - MS);
    assert_eq!(rules.value("a").unwrap().expires_in, Some(MS));
    rules.pass(MS);
    assert_eq!(rules.value("a"), None);
    assert!(!rules.has_record(&Key::Value(Namespace::new("default").unwrap(), key("a"))));
}

#[test]
fn a_crash_ends_no_value_early() {
    let mut rules = Rules::new();
    rules.put(put_with_ttl("a", "one"));
    rules.pass(TTL / 2);
    // The clock is only known as far as it was committed.
    rules.crash();
    let left = rules.value("a").unwrap().expires_in.unwrap();
    assert!(left >= TTL / 2 && left <= TTL, "{left:?}");
    rules.pass(left - MS);
    assert!(rules.value("a").is_some());
    rules.pass(MS);
    assert_eq!(rules.value("a"), None);
}

#[test]
fn a_put_sets_the_ttl_anew_or_takes_it_away() {
    let mut rules = Rules::new();
    rules.put(put_with_ttl("a", "one"));
    rules.pass(TTL / 2);
    rules.put(put_with_ttl("a", "two"));
    rules.pass(TTL / 2);
    assert_eq!(rules.value("a").unwrap().expires_in, Some(TTL / 2));
    rules.put(put("a", "three"));
    rules.pass(10 * TTL);
    assert_eq!(rules.value("a").unwrap().expires_in, None);
}

#[test]
fn values_are_listed_in_the_order_of_their_keys_and_in_pages() {
    let mut rules = Rules::new();
    for of in ["b/2", "a", "b/1", "c", "b/3"] {
        rules.put(put(of, of));
    }
    let owned = |keys: &[&str]| keys.iter().map(|key| key.to_string()).collect::<Vec<_>>();
    let all = owned(&["a", "b/1", "b/2", "b/3", "c"]);
    assert_eq!(rules.keys("", None, 10), (all, false));
    assert_eq!(rules.keys("b/", None, 2), (owned(&["b/1", "b/2"]), true));
    assert_eq!(rules.keys("b/", Some("b/2"), 2), (owned(&["b/3"]), false));
    assert_eq!(rules.keys("x", None, 2), (Vec::new(), false));
}

#[test]
fn a_page_of_large_values_is_cut() {
    let mut rules = Rules::new();
    let large = "x".repeat(limits::VALUE_BYTES_MAX);
    for n in 0..40 {
        rules.put(put(&format!("{n:02}"), &large));
    }
    let (keys, more) = rules.keys("", None, 40);
    assert!(more && keys.len() < 40);
    let (rest, more) = rules.keys("", keys.last().map(String::as_str), 40);
    assert!(!more);
    assert_eq!(keys.len() + rest.len(), 40);
}

#[test]
fn whoever_watches_is_told_every_change() {
    let mut rules = Rules::new();
    let first = rules.put(put("a", "one"));
    let watch = rules.ask(Command::WatchValue { key: key("a") });
    let Some(Effect::WatchingValue(_, Some(view))) = rules.told.pop() else {
        panic!("nothing is watched");
    };
    assert_eq!(view.revision, first);
    let second = rules.put(put_with_ttl("a", "two"));
    rules.put(put("b", "other"));
    rules.pass(TTL);
    let third = rules.put(put("a", "three"));
    rules.call(delete("a", None)).unwrap();
    let told = [
        (ValueEventKind::Put, second),
        (ValueEventKind::Expired, second),
        (ValueEventKind::Put, third),
        (ValueEventKind::Deleted, third),
    ];
    assert_eq!(rules.value_events(watch), told);
    rules.ask(Command::Cancel { call: watch });
    rules.put(put("a", "four"));
    assert_eq!(rules.value_events(watch), []);
}

#[test]
fn a_value_has_at_most_64_kib() {
    assert!(ValueBytes::new(vec![0; 64 * 1024]).is_ok());
    let invalid = ValueBytes::new(vec![0; 64 * 1024 + 1]).unwrap_err();
    assert_eq!(invalid.field, "value");
    assert!(invalid.expected.contains("65536"));
}

#[test]
fn a_full_namespace_still_takes_what_makes_it_no_larger() {
    let mut rules = Rules::new();
    rules.put(put("a", "one"));
    let space = rules.state.space(&Namespace::new("default").unwrap());
    rules.state.space_mut(space).value_bytes += limits::VALUE_BYTES_PER_NAMESPACE_MAX;
    let larger = rules.call(put("a", "three"));
    assert!(matches!(larger, Err(Refusal::LimitReached { .. })));
    let new = rules.call(put("b", ""));
    assert!(matches!(new, Err(Refusal::LimitReached { .. })));
    rules.put(put("a", "two"));
    rules.call(delete("a", None)).unwrap();
}
