//! The rules of the service, one small test for each, named for what must hold.
//!
//! They go through [`State::apply`] and [`State::tick`] only, as a shard does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fifo;
mod history;
mod lapse;
mod lease;
mod line;
mod load;
mod lock;
mod queue;
mod request;
mod session;
mod value;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(5);

/// A shard without threads: every command is committed at once.
struct Rules {
    state: State,
    now: Time,
    wall: WallTime,
    last_call: u64,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the last command or tick wanted stored.
    changes: Vec<Change>,
    /// What was told and not taken yet.
    told: Vec<Effect>,
}

impl Rules {
    fn new() -> Rules {
        Rules {
            state: State::default(),
            now: Time::ZERO,
            wall: WallTime(1_000),
            last_call: 0,
            store: BTreeMap::new(),
            changes: Vec::new(),
            told: Vec::new(),
        }
    }

    fn context(&self) -> Context {
        Context {
            now: self.now,
            wall: self.wall,
        }
    }

    fn commit(&mut self, mut out: Out) {
        self.changes.clone_from(&out.changes);
        if !out.changes.is_empty() {
            self.state.mark_clock(&mut out);
        }
        for change in out.changes {
            match change {
                Change::Put(record) => {
                    let mut value = Vec::new();
                    record.encode_value(&mut value);
                    let before = self.store.insert(record.key.encode(), value);
                    assert!(before.is_none() || !record.is_written_once());
                }
                Change::Delete(key) => drop(self.store.remove(&key.encode())),
            }
        }
        self.told.append(&mut out.effects);
    }

    /// Asks in a namespace; the answer is to be taken with [`Rules::reply`].
    fn ask_in(&mut self, namespace: &str, command: Command) -> CallId {
        self.last_call += 1;
        let call = CallId(self.last_call);
        let request = Request {
            call,
            namespace: Namespace::new(namespace).unwrap(),
            command,
        };
        let mut out = Out::default();
        self.state.apply(self.context(), request, &mut out);
        self.commit(out);
        call
    }

    fn ask(&mut self, command: Command) -> CallId {
        self.ask_in("default", command)
    }

    /// Asks, and takes the answer that has to come at once.
    fn call(&mut self, command: Command) -> Result<Answer, Refusal> {
        let call = self.ask(command);
        self.reply(call).expect("an answer at once")
    }

    /// Takes the final answer of a call, where it has come.
    fn reply(&mut self, call: CallId) -> Option<Result<Answer, Refusal>> {
        let index = self
            .told
            .iter()
            .position(|effect| matches!(effect, Effect::Reply(to, _) if *to == call))?;
        match self.told.remove(index) {
            Effect::Reply(_, reply) => Some(reply),
            _ => None,
        }
    }

    /// The positions that a call was told, in order; they are taken.
    fn positions(&mut self, call: CallId) -> Vec<u32> {
        let mut positions = Vec::new();
        self.told.retain(|effect| match effect {
            Effect::Queued(to, _, position) if *to == call => {
                positions.push(*position);
                false
            }
            _ => true,
        });
        positions
    }

    /// Takes a lock at once; its fencing token.
    fn take(&mut self, acquire: Acquire) -> u64 {
        token(self.call(Command::Acquire(acquire)))
    }

    /// Stands in line.
    fn stand(&mut self, acquire: Acquire) -> CallId {
        let acquire = Acquire {
            wait: if acquire.wait.is_zero() {
                WAIT
            } else {
                acquire.wait
            },
            ..acquire
        };
        let call = self.ask(Command::Acquire(acquire));
        assert!(!self.positions(call).is_empty(), "it has to wait");
        call
    }

    /// The token of the grant that a waiting call has got.
    fn got(&mut self, call: CallId) -> u64 {
        token(self.reply(call).expect("a grant"))
    }

    fn release(&mut self, lock: &str, token: u64) -> Result<Answer, Refusal> {
        self.call(Command::Release {
            lock: name(lock),
            proof: Proof::Token(token),
            session: None,
            request_id: None,
        })
    }

    fn renew(&mut self, lock: &str, token: u64, ttl: Option<Duration>) -> Result<Answer, Refusal> {
        self.call(Command::Renew {
            lock: name(lock),
            proof: Proof::Token(token),
            ttl,
        })
    }

    fn holds(&mut self, lock: &str, token: u64) -> bool {
        let checked = self.call(Command::Check {
            lock: name(lock),
            fencing_token: token,
        });
        matches!(checked, Ok(Answer::Checked { current: true, .. }))
    }

