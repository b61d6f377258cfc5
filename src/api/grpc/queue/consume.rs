//! Consume: items as they come, and acknowledgements on the same stream.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio_stream::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use super::super::{MESSAGE_BYTES_MAX, STREAM_BATCH_MAX, STREAM_UNANSWERED_MAX, convert, error};
use crate::api::{Api, ApiError};
use crate::core::limits::ACK_TIMEOUT_DEFAULT;
use crate::core::{
    Answer, Command, Delivery, Invalid, Namespace, QueueAnswer, QueueCommand, QueueName,
    check_window,
};
use crate::proto::v1::consume_request::Message;
use crate::proto::v1::consume_response::Event;
use crate::proto::v1::{ConsumeOpen, ConsumeRequest, ConsumeResponse, ConsumeSettled};
use crate::shard::{Calls, Failure, Outcome, SessionNews, Watch, WatchNews};

/// The most receipts of one message.
const RECEIPTS_MAX: usize = 1_000;

/// The answers of Consume. It reads the caller's messages and is read for the news in one task, so a
/// caller that does not read is not read from; and an item is taken from the shard only when it is
/// about to be sent, so that dropping the stream gives the others back.
pub struct Consumed {
    api: Api,
    namespace: Namespace,
    /// Ends a stream that was not opened when the server stops; one that was is told by the shard.
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// `None`: the caller sends no more.
    inbound: Option<Streaming<ConsumeRequest>>,
    /// `None`: the first message has not come, or the stream is ending.
    open: Option<Open>,
    calls: Calls,
    /// The receipts that were sent and have no answer, by our own numbers.
    unanswered: HashMap<u64, String, RandomState>,
    last_number: u64,
    /// What was read and is about to be handed to the shard.
    read: Vec<(u64, Command)>,
    /// Answers that needed no shard.
    own: VecDeque<ConsumeSettled>,
    /// Replies to tell, the oldest last.
    news: Vec<SessionNews>,
    /// How many items were sent since the caller's messages were looked at.
    unlooked: usize,
    /// How the stream ends once all is answered.
    end: Option<Result<(), Status>>,
}

struct Open {
    queue: QueueName,
    watch: Watch,
}

impl Consumed {
    pub(super) fn new(
        api: &Api,
        namespace: &Namespace,
        inbound: Streaming<ConsumeRequest>,
    ) -> Consumed {
        Consumed {
            api: api.clone(),
            namespace: namespace.clone(),
            stopping: Box::pin(api.stopping()),
            inbound: Some(inbound),
            open: None,
            calls: api.shard(namespace).calls(namespace),
            unanswered: HashMap::default(),
            last_number: 0,
            read: Vec::new(),
            own: VecDeque::new(),
            news: Vec::new(),
            unlooked: 0,
            end: None,
        }
    }

    /// Takes no more items and reads no more; what was asked is still answered.
    fn end(&mut self, end: Result<(), Status>) {
        self.inbound = None;
        // Dropping the watch gives back what was not sent.
        self.open = None;
        self.end.get_or_insert(end);
    }

