//! The rules of locks: who holds, who waits, who is next.
//!
//! Invariant: the holders of a lock are one exclusive grant, or shared grants up to the smallest
//! `max_shared` among them. Those who lost it and hold it back count as holders: see `lapse.rs`.
//! Invariant: a waiter stands in line only while the first in the line does not fit; so a free lock
//! has no waiters.
//! Invariant: who would overtake a waiter waits.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::command::*;
use super::limits::*;
use super::name::{About, Invalid, LockName, Namespace, ReleaseDelay, RequestId};
use super::record::{HoldValue, Key, LockValue, Value, nanos};
use super::request::{Done, Kind, Recall};
use super::state::*;
use super::timer::{Expiry, Timer};
use super::webhook::Turned;

/// What stands for a missing `max_shared`.
pub(super) const UNBOUNDED: u32 = HOLDERS_PER_LOCK_MAX;

impl State {
    pub(super) fn reserve(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: LockName,
        destroy_after: Duration,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let request = match self.recall(call, space, request_id, Kind::Reserve, destroy_after, out)
        {
            Recall::New(request) => request,
            Recall::Done(Done::Reserved(name)) => {
                return out.answer(call, Answer::Reserved(name));
            }
            _ => return,
        };
        let lock = match self.lock_to_use(space, &name) {
            Ok(lock) => lock,
            Err(refusal) => return out.refuse(call, refusal),
        };
        let timer = self.now + destroy_after;
        self.timers.set(timer, Timer::Reserved(lock));
        let before = self.locks[lock].set_reserved(Some(Reserved {
            destroy_after,
            last_used: self.now,
            timer,
        }));
        if let Some(before) = before
            && before.timer != timer
        {
            self.timers.unset(before.timer, Timer::Reserved(lock));
        }
        let value = LockValue {
            destroy_after_nanos: nanos(destroy_after),
        };
        let key = Key::Lock(self.space_of(space).name.clone(), name.clone());
        out.put(key, Value::Lock(value));
        self.remember(space, request, Done::Reserved(name.clone()), out);
        out.answer(call, Answer::Reserved(name));
    }

    pub(super) fn acquire(
        &mut self,
        call: CallId,
        space: SpaceIx,
        acquire: Acquire,
        out: &mut Out,
    ) {
        // A retry may change how long it waits and through which session it comes.
        let asked = (
            &acquire.lock,
            (acquire.mode, acquire.max_shared, acquire.hold),
            acquire.release_delay,
            &acquire.about,
            (acquire.must_exist, acquire.open),
            &acquire.subscribe,
        );
        let id = acquire.request_id.clone();
        let request = match self.recall(call, space, id, Kind::Acquire, asked, out) {
            Recall::New(request) => request,
            Recall::Waiting(waiter) => return self.stand_again(call, waiter, &acquire, out),
            Recall::Done(Done::Granted(fencing_token, at)) => {
                return self.grant_again(call, space, acquire, fencing_token, at, out);
            }
            Recall::Done(Done::Subscribed(id)) => {
                let answer = WebhookAnswer::Subscribed(id);
                return out.answer(call, Answer::Webhook(answer));
            }
            _ => return,
        };
        let keeper = match acquire.hold {
            Hold::Forever => Keeper::Nothing,
            Hold::Ttl(ttl) => Keeper::Ttl(ttl),
            Hold::Lease(id) => match self.lease_to_hang_on(space, id) {
                Ok(lease) => Keeper::Lease(lease),
                Err(refusal) => return out.refuse(call, refusal),
            },
        };
        let known = self.space_of(space).locks.get(&acquire.lock).copied();
        if acquire.must_exist && known.is_none() {
            return out.refuse(call, Refusal::LockNotFound(acquire.lock));
        }
        let ask = Ask {
            mode: acquire.mode,
            max_shared: acquire.max_shared,
            open: acquire.open,
            release_delay: acquire.release_delay,
            keeper,
            about: acquire.about,
            session: acquire.session,
            request,
            webhook: None,
        };
        if let Some(subscribe) = acquire.subscribe {
            return match self.lock_to_use(space, &acquire.lock) {
                Ok(lock) => self.subscribe(call, lock, ask, subscribe, acquire.wait, out),
                Err(refusal) => out.refuse(call, refusal),
            };
        }
        match known {
            Some(lock) if self.must_wait(lock, &ask) => {
                self.stand_in_line(call, lock, ask, acquire.wait, out);
            }
            _ => match self.lock_to_use(space, &acquire.lock) {
                Ok(lock) => {
                    self.grant(lock, ask, &[call], out);
                }
                Err(refusal) => out.refuse(call, refusal),
            },
        }
    }

