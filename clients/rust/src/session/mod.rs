//! The one session of a client: calls over one stream, and what they hold.
//!
//! [`Shared`] is what all parts of a client have in common. Callers put their calls into it; the task
//! of [`link`] carries them over a stream, again over the next one when it breaks; that of [`watch`]
//! renews what has to be renewed and says what is lost, whether there is a connection or not.

mod answer;
mod ask;
mod hold;
mod life;
mod link;
mod outgoing;
mod unknown;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch as watched};
use tonic::transport::Channel;

pub(crate) use self::ask::Acquire;
pub use self::hold::Loss;
pub(crate) use self::hold::{Held, Hold};
pub(crate) use self::life::{Keeps, Life, margin};
use self::outgoing::Link;
use crate::builder::Config;
use crate::error::{Error, Result};
use crate::limits::CALLS_MAX;
use crate::proto::attach_request::Call;
use crate::proto::attach_response::Result as Told;
use crate::proto::{AcquireLockRequest, CancelCall};

/// What all parts of a client have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Where what outlives its caller is done.
    pub(crate) runtime: Handle,
    state: Mutex<State>,
    /// The connection in use.
    channel: Mutex<Channel>,
    /// There is something new for the task of the link: a first call, a broken stream, the end.
    link_news: Notify,
    /// There is something new to watch.
    watch_news: Notify,
    /// The end has been asked for, or has come.
    end_news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Where calls go; `None`: there is no open session stream.
    link: Option<Link>,
    session: Option<SessionLease>,
    /// The calls without an answer, by their numbers.
    calls: HashMap<u64, Pending, RandomState>,
    last_call: u64,
    /// The ids of requests with which nothing will be asked again, to be told to the server.
    answered: Vec<String>,
    /// The grants, by their fencing tokens.
    holds: HashMap<u64, Arc<Hold>, RandomState>,
    /// What has to be renewed.
    lives: Vec<Arc<Life>>,
    /// Whether the stream is to be given up.
    broken: bool,
    /// When the newest renewal of the session that has been acknowledged was sent: whatever was
    /// told after it happened after that.
    heard: Duration,
    /// When anything was heard of the server over a stream, last.
    told: Duration,
    end: End,
}

/// Whether a client goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    #[default]
    No,
    /// It is to close its session.
    Closing,
    Closed,
}

/// The session's lease.
#[derive(Debug)]
struct SessionLease {
    id: String,
    life: Arc<Life>,
}

/// A call without an answer.
#[derive(Debug)]
enum Pending {
    Acquire(PendingAcquire),
    /// Any other call of a caller; it may be made again over any session.
    Ask {
        call: Arc<Call>,
        /// How often it was sent.
        copies: u32,
        /// When its caller is told that there was no answer in time; `None`: never.
        until: Option<Duration>,
        /// `None`: nobody waits, but it is carried through.
        answer: Option<oneshot::Sender<Result<Box<Told>>>>,
    },
    /// A renewal; it is not made again by itself.
    Renew {
        life: Arc<Life>,
        sent: Duration,
    },
    /// A look whether a grant is still held, after a time without a connection.
    Check(Arc<Hold>),
}

#[derive(Debug)]
struct PendingAcquire {
    request: Arc<AcquireLockRequest>,
    /// When it was asked for first under its request id.
    asked: Duration,
    /// When it was sent, last.
    sent: Duration,
    /// How often it was sent under its request id.
    copies: u32,
    /// Whether the grant was asked for once more, to learn how long it lives.
    sent_again: bool,
    /// When to wait no longer; `None`: never.
    wait_until: Option<Duration>,
    /// The shared lease to hang on.
    lease: Option<Arc<Life>>,
    answer: oneshot::Sender<Result<Held>>,
    position: Option<watched::Sender<Option<u32>>>,
    /// Nobody waits for it any more: what is granted is given back.
    cancelled: bool,
}

impl PendingAcquire {
    /// Whether it hangs on the session's lease.
    fn is_of_session(&self) -> bool {
        self.request.hold.is_none()
    }

    /// From now on it asks for another grant than before.
    fn new_request_id(&mut self, now: Duration) {
        self.asked = now;
        self.copies = 0;
        Arc::make_mut(&mut self.request).request_id = crate::convert::request_id();
    }
}

