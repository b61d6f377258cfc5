//! What a shard's mutex guards: the state, and what it has put out since the last batch.
//!
//! Nothing here blocks, wakes or does I/O. A state that may be wrong is dropped at once: without one
//! nothing is applied, and the shard's thread loads it again.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::clock::{Clock, STEP_MAX};
use super::news::{Amends, Caller, News, Wakers};
use super::{
    Failure, UNCOMMITTED_EVENTS_MAX, UNCOMMITTED_MAX, UNCOMMITTED_RESERVE,
    UNCOMMITTED_VALUE_BYTES_MAX,
};
use crate::core::{
    CallId, Change, Command, Context, FifoCommand, Namespace, Out, QueueCommand, Record, Request,
    RequestId, SessionLease, State, Time, Value, WallTime,
};

/// How far a shard is on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It takes calls.
    Accepting,
    /// It takes no more calls, and cleans up behind those that go.
    Draining,
    /// It ends with the next empty batch.
    Stopping,
    /// It takes nothing any more.
    Stopped,
}

/// What gathers while the batch before is being committed.
#[derive(Default)]
pub(super) struct OpenBatch {
    pub(super) changes: Vec<Change>,
    /// How many bytes of values there are in the changes.
    pub(super) value_bytes: usize,
    /// After how many changes an application ended: only there should a batch be cut.
    pub(super) ends: Vec<usize>,
    pub(super) news: VecDeque<News>,
    /// How many of the news are events for watchers: these must not crowd out answers.
    pub(super) events: usize,
    /// What has to be done again if this batch is lost.
    pub(super) amends: Vec<Amends>,
}

impl OpenBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.news.is_empty()
    }
}

/// See the module.
pub(super) struct Work {
    pub(super) stage: Stage,
    /// The thread has ended.
    pub(super) has_ended: bool,
    /// Whether the shard's thread is committing a batch or letting its news out.
    pub(super) committing: bool,
    /// Until when the shard's thread sleeps, if it does.
    pub(super) sleeps_until: Option<Time>,
    /// `None` while it is being loaded again.
    core: Option<State>,
    /// What callers are told while there is no state.
    down: Failure,
    clock: Clock,
    out: Out,
    open: OpenBatch,
    /// Those who may be told more than once, or later than in the batch that they called in.
    callers: HashMap<CallId, Caller, foldhash::fast::RandomState>,
    /// What could not be made good while there was no state, or was lost with it.
    owed: Vec<Amends>,
    wakers: Wakers,
    amends: Vec<Amends>,
    last_call: u64,
}

impl Work {
    pub(super) fn new(core: State) -> Work {
        Work {
            stage: Stage::Accepting,
            has_ended: false,
            committing: false,
            sleeps_until: None,
            clock: Clock::resume(core.now()),
            core: Some(core),
            down: Failure::Unavailable,
            out: Out::default(),
            open: OpenBatch::default(),
            callers: HashMap::default(),
            owed: Vec::new(),
            wakers: Wakers::default(),
            amends: Vec::new(),
            last_call: 0,
        }
    }

    pub(super) fn next_call(&mut self) -> CallId {
        self.last_call += 1;
        CallId(self.last_call)
    }

    pub(super) fn is_serving(&self) -> bool {
        self.stage == Stage::Accepting && self.core.is_some()
    }

    /// Applies a caller's command, or refuses it. `has_room`: whether the store has room to grow.
    pub(super) fn submit(
        &mut self,
        call: CallId,
        namespace: &Namespace,
        command: Command,
        caller: Caller,
        has_room: bool,
    ) {
        match self.admit(namespace, &command, has_room) {
            Ok(()) => self.apply(call, namespace, command, Some(caller)),
            Err(failure) => self.refuse(call, caller, failure),
        }
    }

    /// Refuses a call at once, whatever is under way: it has changed nothing.
    pub(super) fn refuse(&mut self, call: CallId, caller: Caller, failure: Failure) {
        let amends = caller.failed(call, failure).tell(&mut self.wakers);
        self.amends.extend(amends);
    }

    /// Keeps a session's lease alive, and forgets the requests whose answers it has.
    pub(super) fn touch(
        &mut self,
        namespace: &Namespace,
        session: CallId,
        answered: Vec<RequestId>,
    ) {
        let touch = Command::Touch { session, answered };
        if self.admit(namespace, &touch, true).is_ok() {
            let call = self.next_call();
            self.apply(call, namespace, touch, None);
        }
    }

