//! Clients as they are: they ask for all there is to ask, at the wrong moments too, ask again when
//! an answer was lost, keep what they were granted alive or don't, and go away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use holdfast::core::*;

use crate::consumer::Dealings;
use crate::oracle::Verdict;
use crate::oracle::book::request_id;
use crate::world::{World, about};

const CLIENTS: usize = 7;
const NAMESPACES: [&str; 2] = ["red", "blue"];
const LOCKS: [&str; 4] = ["a", "b", "c", "d"];
pub const FIFOS: [&str; 2] = ["f", "g"];
const VALUE_KEYS: [&str; 3] = ["v/1", "v/2", "w"];
/// How many request ids there are in a namespace: few, so that they meet.
const REQUEST_IDS: u32 = 200;
/// How much of its past a client remembers, of each kind.
const PAST_MAX: usize = 6;

pub struct Client {
    pub namespace: Namespace,
    name: String,
    held: Vec<(LockName, u64)>,
    stale: VecDeque<(LockName, u64)>,
    leases: VecDeque<LeaseId>,
    reserved: VecDeque<LockName>,
    tickets: VecDeque<(FifoId, TicketId)>,
    webhooks: VecDeque<WebhookId>,
    session: Option<CallId>,
    /// The revision that it read last.
    revision: u64,
    pub dealings: Dealings,
    /// Commands with a request id, to be asked again.
    asked: VecDeque<Command>,
}

fn push<T>(past: &mut VecDeque<T>, item: T) {
    past.push_back(item);
    if past.len() > PAST_MAX {
        past.pop_front();
    }
}

fn pick<'a, T>(rng: &mut Rng, items: &'a VecDeque<T>) -> Option<&'a T> {
    if items.is_empty() {
        return None;
    }
    items.get(rng.usize(0..items.len()))
}

impl Client {
    pub fn some(rng: &mut Rng) -> Vec<Client> {
        let clients = 2 + rng.usize(0..CLIENTS);
        (0..clients)
            .map(|number| Client {
                namespace: Namespace::new(NAMESPACES[number % NAMESPACES.len()]).unwrap(),
                name: format!("client-{number}"),
                held: Vec::new(),
                stale: VecDeque::new(),
                leases: VecDeque::new(),
                reserved: VecDeque::new(),
                tickets: VecDeque::new(),
                webhooks: VecDeque::new(),
                session: None,
                revision: 0,
                dealings: Dealings::default(),
                asked: VecDeque::new(),
            })
            .collect()
    }

    /// The server is gone, and with it the answer.
    pub fn failed(&mut self, command: Command) {
        self.session = None;
        if request_id(&command).is_some() {
            push(&mut self.asked, command);
        }
    }
}

impl World {
    /// A client does something.
    pub fn client_acts(&mut self) -> Verdict {
        let client = self.rng.usize(0..self.clients.len());
        let command = match self.rng.u32(0..149) {
            0..34 => self.acquire(client),
            34..48 => return self.release(client),
            48..56 => self.renew(client),
            56..64 => return self.ask_again(client),
            64..68 => self.act_on_stale(client),
            68..73 => self.open(client),
            73..80 => self.on_a_lease(client),
            80..84 => return self.session(client),
            84..87 => self.reserve(),
            87..94 => self.look(client),
            94..97 => {
                let lock = self.lock(client);
                Command::Watch { lock }
            }
            97..99 => self.force(client),
            99 => return self.withdraw(),
            100..110 => self.on_a_value(client),
            110..126 => Command::Fifo(self.on_a_fifo(client)),
            126..141 => return self.on_a_queue(client),
            _ => self.on_a_webhook(client),
        };
        self.ask(client, command)
    }

    fn ask(&mut self, client: usize, mut command: Command) -> Verdict {
        let session = self.clients[client].session.filter(|_| self.rng.bool());
        match &mut command {
            Command::Acquire(acquire) => acquire.session = session,
            Command::Release { session: of, .. } => *of = session,
            _ => {}
        }
        if request_id(&command).is_some() {
            push(&mut self.clients[client].asked, command.clone());
        }
        let alone = matches!(
            command,
            Command::Watch { .. }
                | Command::WatchValue { .. }
                | Command::OpenSession { .. }
                | Command::Webhook(WebhookCommand::Follow)
        );
        let session = session.filter(|_| !alone);
        self.send(client, command, session).map(drop)
    }

    fn lock(&mut self, client: usize) -> LockName {
        if self.rng.u32(0..10) == 0
            && let Some(lock) = pick(&mut self.rng, &self.clients[client].reserved)
        {
            return lock.clone();
        }
        LockName::new(LOCKS[self.rng.usize(0..LOCKS.len())]).unwrap()
    }