impl Shared {
    pub(crate) fn new(config: Config, channel: Channel, runtime: Handle) -> Shared {
        Shared {
            config,
            runtime,
            state: Mutex::default(),
            channel: Mutex::new(channel),
            link_news: Notify::new(),
            watch_news: Notify::new(),
            end_news: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.config.clock.now()
    }

    /// The connection in use.
    pub(crate) fn channel(&self) -> Channel {
        let channel = self.channel.lock();
        channel.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_channel(&self, channel: Channel) {
        let mut now = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        *now = channel;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what runs in the background.
    pub(crate) fn start(self: &Arc<Shared>) {
        self.runtime.spawn(link::run(Arc::clone(self)));
        self.runtime.spawn(watch::run(Arc::clone(self)));
    }

    /// Asks for the end: what waits to be sent is sent, then the session is closed.
    pub(crate) fn begin_end(&self) {
        let mut state = self.state();
        if state.end == End::No {
            state.end = End::Closing;
        }
        drop(state);
        self.end_news.notify_waiters();
        self.link_news.notify_one();
    }

    /// Waits until the client has come to an end, at least this one.
    async fn reached(&self, end: End) {
        loop {
            let news = self.end_news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if self.state().end >= end {
                return;
            }
            news.await;
        }
    }

    /// Refuses what is asked of a client that has ended.
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.state().end {
            End::Closed => Err(Error::closed()),
            End::No | End::Closing => Ok(()),
        }
    }

    /// Waits until the client has ended.
    pub(crate) async fn ended(&self) {
        self.reached(End::Closed).await;
    }

    /// Keeps something alive from now on.
    pub(crate) fn keep(&self, life: Arc<Life>) {
        let mut state = self.state();
        state.lives.push(life);
        drop(state);
        self.link_news.notify_one();
        self.watch_news.notify_one();
    }

    /// Ends a life, and with it all that hangs on it.
    pub(crate) fn end_life(&self, life: &Arc<Life>, loss: Loss) {
        self.state().end_life(life, loss);
        self.link_news.notify_one();
    }
}

impl Pending {
    /// The message to send now.
    fn call(&self, now: Duration) -> Call {
        match self {
            Pending::Acquire(acquire) => {
                let mut request = AcquireLockRequest::clone(&acquire.request);
                if let Some(until) = acquire.wait_until {
                    let left = until.saturating_sub(now);
                    request.wait = Some(crate::convert::span(left));
                }
                Call::AcquireLock(request)
            }
            Pending::Ask { call, .. } => Call::clone(call),
            Pending::Renew { life, .. } => ask::renewal(&life.keeps),
            Pending::Check(hold) => ask::check(hold),
        }
    }

    /// Notes that it is being sent.
    fn is_sent(&mut self, now: Duration) {
        match self {
            Pending::Acquire(acquire) => {
                acquire.sent = now;
                acquire.copies += 1;
            }
            Pending::Ask { copies, .. } => *copies += 1,
            Pending::Renew { life, sent } => {
                *sent = now;
                life.asked(now);
            }
            Pending::Check(_) => {}
        }
    }
}

impl State {
    /// Takes in a call and sends it where there is a stream. Its number.
    fn put(&mut self, pending: Pending, now: Duration) -> Result<u64> {
        let call = pending.call(now);
        self.put_as(pending, call, now)
    }

    /// As [`State::put`], with the message made before: that needs no lock.
    fn put_as(&mut self, mut pending: Pending, call: Call, now: Duration) -> Result<u64> {
        let may_be_last = matches!(pending, Pending::Ask { .. }) && self.end == End::Closing;
        if self.end != End::No && !may_be_last {
            return Err(Error::closed());
        }
        if self.calls.len() >= CALLS_MAX {
            return Err(Error::limit(format!(
                "at most {CALLS_MAX} calls may be without an answer"
            )));
        }
        self.last_call += 1;
        let number = self.last_call;
        if let Some(link) = &self.link {
            pending.is_sent(now);
            link.send(number, call);
        }
        self.calls.insert(number, pending);
        Ok(number)
    }

    /// Sends a call that has been taken in, where there is a stream.
    fn send(&mut self, number: u64, now: Duration) {
        let Some(link) = &self.link else { return };
        let Some(pending) = self.calls.get_mut(&number) else {
            return;
        };
        let call = pending.call(now);
        pending.is_sent(now);
        let cancelled = matches!(pending, Pending::Acquire(acquire) if acquire.cancelled);
        link.send(number, call);
        if cancelled {
            self.send_cancel(number);
        }
    }

    fn send_cancel(&self, number: u64) {
        if let Some(link) = &self.link {
            link.send(0, Call::Cancel(CancelCall { call_id: number }));
        }
    }

    /// Ends a life and all that hangs on it.
    fn end_life(&mut self, life: &Arc<Life>, loss: Loss) {
        life.end();
        self.lives.retain(|other| !Arc::ptr_eq(other, life));
        self.holds.retain(|_, hold| {
            let over = hold.hangs_on(life);
            if over {
                hold.lose(loss);
            }
            !over
        });
        if self
            .session
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(&session.life, life))
        {
            self.session = None;
            // A stream is good for one lease.
            self.link = None;
            self.broken = true;
        }
    }

    /// Ends the session's lease and its stream.
    fn end_session(&mut self) {
        if let Some(session) = &self.session {
            let life = Arc::clone(&session.life);
            self.end_life(&life, Loss::Expired);
        }
    }
}
