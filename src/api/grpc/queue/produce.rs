//! Produce: many enqueues on one stream.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};

use foldhash::fast::RandomState;
use tokio_stream::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use super::super::{MESSAGE_BYTES_MAX, STREAM_BATCH_MAX, STREAM_UNANSWERED_MAX, error};
use crate::api::{Api, ApiError};
use crate::core::{Answer, Command, Invalid, Namespace, QueueAnswer, QueueCommand};
use crate::proto::v1::produce_response::Outcome as Told;
use crate::proto::v1::{EnqueueResponse, ProduceRequest, ProduceResponse};
use crate::shard::{Calls, Failure, Outcome, SessionNews};

/// About the most bytes of items of one stream that are without an answer before no more are read.
const UNANSWERED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The answers of Produce. It reads the caller's messages and is read for the answers in one task, so
/// a caller that does not read its answers is not read from.
pub struct Produced {
    /// Ends a silent stream when the server stops.
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// `None`: the caller sends no more, or is not to.
    inbound: Option<Streaming<ProduceRequest>>,
    calls: Calls,
    /// The caller's numbers and the sizes of items without an answer, by our own numbers: the
    /// caller's need not differ.
    unanswered: HashMap<u64, (u64, usize), RandomState>,
    unanswered_bytes: usize,
    last_number: u64,
    /// Items that were read and are about to be handed to the shard.
    read: Vec<(u64, Command)>,
    /// Answers that needed no shard.
    own: VecDeque<ProduceResponse>,
    /// Replies to tell, the oldest last.
    news: Vec<SessionNews>,
    /// What broke the stream, told after the answers to what came before.
    broken: Option<Status>,
}

impl Produced {
    pub(super) fn new(
        api: &Api,
        namespace: &Namespace,
        inbound: Streaming<ProduceRequest>,
    ) -> Produced {
        Produced {
            stopping: Box::pin(api.stopping()),
            inbound: Some(inbound),
            calls: api.shard(namespace).calls(namespace),
            unanswered: HashMap::default(),
            unanswered_bytes: 0,
            last_number: 0,
            read: Vec::new(),
            own: VecDeque::new(),
            news: Vec::new(),
            broken: None,
        }
    }

    /// Reads what the caller has sent, and hands its items to the shard in one go. True where there
    /// may be more to read.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut messages = 0;
        let mut more = true;
        while messages < STREAM_BATCH_MAX
            && let Some(inbound) = &mut self.inbound
        {
            if self.unanswered.len() >= STREAM_UNANSWERED_MAX
                || self.unanswered_bytes >= UNANSWERED_BYTES_MAX
            {
                more = false;
                break;
            }
            match Pin::new(inbound).poll_next(cx) {
                Poll::Pending => {
                    more = false;
                    break;
                }
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Err(status))) => {
                    self.broken = Some(error::unreadable_stream(status, MESSAGE_BYTES_MAX));
                    self.inbound = None;
                }
                Poll::Ready(Some(Ok(message))) => {
                    messages += 1;
                    self.take(message);
                }
            }
        }
        if !self.read.is_empty() {
            self.calls.submit(std::mem::take(&mut self.read));
        }
        more && self.inbound.is_some()
    }

    fn take(&mut self, message: ProduceRequest) {
        let number = message.number;
        let command = message
            .enqueue
            .ok_or_else(|| Invalid::new("enqueue", "must say what to put where"))
            .and_then(super::enqueue);
        match command {
            Ok(command) => {
                let size = match &command {
                    QueueCommand::Enqueue { bytes, .. } => bytes.len(),
                    _ => 0,
                };
                self.last_number += 1;
                self.unanswered.insert(self.last_number, (number, size));
                self.unanswered_bytes += size;
                self.read.push((self.last_number, Command::Queue(command)));
            }
            Err(invalid) => self.own.push_back(ProduceResponse {
                number,
                outcome: Some(Told::Error(ApiError::from(invalid).into())),
            }),
        }
    }

    fn tell(&mut self, news: SessionNews) -> Option<ProduceResponse> {
        let SessionNews::Reply(of, outcome) = news else {
            return None;
        };
        let (number, size) = self.unanswered.remove(&of)?;
        self.unanswered_bytes -= size;
        Some(ProduceResponse {
            number,
            outcome: Some(told(outcome)),
        })
    }
}

fn told(outcome: Outcome) -> Told {
    match outcome {
        Ok(Answer::Queue(QueueAnswer::Enqueued(id))) => Told::Enqueued(EnqueueResponse { id }),
        Ok(_) => Told::Error(error::misfit().into()),
        Err(failure) => Told::Error(ApiError::from(failure).into()),
    }
}

impl Stream for Produced {
    type Item = Result<ProduceResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(answer) = this.own.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            while let Some(news) = this.news.pop() {
                if let Some(told) = this.tell(news) {
                    return Poll::Ready(Some(Ok(told)));
                }
            }
            let more = this.read(cx);
            if !this.own.is_empty() {
                continue;
            }
            if this.calls.poll_news(cx, &mut this.news).is_ready() {
                this.news.reverse();
                continue;
            }
            if this.inbound.is_some() && this.stopping.as_mut().poll(cx).is_ready() {
                this.inbound = None;
                this.broken = Some(Failure::Stopping.into());
            }
            if this.inbound.is_none() && this.unanswered.is_empty() {
                return Poll::Ready(this.broken.take().map(Err));
            }
            if more {
                // Others get their turn first.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }
}
