//! Loading: a state is found again in its records.

use super::*;

impl Rules {
    fn listed(&mut self, namespace: &str) -> Vec<(String, usize)> {
        let call = self.ask_in(
            namespace,
            Command::ListLocks {
                prefix: String::new(),
                after: None,
                limit: 100,
            },
        );
        match self.reply(call) {
            Some(Ok(Answer::Locks { locks, .. })) => locks
                .into_iter()
                .map(|lock| (lock.name.to_string(), lock.holder_count))
                .collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn locks_that_are_reserved_held_or_both_are_found_by_name_in_each_namespace() {
    let mut rules = Rules::new();
    for namespace in ["default", "other", "third"] {
        for lock in ["b", "d", "f"] {
            let reserve = Command::Reserve {
                lock: name(lock),
                destroy_after: 60 * SEC,
                request_id: None,
            };
            rules.ask_in(namespace, reserve);
        }
        for lock in ["a", "b", "c", "c", "e", "f", "g"] {
            rules.ask_in(namespace, Command::Acquire(shared(lock)));
        }
    }
    rules.crash();
    let expected = [
        ("a", 1),
        ("b", 1),
        ("c", 2),
        ("d", 0),
        ("e", 1),
        ("f", 1),
        ("g", 1),
    ];
    let expected = expected.map(|(lock, holders)| (lock.to_owned(), holders));
    for namespace in ["default", "other", "third"] {
        assert_eq!(rules.listed(namespace), expected);
        let call = rules.ask_in(namespace, Command::Acquire(acquire("e")));
        assert!(is_held(&rules.reply(call).unwrap()));
    }
}

#[test]
fn grants_that_do_not_come_in_the_order_of_their_locks_are_damage() {
    let mut rules = Rules::new();
    for lock in ["a", "b"] {
        rules.take(shared(lock));
        rules.take(shared(lock));
    }
    let mut records = rules.state.records();
    // The second grants of both are swapped with each other.
    records.swap(2, 4);
    let mut loader = State::loader();
    let failed = records.iter().find_map(|record| {
        let mut value = Vec::new();
        record.encode_value(&mut value);
        loader.record(&record.key.encode(), &value).err()
    });
    assert!(failed.unwrap().0.contains("comes behind"));
}
