//! S6. No lease ends before its TTL has passed since its last acknowledged renewal, crashes and
//! down-time included; a renewal never shortens it. Nor does it last for ever: one tick after it is
//! due it is gone.
//!
//! Putting an open grant with a TTL is the one thing that may bring an end nearer.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast::core::{
    Answer, Command, Effect, LeaseId, LeaseView, LockName, Namespace, Proof, Time,
};

use super::book::{Book, Cause, Kept, Seen, Step};
use super::{Told, Verdict};

super::property!(
    "S6",
    "no lease ends before its TTL since its last acknowledged renewal has passed"
);

/// What has been acknowledged, in the world's time.
#[derive(Clone, Copy, Default)]
struct Promise {
    until: Time,
    /// The step in which the end was set on purpose; what was made before it counts no more.
    set_in: u64,
}

/// A crash can undo an end, so what has been promised is kept.
#[derive(Default)]
pub struct NeverEarly {
    grants: BTreeMap<u64, Promise>,
    leases: BTreeMap<(Namespace, LeaseId), Promise>,
}

impl NeverEarly {
    pub fn step(&mut self, step: &Step<'_>, seen: &Seen) -> Verdict {
        if let (
            Some(Command::PutOpen { ttl: Some(ttl), .. }),
            Some(Ok(Answer::Put { granted, .. })),
        ) = (step.command(), step.reply())
        {
            let promise = self.grants.entry(granted.holder.fencing_token).or_default();
            promise.until = promise.until.min(step.real + *ttl);
            promise.set_in = step.number;
        }
        let expired = matches!(step.cause, Cause::Tick);
        for lease in &seen.ended_leases {
            let promise = self.leases.get(lease).copied().unwrap_or_default();
            if expired && promise.until > step.real {
                return broken(format!(
                    "{:?} ended at {:?}, promised until {:?}",
                    lease.1, step.real, promise.until
                ));
            }
        }
        for ended in &seen.ended {
            let promise = self.grants.get(&ended.token).copied().unwrap_or_default();
            // S18 looks into turns that were not taken.
            if !expired || ended.hold.untaken {
                continue;
            }
            let early = match ended.hold.kept {
                Kept::Nothing => true,
                Kept::Own(_) => promise.until > step.real,
                Kept::Lease(id) => !seen.ended_leases.contains(&(ended.lock.0.clone(), id)),
            };
            if early {
                return broken(format!(
                    "the grant {} of {}, {:?}, ended at {:?}, promised until {:?}",
                    ended.token, ended.lock.1, ended.hold.kept, step.real, promise.until
                ));
            }
        }
        Ok(())
    }

    pub fn told(&mut self, told: &Told<'_>) -> Verdict {
        let space = &told.asked.namespace;
        if let Some((lease, until)) = told.kept {
            let promise = self.leases.entry((space.clone(), lease)).or_default();
            promise.until = promise.until.max(until);
        }
        match told.effect {
            Effect::Reply(_, Ok(Answer::Granted(granted) | Answer::Put { granted, .. })) => {
                // One that is told again after its end is no promise.
                let left = granted.holder.expires_in.filter(|left| !left.is_zero());
                match granted.lease {
                    Some(lease) => self.promise_lease(told, space, lease, left),
                    None => self.promise_grant(told, granted.holder.fencing_token, left),
                }
                Ok(())
            }
            Effect::Reply(_, Ok(Answer::Lease(view))) => {
                if matches!(told.asked.command, Command::CreateLease { .. }) {
                    self.promise_lease(told, space, view.id, Some(view.expires_in));
                }
                Ok(())
            }
            Effect::SessionOpened { lease, .. } => {
                let LeaseView {
                    id,
                    ttl,
                    expires_in,
                    ..
                } = lease;
                if expires_in < ttl {
                    return broken(format!("a session opened with {expires_in:?} of {ttl:?}"));
                }
                self.promise_lease(told, space, *id, Some(*expires_in));
                Ok(())
            }
            Effect::Reply(
                _,
                Ok(Answer::Renewed {
                    expires_in: Some(left),
                }),
            ) => self.renewed(told, *left),
            _ => Ok(()),
        }
    }

    fn renewed(&mut self, told: &Told<'_>, left: Duration) -> Verdict {
        let space = &told.asked.namespace;
        let ends = told.made + left;
        match &told.asked.command {
            Command::RenewLease { id } => {
                let promise = self.leases.get(&(space.clone(), *id)).copied();
                if promise.is_some_and(|promise| promise.until > ends) {
                    return broken(format!("renewing {id:?} brought its end nearer"));
                }
                self.promise_lease(told, space, *id, Some(left));
            }
            Command::Renew {
                lock,
                proof: Proof::Token(token),
                ttl,
            } => {
                if ttl.is_some_and(|ttl| left < ttl) {
                    return broken(format!("renewing {lock} by {ttl:?} won {left:?}"));
                }
                let promise = self.grants.get(token).copied().unwrap_or_default();
                if promise.until > ends && promise.set_in <= told.made_in {
                    return broken(format!(
                        "renewing the grant {token} of {lock} brought its end from {:?} to {ends:?}",
                        promise.until
                    ));
                }
                // Of a grant on a shared lease nothing is known here; the lease's own calls do.
                if self.grants.contains_key(token) {
                    self.promise_grant(told, *token, Some(left));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn promise_grant(&mut self, told: &Told<'_>, token: u64, left: Option<Duration>) {
        let promise = self.grants.entry(token).or_default();
        if let Some(left) = left
            && promise.set_in <= told.made_in
        {
            promise.until = promise.until.max(told.made + left);
        }
    }

    fn promise_lease(
        &mut self,
        told: &Told<'_>,
        space: &Namespace,
        id: LeaseId,
        left: Option<Duration>,
    ) {
        let promise = self.leases.entry((space.clone(), id)).or_default();
        if let Some(left) = left {
            promise.until = promise.until.max(told.made + left);
        }
    }
}

/// What is due is gone after a tick.
pub fn not_for_ever(book: &Book, step: &Step<'_>) -> Verdict {
    if !matches!(step.cause, Cause::Tick) {
        return Ok(());
    }
    let late = |lock: &LockName, token: u64, latest: Time| {
        broken(format!(
            "the grant {token} of {lock} is there at {:?}, due at {latest:?}",
            step.now
        ))
    };
    for ((_, name), lock) in &book.locks {
        for (token, hold) in &lock.holders {
            let latest = hold.latest.filter(|_| !hold.untaken);
            if let Some(latest) = latest.filter(|latest| *latest <= step.now) {
                return late(name, *token, latest);
            }
        }
    }
    match book
        .leases
        .iter()
        .find(|(_, lease)| lease.latest <= step.now)
    {
        Some(((_, id), lease)) => broken(format!(
            "{id:?} is there at {:?}, due at {:?}",
            step.now, lease.latest
        )),
        None => Ok(()),
    }
}
