//! The embedded store under the shared suite, and under what only a disk can do to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::disk::{Disk, RealDisk};
use super::faults::FaultDisk;
use super::*;
use crate::store::conformance::{self, Live, Step, dump, random_steps};
use crate::store::crash::next_random;

const SHARD: ShardId = ShardId(0);

/// So small that a few hundred commits fill many files of the log.
const SMALL: Tuning = Tuning {
    segment_bytes: 8 * 1024,
    segment_records: 64,
    zeros_bytes: 0,
    fold_piece_writes: 7,
    full_rest: Duration::from_millis(5),
};

/// So large that nothing is ever folded.
const UNFOLDED: Tuning = Tuning {
    segment_bytes: u64::MAX / 4,
    segment_records: u64::MAX / 4,
    ..SMALL
};

/// The disk of a machine that never loses power: here a sync would only take its time.
#[derive(Debug)]
struct SteadyDisk;

impl Disk for SteadyDisk {
    fn sync(&self, _: &fs::File, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path, tuning: Tuning) -> EmbeddedStore {
    open_on(path, Arc::new(SteadyDisk), tuning)
}

fn open_on(path: &Path, disk: Arc<dyn Disk>, tuning: Tuning) -> EmbeddedStore {
    EmbeddedStore::open_on(path, disk, tuning).unwrap()
}

/// Batch number `number`: two keys that must always agree, and a counter of all batches.
fn numbered(number: u64) -> Batch {
    let value = number.to_le_bytes();
    let mut batch = Batch::new();
    batch.put(b"count", &value);
    batch.put(format!("left/{}", number % 9).as_bytes(), &value.repeat(20));
    batch.put(
        format!("right/{}", number % 9).as_bytes(),
        &value.repeat(20),
    );
    if number.is_multiple_of(5) {
        batch.delete(format!("left/{}", (number + 1) % 9).as_bytes());
        batch.delete(format!("right/{}", (number + 1) % 9).as_bytes());
    }
    batch
}

/// What the numbered batches up to `last` leave.
fn numbered_up_to(last: u64) -> Live {
    let mut live = Live::new();
    for number in 1..=last {
        for (key, value) in &numbered(number) {
            match value {
                Some(value) => live.insert(key.to_vec(), value.to_vec()),
                None => live.remove(key),
            };
        }
    }
    live
}

fn count_of(live: &Live) -> u64 {
    live.get(b"count".as_slice()).map_or(0, |value| {
        u64::from_le_bytes(value[..8].try_into().unwrap())
    })
}

fn log_files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path.join("shard-00000"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("log-")
        })
        .collect();
    files.sort();
    files
}

#[test]
fn embedded_keeps_the_contract() {
    let temp = tempfile::tempdir().unwrap();
    let usual = Tuning {
        zeros_bytes: 1024 * 1024,
        ..TUNING
    };
    let steady: Arc<dyn Disk> = Arc::new(SteadyDisk);
    let real: Arc<dyn Disk> = Arc::new(RealDisk);
    for (name, tuning, disk) in [("small", SMALL, steady), ("usual", usual, real)] {
        let path = temp.path().join(name);
        conformance::check(open_on(&path, Arc::clone(&disk), tuning), |store| {
            drop(store);
            open_on(&path, Arc::clone(&disk), tuning)
        });
    }
}

#[test]
fn a_fold_in_the_middle_of_commits_and_claims_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut reopened = 0;
    let steps = random_steps(7, 1000);
    conformance::follow_model(
        open(temp.path(), SMALL),
        &mut |store| {
            drop(store);
            reopened += 1;
            open(temp.path(), SMALL)
        },
        SHARD,
        &steps,
    );
    assert!(reopened > 3);
    // The log was far longer than what is left of it: it was folded.
    assert!(
        log_files(temp.path()).first().unwrap()
            > &temp.path().join("shard-00000/log-0000000003.log")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn any_steps_agree_with_a_map(steps in proptest::collection::vec(any_step(), 1..60)) {
        let temp = tempfile::tempdir().unwrap();
        let tuning = Tuning { segment_records: 3, ..SMALL };
        conformance::follow_model(
            open(temp.path(), tuning),
            &mut |store| { drop(store); open(temp.path(), tuning) },
            SHARD,
            &steps,
        );
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = proptest::collection::vec(0..4_u8, 0..3);
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        20 => proptest::collection::vec((key, value), 0..6).prop_map(Step::Commit),
        1 => Just(Step::Claim),
        1 => Just(Step::Reopen),
    ]
}

