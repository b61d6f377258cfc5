//! The one table from what can go wrong to its faces: reason, gRPC code and HTTP status.
//!
//! Every adapter turns its failures into an [`ApiError`] and that into its own shape; none chooses a
//! code or a status by itself.

use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use crate::core::{HolderView, Invalid, LockName, LockView, Mismatch, Refusal, TicketEnd};
use crate::shard::Failure;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident => $word:literal, $code:ident, $status:ident;)*) => {
        /// A stable word for what went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $word,)* }
            }

            /// What it means, as a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// The gRPC code.
            pub fn grpc_code(self) -> Code {
                match self { $(Reason::$name => Code::$code,)* }
            }

            /// The HTTP status.
            pub fn http_status(self) -> StatusCode {
                match self { $(Reason::$name => StatusCode::$status,)* }
            }
        }
    };
}

reasons! {
    /// A field is out of its bounds.
    InvalidArgument => "INVALID_ARGUMENT", InvalidArgument, BAD_REQUEST;
    /// The request id was used with other parameters.
    RequestIdReused => "REQUEST_ID_REUSED", InvalidArgument, UNPROCESSABLE_ENTITY;
    /// The body is larger than is read.
    BodyTooLarge => "BODY_TOO_LARGE", ResourceExhausted, PAYLOAD_TOO_LARGE;
    /// The body is of a type that is not read.
    UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE", InvalidArgument, UNSUPPORTED_MEDIA_TYPE;
    /// Nothing is served under this path.
    NoSuchPath => "NO_SUCH_PATH", Unimplemented, NOT_FOUND;
    /// The path takes other methods.
    MethodNotAllowed => "METHOD_NOT_ALLOWED", Unimplemented, METHOD_NOT_ALLOWED;
    /// The API token is missing or unknown.
    Unauthenticated => "UNAUTHENTICATED", Unauthenticated, UNAUTHORIZED;
    /// The API token's role does not allow it.
    PermissionDenied => "PERMISSION_DENIED", PermissionDenied, FORBIDDEN;
    /// The lock can't be had at once.
    LockHeld => "LOCK_HELD", FailedPrecondition, LOCKED;
    /// The lock could not be had in time.
    WaitTimedOut => "WAIT_TIMED_OUT", DeadlineExceeded, LOCKED;
    /// The caller's own deadline has passed; the outcome is unknown.
    DeadlineExceeded => "DEADLINE_EXCEEDED", DeadlineExceeded, GATEWAY_TIMEOUT;
    /// The token is not of a current grant.
    NotHolder => "NOT_HOLDER", FailedPrecondition, CONFLICT;
    /// The lock is neither held nor reserved.
    LockNotFound => "LOCK_NOT_FOUND", NotFound, NOT_FOUND;
    /// There is no value under the key.
    ValueNotFound => "VALUE_NOT_FOUND", NotFound, NOT_FOUND;
    /// The value has another revision than was expected.
    RevisionMismatch => "REVISION_MISMATCH", Aborted, CONFLICT;
    /// There is no such FIFO.
    FifoNotFound => "FIFO_NOT_FOUND", NotFound, NOT_FOUND;
    /// There is a FIFO with this id.
    FifoExists => "FIFO_EXISTS", AlreadyExists, CONFLICT;
    /// The ticket is done or never was.
    TicketNotFound => "TICKET_NOT_FOUND", NotFound, NOT_FOUND;
    /// The ticket was not accepted or not done in time.
    TicketLapsed => "TICKET_LAPSED", FailedPrecondition, GONE;
    /// The ticket ended while the call waited for its turn.
    TicketEnded => "TICKET_ENDED", Aborted, GONE;
    /// The ticket's turn did not come in time.
    TurnTimedOut => "TURN_TIMED_OUT", DeadlineExceeded, REQUEST_TIMEOUT;
    /// The ticket's turn has not been accepted.
    TicketNotAccepted => "TICKET_NOT_ACCEPTED", FailedPrecondition, CONFLICT;
    /// There is no such webhook.
    WebhookNotFound => "WEBHOOK_NOT_FOUND", NotFound, NOT_FOUND;
    /// The webhook does not wait for its turn any more.
    WebhookNotWaiting => "WEBHOOK_NOT_WAITING", FailedPrecondition, CONFLICT;
    /// The delivery has ended.
    DeliveryEnded => "DELIVERY_ENDED", FailedPrecondition, CONFLICT;
    /// The lease has ended or never was.
    LeaseNotFound => "LEASE_NOT_FOUND", NotFound, NOT_FOUND;
    /// The lease ended meanwhile.
    LeaseExpired => "LEASE_EXPIRED", Aborted, GONE;
    /// The caller took back its call.
    Cancelled => "CANCELLED", Cancelled, CONFLICT;
    /// Another stream took up the session.
    SessionTaken => "SESSION_TAKEN", Aborted, CONFLICT;
    /// There is no room for one more.
    LimitReached => "LIMIT_REACHED", ResourceExhausted, TOO_MANY_REQUESTS;
    /// Too much is under way.
    Overloaded => "OVERLOADED", ResourceExhausted, TOO_MANY_REQUESTS;
    /// A reader did not keep up with its stream.
    SlowReader => "SLOW_READER", ResourceExhausted, TOO_MANY_REQUESTS;
    /// The store has no room.
    StorageFull => "STORAGE_FULL", ResourceExhausted, INSUFFICIENT_STORAGE;
    /// The store failed; the outcome is unknown.
    Unavailable => "UNAVAILABLE", Unavailable, SERVICE_UNAVAILABLE;
    /// The server is stopping.
    Stopping => "STOPPING", Unavailable, SERVICE_UNAVAILABLE;
    /// The method comes with a later version.
    NotImplemented => "NOT_IMPLEMENTED", Unimplemented, NOT_IMPLEMENTED;
    /// A defect of the server.
    Internal => "INTERNAL", Internal, INTERNAL_SERVER_ERROR;
}

