//! Calls on their way into the session.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::*;
use crate::convert;
use crate::limits::WAIT_MAX;
use crate::proto::{CheckGrantRequest, ReleaseLockRequest, RenewLeaseRequest, RenewLockRequest};

/// What keeps `life` going.
pub(super) fn renewal(keeps: &Keeps) -> Call {
    match keeps {
        Keeps::Session => Call::RenewLease(RenewLeaseRequest::default()),
        Keeps::Lease(lease_id) => Call::RenewLease(RenewLeaseRequest {
            lease_id: lease_id.clone(),
        }),
        Keeps::Grant { lock, grant_token } => Call::RenewLock(RenewLockRequest {
            lock: lock.clone(),
            grant_token: grant_token.clone(),
            ttl: None,
        }),
    }
}

pub(super) fn check(hold: &Hold) -> Call {
    Call::CheckGrant(CheckGrantRequest {
        lock: hold.grant.lock.clone(),
        fencing_token: hold.grant.fencing_token,
    })
}

fn release(hold: &Hold) -> Call {
    Call::ReleaseLock(ReleaseLockRequest {
        lock: hold.grant.lock.clone(),
        grant_token: hold.grant.grant_token.clone(),
        request_id: convert::request_id(),
    })
}

/// An acquire that is to be made.
#[derive(Debug)]
pub(crate) struct Acquire {
    pub(crate) request: AcquireLockRequest,
    /// How long to wait; `None`: for ever.
    pub(crate) wait: Option<Duration>,
    /// The shared lease to hang on.
    pub(crate) lease: Option<Arc<Life>>,
    /// Where to tell the place in line.
    pub(crate) position: Option<watch::Sender<Option<u32>>>,
}

/// The caller's end of a call: when it is dropped nobody waits any more.
struct Waiting<'a, T> {
    shared: &'a Shared,
    number: u64,
    answer: oneshot::Receiver<Result<T>>,
    answered: bool,
}

impl<T> Waiting<'_, T> {
    async fn answer(mut self) -> Result<T> {
        let answer = (&mut self.answer).await;
        self.answered = true;
        answer.unwrap_or(Err(Error::closed()))
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.nobody_waits(self.number);
        }
    }
}

impl Shared {
    /// Acquires a lock. Dropping the future leaves the line.
    pub(crate) async fn acquire(&self, acquire: Acquire) -> Result<Held> {
        let timeout = self.config.call_timeout;
        let started = self.now();
        let wait_until = acquire.wait.map(|wait| started + wait);
        let give_up = wait_until.map(|until| until + timeout);
        let mut backoff = self.config.backoff();
        let (mut now, mut asked_at) = (started, started);
        let mut copies = 0;
        let mut request = Arc::new(acquire.request);
        let asked = Arc::make_mut(&mut request);
        asked.wait = Some(convert::span(WAIT_MAX));
        asked.request_id = convert::request_id();
        loop {
            let pending = |answer| {
                Pending::Acquire(PendingAcquire {
                    request: Arc::clone(&request),
                    asked: asked_at,
                    sent: started,
                    copies,
                    sent_again: false,
                    wait_until,
                    lease: acquire.lease.clone(),
                    answer,
                    position: acquire.position.clone(),
                    cancelled: false,
                })
            };
            let waiting = self.waiting(now, |_| {}, pending)?;
            let error = match self.within(give_up, waiting.answer()).await {
                Ok(held) if held.hold.loss(self.now()).is_none() => return Ok(held),
                // It was lost on its way: stand in line again.
                Ok(_) => {
                    now = self.now();
                    asked_at = now;
                    copies = 0;
                    Arc::make_mut(&mut request).request_id = convert::request_id();
                    continue;
                }
                Err(error) => error,
            };
            let over = wait_until.is_some_and(|until| self.now() >= until);
            copies += 1;
            match error {
                Error::WaitTimedOut(_) if acquire.wait.is_none() => {}
                // The rest of a wait, asked for after a time without a connection, was none.
                Error::Held(details) if over && acquire.wait > Some(Duration::ZERO) => {
                    return Err(Error::WaitTimedOut(details));
                }
                error if error.may_be_retried() => {
                    backoff.pause(self, error, give_up).await?;
                }
                error => return Err(error),
            }
            now = self.now();
        }
    }