#[test]
fn after_a_power_cut_the_acknowledged_batches_are_there_and_none_by_half() {
    let (mut torn, mut kept) = (0, 0);
    for seed in 0..20 {
        let temp = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultDisk::default());
        let store = open_on(temp.path(), Arc::clone(&disk) as _, SMALL);
        let (epoch, _) = dump(&store, SHARD);
        let commits = 20 + seed * 7;
        for number in 1..=commits {
            store.commit(SHARD, epoch, &numbered(number)).unwrap();
        }
        // One more is written, and the power goes in the middle of its sync, or of the fold's.
        disk.cut_at_next_sync();
        let last = store.commit(SHARD, epoch, &numbered(commits + 1));
        disk.crash(seed);
        drop(store);
        let (_, live) = dump(&open(temp.path(), SMALL), SHARD);
        let count = count_of(&live);
        assert!(count >= commits + u64::from(last.is_ok()), "seed {seed}");
        assert!(live == numbered_up_to(count), "seed {seed}");
        if count > commits {
            kept += 1
        } else {
            torn += 1
        }
    }
    assert!(torn > 0, "{torn} torn, {kept} kept");
}

#[test]
fn a_commit_torn_by_its_sync_is_there_whole_or_not_at_all() {
    let (mut torn, mut kept) = (0, 0);
    for seed in 0..60 {
        let temp = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultDisk::default());
        let store = open_on(temp.path(), Arc::clone(&disk) as _, UNFOLDED);
        let (epoch, _) = dump(&store, SHARD);
        let commits = 3 + seed % 5;
        for number in 1..=commits {
            store.commit(SHARD, epoch, &numbered(number)).unwrap();
        }
        disk.cut_at_next_sync();
        store
            .commit(SHARD, epoch, &numbered(commits + 1))
            .unwrap_err();
        disk.crash(seed);
        drop(store);
        let (_, live) = dump(&open(temp.path(), UNFOLDED), SHARD);
        let count = count_of(&live);
        assert!(count == commits || count == commits + 1, "seed {seed}");
        assert!(live == numbered_up_to(count), "seed {seed}");
        if count > commits {
            kept += 1
        } else {
            torn += 1
        }
    }
    assert!(torn > 10 && kept > 5, "{torn} torn, {kept} kept");
}

#[test]
fn a_power_cut_in_mid_write_leaves_the_last_whole_batch() {
    for seed in 0..30 {
        let temp = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultDisk::default());
        let store = open_on(temp.path(), Arc::clone(&disk) as _, UNFOLDED);
        let (epoch, _) = dump(&store, SHARD);
        for number in 1..=5 {
            store.commit(SHARD, epoch, &numbered(number)).unwrap();
        }
        // A write that is refused midway stops the commit with some of its pages unsynced.
        disk.fill_up(seed % 6);
        let failed = store.commit(SHARD, epoch, &numbered(6)).is_err();
        disk.crash(seed);
        drop(store);
        let (_, live) = dump(&open(temp.path(), UNFOLDED), SHARD);
        let count = count_of(&live);
        assert!(count == 5 || count == 6, "{count}");
        assert!(failed || count == 6);
        assert!(live == numbered_up_to(count));
    }
}

#[test]
fn after_a_failed_sync_a_claim_makes_durable_what_it_shows() {
    let mut failures = 0;
    for seed in 0..40 {
        let temp = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultDisk::default());
        let store = open_on(temp.path(), Arc::clone(&disk) as _, SMALL);
        let (epoch, _) = dump(&store, SHARD);
        disk.fail_sync(seed);
        let mut number = 0;
        while !disk.sync_failed() || number < 10 {
            number += 1;
            if store.commit(SHARD, epoch, &numbered(number)).is_err() {
                failures += 1;
                let again = store.commit(SHARD, epoch, &numbered(number));
                assert!(matches!(again, Err(StoreError::Stopped { .. })));
                break;
            }
        }
        let (epoch, shown) = dump(&store, SHARD);
        let shown_count = count_of(&shown);
        assert!(shown == numbered_up_to(shown_count));
        for number in shown_count + 1..=shown_count + 20 {
            store.commit(SHARD, epoch, &numbered(number)).unwrap();
        }
        disk.crash(seed);
        drop(store);
        let (_, live) = dump(&open(temp.path(), SMALL), SHARD);
        assert!(live == numbered_up_to(shown_count + 20), "seed {seed}");
    }
    assert!(failures > 20, "only {failures} syncs failed under a commit");
}