    /// Takes an exclusive open grant, or renews the open grant that holds the lock.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn put_open(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: LockName,
        ttl: Option<Duration>,
        default_ttl: Duration,
        about: Option<Arc<About>>,
        out: &mut Out,
    ) {
        let ask = Ask {
            mode: Mode::Exclusive,
            max_shared: None,
            open: true,
            release_delay: ReleaseDelay::default(),
            keeper: Keeper::Ttl(ttl.unwrap_or(default_ttl)),
            about,
            session: None,
            request: None,
            webhook: None,
        };
        let known = self.space_of(space).locks.get(&name).copied();
        let held = known.filter(|lock| self.must_wait(*lock, &ask));
        let (grant, created) = match held.map(|lock| (lock, self.grant_by_proof(lock, Proof::Open)))
        {
            Some((_, Some(grant))) => {
                self.refresh(grant, ttl, out);
                (grant, false)
            }
            Some((lock, None)) => {
                let view = Box::new(self.view_lock(lock));
                return out.refuse(call, Refusal::LockHeld(view));
            }
            None => match self.lock_to_use(space, &name) {
                Ok(lock) => (self.grant(lock, ask, &[], out), true),
                Err(refusal) => return out.refuse(call, refusal),
            },
        };
        self.grants[grant].told += 1;
        let granted = self.view_granted(grant);
        out.answer(call, Answer::Put { granted, created });
    }

    /// Counts the TTL of an open grant anew, as given: this may bring its end nearer.
    fn refresh(&mut self, index: GrantIx, ttl: Option<Duration>, out: &mut Out) {
        let now = self.now;
        let KeptBy::Own(expiry) = &mut self.grants[index].kept_by else {
            return;
        };
        let Some(ttl) = ttl else {
            if expiry.renew(now) {
                self.put_grant(index, out);
            }
            return;
        };
        let before = std::mem::replace(expiry, Expiry::new(now, ttl));
        let after = expiry.timer;
        self.timers.unset(before.timer, Timer::Grant(index));
        self.timers.set(after, Timer::Grant(index));
        self.put_grant(index, out);
    }

    pub(super) fn renew(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: LockName,
        proof: Proof,
        ttl: Option<Duration>,
        out: &mut Out,
    ) {
        let Some(grant) = self.grant_by_name(space, &name, proof) else {
            return out.refuse(call, Refusal::NotHolder(name));
        };
        let now = self.now;
        let expires_in = match (&mut self.grants[grant].kept_by, ttl) {
            (KeptBy::Nothing, None) => None,
            (KeptBy::Nothing, Some(_)) => {
                let invalid = Invalid::new("ttl", "must be absent: the grant has no expiry");
                return out.refuse(call, Refusal::Invalid(invalid));
            }
            (KeptBy::Lease(_), Some(_)) => {
                let invalid = Invalid::new("ttl", "must be absent: the grant is on a shared lease");
                return out.refuse(call, Refusal::Invalid(invalid));
            }
            (KeptBy::Lease(lease), None) => {
                let lease = *lease;
                self.prolong_lease(lease, out);
                Some(self.leases[lease].expiry.left(now))
            }
            (KeptBy::Own(expiry), ttl) => {
                let changed = ttl.is_some_and(|ttl| ttl != expiry.ttl);
                expiry.ttl = ttl.unwrap_or(expiry.ttl);
                let commit = expiry.renew(now);
                let left = expiry.left(now);
                if changed {
                    // A long lease that was short has no committed end to go by.
                    expiry.committed = expiry.ends;
                }
                if commit || changed {
                    self.put_grant(grant, out);
                }
                Some(left)
            }
        };
        out.answer(call, Answer::Renewed { expires_in });
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn release(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: LockName,
        proof: Proof,
        session: Option<CallId>,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let asked = (&name, proof);
        let request = match self.recall(call, space, request_id, Kind::Release, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Released) => return out.answer(call, Answer::Released),
            _ => return,
        };
        let Some(grant) = self.grant_by_name(space, &name, proof) else {
            return out.refuse(call, Refusal::NotHolder(name));
        };
        out.answer(call, Answer::Released);
        self.remember(space, request, Done::Released, out);
        let lock = self.grants[grant].lock;
        self.end_grant(grant, EndCause::Released, session, out);
        self.settle(lock, out);
    }

    pub(super) fn force_release(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: LockName,
        fencing_token: Option<u64>,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let asked = (&name, fencing_token);
        let request = match self.recall(call, space, request_id, Kind::ForceRelease, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Forced(count)) => return out.answer(call, Answer::Forced(count)),
            _ => return,
        };
        let lock = self.space_of(space).locks.get(&name).copied();
        let grants: Vec<GrantIx> = match (lock, fencing_token) {
            (None, _) => Vec::new(),
            (Some(lock), None) => self.locks[lock].holders.to_vec(),
            (Some(lock), Some(token)) => self.grant_by_token(lock, token).into_iter().collect(),
        };
        let lapsed = lock.and_then(|lock| self.locks[lock].lapsed());
        let lapsed = lapsed.map_or_else(Vec::new, |lapsed| lapsed.meant(fencing_token));
        let count = grants.len() + lapsed.len();
        out.answer(call, Answer::Forced(count));
        self.remember(space, request, Done::Forced(count), out);
        // Where nothing has ended nothing changes, not even a line that is to be served after a load.
        let Some(lock) = lock.filter(|_| count > 0) else {
            return;
        };
        for key in lapsed {
            self.end_lapsed(lock, key, out);
        }
        for grant in grants {
            self.end_grant(grant, EndCause::Forced, None, out);
        }
        self.settle(lock, out);
    }

    pub(super) fn watch(&mut self, call: CallId, space: SpaceIx, name: LockName, out: &mut Out) {
        let view = self.view_by_name(space, &name);
        let watchers = self
            .space_mut(space)
            .watchers
            .entry(name.clone())
            .or_default();
        if watchers.len() >= WATCHERS_PER_LOCK_MAX {
            let refusal = Refusal::LimitReached {
                what: "watchers of one lock",
                max: WATCHERS_PER_LOCK_MAX,
            };
            return out.refuse(call, refusal);
        }
        watchers.push(call);
        self.calls.insert(call, CallRole::Watcher(space, name));
        out.effects.push(Effect::Watching(call, view));
    }

    /// Ends a grant that its caller was not told of, unless another call was.
    pub(super) fn give_back(
        &mut self,
        space: SpaceIx,
        name: &LockName,
        fencing_token: u64,
        out: &mut Out,
    ) {
        let Some(index) = self.grant_by_name(space, name, Proof::Token(fencing_token)) else {
            return;
        };
        let grant = &mut self.grants[index];
        grant.told = grant.told.saturating_sub(1);
        let comes_back = matches!(grant.kept_by, KeptBy::Lease(_)) && grant.request.is_some();
        if grant.told > 0 || comes_back {
            return;
        }
        let lock = grant.lock;
        if let Some(request) = grant.request.take() {
            self.forget_granted(space, &request.0, fencing_token, out);
        }
        self.end_grant(index, EndCause::Released, None, out);
        self.settle(lock, out);
    }

    /// Whether a newcomer has to wait: because somebody does already, or because it does not fit.
    pub(super) fn must_wait(&self, lock: LockIx, ask: &Ask) -> bool {
        self.locks[lock].line.is_some() || !self.fits(lock, ask)
    }

    /// Whether the holders, those who lost it and hold it back included, leave room for one more.
    fn fits(&self, lock: LockIx, ask: &Ask) -> bool {
        let Some((mode, count)) = self.held_as(lock) else {
            return true;
        };
        let bound = self.locks[lock].shared_bound;
        let bound = bound.min(ask.max_shared.unwrap_or(UNBOUNDED));
        ask.mode == Mode::Shared && mode == Mode::Shared && count < bound as usize
    }

    /// How a lock is held, and by how many, those who lost it and hold it back included; `None`: it is
    /// free.
    pub(super) fn held_as(&self, lock: LockIx) -> Option<(Mode, usize)> {
        let lock = &self.locks[lock];
        let first = lock.holders.first();
        let mode = first.map(|grant| self.grants[*grant].mode);
        let Some(lapsed) = lock.lapsed() else {
            return Some((mode?, lock.holders.len()));
        };
        let mode = mode.or(lapsed.mode())?;
        Some((mode, lock.holders.len() + lapsed.len()))
    }

    /// The lock of that name, made where there is none.
    pub(super) fn lock_to_use(
        &mut self,
        space: SpaceIx,
        name: &LockName,
    ) -> Result<LockIx, Refusal> {
        // Not by a method: the table of locks is changed beside it.
        let locks = &mut self.spaces[usize::from(space)].locks;
        let count = locks.len();
        match locks.entry(name.clone()) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(_) if count >= LOCKS_PER_NAMESPACE_MAX => Err(Refusal::LimitReached {
                what: "locks in the namespace",
                max: LOCKS_PER_NAMESPACE_MAX,
            }),
            Entry::Vacant(place) => {
                let lock = self.locks.insert(Lock::new(space, name.clone()));
                Ok(*place.insert(lock))
            }
        }
    }

    /// Makes a grant and tells `calls` of it. The ask fits, and nobody waits before it.
    pub(super) fn grant(
        &mut self,
        lock_index: LockIx,
        ask: Ask,
        calls: &[CallId],
        out: &mut Out,
    ) -> GrantIx {
        self.last_fencing_token += 1;
        let fencing_token = self.last_fencing_token;
        let kept_by = match ask.keeper {
            Keeper::Nothing => KeptBy::Nothing,
            Keeper::Ttl(ttl) => KeptBy::Own(Expiry::new(self.now, ttl)),
            Keeper::Lease(lease) => KeptBy::Lease(lease),
        };
        let index = self.insert_grant(Grant {
            lock: lock_index,
            fencing_token,
            mode: ask.mode,
            open: ask.open,
            release_delay: ask.release_delay,
            max_shared: ask.max_shared,
            told: calls.len() as u32,
            kept_by,
            about: ask.about,
            acquired_at: self.wall,
            session: ask.session,
            request: ask.request.clone().map(Box::new),
        });
        self.put_grant(index, out);
        if let Some(webhook) = ask.webhook {
            self.webhook_is_due(webhook, Turned::Grant(index), out);
        }
        let done = Done::Granted(fencing_token, self.wall);
        self.remember(self.locks[lock_index].space, ask.request, done, out);
        for call in calls {
            let granted = self.view_granted(index);
            out.answer(*call, Answer::Granted(granted));
        }
        let begun = || LockChange::Granted(self.view_holder(&self.grants[index]));
        self.announce(lock_index, begun, out);
        index
    }

    /// Puts a grant where it belongs: its lock, its lease or its timer.
    pub(super) fn insert_grant(&mut self, grant: Grant) -> GrantIx {
        let (lock, kept_by, token) = (grant.lock, grant.kept_by, grant.fencing_token);
        let bound = grant.max_shared.unwrap_or(UNBOUNDED);
        let index = self.grants.insert(grant);
        let lock = &mut self.locks[lock];
        lock.shared_bound = lock.shared_bound.min(bound);
        lock.holders.push(index);
        match kept_by {
            KeptBy::Nothing => {}
            KeptBy::Own(expiry) => self.timers.set(expiry.timer, Timer::Grant(index)),
            KeptBy::Lease(lease) => {
                self.leases[lease].grants.insert(token, index);
            }
        }
        index
    }

    /// Takes a grant away from its holder, and tells watchers and the session that had it, unless
    /// it was `by` that session. The lock has to be settled afterwards.
    pub(super) fn end_grant(
        &mut self,
        index: GrantIx,
        cause: EndCause,
        by: Option<CallId>,
        out: &mut Out,
    ) {
        let lock_index = self.grants[index].lock;
        let lock = &mut self.locks[lock_index];
        lock.holders.retain(|holder| *holder != index);
        let key = self.grant_key(index);
        out.delete(key);
        self.webhook_grant_ended(index, cause, out);
        self.note_end(index, cause);
        let grant = self.grants.remove(index);
        let session = match grant.kept_by {
            KeptBy::Lease(lease) => self.leases[lease].session,
            _ => grant.session,
        };
        match grant.kept_by {
            KeptBy::Nothing => {}
            KeptBy::Own(expiry) => self.timers.unset(expiry.timer, Timer::Grant(index)),
            KeptBy::Lease(lease) => {
                self.leases[lease].grants.remove(&grant.fencing_token);
            }
        }
        self.hold_back(&grant, cause, out);
        self.unbound(lock_index, grant.max_shared);
        let ended = || LockChange::Ended(self.view_holder(&grant), cause);
        self.announce(lock_index, ended, out);
        if let Some(session) = session
            && by != Some(session)
        {
            out.effects.push(Effect::Lost {
                session,
                lock: self.locks[lock_index].name.clone(),
                fencing_token: grant.fencing_token,
                cause,
            });
        }
    }

    /// A hold with this `max_shared` counts no more: the smallest of the others bounds the lock.
    pub(super) fn unbound(&mut self, index: LockIx, max_shared: Option<u32>) {
        let lock = &self.locks[index];
        let ended = max_shared.unwrap_or(UNBOUNDED);
        if ended != lock.shared_bound {
            return;
        }
        let holders = lock.holders.iter().map(|holder| &self.grants[*holder]);
        let holders = holders.map(|grant| grant.max_shared.unwrap_or(UNBOUNDED));
        let lapsed = lock.lapsed().into_iter().flat_map(|lapsed| lapsed.bounds());
        let mut smallest = UNBOUNDED;
        for bound in holders.chain(lapsed) {
            if bound == ended {
                return;
            }
            smallest = smallest.min(bound);
        }
        self.locks[index].shared_bound = smallest;
    }

    /// Serves whoever fits, in order; then a lock that is idle goes.
    pub(super) fn settle(&mut self, index: LockIx, out: &mut Out) {
        if self.locks.get(index).is_none() {
            return;
        }
        while let Some(waiter) = self.first_that_fits(index) {
            let waiter = self.leave_line(waiter, out);
            self.grant(index, waiter.ask, &waiter.calls, out);
        }
        let now = self.now;
        let lock = &mut self.locks[index];
        if lock.is_in_use() {
            return;
        }
        match lock.reserved_mut() {
            Some(reserved) => reserved.last_used = now,
            None => {
                let lock = self.locks.remove(index);
                self.space_mut(lock.space).locks.remove(&lock.name);
            }
        }
    }

    fn first_that_fits(&self, lock: LockIx) -> Option<WaiterIx> {
        let line = self.locks[lock].line.as_ref()?;
        let (_, waiter) = line.places.first_key_value()?;
        self.fits(lock, &self.waiters[*waiter].ask)
            .then_some(*waiter)
    }

    pub(super) fn grant_by_name(
        &self,
        space: SpaceIx,
        name: &LockName,
        proof: Proof,
    ) -> Option<GrantIx> {
        let lock = self.space_of(space).locks.get(name)?;
        self.grant_by_proof(*lock, proof)
    }

    /// Whether an open grant holds the lock, so that [`Command::PutOpen`] would refresh it.
    pub fn is_held_open(&self, namespace: &Namespace, lock: &LockName) -> bool {
        self.space_by_name
            .get(namespace)
            .is_some_and(|space| self.grant_by_name(*space, lock, Proof::Open).is_some())
    }

    fn grant_by_proof(&self, lock: LockIx, proof: Proof) -> Option<GrantIx> {
        match proof {
            Proof::Token(token) => self.grant_by_token(lock, token),
            Proof::Open => self.locks[lock]
                .holders
                .first()
                .copied()
                .filter(|grant| self.grants[*grant].open),
        }
    }

    pub(super) fn grant_by_token(&self, lock: LockIx, fencing_token: u64) -> Option<GrantIx> {
        let holders = &self.locks[lock].holders;
        let place = holders
            .binary_search_by_key(&fencing_token, |grant| self.grants[*grant].fencing_token)
            .ok()?;
        holders.get(place).copied()
    }

    /// Answers the retry of an acquire that was granted.
    fn grant_again(
        &mut self,
        call: CallId,
        space: SpaceIx,
        acquire: Acquire,
        fencing_token: u64,
        acquired_at: super::time::WallTime,
        out: &mut Out,
    ) {
        let proof = Proof::Token(fencing_token);
        let granted = match self.grant_by_name(space, &acquire.lock, proof) {
            Some(index) => {
                let grant = &mut self.grants[index];
                grant.told += 1;
                grant.session = acquire.session.or(grant.session);
                self.view_granted(index)
            }
            // It has ended since. The outcome stays the same; the time left says the rest.
            None => Granted {
                lock: acquire.lock,
                holder: HolderView {
                    fencing_token,
                    mode: acquire.mode,
                    about: acquire.about,
                    acquired_at,
                    expires_in: Some(Duration::ZERO),
                    ttl: None,
                    open: acquire.open,
                },
                lease: match acquire.hold {
                    Hold::Lease(id) => Some(id),
                    _ => None,
                },
            },
        };
        out.answer(call, Answer::Granted(granted));
    }

    /// Starts the TTL of a grant anew, from when its holder has taken it.
    pub(super) fn start_anew(&mut self, index: GrantIx, out: &mut Out) {
        let now = self.now;
        let KeptBy::Own(expiry) = &mut self.grants[index].kept_by else {
            return;
        };
        let commit = expiry.renew(now);
        let before = std::mem::replace(&mut expiry.timer, expiry.ends);
        let at = expiry.timer;
        self.timers.unset(before, Timer::Grant(index));
        self.timers.set(at, Timer::Grant(index));
        if commit {
            self.put_grant(index, out);
        }
    }

    pub(super) fn grant_is_due(&mut self, index: GrantIx, out: &mut Out) {
        let now = self.now;
        let untaken_until = self.untaken_until(index);
        let Some(KeptBy::Own(expiry)) = self.grants_mut(index) else {
            return;
        };
        let at = expiry.ends;
        if let Some(until) = untaken_until
            && at <= now
        {
            // Nobody has it yet: it ends with its webhook, or starts anew when that is taken.
            expiry.timer = until;
            return;
        }
        expiry.timer = at;
        if at > now {
            return self.timers.set(at, Timer::Grant(index));
        }
        let lock = self.grants[index].lock;
        self.end_grant(index, EndCause::Expired, None, out);
        self.settle(lock, out);
    }

    fn grants_mut(&mut self, index: GrantIx) -> Option<&mut KeptBy> {
        self.grants.get(index)?;
        Some(&mut self.grants[index].kept_by)
    }

    pub(super) fn reserved_is_due(&mut self, index: LockIx, out: &mut Out) {
        let now = self.now;
        let lock = &mut self.locks[index];
        let in_use = lock.is_in_use();
        let Some(reserved) = lock.reserved_mut() else {
            return;
        };
        if in_use {
            reserved.last_used = now;
        }
        let at = reserved.last_used + reserved.destroy_after;
        if at > now {
            reserved.timer = at;
            return self.timers.set(at, Timer::Reserved(index));
        }
        lock.set_reserved(None);
        let (space, name) = (lock.space, lock.name.clone());
        out.delete(Key::Lock(self.space_of(space).name.clone(), name));
        self.settle(index, out);
    }

    /// Tells watchers what has changed, of which `change` is only asked where there are any.
    pub(super) fn announce(
        &self,
        index: LockIx,
        change: impl FnOnce() -> LockChange,
        out: &mut Out,
    ) {
        let lock = &self.locks[index];
        let space = self.space_of(lock.space);
        if space.watchers.is_empty() {
            return;
        }
        let Some(watchers) = space.watchers.get(&lock.name) else {
            return;
        };
        let event = Arc::new(LockEvent {
            change: change(),
            at: self.wall,
            holder_count: lock.holders.len(),
            waiter_count: lock.line.as_ref().map_or(0, |line| line.places.len()),
            held_back_for: self.held_back_for(lock),
        });
        for call in watchers {
            out.effects.push(Effect::Changed(*call, event.clone()));
        }
    }

    fn grant_key(&self, index: GrantIx) -> Key {
        let grant = &self.grants[index];
        let lock = &self.locks[grant.lock];
        Key::Grant(
            self.space_of(lock.space).name.clone(),
            lock.name.clone(),
            grant.fencing_token,
        )
    }

    fn put_grant(&self, index: GrantIx, out: &mut Out) {
        out.put(self.grant_key(index), Value::Grant(self.grant_value(index)));
    }

    pub(super) fn grant_value(&self, index: GrantIx) -> HoldValue {
        let grant = &self.grants[index];
        let mut value = HoldValue {
            shared: grant.mode == Mode::Shared,
            max_shared: grant.max_shared.unwrap_or(0),
            open: grant.open,
            release_delay_millis: grant.release_delay.millis(),
            acquired_at_ms: grant.acquired_at.0,
            ..HoldValue::default()
        };
        match grant.kept_by {
            KeptBy::Nothing => {}
            KeptBy::Own(expiry) => {
                value.ttl_nanos = nanos(expiry.ttl);
                value.ends_nanos = expiry.committed.as_nanos();
            }
            KeptBy::Lease(lease) => value.lease = self.leases[lease].id.0.to_be_bytes().to_vec(),
        }
        describe(&mut value, grant.about.as_deref(), grant.request.as_deref());
        value
    }
}

/// Adds who asked and under which request id.
pub(super) fn describe(
    value: &mut HoldValue,
    about: Option<&About>,
    request: Option<&(RequestId, u64)>,
) {
    if let Some(about) = about {
        about.owner().clone_into(&mut value.owner);
        value.metadata.clone_from(about.metadata());
    }
    if let Some((id, fingerprint)) = request {
        id.as_str().clone_into(&mut value.request_id);
        value.fingerprint = *fingerprint;
    }
}
