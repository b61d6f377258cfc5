//! The caller's deadline, from the header `grpc-timeout`.
//!
//! Nothing under axum enforces it, so each call is bounded here. A call that runs out of time is
//! dropped, which takes it out of its line just as a hang-up does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_stream::Stream;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::api::{ApiError, Reason};
use crate::core::Invalid;

const HEADER: &str = "grpc-timeout";
/// The most digits that the protocol allows.
const DIGITS_MAX: usize = 8;
/// Deadlines beyond this are none: no call lasts so long.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Until when a caller waits; `None`: for as long as it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// Reads the deadline of a request that has just arrived.
    pub(super) fn of(metadata: &MetadataMap) -> Result<Deadline, Invalid> {
        let Some(value) = metadata.get(HEADER) else {
            return Ok(Deadline(None));
        };
        let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| {
            Invalid::new(HEADER, "must be 1 to 8 digits and one of H, M, S, m, u, n")
        })?;
        let at = (timeout <= TIMEOUT_MAX)
            .then(|| Instant::now().checked_add(timeout))
            .flatten();
        Ok(Deadline(at))
    }

    /// Runs `work` until the deadline, at which it is dropped.
    pub(super) async fn bound<F: Future>(self, work: F) -> Result<F::Output, ApiError> {
        match self.0 {
            None => Ok(work.await),
            Some(at) => timeout_at(at, work).await.map_err(|_| passed()),
        }
    }

    /// Lets `stream` run until the deadline, at which it is dropped.
    pub(super) fn bound_stream<S>(self, stream: S) -> UntilDeadline<S> {
        UntilDeadline {
            stream: Some(stream),
            end: self.0.map(|at| Box::pin(sleep_until(at))),
        }
    }
}

fn passed() -> ApiError {
    ApiError::new(
        Reason::DeadlineExceeded,
        "the call's deadline has passed; a place in line was given up, and whether a change was made is unknown",
    )
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// A stream of answers that ends at a deadline.
pub struct UntilDeadline<S> {
    /// `None`: it is over.
    stream: Option<S>,
    end: Option<Pin<Box<Sleep>>>,
}

impl<T, S: Stream<Item = Result<T, Status>> + Unpin> Stream for UntilDeadline<S> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(item) = Pin::new(stream).poll_next(cx) {
            return Poll::Ready(item);
        }
        if let Some(end) = &mut this.end
            && end.as_mut().poll(cx).is_ready()
        {
            this.stream = None;
            return Poll::Ready(Some(Err(passed().into())));
        }
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio_stream::{StreamExt as _, pending};
    use tonic::Code;

    use super::*;

    fn of(text: &str) -> Result<Deadline, Invalid> {
        let mut metadata = MetadataMap::new();
        metadata.insert(HEADER, text.parse().unwrap());
        Deadline::of(&metadata)
    }

    #[test]
    fn every_unit_is_read() {
        for (text, millis) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("4m", 4),
            ("5000u", 5),
            ("6000000n", 6),
            ("99999999m", 99_999_999),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_out_is_refused_by_name() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "1é",
        ] {
            let error = of(text).unwrap_err();
            assert_eq!(error.field, "grpc-timeout", "{text}");
        }
    }

    #[test]
    fn a_deadline_beyond_all_calls_is_none() {
        assert!(of("99999999H").unwrap().0.is_none());
        assert!(Deadline::of(&MetadataMap::new()).unwrap().0.is_none());
    }

    #[tokio::test]
    async fn a_call_ends_at_its_deadline() {
        let deadline = of("1m").unwrap();
        let error = deadline.bound(std::future::pending::<()>()).await;
        assert_eq!(error.unwrap_err().reason, Reason::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_stream_ends_at_its_deadline_with_one_status() {
        let mut stream = of("1m")
            .unwrap()
            .bound_stream(pending::<Result<(), Status>>());
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(stream.next().await.is_none());
    }
}
