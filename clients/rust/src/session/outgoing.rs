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
