//! What must be true, kept by the oracle itself: who holds, who waits, what is remembered.
//!
//! It follows from what was asked, what the core wants stored and what it wants told; it never looks
//! into the core. Holders have the mode that was asked for, not the one that the core wrote down.
//! A copy of it is taken with every batch, so that a crash can bring back the last durable one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use holdfast::core::limits::{LONG_TTL, LONG_TTL_SLACK};
use holdfast::core::{
    Acquire, Answer, CallId, Change, Command, Effect, FifoAnswer, FifoCommand, FifoId,
    Hold as KeepAlive, Key, LeaseId, LockName, Mode, Namespace, Proof, Record, Refusal, Request,
    RequestId, SessionLease, TicketId, Time, Value, WebhookAnswer, WebhookId, WebhookStage,
};

/// How long an outcome is remembered: a promise to users, so it stands here by itself.
const REQUEST_MEMORY: Duration = Duration::from_secs(120);

/// How many past holds of a lock are told: a promise to users, so it stands here by itself.
const PAST_HOLDS_MAX: usize = 8;

pub type LockId = (Namespace, LockName);
pub type PlaceId = u64;

/// Why the core was entered.
#[derive(Clone, Copy)]
pub enum Cause<'a> {
    Apply(&'a Request),
    Tick,
}

/// One entry into the core, and what came out.
pub struct Step<'a> {
    pub number: u64,
    pub cause: Cause<'a>,
    /// The core's time.
    pub now: Time,
    /// The time of the world, which goes on while the core's stands still.
    pub real: Time,
    pub changes: &'a [Change],
    pub effects: &'a [Effect],
}

impl Step<'_> {
    pub fn request(&self) -> Option<&Request> {
        match self.cause {
            Cause::Apply(request) => Some(request),
            Cause::Tick => None,
        }
    }

    pub fn command(&self) -> Option<&Command> {
        self.request().map(|request| &request.command)
    }

    /// The final answer of the call that was applied, where it came at once.
    pub fn reply(&self) -> Option<&Result<Answer, Refusal>> {
        let call = self.request()?.call;
        self.effects.iter().find_map(|effect| match effect {
            Effect::Reply(to, reply) if *to == call => Some(reply),
            _ => None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    Own(Duration),
    Lease(LeaseId),
}

/// A hold, as it was asked for.
#[derive(Clone, Debug)]
pub struct Hold {
    pub shared: bool,
    pub max_shared: Option<u32>,
    pub open: bool,
    pub kept: Kept,
    /// When it has ended at the latest, unless renewed; `None`: never.
    pub latest: Option<Time>,
    pub session: Option<CallId>,
    /// Its receiver has not taken it: it ends with its webhook and not with its TTL. S18 looks into
    /// that.
    pub untaken: bool,
    /// How long it holds its lock back when it is lost.
    pub release_delay: Duration,
}

/// A hold that was lost, and holds its lock back.
#[derive(Clone, Copy, Debug)]
pub struct LapsedHold {
    pub shared: bool,
    pub max_shared: Option<u32>,
    /// When it stops counting, in the core's time.
    pub until: Time,
    /// Until then at least nobody else may begin, in the world's time.
    pub promised: Time,
}

#[derive(Clone, Debug, Default)]
pub struct LockBook {
    /// By fencing token.
    pub holders: BTreeMap<u64, Hold>,
    /// By fencing token.
    pub lapsed: BTreeMap<u64, LapsedHold>,
    /// By order of arrival.
    pub line: VecDeque<PlaceId>,
    /// The fencing tokens of those who held it last, the newest behind.
    pub ended: VecDeque<u64>,
}

/// A place in line.
#[derive(Clone, Debug)]
pub struct Place {
    pub lock: LockId,
    pub calls: Vec<CallId>,
    pub asked: Arc<Acquire>,
    pub session: Option<CallId>,
    pub deadline: Time,
    /// Whose turn is told by a call back.
    pub webhook: Option<WebhookId>,
}

impl Place {
    pub fn is_durable(&self) -> bool {
        self.webhook.is_some()
            || matches!(self.asked.hold, KeepAlive::Lease(_)) && self.asked.request_id.is_some()
    }
}

#[derive(Clone, Debug)]
pub struct LeaseBook {
    pub ttl: Duration,
    pub latest: Time,
    pub session: Option<CallId>,
}

/// A remembered request.
#[derive(Clone, Debug)]
pub struct Known {
    pub asked: Arc<Command>,
    pub outcome: Outcome,
    /// Until then the same id has the same outcome.
    pub until: Time,
    /// By then it is forgotten.
    pub latest: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Granted(u64),
    Released,
    Reserved(LockName),
    Lease(LeaseId),
    Revoked(usize),
    Forced(usize),
    ValuePut(u64),
    ValueDeleted(u64),
    Fifo(FifoId),
    FifoDeleted(usize),
    Ticket(TicketId),
    TicketCompleted,
    TicketCancelled,
    Subscribed(WebhookId),
    WebhookCancelled,
}

#[derive(Clone, Debug, Default)]
pub struct Book {
    pub locks: BTreeMap<LockId, LockBook>,
    pub places: BTreeMap<PlaceId, Place>,
    pub place_of_call: BTreeMap<CallId, PlaceId>,
    pub leases: BTreeMap<(Namespace, LeaseId), LeaseBook>,
    /// Sessions that live, with the lease of each.
    pub sessions: BTreeMap<CallId, (Namespace, LeaseId)>,
    pub requests: BTreeMap<(Namespace, RequestId), Known>,
    /// Whose the stored places in line are, by order of arrival.
    arrivals: BTreeMap<(LockId, u64), RequestId>,
    /// The grants of webhooks that are due.
    due: BTreeMap<WebhookId, (LockId, u64)>,
    /// Loaded, and not ticked since: those who wait may fit already.
    pub fresh: bool,
    last_place: PlaceId,
}

/// What a grant was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// Of a place in line.
    Place(PlaceId),
    /// Of a call that did not have to wait.
    Newcomer,
    /// Of nothing that anybody asked for.
    Nobody,
}

/// A grant that began.
#[derive(Clone, Debug)]
pub struct Begun {
    pub lock: LockId,
    pub token: u64,
    pub to: Grantee,
    /// Who stood first in line just then.
    pub first: Option<PlaceId>,
    /// What was asked for; `None` for an open grant that was put.
    pub asked: Option<Arc<Acquire>>,
}

/// A grant that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub lock: LockId,
    pub token: u64,
    pub hold: Hold,
    /// Whom to tell that it is lost, where it was not its own doing.
    pub session: Option<CallId>,
    /// What it leaves behind, where it was lost.
    pub lapsed: Option<LapsedHold>,
}