    fn view(&mut self, lock: &str) -> LockView {
        match self.call(Command::GetLock { lock: name(lock) }) {
            Ok(Answer::Lock(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    fn lease(&mut self, ttl: Duration) -> LeaseId {
        let id = LeaseId(u128::from(self.last_call) + 1_000);
        let made = self.call(Command::CreateLease {
            id,
            ttl,
            about: None,
            request_id: None,
        });
        assert!(matches!(made, Ok(Answer::Lease(_))));
        id
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<Answer, Refusal> {
        self.call(Command::RevokeLease {
            id: lease,
            request_id: None,
        })
    }

    /// Ends the grant and the delay of that token, or all there are; how many.
    fn force(&mut self, lock: &str, fencing_token: Option<u64>) -> usize {
        let forced = self.call(Command::ForceRelease {
            lock: name(lock),
            fencing_token,
            request_id: None,
        });
        match forced {
            Ok(Answer::Forced(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self, lease: SessionLease) -> CallId {
        let call = self.ask(Command::OpenSession { lease });
        let opened = |effect: &Effect| matches!(effect, Effect::SessionOpened { session, .. } if *session == call);
        assert!(self.told.iter().any(opened));
        call
    }

    fn give_back(&mut self, lock: &str, fencing_token: u64) {
        self.ask(Command::GiveBack {
            lock: name(lock),
            fencing_token,
        });
    }

    fn tick(&mut self) {
        let mut out = Out::default();
        self.state.tick(self.context(), &mut out);
        self.commit(out);
    }

    /// Time passes, and the shard ticks.
    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.tick();
    }

    /// Everything that is not in the store is lost. The first tick is the test's to make.
    fn crash(&mut self) {
        let mut loader = State::loader();
        for (key, value) in &self.store {
            loader.record(key, value).unwrap();
        }
        self.state = loader.finish();
        self.now = self.state.now();
        self.told.clear();
    }

    fn has_record(&self, key: &Key) -> bool {
        self.state.records().iter().any(|record| record.key == *key)
    }
}

fn name(lock: &str) -> LockName {
    LockName::new(lock).unwrap()
}

fn id(text: &str) -> Option<RequestId> {
    Some(RequestId::new(text).unwrap())
}

/// An exclusive acquire with a TTL of 10 s that does not wait.
fn acquire(lock: &str) -> Acquire {
    Acquire {
        lock: name(lock),
        mode: Mode::Exclusive,
        max_shared: None,
        hold: Hold::Ttl(TTL),
        release_delay: ReleaseDelay::default(),
        wait: Duration::ZERO,
        about: None,
        request_id: None,
        session: None,
        must_exist: false,
        open: false,
        subscribe: None,
    }
}

fn shared(lock: &str) -> Acquire {
    Acquire {
        mode: Mode::Shared,
        ..acquire(lock)
    }
}

/// A shared acquire with at most `max` holders.
fn up_to(lock: &str, max: u32) -> Acquire {
    Acquire {
        max_shared: Some(max),
        ..shared(lock)
    }
}

fn on_lease(acquire: Acquire, lease: LeaseId) -> Acquire {
    Acquire {
        hold: Hold::Lease(lease),
        ..acquire
    }
}

fn with_id(acquire: Acquire, request_id: &str) -> Acquire {
    Acquire {
        request_id: id(request_id),
        ..acquire
    }
}

fn token(reply: Result<Answer, Refusal>) -> u64 {
    granted(reply).holder.fencing_token
}

fn granted(reply: Result<Answer, Refusal>) -> Granted {
    match reply {
        Ok(Answer::Granted(granted) | Answer::Put { granted, .. }) => granted,
        other => panic!("no grant: {other:?}"),
    }
}

fn put(lock: &str, ttl: Option<Duration>) -> Command {
    Command::PutOpen {
        lock: name(lock),
        ttl,
        default_ttl: TTL,
        about: None,
    }
}

fn renewed(left: Duration) -> Result<Answer, Refusal> {
    Ok(Answer::Renewed {
        expires_in: Some(left),
    })
}

fn is_held(reply: &Result<Answer, Refusal>) -> bool {
    matches!(reply, Err(Refusal::LockHeld(_)))
}

fn is_timed_out(reply: &Option<Result<Answer, Refusal>>) -> bool {
    matches!(reply, Some(Err(Refusal::WaitTimedOut(_))))
}
