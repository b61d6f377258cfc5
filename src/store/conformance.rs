//! What every store must do, as tests that know nothing of the one they are run on.
//!
//! A store passes if [`check`] returns. The suite panics where a promise is broken: it is for tests,
//! and is not part of the server.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken promise ends the test"
)]

use std::collections::BTreeMap;

use super::crash::next_random;
use super::{BATCH_BYTES_MAX, Batch, Epoch, ShardId, Store, StoreError};

/// A shard's live keys and values.
pub type Live = BTreeMap<Vec<u8>, Vec<u8>>;

/// One thing a user of a store does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Commits a batch: each key with its new value, or with `None` where it is removed.
    Commit(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// Claims the shard again.
    Claim,
    /// Stops the store and opens it again.
    Reopen,
}

/// How many steps the random part takes: a few of them claim and reopen, all others commit.
const STEPS: usize = 600;

/// Runs the whole suite. `reopen` stops a store, or makes it crash, and opens it again.
pub fn check<S: Store>(store: S, mut reopen: impl FnMut(S) -> S) {
    let reopen: &mut dyn FnMut(S) -> S = &mut reopen;
    let mut store = store;
    for (number, test) in [
        batches_keep_their_order_and_the_last_write_wins,
        only_the_newest_claimant_commits,
        a_released_shard_takes_nothing_until_it_is_claimed,
        an_empty_batch_changes_nothing,
        the_largest_batch_fits_and_a_larger_one_is_refused,
        shards_are_kept_apart,
        a_loader_that_fails_leaves_the_shard_unclaimed,
        the_server_key_stays,
    ]
    .into_iter()
    .enumerate()
    {
        let shard = ShardId(u16::try_from(number * 2).unwrap());
        store = test(store, reopen, shard);
    }
    follow_model(store, reopen, ShardId(100), &random_steps(1, STEPS));
}

/// Claims a shard and gives back what it holds, having checked the order in which it was shown.
pub fn dump(store: &impl Store, shard: ShardId) -> (Epoch, Live) {
    let mut live = Live::new();
    let epoch = store
        .claim(shard, &mut |key, value| {
            if let Some((last, _)) = live.last_key_value() {
                assert!(last.as_slice() < key, "{last:?} was shown before {key:?}");
            }
            live.insert(key.to_vec(), value.to_vec());
            Ok(())
        })
        .unwrap();
    (epoch, live)
}

/// Takes the steps on the store and on a map beside it; both must hold the same at every claim.
pub fn follow_model<S: Store>(
    mut store: S,
    reopen: &mut dyn FnMut(S) -> S,
    shard: ShardId,
    steps: &[Step],
) -> S {
    let (mut epoch, mut model) = dump(&store, shard);
    for (number, step) in steps.iter().chain([&Step::Reopen]).enumerate() {
        if let Step::Commit(writes) = step {
            let mut batch = Batch::new();
            for (key, value) in writes {
                match value {
                    Some(value) => {
                        batch.put(key, value);
                        model.insert(key.clone(), value.clone());
                    }
                    None => {
                        batch.delete(key);
                        model.remove(key);
                    }
                }
            }
            store.commit(shard, epoch, &batch).unwrap();
            continue;
        }
        if *step == Step::Reopen {
            store = reopen(store);
        }
        let (newer, live) = dump(&store, shard);
        assert!(newer > epoch, "epoch {newer:?} came after {epoch:?}");
        assert!(
            live == model,
            "the store differs after step {number}: {step:?}"
        );
        epoch = newer;
    }
    store
}

/// Steps that write few keys often, and now and then claim or reopen.
pub fn random_steps(seed: u64, count: usize) -> Vec<Step> {
    let mut state = seed;
    let mut below = move |bound: u64| next_random(&mut state) % bound;
    (0..count)
        .map(|_| match below(200) {
            0 => Step::Reopen,
            1 => Step::Claim,
            _ => Step::Commit(
                (0..below(8))
                    .map(|_| {
                        let key = format!("key/{}", below(60)).into_bytes();
                        let filler = u8::try_from(below(256)).unwrap();
                        let len = usize::try_from(below(300)).unwrap();
                        (key, (below(3) > 0).then(|| vec![filler; len]))
                    })
                    .collect(),
            ),
        })
        .collect()
}

fn batch(writes: &[(&str, Option<&str>)]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in writes {
        match value {
            Some(value) => batch.put(key.as_bytes(), value.as_bytes()),
            None => batch.delete(key.as_bytes()),
        }
    }
    batch
}