/// A position as it was told, and as it is.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the call is there to be read in a failure")]
pub struct Position {
    pub call: CallId,
    pub told: u32,
    pub is: Option<u32>,
}

/// What a step came to.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub begun: Vec<Begun>,
    pub ended: Vec<Ended>,
    /// The release delays that somebody ended by force, by the fencing tokens.
    pub freed: Vec<u64>,
    /// The locks of release delays that are over, one for each.
    pub delays_over: Vec<LockId>,
    pub ended_leases: Vec<(Namespace, LeaseId)>,
    /// Places that were left without a grant.
    pub left: Vec<PlaceId>,
    pub forgotten: Vec<((Namespace, RequestId), Known)>,
    pub positions: Vec<Position>,
}

impl Book {
    pub fn hold(&self, lock: &LockId, token: u64) -> Option<&Hold> {
        self.locks.get(lock)?.holders.get(&token)
    }

    /// Whether a hold was lost and holds its lock back.
    pub fn is_lapsed(&self, lock: &LockId, token: u64) -> bool {
        let lock = self.locks.get(lock);
        lock.is_some_and(|lock| lock.lapsed.contains_key(&token))
    }

    /// The token that a proof stands for, where it is good.
    pub fn proven(&self, lock: &LockId, proof: Proof) -> Option<u64> {
        let holders = &self.locks.get(lock)?.holders;
        match proof {
            Proof::Token(token) => holders.contains_key(&token).then_some(token),
            Proof::Open => {
                let (token, hold) = holders.first_key_value()?;
                hold.open.then_some(*token)
            }
        }
    }

    pub fn place_of_request(&self, space: &Namespace, id: &RequestId) -> Option<PlaceId> {
        let mut places = self.places.iter();
        let (place, _) = places.find(|(_, place)| {
            // The request of a subscription had its answer at once.
            place.webhook.is_none()
                && place.lock.0 == *space
                && place.asked.request_id.as_ref() == Some(id)
        })?;
        Some(*place)
    }

    /// Whether a request fits beside those who hold the lock.
    pub fn fits(&self, lock: &LockId, shared: bool, max_shared: Option<u32>) -> bool {
        let Some(lock) = self.locks.get(lock) else {
            return true;
        };
        let holders = lock.holders.values();
        let lapsed = lock.lapsed.values();
        let mut bounds: Vec<Option<u32>> = Vec::new();
        bounds.extend(holders.clone().map(|hold| hold.max_shared));
        bounds.extend(lapsed.clone().map(|hold| hold.max_shared));
        let count = bounds.len();
        if count == 0 {
            return true;
        }
        let bound = bounds.into_iter().chain([max_shared]).flatten().min();
        let others_share = holders.map(|hold| hold.shared);
        let others_share = others_share.chain(lapsed.map(|hold| hold.shared));
        shared
            && others_share.into_iter().all(|shared| shared)
            && bound.is_none_or(|bound| count < bound as usize)
    }

