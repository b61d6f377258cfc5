//! The world around the core: its shard, its store, its clock, and all that can go wrong with them.
//!
//! It does what the shard does: commands go into the open batch, a sealed batch is committed while
//! the next one gathers, and what a batch has to tell goes out only once it is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use holdfast::core::*;

use crate::client::Client;
use crate::fault::Fault;
use crate::journal::Journal;
use crate::oracle::book::{Book, Cause, Step};
use crate::oracle::{Failure, Oracle, Told, Verdict};
use crate::store::Store;

/// The longest time that a restart takes.
const BACK_MS_MAX: u64 = 2_000;
/// The longest time for which a machine is down.
const DOWN_MS_MAX: u64 = 400_000;

/// When a late client stops, in percent of the TTL.
const LATE_PERCENT: u32 = 150;

pub struct World {
    pub rng: Rng,
    pub fault: Option<Fault>,
    /// The time of the world.
    pub real: Time,
    /// The time that the core is told.
    clock: Time,
    pub state: State,
    pub out: Out,
    open: Batch,
    committing: Option<(Batch, Book)>,
    pub store: Store,
    pub calls: BTreeMap<CallId, Asked>,
    last_call: u64,
    pub clients: Vec<Client>,
    /// Calls that were sent and have not arrived.
    wire: Vec<CallId>,
    /// What gives grants, turns and items back: their callers were gone.
    give_backs: Vec<(Namespace, Command)>,
    pub oracle: Oracle,
    pub journal: Journal,
    pub step: u64,
    /// Numbers fresh leases and reserved locks.
    pub fresh: u64,
}

#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    news: Vec<News>,
}

/// What a call is to be told.
pub struct News {
    pub effect: Effect,
    pub made: Time,
    pub made_in: u64,
}

/// A call, from when it is sent until its client has read the end of it.
pub struct Asked {
    pub client: usize,
    pub request: Request,
    pub sent: Time,
    /// The session that it came through.
    pub session: Option<CallId>,
    /// The caller is gone, and the shard knows.
    gone: bool,
    arrived: bool,
    /// The lease of that session, and until when the call kept it alive.
    kept: Option<(LeaseId, Time)>,
    /// Its answer stays unread for as long as the client is there.
    pub slow: bool,
    /// Told and not read yet.
    pub unread: Vec<News>,
}

impl Asked {
    /// Whether it is told more than once.
    fn is_stream(&self) -> bool {
        matches!(
            self.request.command,
            Command::Queue(QueueCommand::Consume { .. })
        )
    }
}

impl World {
    pub fn new(seed: u64, fault: Option<Fault>, journal: Journal) -> World {
        let mut rng = Rng::with_seed(seed);
        let clients = Client::some(&mut rng);
        let mut oracle = Oracle::default();
        if fault == Some(Fault::LateClient) {
            oracle.clients_stop_at(LATE_PERCENT);
        }
        World {
            rng,
            fault,
            real: Time::from_nanos(1),
            clock: Time::ZERO,
            state: State::default(),
            out: Out::default(),
            open: Batch::default(),
            committing: None,
            store: Store::default(),
            calls: BTreeMap::new(),
            last_call: 0,
            clients,
            wire: Vec::new(),
            give_backs: Vec::new(),
            oracle,
            journal,
            step: 0,
            fresh: 0,
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// One step of whatever happens next.
    pub fn step(&mut self) -> Verdict {
        self.step += 1;
        match self.rng.u32(0..1000) {
            0..480 => self.client_acts(),
            480..560 => self.arrive(),
            560..660 => self.client_reads(),
            660..820 => self.shard_works(),
            820..850 => self.give_one_back(),
            850..880 => self.client_goes(),
            880..997 => self.time_passes(),
            997..999 => self.crash(),
            _ => {
                self.oracle.tally.count("commits stalled");
                self.real = self.real + Duration::from_secs(self.rng.u64(1..100));
                Ok(())
            }
        }
    }

    /// Lets all that is under way come to its end.
    pub fn finish(&mut self) -> Verdict {
        while !self.wire.is_empty() {
            self.arrive()?;
        }
        for _ in 0..400 {
            self.pass(Duration::from_secs(1));
            self.tick()?;
            self.shard_works()?;
            self.shard_works()?;
            self.give_one_back()?;
        }
        let waiting = |asked: &Asked| {
            let waits = matches!(
                asked.request.command,
                Command::Acquire(_)
                    | Command::Fifo(FifoCommand::Wait { .. })
                    | Command::Queue(QueueCommand::Dequeue { .. })
            );
            waits && asked.unread.is_empty()
        };
        let waiting: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, asked)| waiting(asked) && !asked.gone)
            .map(|(call, _)| *call)
            .collect();
        self.oracle.finish(&waiting)
    }

