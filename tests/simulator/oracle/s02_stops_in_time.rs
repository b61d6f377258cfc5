//! S2. A client that stops at send time + 0.9 TTL never overlaps the next holder in real time.
//!
//! The client counts from when it sent the acquire or renewal that was answered, and by the time
//! left that the answer told. Grants that somebody else ended on purpose are out of its hands, and
//! so are open ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast::core::{Answer, Command, Effect, LeaseId, LockName, Mode, Namespace, Proof, Time};

use super::book::{LockId, Seen, Step};
use super::{Told, Verdict};

super::property!(
    "S2",
    "who stops at send time + 0.9 TTL never overlaps the next holder"
);

struct Belief {
    mode: Mode,
    lease: Option<LeaseId>,
    until: Option<Time>,
}

#[derive(Default)]
pub struct StopsInTime {
    /// Who believes to hold, by lock and fencing token.
    beliefs: BTreeMap<LockId, BTreeMap<u64, Belief>>,
    /// Grants that somebody ended on purpose: whoever reads of one later can't know.
    ended_on_purpose: BTreeSet<u64>,
    /// Percent of the TTL after which a client stops; 0 stands for 90.
    pub percent: u32,
}

impl StopsInTime {
    fn until(&self, sent: Time, left: Duration) -> Time {
        let percent = if self.percent == 0 { 90 } else { self.percent };
        sent + left * percent / 100
    }

    /// What is ended on purpose is no longer believed.
    pub fn step(&mut self, step: &Step<'_>, seen: &Seen) {
        for begun in &seen.begun {
            self.ended_on_purpose.remove(&begun.token);
        }
        if step.request().is_some() {
            for ended in &seen.ended {
                self.ended_on_purpose.insert(ended.token);
                if let Some(beliefs) = self.beliefs.get_mut(&ended.lock) {
                    beliefs.remove(&ended.token);
                }
            }
        }
    }

    pub fn stopped(&mut self, lock: &LockName, token: u64) {
        for (_, beliefs) in self
            .beliefs
            .iter_mut()
            .filter(|((_, name), _)| name == lock)
        {
            beliefs.remove(&token);
        }
    }

    pub fn read(&mut self, told: &Told<'_>) {
        let Effect::Reply(_, Ok(answer)) = told.effect else {
            return;
        };
        let space = &told.asked.namespace;
        match (answer, &told.asked.command) {
            (Answer::Granted(granted), _) if !granted.holder.open => {
                if self
                    .ended_on_purpose
                    .contains(&granted.holder.fencing_token)
                {
                    return;
                }
                let left = granted.holder.expires_in;
                let belief = Belief {
                    mode: granted.holder.mode,
                    lease: granted.lease,
                    until: left.map(|left| self.until(told.sent, left)),
                };
                let lock = (space.clone(), granted.lock.clone());
                let beliefs = self.beliefs.entry(lock).or_default();
                beliefs.retain(|_, belief| belief.until.is_none_or(|until| until > told.at));
                let token = granted.holder.fencing_token;
                match beliefs.get_mut(&token) {
                    Some(known) => known.until = known.until.max(belief.until),
                    None => drop(beliefs.insert(token, belief)),
                }
            }
            (
                Answer::Renewed {
                    expires_in: Some(left),
                },
                Command::RenewLease { id },
            ) => {
                let until = self.until(told.sent, *left);
                self.renew_all(space, *id, until);
            }
            (
                Answer::Renewed {
                    expires_in: Some(left),
                },
                Command::Renew {
                    lock,
                    proof: Proof::Token(token),
                    ..
                },
            ) => {
                let until = self.until(told.sent, *left);
                let lock = (space.clone(), lock.clone());
                let beliefs = self.beliefs.get_mut(&lock);
                let Some(belief) = beliefs.and_then(|beliefs| beliefs.get_mut(token)) else {
                    return;
                };
                match belief.lease {
                    Some(id) => self.renew_all(space, id, until),
                    None => belief.until = belief.until.max(Some(until)),
                }
            }
            _ => {}
        }
    }

    fn renew_all(&mut self, space: &Namespace, id: LeaseId, until: Time) {
        for ((other, _), beliefs) in &mut self.beliefs {
            for belief in beliefs
                .values_mut()
                .filter(|belief| belief.lease == Some(id))
            {
                if other == space {
                    belief.until = belief.until.max(Some(until));
                }
            }
        }
    }

    /// Another is told that the lock is its own.
    pub fn told(&mut self, told: &Told<'_>) -> Verdict {
        let Effect::Reply(_, Ok(Answer::Granted(granted) | Answer::Put { granted, .. })) =
            told.effect
        else {
            return Ok(());
        };
        if granted.holder.expires_in == Some(Duration::ZERO) {
            return Ok(());
        }
        let lock = (told.asked.namespace.clone(), granted.lock.clone());
        let Some(beliefs) = self.beliefs.get(&lock) else {
            return Ok(());
        };
        let new = granted.holder.fencing_token;
        for (token, belief) in beliefs {
            let together = belief.mode == Mode::Shared && granted.holder.mode == Mode::Shared;
            let believes = belief.until.is_none_or(|until| until > told.at);
            if *token < new && believes && !together {
                return broken(format!(
                    "at {:?} the lock {} was told to the holder of {new}, but the holder of {token} goes on until {:?}",
                    told.at, granted.lock, belief.until
                ));
            }
        }
        Ok(())
    }
}
