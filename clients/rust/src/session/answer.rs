//! What the server says over the session.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::convert;
use crate::proto::{AttachResponse, Grant, GrantLost};

/// How many messages are taken in under one lock.
const TOLD_TOGETHER: usize = 32;

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
    /// Takes in a message of the server, or all those in it: some at a time, so that callers go on
    /// while more is being taken in.
    pub(super) fn told(self: &Arc<Shared>, message: AttachResponse) {
        let mut messages = match message.result {
            Some(Told::Batch(batch)) => batch.answers,
            _ => vec![message],
        }
        .into_iter();
        let now = self.now();
        let mut answers = Vec::with_capacity(TOLD_TOGETHER);
        while messages.len() > 0 {
            let mut state = self.state();
            state.told = now;
            for message in messages.by_ref().take(TOLD_TOGETHER) {
                answers.extend(self.take(&mut state, message, now));
            }
            state.tell_answered();
            drop(state);
            // Outside the lock: dropping a grant that nobody takes gives it back.
            answers.drain(..).for_each(Answer::tell);
        }
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
                    return self.acquired(state, acquire, told, message.call_id, now);
                }
                Pending::Ask {
                    call,
                    copies,
                    answer,
                    ..
                } => {
                    let told = match told {
                        Told::Error(error) => Err(error.into()),
                        told => {
                            state.answered(request_id(&call), copies);
                            Ok(Box::new(told))
                        }
                    };
                    return answer.map(|answer| Answer::Other(answer, told));
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
        now: Duration,
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
        let session = state.session.as_ref();
        if acquire.is_of_session() && session.is_none_or(|session| session.id != grant.lease_id) {
            // The session was given up while this was on its way: it is asked again over the next.
            state.calls.insert(number, Pending::Acquire(acquire));
            return None;
        }
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
        state.answered(&acquire.request.request_id, acquire.copies);
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

/// What the server remembers a call of a caller by, besides acquires.
fn request_id(call: &Call) -> &str {
    match call {
        Call::ReleaseLock(release) => &release.request_id,
        _ => "",
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
    /// Notes that a request was answered. The server may forget it only where no copy of it can be
    /// on its way still.
    fn answered(&mut self, request_id: &str, copies: u32) {
        if copies == 1 && !request_id.is_empty() {
            self.answered.push(request_id.to_owned());
        }
    }

    fn tell_answered(&mut self) {
        let answered = self.answered.drain(..);
        if let Some(link) = &self.link {
            link.answered(answered);
        }
    }

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_grant_of_a_session_that_was_given_up_is_nobodys() {
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let config = crate::Client::builder("http://127.0.0.1:1")
            .config()
            .unwrap();
        let shared = Arc::new(Shared::new(
            config,
            channel,
            tokio::runtime::Handle::current(),
        ));
        let (sender, mut answer) = oneshot::channel();
        let number = shared
            .state()
            .put(
                Pending::Acquire(PendingAcquire {
                    request: Arc::default(),
                    asked: Duration::ZERO,
                    sent: Duration::ZERO,
                    copies: 0,
                    sent_again: false,
                    wait_until: None,
                    lease: None,
                    answer: sender,
                    position: None,
                    cancelled: false,
                }),
                Duration::ZERO,
            )
            .unwrap();
        let granted = crate::proto::AcquireLockResponse {
            grant: Some(Grant {
                lease_id: "the session's".to_owned(),
                expires_in: Some(convert::span(Duration::from_secs(60))),
                ..Grant::default()
            }),
            ..Default::default()
        };
        let told = AttachResponse {
            call_id: number,
            result: Some(Told::Acquired(granted)),
        };
        shared.told(told);
        assert!(answer.try_recv().is_err());
        let state = shared.state();
        assert!(state.calls.contains_key(&number), "it is asked again");
        assert!(state.holds.is_empty());
    }

    #[test]
    fn only_what_was_sent_once_may_be_forgotten() {
        let mut state = State::default();
        state.answered("once", 1);
        state.answered("twice", 2);
        state.answered("", 1);
        assert_eq!(state.answered, ["once"]);
    }

    #[test]
    fn each_sending_of_a_call_counts() {
        let mut pending = Pending::Ask {
            call: Arc::new(Call::ReleaseLock(
                crate::proto::ReleaseLockRequest::default(),
            )),
            copies: 0,
            until: None,
            answer: None,
        };
        pending.is_sent(Duration::ZERO);
        pending.is_sent(Duration::ZERO);
        assert!(matches!(pending, Pending::Ask { copies: 2, .. }));
    }
}
