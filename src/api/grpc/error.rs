//! The gRPC face of errors: statuses with their details, and errors of single calls on a stream.
//!
//! Codes and reasons come from the one table in [`crate::api::error`]; nothing is chosen here.

use std::collections::HashMap;

use http::{HeaderMap, Response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::MESSAGE_BYTES_MAX;
use super::convert::proto_duration;
use crate::api::{ApiError, Reason};
use crate::core::Invalid;
use crate::proto::v1::CallError;
use crate::shard::Failure;

/// The domain of every `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "holdfast";

/// The header that carries a status' details. tonic's own statuses have none.
const DETAILS_HEADER: &str = "grpc-status-details-bin";

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let code = error.reason.grpc_code();
        let mut about = HashMap::new();
        // Only the first holder: statuses travel in headers, which are small.
        if let Some(holder) = error.holders.first() {
            about.insert("fencing_token".to_owned(), holder.fencing_token.to_string());
            if let Some(holder) = &holder.about {
                about.insert("owner".to_owned(), holder.owner().to_owned());
            }
            if let Some(expires_in) = holder.expires_in {
                let expires_in = proto_duration(expires_in).to_string();
                about.insert("expires_in".to_owned(), expires_in);
            }
        }
        if let Some(mismatch) = &error.mismatch {
            about.insert("revision".to_owned(), mismatch.revision().to_string());
        }
        let mut details = ErrorDetails::new();
        if let Some(field) = error.field {
            about.insert("field".to_owned(), field.to_owned());
            if code == Code::InvalidArgument {
                details.add_bad_request_violation(field, expected(&error.message, field));
            }
        }
        details.set_error_info(error.reason.as_str(), ERROR_DOMAIN, about);
        if let Some(pause) = error.reason.retry_after() {
            details.set_retry_info(Some(pause));
        }
        Status::with_error_details(code, error.message, details)
    }
}

/// What the message says of the field beyond its name.
fn expected<'a>(message: &'a str, field: &str) -> &'a str {
    message
        .strip_prefix(field)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(message)
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Status {
        ApiError::from(invalid).into()
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        ApiError::from(failure).into()
    }
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> CallError {
        CallError {
            code: error.reason.grpc_code() as u32,
            reason: error.reason.as_str().to_owned(),
            message: error.message,
            field: error.field.unwrap_or_default().to_owned(),
            retry_after: error.reason.retry_after().map(proto_duration),
        }
    }
}

/// An answer that does not fit its question.
pub(super) fn misfit() -> ApiError {
    ApiError::new(
        Reason::Internal,
        "the server answered another question than was asked; please report this",
    )
}

/// What tonic itself says of a request that it can't read, in the service's own words.
fn unreadable(code: Code, message: &str, bytes_max: usize) -> Option<ApiError> {
    match code {
        Code::Internal => Some(ApiError::new(
            Reason::InvalidArgument,
            format!("the request can't be read: {message}"),
        )),
        Code::OutOfRange => Some(ApiError::new(
            Reason::BodyTooLarge,
            format!("a message must have at most {bytes_max} bytes"),
        )),
        Code::Unimplemented if message.is_empty() => Some(ApiError::new(
            Reason::NoSuchPath,
            "this service has no such method",
        )),
        _ => None,
    }
}

/// The status of a stream whose caller sent what can't be read, where messages have at most so many
/// bytes.
pub(super) fn unreadable_stream(status: Status, bytes_max: usize) -> Status {
    unreadable(status.code(), status.message(), bytes_max).map_or(status, Status::from)
}

/// Gives what tonic itself answers to an unreadable unary request the shape of all other errors.
pub(super) fn explain<B>(mut response: Response<B>) -> Response<B> {
    if let Some(status) = explanation(response.headers()) {
        // Without details the header set is as tonic made it, so this only replaces.
        if status.add_header(response.headers_mut()).is_err() {
            tracing::error!("a status does not fit into headers");
        }
    }
    response
}

fn explanation(headers: &HeaderMap) -> Option<Status> {
    if !headers.contains_key("grpc-status") || headers.contains_key(DETAILS_HEADER) {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    unreadable(status.code(), status.message(), MESSAGE_BYTES_MAX).map(Status::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::core::{About, HolderView, LockName, LockView, Mode, Refusal, WallTime};

    #[test]
    fn every_reason_has_a_code_and_details_that_decode() {
        for &reason in Reason::ALL {
            let status = Status::from(ApiError::new(reason, "why"));
            assert_eq!(status.code(), reason.grpc_code());
            assert_ne!(status.code(), Code::Ok);
            assert_eq!(status.message(), "why");
            let details = status.check_error_details().unwrap();
            let info = details.error_info().unwrap();
            assert_eq!(info.reason, reason.as_str());
            assert_eq!(info.domain, "holdfast");
            assert_eq!(
                details.retry_info().and_then(|retry| retry.retry_delay),
                reason.retry_after()
            );
        }
    }

    #[test]
    fn a_bad_field_is_named_with_its_bound() {
        let status = Status::from(Invalid::new("ttl", "must be 1 to 2, is 3"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "ttl");
        assert_eq!(violation.description, "must be 1 to 2, is 3");
    }

    fn held() -> ApiError {
        let about = About::trusted("ci-42", Default::default());
        let holder = HolderView {
            fencing_token: 7,
            mode: Mode::Exclusive,
            about: Some(Arc::clone(&about)),
            acquired_at: WallTime(0),
            expires_in: Some(Duration::from_millis(1500)),
            ttl: Some(Duration::from_secs(2)),
            open: false,
        };
        let view = LockView {
            name: LockName::new("deploy").unwrap(),
            holders: vec![holder],
            holder_count: 1,
            waiter_count: 0,
            reserved: false,
            held_back_for: None,
        };
        Refusal::LockHeld(Box::new(view)).into()
    }

    #[test]
    fn who_holds_a_lock_is_told() {
        let status = Status::from(held());
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_error_details();
        let about = &details.error_info().unwrap().metadata;
        assert_eq!(about["owner"], "ci-42");
        assert_eq!(about["fencing_token"], "7");
        assert_eq!(about["expires_in"], "1.500s");
    }

    #[test]
    fn a_call_on_a_stream_fails_with_the_same_words() {
        let error = CallError::from(held());
        assert_eq!(error.code, Code::FailedPrecondition as u32);
        assert_eq!(error.reason, "LOCK_HELD");
        assert_eq!(error.retry_after, None);
        let error = CallError::from(ApiError::from(Failure::Overloaded));
        assert_eq!(error.retry_after.unwrap().nanos, 100_000_000);
    }

    #[test]
    fn what_tonic_says_by_itself_gets_details() {
        for (code, reason) in [
            (Code::Internal, "INVALID_ARGUMENT"),
            (Code::OutOfRange, "BODY_TOO_LARGE"),
        ] {
            let response = explain(Status::new(code, "x").into_http::<()>());
            let status = Status::from_header_map(response.headers()).unwrap();
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, reason);
        }
    }

    #[test]
    fn what_the_service_says_stays_as_it_is() {
        let status = Status::from(ApiError::new(Reason::Internal, "a defect"));
        let response = explain(status.into_http::<()>());
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "a defect");
    }
}
