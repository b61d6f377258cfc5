//! The two ends of a session: one outbox for the news of many calls, and the caller's handle.
//!
//! The shard never waits for a session's reader. It is the adapter that stops asking for more while
//! too much is unanswered.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::call::Outcome;
use super::news::{Reached, give_back, replace_waker};
use super::{Failure, Shard, lock};
use crate::core::{CallId, Command, EndCause, LeaseView, LockName, Namespace, RequestId};

/// How many unread news make a session do without further positions.
pub const SESSION_NEWS_MAX: usize = 4_096;
/// The most calls of one session that wait in lines.
pub const SESSION_WAITING_MAX: usize = 65_536;

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
pub(super) struct Outbox {
    namespace: Namespace,
    state: Mutex<OutboxState>,
}

/// Calls that wait in a line, by the session's number.
type Waiting = HashMap<u64, CallId, foldhash::fast::RandomState>;

#[derive(Default)]
struct OutboxState {
    news: Vec<SessionNews>,
    /// Calls that wait in a line, by the session's number.
    waiting: Waiting,
    reader: Option<Waker>,
    gone: bool,
}

impl Outbox {
    pub(super) fn new(namespace: &Namespace) -> Outbox {
        Outbox {
            namespace: namespace.clone(),
            state: Mutex::default(),
        }
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds news.
    pub(super) fn push(&self, news: SessionNews) -> Reached<SessionNews> {
        let mut state = lock(&self.state);
        if let SessionNews::Reply(number, _) = &news
            && !state.waiting.is_empty()
        {
            state.waiting.remove(number);
        }
        if state.gone {
            return Reached::Nobody(news);
        }
        // A reader that is behind does without positions: they are soon out of date.
        if matches!(news, SessionNews::Queued(..)) && state.news.len() >= SESSION_NEWS_MAX {
            return Reached::Reader(None);
        }
        state.news.push(news);
        Reached::Reader(state.reader.take())
    }

    /// Swaps the unread news, at least one, into `into`, which must be empty.
    pub(super) fn poll(&self, cx: &mut Context<'_>, into: &mut Vec<SessionNews>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.news.is_empty() {
            let replaced = replace_waker(&mut state.reader, cx);
            drop(state);
            drop(replaced);
            return Poll::Pending;
        }
        std::mem::swap(&mut state.news, into);
        Poll::Ready(())
    }

    /// Nobody reads any more. Returns what was not read, and which calls wait.
    pub(super) fn close(&self) -> (Vec<SessionNews>, Waiting) {
        let mut state = lock(&self.state);
        state.gone = true;
        let waker = state.reader.take();
        let news = std::mem::take(&mut state.news);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waker);
        (news, waiting)
    }

    pub(super) fn waits(&self, number: u64, call: CallId) {
        lock(&self.state).waiting.insert(number, call);
    }
}

/// The caller's end of a session. Dropping it ends the session; its lease lives on for its TTL.
pub struct Session {
    shard: Shard,
    id: CallId,
    outbox: Arc<Outbox>,
}

impl Session {
    pub(super) fn new(shard: Shard, id: CallId, outbox: Arc<Outbox>) -> Session {
        Session { shard, id, outbox }
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The session's number, for `Acquire::session` and `Command::Touch`.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Hands over calls, each under a number of the caller's; they are applied in this order, and
    /// keep the session's lease alive. A number must not be used again before its reply. `answered`
    /// are requests that will not be made again.
    pub fn submit(&self, answered: Vec<RequestId>, calls: Vec<(u64, Command)>) {
        self.shard.submit_session(self, answered, calls);
    }

    /// Takes the waiting call with this number out of its line; harmless when none waits.
    pub fn withdraw(&self, number: u64) {
        let call = lock(&self.outbox.state).waiting.get(&number).copied();
        if let Some(call) = call {
            let withdraw = Command::Withdraw { call };
            self.shard.tell(&self.outbox.namespace, withdraw);
        }
    }

    /// How many calls wait in lines.
    pub fn waiting(&self) -> usize {
        lock(&self.outbox.state).waiting.len()
    }

    /// Swaps the unread news, at least one, into `into`, which must be empty.
    pub fn poll_news(&self, cx: &mut Context<'_>, into: &mut Vec<SessionNews>) -> Poll<()> {
        self.outbox.poll(cx, into)
    }

    /// Takes back news that were fetched and can't be told: dropping the session gives the grants
    /// among them back.
    pub fn untold(&self, news: &mut Vec<SessionNews>) {
        lock(&self.outbox.state).news.append(news);
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
        let (news, waiting) = self.outbox.close();
        let cancels = waiting.into_values().chain([self.id]);
        let cancels = cancels.map(|call| Command::Cancel { call });
        let give_backs = news.into_iter().filter_map(|news| match news {
            SessionNews::Reply(_, outcome) => give_back(&outcome),
            _ => None,
        });
        for command in cancels.chain(give_backs) {
            self.shard.tell(&self.outbox.namespace, command);
        }
    }
}
