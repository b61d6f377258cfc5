//! The rules of shared leases and of the sessions that keep them alive.
//!
//! Invariant: when a lease ends, all that hangs on it ends in the same commit: first the places in
//! line, so that none of them is granted any more, and then the grants.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::command::*;
use super::limits::*;
use super::name::{About, LeaseId, RequestId};
use super::record::{Key, LeaseValue, Value, nanos};
use super::request::{Done, Kind, Recall};
use super::state::*;
use super::timer::{Expiry, Timer};

impl State {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn create_lease(
        &mut self,
        call: CallId,
        space: SpaceIx,
        id: LeaseId,
        ttl: Duration,
        about: Option<Arc<About>>,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let asked = (ttl, &about);
        let request = match self.recall(call, space, request_id, Kind::CreateLease, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Lease(id)) => {
                return match self.find_lease(space, id) {
                    Some(lease) => out.answer(call, Answer::Lease(self.view_lease(lease))),
                    None => out.refuse(call, Refusal::LeaseExpired),
                };
            }
            _ => return,
        };
        match self.new_lease(space, id, ttl, about, None, out) {
            Ok(lease) => {
                self.remember(space, request, Done::Lease(id), out);
                out.answer(call, Answer::Lease(self.view_lease(lease)));
            }
            Err(refusal) => out.refuse(call, refusal),
        }
    }

    fn new_lease(
        &mut self,
        space: SpaceIx,
        id: LeaseId,
        ttl: Duration,
        about: Option<Arc<About>>,
        session: Option<CallId>,
        out: &mut Out,
    ) -> Result<LeaseIx, Refusal> {
        if self.space_of(space).leases.len() >= LEASES_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "leases in the namespace",
                max: LEASES_PER_NAMESPACE_MAX,
            });
        }
        let index = self.insert_lease(Lease {
            space,
            id,
            expiry: Expiry::new(self.now, ttl),
            about,
            created_at: self.wall,
            grants: Default::default(),
            waiters: Default::default(),
            session,
        });
        self.put_lease(index, out);
        Ok(index)
    }

    /// Puts a lease where it belongs: its namespace and its timer.
    pub(super) fn insert_lease(&mut self, lease: Lease) -> LeaseIx {
        let (space, id, timer) = (lease.space, lease.id, lease.expiry.timer);
        let index = self.leases.insert(lease);
        self.space_mut(space).leases.insert(id, index);
        self.timers.set(timer, Timer::Lease(index));
        index
    }

    pub(super) fn find_lease(&self, space: SpaceIx, id: LeaseId) -> Option<LeaseIx> {
        self.space_of(space).leases.get(&id).copied()
    }

    /// The lease, where one more grant may hang on it.
    pub(super) fn lease_to_hang_on(&self, space: SpaceIx, id: LeaseId) -> Result<LeaseIx, Refusal> {
        let index = self.find_lease(space, id).ok_or(Refusal::LeaseNotFound)?;
        let lease = &self.leases[index];
        if lease.grants.len() + lease.waiters.len() >= HOLDS_PER_LEASE_MAX {
            return Err(Refusal::LimitReached {
                what: "grants and places in line on one lease",
                max: HOLDS_PER_LEASE_MAX,
            });
        }
        Ok(index)
    }

    pub(super) fn renew_lease(&mut self, call: CallId, space: SpaceIx, id: LeaseId, out: &mut Out) {
        let Some(lease) = self.find_lease(space, id) else {
            return out.refuse(call, Refusal::LeaseNotFound);
        };
        self.prolong_lease(lease, out);
        let expires_in = Some(self.leases[lease].expiry.left(self.now));
        out.answer(call, Answer::Renewed { expires_in });
    }

    /// Starts a lease's TTL anew.
    pub(super) fn prolong_lease(&mut self, index: LeaseIx, out: &mut Out) {
        let now = self.now;
        if self.leases[index].expiry.renew(now) {
            self.put_lease(index, out);
        }
    }

    pub(super) fn revoke_lease(
        &mut self,
        call: CallId,
        space: SpaceIx,
        id: LeaseId,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let request = match self.recall(call, space, request_id, Kind::RevokeLease, id, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Revoked(count)) => return out.answer(call, Answer::Revoked(count)),
            _ => return,
        };
        let Some(lease) = self.find_lease(space, id) else {
            return out.refuse(call, Refusal::LeaseNotFound);
        };
        let count = self.leases[lease].grants.len();
        self.remember(space, request, Done::Revoked(count), out);
        self.end_lease(lease, EndCause::Revoked, out);
        out.answer(call, Answer::Revoked(count));
    }

    pub(super) fn open_session(
        &mut self,
        call: CallId,
        space: SpaceIx,
        lease: SessionLease,
        out: &mut Out,
    ) {
        let (index, resumed) = match lease {
            SessionLease::New { id, ttl, about } => {
                match self.new_lease(space, id, ttl, about, Some(call), out) {
                    Ok(lease) => (lease, false),
                    Err(refusal) => return out.refuse(call, refusal),
                }
            }
            SessionLease::Resume(id) => {
                let Some(lease) = self.find_lease(space, id) else {
                    return out.refuse(call, Refusal::LeaseNotFound);
                };
                if let Some(session) = self.leases[lease].session.replace(call) {
                    self.calls.remove(&session);
                    let why = Refusal::SessionTaken;
                    out.effects.push(Effect::SessionEnded { session, why });
                }
                self.prolong_lease(lease, out);
                (lease, true)
            }
        };
        self.calls.insert(call, CallRole::Session(index));
        out.effects.push(Effect::SessionOpened {
            session: call,
            lease: self.view_lease(index),
            resumed,
        });
    }

    pub(super) fn lease_is_due(&mut self, index: LeaseIx, out: &mut Out) {
        let now = self.now;
        let expiry = &mut self.leases[index].expiry;
        expiry.timer = expiry.ends;
        let at = expiry.ends;
        if at > now {
            return self.timers.set(at, Timer::Lease(index));
        }
        self.end_lease(index, EndCause::Expired, out);
    }

    fn end_lease(&mut self, index: LeaseIx, cause: EndCause, out: &mut Out) {
        let mut touched = BTreeSet::new();
        let waiters = std::mem::take(&mut self.leases[index].waiters);
        for waiter in waiters.into_values() {
            touched.insert(self.turn_away(waiter, |_, _| Refusal::LeaseExpired, out));
        }
        let grants: Vec<GrantIx> = self.leases[index].grants.values().copied().collect();
        for grant in grants {
            touched.insert(self.grants[grant].lock);
            self.end_grant(grant, cause, None, out);
        }
        let key = self.lease_key(index);
        out.delete(key);
        let lease = self.leases.remove(index);
        self.timers.unset(lease.expiry.timer, Timer::Lease(index));
        self.space_mut(lease.space).leases.remove(&lease.id);
        if let Some(session) = lease.session {
            self.calls.remove(&session);
            let why = Refusal::LeaseExpired;
            out.effects.push(Effect::SessionEnded { session, why });
        }
        for lock in touched {
            self.settle(lock, out);
        }
    }

    pub(super) fn lease_key(&self, index: LeaseIx) -> Key {
        let lease = &self.leases[index];
        Key::Lease(self.space_of(lease.space).name.clone(), lease.id)
    }

    fn put_lease(&self, index: LeaseIx, out: &mut Out) {
        out.put(self.lease_key(index), Value::Lease(self.lease_value(index)));
    }

    pub(super) fn lease_value(&self, index: LeaseIx) -> LeaseValue {
        let lease = &self.leases[index];
        let mut value = LeaseValue {
            ttl_nanos: nanos(lease.expiry.ttl),
            ends_nanos: lease.expiry.committed.as_nanos(),
            created_at_ms: lease.created_at.0,
            ..LeaseValue::default()
        };
        if let Some(about) = &lease.about {
            about.owner().clone_into(&mut value.owner);
            value.metadata.clone_from(about.metadata());
        }
        value
    }
}
