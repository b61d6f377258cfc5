//! S18. A webhook comes due at most once, in the commit that makes its grant. While it is due its
//! grant is held; what ends it untaken ends the grant in the same commit, and its accept time is
//! never cut short. What is told to be posted is committed, and is told again after a crash with the
//! same token until it is settled or its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast::core::{
    Answer, Change, Command, Effect, Key, LockName, Namespace, Record, Time, Turn, Value,
    WebhookAnswer, WebhookCommand, WebhookId, WebhookJob, WebhookStage,
};

use super::book::{Book, Cause, Step};
use super::{Told, Verdict};

super::property!(
    "S18",
    "a turn that is told by a webhook stands or falls with it"
);

/// A webhook as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hook {
    id: WebhookId,
    space: Namespace,
    lock: LockName,
    accept: Duration,
    stage: WebhookStage,
    token: u64,
    due_number: u64,
    ends: Time,
}

impl Hook {
    fn of(record: &Record) -> Option<Hook> {
        let (Key::Webhook(space, _), Value::Webhook(value)) = (&record.key, &record.value) else {
            return None;
        };
        Some(Hook {
            id: WebhookId(u128::from_be_bytes(value.id.as_slice().try_into().ok()?)),
            space: space.clone(),
            lock: LockName::new(&value.lock).ok()?,
            accept: Duration::from_nanos(value.accept_timeout_nanos),
            stage: value.stage(),
            token: value.fencing_token,
            due_number: value.due_number,
            ends: Time::from_nanos(value.ends_nanos),
        })
    }

    fn is_due(&self) -> bool {
        self.stage == WebhookStage::Due
    }

    fn grant(&self) -> Key {
        Key::Grant(self.space.clone(), self.lock.clone(), self.token)
    }
}

#[derive(Default)]
pub struct Webhooks {
    live: BTreeMap<Key, Hook>,
    durable: BTreeMap<Key, Hook>,
    /// Every webhook that was ever committed, and the token with which it came due.
    committed: BTreeMap<WebhookId, Option<u64>>,
    /// Until when one that was told may still be taken, in the world's time.
    promises: BTreeMap<WebhookId, Time>,
}

impl Webhooks {
    pub fn step(&mut self, book: &Book, step: &Step<'_>) -> Verdict {
        for change in step.changes {
            match change {
                Change::Put(record) => {
                    if let Some(hook) = Hook::of(record) {
                        self.enter(step, &record.key, hook)?;
                    }
                }
                Change::Delete(key) => {
                    if let Some(gone) = self.live.remove(key)
                        && matches!(gone.stage, WebhookStage::Waiting | WebhookStage::Due)
                    {
                        return broken(format!("{gone:?} was forgotten before it was over"));
                    }
                }
            }
        }
        for hook in self.live.values().filter(|hook| hook.is_due()) {
            let lock = (hook.space.clone(), hook.lock.clone());
            if book.hold(&lock, hook.token).is_none() {
                return broken(format!("{hook:?} is due, and its grant is not held"));
            }
            if matches!(step.cause, Cause::Tick) && hook.ends <= step.now {
                return broken(format!("{hook:?} is due at {:?}", step.now));
            }
        }
        self.listed(step)
    }

    /// A webhook goes from waiting to due to over, and never back.
    fn enter(&mut self, step: &Step<'_>, key: &Key, hook: Hook) -> Verdict {
        let before = self.live.insert(key.clone(), hook.clone());
        let was = before.as_ref().map(|before| before.stage);
        let changes = |wanted: &dyn Fn(&Change) -> bool| step.changes.iter().any(wanted);
        match (was, hook.stage) {
            (None | Some(WebhookStage::Waiting), WebhookStage::Due) => {
                let granted = |change: &Change| matches!(change, Change::Put(record) if record.key == hook.grant());
                if !changes(&granted) {
                    return broken(format!("{hook:?} came due without its grant"));
                }
                let accept = match step.command() {
                    Some(Command::Acquire(acquire)) if was.is_none() => {
                        let subscribe = acquire.subscribe.as_ref();
                        subscribe.map(|subscribe| subscribe.callback.accept_timeout)
                    }
                    _ => before.map(|before| before.accept),
                };
                if accept.is_none_or(|accept| hook.ends != step.now + accept) {
                    return broken(format!(
                        "{hook:?} came due at {:?} for {accept:?}",
                        step.now
                    ));
                }
                Ok(())
            }
            (None | Some(WebhookStage::Waiting), WebhookStage::Waiting) => {
                let asked = match step.command() {
                    Some(Command::Acquire(acquire)) => acquire.subscribe.as_ref(),
                    _ => None,
                };
                let accept = asked.map(|asked| asked.callback.accept_timeout);
                if was.is_none() && accept != Some(hook.accept) {
                    return broken(format!("{hook:?} was asked with {accept:?}"));
                }
                Ok(())
            }
            (Some(WebhookStage::Waiting), WebhookStage::WaitEnded | WebhookStage::Cancelled) => {
                Ok(())
            }
            (Some(WebhookStage::Due), WebhookStage::Due) => match before {
                Some(before) if before != hook => {
                    broken(format!("{before:?} came due again as {hook:?}"))
                }
                _ => Ok(()),
            },
            (Some(WebhookStage::Due), over) => match before {
                Some(due) => self.settled(step, &due, over),
                None => Ok(()),
            },
            (was, _) => broken(format!("{hook:?} was {was:?}")),
        }
    }