    /// Whether a force release means something that it has not met before.
    fn is_forced_anew(&self, step: &Step<'_>) -> bool {
        let Some(request) = step.request() else {
            return false;
        };
        let known = |id: &RequestId| {
            let id = (request.namespace.clone(), id.clone());
            self.requests.contains_key(&id)
        };
        !request_id(&request.command).is_some_and(known)
            && matches!(step.reply(), Some(Ok(Answer::Forced(_))))
    }

    /// Delays that are over count no more, nor do those that somebody ends by force.
    fn see_delays(&mut self, step: &Step<'_>, seen: &mut Seen) {
        match step.command() {
            None => {
                for (id, lock) in &mut self.locks {
                    lock.lapsed.retain(|_, hold| {
                        let is_over = hold.until <= step.now;
                        seen.delays_over.extend(is_over.then(|| id.clone()));
                        !is_over
                    });
                }
            }
            Some(Command::ForceRelease {
                lock,
                fencing_token,
                ..
            }) if self.is_forced_anew(step) => {
                let space = step.request().map(|request| request.namespace.clone());
                let lock = space.map(|space| (space, lock.clone()));
                if let Some(lock) = lock.and_then(|lock| self.locks.get_mut(&lock)) {
                    let meant = |token: &u64| fencing_token.is_none_or(|only| only == *token);
                    let freed = lock.lapsed.keys().copied().filter(meant);
                    seen.freed = freed.collect();
                    lock.lapsed.retain(|token, _| !meant(token));
                }
            }
            Some(_) => {}
        }
    }

    /// Takes in a step.
    pub fn see(&mut self, step: &Step<'_>) -> Seen {
        let mut seen = Seen::default();
        match step.cause {
            Cause::Tick => self.fresh = false,
            Cause::Apply(request) => {
                if let Command::Cancel { call } = request.command {
                    self.hang_up(call, &mut seen);
                }
            }
        }
        self.see_delays(step, &mut seen);
        let mut begun = Vec::new();
        let mut remembered = Vec::new();
        let mut ended_at_once = Vec::new();
        for change in step.changes {
            self.note_past(change);
            match change {
                // In one tick a lock can come to a waiter whose lease is due next.
                Change::Delete(Key::Grant(space, lock, token))
                    if begun.iter().any(|(_, begun, _)| begun == token) =>
                {
                    ended_at_once.push(((space.clone(), lock.clone()), *token));
                }
                _ => self.see_change(step, change, &mut begun, &mut remembered, &mut seen),
            }
        }
        // Grants come in the order of their tokens; one that nobody is told of is noticed when a
        // later one is, or else at the end.
        let mut begun = begun.into_iter().peekable();
        for effect in step.effects {
            if let Some(token) = granted(effect) {
                while let Some(silent) = begun.next_if(|(_, next, _)| *next < token) {
                    self.begin(step, silent, None, &mut seen);
                }
                if let Some(told) = begun.next_if(|(_, next, _)| *next == token) {
                    self.begin(step, told, Some(effect.call()), &mut seen);
                }
            }
            self.see_effect(step, effect, &mut seen);
        }
        for silent in begun {
            self.begin(step, silent, None, &mut seen);
        }
        for (lock, token) in ended_at_once {
            self.end(step, lock, token, &mut seen);
        }
        for id in remembered {
            self.remember(step, id, &seen);
        }
        self.see_renewal(step);
        seen
    }

    /// Remembers who held a lock last, in the order of the ends.
    fn note_past(&mut self, change: &Change) {
        if let Change::Delete(Key::Grant(space, lock, token)) = change {
            let lock = (space.clone(), lock.clone());
            let ended = &mut self.locks.entry(lock).or_default().ended;
            if ended.len() == PAST_HOLDS_MAX {
                ended.pop_front();
            }
            ended.push_back(*token);
        }
    }

