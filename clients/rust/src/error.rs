//! What can go wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::convert;
use crate::proto::CallError;

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// The domain of the server's `google.rpc.ErrorInfo`.
const DOMAIN: &str = "holdfast";

/// What the server said of an error. Where the client found it out by itself the reason is in small
/// letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The stable word, such as `LOCK_HELD`.
    pub reason: String,
    /// What went wrong, for people to read.
    pub message: String,
    /// When trying again may help at the earliest.
    pub retry_after: Option<Duration>,
    /// More, such as the `owner` of a lock that is held.
    pub metadata: BTreeMap<String, String>,
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds the lock, and the call was not to wait.
    #[error("{0}")]
    Held(Details),
    /// What the call waited for did not come in time.
    #[error("{0}")]
    WaitTimedOut(Details),
    /// What was held is held no more: its lease has ended, or this client has to assume so.
    #[error("{0}")]
    Lost(Details),
    /// The proof that came with the call is not of a current hold or delivery.
    #[error("{0}")]
    NotHolder(Details),
    /// A limit has been reached, or too much is under way.
    #[error("{0}")]
    Limit(Details),
    /// The server can't be reached or did not answer in time: the outcome of a change is unknown.
    #[error("{0}")]
    Unavailable(Details),
    /// The API token is missing or unknown.
    #[error("{0}")]
    Unauthenticated(Details),
    /// The API token's role does not allow it.
    #[error("{0}")]
    PermissionDenied(Details),
    /// A field is out of its bounds.
    #[error("{details}")]
    Invalid {
        /// The field; empty: none in particular.
        field: String,
        /// What the server said.
        details: Details,
    },
    /// What the call names is not there.
    #[error("{0}")]
    NotFound(Details),
    /// The value has another revision than was expected.
    #[error("{details}")]
    RevisionMismatch {
        /// The revision that it has; 0: there is no value.
        revision: u64,
        /// What the server said.
        details: Details,
    },
    /// Anything else.
    #[error("{0}")]
    Other(Details),
}

impl Error {
    /// What the server said.
    pub fn details(&self) -> &Details {
        match self {
            Error::Held(details)
            | Error::WaitTimedOut(details)
            | Error::Lost(details)
            | Error::NotHolder(details)
            | Error::Limit(details)
            | Error::Unavailable(details)
            | Error::Unauthenticated(details)
            | Error::PermissionDenied(details)
            | Error::NotFound(details)
            | Error::Other(details)
            | Error::Invalid { details, .. }
            | Error::RevisionMismatch { details, .. } => details,
        }
    }

    /// The stable word.
    pub fn reason(&self) -> &str {
        &self.details().reason
    }

    /// When trying again may help at the earliest.
    pub fn retry_after(&self) -> Option<Duration> {
        self.details().retry_after
    }

    /// Whether the same call, with the same request id, may be made again by itself.
    pub(crate) fn may_be_retried(&self) -> bool {
        matches!(self, Error::Unavailable(_)) || self.reason() == "OVERLOADED"
    }

    /// Whether a lease that the call hung on has ended.
    pub(crate) fn is_end_of_lease(&self) -> bool {
        matches!(self, Error::Lost(_)) || self.reason() == "LEASE_NOT_FOUND"
    }