    /// Releases a grant.
    pub(crate) async fn release(&self, mut held: Held) -> Result<()> {
        held.released = true;
        let hold = Arc::clone(&held.hold);
        let now = self.now();
        if hold.loss(now).is_some() {
            // It may well be held still, by the server's reckoning.
            self.release_in_background(&hold);
        } else {
            let forget = |state: &mut State| state.forget(&hold);
            match self.ask(release(&hold), now, forget).await {
                Ok(told) if matches!(*told, Told::Released(_)) => return Ok(()),
                Ok(_) => return Err(Error::misfit()),
                Err(Error::NotHolder(_)) => hold.lose(Loss::Unknown),
                Err(error) => return Err(error),
            }
        }
        Err(Error::lost(format!(
            "the grant of the lock {} was lost before it was released",
            hold.grant.lock
        )))
    }

    /// Releases a grant, whoever waits.
    pub(crate) fn release_in_background(self: &Shared, hold: &Hold) {
        let pending = Pending::Ask {
            call: Arc::new(release(hold)),
            copies: 0,
            until: None,
            answer: None,
        };
        let mut state = self.state();
        state.forget(hold);
        // Where there is no room for the call, the lease's end will do what it asks for.
        let _ = state.put(pending, self.now());
        let linked = state.link.is_some();
        drop(state);
        if !linked {
            self.link_news.notify_one();
        }
    }

    /// Makes a call of the session, again where that may help. `before` is done to the books when it is
    /// made first.
    async fn ask(
        &self,
        call: Call,
        now: Duration,
        before: impl FnOnce(&mut State),
    ) -> Result<Box<Told>> {
        let call = Arc::new(call);
        let until = now + self.config.call_timeout;
        let mut backoff = self.config.backoff();
        let mut before = Some(before);
        let mut copies = 0;
        loop {
            let call = Arc::clone(&call);
            let before = |state: &mut State| {
                if let Some(before) = before.take() {
                    before(state);
                }
            };
            let waiting = self.waiting(now, before, |answer| Pending::Ask {
                call,
                copies,
                until: Some(until),
                answer: Some(answer),
            })?;
            match waiting.answer().await {
                Err(error) if error.may_be_retried() => {
                    copies += 1;
                    backoff.pause(self, error, Some(until)).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Puts a call into the books, for its caller to wait for. The message is made before the lock is
    /// taken: many callers come at once.
    fn waiting<T>(
        &self,
        now: Duration,
        before: impl FnOnce(&mut State),
        pending: impl FnOnce(oneshot::Sender<Result<T>>) -> Pending,
    ) -> Result<Waiting<'_, T>> {
        let (sender, answer) = oneshot::channel();
        let pending = pending(sender);
        let call = pending.call(now);
        let mut state = self.state();
        before(&mut state);
        let number = state.put_as(pending, call, now)?;
        let linked = state.link.is_some();
        drop(state);
        if !linked {
            self.link_news.notify_one();
            self.watch_news.notify_one();
        }
        Ok(Waiting {
            shared: self,
            number,
            answer,
            answered: false,
        })
    }

    /// Waits for an answer until a moment of the client's clock.
    pub(crate) async fn within<T>(
        &self,
        until: Option<Duration>,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(until) = until else {
            return answer.await;
        };
        let left = until.saturating_sub(self.now());
        match tokio::time::timeout(left, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::unavailable("the server did not answer in time")),
        }
    }

    /// The caller of a call has gone.
    fn nobody_waits(&self, number: u64) {
        let mut state = self.state();
        let Some(Pending::Acquire(acquire)) = state.calls.get_mut(&number) else {
            // A change that was begun is carried through; an answer has come already.
            return;
        };
        acquire.cancelled = true;
        state.send_cancel(number);
    }
}

impl State {
    /// Takes a grant out of the books: it is renewed no more, and its end is no loss.
    fn forget(&mut self, hold: &Hold) {
        self.holds.remove(&hold.grant.fencing_token);
        if let Some(life) = &hold.life
            && matches!(life.keeps, Keeps::Grant { .. })
        {
            self.lives.retain(|other| !Arc::ptr_eq(other, life));
        }
    }

    /// Tells the callers whose time is over that there was no answer. When the next one's is.
    pub(super) fn end_waits(&mut self, now: Duration) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for pending in self.calls.values_mut() {
            let Pending::Ask { until, answer, .. } = pending else {
                continue;
            };
            let (Some(end), Some(_)) = (*until, &answer) else {
                continue;
            };
            if end > now {
                next = Some(next.map_or(end, |next| next.min(end)));
            } else if let Some(caller) = answer.take() {
                let error = Error::unavailable("the server did not answer in time");
                let _ = caller.send(Err(error));
            }
        }
        next
    }
}