    fn see_change(
        &mut self,
        step: &Step<'_>,
        change: &Change,
        begun: &mut Vec<(LockId, u64, String)>,
        remembered: &mut Vec<(Namespace, RequestId)>,
        seen: &mut Seen,
    ) {
        match change {
            Change::Put(Record { key, value }) => match (key, value) {
                (Key::Grant(space, lock, token), Value::Grant(value)) => {
                    let lock = (space.clone(), lock.clone());
                    if self.hold(&lock, *token).is_none() {
                        begun.push((lock, *token, value.request_id.clone()));
                    }
                }
                (Key::Lease(space, id), Value::Lease(value)) => {
                    let ttl = Duration::from_nanos(value.ttl_nanos);
                    let lease = LeaseBook {
                        ttl,
                        latest: step.now + ttl,
                        session: None,
                    };
                    self.leases.entry((space.clone(), *id)).or_insert(lease);
                }
                (Key::Waiter(space, lock, arrival), Value::Waiter(value)) => {
                    if let Ok(id) = RequestId::new(&value.request_id) {
                        let lock = (space.clone(), lock.clone());
                        self.arrivals.insert((lock, *arrival), id);
                    }
                }
                (Key::Webhook(space, _), Value::Webhook(value)) => {
                    let id = value.id.as_slice().try_into().map(u128::from_be_bytes);
                    if let (Ok(id), Ok(lock)) = (id, LockName::new(&value.lock)) {
                        let lock = (space.clone(), lock);
                        let turn = (value.stage(), value.fencing_token);
                        self.see_webhook(step, WebhookId(id), lock, turn, seen);
                    }
                }
                (Key::Request(space, id), _) => remembered.push((space.clone(), id.clone())),
                _ => {}
            },
            Change::Delete(Key::Grant(space, lock, token)) => {
                self.end(step, (space.clone(), lock.clone()), *token, seen);
            }
            Change::Delete(Key::Lease(space, id)) => {
                let lease = (space.clone(), *id);
                self.leases.remove(&lease);
                seen.ended_leases.push(lease);
            }
            Change::Delete(Key::Request(space, id)) => {
                let id = (space.clone(), id.clone());
                if let Some(known) = self.requests.remove(&id) {
                    seen.forgotten.push((id, known));
                }
            }
            Change::Delete(Key::Waiter(space, lock, arrival)) => {
                let lock = (space.clone(), lock.clone());
                if let Some(id) = self.arrivals.remove(&(lock, *arrival)) {
                    self.leave_silently(step, space, &id, seen);
                }
            }
            Change::Delete(_) => {}
        }
    }

    /// A webhook has entered a stage.
    fn see_webhook(
        &mut self,
        step: &Step<'_>,
        id: WebhookId,
        lock: LockId,
        (stage, token): (WebhookStage, u64),
        seen: &mut Seen,
    ) {
        match stage {
            WebhookStage::Waiting if self.place_of_webhook(id).is_none() => {
                if let Some(Command::Acquire(acquire)) = step.command() {
                    self.insert_place(Place {
                        lock,
                        calls: Vec::new(),
                        asked: Arc::new(acquire.clone()),
                        session: None,
                        deadline: step.now + acquire.wait,
                        webhook: Some(id),
                    });
                }
            }
            WebhookStage::Waiting => {}
            WebhookStage::Due => drop(self.due.insert(id, (lock, token))),
            WebhookStage::WaitEnded | WebhookStage::Cancelled => {
                if let Some(place) = self.place_of_webhook(id) {
                    self.leave(place);
                    seen.left.push(place);
                }
            }
            WebhookStage::Taken => {
                let Some((lock, token)) = self.due.remove(&id) else {
                    return;
                };
                let holders = self.locks.get_mut(&lock).map(|lock| &mut lock.holders);
                if let Some(hold) = holders.and_then(|holders| holders.get_mut(&token)) {
                    hold.untaken = false;
                }
                // Its TTL starts anew.
                if let Some(Kept::Own(_)) = self.hold(&lock, token).map(|hold| hold.kept) {
                    self.renew_hold(&lock, token, None, step.now);
                }
            }
            WebhookStage::Refused | WebhookStage::TimedOut | WebhookStage::Ended => {
                self.due.remove(&id);
            }
        }
    }

    fn place_of_webhook(&self, id: WebhookId) -> Option<PlaceId> {
        let mut places = self.places.iter();
        let (place, _) = places.find(|(_, place)| place.webhook == Some(id))?;
        Some(*place)
    }

    fn insert_place(&mut self, place: Place) -> PlaceId {
        self.last_place += 1;
        let line = &mut self.locks.entry(place.lock.clone()).or_default().line;
        line.push_back(self.last_place);
        self.places.insert(self.last_place, place);
        self.last_place
    }

    /// The webhook that a grant was made for in this step.
    fn webhook_of(step: &Step<'_>, token: u64) -> Option<WebhookId> {
        step.changes.iter().find_map(|change| match change {
            Change::Put(Record {
                value: Value::Webhook(value),
                ..
            }) if value.stage() == WebhookStage::Due && value.fencing_token == token => {
                let id = value.id.as_slice().try_into().map(u128::from_be_bytes);
                id.ok().map(WebhookId)
            }
            _ => None,
        })
    }

    /// A stored place is deleted: where nobody is there to be told, and it became no grant, that is
    /// how it leaves the line.
    fn leave_silently(
        &mut self,
        step: &Step<'_>,
        space: &Namespace,
        id: &RequestId,
        seen: &mut Seen,
    ) {
        let Some(place) = self.place_of_request(space, id) else {
            return;
        };
        let is_its_grant = |change: &Change| match change {
            Change::Put(Record {
                key: Key::Grant(of, ..),
                value: Value::Grant(value),
            }) => of == space && value.request_id == id.as_str(),
            _ => false,
        };
        let told = !self.places[&place].calls.is_empty();
        if !told && !step.changes.iter().any(is_its_grant) {
            self.leave(place);
            seen.left.push(place);
        }
    }

