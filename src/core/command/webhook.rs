//! What can be asked of webhooks, and what is told to whoever posts them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::{EndCause, Granted, RequestId, TicketView};
use crate::core::name::{CallbackSecret, CallbackUrl, FifoId, LockName, TicketId, WebhookId};
use crate::core::time::WallTime;

/// Whom to call when a turn comes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Callback {
    /// Where to post.
    pub url: CallbackUrl,
    /// What to sign with; `None`: the namespace's own secret.
    pub secret: Option<CallbackSecret>,
    /// How long the receiver has to take the turn; then it is the next one's. Of a ticket its own
    /// accept timeout counts instead.
    pub accept_timeout: Duration,
    /// In which shape the turn is told.
    pub shape: CallbackShape,
}

/// In which shape a turn is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallbackShape {
    /// The native one.
    Native,
    /// That of the webmutex dialect.
    Webmutex,
}

/// A callback as the adapter hands it in. Its hash leaves out the id, as a retry comes with another.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The fresh id, made by the adapter: every post of it carries it.
    pub id: WebhookId,
    /// Whom to call.
    pub callback: Arc<Callback>,
}

impl Hash for Subscribe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.callback.hash(state);
    }
}

/// What can be asked of webhooks.
#[derive(Clone, Debug)]
pub enum WebhookCommand {
    /// Reads a webhook. Answer: [`WebhookAnswer::Webhook`].
    Get {
        /// The webhook.
        id: WebhookId,
    },
    /// Lists webhooks from the oldest on. Answer: [`WebhookAnswer::Webhooks`].
    List {
        /// Only webhooks after this number.
        after: Option<u64>,
        /// The most webhooks to list.
        limit: usize,
    },
    /// Gives up a place in line that waits for its turn. Answer: [`WebhookAnswer::Cancelled`].
    Cancel {
        /// The webhook.
        id: WebhookId,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Follows, over all namespaces, which webhooks are to be posted, until cancelled:
    /// [`super::Effect::WebhooksDue`] whenever there is something to fetch, at first at once, and
    /// [`super::Effect::WebhookOver`] for each that is not to be posted any more. The newest
    /// follower only is told.
    Follow,
    /// Fetches what is to be posted, over all namespaces. Answer: [`WebhookAnswer::Due`].
    Due {
        /// Only what has come due after this one.
        after: u64,
        /// The most to fetch.
        limit: usize,
    },
    /// A post was tried and did not settle it. Not answered; harmless when it is over.
    Attempted {
        /// The webhook.
        id: WebhookId,
        /// How it went.
        attempt: Attempt,
    },
    /// The receiver has taken its turn, or has refused it. Not answered; harmless when it is over.
    Settled {
        /// The webhook.
        id: WebhookId,
        /// Whether it has taken it.
        taken: bool,
        /// How the last post went.
        attempt: Attempt,
    },
}

/// How a post went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The HTTP status; `None`: there was no answer.
    pub status: Option<u16>,
    /// What went wrong, for people to read; empty: nothing. Longer ones are cut at
    /// [`ATTEMPT_ERROR_BYTES_MAX`](crate::core::limits::ATTEMPT_ERROR_BYTES_MAX).
    pub error: String,
}

/// Where a webhook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebhookState {
    /// Its turn has not come.
    Waiting,
    /// It is its turn, which the receiver has to take.
    Due,
    /// The receiver has taken its turn.
    Taken,
    /// The receiver has refused it.
    Refused,
    /// The receiver did not take it in time.
    TimedOut,
    /// Its turn did not come in time, or what its place in line hung on ended.
    WaitEnded,
    /// Somebody gave up its place in line.
    Cancelled,
    /// Its turn ended otherwise before the receiver took it: by a release, or by force.
    Ended,
}

impl WebhookState {
    /// Whether nothing will come of it any more.
    pub fn is_over(self) -> bool {
        !matches!(self, WebhookState::Waiting | WebhookState::Due)
    }
}

/// What a webhook stands in line for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookTarget {
    /// A lock.
    Lock(LockName),
    /// A ticket of a FIFO.
    Ticket {
        /// The FIFO.
        fifo: FifoId,
        /// The ticket.
        ticket: TicketId,
    },
}

/// A webhook as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookView {
    /// The id.
    pub id: WebhookId,
    /// Its number: webhooks are listed by it.
    pub number: u64,
    /// What it stands in line for.
    pub target: WebhookTarget,
    /// Where it is posted.
    pub url: CallbackUrl,
    /// Where it stands.
    pub state: WebhookState,
    /// How often it was posted.
    pub attempts: u32,
    /// How the last post went.
    pub last_attempt: Attempt,
    /// Of one that is due: the time left to take it.
    pub accept_in: Option<Duration>,
    /// When the place in line was taken.
    pub created_at: WallTime,
    /// Since when it has been in its state.
    pub since: WallTime,
}

/// What is to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookJob {
    /// The namespace.
    pub namespace: super::Namespace,
    /// The id.
    pub id: WebhookId,
    /// Orders jobs by when they came due.
    pub due_number: u64,
    /// Whom to call.
    pub callback: Arc<Callback>,
    /// What to tell.
    pub turn: Turn,
    /// The time left to take it; `None`: it has no end.
    pub accept_in: Option<Duration>,
    /// When it came due.
    pub due_at: WallTime,
}

/// A turn that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A lock was granted.
    Granted(Granted),
    /// It is a ticket's turn.
    Ready(TicketView),
}

/// What a call about webhooks that succeeded is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// The place in line is taken, or its turn has come already.
    Subscribed(WebhookId),
    /// The webhook as it stands.
    Webhook(WebhookView),
    /// A page of webhooks.
    Webhooks {
        /// The webhooks.
        webhooks: Vec<WebhookView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// The place in line is given up.
    Cancelled,
    /// What is to be posted.
    Due(Vec<WebhookJob>),
}

impl From<EndCause> for WebhookState {
    /// What becomes of a webhook whose grant has ended before the receiver took it.
    fn from(cause: EndCause) -> WebhookState {
        match cause {
            EndCause::CallbackRefused => WebhookState::Refused,
            EndCause::CallbackTimedOut => WebhookState::TimedOut,
            _ => WebhookState::Ended,
        }
    }
}
