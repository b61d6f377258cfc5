//! S5. Nothing is seen before it is committed: no answer, no position, no event, no notice, and
//! nothing of another's in a view.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::core::{
    Answer, Change, Command, Effect, Hold, Key, LockChange, LockName, LockView, Namespace, Proof,
    Record, Refusal, RequestId, Value,
};

use super::{Told, Verdict};

super::property!("S5", "nothing is seen before it is committed");

#[derive(Default)]
pub struct CommittedFirst {
    /// Every grant that was ever committed.
    grants: BTreeMap<u64, (Namespace, LockName)>,
    /// Every lease and reserved lock.
    others: BTreeSet<Key>,
    /// Every request with a durable place in line.
    places: BTreeSet<(Namespace, String)>,
}

impl CommittedFirst {
    pub fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::Put(Record { key, value }) = change else {
                continue;
            };
            match (key, value) {
                (Key::Grant(space, lock, token), _) => {
                    self.grants.insert(*token, (space.clone(), lock.clone()));
                }
                (Key::Lease(..) | Key::Lock(..), _) => drop(self.others.insert(key.clone())),
                (Key::Waiter(space, ..), Value::Waiter(value)) => {
                    self.places
                        .insert((space.clone(), value.request_id.clone()));
                }
                _ => {}
            }
        }
    }

    pub fn told(&self, told: &Told<'_>) -> Verdict {
        let space = &told.asked.namespace;
        match told.effect {
            Effect::Reply(_, Ok(answer)) => self.answer(told, answer),
            Effect::Reply(_, Err(Refusal::LockHeld(view) | Refusal::WaitTimedOut(view))) => {
                self.view(space, view)
            }
            Effect::Reply(_, Err(_)) | Effect::SessionEnded { .. } => Ok(()),
            Effect::Queued(_, lock, _) => self.place(told, lock),
            Effect::Watching(_, view) => self.view(space, view),
            Effect::Changed(_, event) => {
                let Command::Watch { lock } = &told.asked.command else {
                    return broken("a change was told to a call that doesn't watch");
                };
                let token = event.change.fencing_token();
                match event.change {
                    LockChange::Granted(_) => self.grant(space, lock, token),
                    LockChange::Ended(..) => ended(told, lock, token),
                    LockChange::ReleaseDelayEnded(_) => {
                        gone(told, &Key::Lapsed(space.clone(), lock.clone(), token))
                    }
                }
            }
            Effect::SessionOpened { lease, .. } => self.other(&Key::Lease(space.clone(), lease.id)),
            // S17 looks into values.
            Effect::WatchingValue(..) | Effect::ValueChanged(..) => Ok(()),
            // S11 looks into tickets and items, S18 into webhooks.
            Effect::InLine(..)
            | Effect::Delivered(..)
            | Effect::Recalled(..)
            | Effect::WebhooksDue(_)
            | Effect::WebhookOver(..) => Ok(()),
            Effect::Lost {
                lock,
                fencing_token,
                ..
            } => ended(told, lock, *fencing_token),
        }
    }

    fn answer(&self, told: &Told<'_>, answer: &Answer) -> Verdict {
        let space = &told.asked.namespace;
        match answer {
            Answer::Granted(granted) | Answer::Put { granted, .. } => {
                self.grant(space, &granted.lock, granted.holder.fencing_token)
            }
            Answer::Reserved(lock) => self.other(&Key::Lock(space.clone(), lock.clone())),
            Answer::Lease(lease) => self.other(&Key::Lease(space.clone(), lease.id)),
            Answer::Lock(view) => self.view(space, view),
            Answer::Explained(explained) => {
                self.view(space, &explained.lock)?;
                explained.past_holds.iter().try_for_each(|past| {
                    let token = past.holder.fencing_token;
                    self.grant(space, &explained.lock.name, token)?;
                    ended(told, &explained.lock.name, token)
                })
            }
            Answer::Locks { locks, .. } => locks.iter().try_for_each(|view| self.view(space, view)),
            Answer::Leases { leases, .. } => leases
                .iter()
                .try_for_each(|lease| self.other(&Key::Lease(space.clone(), lease.id))),
            Answer::Released => match &told.asked.command {
                Command::Release {
                    lock,
                    proof: Proof::Token(token),
                    ..
                } => ended(told, lock, *token),
                _ => Ok(()),
            },
            Answer::Forced(_) => match &told.asked.command {
                Command::ForceRelease {
                    lock,
                    fencing_token: Some(token),
                    ..
                } => ended(told, lock, *token),
                _ => Ok(()),
            },
            Answer::Revoked(_) => match &told.asked.command {
                Command::RevokeLease { id, .. } => {
                    let key = Key::Lease(space.clone(), *id);
                    if told.store.contains_key(&key) {
                        return broken(format!("{key:?} was told revoked and is in the store"));
                    }
                    Ok(())
                }
                _ => Ok(()),
            },
            Answer::Checked { current: true, .. } => match &told.asked.command {
                Command::Check {
                    lock,
                    fencing_token,
                } => self.grant(space, lock, *fencing_token),
                _ => Ok(()),
            },
            Answer::Renewed { .. } | Answer::Checked { .. } => Ok(()),
            Answer::ValuePut(_)
            | Answer::ValueDeleted(_)
            | Answer::Fifo(_)
            | Answer::Queue(_)
            | Answer::Webhook(_)
            | Answer::Value(_)
            | Answer::Values { .. } => Ok(()),
        }
    }

    fn grant(&self, space: &Namespace, lock: &LockName, token: u64) -> Verdict {
        match self.grants.get(&token) {
            Some((of, name)) if of == space && name == lock => Ok(()),
            _ => broken(format!(
                "the grant {token} of {lock} was told and isn't committed"
            )),
        }
    }

    fn other(&self, key: &Key) -> Verdict {
        if self.others.contains(key) {
            return Ok(());
        }
        broken(format!("{key:?} was told and isn't committed"))
    }

    fn view(&self, space: &Namespace, view: &LockView) -> Verdict {
        view.holders
            .iter()
            .try_for_each(|holder| self.grant(space, &view.name, holder.fencing_token))
    }

    fn place(&self, told: &Told<'_>, lock: &LockName) -> Verdict {
        let Command::Acquire(acquire) = &told.asked.command else {
            return broken("a position was told to a call that doesn't wait");
        };
        let id = acquire.request_id.as_ref().map(RequestId::to_string);
        let (Some(id), Hold::Lease(_)) = (id, acquire.hold) else {
            return Ok(());
        };
        if self.places.contains(&(told.asked.namespace.clone(), id)) {
            return Ok(());
        }
        broken(format!(
            "a place in the line of {lock} was told and isn't committed"
        ))
    }
}

fn ended(told: &Told<'_>, lock: &LockName, token: u64) -> Verdict {
    let key = Key::Grant(told.asked.namespace.clone(), lock.clone(), token);
    gone(told, &key)
}

fn gone(told: &Told<'_>, key: &Key) -> Verdict {
    if told.store.contains_key(key) {
        return broken(format!("{key:?} was told ended and is in the store"));
    }
    Ok(())
}