    fn end(&mut self, step: &Step<'_>, lock: LockId, token: u64, seen: &mut Seen) {
        let book = self.locks.entry(lock.clone()).or_default();
        let Some(hold) = book.holders.remove(&token) else {
            return;
        };
        let by = match step.command() {
            Some(Command::Release { session, .. }) => *session,
            _ => None,
        };
        let session = match hold.kept {
            Kept::Lease(id) => {
                let lease = self.leases.get(&(lock.0.clone(), id));
                lease.and_then(|lease| lease.session)
            }
            _ => hold.session,
        };
        let lives = |session: &CallId| self.sessions.contains_key(session);
        let session = session.filter(|session| Some(*session) != by && lives(session));
        // Nothing but a loss ends a grant in a tick.
        let is_lost = matches!(step.command(), None | Some(Command::ForceRelease { .. }));
        let lapsed = (is_lost && !hold.release_delay.is_zero()).then(|| LapsedHold {
            shared: hold.shared,
            max_shared: hold.max_shared,
            until: step.now + hold.release_delay,
            promised: step.real + hold.release_delay,
        });
        if let Some(lapsed) = lapsed {
            let book = self.locks.entry(lock.clone()).or_default();
            book.lapsed.insert(token, lapsed);
        }
        seen.ended.push(Ended {
            lock,
            token,
            hold,
            session,
            lapsed,
        });
    }

    /// A grant begins; `call` was told of it first.
    fn begin(
        &mut self,
        step: &Step<'_>,
        (lock, token, request): (LockId, u64, String),
        call: Option<CallId>,
        seen: &mut Seen,
    ) {
        let webhook = Self::webhook_of(step, token);
        let place = match (call, webhook) {
            (_, Some(id)) => self.place_of_webhook(id),
            (Some(call), None) => self.place_of_call.get(&call).copied(),
            (None, None) => RequestId::new(&request)
                .ok()
                .and_then(|id| self.place_of_request(&lock.0, &id)),
        };
        let book = self.locks.entry(lock.clone()).or_default();
        let first = book.line.front().copied();
        let call_applied = step.request().map(|request| request.call);
        let (to, asked, session) = match (place, step.command()) {
            (Some(id), _) => {
                let place = self.leave(id);
                let session = place.as_ref().and_then(|place| place.session);
                (Grantee::Place(id), place.map(|place| place.asked), session)
            }
            (None, Some(Command::Acquire(acquire))) if call.is_some() && call == call_applied => {
                let asked = Arc::new(acquire.clone());
                (Grantee::Newcomer, Some(asked), acquire.session)
            }
            (None, Some(Command::Acquire(acquire)))
                if webhook.is_some()
                    && acquire.subscribe.as_ref().map(|asked| asked.id) == webhook =>
            {
                (Grantee::Newcomer, Some(Arc::new(acquire.clone())), None)
            }
            (None, Some(Command::PutOpen { .. })) if call.is_some() && call == call_applied => {
                (Grantee::Newcomer, None, None)
            }
            _ => (Grantee::Nobody, None, None),
        };
        let hold = match (&asked, step.command()) {
            (Some(asked), _) => Hold {
                shared: asked.mode == Mode::Shared,
                max_shared: asked.max_shared,
                open: asked.open,
                kept: match asked.hold {
                    KeepAlive::Forever => Kept::Nothing,
                    KeepAlive::Ttl(ttl) => Kept::Own(ttl),
                    KeepAlive::Lease(id) => Kept::Lease(id),
                },
                latest: match asked.hold {
                    KeepAlive::Ttl(ttl) => Some(step.now + ttl),
                    _ => None,
                },
                session,
                untaken: webhook.is_some(),
                release_delay: asked.release_delay.span(),
            },
            (
                None,
                Some(Command::PutOpen {
                    ttl, default_ttl, ..
                }),
            ) => {
                let ttl = ttl.unwrap_or(*default_ttl);
                Hold {
                    shared: false,
                    max_shared: None,
                    open: true,
                    kept: Kept::Own(ttl),
                    latest: Some(step.now + ttl),
                    session: None,
                    untaken: false,
                    release_delay: Duration::ZERO,
                }
            }
            _ => Hold {
                shared: false,
                max_shared: None,
                open: false,
                kept: Kept::Nothing,
                latest: None,
                session: None,
                untaken: false,
                release_delay: Duration::ZERO,
            },
        };
        let book = self.locks.entry(lock.clone()).or_default();
        book.holders.insert(token, hold);
        seen.begun.push(Begun {
            lock,
            token,
            to,
            first,
            asked,
        });
    }