impl Reason {
    /// When to try again at the earliest, where trying again as it is can help.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Reason::Overloaded => Some(Duration::from_millis(100)),
            Reason::Unavailable | Reason::Stopping => Some(Duration::from_secs(1)),
            Reason::StorageFull | Reason::LimitReached => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

/// What went wrong, for any surface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The stable word.
    pub reason: Reason,
    /// For people to read.
    pub message: String,
    /// The field at fault.
    pub field: Option<&'static str>,
    /// Who holds the lock that could not be had.
    pub holders: Vec<HolderView>,
    /// What stands where another revision was expected.
    pub mismatch: Option<Box<Mismatch>>,
}

impl ApiError {
    /// An error about no field.
    pub fn new(reason: Reason, message: impl Into<String>) -> ApiError {
        ApiError {
            reason,
            message: message.into(),
            field: None,
            holders: Vec::new(),
            mismatch: None,
        }
    }

    /// A grant token that proves nothing for `lock`.
    pub fn not_holder(lock: &LockName) -> ApiError {
        ApiError::new(
            Reason::NotHolder,
            format!(
                "the token is not of a current grant of the lock {lock}: it was released, has expired, or was never given"
            ),
        )
    }

    fn held(reason: Reason, message: String, view: LockView) -> ApiError {
        ApiError {
            holders: view.holders,
            ..ApiError::new(reason, message)
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> ApiError {
        ApiError {
            field: Some(invalid.field),
            ..ApiError::new(Reason::InvalidArgument, invalid.to_string())
        }
    }
}

/// Who holds and how many wait, in a few words.
fn describe(view: &LockView) -> String {
    let waiting = format!("with {} waiting", view.waiter_count);
    if let (0, Some(left)) = (view.holder_count, view.held_back_for) {
        let seconds = left.as_secs_f64();
        return format!("back for {seconds:.1} s, as its holder lost it, {waiting}");
    }
    let owner = view
        .holders
        .first()
        .and_then(|holder| holder.about.as_ref())
        .map(|about| about.owner())
        .filter(|owner| !owner.is_empty());
    let by = match owner {
        Some(owner) if view.holder_count > 1 => {
            format!("by {owner} and {} more", view.holder_count - 1)
        }
        Some(owner) => format!("by {owner}"),
        None => format!("by {} holder(s)", view.holder_count),
    };
    format!("{by}, {waiting}")
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        match refusal {
            Refusal::Invalid(invalid) => invalid.into(),
            Refusal::LockHeld(view) => {
                let message = format!("the lock {} is held {}", view.name, describe(&view));
                ApiError::held(Reason::LockHeld, message, *view)
            }
            Refusal::WaitTimedOut(view) => {
                let message = format!(
                    "the lock {} was not granted in time; it is held {}",
                    view.name,
                    describe(&view)
                );
                ApiError::held(Reason::WaitTimedOut, message, *view)
            }
            Refusal::NotHolder(lock) => ApiError::not_holder(&lock),
            Refusal::LockNotFound(lock) => ApiError::new(
                Reason::LockNotFound,
                format!("the lock {lock} is neither held nor reserved"),
            ),
            Refusal::ValueNotFound(key) => ApiError::new(
                Reason::ValueNotFound,
                format!("there is no value under the key {key}"),
            ),
            Refusal::RevisionMismatch(found) => {
                let message = match &found.current {
                    Some(value) => format!(
                        "the value under the key {} has the revision {}, not the expected one",
                        found.key, value.revision
                    ),
                    None => format!(
                        "there is no value under the key {}, so it has no revision",
                        found.key
                    ),
                };
                ApiError {
                    mismatch: Some(found),
                    ..ApiError::new(Reason::RevisionMismatch, message)
                }
            }
            Refusal::FifoNotFound(id) => {
                ApiError::new(Reason::FifoNotFound, format!("there is no FIFO {id}"))
            }
            Refusal::FifoExists(id) => {
                ApiError::new(Reason::FifoExists, format!("there is a FIFO {id} already"))
            }
            Refusal::TicketNotFound(id) => ApiError::new(
                Reason::TicketNotFound,
                format!("the ticket {id} is done, was cancelled, or never was"),
            ),
            Refusal::TicketLapsed(id) => ApiError::new(
                Reason::TicketLapsed,
                format!("the ticket {id} was not accepted or not done in time"),
            ),
            Refusal::TicketEnded(id, end) => {
                let how = match end {
                    TicketEnd::Done => "was done",
                    TicketEnd::Cancelled => "was cancelled",
                    TicketEnd::Deleted => "ended with its FIFO",
                };
                ApiError::new(
                    Reason::TicketEnded,
                    format!("the ticket {id} {how} before its turn came"),
                )
            }
            Refusal::TurnTimedOut(id, standing) => ApiError::new(
                Reason::TurnTimedOut,
                format!(
                    "the turn of the ticket {id} did not come in time; it stays in line, at position {}",
                    standing.position
                ),
            ),
            Refusal::TicketNotAccepted(id) => ApiError::new(
                Reason::TicketNotAccepted,
                format!("the turn of the ticket {id} has not been accepted: wait for it first"),
            ),
            Refusal::WebhookNotFound(id) => ApiError::new(
                Reason::WebhookNotFound,
                format!("there is no webhook {id}, or it was over long ago"),
            ),
            Refusal::WebhookNotWaiting(id) => ApiError::new(
                Reason::WebhookNotWaiting,
                format!(
                    "the webhook {id} does not wait for its turn any more: release its lock instead"
                ),
            ),
            Refusal::DeliveryEnded(queue) => ApiError::new(
                Reason::DeliveryEnded,
                format!(
                    "the receipt is not of a current delivery of the queue {queue}: the item was acknowledged, returned, or not acknowledged in time"
                ),
            ),
            Refusal::LeaseNotFound => ApiError {
                field: Some("lease_id"),
                ..ApiError::new(Reason::LeaseNotFound, "the lease has ended or never was")
            },
            Refusal::LeaseExpired => ApiError::new(
                Reason::LeaseExpired,
                "the lease ended, and all that hung on it",
            ),
            Refusal::Cancelled => ApiError::new(Reason::Cancelled, "the call was taken back"),
            Refusal::SessionTaken => ApiError::new(
                Reason::SessionTaken,
                "another stream took up this session's lease",
            ),
            Refusal::RequestIdReused(id) => ApiError {
                field: Some("request_id"),
                ..ApiError::new(
                    Reason::RequestIdReused,
                    format!("the request id {id} was used with other parameters"),
                )
            },
            Refusal::LimitReached { what, max } => ApiError::new(
                Reason::LimitReached,
                format!("there is no room for more {what}: at most {max}"),
            ),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> ApiError {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Overloaded => ApiError::new(
                Reason::Overloaded,
                "too much is under way; nothing was changed",
            ),
            Failure::StorageFull => ApiError::new(
                Reason::StorageFull,
                "the server's disk is full; ask again, with the same request id, once there is room",
            ),
            Failure::Stopping => ApiError::new(
                Reason::Stopping,
                "the server is stopping; ask again in a moment",
            ),
            Failure::Unavailable => ApiError::new(
                Reason::Unavailable,
                "the store failed and the outcome is unknown; ask again, with the same request id",
            ),
        }
    }
}
