//! The task that carries calls over a stream, and over the next one when it breaks.

use std::sync::Arc;
use std::time::Duration;

use tonic::Streaming;

use super::*;
use crate::convert;
use crate::limits::FAREWELL;
use crate::proto::session_service_client::SessionServiceClient;
use crate::proto::{AttachResponse, CloseSession, OpenSession, SessionOpened};

/// The least time to open a stream in, however short the session's TTL.
const OPEN_TIMEOUT_MIN: Duration = Duration::from_millis(200);

/// Runs until the client is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let farewell = async {
        shared.reached(End::Closing).await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = carry(&shared) => {}
        () = farewell => {}
    }
    let mut state = shared.state();
    state.end = End::Closed;
    state.link = None;
    for life in std::mem::take(&mut state.lives) {
        state.end_life(&life, Loss::Released);
    }
    for (_, hold) in state.holds.drain() {
        hold.lose(Loss::Released);
    }
    // Callers that wait for an answer hear that the client was closed.
    let calls = std::mem::take(&mut state.calls);
    drop(state);
    drop(calls);
    shared.end_news.notify_waiters();
    shared.watch_news.notify_one();
}

/// Opens streams and reads them, until there is nothing left to say.
async fn carry(shared: &Arc<Shared>) {
    let mut backoff = shared.config.backoff();
    let mut broken = false;
    while shared.is_wanted().await {
        let failure = match shared.open(broken).await {
            Ok(inbound) => {
                backoff = shared.config.backoff();
                shared.read(inbound).await
            }
            Err(error) => error,
        };
        broken = true;
        if shared.link_down(&failure) || shared.is_done() {
            // What the failure was about is over: there is no reason to wait.
            continue;
        }
        let _ = backoff.pause(shared, failure, None).await;
    }
}

impl Shared {
    /// Waits until a stream is of use; false: never again.
    async fn is_wanted(&self) -> bool {
        loop {
            {
                let state = self.state();
                if state.is_done() {
                    return false;
                }
                if state.end != End::No
                    || state.session.is_some()
                    || !state.calls.is_empty()
                    || !state.lives.is_empty()
                {
                    return true;
                }
            }
            self.link_news.notified().await;
        }
    }

    /// Whether the client has come to its end and has nothing left to say.
    fn is_done(&self) -> bool {
        self.state().is_done()
    }