    fn see_effect(&mut self, step: &Step<'_>, effect: &Effect, seen: &mut Seen) {
        match effect {
            Effect::Reply(call, Err(_)) => {
                if let Some(place) = self.place_of_call.get(call).copied() {
                    self.leave(place);
                    seen.left.push(place);
                }
            }
            Effect::Queued(call, _, told) => {
                if !self.place_of_call.contains_key(call) {
                    self.stand(step, *call);
                }
                let place = self.place_of_call.get(call);
                let is = place.and_then(|place| self.position(*place));
                seen.positions.push(Position {
                    call: *call,
                    told: *told,
                    is,
                });
            }
            Effect::SessionOpened { session, lease, .. } => {
                let Some(space) = step.request().map(|request| request.namespace.clone()) else {
                    return;
                };
                let lease = (space, lease.id);
                if let Some(book) = self.leases.get_mut(&lease) {
                    book.session = Some(*session);
                }
                self.sessions.insert(*session, lease);
            }
            Effect::SessionEnded { session, .. } => {
                self.sessions.remove(session);
            }
            _ => {}
        }
    }

    /// The applied call stands in line: behind all others, or where it stood.
    fn stand(&mut self, step: &Step<'_>, call: CallId) {
        let Some(request) = step.request().filter(|request| request.call == call) else {
            return;
        };
        let Command::Acquire(acquire) = &request.command else {
            return;
        };
        let deadline = step.now + acquire.wait;
        let known = acquire.request_id.as_ref();
        let known = known.and_then(|id| self.place_of_request(&request.namespace, id));
        let id = match known.and_then(|id| Some((id, self.places.get_mut(&id)?))) {
            Some((id, place)) => {
                place.calls.push(call);
                place.deadline = deadline;
                place.session = acquire.session.or(place.session);
                id
            }
            None => {
                let lock = (request.namespace.clone(), acquire.lock.clone());
                self.insert_place(Place {
                    lock,
                    calls: vec![call],
                    asked: Arc::new(acquire.clone()),
                    session: acquire.session,
                    deadline,
                    webhook: None,
                })
            }
        };
        self.place_of_call.insert(call, id);
    }

    fn position(&self, id: PlaceId) -> Option<u32> {
        let line = &self.locks.get(&self.places.get(&id)?.lock)?.line;
        let index = line.iter().position(|other| *other == id)?;
        u32::try_from(index + 1).ok()
    }

    fn leave(&mut self, id: PlaceId) -> Option<Place> {
        let place = self.places.remove(&id)?;
        for call in &place.calls {
            self.place_of_call.remove(call);
        }
        if let Some(lock) = self.locks.get_mut(&place.lock) {
            lock.line.retain(|other| *other != id);
        }
        Some(place)
    }

    /// The caller is gone: with the last one goes a place that is not durable.
    fn hang_up(&mut self, call: CallId, seen: &mut Seen) {
        if let Some(lease) = self.sessions.remove(&call)
            && let Some(lease) = self.leases.get_mut(&lease)
        {
            lease.session = None;
        }
        let Some(id) = self.place_of_call.remove(&call) else {
            return;
        };
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        place.calls.retain(|other| *other != call);
        if place.calls.is_empty() && !place.is_durable() {
            self.leave(id);
            seen.left.push(id);
        }
    }

    fn remember(&mut self, step: &Step<'_>, id: (Namespace, RequestId), seen: &Seen) {
        let request = step.request().filter(|request| {
            request.namespace == id.0 && request_id(&request.command) == Some(&id.1)
        });
        let here = request.and_then(|request| {
            let outcome = outcome(step.reply()?.as_ref().ok()?)?;
            Some((Arc::new(request.command.clone()), outcome))
        });
        let (asked, outcome) = match here {
            Some(here) => here,
            None => {
                let of_place = seen.begun.iter().find_map(|begun| {
                    let asked = begun.asked.as_ref()?;
                    let same = begun.lock.0 == id.0 && asked.request_id.as_ref() == Some(&id.1);
                    same.then(|| (Acquire::clone(asked), begun.token))
                });
                let Some((asked, token)) = of_place else {
                    return;
                };
                (Arc::new(Command::Acquire(asked)), Outcome::Granted(token))
            }
        };
        let until = step.now + REQUEST_MEMORY;
        let known = Known {
            asked,
            outcome,
            until,
            latest: until,
        };
        self.requests.insert(id, known);
    }

