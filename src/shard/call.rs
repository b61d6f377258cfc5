//! The two ends of a call: the shard's, which tells, and the caller's, which waits or walks away.
//!
//! A caller that walks away must leave no trace: dropping its end takes it out of the line, and a
//! grant that was told at the same moment is given back. One mutex decides which came first, so
//! there is no gap between the two.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Failure, Shard};
use crate::core::{
    Answer, CallId, Command, EndCause, LeaseView, LockEvent, LockName, LockView, Namespace, Refusal,
};

/// A lock whose holder panicked is still a lock: what it guards is replaced, never half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome of a call.
pub type Outcome = Result<Answer, Failure>;

/// What a waiting caller is told next.
#[derive(Debug)]
pub enum Progress {
    /// It stands in line, at this position counted from 1.
    Queued(u32),
    /// It has its answer; there is no more.
    Done(Outcome),
}

/// The newest news of one call. A slow reader gets the newest position, not all of them.
#[derive(Default)]
pub(super) struct Slot(Mutex<SlotState>);

#[derive(Default)]
struct SlotState {
    position: Option<u32>,
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    gone: bool,
}

impl Slot {
    pub(super) fn queued(&self, position: u32) {
        let mut state = lock(&self.0);
        state.position = Some(position);
        wake(state);
    }

    /// Tells the outcome; returns it when the caller is gone.
    pub(super) fn done(&self, outcome: Outcome) -> Option<Outcome> {
        let mut state = lock(&self.0);
        if state.gone {
            return Some(outcome);
        }
        state.outcome = Some(outcome);
        wake(state);
        None
    }
}