    pub(crate) fn lost(message: impl Into<String>) -> Error {
        Error::Lost(own("lost", message))
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Error {
        Error::Unavailable(own("unreachable", message))
    }

    pub(crate) fn limit(message: impl Into<String>) -> Error {
        Error::Limit(own("too_many_calls", message))
    }

    pub(crate) fn closed() -> Error {
        Error::Unavailable(own("closed", "the client has been closed"))
    }

    pub(crate) fn invalid(field: &str, message: impl fmt::Display) -> Error {
        Error::Invalid {
            field: field.to_owned(),
            details: own("invalid", format!("{field}: {message}")),
        }
    }

    /// What does not fit the question.
    pub(crate) fn misfit() -> Error {
        Error::Other(own("misfit", "the server answered another question"))
    }

    fn new(code: Code, field: String, details: Details) -> Error {
        match details.reason.as_str() {
            "LOCK_HELD" => Error::Held(details),
            "WAIT_TIMED_OUT" | "TURN_TIMED_OUT" => Error::WaitTimedOut(details),
            "LEASE_EXPIRED" | "SESSION_TAKEN" | "TICKET_LAPSED" | "TICKET_ENDED" => {
                Error::Lost(details)
            }
            "NOT_HOLDER" | "DELIVERY_ENDED" | "TICKET_NOT_ACCEPTED" => Error::NotHolder(details),
            "REVISION_MISMATCH" => Error::RevisionMismatch {
                revision: details
                    .metadata
                    .get("revision")
                    .and_then(|revision| revision.parse().ok())
                    .unwrap_or_default(),
                details,
            },
            _ => match code {
                Code::InvalidArgument => Error::Invalid { field, details },
                Code::ResourceExhausted => Error::Limit(details),
                Code::Unavailable | Code::DeadlineExceeded => Error::Unavailable(details),
                Code::Unauthenticated => Error::Unauthenticated(details),
                Code::PermissionDenied => Error::PermissionDenied(details),
                Code::NotFound => Error::NotFound(details),
                // Without a reason it is not the server's word: the connection broke.
                Code::Unknown | Code::Internal | Code::Cancelled if details.reason.is_empty() => {
                    Error::Unavailable(Details {
                        reason: "unreachable".to_owned(),
                        ..details
                    })
                }
                _ => Error::Other(details),
            },
        }
    }
}

/// What the client says by itself.
fn own(reason: &str, message: impl Into<String>) -> Details {
    Details {
        reason: reason.to_owned(),
        message: message.into(),
        ..Details::default()
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        let said = status.get_error_details();
        let info = said.error_info().filter(|info| info.domain == DOMAIN);
        let metadata: BTreeMap<_, _> = info
            .map(|info| info.metadata.clone().into_iter().collect())
            .unwrap_or_default();
        let field = metadata.get("field").cloned().unwrap_or_default();
        let details = Details {
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            retry_after: said.retry_info().and_then(|retry| retry.retry_delay),
            metadata,
        };
        Error::new(status.code(), field, details)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        let code = i32::try_from(error.code).map_or(Code::Unknown, Code::from);
        let details = Details {
            reason: error.reason,
            message: error.message,
            retry_after: error.retry_after.map(convert::duration),
            metadata: BTreeMap::new(),
        };
        Error::new(code, error.field, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: Code, reason: &str) -> Error {
        CallError {
            code: code as u32,
            reason: reason.to_owned(),
            ..CallError::default()
        }
        .into()
    }

    #[test]
    fn reasons_count_for_more_than_codes() {
        assert!(matches!(
            said(Code::FailedPrecondition, "LOCK_HELD"),
            Error::Held(_)
        ));
        assert!(matches!(
            said(Code::DeadlineExceeded, "WAIT_TIMED_OUT"),
            Error::WaitTimedOut(_)
        ));
        assert!(matches!(
            said(Code::Aborted, "LEASE_EXPIRED"),
            Error::Lost(_)
        ));
        assert!(matches!(
            said(Code::ResourceExhausted, "LIMIT_REACHED"),
            Error::Limit(_)
        ));
        assert!(matches!(
            said(Code::Aborted, "SOMETHING_NEW"),
            Error::Other(_)
        ));
    }

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        assert!(said(Code::Unavailable, "STOPPING").may_be_retried());
        assert!(said(Code::ResourceExhausted, "OVERLOADED").may_be_retried());
        assert!(Error::from(Status::unknown("transport error")).may_be_retried());
        assert!(!said(Code::ResourceExhausted, "STORAGE_FULL").may_be_retried());
        assert!(!said(Code::Internal, "INTERNAL").may_be_retried());
        assert!(!said(Code::FailedPrecondition, "LOCK_HELD").may_be_retried());
    }
}