    /// A client sends a call; it may arrive at once.
    pub fn send(
        &mut self,
        client: usize,
        command: Command,
        session: Option<CallId>,
    ) -> Result<CallId, Failure> {
        self.last_call += 1;
        let call = CallId(self.last_call);
        let request = Request {
            call,
            namespace: self.clients[client].namespace.clone(),
            command,
        };
        let asked = Asked {
            client,
            request,
            sent: self.real,
            session,
            gone: false,
            arrived: false,
            kept: None,
            slow: self.rng.u32(0..30) == 0,
            unread: Vec::new(),
        };
        self.calls.insert(call, asked);
        if self.rng.u32(0..4) > 0 {
            self.receive(call)?;
        } else {
            self.wire.push(call);
        }
        Ok(call)
    }

    fn arrive(&mut self) -> Verdict {
        if self.wire.is_empty() {
            return Ok(());
        }
        let call = self.wire.swap_remove(self.rng.usize(0..self.wire.len()));
        self.receive(call)
    }

    fn receive(&mut self, call: CallId) -> Verdict {
        let Some(asked) = self.calls.get_mut(&call) else {
            return Ok(());
        };
        asked.arrived = true;
        let request = asked.request.clone();
        if let Some(session) = asked.session {
            let answered = Vec::new();
            self.tell(&request.namespace, Command::Touch { session, answered })?;
            let book = self.oracle.book();
            let lease = book.sessions.get(&session);
            let ttl = lease.and_then(|lease| Some((lease.1, book.leases.get(lease)?.ttl)));
            let kept = ttl.map(|(lease, ttl)| (lease, self.acted_at() + ttl));
            if let Some(asked) = self.calls.get_mut(&call) {
                asked.kept = kept;
            }
        }
        if self.has(Fault::ApplyTwice)
            && matches!(&request.command, Command::Acquire(acquire) if acquire.wait.is_zero())
        {
            self.apply(request.clone())?;
        }
        self.apply(request)
    }

    /// Applies a command that nobody waits for.
    pub fn tell(&mut self, namespace: &Namespace, command: Command) -> Verdict {
        self.last_call += 1;
        self.apply(Request {
            call: CallId(self.last_call),
            namespace: namespace.clone(),
            command,
        })
    }

    fn context(&mut self) -> Context {
        // Whoever took the time first may come second.
        let late = Duration::from_millis(self.rng.u64(0..5));
        let now = Time::from_nanos(self.clock.as_nanos().saturating_sub(late.as_nanos() as u64));
        Context {
            now: if self.rng.u32(0..20) == 0 {
                now
            } else {
                self.clock
            },
            wall: WallTime(self.real.as_nanos() / 1_000_000),
        }
    }

    fn apply(&mut self, request: Request) -> Verdict {
        let context = self.context();
        self.oracle.before(&request, &self.state);
        self.journal.note(self.step, self.real, "asks", &request);
        let mut handed = request.clone();
        self.bend_request(&mut handed);
        self.state.apply(context, handed, &mut self.out);
        self.route(Cause::Apply(&request))
    }

    /// When the core last acted: whoever came late acted on an earlier time than it is now.
    fn acted_at(&self) -> Time {
        let late = self.clock.since(self.state.now());
        Time::from_nanos(self.real.as_nanos() - late.as_nanos() as u64)
    }

    pub fn tick(&mut self) -> Verdict {
        let mut context = self.context();
        if self.has(Fault::NeverExpire) {
            context.now = Time::ZERO;
        }
        self.state.tick(context, &mut self.out);
        self.route(Cause::Tick)
    }