    /// Applies a command that has no answer. Returns whom it took out of the table of callers, to be
    /// dropped once the mutex is free.
    pub(super) fn tell(&mut self, namespace: &Namespace, command: Command) -> Option<Caller> {
        let gone = match &command {
            Command::Cancel { call } => self.callers.remove(call),
            _ => None,
        };
        if self.stage == Stage::Stopped {
            return gone;
        }
        // What is to be given back is durable: giving it back must not be lost with this state.
        // Everything else that is told here was of this state only.
        let amends = gives_back(&command).then(|| Amends {
            namespace: namespace.clone(),
            command: command.clone(),
        });
        if self.core.is_none() {
            self.owed.extend(amends);
            return gone;
        }
        let before = self.open.changes.len();
        let call = self.next_call();
        self.apply(call, namespace, command, None);
        if self.open.changes.len() > before {
            self.open.amends.extend(amends);
        }
        gone
    }

    /// Fails every caller that waits, each taken back first, so that none is granted anything that
    /// nobody would be told of.
    pub(super) fn turn_away(&mut self, failure: &Failure) {
        let mut calls: Vec<_> = self.callers.iter().collect();
        // By arrival, so that leaving does not let those behind through; a session's end comes
        // behind the failures of its calls.
        calls.sort_unstable_by_key(|(call, caller)| (caller.is_session(), **call));
        let calls: Vec<CallId> = calls.into_iter().map(|(call, _)| *call).collect();
        for call in calls {
            // Whoever is not there any more has just been answered.
            if let Some(caller) = self.callers.remove(&call) {
                let namespace = caller.namespace().clone();
                self.apply(call, &namespace, Command::Cancel { call }, None);
                self.open
                    .news
                    .push_back(caller.failed(call, failure.clone()));
            }
        }
    }

