//! What goes over a stream: whatever waits to be sent in one message, where the server takes that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use crate::limits::{BATCH_BYTES_MAX, BATCH_MAX};
use crate::proto::attach_request::Call;
use crate::proto::{AttachBatch, AttachRequest};

/// Where calls go.
#[derive(Debug)]
pub(super) struct Link {
    calls: mpsc::UnboundedSender<AttachRequest>,
    batches: Arc<AtomicBool>,
}

impl Link {
    /// Sends a message. A link that is gone is noticed by its own task, which has all calls sent
    /// again.
    pub(super) fn send(&self, call_id: u64, call: Call) {
        let call = Some(call);
        let _ = self.calls.send(AttachRequest { call_id, call });
    }

    /// The server takes several messages in one.
    pub(super) fn allow_batches(&self) {
        self.batches.store(true, Ordering::Relaxed);
    }
}

/// The other end of a [`Link`].
#[derive(Debug)]
pub(super) struct Outgoing {
    calls: mpsc::UnboundedReceiver<AttachRequest>,
    batches: Arc<AtomicBool>,
}

/// A link and what goes over it.
pub(super) fn link() -> (Link, Outgoing) {
    let (sender, calls) = mpsc::unbounded_channel();
    let batches = Arc::new(AtomicBool::new(false));
    let link = Link {
        calls: sender,
        batches: Arc::clone(&batches),
    };
    (link, Outgoing { calls, batches })
}

impl Stream for Outgoing {
    type Item = AttachRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AttachRequest>> {
        let this = self.get_mut();
        if !this.batches.load(Ordering::Relaxed) {
            return this.calls.poll_recv(cx);
        }
        let Some(first) = ready!(this.calls.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        let mut bytes = first.encoded_len();
        let mut requests = vec![first];
        while requests.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Poll::Ready(Some(request)) = this.calls.poll_recv(cx) else {
                break;
            };
            bytes += request.encoded_len();
            requests.push(request);
        }
        Poll::Ready(match requests.len() {
            1 => requests.pop(),
            _ => Some(AttachRequest {
                call_id: 0,
                call: Some(Call::Batch(AttachBatch { requests })),
            }),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::proto::{AcquireLockRequest, CancelCall};

    /// The numbers of the calls of each message that goes out.
    async fn numbers(outgoing: Outgoing) -> Vec<Vec<u64>> {
        let messages = outgoing.map(|message| match message.call {
            Some(Call::Batch(batch)) => {
                assert_eq!(message.call_id, 0);
                batch.requests.iter().map(|each| each.call_id).collect()
            }
            _ => vec![message.call_id],
        });
        messages.collect().await
    }

    #[tokio::test]
    async fn nothing_is_batched_before_the_server_allows_it() {
        let (sender, outgoing) = link();
        for number in 1..=3 {
            sender.send(number, Call::Cancel(CancelCall::default()));
        }
        drop(sender);
        assert_eq!(numbers(outgoing).await, [[1], [2], [3]]);
    }

    #[tokio::test]
    async fn what_waits_goes_in_one_message_in_its_order() {
        let (sender, outgoing) = link();
        sender.allow_batches();
        for number in 1..=100 {
            sender.send(number, Call::Cancel(CancelCall::default()));
        }
        drop(sender);
        assert_eq!(numbers(outgoing).await, [(1..=100).collect::<Vec<_>>()]);
        let (sender, outgoing) = link();
        sender.allow_batches();
        sender.send(7, Call::Cancel(CancelCall::default()));
        drop(sender);
        assert_eq!(numbers(outgoing).await, [[7]]);
    }

    #[tokio::test]
    async fn a_batch_is_bounded_by_number_and_by_bytes() {
        let (sender, outgoing) = link();
        sender.allow_batches();
        for number in 0..3_000 {
            sender.send(number, Call::Cancel(CancelCall::default()));
        }
        drop(sender);
        let sent = numbers(outgoing).await;
        assert!(sent.iter().all(|each| each.len() <= BATCH_MAX));
        assert_eq!(sent.concat(), (0..3_000).collect::<Vec<_>>());

        let (sender, outgoing) = link();
        sender.allow_batches();
        let large = AcquireLockRequest {
            owner: "o".repeat(BATCH_BYTES_MAX / 2),
            ..AcquireLockRequest::default()
        };
        for number in 0..5 {
            sender.send(number, Call::AcquireLock(large.clone()));
        }
        drop(sender);
        assert_eq!(numbers(outgoing).await, [vec![0, 1], vec![2, 3], vec![4]]);
    }
}