    /// Whatever was renewed lasts for its TTL from now on, at the latest.
    fn see_renewal(&mut self, step: &Step<'_>) {
        let Some(request) = step.request() else {
            return;
        };
        let done = matches!(step.reply(), Some(Ok(_)));
        let space = &request.namespace;
        match &request.command {
            Command::Renew { lock, proof, ttl } if done => {
                let lock = (space.clone(), lock.clone());
                if let Some(token) = self.proven(&lock, *proof) {
                    self.renew_hold(&lock, token, *ttl, step.now);
                }
            }
            Command::PutOpen { lock, ttl, .. } if done => {
                let lock = (space.clone(), lock.clone());
                if let Some(token) = self.proven(&lock, Proof::Open) {
                    if let Some(hold) = self
                        .locks
                        .get_mut(&lock)
                        .and_then(|lock| lock.holders.get_mut(&token))
                        && ttl.is_some()
                        && matches!(hold.kept, Kept::Own(_))
                    {
                        hold.latest = None;
                    }
                    self.renew_hold(&lock, token, *ttl, step.now);
                }
            }
            Command::Acquire(acquire) => {
                // A retry moves the grant's loss notices to the session that it came through.
                if let Some(Ok(Answer::Granted(granted))) = step.reply()
                    && let Some(session) = acquire.session
                    && let Some(lock) = self.locks.get_mut(&(space.clone(), acquire.lock.clone()))
                    && let Some(hold) = lock.holders.get_mut(&granted.holder.fencing_token)
                {
                    hold.session = Some(session);
                }
            }
            Command::RenewLease { id } if done => self.renew_lease(space, *id, step.now),
            Command::OpenSession {
                lease: SessionLease::Resume(id),
            } if step.reply().is_none() => self.renew_lease(space, *id, step.now),
            Command::Touch { session, .. } => {
                if let Some((space, id)) = self.sessions.get(session).cloned() {
                    self.renew_lease(&space, id, step.now);
                }
            }
            _ => {}
        }
    }

    fn renew_hold(&mut self, lock: &LockId, token: u64, ttl: Option<Duration>, now: Time) {
        let Some(hold) = self
            .locks
            .get_mut(lock)
            .and_then(|lock| lock.holders.get_mut(&token))
        else {
            return;
        };
        match &mut hold.kept {
            Kept::Nothing => {}
            Kept::Own(own) => {
                *own = ttl.unwrap_or(*own);
                hold.latest = hold.latest.max(Some(now + *own));
            }
            Kept::Lease(id) => {
                let id = *id;
                self.renew_lease(&lock.0, id, now);
            }
        }
    }

    fn renew_lease(&mut self, space: &Namespace, id: LeaseId, now: Time) {
        if let Some(lease) = self.leases.get_mut(&(space.clone(), id)) {
            lease.latest = lease.latest.max(now + lease.ttl);
        }
    }

    /// What is left after a crash, in the order of arrival: `self` is the last durable book.
    pub fn after_crash(&self, live: &Book, now: Time) -> Book {
        let mut book = self.clone();
        book.last_place = live.last_place;
        book.fresh = true;
        book.place_of_call.clear();
        book.sessions.clear();
        book.places.retain(|_, place| {
            place.calls.clear();
            place.session = None;
            place.is_durable()
        });
        let places = &book.places;
        for lock in book.locks.values_mut() {
            lock.line.retain(|place| places.contains_key(place));
            for hold in lock.holders.values_mut() {
                hold.session = None;
                if let (Kept::Own(ttl), Some(latest)) = (hold.kept, hold.latest) {
                    hold.latest = Some(latest_after_crash(latest, ttl, now));
                }
            }
        }
        for lease in book.leases.values_mut() {
            lease.session = None;
            lease.latest = latest_after_crash(lease.latest, lease.ttl, now);
        }
        for known in book.requests.values_mut() {
            known.latest = now + REQUEST_MEMORY;
        }
        book
    }
}

/// A short lease may start anew, a long one may last longer by the slack.
fn latest_after_crash(latest: Time, ttl: Duration, now: Time) -> Time {
    if ttl < LONG_TTL {
        latest.max(now + ttl)
    } else {
        latest + LONG_TTL_SLACK
    }
}

/// The token of a grant that an effect tells a call of.
pub fn granted(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Reply(_, Ok(Answer::Granted(granted) | Answer::Put { granted, .. })) => {
            Some(granted.holder.fencing_token)
        }
        _ => None,
    }
}

/// What an answer says of the outcome of a request.
pub fn outcome(answer: &Answer) -> Option<Outcome> {
    Some(match answer {
        Answer::Granted(granted) => Outcome::Granted(granted.holder.fencing_token),
        Answer::Released => Outcome::Released,
        Answer::Reserved(lock) => Outcome::Reserved(lock.clone()),
        Answer::Lease(view) => Outcome::Lease(view.id),
        Answer::Revoked(count) => Outcome::Revoked(*count),
        Answer::Forced(count) => Outcome::Forced(*count),
        Answer::ValuePut(revision) => Outcome::ValuePut(*revision),
        Answer::ValueDeleted(revision) => Outcome::ValueDeleted(*revision),
        Answer::Fifo(FifoAnswer::Fifo(view)) => Outcome::Fifo(view.id.clone()),
        Answer::Fifo(FifoAnswer::Deleted(count)) => Outcome::FifoDeleted(*count),
        Answer::Fifo(FifoAnswer::Ticket(view)) => Outcome::Ticket(view.id),
        Answer::Fifo(FifoAnswer::Completed) => Outcome::TicketCompleted,
        Answer::Fifo(FifoAnswer::Cancelled) => Outcome::TicketCancelled,
        Answer::Webhook(WebhookAnswer::Subscribed(id)) => Outcome::Subscribed(*id),
        Answer::Webhook(WebhookAnswer::Cancelled) => Outcome::WebhookCancelled,
        _ => return None,
    })
}