    /// Opens a stream, over a new connection where the old one broke.
    async fn open(self: &Arc<Shared>, broken: bool) -> Result<Streaming<AttachResponse>> {
        let config = &self.config;
        let timeout = match self.state().session {
            Some(_) => config
                .connect_timeout
                .min((config.session_ttl / 3).max(OPEN_TIMEOUT_MIN)),
            None => config.connect_timeout,
        };
        let opening = async {
            if broken {
                self.set_channel(config.connect().await?);
            }
            self.give_up_unknown().await?;
            let lease = self
                .state()
                .session
                .as_ref()
                .map(|session| session.id.clone());
            self.attach(lease).await
        };
        tokio::time::timeout(timeout, opening)
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("the server did not answer in time")))
    }

    async fn attach(
        self: &Arc<Shared>,
        lease: Option<String>,
    ) -> Result<Streaming<AttachResponse>> {
        let (link, requests) = outgoing::link();
        let sent = self.now();
        let open = match lease.clone() {
            Some(lease_id) => OpenSession {
                lease_id,
                accepts_batches: true,
                ..OpenSession::default()
            },
            None => OpenSession {
                ttl: Some(convert::span(self.config.session_ttl)),
                owner: self.config.owner.clone(),
                metadata: self.config.metadata.clone(),
                accepts_batches: true,
                ..OpenSession::default()
            },
        };
        // The number is nobody else's: calls are sent only once the session is open.
        link.send(u64::MAX, Call::Open(open));
        let request = self.config.request(requests);
        let mut sessions = SessionServiceClient::new(self.channel());
        let mut inbound = sessions.attach(request).await?.into_inner();
        match inbound.message().await?.and_then(|message| message.result) {
            Some(Told::Opened(opened)) => {
                self.link_up(link, opened, sent, lease.is_some())?;
                Ok(inbound)
            }
            _ => Err(Error::misfit()),
        }
    }

    /// The stream is open: takes up everything where it stood.
    fn link_up(
        &self,
        link: Link,
        opened: SessionOpened,
        sent: Duration,
        resumed: bool,
    ) -> Result<()> {
        let lease = opened.lease.ok_or_else(Error::misfit)?;
        let ttl = lease.ttl.map(convert::duration);
        let ttl = ttl.unwrap_or(self.config.session_ttl);
        let left = lease.expires_in.map(convert::duration).unwrap_or(ttl);
        let now = self.now();
        let mut state = self.state();
        if resumed {
            let alive = match &state.session {
                Some(session) => session.life.renewed(now, sent, left),
                None => false,
            };
            if !alive {
                return Err(Error::lost("the session was taken up too late"));
            }
        } else {
            let life = Arc::new(Life::new(Keeps::Session, ttl, sent, left));
            state.lives.push(Arc::clone(&life));
            state.session = Some(SessionLease {
                id: lease.lease_id,
                life,
            });
        }
        state.heard = sent;
        state.told = sent;
        if opened.accepts_batches {
            link.allow_batches();
        }
        state.link = Some(link);
        state.broken = false;
        state.ask_all_again(now, resumed);
        drop(state);
        self.watch_news.notify_one();
        Ok(())
    }

    /// Reads a stream to its end: why it ended.
    async fn read(self: &Arc<Shared>, mut inbound: Streaming<AttachResponse>) -> Error {
        let mut closing = false;
        loop {
            if let Err(error) = self.heed(&mut closing) {
                return error;
            }
            loop {
                tokio::select! {
                    biased;
                    () = self.link_news.notified() => break,
                    message = inbound.message() => match message {
                        Ok(Some(message)) => self.told(message),
                        Ok(None) => return Error::unavailable("the stream ended"),
                        Err(status) => return status.into(),
                    }
                }
            }
        }
    }

    /// Looks whether the stream is to be given up or the session to be closed. News may be older than
    /// the stream.
    fn heed(&self, closing: &mut bool) -> Result<()> {
        let mut state = self.state();
        if state.broken {
            return Err(Error::unavailable("the session has ended"));
        }
        if state.end == End::Closing && !*closing {
            *closing = true;
            let close = Pending::Ask {
                call: Arc::new(Call::Close(CloseSession {})),
                copies: 0,
                until: None,
                answer: None,
            };
            state.put(close, self.now())?;
        }
        Ok(())
    }

    /// The stream has ended or could not be opened. Whether to go on without a pause.
    fn link_down(&self, failure: &Error) -> bool {
        let now = self.now();
        let mut state = self.state();
        let was_broken = std::mem::take(&mut state.broken);
        state.link = None;
        state.forget_renewals(now);
        match failure {
            _ if failure.is_end_of_lease() => {
                state.end_session();
                state.broken = false;
                true
            }
            Error::Unauthenticated(_)
            | Error::PermissionDenied(_)
            | Error::NotFound(_)
            | Error::Invalid { .. }
            | Error::Limit(_)
            | Error::Other(_)
                if !failure.may_be_retried() =>
            {
                let calls = std::mem::take(&mut state.calls);
                drop(state);
                for pending in calls.into_values() {
                    pending.fail(failure);
                }
                false
            }
            _ => was_broken,
        }
    }
}

impl State {
    fn is_done(&self) -> bool {
        let asks = |pending: &Pending| matches!(pending, Pending::Ask { .. });
        self.end != End::No && self.session.is_none() && !self.calls.values().any(asks)
    }

    /// Sends every call that has no answer, in the order in which they came.
    fn ask_all_again(&mut self, now: Duration, resumed: bool) {
        self.forget_renewals(now);
        if resumed {
            for hold in self.holds.values() {
                self.last_call += 1;
                let check = Pending::Check(Arc::clone(hold));
                self.calls.insert(self.last_call, check);
            }
        } else {
            // Their places went with the session, and a grant that was on its way too.
            self.calls.retain(|_, pending| match pending {
                Pending::Acquire(acquire) if acquire.is_of_session() => {
                    acquire.new_request_id(now);
                    !acquire.cancelled
                }
                _ => true,
            });
        }
        let mut numbers: Vec<u64> = self.calls.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            self.send(number, now);
        }
    }

    /// Renewals under way will have no answer: they are due at once.
    fn forget_renewals(&mut self, now: Duration) {
        self.calls
            .retain(|_, pending| !matches!(pending, Pending::Renew { .. } | Pending::Check(_)));
        for life in &self.lives {
            if life.keeps != Keeps::Session {
                life.not_renewed(now, Duration::ZERO);
            }
        }
    }
}

impl Pending {
    /// Tells the caller that the call failed.
    fn fail(self, error: &Error) {
        match self {
            Pending::Acquire(acquire) => drop(acquire.answer.send(Err(error.clone()))),
            Pending::Ask { answer, .. } => {
                if let Some(caller) = answer {
                    let _ = caller.send(Err(error.clone()));
                }
            }
            Pending::Renew { .. } | Pending::Check(_) => {}
        }
    }
}