fn wake(mut state: MutexGuard<'_, SlotState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The caller's end of a call. Dropping it before its outcome was taken cancels the call.
#[must_use = "dropping a call cancels it"]
pub struct Call {
    pub(super) shard: Shard,
    pub(super) namespace: Namespace,
    pub(super) id: CallId,
    pub(super) slot: Arc<Slot>,
    pub(super) taken: bool,
}

impl Call {
    /// Waits for the next news: positions, and at last the outcome. Cancel-safe.
    ///
    /// Must not be called again after [`Progress::Done`].
    pub async fn progress(&mut self) -> Progress {
        poll_fn(|cx| self.poll_progress(cx)).await
    }

    /// As [`Call::progress`], for streams.
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let mut state = lock(&self.slot.0);
        if let Some(outcome) = state.outcome.take() {
            self.taken = true;
            return Poll::Ready(Progress::Done(outcome));
        }
        if let Some(position) = state.position.take() {
            return Poll::Ready(Progress::Queued(position));
        }
        if !state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for the outcome, passing over positions.
    pub async fn outcome(mut self) -> Outcome {
        loop {
            if let Progress::Done(outcome) = self.progress().await {
                return outcome;
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let outcome = {
            let mut state = lock(&self.slot.0);
            state.gone = true;
            state.outcome.take()
        };
        match outcome {
            Some(outcome) => self.shard.give_back(&self.namespace, &outcome),
            None => self
                .shard
                .tell(&self.namespace, Command::Cancel { call: self.id }),
        }
    }
}

/// What a watcher is told.
#[derive(Debug)]
pub enum WatchNews {
    /// The lock as it stood when the watch began: the first news.
    State(LockView),
    /// A change.
    Changed(Arc<LockEvent>),
    /// The watch is over: the last news.
    Failed(Failure),
}

/// The caller's end of a watch. Dropping it ends the watch.
pub struct Watch {
    pub(super) shard: Shard,
    pub(super) namespace: Namespace,
    pub(super) id: CallId,
    pub(super) news: tokio::sync::mpsc::Receiver<WatchNews>,
}

impl Watch {
    /// Waits for the next news; `None` when the watcher read too slowly and was cut off, or after
    /// the last news. Cancel-safe.
    pub async fn next(&mut self) -> Option<WatchNews> {
        self.news.recv().await
    }

    /// As [`Watch::next`], for streams.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchNews>> {
        self.news.poll_recv(cx)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shard
            .tell(&self.namespace, Command::Cancel { call: self.id });
    }
}

/// What a session is told. `u64`s are the session's own call numbers.
#[derive(Debug)]
pub enum SessionNews {
    /// The session is open: the first news, unless it failed.
    Opened {
        /// Its lease.
        lease: LeaseView,
        /// Whether it was taken up again.
        resumed: bool,
    },
    /// A call's final answer.
    Reply(u64, Outcome),
    /// A waiting call's position, counted from 1.
    Queued(u64, LockName, u32),
    /// A grant has ended without the session's doing.
    Lost {
        /// The lock.
        lock: LockName,
        /// The grant's fencing token.
        fencing_token: u64,
        /// How it ended.
        cause: EndCause,
    },
    /// The session is over: the last news.
    Ended(Failure),
}

/// News for one session, until it fetches them.
#[derive(Default)]
pub(super) struct Outbox(Mutex<OutboxState>);

#[derive(Default)]
struct OutboxState {
    news: Vec<SessionNews>,
    /// Calls that wait in a line, by the session's number.
    waiting: HashMap<u64, CallId>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    gone: bool,
}

impl Outbox {
    /// Adds news; returns them when the session is gone.
    pub(super) fn push(&self, news: SessionNews) -> Option<SessionNews> {
        let mut state = lock(&self.0);
        if let SessionNews::Reply(number, _) = &news
            && !state.waiting.is_empty()
        {
            state.waiting.remove(number);
        }
        if state.gone {
            return Some(news);
        }
        // A reader that is behind does without positions: they are soon out of date.
        if !matches!(news, SessionNews::Queued(..)) || state.news.len() < SESSION_NEWS_MAX {
            state.news.push(news);
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        None
    }

    pub(super) fn waits(&self, number: u64, call: CallId) {
        lock(&self.0).waiting.insert(number, call);
    }
}

/// How many unread news make a session wait before it may ask for more.
pub const SESSION_NEWS_MAX: usize = 4_096;
/// The most calls of one session that wait in lines.
pub const SESSION_WAITING_MAX: usize = 65_536;

/// The caller's end of a session. Dropping it ends the session; its lease lives on for its TTL.
pub struct Session {
    pub(super) shard: Shard,
    pub(super) namespace: Namespace,
    pub(super) id: CallId,
    pub(super) outbox: Arc<Outbox>,
}

impl Session {
    /// The session's number, for `Acquire::session` and `Command::Touch`.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Hands over calls, each under a number of the caller's; they are applied in this order, and
    /// keep the session's lease alive.
    pub fn submit(&self, calls: Vec<(u64, Command)>) {
        self.shard.submit_session(self, calls);
    }

    /// Takes the waiting call with this number out of its line; harmless when none waits.
    pub fn withdraw(&self, number: u64) {
        let call = lock(&self.outbox.0).waiting.get(&number).copied();
        if let Some(call) = call {
            self.shard.tell(&self.namespace, Command::Withdraw { call });
        }
    }

    /// Whether a call with this number waits in a line.
    pub fn is_waiting(&self, number: u64) -> bool {
        lock(&self.outbox.0).waiting.contains_key(&number)
    }

    /// How many calls wait in lines.
    pub fn waiting(&self) -> usize {
        lock(&self.outbox.0).waiting.len()
    }

    /// Waits until few enough news are unread. Cancel-safe.
    pub async fn room(&self) {
        poll_fn(|cx| {
            let mut state = lock(&self.outbox.0);
            if state.news.len() < SESSION_NEWS_MAX || state.gone {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Swaps the unread news, at least one, into `into`, which must be empty.
    pub fn poll_news(&self, cx: &mut Context<'_>, into: &mut Vec<SessionNews>) -> Poll<()> {
        let mut state = lock(&self.outbox.0);
        if state.news.is_empty() {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut state.news, into);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(())
    }

    /// Takes back news that were fetched and can't be told: dropping the session gives the grants
    /// among them back.
    pub fn untold(&self, news: &mut Vec<SessionNews>) {
        lock(&self.outbox.0).news.append(news);
    }

    /// Waits for unread news and takes them. Cancel-safe.
    pub async fn news(&self) -> Vec<SessionNews> {
        let mut news = Vec::new();
        poll_fn(|cx| self.poll_news(cx, &mut news)).await;
        news
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (news, waiting, writer) = {
            let mut state = lock(&self.outbox.0);
            state.gone = true;
            let waiting: Vec<CallId> = state.waiting.drain().map(|(_, call)| call).collect();
            (
                std::mem::take(&mut state.news),
                waiting,
                state.writer.take(),
            )
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        for call in waiting {
            self.shard.tell(&self.namespace, Command::Cancel { call });
        }
        self.shard
            .tell(&self.namespace, Command::Cancel { call: self.id });
        for news in news {
            if let SessionNews::Reply(_, outcome) = news {
                self.shard.give_back(&self.namespace, &outcome);
            }
        }
    }
}

/// The grant that nobody knows of when this outcome reached nobody.
pub(super) fn untold_grant(outcome: &Outcome) -> Option<(&LockName, u64)> {
    match outcome {
        Ok(
            Answer::Granted(granted)
            | Answer::Put {
                granted,
                created: true,
            },
        ) => Some((&granted.lock, granted.holder.fencing_token)),
        _ => None,
    }
}

/// How the shard reaches whoever called.
pub(super) enum Caller {
    Slot(Arc<Slot>),
    Watch(tokio::sync::mpsc::Sender<WatchNews>),
    Session(Arc<Outbox>, u64),
    /// A session as such, not one of its calls.
    SessionItself(Arc<Outbox>),
}

impl Caller {
    /// Tells the caller that its call, watch or session has failed.
    pub(super) fn fail(&self, failure: Failure) {
        match self {
            Caller::Slot(slot) => drop(slot.done(Err(failure))),
            Caller::Watch(news) => drop(news.try_send(WatchNews::Failed(failure))),
            Caller::Session(outbox, number) => {
                drop(outbox.push(SessionNews::Reply(*number, Err(failure))));
            }
            Caller::SessionItself(outbox) => drop(outbox.push(SessionNews::Ended(failure))),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}
