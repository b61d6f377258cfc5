//! The two ends of a watch: the shard's, which never waits for a slow reader, and the watcher's.
//!
//! A watcher sees every change or learns that it does not: one that falls behind is cut off, and
//! nothing is ever left out in between.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::news::{give_item_back, replace_waker};
use super::{Failure, Shard, lock};
use crate::core::{
    CallId, Command, Delivered, Delivery, LockEvent, LockView, Namespace, ValueEvent, ValueView,
    WebhookId,
};

/// How many events a watcher may be behind before it is cut off.
pub const WATCH_NEWS_MAX: usize = 1_024;
/// How many bytes of values a watcher may be behind before it is cut off.
pub const WATCH_VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a watcher is told.
#[derive(Debug)]
pub enum WatchNews {
    /// The lock as it stood when the watch began: the first news.
    State(LockView),
    /// A change.
    Changed(Arc<LockEvent>),
    /// What there was under a key when the watch began: the first news.
    ValueState(Option<ValueView>),
    /// A change of what is under a key.
    ValueChanged(Arc<ValueEvent>),
    /// The next item of a queue, in the caller's hands until it is acknowledged or its time is up.
    /// Dropping the watch gives back those that were not read.
    Item(Delivered),
    /// A delivery has ended; the item is taken out of the news. It is not read itself.
    Recalled(Delivery),
    /// There are webhooks to be fetched and posted.
    WebhooksDue,
    /// This webhook is not to be posted any more.
    WebhookOver(WebhookId),
    /// The watch is over: the last news.
    Failed(Failure),
}

impl WatchNews {
    /// Whether a watcher that misses it is cut off. Items are never too many: their consumer's window
    /// bounds those that are not read, as one that leaves the window is recalled.
    pub(super) fn is_event(&self) -> bool {
        !matches!(
            self,
            WatchNews::Item(_) | WatchNews::Recalled(_) | WatchNews::Failed(_)
        )
    }

    /// How many bytes of a value it keeps in memory.
    fn value_bytes(&self) -> usize {
        match self {
            WatchNews::ValueState(Some(value)) => value.bytes.len(),
            WatchNews::ValueChanged(event) => event.value.bytes.len(),
            _ => 0,
        }
    }
}

/// News for one watcher, until it reads them.
pub(super) struct Feed {
    namespace: Namespace,
    state: Mutex<FeedState>,
}

#[derive(Default)]
struct FeedState {
    news: VecDeque<WatchNews>,
    /// How many bytes of values there are in the news.
    value_bytes: usize,
    /// Nothing comes after what is there.
    closed: bool,
    waker: Option<Waker>,
}

/// What became of news for a watcher.
pub(super) enum Pushed {
    /// They are there for its reader, who has to be woken if it waits.
    Reader(Option<Waker>),
    /// The watcher is too far behind, and has been cut off by this.
    CutOff(Option<Waker>),
    /// The watch is over: here they are back.
    Nobody(WatchNews),
}

impl Feed {
    pub(super) fn new(namespace: &Namespace) -> Feed {
        Feed {
            namespace: namespace.clone(),
            state: Mutex::default(),
        }
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds news, and returns who has to be woken.
    pub(super) fn push(&self, news: WatchNews) -> Pushed {
        let mut state = lock(&self.state);
        if let WatchNews::Recalled(delivery) = news {
            let ended = |news: &WatchNews| matches!(news, WatchNews::Item(item) if item.delivery == Some(delivery));
            state.news.retain(|news| !ended(news));
            return Pushed::Reader(None);
        }
        if state.closed {
            return Pushed::Nobody(news);
        }
        let is_last = matches!(news, WatchNews::Failed(_));
        let value_bytes = state.value_bytes + news.value_bytes();
        let is_behind = state.news.len() >= WATCH_NEWS_MAX || value_bytes > WATCH_VALUE_BYTES_MAX;
        if is_behind && news.is_event() {
            state.closed = true;
            return Pushed::CutOff(state.waker.take());
        }
        state.closed = is_last;
        state.value_bytes = value_bytes;
        state.news.push_back(news);
        Pushed::Reader(state.waker.take())
    }

    /// Lets nothing more come, and returns who has to be woken.
    pub(super) fn cut_off(&self) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.waker.take()
    }
}

/// The caller's end of a watch. Dropping it ends the watch.
pub struct Watch {
    shard: Shard,
    id: CallId,
    feed: Arc<Feed>,
}

impl Watch {
    pub(super) fn new(shard: Shard, id: CallId, feed: Arc<Feed>) -> Watch {
        Watch { shard, id, feed }
    }

    /// Waits for the next news; `None` when the watcher read too slowly and was cut off, or after
    /// the last news. Cancel-safe.
    pub async fn next(&mut self) -> Option<WatchNews> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Watch::next`], for streams.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchNews>> {
        let mut state = lock(&self.feed.state);
        if let Some(news) = state.news.pop_front() {
            state.value_bytes -= news.value_bytes();
            return Poll::Ready(Some(news));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        let replaced = replace_waker(&mut state.waker, cx);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (news, waker) = {
            let mut state = lock(&self.feed.state);
            state.closed = true;
            (std::mem::take(&mut state.news), state.waker.take())
        };
        drop(waker);
        // The cancel comes first, so that what is given back goes to others.
        let cancel = Command::Cancel { call: self.id };
        let give_backs = news.into_iter().filter_map(|news| match news {
            WatchNews::Item(item) => Some(give_item_back(&item)),
            _ => None,
        });
        for command in std::iter::once(cancel).chain(give_backs) {
            self.shard.tell(&self.feed.namespace, command);
        }
    }
}
