//! Builds a state from its records, and lists the records of a state.

use smallvec::SmallVec;

use super::command::Mode;
use super::lapse::{LapsedHold, LapsedKey};
use super::limits::{HOLDERS_PER_LOCK_MAX, LOCKS_PER_NAMESPACE_MAX};
use super::name::{
    About, FifoId, LeaseId, LockName, Namespace, ReleaseDelay, RequestId, TicketId, ValueBytes,
    ValueKey, WebhookId,
};
use super::queue::read_queue_outcome;
use super::record::*;
use super::request::{Done, What, done_value};
use super::state::*;
use super::time::{Time, WallTime};
use super::timer::{Expiry, Timer};

use std::time::Duration;

/// Stands for the unknown number of calls that were told of a grant or turn before it was loaded: more than
/// can ever be given back, so that no retry takes it from one of them.
pub(super) const TOLD_BEFORE_LOAD: u32 = 1 << 31;

/// Takes a shard's records, in ascending order of their keys, and gives its state.
#[derive(Debug, Default)]
pub struct Loader {
    pub(super) state: State,
    /// The lock that the last record was of: grants of one lock come one behind the other.
    last_lock: Option<LockIx>,
    /// Locks of one namespace that can't be found by name yet, in the order of their names. One by one
    /// they would take a third of the time of a load, and leave the index half empty.
    unindexed: Vec<LockIx>,
}

impl State {
    /// Starts to load a state.
    pub fn loader() -> Loader {
        Loader::default()
    }

    /// Every record of this state, in ascending order of their keys: what a store has to hold for a
    /// loader to make this state again.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record {
            key: Key::Shard,
            value: Value::Shard(self.shard_value()),
        }];
        let mut add = |key, value| records.push(Record { key, value });
        for (index, _) in self.leases.iter() {
            add(self.lease_key(index), Value::Lease(self.lease_value(index)));
        }
        for (_, lock) in self.locks.iter() {
            let space = &self.space_of(lock.space).name;
            if let Some(reserved) = lock.reserved() {
                let destroy_after_nanos = nanos(reserved.destroy_after);
                add(
                    Key::Lock(space.clone(), lock.name.clone()),
                    Value::Lock(LockValue {
                        destroy_after_nanos,
                    }),
                );
            }
        }
        for (index, value) in self.values.iter() {
            add(self.value_key(index), Value::Value(value.record()));
        }
        for (key, value) in self.queue_records() {
            add(key, value);
        }
        for (index, fifo) in self.fifos.iter() {
            add(self.fifo_key(index), Value::Fifo(fifo.record()));
        }
        for (index, ticket) in self.tickets.iter() {
            add(self.ticket_key(index), Value::Ticket(ticket.record()));
        }
        for (index, grant) in self.grants.iter() {
            let lock = &self.locks[grant.lock];
            let space = self.space_of(lock.space).name.clone();
            let key = Key::Grant(space, lock.name.clone(), grant.fencing_token);
            add(key, Value::Grant(self.grant_value(index)));
        }
        for (key, value) in self.durable_waiters() {
            add(key, Value::Waiter(value));
        }
        for (key, value) in self.lapsed_records() {
            add(key, value);
        }
        for (key, value) in self.webhook_records() {
            add(key, value);
        }
        for space in &self.spaces {
            for (id, known) in &space.requests {
                if let What::Done(done, _) = &known.what {
                    let key = Key::Request(space.name.clone(), id.clone());
                    add(key, Value::Request(done_value(known.fingerprint, done)));
                }
            }
        }
        records.sort_by(|a, b| a.key.cmp(&b.key));
        records
    }
}