    /// Moves what the core put out into the open batch.
    fn route(&mut self, cause: Cause<'_>) -> Verdict {
        self.bend_effects();
        let real = self.acted_at();
        let step = Step {
            number: self.step,
            cause,
            now: match (cause, self.has(Fault::NeverExpire)) {
                (Cause::Tick, true) => self.clock,
                _ => self.state.now(),
            },
            real,
            changes: &self.out.changes,
            effects: &self.out.effects,
        };
        if !step.changes.is_empty() || !step.effects.is_empty() {
            self.journal
                .note(self.step, self.real, "  changes", &step.changes);
            self.journal
                .note(self.step, self.real, "  effects", &step.effects);
        }
        self.oracle.step(&step, &self.state)?;
        self.open.changes.append(&mut self.out.changes);
        for effect in self.out.effects.drain(..) {
            // Of whoever has hung up, the shard knows nothing any more.
            if self
                .calls
                .get(&effect.call())
                .is_some_and(|asked| !asked.gone || effect.is_last())
            {
                self.open.news.push(News {
                    effect,
                    made: real,
                    made_in: self.step,
                });
            }
        }
        let at_once = self.open.changes.is_empty() && self.committing.is_none();
        if at_once || self.has(Fault::ReplyBeforeCommit) {
            let news = std::mem::take(&mut self.open.news);
            self.let_out(news)?;
        }
        Ok(())
    }

    /// Seals the open batch, or ends the commit of the one before.
    fn shard_works(&mut self) -> Verdict {
        match self.committing.take() {
            Some((batch, book)) => {
                self.commit(&batch.changes, book)?;
                self.let_out(batch.news)
            }
            None => self.seal(),
        }
    }

