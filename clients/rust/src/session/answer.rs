//! What the server says over the session.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::convert;
use crate::proto::{AttachResponse, Grant, GrantLost};

/// What a caller is told.
enum Answer {
    Grant(oneshot::Sender<Result<Held>>, Result<Held>),
    Other(oneshot::Sender<Result<Box<Told>>>, Result<Box<Told>>),
}

impl Answer {
    fn tell(self) {
        // Where the caller has gone, a grant among them is dropped, and so given back.
        match self {
            Answer::Grant(caller, answer) => drop(caller.send(answer)),
            Answer::Other(caller, answer) => drop(caller.send(answer)),
        }
    }
}

impl Shared {
    /// Takes in a message of the server, or all those in it.
    pub(super) fn told(self: &Arc<Shared>, message: AttachResponse) {
        let messages = match message.result {
            Some(Told::Batch(batch)) => batch.answers,
            _ => vec![message],
        };
        let mut answers = Vec::with_capacity(messages.len());
        let now = self.now();
        let mut state = self.state();
        state.told = now;
        for message in messages {
            answers.extend(self.take(&mut state, message, now));
        }
        drop(state);
        // Outside the lock: dropping a grant that nobody takes gives it back.
        answers.into_iter().for_each(Answer::tell);
    }

    /// Takes in one message; the answer of a caller, if it is one.
    fn take(
        self: &Arc<Shared>,
        state: &mut State,
        message: AttachResponse,
        now: Duration,
    ) -> Option<Answer> {
        match message.result? {
            Told::GrantLost(lost) => state.lost(&lost),
            Told::Queued(queued) => {
                if let Some(Pending::Acquire(acquire)) = state.calls.get(&message.call_id)
                    && let Some(position) = &acquire.position
                {
                    position.send_replace(Some(queued.position));
                }
            }
            Told::Opened(_) => {}
            Told::Closed(_) => {
                state.calls.remove(&message.call_id);
                if let Some(session) = state.session.take() {
                    state.end_life(&session.life, Loss::Released);
                }
            }
            told => match state.calls.remove(&message.call_id)? {
                Pending::Acquire(acquire) => {
                    return self.acquired(state, acquire, told, message.call_id);
                }
                Pending::Ask { answer, .. } => {
                    let told = match told {
                        Told::Error(error) => Err(error.into()),
                        told => Ok(Box::new(told)),
                    };
                    return Some(Answer::Other(answer, told));
                }
                Pending::Renew { life, sent } => state.renewed(&life, now, sent, told),
                Pending::Check(hold) => {
                    if matches!(told, Told::Checked(checked) if !checked.current) {
                        state.holds.remove(&hold.grant.fencing_token);
                        hold.lose(Loss::Unknown);
                    }
                }
            },
        }
        None
    }

    /// The answer to an acquire; `None`: nobody is to hear of it, or not yet.
    fn acquired(
        self: &Arc<Shared>,
        state: &mut State,
        mut acquire: PendingAcquire,
        told: Told,
        number: u64,
    ) -> Option<Answer> {
        let grant = match told {
            Told::Error(_) if acquire.cancelled => return None,
            Told::Error(error) => {
                let error = Error::from(error);
                if !(acquire.is_of_session() && error.is_end_of_lease()) {
                    return Some(Answer::Grant(acquire.answer, Err(error)));
                }
                // It is asked again over the next session.
                state.calls.insert(number, Pending::Acquire(acquire));
                state.end_session();
                self.link_news.notify_one();
                return None;
            }
            Told::Acquired(acquired) => acquired.grant,
            _ => None,
        };
        let Some(grant) = grant else {
            return Some(Answer::Grant(acquire.answer, Err(Error::misfit())));
        };
        let now = self.now();
        if let Some(again) = state.ask_again(&acquire, &grant, now) {
            if again == Again::Afresh {
                if acquire.cancelled {
                    return None;
                }
                acquire.new_request_id(now);
            }
            acquire.sent_again = again == Again::Same;
            state.calls.insert(number, Pending::Acquire(acquire));
            state.send(number, now);
            return None;
        }
        let hold = Arc::new(state.hold(&acquire, grant));
        state
            .holds
            .insert(hold.grant.fencing_token, Arc::clone(&hold));
        if matches!(&hold.life, Some(life) if matches!(life.keeps, Keeps::Grant { .. })) {
            state.lives.extend(hold.life.clone());
            self.watch_news.notify_one();
        }
        let held = Held {
            shared: Arc::clone(self),
            hold,
            released: false,
        };
        Some(Answer::Grant(acquire.answer, Ok(held)))
    }
}