    /// Reads what the caller has sent, and hands it to the shard in one go. True where there may be
    /// more to read.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        self.unlooked = 0;
        let mut messages = 0;
        let mut more = true;
        while messages < STREAM_BATCH_MAX
            && let Some(inbound) = &mut self.inbound
        {
            if self.unanswered.len() >= STREAM_UNANSWERED_MAX {
                more = false;
                break;
            }
            match Pin::new(inbound).poll_next(cx) {
                Poll::Pending => {
                    more = false;
                    break;
                }
                // Who sends no more has finished.
                Poll::Ready(None) if self.open.is_none() => self.end(Err(not_opened().into())),
                Poll::Ready(None) => self.end(Ok(())),
                Poll::Ready(Some(Err(status))) => {
                    self.end(Err(error::unreadable_stream(status, MESSAGE_BYTES_MAX)))
                }
                Poll::Ready(Some(Ok(message))) => {
                    messages += 1;
                    if let Err(error) = self.take(message) {
                        self.end(Err(error.into()));
                    }
                }
            }
        }
        if !self.read.is_empty() {
            self.calls.submit(std::mem::take(&mut self.read));
        }
        more && self.inbound.is_some()
    }

    /// Takes one message. What is wrong with it is answered in place, unless it is the first.
    fn take(&mut self, message: ConsumeRequest) -> Result<(), ApiError> {
        let Some(open) = &self.open else {
            let Some(Message::Open(open)) = message.message else {
                return Err(not_opened());
            };
            self.open = Some(self.start(open)?);
            return Ok(());
        };
        let queue = open.queue.clone();
        match message.message {
            Some(Message::Acknowledge(acknowledge)) => {
                let count = acknowledge.receipts.len();
                if count > RECEIPTS_MAX {
                    let expected = format!("must be at most {RECEIPTS_MAX}, are {count}");
                    self.refuse(String::new(), Invalid::new("receipts", expected).into());
                    return Ok(());
                }
                for receipt in acknowledge.receipts {
                    self.settle(receipt, &queue, |queue, delivery| {
                        Ok(QueueCommand::Acknowledge {
                            queue,
                            delivery,
                            request_id: None,
                        })
                    });
                }
            }
            Some(Message::Return(give_back)) => {
                self.settle(give_back.receipt, &queue, |queue, delivery| {
                    Ok(QueueCommand::Return {
                        queue,
                        delivery,
                        request_id: None,
                    })
                });
            }
            Some(Message::Extend(extend)) => {
                self.settle(extend.receipt, &queue, |queue, delivery| {
                    Ok(QueueCommand::Extend {
                        queue,
                        delivery,
                        ack_timeout: convert::ack_timeout(extend.ack_timeout)?,
                    })
                });
            }
            Some(Message::Open(_)) => {
                let invalid = Invalid::new("open", "must be the first message, and no other");
                self.refuse(String::new(), invalid.into());
            }
            None => {
                let invalid = Invalid::new("message", "must be one of those of the schema");
                self.refuse(String::new(), invalid.into());
            }
        }
        Ok(())
    }

    fn start(&self, open: ConsumeOpen) -> Result<Open, Invalid> {
        let queue = QueueName::new(&open.queue)?;
        let window = check_window(open.window)?;
        let ack_timeout: Duration =
            convert::ack_timeout(open.ack_timeout)?.unwrap_or(ACK_TIMEOUT_DEFAULT);
        let shard = self.api.shard(&self.namespace);
        let watch = shard.consume(&self.namespace, queue.clone(), window, ack_timeout);
        Ok(Open { queue, watch })
    }

    fn settle(
        &mut self,
        receipt: String,
        queue: &QueueName,
        command: impl FnOnce(QueueName, Delivery) -> Result<QueueCommand, Invalid>,
    ) {
        let command = self
            .api
            .delivery(&self.namespace, queue, &receipt)
            .and_then(|delivery| Ok(command(queue.clone(), delivery)?));
        match command {
            Ok(command) => {
                self.last_number += 1;
                self.unanswered.insert(self.last_number, receipt);
                self.read.push((self.last_number, Command::Queue(command)));
            }
            Err(error) => self.refuse(receipt, error),
        }
    }

    fn refuse(&mut self, receipt: String, error: ApiError) {
        self.own.push_back(ConsumeSettled {
            receipt,
            error: Some(error.into()),
        });
    }

    fn tell(&mut self, news: SessionNews) -> Option<ConsumeSettled> {
        let SessionNews::Reply(of, outcome) = news else {
            return None;
        };
        let receipt = self.unanswered.remove(&of)?;
        Some(ConsumeSettled {
            receipt,
            error: settled(outcome).err().map(Into::into),
        })
    }

    /// The next item to send. Where there is none, the stream may have ended.
    fn item(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        let open = self.open.as_mut()?;
        let end = match open.watch.poll_next(cx) {
            Poll::Pending => return None,
            Poll::Ready(Some(WatchNews::Item(told))) => {
                self.unlooked += 1;
                let item = super::delivered(&self.api, &self.namespace, &told);
                return Some(Event::Item(item));
            }
            Poll::Ready(Some(WatchNews::Failed(failure))) => Status::from(failure),
            Poll::Ready(Some(_) | None) => error::misfit().into(),
        };
        self.end(Err(end));
        None
    }
}

fn not_opened() -> ApiError {
    Invalid::new("open", "must be the first message").into()
}

fn settled(outcome: Outcome) -> Result<(), ApiError> {
    match outcome {
        Ok(Answer::Queue(
            QueueAnswer::Acknowledged | QueueAnswer::Returned | QueueAnswer::Extended(_),
        )) => Ok(()),
        Ok(_) => Err(error::misfit()),
        Err(failure) => Err(failure.into()),
    }
}

fn response(event: Event) -> Poll<Option<Result<ConsumeResponse, Status>>> {
    Poll::Ready(Some(Ok(ConsumeResponse { event: Some(event) })))
}

impl Stream for Consumed {
    type Item = Result<ConsumeResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(settled) = this.own.pop_front() {
                return response(Event::Settled(settled));
            }
            while let Some(news) = this.news.pop() {
                if let Some(settled) = this.tell(news) {
                    return response(Event::Settled(settled));
                }
            }
            // Many items share one look at the connection.
            if this.unlooked < STREAM_BATCH_MAX
                && let Some(item) = this.item(cx)
            {
                return response(item);
            }
            let was_open = this.open.is_some();
            let more = this.read(cx);
            if !this.own.is_empty() || !was_open && this.open.is_some() {
                continue;
            }
            if this.calls.poll_news(cx, &mut this.news).is_ready() {
                this.news.reverse();
                continue;
            }
            if let Some(item) = this.item(cx) {
                return response(item);
            }
            let waits_to_open = this.open.is_none() && this.inbound.is_some();
            if waits_to_open && this.stopping.as_mut().poll(cx).is_ready() {
                this.end(Err(Failure::Stopping.into()));
            }
            if this.unanswered.is_empty()
                && let Some(end) = &mut this.end
            {
                let end = std::mem::replace(end, Ok(()));
                return Poll::Ready(end.err().map(Err));
            }
            if more {
                // Others get their turn first.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }
}
