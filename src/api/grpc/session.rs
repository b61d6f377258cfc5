//! SessionService: many calls over one stream.
//!
//! One value, [`Attached`], is the whole session: it reads the caller's messages and is read for
//! the answers, all in the one task that serves the stream. So a caller that does not read its
//! answers is not read from, and dropping the stream ends everything.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use foldhash::fast::RandomState;
use prost::Message as _;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::deadline::UntilDeadline;
use super::{
    Caller, SESSION_ANSWERS_BYTES_MAX, SESSION_BATCH_MAX, SESSION_MESSAGE_BYTES_MAX,
    STREAM_BATCH_MAX, STREAM_UNANSWERED_MAX, convert, error,
};
use crate::api::{Api, ApiError, lease_id};
use crate::core::{
    About, Answer, Command, EndCause, Hold, Invalid, LeaseId, Namespace, RequestId, SessionLease,
};
use crate::proto::v1::attach_request::Call;
use crate::proto::v1::attach_response::Result as Told;
use crate::proto::v1::{
    AcquireLockResponse, AttachAnswers, AttachBatch, AttachRequest, AttachResponse,
    CheckGrantResponse, OpenSession, ReleaseLockResponse, RenewLeaseResponse, RenewLockResponse,
    SessionClosed, SessionOpened, session_service_server,
};
use crate::shard::{Failure, Outcome, Session, SessionNews};

/// SessionService over an [`Api`].
pub struct Sessions(pub(super) Api);

#[tonic::async_trait]
impl session_service_server::SessionService for Sessions {
    type AttachStream = UntilDeadline<Attached>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let caller = Caller::of(&request)?;
        let attached = Attached {
            api: self.0.clone(),
            namespace: caller.identity.namespace,
            inbound: Some(request.into_inner()),
            session: None,
            unanswered: HashMap::default(),
            calls: Vec::new(),
            answered: Vec::new(),
            own: VecDeque::new(),
            news: Vec::new(),
            end: None,
        };
        Ok(Response::new(caller.deadline.bound_stream(attached)))
    }
}

/// A session and its stream.
pub struct Attached {
    api: Api,
    namespace: Namespace,
    /// `None`: the caller asks no more.
    inbound: Option<Streaming<AttachRequest>>,
    /// `None`: the first message has not come.
    session: Option<Open>,
    /// The calls without an answer, by the caller's number.
    unanswered: HashMap<u64, Asked, RandomState>,
    /// Calls that were read and are about to be handed to the shard.
    calls: Vec<(u64, Command)>,
    /// Requests that were said to be answered, for the shard too.
    answered: Vec<RequestId>,
    /// Answers that needed no shard.
    own: VecDeque<AttachResponse>,
    /// News to tell, the oldest last.
    news: Vec<SessionNews>,
    /// How the stream ends once nothing is left to tell.
    end: Option<End>,
}

/// The session in the shard.
struct Open {
    session: Session,
    lease: LeaseId,
    /// The call that opened it; `None`: it has been answered.
    opening: Option<u64>,
    /// The call that closes it.
    closing: Option<u64>,
    /// Whether the caller reads several answers in one.
    accepts_batches: bool,
}

/// What a call asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Acquire,
    Release,
    RenewLock,
    Check,
    RenewLease,
    Close,
}

enum End {
    Done,
    Failed(Status),
    Over,
}

/// What a look at the connection gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// All there was.
    All,
    /// As much as is read at once: there may be more.
    Some,
}

