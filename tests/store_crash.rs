//! The embedded store against `kill -9`.
//!
//! A child process, which is this test run again, commits numbered batches and says so after each
//! acknowledgement. It is killed in the middle of that, and everything it said must be there, and
//! nothing by half.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise ends the test"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use holdfast::store::{Batch, EmbeddedStore, Epoch, ShardId, Store};

const DIRECTORY: &str = "HOLDFAST_TEST_CRASH_DIRECTORY";
const SHARD: ShardId = ShardId(0);

/// How often the child is killed; the directory goes on from one round to the next.
const ROUNDS: u64 = 6;

/// So large that about a hundred batches fill a file of the log and a fold runs.
const VALUE_BYTES: usize = 48 * 1024;

/// Keys that every batch changes together, so that half a batch shows.
const TOGETHER: [&[u8]; 3] = [b"a", b"m", b"z"];

fn claim(store: &EmbeddedStore) -> (Epoch, u64) {
    let mut found = BTreeMap::new();
    let epoch = store
        .claim(SHARD, &mut |key, value| {
            let number = u64::from_le_bytes(value[..8].try_into().unwrap());
            assert!(value[8..].iter().all(|byte| *byte == value[0]));
            found.insert(key.to_vec(), number);
            Ok(())
        })
        .unwrap();
    let numbers: Vec<_> = TOGETHER.iter().map(|key| found.get(*key)).collect();
    assert!(
        numbers.iter().all(|number| *number == numbers[0]),
        "half a batch is there: {numbers:?}"
    );
    let last = numbers[0].copied().unwrap_or(0);
    // Each batch leaves a mark and takes the one from ten batches ago away.
    let marks: Vec<_> = found
        .iter()
        .filter(|(key, _)| key.starts_with(b"mark"))
        .map(|(_, number)| *number)
        .collect();
    assert_eq!(marks, Vec::from_iter((last.max(10) - 9).max(1)..=last));
    (epoch, last)
}

fn batch(number: u64) -> Batch {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(VALUE_BYTES, value[0]);
    let mut batch = Batch::new();
    for key in TOGETHER {
        batch.put(key, &value);
    }
    batch.put(format!("mark{number:020}").as_bytes(), &value[..100]);
    if number > 10 {
        batch.delete(format!("mark{:020}", number - 10).as_bytes());
    }
    batch
}

#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = EmbeddedStore::open(Path::new(&directory)).unwrap();
    let (epoch, last) = claim(&store);
    let mut out = std::io::stdout();
    writeln!(out, "ready").unwrap();
    for number in last + 1.. {
        store.commit(SHARD, epoch, &batch(number)).unwrap();
        writeln!(out, "done {number}").unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let temp = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_that_commits_until_it_is_killed",
                "--nocapture",
            ])
            .env(DIRECTORY, temp.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let before = acknowledged;
        // Different in every round, and so at another place of the log and the fold.
        let kill_after = 3 + round * round * 4;
        for line in lines {
            let line = line.unwrap();
            if let Some(number) = line.strip_prefix("done ") {
                acknowledged = number.parse().unwrap();
                if acknowledged == before + kill_after {
                    // The pipe is read on: what was said before the end counts too.
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(
            acknowledged >= before + kill_after,
            "the child did too little"
        );
        let store = EmbeddedStore::open(temp.path()).unwrap();
        let (_, last) = claim(&store);
        assert!(
            last == acknowledged || last == acknowledged + 1,
            "{acknowledged} was acknowledged and {last} is there"
        );
        acknowledged = last;
    }
    assert!(acknowledged > 200, "too little was done: {acknowledged}");
}