    fn settled(&self, step: &Step<'_>, due: &Hook, over: WebhookStage) -> Verdict {
        let grant = due.grant();
        let ended = |change: &Change| matches!(change, Change::Delete(key) if *key == grant);
        let ended = step.changes.iter().any(ended);
        let by_receiver = match step.command() {
            Some(Command::Webhook(WebhookCommand::Settled { id, taken, .. })) if *id == due.id => {
                Some(*taken)
            }
            _ => None,
        };
        let fits = match over {
            WebhookStage::Taken => by_receiver == Some(true) && !ended,
            WebhookStage::Refused => by_receiver == Some(false) && ended,
            WebhookStage::TimedOut => {
                let promise = self.promises.get(&due.id);
                let kept = promise.is_none_or(|until| *until <= step.real);
                ended && due.ends <= step.now && kept
            }
            WebhookStage::Ended => ended && by_receiver.is_none(),
            _ => false,
        };
        if !fits {
            return broken(format!(
                "{due:?} became {over:?} at {:?}, its grant ended: {ended}",
                step.now
            ));
        }
        Ok(())
    }

    /// What is to be posted is all that is due, in the order in which it came due.
    fn listed(&self, step: &Step<'_>) -> Verdict {
        let (
            Some(Command::Webhook(WebhookCommand::Due { after, limit })),
            Some(Ok(Answer::Webhook(WebhookAnswer::Due(jobs)))),
        ) = (step.command(), step.reply())
        else {
            return Ok(());
        };
        let mut due: Vec<_> = self
            .live
            .values()
            .filter(|hook| hook.is_due() && hook.due_number > *after)
            .map(|hook| (hook.due_number, hook.id, hook.token))
            .collect();
        due.sort_unstable();
        due.truncate(*limit);
        let told = jobs
            .iter()
            .map(|job| (job.due_number, job.id, token_of(job)));
        if !told.clone().eq(due.iter().copied()) {
            let told: Vec<_> = told.collect();
            return broken(format!("{told:?} is to be posted of {due:?}"));
        }
        Ok(())
    }

    pub fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(record) => {
                    if let Some(hook) = Hook::of(record) {
                        let token = self.committed.entry(hook.id).or_default();
                        if hook.is_due() {
                            *token = Some(hook.token);
                        }
                        self.durable.insert(record.key.clone(), hook);
                    }
                }
                Change::Delete(key) => drop(self.durable.remove(key)),
            }
        }
    }

    /// What is told is committed, and a turn that is told is a promise.
    pub fn told(&mut self, told: &Told<'_>) -> Verdict {
        match told.effect {
            Effect::Reply(_, Ok(Answer::Webhook(WebhookAnswer::Subscribed(id))))
                if !self.committed.contains_key(id) =>
            {
                return broken(format!("{id:?} was told and isn't committed"));
            }
            Effect::Reply(_, Ok(Answer::Webhook(WebhookAnswer::Due(jobs)))) => {
                for job in jobs {
                    let token = token_of(job);
                    if self.committed.get(&job.id) != Some(&Some(token)) {
                        return broken(format!("{job:?} was told and isn't committed"));
                    }
                    if let Some(left) = job.accept_in {
                        let promise = self.promises.entry(job.id).or_default();
                        *promise = (*promise).max(told.made + left);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is loaded is what was committed.
    pub fn crash(&mut self, records: &[Record]) -> Verdict {
        let hooks = records.iter().filter_map(|record| {
            let hook = Hook::of(record)?;
            Some((record.key.clone(), hook))
        });
        self.live = hooks.collect();
        if self.live != self.durable {
            let (loaded, durable) = (&self.live, &self.durable);
            return broken(format!("{loaded:?} is loaded of {durable:?}"));
        }
        let there: BTreeSet<_> = self.live.values().map(|hook| hook.id).collect();
        self.promises.retain(|id, _| there.contains(id));
        Ok(())
    }
}

/// The fencing token that a post tells; 0 where it tells of a ticket, as none here does.
fn token_of(job: &WebhookJob) -> u64 {
    match &job.turn {
        Turn::Granted(granted) => granted.holder.fencing_token,
        Turn::Ready(_) => 0,
    }
}
