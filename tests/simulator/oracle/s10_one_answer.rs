//! S10. A request gets at most one grant and one final answer, of the kind and with the terms that
//! it asked for; what doesn't wait is answered at once, and nothing is granted that nobody asked. A
//! grant that one caller has read of is not given back because another hung up.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::core::{
    Acquire, Answer, CallId, Command, Effect, FifoAnswer, FifoCommand, Granted, Hold, Mode,
    Refusal, Request, WebhookAnswer, WebhookCommand,
};

use super::Verdict;
use super::book::{Book, Grantee, PlaceId, Seen, Step, granted};

super::property!(
    "S10",
    "a request gets at most one grant and one final answer"
);

#[derive(Default)]
pub struct OneAnswer {
    /// Calls that have had their final answer.
    answered: BTreeSet<CallId>,
    /// Which grant a call was told of.
    granted: BTreeMap<CallId, u64>,
    /// Places that became a grant or were left.
    gone: BTreeSet<PlaceId>,
    /// Grants that a client has read of.
    read: BTreeSet<u64>,
    given_back: BTreeSet<u64>,
}

impl OneAnswer {
    pub fn step(&mut self, book: &Book, step: &Step<'_>, seen: &Seen) -> Verdict {
        for effect in step.effects {
            let call = effect.call();
            if let Some(token) = granted(effect)
                && let Some(other) = self.granted.insert(call, token)
            {
                return broken(format!("{call:?} was granted {other} and {token}"));
            }
            // A grant outlives the session that took it; the notice of its end finds nobody.
            let last = effect.is_last();
            if last && !self.answered.insert(call) {
                return broken(format!("{call:?} has a second final answer, {effect:?}"));
            }
            let follows = !last && self.answered.contains(&call);
            if follows && !matches!(effect, Effect::Lost { .. }) {
                return broken(format!(
                    "{call:?} is told {effect:?} after its final answer"
                ));
            }
        }
        for begun in &seen.begun {
            match begun.to {
                Grantee::Nobody => {
                    return broken(format!("nobody asked for {begun:?}"));
                }
                Grantee::Place(place) if !self.gone.insert(place) => {
                    return broken(format!("the place {place} was granted after it was gone"));
                }
                _ => {}
            }
        }
        self.gone.extend(&seen.left);
        for begun in &seen.begun {
            self.read.remove(&begun.token);
            self.given_back.remove(&begun.token);
        }
        if matches!(step.command(), Some(Command::GiveBack { .. })) {
            for ended in &seen.ended {
                if self.read.contains(&ended.token) {
                    return broken(format!("{ended:?} was given back after it was read"));
                }
                self.given_back.insert(ended.token);
            }
        }
        match step.request() {
            Some(request) => answers(book, request, step),
            None => Ok(()),
        }
    }

    /// What became of a place may be undone by a crash.
    pub fn crash(&mut self, book: &Book) {
        self.gone.retain(|place| !book.places.contains_key(place));
        for token in book.locks.values().flat_map(|lock| lock.holders.keys()) {
            self.given_back.remove(token);
        }
    }

    /// A client reads an answer.
    pub fn read(&mut self, effect: &Effect) -> Verdict {
        let Some(token) = granted(effect) else {
            return Ok(());
        };
        self.read.insert(token);
        if self.given_back.contains(&token) {
            return broken(format!(
                "{effect:?} is read, and was given back for another"
            ));
        }
        Ok(())
    }

    pub fn finish(&self, waiting: &[CallId]) -> Verdict {
        match waiting.iter().find(|call| !self.answered.contains(call)) {
            Some(call) => broken(format!("{call:?} was never answered")),
            None => Ok(()),
        }
    }
}

