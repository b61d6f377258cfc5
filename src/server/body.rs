//! A request's body, with a bound on its time.
//!
//! A client that sends its body a byte at a time would otherwise keep a call open for as long as it
//! likes. Streams of gRPC are exempt: they may be silent, and pings tell whether their peer lives.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// The body did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not end within {0:?}")]
pub struct BodyTimedOut(pub Duration);

pin_project! {
    /// A body that fails when it has not ended by its deadline.
    pub(super) struct TimedBody<B> {
        #[pin]
        inner: B,
        started: Instant,
        limit: Duration,
        // Only where the body is not there at once: most are.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<B> TimedBody<B> {
    /// The time runs from now.
    pub(super) fn new(inner: B, limit: Duration) -> TimedBody<B> {
        TimedBody {
            inner,
            started: Instant::now(),
            limit,
            timer: None,
        }
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = *this.started + *this.limit;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyTimedOut(*this.limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