    fn short_ttl(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(100..4000))
    }

    fn ttl(&mut self) -> Duration {
        match self.rng.u32(0..10) {
            0 => Duration::from_secs(self.rng.u64(300..900)),
            1 => Duration::from_secs(self.rng.u64(5..300)),
            _ => self.short_ttl(),
        }
    }

    pub fn some_request_id(&mut self, percent: u32) -> Option<RequestId> {
        if self.rng.u32(0..100) >= percent {
            return None;
        }
        let id = format!("request-{}", self.rng.u32(0..REQUEST_IDS));
        Some(RequestId::new(&id).unwrap())
    }

    pub fn fresh_id(&mut self) -> u128 {
        self.fresh += 1;
        // Ids are random to the core: their order says nothing of their age.
        let id = u128::from(self.fresh);
        id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    /// A ticket that a client knows of: the newest, or any.
    pub fn some_ticket(&mut self, client: usize, newest: bool) -> Option<(FifoId, TicketId)> {
        let tickets = &self.clients[client].tickets;
        let ticket = match newest {
            true => tickets.back(),
            false => pick(&mut self.rng, tickets),
        };
        ticket.cloned()
    }

    fn lease(&mut self, client: usize) -> LeaseId {
        let leases = &self.clients[client].leases;
        // The newest is the one that is used most.
        let lease = match self.rng.bool() {
            true => leases.back(),
            false => pick(&mut self.rng, leases),
        };
        lease.copied().unwrap_or(LeaseId(0))
    }

    fn acquire(&mut self, client: usize) -> Command {
        let mode = if self.rng.bool() {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        let max_shared = match (mode, self.rng.u32(0..3)) {
            (Mode::Exclusive, _) | (Mode::Shared, 0) => None,
            (Mode::Shared, _) => Some(self.rng.u32(1..5)),
        };
        let hold = match self.rng.u32(0..20) {
            0 => Hold::Forever,
            1..13 => Hold::Ttl(self.ttl()),
            _ => Hold::Lease(self.lease(client)),
        };
        let wait = match self.rng.u32(0..10) {
            0..3 => Duration::ZERO,
            3..7 => Duration::from_millis(self.rng.u64(1..2000)),
            _ => Duration::from_secs(self.rng.u64(2..300)),
        };
        let owner = if self.rng.u32(0..4) == 0 {
            &self.clients[client].name
        } else {
            ""
        };
        let about = about(owner);
        Command::Acquire(Acquire {
            lock: self.lock(client),
            mode,
            max_shared,
            hold,
            release_delay: self.release_delay(),
            wait,
            about,
            request_id: self.some_request_id(45),
            session: None,
            must_exist: self.rng.u32(0..12) == 0,
            open: self.rng.u32(0..12) == 0,
            subscribe: if self.rng.u32(0..8) == 0 {
                Some(self.callback())
            } else {
                None
            },
        })
    }

    fn release_delay(&mut self) -> ReleaseDelay {
        let delay = match self.rng.u32(0..12) {
            0 | 1 => Duration::from_millis(self.rng.u64(1..3_000)),
            2 => Duration::from_micros(self.rng.u64(1..20_000_000)),
            _ => Duration::ZERO,
        };
        ReleaseDelay::new(delay).unwrap()
    }

    fn callback(&mut self) -> Subscribe {
        let callback = Callback {
            url: CallbackUrl::new("https://receiver.example/").unwrap(),
            secret: None,
            accept_timeout: Duration::from_millis(self.rng.u64(1_000..5_000)),
            shape: CallbackShape::Native,
        };
        Subscribe {
            id: WebhookId(self.fresh_id()),
            callback: Arc::new(callback),
        }
    }

    /// Who posts asks what is due; a subscriber looks, or gives up its place.
    fn on_a_webhook(&mut self, client: usize) -> Command {
        let known = pick(&mut self.rng, &self.clients[client].webhooks).copied();
        let id = known.unwrap_or(WebhookId(0));
        Command::Webhook(match self.rng.u32(0..20) {
            0 => WebhookCommand::Follow,
            1 => WebhookCommand::Get { id },
            2 => WebhookCommand::List {
                after: None,
                limit: self.rng.usize(1..6),
            },
            3..6 => WebhookCommand::Cancel {
                id,
                request_id: None,
            },
            _ => WebhookCommand::Due {
                after: 0,
                limit: self.rng.usize(1..20),
            },
        })
    }

    /// A receiver takes its turn, refuses it, fails, or hangs.
    fn receive_post(&mut self, client: usize, job: &WebhookJob) -> Verdict {
        // No simulated ticket calls back.
        let Turn::Granted(granted) = &job.turn else {
            return Ok(());
        };
        let attempt = Attempt {
            status: None,
            error: String::new(),
        };
        let id = job.id;
        let taken = match self.rng.u32(0..8) {
            0..4 => true,
            4 => false,
            5 => {
                let command = WebhookCommand::Attempted { id, attempt };
                return self.tell(&job.namespace, Command::Webhook(command));
            }
            _ => return Ok(()),
        };
        if taken && self.clients[client].namespace == job.namespace {
            let grant = (granted.lock.clone(), granted.holder.fencing_token);
            self.clients[client].held.push(grant);
        }
        let command = WebhookCommand::Settled { id, taken, attempt };
        self.tell(&job.namespace, Command::Webhook(command))
    }

    fn release(&mut self, client: usize) -> Verdict {
        let held = &mut self.clients[client].held;
        if held.is_empty() {
            return Ok(());
        }
        let (lock, token) = held.swap_remove(self.rng.usize(0..held.len()));
        self.oracle.stopped(&lock, token);
        push(&mut self.clients[client].stale, (lock.clone(), token));
        let command = Command::Release {
            lock,
            proof: Proof::Token(token),
            session: None,
            request_id: self.some_request_id(30),
        };
        self.ask(client, command)
    }

    fn renew(&mut self, client: usize) -> Command {
        let held = &self.clients[client].held;
        if held.is_empty() {
            return self.on_a_lease(client);
        }
        let (lock, token) = held[self.rng.usize(0..held.len())].clone();
        let ttl = if self.rng.u32(0..3) == 0 {
            Some(self.ttl())
        } else {
            None
        };
        Command::Renew {
            lock,
            proof: Proof::Token(token),
            ttl,
        }
    }

    /// Asks what was asked before, or something else under the same id.
    fn ask_again(&mut self, client: usize) -> Verdict {
        let Some(mut command) = pick(&mut self.rng, &self.clients[client].asked).cloned() else {
            return Ok(());
        };
        let other = self.rng.u32(0..8) == 0;
        self.oracle.tally.count(if other {
            "ids used for another request"
        } else {
            "retries"
        });
        match &mut command {
            Command::Acquire(acquire) => {
                if self.rng.bool() {
                    acquire.wait = Duration::from_millis(self.rng.u64(0..3000));
                }
                if other && self.rng.bool() {
                    acquire.open = !acquire.open;
                } else if other {
                    let delay = acquire.release_delay.span() + Duration::from_millis(1);
                    acquire.release_delay = ReleaseDelay::new(delay).unwrap();
                }
                if let Some(subscribe) = &mut acquire.subscribe {
                    subscribe.id = WebhookId(self.fresh_id());
                }
            }
            Command::Reserve { lock, .. } => *lock = self.fresh_lock(),
            Command::CreateLease { id, ttl, .. } => {
                *id = LeaseId(self.fresh_id());
                if other {
                    *ttl += Duration::from_nanos(1);
                }
            }
            Command::PutValue { ttl, .. } if other => *ttl = Some(Duration::from_secs(77)),
            Command::DeleteValue {
                expected_revision, ..
            } if other => *expected_revision = Some(u64::MAX),
            Command::Release { lock, .. } if other => *lock = LockName::new("other").unwrap(),
            Command::Fifo(command) => self.bring_fresh_ids(command, other),
            _ => {}
        }
        let session = self.clients[client].session.filter(|_| self.rng.bool());
        match &mut command {
            Command::Acquire(acquire) => acquire.session = session,
            Command::Release { session: of, .. } => *of = session,
            _ => {}
        }
        self.send(client, command, session).map(drop)
    }

    fn act_on_stale(&mut self, client: usize) -> Command {
        let stale = pick(&mut self.rng, &self.clients[client].stale).cloned();
        let (lock, fencing_token) = match stale {
            Some(stale) => stale,
            None => (self.lock(client), self.rng.u64(0..100)),
        };
        let proof = Proof::Token(fencing_token);
        match self.rng.u32(0..4) {
            0 => Command::Renew {
                lock,
                proof,
                ttl: None,
            },
            1 => Command::Release {
                lock,
                proof,
                session: None,
                request_id: self.some_request_id(30),
            },
            2 => Command::ForceRelease {
                lock,
                fencing_token: Some(fencing_token),
                request_id: self.some_request_id(30),
            },
            _ => Command::Check {
                lock,
                fencing_token,
            },
        }
    }

    fn open(&mut self, client: usize) -> Command {
        let lock = self.lock(client);
        match self.rng.u32(0..4) {
            0 => Command::Renew {
                lock,
                proof: Proof::Open,
                ttl: None,
            },
            1 => Command::Release {
                lock,
                proof: Proof::Open,
                session: None,
                request_id: self.some_request_id(30),
            },
            _ => Command::PutOpen {
                lock,
                ttl: if self.rng.bool() {
                    Some(self.ttl())
                } else {
                    None
                },
                default_ttl: self.short_ttl(),
                about: None,
            },
        }
    }

    fn on_a_lease(&mut self, client: usize) -> Command {
        let id = self.lease(client);
        match self.rng.u32(0..10) {
            0..4 => Command::CreateLease {
                id: LeaseId(self.fresh_id()),
                ttl: self.ttl(),
                about: about(&self.clients[client].name),
                request_id: self.some_request_id(50),
            },
            4..8 => Command::RenewLease { id },
            8 => Command::GetLease { id },
            _ => Command::RevokeLease {
                id,
                request_id: self.some_request_id(50),
            },
        }
    }

    fn session(&mut self, client: usize) -> Verdict {
        if let Some(session) = self.clients[client].session
            && self.rng.bool()
        {
            let namespace = self.clients[client].namespace.clone();
            if self.rng.bool() {
                let answered = (0..self.rng.u32(0..4)).flat_map(|_| self.some_request_id(100));
                let answered = answered.collect();
                return self.tell(&namespace, Command::Touch { session, answered });
            }
            self.clients[client].session = None;
            return self.hang_up(session);
        }
        let lease = match self.rng.u32(0..3) {
            0 => SessionLease::Resume(self.lease(client)),
            _ => SessionLease::New {
                id: LeaseId(self.fresh_id()),
                ttl: self.ttl(),
                about: None,
            },
        };
        self.ask(client, Command::OpenSession { lease })
    }

    fn fresh_lock(&mut self) -> LockName {
        LockName::new(&format!("reserved-{:032x}", self.fresh_id())).unwrap()
    }

    fn reserve(&mut self) -> Command {
        Command::Reserve {
            lock: self.fresh_lock(),
            destroy_after: Duration::from_secs(self.rng.u64(1..60)),
            request_id: self.some_request_id(50),
        }
    }

    fn look(&mut self, client: usize) -> Command {
        let lock = self.lock(client);
        match self.rng.u32(0..6) {
            0 | 1 => Command::GetLock { lock },
            4 => Command::Explain { lock },
            2 => Command::ListLocks {
                prefix: if self.rng.bool() {
                    String::new()
                } else {
                    "r".to_owned()
                },
                after: self.rng.bool().then(|| lock.to_string()),
                limit: self.rng.usize(1..6),
            },
            3 => Command::ListLeases {
                after: self.rng.bool().then(|| LeaseId(self.rng.u128(..))),
                limit: self.rng.usize(1..6),
            },
            _ => {
                let held = &self.clients[client].held;
                let held = held.first().cloned();
                let (lock, fencing_token) = held.unwrap_or((lock, 1));
                Command::Check {
                    lock,
                    fencing_token,
                }
            }
        }
    }

    fn on_a_value(&mut self, client: usize) -> Command {
        let key = VALUE_KEYS[self.rng.usize(0..VALUE_KEYS.len())];
        let key = ValueKey::new(key).unwrap();
        let read = self.clients[client].revision;
        let expected_revision = match self.rng.u32(0..10) {
            0..3 => None,
            3..5 => Some(0),
            _ => Some(read),
        };
        match self.rng.u32(0..20) {
            0..9 => Command::PutValue {
                key,
                bytes: ValueBytes::new(self.fresh_id().to_be_bytes().to_vec()).unwrap(),
                ttl: if self.rng.bool() {
                    Some(self.ttl())
                } else {
                    None
                },
                expected_revision,
                request_id: self.some_request_id(40),
            },
            9..12 => Command::DeleteValue {
                key,
                expected_revision: expected_revision.filter(|revision| *revision > 0),
                request_id: self.some_request_id(40),
            },
            12..17 => Command::GetValue { key },
            17..19 => Command::ListValues {
                prefix: if self.rng.bool() { "v/" } else { "" }.to_owned(),
                after: self.rng.bool().then(|| key.to_string()),
                limit: self.rng.usize(1..4),
            },
            _ => Command::WatchValue { key },
        }
    }

    fn force(&mut self, client: usize) -> Command {
        Command::ForceRelease {
            lock: self.lock(client),
            fencing_token: None,
            request_id: self.some_request_id(30),
        }
    }

    /// Takes back a call that waits.
    fn withdraw(&mut self) -> Verdict {
        let waits = |call: &CallId| {
            let asked = self.calls.get(call);
            asked.is_some_and(|asked| {
                matches!(
                    asked.request.command,
                    Command::Acquire(_) | Command::Queue(QueueCommand::Dequeue { .. })
                )
            })
        };
        let waiting: Vec<CallId> = self.calls.keys().copied().filter(waits).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let call = waiting[self.rng.usize(0..waiting.len())];
        let namespace = self.calls[&call].request.namespace.clone();
        self.tell(&namespace, Command::Withdraw { call })
    }

    /// A client reads the next news of a call.
    pub fn client_reads(&mut self) -> Verdict {
        let unread = self
            .calls
            .iter()
            .filter(|(_, asked)| !asked.unread.is_empty() && !asked.slow);
        let unread: Vec<CallId> = unread.map(|(call, _)| *call).collect();
        if unread.is_empty() {
            return Ok(());
        }
        // Most of what is there is read in one go.
        let keep = self.rng.usize(0..unread.len());
        for call in unread.into_iter().skip(keep) {
            self.read(call)?;
        }
        Ok(())
    }

    fn read(&mut self, call: CallId) -> Verdict {
        let Some(client) = self.calls.get(&call).map(|asked| asked.client) else {
            return Ok(());
        };
        let Some(news) = self.take_news(call)? else {
            return Ok(());
        };
        if let Effect::Reply(_, Ok(Answer::Webhook(WebhookAnswer::Due(jobs)))) = &news.effect {
            return jobs
                .iter()
                .try_for_each(|job| self.receive_post(client, job));
        }
        let client = &mut self.clients[client];
        match news.effect {
            Effect::Reply(_, Ok(Answer::Webhook(WebhookAnswer::Subscribed(id)))) => {
                push(&mut client.webhooks, id);
            }
            Effect::Reply(_, Ok(Answer::Granted(granted))) => {
                let grant = (granted.lock, granted.holder.fencing_token);
                if !client.held.contains(&grant) {
                    client.held.push(grant);
                }
            }
            Effect::Reply(_, Ok(Answer::Lease(lease))) => push(&mut client.leases, lease.id),
            Effect::Reply(_, Ok(Answer::Value(value))) => client.revision = value.revision,
            Effect::Reply(_, Ok(Answer::ValuePut(revision))) => client.revision = revision,
            Effect::Reply(_, Err(Refusal::RevisionMismatch(found))) => {
                client.revision = found.revision();
            }
            Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Ticket(view)))) => {
                let ticket = (view.fifo, view.id);
                if !client.tickets.contains(&ticket) {
                    push(&mut client.tickets, ticket);
                }
            }
            Effect::Reply(_, Ok(Answer::Queue(QueueAnswer::Delivered(told))))
            | Effect::Delivered(_, told) => client.dealings.read(&told),
            Effect::Reply(_, Ok(Answer::Reserved(lock))) => push(&mut client.reserved, lock),
            Effect::Reply(_, Err(Refusal::NotHolder(lock))) => {
                client.held.retain(|(held, _)| *held != lock);
            }
            Effect::SessionOpened { session, lease, .. } => {
                push(&mut client.leases, lease.id);
                client.session = Some(session);
            }
            Effect::SessionEnded { session, .. } if client.session == Some(session) => {
                client.session = None;
            }
            Effect::Lost { fencing_token, .. } => {
                client.held.retain(|(_, held)| *held != fencing_token);
            }
            _ => {}
        }
        Ok(())
    }

    /// A call is given up, or a client goes away with all that it had.
    pub fn client_goes(&mut self) -> Verdict {
        if self.rng.u32(0..10) > 0 {
            let calls: Vec<CallId> = self.calls.keys().copied().collect();
            if calls.is_empty() {
                return Ok(());
            }
            let call = calls[self.rng.usize(0..calls.len())];
            return self.hang_up(call);
        }
        self.oracle.tally.count("clients gone");
        let index = self.rng.usize(0..self.clients.len());
        let of_client = |call: &CallId| self.calls[call].client == index;
        let calls: Vec<CallId> = self.calls.keys().copied().filter(of_client).collect();
        calls.into_iter().try_for_each(|call| self.hang_up(call))?;
        let client = &mut self.clients[index];
        client.session = None;
        for held in client.held.drain(..) {
            push(&mut client.stale, held);
        }
        Ok(())
    }
}