    fn seal(&mut self) -> Verdict {
        if self.open.changes.is_empty() && self.open.news.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.open);
        let has_changes = !batch.changes.is_empty();
        if has_changes {
            std::mem::swap(&mut self.out.changes, &mut batch.changes);
            let before = self.out.changes.len();
            self.state.mark_clock(&mut self.out);
            std::mem::swap(&mut self.out.changes, &mut batch.changes);
            for change in &batch.changes[before..] {
                self.oracle.marked(change);
            }
        }
        let book = self.oracle.seal(&self.state, has_changes)?;
        self.committing = Some((batch, book));
        Ok(())
    }

    fn commit(&mut self, changes: &[Change], book: Book) -> Verdict {
        self.oracle.tally.count("commits");
        self.oracle.tally.add("changes", changes.len() as u64);
        self.journal
            .note(self.step, self.real, "committed", &changes.len());
        for change in changes {
            let forgotten = match change {
                Change::Delete(Key::Grant(..)) => self.has(Fault::ForgetDelete),
                Change::Put(Record {
                    key: Key::Grant(..),
                    ..
                }) => self.has(Fault::ForgetGrant),
                Change::Put(Record {
                    key: Key::Value(..),
                    ..
                }) => self.has(Fault::ForgetValue),
                Change::Put(Record {
                    key: Key::Ticket(..),
                    ..
                }) => self.has(Fault::ForgetTicket),
                Change::Put(Record {
                    key: Key::Item(..) | Key::Delivery(..),
                    ..
                }) => self.has(Fault::ForgetItem),
                Change::Delete(Key::Item(..)) => self.has(Fault::ForgetAcknowledged),
                Change::Put(Record {
                    key: key @ Key::Webhook(..),
                    ..
                }) => self.has(Fault::ForgetWebhook) && self.store.records().contains_key(key),
                _ => false,
            };
            if let Change::Put(record) = change
                && record.is_written_once()
                && self.fault.is_none()
            {
                let known = self.store.records().contains_key(&record.key);
                assert!(!known, "written twice: {record:?}");
            }
            if !forgotten {
                self.store.commit(std::slice::from_ref(change));
            }
            if let Change::Put(Record {
                key: Key::Grant(_, _, token),
                ..
            }) = change
            {
                self.journal.number(*token);
            }
        }
        self.oracle.commit(changes, book)
    }

    fn let_out(&mut self, news: Vec<News>) -> Verdict {
        for news in news {
            let call = news.effect.call();
            let Some(asked) = self.calls.get_mut(&call) else {
                continue;
            };
            if asked.gone {
                if let Some(grant) = untold(&asked.request.namespace, &news.effect) {
                    self.give_backs.push(grant);
                }
                // To a stream more may be on its way.
                if news.effect.is_last() || !asked.is_stream() {
                    self.calls.remove(&call);
                }
                continue;
            }
            if let Effect::Recalled(_, delivery) = news.effect {
                asked.unread.retain(|unread| {
                    !matches!(&unread.effect, Effect::Delivered(_, told) if told.delivery == Some(delivery))
                });
                continue;
            }
            let told = Told {
                effect: &news.effect,
                asked: &asked.request,
                sent: asked.sent,
                made: news.made,
                made_in: news.made_in,
                at: self.real,
                kept: asked.kept,
                store: self.store.records(),
            };
            self.oracle.told(&told)?;
            self.journal.number(call.0);
            asked.unread.push(news);
        }
        Ok(())
    }

    fn give_one_back(&mut self) -> Verdict {
        if self.give_backs.is_empty() {
            return Ok(());
        }
        let index = self.rng.usize(0..self.give_backs.len());
        let (namespace, command) = self.give_backs.swap_remove(index);
        self.tell(&namespace, command)
    }

    /// The caller of a call is gone before it has read the end.
    pub fn hang_up(&mut self, call: CallId) -> Verdict {
        let Some(asked) = self.calls.get_mut(&call) else {
            return Ok(());
        };
        self.oracle.tally.count("hang-ups");
        let namespace = asked.request.namespace.clone();
        if !asked.arrived {
            self.wire.retain(|other| *other != call);
            self.calls.remove(&call);
            return Ok(());
        }
        let ended = asked.unread.iter().any(|news| news.effect.is_last());
        let untold = asked
            .unread
            .drain(..)
            .filter_map(|news| untold(&namespace, &news.effect));
        self.give_backs.extend(untold);
        if ended {
            self.calls.remove(&call);
            return Ok(());
        }
        asked.gone = true;
        let of_session: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, asked)| asked.session == Some(call))
            .map(|(call, _)| *call)
            .collect();
        self.tell(&namespace, Command::Cancel { call })?;
        // Where its answer is not on its way, nothing will ever come.
        let committing = self.committing.iter().flat_map(|(batch, _)| &batch.news);
        let mut coming = committing.chain(&self.open.news);
        if !coming.any(|news| news.effect.call() == call) {
            self.calls.remove(&call);
        }
        of_session
            .into_iter()
            .try_for_each(|call| self.hang_up(call))
    }

    /// Takes the oldest unread news of a call.
    pub fn take_news(&mut self, call: CallId) -> Result<Option<News>, Failure> {
        let unread = |asked: &&mut Asked| !asked.unread.is_empty();
        let Some(asked) = self.calls.get_mut(&call).filter(unread) else {
            return Ok(None);
        };
        let news = asked.unread.remove(0);
        let told = Told {
            effect: &news.effect,
            asked: &asked.request,
            sent: asked.sent,
            made: news.made,
            made_in: news.made_in,
            at: self.real,
            kept: asked.kept,
            store: self.store.records(),
        };
        self.oracle.read(&told)?;
        self.journal
            .note(self.step, self.real, "reads", &news.effect);
        if news.effect.is_last() {
            self.calls.remove(&call);
        }
        Ok(Some(news))
    }

    fn pass(&mut self, span: Duration) {
        self.real = self.real + span;
        self.clock = self.clock + span;
    }

    fn time_passes(&mut self) -> Verdict {
        let span = match self.rng.u32(0..1000) {
            0..100 => Duration::ZERO,
            100..700 => Duration::from_micros(self.rng.u64(1..20_000)),
            700..960 => Duration::from_millis(self.rng.u64(1..500)),
            960..990 => Duration::from_secs(self.rng.u64(1..20)),
            990..995 => Duration::from_secs(self.rng.u64(20..400)),
            _ => {
                // The process was stopped: the core's time moves by one step at most.
                self.oracle.tally.count("stops of the process");
                self.real = self.real + Duration::from_secs(self.rng.u64(1..4000));
                Duration::from_secs(1)
            }
        };
        self.pass(span);
        if self.has(Fault::ClockJump) && self.rng.u32(0..500) == 0 {
            self.clock = self.clock + Duration::from_secs(3600);
        }
        match self.rng.u32(0..10) {
            0 => Ok(()),
            1 => {
                self.tick()?;
                self.tick()
            }
            2 => match self.state.next_deadline() {
                // Just before, just in time, or just after the next deadline.
                Some(at) if at > self.clock => {
                    let before = at.since(self.clock).saturating_sub(Duration::from_nanos(1));
                    self.pass(before.min(Duration::from_secs(5)));
                    self.tick()?;
                    self.pass(Duration::from_nanos(1));
                    self.tick()
                }
                _ => self.tick(),
            },
            _ => self.tick(),
        }
    }

    /// The process is killed, or a commit fails: what is not durable is gone, and so is every call.
    fn crash(&mut self) -> Verdict {
        self.oracle.tally.count("crashes");
        self.journal.note(
            self.step,
            self.real,
            "crashes, committing",
            &self.committing.is_some(),
        );
        if let Some((batch, book)) = self.committing.take()
            && self.rng.bool()
        {
            self.oracle.tally.count("commits whose answers were lost");
            self.commit(&batch.changes, book)?;
        }
        self.open = Batch::default();
        self.out = Out::default();
        self.wire.clear();
        // Where only a commit failed, the process goes on: an answer that was told can still be read,
        // or its caller hang up, after the reload.
        let process_goes_on = self.rng.bool();
        if !process_goes_on {
            self.give_backs.clear();
        }
        let calls = std::mem::take(&mut self.calls);
        for (call, asked) in calls {
            let answered = asked.unread.iter().any(|news| news.effect.is_last());
            if process_goes_on && answered {
                self.calls.insert(call, asked);
            } else {
                self.clients[asked.client].failed(asked.request.command);
            }
        }
        // Mostly it is back at once: then what was promised is not over by the time that it serves.
        let down_ms_max = if self.rng.u32(0..4) > 0 {
            BACK_MS_MAX
        } else {
            DOWN_MS_MAX
        };
        let down = Duration::from_millis(self.rng.u64(0..down_ms_max));
        self.real = self.real + down;
        if self.fault.is_some_and(Fault::is_of_the_store) {
            self.bend_store();
            self.oracle.bent(self.store.records());
        }
        self.state = match self.store.load() {
            Ok(state) => state,
            Err(damage) => {
                return Err(Failure {
                    property: "load",
                    claim: "what was committed can be loaded",
                    what: damage.to_string(),
                });
            }
        };
        self.clock = self.state.now();
        self.oracle.crash(&self.state)?;
        if self.has(Fault::ClockRunsWhileDown) {
            self.clock = self.clock + down + Duration::from_secs(300);
        }
        // A shard ticks at once, but a caller may be faster.
        if self.rng.u32(0..4) > 0 {
            self.tick()?;
        }
        Ok(())
    }
}

/// What gives back that which nobody knows of when this effect reaches nobody.
fn untold(namespace: &Namespace, effect: &Effect) -> Option<(Namespace, Command)> {
    let command = match effect {
        Effect::Reply(
            _,
            Ok(
                Answer::Granted(granted)
                | Answer::Put {
                    granted,
                    created: true,
                },
            ),
        ) => Command::GiveBack {
            lock: granted.lock.clone(),
            fencing_token: granted.holder.fencing_token,
        },
        Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Ready(view)))) => {
            Command::Fifo(FifoCommand::GiveBack { ticket: view.id })
        }
        Effect::Reply(_, Ok(Answer::Queue(QueueAnswer::Delivered(told))))
        | Effect::Delivered(_, told) => Command::Queue(QueueCommand::GiveBack {
            queue: told.queue.clone(),
            item: told.item.clone(),
            is_final: told.delivery.is_none(),
        }),
        _ => return None,
    };
    Some((namespace.clone(), command))
}

/// What a client says of itself.
pub fn about(owner: &str) -> Option<Arc<About>> {
    About::new(owner, BTreeMap::new()).ok().flatten()
}