fn live(pairs: &[(&str, &str)]) -> Live {
    pairs
        .iter()
        .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

type Reopen<'a, S> = &'a mut dyn FnMut(S) -> S;

fn batches_keep_their_order_and_the_last_write_wins<S: Store>(
    store: S,
    reopen: Reopen<'_, S>,
    shard: ShardId,
) -> S {
    let (epoch, empty) = dump(&store, shard);
    assert_eq!(empty, Live::new());
    let first = batch(&[
        ("b", Some("1")),
        ("a", Some("1")),
        ("b", Some("2")),
        ("gone", Some("1")),
        ("gone", None),
        ("back", None),
        ("back", Some("1")),
        ("", Some("the empty key")),
        ("empty value", Some("")),
    ]);
    store.commit(shard, epoch, &first).unwrap();
    let second = batch(&[("a", Some("2")), ("c", Some("1")), ("never", None)]);
    store.commit(shard, epoch, &second).unwrap();
    store.commit(shard, epoch, &batch(&[("c", None)])).unwrap();
    let expected = live(&[
        ("", "the empty key"),
        ("a", "2"),
        ("b", "2"),
        ("back", "1"),
        ("empty value", ""),
    ]);
    assert_eq!(dump(&store, shard).1, expected);
    let store = reopen(store);
    assert_eq!(dump(&store, shard).1, expected);
    store
}

fn only_the_newest_claimant_commits<S: Store>(
    store: S,
    reopen: Reopen<'_, S>,
    shard: ShardId,
) -> S {
    let (first, _) = dump(&store, shard);
    let (second, _) = dump(&store, shard);
    assert!(second > first);
    let write = batch(&[("a", Some("late"))]);
    let refused = store.commit(shard, first, &write).unwrap_err();
    assert!(
        matches!(refused, StoreError::Deposed { epoch, newest, .. } if epoch == first && newest == second),
        "{refused}"
    );
    store
        .commit(shard, second, &batch(&[("a", Some("in time"))]))
        .unwrap();
    store.release(shard, first);
    store
        .commit(shard, second, &batch(&[("b", Some("still"))]))
        .unwrap();
    let store = reopen(store);
    let (third, found) = dump(&store, shard);
    assert!(third > second);
    assert_eq!(found, live(&[("a", "in time"), ("b", "still")]));
    store.commit(shard, second, &write).unwrap_err();
    store
}

fn a_released_shard_takes_nothing_until_it_is_claimed<S: Store>(
    store: S,
    _: Reopen<'_, S>,
    shard: ShardId,
) -> S {
    let write = batch(&[("a", Some("1"))]);
    store.commit(shard, Epoch(1), &write).unwrap_err();
    store.release(shard, Epoch(1));
    let (epoch, _) = dump(&store, shard);
    store.commit(shard, epoch, &write).unwrap();
    store.release(shard, epoch);
    store.release(shard, epoch);
    let refused = store.commit(shard, epoch, &write).unwrap_err();
    assert!(matches!(refused, StoreError::Closed { .. }), "{refused}");
    let (newer, found) = dump(&store, shard);
    assert!(newer > epoch);
    assert_eq!(found, live(&[("a", "1")]));
    store
}

fn an_empty_batch_changes_nothing<S: Store>(store: S, _: Reopen<'_, S>, shard: ShardId) -> S {
    let (first, _) = dump(&store, shard);
    store.commit(shard, first, &Batch::new()).unwrap();
    let (_, found) = dump(&store, shard);
    assert_eq!(found, Live::new());
    store.commit(shard, first, &Batch::new()).unwrap_err();
    store
}

fn the_largest_batch_fits_and_a_larger_one_is_refused<S: Store>(
    store: S,
    reopen: Reopen<'_, S>,
    shard: ShardId,
) -> S {
    let (epoch, _) = dump(&store, shard);
    let mut largest = Batch::new();
    largest.put(b"key", b"");
    let value = vec![7; BATCH_BYTES_MAX - largest.bytes_len()];
    largest.clear();
    largest.put(b"key", &value);
    assert_eq!(largest.bytes_len(), BATCH_BYTES_MAX);
    let mut larger = largest.clone();
    larger.delete(b"x");
    let refused = store.commit(shard, epoch, &larger).unwrap_err();
    assert!(
        matches!(refused, StoreError::TooLarge { bytes_max, .. } if bytes_max == BATCH_BYTES_MAX),
        "{refused}"
    );
    store.commit(shard, epoch, &largest).unwrap();
    let store = reopen(store);
    assert!(dump(&store, shard).1 == Live::from([(b"key".to_vec(), value)]));
    store
}

fn shards_are_kept_apart<S: Store>(store: S, reopen: Reopen<'_, S>, shard: ShardId) -> S {
    let other = ShardId(shard.0 + 1);
    let (epoch, _) = dump(&store, shard);
    let (other_epoch, _) = dump(&store, other);
    store
        .commit(shard, epoch, &batch(&[("a", Some("one"))]))
        .unwrap();
    store
        .commit(
            other,
            other_epoch,
            &batch(&[("a", Some("two")), ("b", Some("two"))]),
        )
        .unwrap();
    let (_, found) = dump(&store, shard);
    assert_eq!(found, live(&[("a", "one")]));
    // Claiming the one does not depose the other.
    store
        .commit(other, other_epoch, &batch(&[("b", None)]))
        .unwrap();
    let store = reopen(store);
    assert_eq!(dump(&store, shard).1, live(&[("a", "one")]));
    assert_eq!(dump(&store, other).1, live(&[("a", "two")]));
    store
}

fn a_loader_that_fails_leaves_the_shard_unclaimed<S: Store>(
    store: S,
    _: Reopen<'_, S>,
    shard: ShardId,
) -> S {
    let (epoch, _) = dump(&store, shard);
    let write = batch(&[("a", Some("1"))]);
    store.commit(shard, epoch, &write).unwrap();
    let failed = store.claim(shard, &mut |_, _| {
        Err(StoreError::Unreadable {
            what: "a test".to_owned(),
        })
    });
    assert!(matches!(failed, Err(StoreError::Unreadable { .. })));
    store.commit(shard, epoch, &write).unwrap_err();
    assert_eq!(dump(&store, shard).1, live(&[("a", "1")]));
    store
}

fn the_server_key_stays<S: Store>(store: S, reopen: Reopen<'_, S>, _: ShardId) -> S {
    let key = store.server_key();
    let store = reopen(store);
    assert_eq!(store.server_key(), key);
    store
}
