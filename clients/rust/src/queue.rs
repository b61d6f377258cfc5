//! Queues.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::limits::{ACK_TIMEOUT_DEFAULT, CONSUME_WINDOW_DEFAULT, WAIT_MAX};
use crate::proto;
use crate::proto::consume_request::Message;
use crate::proto::consume_response::Event;
use crate::proto::queue_service_client::QueueServiceClient;

/// How long a [`Queue::pop`] has to confirm that the item arrived, before it is handed out.
const POP_ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// A queue of items, each of which goes to one consumer at a time: made by [`Client::queue`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Queue {
    client: Client,
    name: String,
    ttl: Option<Duration>,
    ack_timeout: Duration,
    window: u32,
}

impl Queue {
    pub(crate) fn new(client: Client, name: String) -> Queue {
        Queue {
            client,
            name,
            ttl: None,
            ack_timeout: ACK_TIMEOUT_DEFAULT,
            window: CONSUME_WINDOW_DEFAULT,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long what is pushed may wait for a consumer: 100 ms to 30 d. Default: for ever.
    pub fn ttl(mut self, ttl: Duration) -> Queue {
        self.ttl = Some(ttl);
        self
    }

    /// How long [`Queue::take`] and [`Queue::consume`] have to acknowledge an item, before it is
    /// delivered again: 100 ms to 7 d. Default: 60 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Queue {
        self.ack_timeout = timeout;
        self
    }

    /// How many items [`Queue::consume`] is sent ahead: 1 to 1,000. Default: 16.
    pub fn window(mut self, window: u32) -> Queue {
        self.window = window;
        self
    }

    /// Puts an item, of at most 64 KiB, at the end; its id. `enqueueValue(dir, value, ttl?)` of the
    /// etcd patterns.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] where there is no room, [`Error::Invalid`].
    pub async fn push(&self, value: impl Into<Vec<u8>>) -> Result<u64> {
        let shared = self.client.shared();
        let enqueue = proto::EnqueueRequest {
            queue: self.name.clone(),
            value: value.into(),
            ttl: self.ttl.map(convert::span),
            request_id: convert::request_id(),
        };
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(enqueue.clone());
                async move { QueueServiceClient::new(channel).enqueue(request).await }
            })
            .await?;
        Ok(answer.id)
    }

    /// Takes the first item for good, waiting for one. No other consumer gets it once this has
    /// answered; an item that was on its way when the connection broke or the future was dropped is
    /// delivered again, at the latest after 30 s. `dequeueValue(dir)` of the etcd patterns.
    ///
    /// # Errors
    ///
    /// Of the connection only: without one it goes on trying.
    pub async fn pop(&self) -> Result<Vec<u8>> {
        loop {
            if let Some(value) = self.pop_within(WAIT_MAX).await? {
                return Ok(value);
            }
        }
    }

    /// As [`Queue::pop`], waiting for at most so long, 0 to 24 h; `None`: there was none.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the server can't be reached in that time.
    pub async fn pop_within(&self, wait: Duration) -> Result<Option<Vec<u8>>> {
        loop {
            let Some(item) = self.dequeue(wait, POP_ACK_TIMEOUT).await? else {
                return Ok(None);
            };
            // It is taken for good before it is handed out: so nobody gets it twice.
            match self.acknowledge(&item.receipt).await {
                Ok(()) => return Ok(Some(item.value)),
                Err(Error::NotHolder(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the first item to deal with it and then to acknowledge it, waiting for at most so long,
    /// 0 to 24 h; `None`: there was none.
    ///
    /// # Errors
    ///
    /// As [`Queue::pop_within`].
    pub async fn take(&self, wait: Duration) -> Result<Option<Delivery>> {
        let item = self.dequeue(wait, self.ack_timeout).await?;
        Ok(item.map(|item| Delivery::new(self.clone(), item)))
    }

    /// Takes items as they come, a window of them ahead, each to be acknowledged.
    pub fn consume(&self) -> Consumer {
        Consumer {
            queue: self.clone(),
            stream: None,
        }
    }

    async fn dequeue(&self, wait: Duration, ack_timeout: Duration) -> Result<Option<proto::Item>> {
        let shared = self.client.shared();
        loop {
            let dequeue = proto::DequeueRequest {
                queue: self.name.clone(),
                wait: Some(convert::span(wait)),
                ack_timeout: Some(convert::span(ack_timeout)),
                request_id: convert::request_id(),
            };
            let answer = shared
                .call(wait, |channel| {
                    let request = shared.config.request(dequeue.clone());
                    async move { QueueServiceClient::new(channel).dequeue(request).await }
                })
                .await;
            match answer {
                Ok(answer) => return Ok(answer.item),
                // The item of an answer that was lost went back in line before the call was repeated.
                Err(Error::NotHolder(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn acknowledge(&self, receipt: &str) -> Result<()> {
        let shared = self.client.shared();
        let acknowledge = proto::AcknowledgeRequest {
            queue: self.name.clone(),
            receipt: receipt.to_owned(),
            request_id: convert::request_id(),
        };
        shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(acknowledge.clone());
                async move { QueueServiceClient::new(channel).acknowledge(request).await }
            })
            .await?;
        Ok(())
    }

    async fn give_back(&self, receipt: &str) -> Result<()> {
        let shared = self.client.shared();
        let give_back = proto::ReturnRequest {
            queue: self.name.clone(),
            receipt: receipt.to_owned(),
            request_id: convert::request_id(),
        };
        shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(give_back.clone());
                async move { QueueServiceClient::new(channel).r#return(request).await }
            })
            .await?;
        Ok(())
    }

    async fn extend(&self, receipt: &str, ack_timeout: Option<Duration>) -> Result<Duration> {
        let shared = self.client.shared();
        let extend = proto::ExtendRequest {
            queue: self.name.clone(),
            receipt: receipt.to_owned(),
            ack_timeout: ack_timeout.map(convert::span),
        };
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(extend.clone());
                async move { QueueServiceClient::new(channel).extend(request).await }
            })
            .await?;
        Ok(answer.ack_in.map(convert::duration).unwrap_or_default())
    }
}

/// An item that was delivered and is to be acknowledged. Dropping it gives it back, to be delivered
/// again before those behind it.
#[derive(Debug)]
#[must_use = "dropping a delivery gives the item back"]
pub struct Delivery {
    queue: Queue,
    item: proto::Item,
    settled: bool,
}

impl Delivery {
    fn new(queue: Queue, item: proto::Item) -> Delivery {
        Delivery {
            queue,
            item,
            settled: false,
        }
    }

    /// The item's id: items of a queue are in the order of their ids.
    pub fn id(&self) -> u64 {
        self.item.id
    }

    /// The item.
    pub fn value(&self) -> &[u8] {
        &self.item.value
    }

    /// How often it was delivered, this time included.
    pub fn deliveries(&self) -> u32 {
        self.item.deliveries
    }

    /// Says that it has been dealt with: it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] where it was not acknowledged in time: another may have got it.
    pub async fn acknowledge(mut self) -> Result<()> {
        self.settled = true;
        self.queue.acknowledge(&self.item.receipt).await
    }

    /// Gives it back: it is delivered again at once, or goes to the dead letters where this was its
    /// last delivery.
    ///
    /// # Errors
    ///
    /// As [`Delivery::acknowledge`].
    pub async fn give_back(mut self) -> Result<()> {
        self.settled = true;
        self.queue.give_back(&self.item.receipt).await
    }

    /// Starts the time to acknowledge it anew, with `timeout` or the time that it was delivered with;
    /// how long there is.
    ///
    /// # Errors
    ///
    /// As [`Delivery::acknowledge`].
    pub async fn extend(&self, timeout: Option<Duration>) -> Result<Duration> {
        self.queue.extend(&self.item.receipt, timeout).await
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            let (queue, receipt) = (self.queue.clone(), std::mem::take(&mut self.item.receipt));
            let runtime = queue.client.shared().runtime.clone();
            runtime.spawn(async move { queue.give_back(&receipt).await });
        }
    }
}

/// Takes items as they come: made by [`Queue::consume`].
#[derive(Debug)]
pub struct Consumer {
    queue: Queue,
    stream: Option<Open>,
}

#[derive(Debug)]
struct Open {
    items: Streaming<proto::ConsumeResponse>,
    /// The stream ends where this does.
    _requests: mpsc::Sender<proto::ConsumeRequest>,
}

impl Consumer {
    /// The next item, waiting for one. A connection that breaks is made again; what was on its way is
    /// delivered again after its time to acknowledge.
    ///
    /// # Errors
    ///
    /// What the server says, such as [`Error::Invalid`]; without a connection it goes on trying.
    pub async fn next(&mut self) -> Result<Delivery> {
        let mut backoff = self.queue.client.shared().config.backoff();
        loop {
            let error = match self.item().await {
                Ok(item) => return Ok(Delivery::new(self.queue.clone(), item)),
                Err(error) => error,
            };
            self.stream = None;
            if !error.may_be_retried() {
                return Err(error);
            }
            backoff
                .pause(self.queue.client.shared(), error, None)
                .await?;
        }
    }

    async fn item(&mut self) -> Result<proto::Item> {
        let open = match &mut self.stream {
            Some(open) => open,
            None => {
                let open = self.open().await?;
                self.stream.insert(open)
            }
        };
        while let Some(message) = open.items.message().await? {
            if let Some(Event::Item(item)) = message.event {
                return Ok(item);
            }
        }
        Err(Error::unavailable("the stream ended"))
    }

    async fn open(&self) -> Result<Open> {
        let shared = self.queue.client.shared();
        let (requests, sent) = mpsc::channel(1);
        let open = proto::ConsumeOpen {
            queue: self.queue.name.clone(),
            window: self.queue.window,
            ack_timeout: Some(convert::span(self.queue.ack_timeout)),
        };
        let first = proto::ConsumeRequest {
            message: Some(Message::Open(open)),
        };
        // The channel is new and has room for it.
        let _ = requests.try_send(first);
        let request = shared.config.request(ReceiverStream::new(sent));
        let mut queues = QueueServiceClient::new(shared.channel());
        let items = queues.consume(request).await?.into_inner();
        Ok(Open {
            items,
            _requests: requests,
        })
    }
}
