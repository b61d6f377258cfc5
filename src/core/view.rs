//! What callers may see of the state.

use std::ops::Bound;

use super::command::*;
use super::limits::*;
use super::name::{LeaseId, LockName};
use super::page::{named, page};
use super::state::{Grant, GrantIx, KeptBy, LeaseIx, LockIx, SpaceIx, State};

impl State {
    /// A lock by its name; one that nobody has named is free.
    pub(super) fn view_by_name(&self, space: SpaceIx, name: &LockName) -> LockView {
        match self.space_of(space).locks.get(name) {
            Some(lock) => self.view_lock(*lock),
            None => LockView {
                name: name.clone(),
                holders: Vec::new(),
                holder_count: 0,
                waiter_count: 0,
                reserved: false,
                held_back_for: None,
            },
        }
    }

    pub(super) fn view_lock(&self, index: LockIx) -> LockView {
        let lock = &self.locks[index];
        LockView {
            name: lock.name.clone(),
            holders: lock
                .holders
                .iter()
                .take(HOLDERS_SHOWN_MAX)
                .map(|grant| self.view_holder(&self.grants[*grant]))
                .collect(),
            holder_count: lock.holders.len(),
            waiter_count: lock.line.as_ref().map_or(0, |line| line.places.len()),
            reserved: lock.reserved().is_some(),
            held_back_for: self.held_back_for(lock),
        }
    }

    pub(super) fn view_holder(&self, grant: &Grant) -> HolderView {
        let expiry = match &grant.kept_by {
            KeptBy::Nothing => None,
            KeptBy::Own(expiry) => Some(expiry),
            KeptBy::Lease(lease) => Some(&self.leases[*lease].expiry),
        };
        HolderView {
            fencing_token: grant.fencing_token,
            mode: grant.mode,
            about: grant.about.clone(),
            acquired_at: grant.acquired_at,
            expires_in: expiry.map(|expiry| expiry.left(self.now)),
            ttl: expiry.map(|expiry| expiry.ttl),
            open: grant.open,
        }
    }

    pub(super) fn view_granted(&self, index: GrantIx) -> Granted {
        let grant = &self.grants[index];
        Granted {
            lock: self.locks[grant.lock].name.clone(),
            holder: self.view_holder(grant),
            lease: match grant.kept_by {
                KeptBy::Lease(lease) => Some(self.leases[lease].id),
                _ => None,
            },
        }
    }

    pub(super) fn view_lease(&self, index: LeaseIx) -> LeaseView {
        let lease = &self.leases[index];
        LeaseView {
            id: lease.id,
            ttl: lease.expiry.ttl,
            expires_in: lease.expiry.left(self.now),
            about: lease.about.clone(),
            created_at: lease.created_at,
            grant_count: lease.grants.len(),
            waiter_count: lease.waiters.len(),
        }
    }

    pub(super) fn list_locks(
        &self,
        space: SpaceIx,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Answer {
        let found = named(&self.space_of(space).locks, prefix, after);
        let (locks, more) = page(found, limit, |lock| self.view_lock(lock));
        Answer::Locks { locks, more }
    }

    pub(super) fn list_leases(
        &self,
        space: SpaceIx,
        after: Option<LeaseId>,
        limit: usize,
    ) -> Answer {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.space_of(space).leases.range((from, Bound::Unbounded));
        let (leases, more) = page(found, limit, |(_, lease)| self.view_lease(*lease));
        Answer::Leases { leases, more }
    }

    pub(super) fn check(&self, space: SpaceIx, name: &LockName, fencing_token: u64) -> Answer {
        let grant = self
            .space_of(space)
            .locks
            .get(name)
            .and_then(|lock| self.grant_by_token(*lock, fencing_token));
        Answer::Checked {
            current: grant.is_some(),
            expires_in: grant.and_then(|grant| self.view_holder(&self.grants[grant]).expires_in),
        }
    }
}