#[test]
fn a_full_disk_is_told_apart_and_a_claim_works_once_there_is_room() {
    for writes in 0..40 {
        let temp = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultDisk::default());
        let store = open_on(temp.path(), Arc::clone(&disk) as _, SMALL);
        let (epoch, _) = dump(&store, SHARD);
        disk.fill_up(writes);
        let mut number = 1;
        let error = loop {
            match store.commit(SHARD, epoch, &numbered(number)) {
                Ok(()) => number += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        let again = store.commit(SHARD, epoch, &numbered(number));
        assert!(matches!(again, Err(StoreError::Stopped { .. })));
        disk.make_room();
        let (epoch, live) = dump(&store, SHARD);
        let count = count_of(&live);
        assert!(count >= number - 1);
        assert!(live == numbered_up_to(count));
        store.commit(SHARD, epoch, &numbered(count + 1)).unwrap();
    }
}

/// Files of the log that have their room from the beginning.
const ROOMY: Tuning = Tuning {
    segment_bytes: 64 * 1024,
    segment_records: u64::MAX / 4,
    zeros_bytes: 1024 * 1024,
    ..SMALL
};

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 30, "it never came that {what}");
        std::thread::yield_now();
    }
}

fn until_there_is_a_spare(path: &Path) {
    until("there is a spare", || {
        log_files(path)
            .iter()
            .filter(|file| file.extension().is_some_and(|end| end == "log"))
            .count()
            > 1
    });
}

#[test]
fn a_full_disk_is_told_before_a_commit_fails_and_holders_go_on_until_there_is_room() {
    let temp = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultDisk::default());
    let store = open_on(temp.path(), Arc::clone(&disk) as _, ROOMY);
    let (epoch, _) = dump(&store, SHARD);
    until_there_is_a_spare(temp.path());
    disk.give_no_more();
    let mut number = 0;
    let mut commit = |count: u64| {
        for _ in 0..count {
            number += 1;
            store.commit(SHARD, epoch, &numbered(number)).unwrap();
        }
        number
    };
    // While there is a spare there is room.
    commit(20);
    assert!(store.has_room(SHARD));
    // The log goes on in it, and there is no room for another.
    commit(150);
    until("the store says that it is full", || !store.has_room(SHARD));
    commit(150);
    disk.make_room();
    until("there is room again", || store.has_room(SHARD));
    let last = commit(1000);
    drop(store);
    let live = dump(&open(temp.path(), ROOMY), SHARD).1;
    assert!(live == numbered_up_to(last));
}

#[test]
fn a_log_that_can_not_grow_stops_and_goes_on_in_the_spare() {
    let temp = tempfile::tempdir().unwrap();
    let tuning = Tuning {
        segment_bytes: u64::MAX / 4,
        ..ROOMY
    };
    let disk = Arc::new(FaultDisk::default());
    let store = open_on(temp.path(), Arc::clone(&disk) as _, tuning);
    let (epoch, _) = dump(&store, SHARD);
    until_there_is_a_spare(temp.path());
    disk.give_no_more();
    let mut number = 1;
    let error = loop {
        match store.commit(SHARD, epoch, &numbered(number)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let (epoch, live) = dump(&store, SHARD);
    let count = count_of(&live);
    assert!(count >= number - 1 && live == numbered_up_to(count));
    until("the store says that it is full", || !store.has_room(SHARD));
    for number in count + 1..=count + 100 {
        store.commit(SHARD, epoch, &numbered(number)).unwrap();
    }
    // A start on the full disk finds it all, and goes on too.
    drop(store);
    let store = open_on(temp.path(), Arc::clone(&disk) as _, tuning);
    let (epoch, live) = dump(&store, SHARD);
    assert!(live == numbered_up_to(count + 100));
    store.commit(SHARD, epoch, &numbered(count + 101)).unwrap();
    until("the store says that it is full", || !store.has_room(SHARD));
    disk.make_room();
    until("there is room again", || store.has_room(SHARD));
}

/// A store of 300 numbered batches in several files of the log, given back and closed.
fn closed_store(path: &Path, tuning: Tuning) {
    let store = open(path, tuning);
    let (epoch, _) = dump(&store, SHARD);
    for number in 1..=300 {
        store.commit(SHARD, epoch, &numbered(number)).unwrap();
    }
    store.release(SHARD, epoch);
}

fn copy_store(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("shard-00000")).unwrap();
    fs::copy(from.join("FORMAT"), to.join("FORMAT")).unwrap();
    for entry in fs::read_dir(from.join("shard-00000")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join("shard-00000").join(entry.file_name())).unwrap();
    }
}