impl Loader {
    /// Takes one record as stored.
    ///
    /// Fails on what is no record, and on one that refers to something that is not there.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        let Record { key, value } = Record::decode(key, value)?;
        if !matches!(key, Key::Grant(..)) {
            self.index_locks();
        }
        match (key, value) {
            (Key::Shard, Value::Shard(value)) => self.shard(&value),
            (Key::Lease(space, id), Value::Lease(value)) => self.lease(&space, id, value),
            (Key::Lock(space, name), Value::Lock(value)) => self.reserved(&space, &name, &value)?,
            (Key::Grant(space, name, token), Value::Grant(value)) => {
                self.grant(&space, &name, token, value)?;
            }
            (Key::Lapsed(space, name, token), Value::Lapsed(value)) => {
                self.lapsed(&space, &name, token, &value)?;
            }
            (Key::Waiter(space, name, arrival), Value::Waiter(value)) => {
                self.waiter(&space, &name, arrival, value)?;
            }
            (Key::Request(space, id), Value::Request(value)) => self.request(&space, id, value)?,
            (Key::Value(space, key), Value::Value(value)) => self.value(&space, key, value)?,
            (Key::Queue(space, name), Value::Queue(value)) => self.queue(&space, &name, &value)?,
            (Key::Item(space, name, id), Value::Item(value)) => {
                self.item(&space, &name, id, value)?;
            }
            (Key::Delivery(space, name, id), Value::Delivery(value)) => {
                self.delivery(&space, &name, id, &value)?;
            }
            (Key::Fifo(space, id), Value::Fifo(value)) => {
                self.state.load_fifo(&space, id, value)?;
            }
            (Key::Ticket(space, fifo, number), Value::Ticket(value)) => {
                self.state.load_ticket(&space, &fifo, number, value)?;
            }
            (Key::Webhook(space, number), Value::Webhook(value)) => {
                self.state.load_webhook(&space, number, value)?;
            }
            (key, _) => return Err(Damage(format!("the value of {key:?} is of another kind"))),
        }
        Ok(())
    }

    /// The state.
    pub fn finish(mut self) -> State {
        self.index_locks();
        let mut state = self.state;
        // Waiters whose place was not durable are gone, so whoever is first now may fit.
        let waited_for: Vec<LockIx> = state
            .locks
            .iter()
            .filter(|(_, lock)| lock.line.is_some())
            .map(|(index, _)| index)
            .collect();
        for lock in waited_for {
            state.timers.set(state.now, Timer::Serve(lock));
        }
        state.finish_fifos();
        state
    }

    fn shard(&mut self, value: &ShardValue) {
        let state = &mut self.state;
        state.now = Time::from_nanos(value.clock_nanos);
        state.clock_committed = state.now;
        state.last_fencing_token = value.last_fencing_token;
        state.last_arrival = value.last_arrival;
        state.last_revision = value.last_revision;
    }

    fn lease(&mut self, space: &Namespace, id: LeaseId, value: LeaseValue) {
        let state = &mut self.state;
        let space = state.space(space);
        state.insert_lease(Lease {
            space,
            id,
            expiry: expiry(state.now, value.ttl_nanos, value.ends_nanos),
            about: about(&value.owner, value.metadata),
            created_at: WallTime(value.created_at_ms),
            grants: Default::default(),
            waiters: Default::default(),
            session: None,
        });
    }

    fn reserved(
        &mut self,
        space: &Namespace,
        name: &LockName,
        value: &LockValue,
    ) -> Result<(), Damage> {
        let lock = self.lock(space, name)?;
        let state = &mut self.state;
        let destroy_after = Duration::from_nanos(value.destroy_after_nanos);
        let timer = state.now + destroy_after;
        state.timers.set(timer, Timer::Reserved(lock));
        state.locks[lock].set_reserved(Some(Reserved {
            destroy_after,
            last_used: state.now,
            timer,
        }));
        Ok(())
    }

    fn grant(
        &mut self,
        space: &Namespace,
        name: &LockName,
        fencing_token: u64,
        value: HoldValue,
    ) -> Result<(), Damage> {
        let lock = self.held_lock(space, name)?;
        let ask = self.ask(lock, &value)?;
        self.is_sound(lock, fencing_token, ask.mode)?;
        let state = &mut self.state;
        let kept_by = match ask.keeper {
            Keeper::Nothing => KeptBy::Nothing,
            Keeper::Ttl(_) => KeptBy::Own(expiry(state.now, value.ttl_nanos, value.ends_nanos)),
            Keeper::Lease(lease) => KeptBy::Lease(lease),
        };
        // How many calls were told of it is not stored. Without a request id and closed it was one,
        // or none: no second call can have been told.
        let told = match ask.request.is_none() && !ask.open {
            true => 1,
            false => TOLD_BEFORE_LOAD,
        };
        state.insert_grant(Grant {
            lock,
            fencing_token,
            mode: ask.mode,
            open: ask.open,
            release_delay: ask.release_delay,
            max_shared: ask.max_shared,
            told,
            kept_by,
            about: ask.about,
            acquired_at: WallTime(value.acquired_at_ms),
            session: None,
            request: ask.request.map(Box::new),
        });
        Ok(())
    }

    fn lapsed(
        &mut self,
        space: &Namespace,
        name: &LockName,
        fencing_token: u64,
        value: &LapsedValue,
    ) -> Result<(), Damage> {
        let lock = self.lock(space, name)?;
        let hold = LapsedHold::read(value);
        self.is_sound(lock, fencing_token, hold.mode)?;
        // The end was committed with the hold, and the core's time never runs ahead of it.
        let key = LapsedKey {
            until: Time::from_nanos(value.ends_nanos),
            fencing_token,
        };
        self.state.insert_lapsed(lock, key, hold);
        Ok(())
    }

    /// Whether a hold with this token can stand beside those that were loaded before it.
    fn is_sound(&self, lock: LockIx, fencing_token: u64, mode: Mode) -> Result<(), Damage> {
        let state = &self.state;
        let name = &state.locks[lock].name;
        if fencing_token > state.last_fencing_token {
            return Err(Damage(format!(
                "the lock {name} has the fencing token {fencing_token}, above the highest ever given, {}",
                state.last_fencing_token
            )));
        }
        let fits = match state.held_as(lock) {
            None => true,
            Some((held, count)) => {
                mode == Mode::Shared
                    && held == Mode::Shared
                    && count < HOLDERS_PER_LOCK_MAX as usize
            }
        };
        if !fits {
            return Err(Damage(format!(
                "the lock {name} has holders that exclude each other"
            )));
        }
        Ok(())
    }

    fn waiter(
        &mut self,
        space: &Namespace,
        name: &LockName,
        arrival: u64,
        value: HoldValue,
    ) -> Result<(), Damage> {
        let lock = self.lock(space, name)?;
        let ask = self.ask(lock, &value)?;
        self.state.insert_waiter(Waiter {
            lock,
            arrival,
            calls: SmallVec::new(),
            ask,
            deadline: Time::from_nanos(value.ends_nanos),
            since: WallTime(value.acquired_at_ms),
            told: 0,
        });
        Ok(())
    }

    fn request(
        &mut self,
        space: &Namespace,
        id: RequestId,
        value: RequestValue,
    ) -> Result<(), Damage> {
        let done = match value.outcome {
            Some(OutcomeValue::Granted(token)) => {
                Done::Granted(token, WallTime(value.acquired_at_ms))
            }
            Some(OutcomeValue::Released(_)) => Done::Released,
            Some(OutcomeValue::Reserved(name)) => {
                Done::Reserved(LockName::new(&name).map_err(|invalid| Damage(invalid.to_string()))?)
            }
            Some(OutcomeValue::Lease(bytes)) => match read_lease_id(&bytes)? {
                Some(lease) => Done::Lease(lease),
                None => {
                    return Err(Damage(format!(
                        "the request {id} made a lease without an id"
                    )));
                }
            },
            Some(OutcomeValue::Revoked(count)) => Done::Revoked(count as usize),
            Some(OutcomeValue::Forced(count)) => Done::Forced(count as usize),
            Some(OutcomeValue::ValuePut(revision)) => Done::ValuePut(revision),
            Some(OutcomeValue::ValueDeleted(revision)) => Done::ValueDeleted(revision),
            Some(OutcomeValue::Queue(outcome)) => read_queue_outcome(&id, outcome)?,
            Some(OutcomeValue::Fifo(id)) => {
                Done::Fifo(FifoId::new(&id).map_err(|invalid| Damage(invalid.to_string()))?)
            }
            Some(OutcomeValue::FifoDeleted(count)) => Done::FifoDeleted(count as usize),
            Some(OutcomeValue::Ticket(bytes)) => Done::Ticket(TicketId(read_id(&bytes)?)),
            Some(OutcomeValue::TicketCompleted(_)) => Done::TicketCompleted,
            Some(OutcomeValue::TicketCancelled(_)) => Done::TicketCancelled,
            Some(OutcomeValue::Subscribed(bytes)) => Done::Subscribed(WebhookId(read_id(&bytes)?)),
            Some(OutcomeValue::WebhookCancelled(_)) => Done::WebhookCancelled,
            None => return Err(Damage(format!("the request {id} has no outcome"))),
        };
        let space = self.state.space(space);
        self.state.keep_request(space, id, value.fingerprint, done);
        Ok(())
    }

    fn value(&mut self, space: &Namespace, key: ValueKey, value: KeptValue) -> Result<(), Damage> {
        let state = &mut self.state;
        if value.revision > state.last_revision {
            return Err(Damage(format!(
                "the value {key} has the revision {}, above the highest ever given, {}",
                value.revision, state.last_revision
            )));
        }
        let bytes =
            ValueBytes::new(value.bytes).map_err(|invalid| Damage(format!("{key}: {invalid}")))?;
        let space = state.space(space);
        // The end was committed with the value, and the core's time never runs ahead of it.
        let ends = (value.ends_nanos > 0).then(|| Time::from_nanos(value.ends_nanos));
        state.keep_value(space, key, bytes, value.revision, ends);
        Ok(())
    }

    /// The lock of that name, made where there is none.
    fn lock(&mut self, space: &Namespace, name: &LockName) -> Result<LockIx, Damage> {
        if let Some(last) = self.last_lock(space, name) {
            return Ok(last);
        }
        let space = self.state.space(space);
        let lock = self.state.lock_to_use(space, name);
        let lock = lock.map_err(|_| too_many_locks())?;
        self.last_lock = Some(lock);
        Ok(lock)
    }

    /// The lock of that name, which a grant holds: grants come in the order of these names.
    fn held_lock(&mut self, space: &Namespace, name: &LockName) -> Result<LockIx, Damage> {
        if let Some(last) = self.last_lock(space, name) {
            return Ok(last);
        }
        let space = self.state.space(space);
        if let Some(last) = self.unindexed.last() {
            let last = &self.state.locks[*last];
            if last.space != space {
                self.index_locks();
            } else if last.name >= *name {
                return Err(Damage(format!(
                    "the lock {name} comes behind {}",
                    last.name
                )));
            }
        }
        let known = &self.state.space_of(space).locks;
        let lock = match known.get(name) {
            Some(lock) => *lock,
            None if known.len() + self.unindexed.len() >= LOCKS_PER_NAMESPACE_MAX => {
                return Err(too_many_locks());
            }
            None => {
                let lock = self.state.locks.insert(Lock::new(space, name.clone()));
                self.unindexed.push(lock);
                lock
            }
        };
        self.last_lock = Some(lock);
        Ok(lock)
    }

    /// The last lock, where it is the one of that name.
    fn last_lock(&self, space: &Namespace, name: &LockName) -> Option<LockIx> {
        let index = self.last_lock?;
        let lock = &self.state.locks[index];
        let is_it = lock.name == *name && self.state.space_of(lock.space).name == *space;
        is_it.then_some(index)
    }

    /// Lets locks be found by name.
    fn index_locks(&mut self) {
        let State { locks, spaces, .. } = &mut self.state;
        let Some(first) = self.unindexed.first() else {
            return;
        };
        let known = &mut spaces[usize::from(locks[*first].space)].locks;
        let named = std::mem::take(&mut self.unindexed).into_iter();
        let named = named.map(|index| (locks[index].name.clone(), index));
        if known.is_empty() {
            *known = named.collect();
        } else {
            known.extend(named);
        }
    }

    fn ask(&self, lock: LockIx, value: &HoldValue) -> Result<Ask, Damage> {
        let space = self.state.locks[lock].space;
        let keeper = match (read_lease_id(&value.lease)?, value.ttl_nanos) {
            (Some(id), _) => match self.state.find_lease(space, id) {
                Some(lease) => Keeper::Lease(lease),
                None => {
                    let name = &self.state.locks[lock].name;
                    return Err(Damage(format!(
                        "the lock {name} hangs on a lease that is not there"
                    )));
                }
            },
            (None, 0) => Keeper::Nothing,
            (None, ttl) => Keeper::Ttl(Duration::from_nanos(ttl)),
        };
        let request = if value.request_id.is_empty() {
            None
        } else {
            let id =
                RequestId::new(&value.request_id).map_err(|invalid| Damage(invalid.to_string()))?;
            Some((id, value.fingerprint))
        };
        Ok(Ask {
            mode: Mode::of(value.shared),
            max_shared: (value.max_shared > 0).then_some(value.max_shared),
            open: value.open,
            release_delay: ReleaseDelay::trusted(value.release_delay_millis),
            keeper,
            about: about(&value.owner, value.metadata.clone()),
            session: None,
            request,
            webhook: None,
        })
    }
}

fn too_many_locks() -> Damage {
    Damage("there are more locks than a namespace may have".to_owned())
}

pub(super) fn about(
    owner: &str,
    metadata: std::collections::BTreeMap<String, String>,
) -> Option<std::sync::Arc<About>> {
    (!owner.is_empty() || !metadata.is_empty()).then(|| About::trusted(owner, metadata))
}

fn expiry(now: Time, ttl_nanos: u64, committed_nanos: u64) -> Expiry {
    Expiry::loaded(
        now,
        Duration::from_nanos(ttl_nanos),
        Time::from_nanos(committed_nanos),
    )
}