impl Attached {
    /// Reads what the caller has sent, and hands its calls to the shard in one go.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<Read, Status> {
        if !self.may_read() {
            return Ok(Read::All);
        }
        let mut messages = 0;
        let mut read = Read::Some;
        while messages < STREAM_BATCH_MAX
            && let Some(inbound) = &mut self.inbound
        {
            match Pin::new(inbound).poll_next(cx) {
                Poll::Pending => {
                    read = Read::All;
                    break;
                }
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Err(status))) => {
                    return Err(error::unreadable_stream(status, SESSION_MESSAGE_BYTES_MAX));
                }
                Poll::Ready(Some(Ok(message))) if self.session.is_some() => {
                    messages += self.take_all(message);
                }
                Poll::Ready(Some(Ok(message))) => {
                    // Nothing more is read before the session is open.
                    self.session = Some(self.open(message)?);
                    return Ok(Read::All);
                }
            }
        }
        if messages > 0 {
            self.submit();
        }
        if self.inbound.is_none() && self.session.is_none() {
            return Err(not_opened().into());
        }
        Ok(read)
    }

    fn may_read(&self) -> bool {
        match &self.session {
            None => true,
            Some(open) => {
                open.opening.is_none()
                    // Asking the session how many wait takes a lock, so ask only where it matters.
                    && (self.unanswered.len() < STREAM_UNANSWERED_MAX
                        || self.unanswered.len() - open.session.waiting().min(self.unanswered.len())
                            < STREAM_UNANSWERED_MAX)
            }
        }
    }

    fn open(&self, message: AttachRequest) -> Result<Open, ApiError> {
        let Some(Call::Open(request)) = message.call else {
            return Err(not_opened());
        };
        check_call_id(message.call_id)?;
        let accepts_batches = request.accepts_batches;
        let lease = session_lease(request, self.api.ttl_default())?;
        let id = match &lease {
            SessionLease::New { id, .. } | SessionLease::Resume(id) => *id,
        };
        let shard = self.api.shard(&self.namespace);
        Ok(Open {
            session: shard.open_session(&self.namespace, lease),
            lease: id,
            opening: Some(message.call_id),
            closing: None,
            accepts_batches,
        })
    }

    /// Takes a message of an open session, or all those in it. How many there were.
    fn take_all(&mut self, message: AttachRequest) -> usize {
        let Some(Call::Batch(batch)) = message.call else {
            self.take(message);
            return 1;
        };
        match check_batch(message.call_id, &batch) {
            Ok(answered) => self.answered.extend(answered),
            Err(error) => {
                self.refuse(0, error.into());
                return 1;
            }
        }
        let messages = batch.requests.len();
        for request in batch.requests {
            if self.inbound.is_none() {
                // Closed: nothing that comes after that is read.
                break;
            }
            self.take(request);
            if self.calls.len() >= STREAM_BATCH_MAX {
                self.submit();
            }
        }
        messages
    }

    fn refuse(&mut self, call_id: u64, error: ApiError) {
        self.own.push_back(AttachResponse {
            call_id,
            result: Some(Told::Error(error.into())),
        });
    }

    /// Takes one message of an open session. What is wrong with it is that call's own failure.
    fn take(&mut self, message: AttachRequest) {
        let number = message.call_id;
        let call = match message.call {
            Some(Call::Cancel(cancel)) => {
                // The call to cancel may be among those that were just read.
                self.submit();
                if let Some(open) = &self.session
                    && self.unanswered.get(&cancel.call_id) == Some(&Asked::Acquire)
                {
                    open.session.withdraw(cancel.call_id);
                }
                return;
            }
            Some(Call::Batch(_)) => {
                let nested = Invalid::new("batch", "must not be in a batch");
                return self.refuse(number, nested.into());
            }
            call => call,
        };
        let checked = check_call_id(number)
            .and_then(|()| match self.unanswered.contains_key(&number) {
                true => Err(Invalid::new(
                    "call_id",
                    format!("must not be that of a call without its answer, is {number}"),
                )),
                false => Ok(()),
            })
            .map_err(ApiError::from)
            .and_then(|()| self.command(call));
        match checked {
            Ok((asked, command)) => {
                self.unanswered.insert(number, asked);
                self.calls.push((number, command));
                if asked == Asked::Close {
                    self.inbound = None;
                    if let Some(open) = &mut self.session {
                        open.closing = Some(number);
                    }
                }
            }
            Err(error) => self.refuse(number, error),
        }
    }

    fn command(&self, call: Option<Call>) -> Result<(Asked, Command), ApiError> {
        // The session is open: its messages are taken only then.
        let Some(open) = &self.session else {
            return Err(error::misfit());
        };
        Ok(match call {
            Some(Call::AcquireLock(request)) => {
                let mut acquire =
                    convert::acquire(request, Hold::Lease(open.lease), Duration::ZERO)?;
                acquire.session = Some(open.session.id());
                (Asked::Acquire, Command::Acquire(acquire))
            }
            Some(Call::ReleaseLock(request)) => (
                Asked::Release,
                convert::release(
                    &self.api,
                    &self.namespace,
                    Some(open.session.id()),
                    &request,
                )?,
            ),
            Some(Call::RenewLock(request)) => (
                Asked::RenewLock,
                convert::renew(&self.api, &self.namespace, &request)?,
            ),
            Some(Call::CheckGrant(request)) => (Asked::Check, convert::check(&request)?),
            Some(Call::RenewLease(request)) => {
                let id = match request.lease_id.as_str() {
                    "" => open.lease,
                    text => lease_id(text)?,
                };
                (Asked::RenewLease, Command::RenewLease { id })
            }
            Some(Call::Close(_)) => {
                let command = Command::RevokeLease {
                    id: open.lease,
                    request_id: None,
                };
                (Asked::Close, command)
            }
            Some(Call::Open(_)) => {
                return Err(Invalid::new("open", "must be the first message, and no other").into());
            }
            Some(Call::Batch(_) | Call::Cancel(_)) | None => {
                return Err(Invalid::new("call", "must be one of the calls of the schema").into());
            }
        })
    }

    /// Hands the calls that were read to the shard. Without any it still keeps the lease alive.
    fn submit(&mut self) {
        if let Some(open) = &self.session {
            let answered = std::mem::take(&mut self.answered);
            open.session
                .submit(answered, std::mem::take(&mut self.calls));
        }
    }

    /// What the caller is told of a piece of news; `None`: nothing.
    fn tell(&mut self, news: SessionNews) -> Option<AttachResponse> {
        let (call_id, result) = match news {
            SessionNews::Opened { lease, resumed } => {
                let number = self.session.as_mut()?.opening.take()?;
                let opened = SessionOpened {
                    lease: Some(convert::lease(lease)),
                    resumed,
                    accepts_batches: true,
                };
                (number, Told::Opened(opened))
            }
            SessionNews::Reply(number, outcome) => {
                let asked = self.unanswered.remove(&number)?;
                (number, self.answer(asked, outcome))
            }
            SessionNews::Queued(number, lock, position) => {
                if !self.unanswered.contains_key(&number) {
                    return None;
                }
                (number, Told::Queued(convert::position(&lock, position)))
            }
            SessionNews::Lost {
                lock,
                fencing_token,
                cause,
            } => {
                // What ends with the lease that the session gives up itself is no loss.
                if cause == EndCause::Revoked && self.is_closing() {
                    return None;
                }
                let lost = convert::loss(&lock, fencing_token, cause);
                (0, Told::GrantLost(lost))
            }
            SessionNews::Ended(failure) => {
                self.ended(failure);
                return None;
            }
        };
        Some(AttachResponse {
            call_id,
            result: Some(result),
        })
    }

    fn answer(&mut self, asked: Asked, outcome: Outcome) -> Told {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) => {
                let error = ApiError::from(failure);
                if asked == Asked::Close {
                    self.end = Some(End::Failed(error.clone().into()));
                }
                return Told::Error(error.into());
            }
        };
        match (asked, answer) {
            (Asked::Acquire, Answer::Granted(granted)) => {
                let grant = convert::grant(&self.api, &self.namespace, &granted);
                Told::Acquired(AcquireLockResponse {
                    grant: Some(grant),
                    ..AcquireLockResponse::default()
                })
            }
            (Asked::Release, Answer::Released) => Told::Released(ReleaseLockResponse {}),
            (Asked::RenewLock, Answer::Renewed { expires_in }) => {
                Told::Renewed(RenewLockResponse {
                    expires_in: expires_in.map(convert::proto_duration),
                })
            }
            (Asked::RenewLease, Answer::Renewed { expires_in }) => {
                Told::LeaseRenewed(RenewLeaseResponse {
                    expires_in: expires_in.map(convert::proto_duration),
                })
            }
            (
                Asked::Check,
                Answer::Checked {
                    current,
                    expires_in,
                },
            ) => Told::Checked(CheckGrantResponse {
                current,
                expires_in: expires_in.map(convert::proto_duration),
            }),
            (Asked::Close, Answer::Revoked(ended)) => {
                self.end = Some(End::Done);
                Told::Closed(SessionClosed {
                    released_count: convert::count(ended),
                })
            }
            _ => Told::Error(error::misfit().into()),
        }
    }

    /// The shard has ended the session: the stream's last status, unless the caller is closing it
    /// and so waits for that call's answer.
    fn ended(&mut self, failure: Failure) {
        if !self.is_closing() && self.end.is_none() {
            self.end = Some(End::Failed(failure.into()));
        }
    }

    /// Whether the caller has asked to close the session and has no answer yet.
    fn is_closing(&self) -> bool {
        self.session
            .as_ref()
            .and_then(|open| open.closing)
            .is_some_and(|number| self.unanswered.contains_key(&number))
    }

    /// Whether the caller has asked its last and has all its answers.
    fn is_finished(&self) -> bool {
        self.inbound.is_none()
            && self.unanswered.is_empty()
            && self
                .session
                .as_ref()
                .is_some_and(|open| open.opening.is_none())
    }

    /// The next answer by itself.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<AttachResponse, Status>>> {
        loop {
            if let Some(answer) = self.own.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if !matches!(self.end, Some(End::Done | End::Over)) {
                while let Some(news) = self.news.pop() {
                    if let Some(told) = self.tell(news) {
                        return Poll::Ready(Some(Ok(told)));
                    }
                }
            }
            match self.end.replace(End::Over) {
                Some(End::Failed(status)) => return Poll::Ready(Some(Err(status))),
                Some(End::Done | End::Over) => return Poll::Ready(None),
                None => self.end = None,
            }
            let read = match self.read(cx) {
                Ok(read) => read,
                Err(status) => {
                    self.end = Some(End::Failed(status));
                    continue;
                }
            };
            if !self.own.is_empty() {
                continue;
            }
            if let Some(open) = &self.session
                && open.session.poll_news(cx, &mut self.news).is_ready()
            {
                self.news.reverse();
                continue;
            }
            if self.is_finished() {
                self.end = Some(End::Done);
                continue;
            }
            if read == Read::Some && self.inbound.is_some() {
                // Others get their turn first.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }

    /// Whether several answers may go in one: never before the session is open.
    fn accepts_batches(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|open| open.accepts_batches && open.opening.is_none())
    }

    /// Puts what there is to tell by now into one message.
    fn gather(&mut self, first: AttachResponse, cx: &mut Context<'_>) -> AttachResponse {
        let mut bytes = first.encoded_len();
        let mut answers = vec![first];
        while answers.len() < SESSION_BATCH_MAX && bytes < SESSION_ANSWERS_BYTES_MAX {
            match self.poll_answer(cx) {
                Poll::Ready(Some(Ok(answer))) => {
                    bytes += answer.encoded_len();
                    answers.push(answer);
                }
                Poll::Ready(Some(Err(status))) => {
                    self.end = Some(End::Failed(status));
                    break;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if answers.len() > 1 {
            let batch = AttachAnswers { answers };
            return AttachResponse {
                call_id: 0,
                result: Some(Told::Batch(batch)),
            };
        }
        answers.pop().unwrap_or_default()
    }
}

impl Stream for Attached {
    type Item = Result<AttachResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Looked at before: the answer that opens the session comes by itself.
        let batches = this.accepts_batches();
        match this.poll_answer(cx) {
            Poll::Ready(Some(Ok(first))) if batches => {
                Poll::Ready(Some(Ok(this.gather(first, cx))))
            }
            polled => polled,
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(open) = &self.session {
            open.session.untold(&mut self.news);
        }
    }
}

fn check_call_id(call_id: u64) -> Result<(), Invalid> {
    match call_id {
        0 => Err(Invalid::new("call_id", "must be at least 1, is 0")),
        _ => Ok(()),
    }
}

/// Checks a batch as such. The requests that it says are answered.
fn check_batch(call_id: u64, batch: &AttachBatch) -> Result<Vec<RequestId>, Invalid> {
    if call_id != 0 {
        return Err(Invalid::new(
            "call_id",
            format!("must be 0 for a batch, is {call_id}"),
        ));
    }
    let count = batch.requests.len();
    if !(1..=SESSION_BATCH_MAX).contains(&count) {
        let expected = format!("must be 1 to {SESSION_BATCH_MAX}, are {count}");
        return Err(Invalid::new("batch.requests", expected));
    }
    let field = "batch.answered_request_ids";
    let count = batch.answered_request_ids.len();
    if count > SESSION_BATCH_MAX {
        let expected = format!("must be at most {SESSION_BATCH_MAX}, are {count}");
        return Err(Invalid::new(field, expected));
    }
    let ids = batch.answered_request_ids.iter();
    ids.map(|id| RequestId::new(id))
        .collect::<Result<_, _>>()
        .map_err(|Invalid { expected, .. }| Invalid { field, expected })
}

fn not_opened() -> ApiError {
    Invalid::new("open", "must be the first message").into()
}

fn session_lease(request: OpenSession, ttl_default: Duration) -> Result<SessionLease, Invalid> {
    if request.lease_id.is_empty() {
        return Ok(SessionLease::New {
            id: crate::api::fresh_lease_id(),
            ttl: convert::ttl(request.ttl)?.unwrap_or(ttl_default),
            about: About::new(&request.owner, request.metadata)?,
        });
    }
    let field = if request.ttl.is_some() {
        "ttl"
    } else if !request.owner.is_empty() {
        "owner"
    } else if !request.metadata.is_empty() {
        "metadata"
    } else {
        return lease_id(&request.lease_id).map(SessionLease::Resume);
    };
    Err(Invalid::new(field, "must be absent together with lease_id"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    #[test]
    fn a_new_session_has_a_fresh_lease() {
        let Ok(SessionLease::New { ttl, about, .. }) = session_lease(OpenSession::default(), TTL)
        else {
            panic!("not a new lease");
        };
        assert_eq!(ttl, TTL);
        assert!(about.is_none());
    }

    #[test]
    fn a_session_taken_up_again_keeps_what_it_was() {
        let id = crate::api::lease_id_text(LeaseId(7));
        let resume = OpenSession {
            lease_id: id.clone(),
            ..Default::default()
        };
        let lease = session_lease(resume.clone(), TTL).unwrap();
        assert!(matches!(lease, SessionLease::Resume(LeaseId(7))));
        let refused = |change: fn(&mut OpenSession)| {
            let mut request = resume.clone();
            change(&mut request);
            session_lease(request, TTL).unwrap_err().field
        };
        assert_eq!(refused(|r| r.ttl = Some(Default::default())), "ttl");
        assert_eq!(refused(|r| r.owner = "me".into()), "owner");
        assert_eq!(
            refused(|r| drop(r.metadata.insert("k".into(), "v".into()))),
            "metadata"
        );
        assert_eq!(refused(|r| r.lease_id = "x".into()), "lease_id");
    }
}