/// The request id of a command that has one.
pub fn request_id(command: &Command) -> Option<&RequestId> {
    match command {
        Command::Acquire(Acquire { request_id, .. })
        | Command::Reserve { request_id, .. }
        | Command::Release { request_id, .. }
        | Command::ForceRelease { request_id, .. }
        | Command::CreateLease { request_id, .. }
        | Command::RevokeLease { request_id, .. }
        | Command::PutValue { request_id, .. }
        | Command::DeleteValue { request_id, .. }
        | Command::Fifo(
            FifoCommand::Create { request_id, .. }
            | FifoCommand::Delete { request_id, .. }
            | FifoCommand::CreateTicket { request_id, .. }
            | FifoCommand::Complete { request_id, .. }
            | FifoCommand::Cancel { request_id, .. },
        ) => request_id.as_ref(),
        _ => None,
    }
}

/// Whether two commands ask for the same, so that one may be the other's retry. How long to wait,
/// through which session it comes and what fresh ids it brings may differ.
pub fn asks_the_same(a: &Command, b: &Command) -> bool {
    match (a, b) {
        (Command::Acquire(a), Command::Acquire(b)) => {
            (&a.lock, a.mode, a.max_shared, a.hold) == (&b.lock, b.mode, b.max_shared, b.hold)
                && a.release_delay == b.release_delay
                && (&a.about, a.must_exist, a.open) == (&b.about, b.must_exist, b.open)
                && a.subscribe.as_ref().map(|asked| &asked.callback)
                    == b.subscribe.as_ref().map(|asked| &asked.callback)
        }
        (
            Command::Reserve {
                destroy_after: a, ..
            },
            Command::Reserve {
                destroy_after: b, ..
            },
        ) => a == b,
        (
            Command::Release { lock, proof, .. },
            Command::Release {
                lock: other,
                proof: other_proof,
                ..
            },
        ) => (lock, proof) == (other, other_proof),
        (
            Command::ForceRelease {
                lock,
                fencing_token,
                ..
            },
            Command::ForceRelease {
                lock: other,
                fencing_token: other_token,
                ..
            },
        ) => (lock, fencing_token) == (other, other_token),
        (
            Command::CreateLease { ttl, about, .. },
            Command::CreateLease {
                ttl: other,
                about: other_about,
                ..
            },
        ) => (ttl, about) == (other, other_about),
        (
            Command::PutValue {
                key,
                bytes,
                ttl,
                expected_revision,
                ..
            },
            Command::PutValue {
                key: other,
                bytes: other_bytes,
                ttl: other_ttl,
                expected_revision: other_revision,
                ..
            },
        ) => {
            (key, bytes, ttl, expected_revision) == (other, other_bytes, other_ttl, other_revision)
        }
        (
            Command::DeleteValue {
                key,
                expected_revision,
                ..
            },
            Command::DeleteValue {
                key: other,
                expected_revision: other_revision,
                ..
            },
        ) => (key, expected_revision) == (other, other_revision),
        (Command::RevokeLease { id, .. }, Command::RevokeLease { id: other, .. }) => id == other,
        (Command::Fifo(a), Command::Fifo(b)) => asks_the_same_of_fifos(a, b),
        _ => false,
    }
}

/// As [`asks_the_same`]. Whoever named no id comes with another fresh one.
fn asks_the_same_of_fifos(a: &FifoCommand, b: &FifoCommand) -> bool {
    use FifoCommand::{Cancel, Complete, Create, CreateTicket, Delete};
    let create = |command: &FifoCommand| match command {
        Create {
            id,
            fresh_id,
            settings,
            ..
        } => Some(((!fresh_id).then(|| id.clone()), *settings)),
        _ => None,
    };
    let stand = |command: &FifoCommand| match command {
        CreateTicket {
            fifo,
            overrides,
            lenient,
            about,
            ..
        } => Some((fifo.clone(), *overrides, *lenient, about.clone())),
        _ => None,
    };
    match (a, b) {
        (Create { .. }, Create { .. }) => create(a) == create(b),
        (CreateTicket { .. }, CreateTicket { .. }) => stand(a) == stand(b),
        (Delete { id, .. }, Delete { id: other, .. }) => id == other,
        (
            Complete { fifo, ticket, .. },
            Complete {
                fifo: other,
                ticket: other_ticket,
                ..
            },
        )
        | (
            Cancel { fifo, ticket, .. },
            Cancel {
                fifo: other,
                ticket: other_ticket,
                ..
            },
        ) => (fifo, ticket) == (other, other_ticket),
        _ => false,
    }
}