/// Claims; anything but the whole state or an error that names a file is a failure.
fn claim_or_refuse(path: &Path) -> Option<StoreError> {
    let mut live = Live::new();
    let claimed = open(path, SMALL).claim(SHARD, &mut |key, value| {
        live.insert(key.to_vec(), value.to_vec());
        Ok(())
    });
    match claimed {
        Ok(_) => {
            assert!(
                live == numbered_up_to(count_of(&live)),
                "half a batch was loaded"
            );
            assert_eq!(count_of(&live), 300, "an acknowledged batch is gone");
            None
        }
        Err(error) => {
            let text = error.to_string();
            assert!(matches!(error, StoreError::Damaged { .. }), "{text}");
            assert!(text.contains("shard-00000"), "{text}");
            Some(error)
        }
    }
}

#[test]
fn damage_in_the_middle_is_refused_and_never_skipped() {
    let temp = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for (name, tuning) in [("unfolded", UNFOLDED), ("folded", SMALL)] {
        let whole = temp.path().join(name);
        closed_store(&whole, tuning);
        for number in 0..30_usize {
            let path = temp.path().join(format!("{name}-{number}"));
            copy_store(&whole, &path);
            let mut files = log_files(&path);
            files.push(path.join("shard-00000/state.redb"));
            let file = &files[number % files.len()];
            let mut bytes = fs::read(file).unwrap();
            // Somewhere in what was written: most of a file is room to grow.
            let written: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            let at = next_random(&mut (number as u64)) as usize % written.len();
            bytes[written[at]..]
                .iter_mut()
                .take(6000)
                .for_each(|byte| *byte ^= 0xA5);
            fs::write(file, bytes).unwrap();
            refused += u32::from(claim_or_refuse(&path).is_some());
        }
    }
    assert!(refused > 10, "only {refused} damages were seen");
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    for victim in 0..3 {
        let path = temp.path().join(victim.to_string());
        closed_store(&path, UNFOLDED);
        let mut files = log_files(&path);
        files.truncate(1);
        files.push(path.join("shard-00000/state.redb"));
        let Some(file) = files.get(victim) else {
            continue;
        };
        fs::remove_file(file).unwrap();
        let error = claim_or_refuse(&path).unwrap();
        assert!(
            matches!(&error, StoreError::Damaged { path, .. } if path == file),
            "{error}"
        );
        assert!(!file.exists(), "a lost file was made anew");
    }
}

#[test]
fn a_log_cut_short_is_refused_or_whole() {
    let temp = tempfile::tempdir().unwrap();
    let mut refused = 0;
    let whole = temp.path().join("whole");
    closed_store(&whole, UNFOLDED);
    for number in 0..12_u64 {
        let path = temp.path().join(number.to_string());
        copy_store(&whole, &path);
        let file = log_files(&path).remove(0);
        let len = fs::metadata(&file).unwrap().len();
        let cut = fs::OpenOptions::new().write(true).open(&file).unwrap();
        cut.set_len(len * number / 12).unwrap();
        refused += u32::from(claim_or_refuse(&path).is_some());
    }
    assert!(refused > 6, "{refused}");
}

#[test]
fn keys_that_come_and_go_within_a_file_never_reach_the_state() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("shard-00000/state.redb");
    let store = open(temp.path(), SMALL);
    let (epoch, _) = dump(&store, SHARD);
    let before = fs::metadata(&state).unwrap().len();
    for number in 0..1000_u32 {
        let mut batch = Batch::new();
        batch.put(&number.to_le_bytes(), &[1; 200]);
        batch.delete(&number.to_le_bytes());
        store.commit(SHARD, epoch, &batch).unwrap();
    }
    store.release(SHARD, epoch);
    // It may have been trimmed on closing, and has not grown by a page.
    assert!(fs::metadata(&state).unwrap().len() <= before);
    assert_eq!(dump(&store, SHARD).1, Live::new());
}

#[test]
fn a_second_server_is_refused_while_the_first_lives() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), SMALL);
    let second = EmbeddedStore::open(temp.path()).unwrap_err();
    assert!(matches!(second, StoreError::InUse { .. }));
    drop(store);
    EmbeddedStore::open(temp.path()).unwrap();
}
