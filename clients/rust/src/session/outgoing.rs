//! What goes over a stream: whatever waits to be sent in one message, where the server takes that.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    beside: Arc<Beside>,
}

/// What goes with the calls.
#[derive(Debug, Default)]
struct Beside {
    /// Whether the server takes several messages in one.
    batches: AtomicBool,
    /// Request ids that the server may forget, told with the next calls.
    answered: Mutex<Vec<String>>,
}

impl Beside {
    fn answered(&self) -> MutexGuard<'_, Vec<String>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        self.beside.batches.store(true, Ordering::Relaxed);
    }

    /// The requests with these ids have been answered, and will not be made again. As many as go
    /// with the next calls are told; without a word the server forgets them in its own time.
    pub(super) fn answered(&self, ids: impl IntoIterator<Item = String>) {
        let mut answered = self.beside.answered();
        let room = BATCH_MAX.saturating_sub(answered.len());
        answered.extend(ids.into_iter().take(room));
    }
}

/// The other end of a [`Link`].
#[derive(Debug)]
pub(super) struct Outgoing {
    calls: mpsc::UnboundedReceiver<AttachRequest>,
    beside: Arc<Beside>,
}

/// A link and what goes over it.
pub(super) fn link() -> (Link, Outgoing) {
    let (sender, calls) = mpsc::unbounded_channel();
    let beside = Arc::<Beside>::default();
    let link = Link {
        calls: sender,
        beside: Arc::clone(&beside),
    };
    (link, Outgoing { calls, beside })
}

impl Stream for Outgoing {
    type Item = AttachRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AttachRequest>> {
        let this = self.get_mut();
        if !this.beside.batches.load(Ordering::Relaxed) {
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
        let answered_request_ids = std::mem::take(&mut *this.beside.answered());
        if requests.len() == 1 && answered_request_ids.is_empty() {
            return Poll::Ready(requests.pop());
        }
        let batch = AttachBatch {
            requests,
            answered_request_ids,
        };
        Poll::Ready(Some(AttachRequest {
            call_id: 0,
            call: Some(Call::Batch(batch)),
        }))
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

    #[tokio::test]
    async fn answered_requests_go_with_the_next_calls() {
        let (sender, mut outgoing) = link();
        sender.allow_batches();
        sender.answered(["a".to_owned(), "b".to_owned()]);
        sender.send(7, Call::Cancel(CancelCall::default()));
        let Some(Call::Batch(batch)) = outgoing.next().await.and_then(|message| message.call)
        else {
            panic!("no batch");
        };
        assert_eq!(batch.requests.len(), 1);
        assert_eq!(batch.answered_request_ids, ["a", "b"]);
        sender.send(8, Call::Cancel(CancelCall::default()));
        let next = outgoing.next().await.unwrap();
        assert_eq!(next.call_id, 8, "told once");
        sender.answered((0..2 * BATCH_MAX).map(|number| number.to_string()));
        sender.send(9, Call::Cancel(CancelCall::default()));
        let Some(Call::Batch(batch)) = outgoing.next().await.and_then(|message| message.call)
        else {
            panic!("no batch");
        };
        assert_eq!(batch.answered_request_ids.len(), BATCH_MAX);
    }
}