    /// Whether a command may be applied now.
    fn admit(
        &self,
        namespace: &Namespace,
        command: &Command,
        has_room: bool,
    ) -> Result<(), Failure> {
        if self.stage != Stage::Accepting {
            return Err(Failure::Stopping);
        }
        let Some(core) = &self.core else {
            return Err(self.down.clone());
        };
        let max = if keeps_or_frees(command) {
            UNCOMMITTED_MAX + UNCOMMITTED_RESERVE
        } else {
            UNCOMMITTED_MAX
        };
        let answers = self.open.news.len() - self.open.events;
        if answers.max(self.open.changes.len()) >= max {
            return Err(Failure::Overloaded);
        }
        let is_put = matches!(
            command,
            Command::PutValue { .. } | Command::Queue(QueueCommand::Enqueue { .. })
        );
        if is_put && self.open.value_bytes >= UNCOMMITTED_VALUE_BYTES_MAX {
            return Err(Failure::Overloaded);
        }
        if !has_room && may_grow(command) {
            // A refresh needs no more room than there is in what it refreshes.
            let refreshes = matches!(command, Command::PutOpen { lock, .. }
                if core.is_held_open(namespace, lock));
            if !refreshes {
                return Err(Failure::StorageFull);
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        call: CallId,
        namespace: &Namespace,
        command: Command,
        caller: Option<Caller>,
    ) {
        self.run(|core, context, out| {
            let request = Request {
                call,
                namespace: namespace.clone(),
                command,
            };
            core.apply(context, request, out);
        });
        self.route(call, caller);
    }

    /// Applies a tick where one is due, and says how long none will be; `None` without a state.
    pub(super) fn tick(&mut self) -> Option<Duration> {
        let now = self.now()?;
        if self.next_deadline() <= now {
            self.run(|core, context, out| core.tick(context, out));
            self.route(CallId(0), None);
        }
        self.core.as_ref()?;
        let until = self.next_deadline().min(now + STEP_MAX / 2);
        self.sleeps_until = Some(until);
        Some(until.since(now))
    }

    /// Says how far time has come, as the last change of all. False where that is known.
    pub(super) fn mark_clock(&mut self) -> bool {
        let mut marked = false;
        self.run(|core, _, out| marked = core.mark_clock(out));
        self.route(CallId(0), None);
        marked
    }

    /// Takes what is to be committed next, if there is anything.
    pub(super) fn take_batch(&mut self) -> Option<OpenBatch> {
        let core = self.core.as_mut()?;
        if self.open.is_empty() {
            return None;
        }
        let mut batch = std::mem::take(&mut self.open);
        if !batch.changes.is_empty() {
            // The shard's own record, which every batch with changes ends with.
            std::mem::swap(&mut self.out.changes, &mut batch.changes);
            core.mark_clock(&mut self.out);
            std::mem::swap(&mut self.out.changes, &mut batch.changes);
        }
        Some(batch)
    }

    /// Tells at once what waits for no commit. The rest is for the shard's thread.
    pub(super) fn flush(&mut self) {
        if self.committing || !self.open.changes.is_empty() {
            return;
        }
        while let Some(news) = self.open.news.pop_front() {
            let amends = news.tell(&mut self.wakers);
            self.amends.extend(amends);
        }
        self.open.events = 0;
    }

    /// Whether the shard's thread sleeps and has something to do. True once only.
    pub(super) fn must_wake_thread(&mut self) -> bool {
        let Some(until) = self.sleeps_until else {
            return false;
        };
        let wake = !self.open.is_empty() || self.core.is_none() || self.next_deadline() < until;
        if wake {
            self.sleeps_until = None;
        }
        wake
    }

    /// Those to be woken, and what is to be made good, once the mutex is free.
    pub(super) fn take_follow_ups(&mut self) -> (Wakers, Vec<Amends>) {
        (
            std::mem::take(&mut self.wakers),
            std::mem::take(&mut self.amends),
        )
    }

    /// Drops the state, and all that came from it and is not committed.
    pub(super) fn lose(&mut self, down: Failure) -> Lost {
        self.out = Out::default();
        self.down = down;
        Lost {
            core: self.core.take(),
            open: std::mem::take(&mut self.open),
            callers: std::mem::take(&mut self.callers),
        }
    }

    /// What is to be made good as soon as there is a state.
    pub(super) fn owe(&mut self, amends: impl IntoIterator<Item = Amends>) {
        self.owed.extend(amends);
    }

    /// What callers are told from now on, while there is no state.
    pub(super) fn is_down(&mut self, down: Failure) {
        self.down = down;
    }

    /// Goes on with a state that was loaded, once what is owed has been made good.
    pub(super) fn resume(&mut self, core: State) {
        self.clock = Clock::resume(core.now());
        self.core = Some(core);
        for Amends { namespace, command } in std::mem::take(&mut self.owed) {
            // It takes nobody out: it is no cancel.
            drop(self.tell(&namespace, command));
        }
    }

    /// Runs the rules. Where they panic, the state may be half changed: it is dropped.
    pub(super) fn run(&mut self, act: impl FnOnce(&mut State, Context, &mut Out)) {
        let Some(now) = self.now() else {
            return;
        };
        let context = Context {
            now,
            wall: wall_time(),
        };
        let (core, out) = (&mut self.core, &mut self.out);
        let done = catch_unwind(AssertUnwindSafe(|| {
            if let Some(core) = core {
                act(core, context, out);
            }
        }));
        if done.is_err() {
            tracing::error!("the rules have panicked; the shard will be loaded again");
            self.core = None;
            self.down = Failure::Unavailable;
            self.out = Out::default();
        }
    }

    /// The core's time. It stands still unless calls are taken: whoever can't renew must lose
    /// nothing by it.
    fn now(&mut self) -> Option<Time> {
        let core = self.core.as_ref()?;
        Some(match self.stage {
            Stage::Accepting => self.clock.now(self.committing),
            _ => core.now(),
        })
    }

    /// Makes it so that nobody has looked at the clock for `span`.
    #[cfg(test)]
    pub(super) fn sleep(&mut self, span: Duration) {
        self.clock.sleep(span);
    }

    #[cfg(test)]
    pub(super) fn core_now(&self) -> Option<Time> {
        self.core.as_ref().map(State::now)
    }

    /// How many watches are not over.
    #[cfg(test)]
    pub(super) fn watches(&self) -> usize {
        let callers = self.callers.values();
        callers
            .filter(|caller| matches!(caller, Caller::Watch(_)))
            .count()
    }

    fn next_deadline(&self) -> Time {
        let next = self.core.as_ref().and_then(State::next_deadline);
        next.unwrap_or(Time::from_nanos(u64::MAX))
    }

    /// Moves what the core put out into the open batch, each effect to its caller. `caller` is
    /// whoever made `call`: most calls are answered at once and never enter the table.
    pub(super) fn route(&mut self, call: CallId, mut caller: Option<Caller>) {
        if !self.out.changes.is_empty() {
            self.open.value_bytes += self.out.changes.iter().map(value_bytes).sum::<usize>();
            self.open.changes.append(&mut self.out.changes);
            self.open.ends.push(self.open.changes.len());
        }
        for effect in self.out.effects.drain(..) {
            let to_call = effect.call();
            let answered;
            let to = match (to_call == call && caller.is_some(), effect.is_last()) {
                (true, false) => caller.as_ref(),
                (true, true) => {
                    answered = caller.take();
                    answered.as_ref()
                }
                (false, false) => self.callers.get(&to_call),
                (false, true) => {
                    answered = self.callers.remove(&to_call);
                    answered.as_ref()
                }
            };
            // Who is not there has cancelled its call, as the core is about to learn.
            let Some(news) = to.and_then(|to| to.news(to_call, effect)) else {
                continue;
            };
            if let News::Watch(feed, call, told) = &news
                && told.is_event()
            {
                if self.open.events >= UNCOMMITTED_EVENTS_MAX {
                    self.wakers.add(feed.cut_off());
                    self.amends.push(Amends::cancel(feed, *call));
                    continue;
                }
                self.open.events += 1;
            }
            self.open.news.push_back(news);
        }
        if let Some(caller) = caller {
            if let Caller::SessionCall(outbox, number) = &caller {
                outbox.waits(*number, call);
            }
            self.callers.insert(call, caller);
        }
    }
}

/// What is left of a state that was dropped.
pub(super) struct Lost {
    pub(super) core: Option<State>,
    pub(super) open: OpenBatch,
    pub(super) callers: HashMap<CallId, Caller, foldhash::fast::RandomState>,
}

/// Whether a command keeps a hold alive or makes room for others. Overload must not stop it.
fn keeps_or_frees(command: &Command) -> bool {
    matches!(
        command,
        Command::Renew { .. }
            | Command::RenewLease { .. }
            | Command::Touch { .. }
            | Command::Release { .. }
            | Command::RevokeLease { .. }
            | Command::ForceRelease { .. }
            | Command::DeleteValue { .. }
            | Command::Withdraw { .. }
            | Command::Queue(
                QueueCommand::Acknowledge { .. }
                    | QueueCommand::Return { .. }
                    | QueueCommand::Extend { .. }
                    | QueueCommand::Delete { .. }
                    | QueueCommand::Purge { .. }
            )
            | Command::Fifo(
                FifoCommand::Extend { .. }
                    | FifoCommand::Complete { .. }
                    | FifoCommand::Cancel { .. }
                    | FifoCommand::Delete { .. }
            )
            | Command::Webhook(_)
    )
}

/// Whether a command makes good for what was durable and told to nobody.
fn gives_back(command: &Command) -> bool {
    matches!(
        command,
        Command::GiveBack { .. }
            | Command::Fifo(FifoCommand::GiveBack { .. })
            | Command::Queue(QueueCommand::GiveBack { .. })
    )
}

/// Whether a command may leave more to be stored than there was. A delivery's small record does not
/// count: whoever acknowledges the item makes room.
pub(super) fn may_grow(command: &Command) -> bool {
    matches!(
        command,
        Command::Acquire(_)
            | Command::PutOpen { .. }
            | Command::Reserve { .. }
            | Command::CreateLease { .. }
            | Command::PutValue { .. }
            | Command::Queue(QueueCommand::Enqueue { .. } | QueueCommand::Configure { .. })
            | Command::Fifo(FifoCommand::Create { .. } | FifoCommand::CreateTicket { .. })
            | Command::OpenSession {
                lease: SessionLease::New { .. }
            }
    )
}

fn value_bytes(change: &Change) -> usize {
    match change {
        Change::Put(Record {
            value: Value::Value(value),
            ..
        }) => value.bytes.len(),
        Change::Put(Record {
            value: Value::Item(item),
            ..
        }) => item.bytes.len(),
        _ => 0,
    }
}

/// The wall clock, for people to read; 1970 where it is set before that.
pub(crate) fn wall_time() -> WallTime {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