/// How to ask for a grant once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// It has ended since: another one is wanted.
    Afresh,
    /// It may have been on its way for long: the same again tells how long it has left.
    Same,
}

impl State {
    /// Whether to ask once more before a grant is handed out.
    fn ask_again(&self, acquire: &PendingAcquire, grant: &Grant, now: Duration) -> Option<Again> {
        let left = convert::duration(grant.expires_in?);
        if left.is_zero() {
            return Some(Again::Afresh);
        }
        if acquire.is_of_session() || acquire.lease.is_some() || acquire.sent_again {
            return None;
        }
        let since = now.saturating_sub(acquire.sent.max(self.heard));
        (since > left / 2).then_some(Again::Same)
    }

    /// The grant that an acquire got.
    fn hold(&self, acquire: &PendingAcquire, grant: Grant) -> Hold {
        let life = match (&acquire.lease, grant.expires_in) {
            (Some(lease), _) => Some(Arc::clone(lease)),
            (None, _) if acquire.is_of_session() => {
                let session = self.session.as_ref();
                session.map(|session| Arc::clone(&session.life))
            }
            (None, None) => None,
            (None, Some(left)) => {
                let left = convert::duration(left);
                // The grant was made after the call was sent, and, where it waited, after the last
                // renewal that was acknowledged before it.
                let sent = acquire.sent.max(self.heard);
                let ttl = match acquire.request.hold {
                    Some(crate::proto::acquire_lock_request::Hold::Ttl(ttl)) => {
                        convert::duration(ttl)
                    }
                    _ => left,
                };
                let keeps = Keeps::Grant {
                    lock: grant.lock.clone(),
                    grant_token: grant.grant_token.clone(),
                };
                Some(Arc::new(Life::new(keeps, ttl, sent, left)))
            }
        };
        Hold::new(grant, life)
    }

    fn lost(&mut self, lost: &GrantLost) {
        if let Some(hold) = self.holds.remove(&lost.fencing_token) {
            hold.lose(lost.cause().into());
            if let Some(life) = &hold.life
                && matches!(life.keeps, Keeps::Grant { .. })
            {
                self.end_life(&Arc::clone(life), lost.cause().into());
            }
        }
    }

    fn renewed(&mut self, life: &Arc<Life>, now: Duration, sent: Duration, told: Told) {
        let left = match told {
            Told::Renewed(renewed) => renewed.expires_in,
            Told::LeaseRenewed(renewed) => renewed.expires_in,
            Told::Error(error) => {
                match Error::from(error) {
                    Error::NotHolder(_) | Error::NotFound(_) | Error::Lost(_) => {
                        self.end_life(life, Loss::Expired);
                    }
                    error => {
                        let pause = error.retry_after().unwrap_or_default();
                        life.not_renewed(now, pause.max(life.ttl / 20));
                    }
                }
                return;
            }
            _ => return,
        };
        let left = left.map(convert::duration).unwrap_or(life.ttl);
        if !life.renewed(now, sent, left) {
            self.end_life(life, Loss::Expired);
        } else if life.keeps == Keeps::Session {
            self.heard = self.heard.max(sent);
        }
    }
}
