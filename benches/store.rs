//! What a commit to the embedded store costs, beside one sync of the same bytes in a file, and how
//! fast it loads. Run with `cargo bench --bench store`, or with `-- 128` for commits of that many
//! entries only; it needs about half a gigabyte of disk.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that fails may stop"
)]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast::store::{Batch, EmbeddedStore, Epoch, ShardId, Store};

const SHARD: ShardId = ShardId(0);
const ENTRIES: [u64; 5] = [1, 16, 64, 128, 512];
const ROUND: Duration = Duration::from_millis(2500);
const LOADED_KEYS: u64 = 1_000_000;
/// Names the directory a child process fills, to be killed when it has.
const FILL: &str = "HOLDFAST_BENCH_FILL";

/// Locks taken and released again and again: about 110 bytes an entry, over `keys` keys.
fn fill(batch: &mut Batch, entries: u64, random: &mut u64, keys: u64) {
    batch.clear();
    for _ in 0..entries {
        *random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        put(batch, (*random >> 33) % keys, *random as u8);
    }
}

fn put(batch: &mut Batch, key: u64, filler: u8) {
    batch.put(format!("lock/default/{key:012}").as_bytes(), &[filler; 80]);
}

fn claim(store: &EmbeddedStore) -> (Epoch, u64) {
    let mut keys = 0;
    let epoch = store
        .claim(SHARD, &mut |_, _| {
            keys += 1;
            Ok(())
        })
        .unwrap();
    (epoch, keys)
}

/// Processor time of this process, in both modes. From the process file system, in ticks of 10 ms:
/// exact enough over seconds.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<i64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // utime and stime are the 11th and 12th numbers after the command and the state's letter.
    let ticks = fields.get(10).unwrap_or(&0) + fields.get(11).unwrap_or(&0);
    Duration::from_millis(10 * ticks.unsigned_abs())
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn measure(name: &str, entries: u64, mut commit: impl FnMut(&Batch), keys: u64) {
    let mut random = 1;
    let mut batch = Batch::new();
    let mut micros = Vec::new();
    let (start, processor) = (Instant::now(), processor_time());
    while start.elapsed() < ROUND {
        fill(&mut batch, entries, &mut random, keys);
        let before = Instant::now();
        commit(&batch);
        micros.push(before.elapsed().as_micros());
    }
    let (elapsed, processor) = (start.elapsed(), processor_time() - processor);
    micros.sort_unstable();
    let commits = micros.len();
    let at = |thousandths: usize| micros[(commits - 1) * thousandths / 1000];
    println!(
        "{name:24} {entries:4} entries: {:8.0} ops/s  p50 {:5} p99 {:6} p99.9 {:6} max {:7} us  {:6.1} us processor a commit",
        (commits as u64 * entries) as f64 / elapsed.as_secs_f64(),
        at(500),
        at(990),
        at(999),
        at(1000),
        processor.as_secs_f64() * 1e6 / commits as f64,
    );
}

fn measure_commits(directory: &Path, entries: &[u64]) {
    for &entries in entries {
        let file = File::create(directory.join("append")).unwrap();
        let mut end = 0;
        measure(
            "append and sync",
            entries,
            |batch| {
                file.write_all_at(batch.as_bytes(), end).unwrap();
                end += batch.bytes_len() as u64;
                file.sync_data().unwrap();
            },
            1_000_000,
        );
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(directory.join("zeros"))
            .unwrap();
        file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
        file.sync_all().unwrap();
        end = 0;
        measure(
            "the same over zeros",
            entries,
            |batch| {
                file.write_all_at(batch.as_bytes(), end).unwrap();
                end = (end + batch.bytes_len() as u64) % (60 << 20);
                file.sync_data().unwrap();
            },
            1_000_000,
        );
        for (name, keys) in [
            ("store, 10,000 keys", 10_000),
            ("store, 1,000,000 keys", 1_000_000),
        ] {
            let path = directory.join(format!("store-{entries}-{keys}"));
            let store = EmbeddedStore::open(&path).unwrap();
            let (epoch, _) = claim(&store);
            measure(
                name,
                entries,
                |batch| store.commit(SHARD, epoch, batch).unwrap(),
                keys,
            );
            drop(store);
            fs::remove_dir_all(&path).unwrap();
        }
    }
}

fn fill_and_wait(directory: &Path) {
    let store = EmbeddedStore::open(directory).unwrap();
    let (epoch, _) = claim(&store);
    let mut batch = Batch::new();
    for first in (0..LOADED_KEYS).step_by(500) {
        batch.clear();
        for key in first..first + 500 {
            // Spread, as names are.
            put(&mut batch, key * 7_919 % LOADED_KEYS, 1);
        }
        store.commit(SHARD, epoch, &batch).unwrap();
    }
    let shard = directory.join("shard-00000");
    let logs = || {
        fs::read_dir(&shard)
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("log-")
            })
            .count()
    };
    // The fold's end shows in the files: one to write to and one at hand.
    let start = Instant::now();
    while logs() > 2 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!(
        "filled; the fold took {:?} longer; resident {} KiB",
        start.elapsed(),
        resident_kib()
    );
    std::process::abort();
}

fn measure_load(directory: &Path) {
    let path = directory.join("load");
    let status = Command::new(std::env::current_exe().unwrap())
        .env(FILL, &path)
        .status()
        .unwrap();
    assert!(!status.success(), "the child dies in the middle");
    let resident = resident_kib();
    let start = Instant::now();
    let store = EmbeddedStore::open(&path).unwrap();
    let (_, keys) = claim(&store);
    println!(
        "open and visit {keys} keys after a crash: {:?}; resident {resident} KiB before, {} after",
        start.elapsed(),
        resident_kib()
    );
}

fn main() {
    if let Some(directory) = std::env::var_os(FILL) {
        fill_and_wait(Path::new(&directory));
    }
    let temp = tempfile::tempdir().unwrap();
    let chosen: Vec<u64> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    if chosen.is_empty() {
        measure_load(temp.path());
        measure_commits(temp.path(), &ENTRIES);
    } else {
        measure_commits(temp.path(), &chosen);
    }
}
