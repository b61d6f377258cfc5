//! A store whose commits and claims wait, fail and panic on demand.

use std::sync::{Condvar, Mutex, MutexGuard};

use super::PATIENCE;
use crate::store::crash::{CrashStore, Fault};
use crate::store::{Batch, Epoch, MemoryStore, ShardId, Store, StoreError, Visit};

/// How a commit goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wrong {
    Fault(Fault),
    Full,
    Panic,
}

pub(super) struct ScriptedStore {
    inner: CrashStore<MemoryStore>,
    script: Mutex<Script>,
    changed: Condvar,
}

#[derive(Default)]
struct Script {
    commits_wait: bool,
    claims_wait: bool,
    /// Those that wait now.
    waiting: usize,
    claims_fail: bool,
    next: Option<Wrong>,
    commits: usize,
    claims: usize,
    no_room: bool,
}

impl ScriptedStore {
    pub(super) fn new() -> ScriptedStore {
        ScriptedStore {
            inner: CrashStore::new(MemoryStore::new([7; 32])),
            script: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// From now on commits wait.
    pub(super) fn hold_commits(&self) {
        self.script().commits_wait = true;
    }

    /// From now on claims wait.
    pub(super) fn hold_claims(&self) {
        self.script().claims_wait = true;
    }

    /// Returns when a commit, or a claim, waits.
    pub(super) fn until_one_waits(&self) {
        let script = self.script();
        let (script, _) = self
            .changed
            .wait_timeout_while(script, PATIENCE, |script| script.waiting == 0)
            .unwrap();
        assert!(script.waiting > 0, "nothing waits");
    }

    /// Lets whatever waits go on.
    pub(super) fn let_go(&self) {
        let mut script = self.script();
        script.commits_wait = false;
        script.claims_wait = false;
        drop(script);
        self.changed.notify_all();
    }

    /// The next commit goes wrong.
    pub(super) fn next_goes(&self, wrong: Wrong) {
        self.script().next = Some(wrong);
    }

    /// From now on claims fail, or no longer.
    pub(super) fn claims_fail(&self, fail: bool) {
        self.script().claims_fail = fail;
    }

    pub(super) fn set_room(&self, room: bool) {
        self.script().no_room = !room;
    }

    /// How many commits have begun.
    pub(super) fn commits(&self) -> usize {
        self.script().commits
    }

    /// How many claims have begun.
    pub(super) fn claims(&self) -> usize {
        self.script().claims
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn pass(&self, waits: impl Fn(&Script) -> bool) -> MutexGuard<'_, Script> {
        let mut script = self.script();
        script.waiting += 1;
        self.changed.notify_all();
        while waits(&script) {
            script = self.changed.wait(script).unwrap();
        }
        script.waiting -= 1;
        script
    }
}

impl Store for ScriptedStore {
    fn server_key(&self) -> [u8; 32] {
        self.inner.server_key()
    }

    fn claim(&self, shard: ShardId, visit: &mut Visit<'_>) -> Result<Epoch, StoreError> {
        self.script().claims += 1;
        let script = self.pass(|script| script.claims_wait);
        if script.claims_fail {
            return Err(StoreError::Stopped { shard });
        }
        drop(script);
        self.inner.claim(shard, visit)
    }

    fn commit(&self, shard: ShardId, epoch: Epoch, batch: &Batch) -> Result<(), StoreError> {
        self.script().commits += 1;
        let wrong = self.pass(|script| script.commits_wait).next.take();
        match wrong {
            None => {}
            Some(Wrong::Fault(fault)) => self.inner.fail_next(fault),
            Some(Wrong::Full) => {
                self.inner.fail_next(Fault::Before);
                self.inner.commit(shard, epoch, batch).unwrap_err();
                return Err(StoreError::Full {
                    path: "scripted".into(),
                    source: std::io::ErrorKind::StorageFull.into(),
                });
            }
            Some(Wrong::Panic) => panic!("scripted"),
        }
        self.inner.commit(shard, epoch, batch)
    }

    fn has_room(&self, _: ShardId) -> bool {
        !self.script().no_room
    }

    fn release(&self, shard: ShardId, epoch: Epoch) {
        self.inner.release(shard, epoch);
    }
}