/// Whether the call that was applied was answered as it should be.
fn answers(book: &Book, request: &Request, step: &Step<'_>) -> Verdict {
    let reply = step.reply();
    let stays = step.effects.iter().any(|effect| {
        effect.call() == request.call
            && matches!(
                effect,
                Effect::Queued(..)
                    | Effect::Watching(..)
                    | Effect::WatchingValue(..)
                    | Effect::InLine(..)
                    | Effect::SessionOpened { .. }
                    | Effect::WebhooksDue(_)
            )
    });
    let fits = match (&request.command, reply) {
        // S11 looks into these.
        (Command::Queue(_), _) => true,
        (
            Command::Touch { .. }
            | Command::Withdraw { .. }
            | Command::Cancel { .. }
            | Command::GiveBack { .. }
            | Command::Fifo(FifoCommand::GiveBack { .. })
            | Command::Webhook(WebhookCommand::Attempted { .. } | WebhookCommand::Settled { .. }),
            reply,
        ) => reply.is_none(),
        (Command::Webhook(WebhookCommand::Follow), None) => stays,
        (Command::Acquire(acquire), Some(Ok(Answer::Webhook(WebhookAnswer::Subscribed(_))))) => {
            acquire.subscribe.is_some() && !stays
        }
        // S18 looks into these.
        (Command::Webhook(_), Some(Ok(Answer::Webhook(_)))) => true,
        (
            Command::Acquire(_)
            | Command::Watch { .. }
            | Command::WatchValue { .. }
            | Command::Fifo(FifoCommand::Wait { .. })
            | Command::OpenSession { .. },
            None,
        ) => stays,
        (Command::Acquire(acquire), Some(Ok(Answer::Granted(granted)))) => {
            as_asked(acquire, granted) && acquire.subscribe.is_none() && !stays
        }
        (Command::Reserve { .. }, Some(Ok(Answer::Reserved(_))))
        | (Command::PutOpen { .. }, Some(Ok(Answer::Put { .. })))
        | (Command::Renew { .. } | Command::RenewLease { .. }, Some(Ok(Answer::Renewed { .. })))
        | (Command::Release { .. }, Some(Ok(Answer::Released)))
        | (Command::ForceRelease { .. }, Some(Ok(Answer::Forced(_))))
        | (Command::RevokeLease { .. }, Some(Ok(Answer::Revoked(_))))
        // S17 looks into these.
        | (Command::PutValue { .. }, Some(Ok(Answer::ValuePut(_))))
        | (Command::DeleteValue { .. }, Some(Ok(Answer::ValueDeleted(_))))
        | (Command::GetValue { .. }, Some(Ok(Answer::Value(_))))
        | (Command::ListValues { .. }, Some(Ok(Answer::Values { .. }))) => true,
        // S11 looks into these.
        (Command::Fifo(command), Some(Ok(Answer::Fifo(answer)))) => is_answer(command, answer),
        (Command::GetLock { lock }, Some(Ok(Answer::Lock(view)))) => view.name == *lock,
        (Command::Explain { lock }, Some(Ok(Answer::Explained(told)))) => told.lock.name == *lock,
        (Command::CreateLease { ttl, .. }, Some(Ok(Answer::Lease(view)))) => view.ttl == *ttl,
        (Command::GetLease { id }, Some(Ok(Answer::Lease(view)))) => view.id == *id,
        (Command::ListLocks { prefix, limit, .. }, Some(Ok(Answer::Locks { locks, more }))) => {
            let rising = locks.windows(2).all(|pair| pair[0].name < pair[1].name);
            let held = book.locks.iter().filter(|((space, name), lock)| {
                *space == request.namespace
                    && name.as_str().starts_with(prefix)
                    && !lock.holders.is_empty()
            });
            let whole = locks.len() >= held.count() || *more || request_pages(&request.command);
            rising && whole && locks.len() <= *limit
        }
        (Command::ListLeases { limit, .. }, Some(Ok(Answer::Leases { leases, .. }))) => {
            leases.windows(2).all(|pair| pair[0].id < pair[1].id) && leases.len() <= *limit
        }
        (
            Command::Check {
                lock,
                fencing_token,
            },
            Some(Ok(Answer::Checked { current, .. })),
        ) => {
            let lock = (request.namespace.clone(), lock.clone());
            *current == book.hold(&lock, *fencing_token).is_some()
        }
        (command, Some(Err(refusal))) => may_refuse(command, refusal) && !stays,
        _ => false,
    };
    if !fits {
        return broken(format!("{:?} was answered {reply:?}", request.command));
    }
    Ok(())
}

fn is_answer(command: &FifoCommand, answer: &FifoAnswer) -> bool {
    match command {
        FifoCommand::Create { .. } | FifoCommand::Get { .. } => {
            matches!(answer, FifoAnswer::Fifo(_))
        }
        FifoCommand::List { limit, .. } => {
            matches!(answer, FifoAnswer::Fifos { fifos, .. } if fifos.len() <= *limit)
        }
        FifoCommand::Delete { .. } => matches!(answer, FifoAnswer::Deleted(_)),
        FifoCommand::CreateTicket { .. } => matches!(answer, FifoAnswer::Ticket(_)),
        FifoCommand::GetTicket { ticket, .. } | FifoCommand::Extend { ticket, .. } => {
            matches!(answer, FifoAnswer::Ticket(view) if view.id == *ticket)
        }
        FifoCommand::ListTickets { .. } => matches!(answer, FifoAnswer::Tickets { .. }),
        FifoCommand::Wait { ticket, .. } => {
            matches!(answer, FifoAnswer::Ready(view) if view.id == *ticket)
        }
        FifoCommand::Complete { .. } => *answer == FifoAnswer::Completed,
        FifoCommand::Cancel { .. } => *answer == FifoAnswer::Cancelled,
        FifoCommand::GiveBack { .. } => false,
    }
}

fn request_pages(command: &Command) -> bool {
    matches!(command, Command::ListLocks { after: Some(_), .. })
}

fn as_asked(acquire: &Acquire, granted: &Granted) -> bool {
    let holder = &granted.holder;
    let ended = holder.expires_in.is_some_and(|left| left.is_zero());
    let ttl = match acquire.hold {
        Hold::Forever => ended || holder.ttl.is_none(),
        Hold::Ttl(_) => ended || holder.ttl.is_some(),
        Hold::Lease(id) => granted.lease == Some(id),
    };
    ttl && granted.lock == acquire.lock
        && holder.mode == acquire.mode
        && holder.open == acquire.open
        && holder.about == acquire.about
}

fn may_refuse(command: &Command, refusal: &Refusal) -> bool {
    match refusal {
        Refusal::RequestIdReused(id) => super::book::request_id(command) == Some(id),
        // S11 looks into these.
        Refusal::FifoNotFound(_)
        | Refusal::FifoExists(_)
        | Refusal::TicketNotFound(_)
        | Refusal::TicketLapsed(_)
        | Refusal::TicketEnded(..)
        | Refusal::TurnTimedOut(..)
        | Refusal::TicketNotAccepted(_) => matches!(command, Command::Fifo(_)),
        Refusal::Invalid(_) => {
            matches!(
                command,
                Command::Renew { ttl: Some(_), .. } | Command::Fifo(_)
            )
        }
        Refusal::LockHeld(view) => match command {
            Command::Acquire(acquire) => {
                let alone = acquire.mode == Mode::Exclusive;
                acquire.wait.is_zero() && (!alone || view.is_in_use())
            }
            Command::PutOpen { .. } => view.is_in_use(),
            _ => false,
        },
        Refusal::NotHolder(_) => {
            matches!(command, Command::Renew { .. } | Command::Release { .. })
        }
        Refusal::LockNotFound(_) => {
            matches!(command, Command::Acquire(acquire) if acquire.must_exist)
        }
        Refusal::ValueNotFound(_) => {
            matches!(
                command,
                Command::GetValue { .. } | Command::DeleteValue { .. }
            )
        }
        Refusal::RevisionMismatch(_) => matches!(
            command,
            Command::PutValue {
                expected_revision: Some(_),
                ..
            } | Command::DeleteValue {
                expected_revision: Some(_),
                ..
            }
        ),
        Refusal::LeaseNotFound => matches!(
            command,
            Command::Acquire(Acquire {
                hold: Hold::Lease(_),
                ..
            }) | Command::RenewLease { .. }
                | Command::RevokeLease { .. }
                | Command::GetLease { .. }
                | Command::OpenSession { .. }
        ),
        Refusal::LeaseExpired => matches!(
            command,
            Command::CreateLease {
                request_id: Some(_),
                ..
            }
        ),
        Refusal::WebhookNotFound(_) | Refusal::WebhookNotWaiting(_) => {
            matches!(command, Command::Webhook(_))
        }
        // S11 looks into queues.
        Refusal::DeliveryEnded(_) => matches!(command, Command::Queue(_)),
        Refusal::WaitTimedOut(_)
        | Refusal::Cancelled
        | Refusal::SessionTaken
        | Refusal::LimitReached { .. } => false,
    }
}
