//! Items printed from a stream as they come, until a signal.

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::calls::optional_span;
use super::consume::{NO_MORE, give_back, print};
use super::*;
use crate::api::Reason;
use crate::cli::signal::Signals;
use crate::core::Invalid;
use crate::core::limits::CONSUME_WINDOW_MAX;
use crate::proto::v1::consume_request::Message;
use crate::proto::v1::consume_response::Event;
use crate::proto::v1::{
    ConsumeAcknowledge, ConsumeOpen, ConsumeRequest, ConsumeResponse, ConsumeSettled, Item,
};

/// So much that what is to be sent never waits for what is to be read: there are no more
/// acknowledgements under way than a window has.
const REQUESTS_MAX: usize = CONSUME_WINDOW_MAX as usize + 1;

pub(super) async fn run(
    client: &Client,
    output: Output,
    args: ConsumeArgs,
) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    let mut consumer = Consumer::open(client, output, args).await?;
    let error = loop {
        let dealt_with = tokio::select! {
            biased;
            exit = signals.next() => Err(CliError::interrupted(exit, NO_MORE)),
            event = consumer.next() => match event {
                Ok(Event::Item(item)) => consumer.print(item).await,
                Ok(Event::Settled(settled)) => {
                    consumer.settled(settled);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = dealt_with {
            break error;
        }
    };
    consumer.end().await;
    Err(error)
}

/// One end of the stream.
struct Consumer<'a> {
    client: &'a Client,
    output: Output,
    queue: String,
    requests: mpsc::Sender<ConsumeRequest>,
    told: Streaming<ConsumeResponse>,
    /// How many acknowledgements were sent and not settled.
    unsettled: usize,
}

impl<'a> Consumer<'a> {
    async fn open(
        client: &'a Client,
        output: Output,
        args: ConsumeArgs,
    ) -> Result<Consumer<'a>, CliError> {
        // It stands for the default in a message, and so can't be what someone asks for.
        if args.window == Some(0) {
            let expected = format!("must be 1 to {CONSUME_WINDOW_MAX}, is 0");
            return Err(Invalid::new("window", expected).into());
        }
        let open = ConsumeOpen {
            queue: args.queue.clone(),
            window: args.window.unwrap_or(0),
            ack_timeout: optional_span("ack_timeout", args.ack_timeout.as_deref())?,
        };
        let (requests, inbound) = mpsc::channel(REQUESTS_MAX);
        // There is room, and somebody to read it.
        let _ = requests.send(request(Message::Open(open))).await;
        let stream = ReceiverStream::new(inbound);
        let told = client.ask(client.queues().consume(stream)).await?;
        Ok(Consumer {
            client,
            output,
            queue: args.queue,
            told,
            requests,
            unsettled: 0,
        })
    }

    /// What is told next. Cancel-safe.
    async fn next(&mut self) -> Result<Event, CliError> {
        let message = self.told.message().await;
        let message = message.map_err(|status| self.client.error(&status))?;
        message.and_then(|message| message.event).ok_or_else(|| {
            let message = "the server ended the stream";
            CliError::new(Reason::Unavailable, message)
        })
    }

    fn settled(&mut self, settled: ConsumeSettled) {
        self.unsettled = self.unsettled.saturating_sub(1);
        if let Some(error) = settled.error {
            // It is somebody else's by now, or was: no reason to stop.
            self.output.error(&CliError::from_call(error));
        }
    }

    /// Prints an item, and acknowledges it when it was written.
    async fn print(&mut self, mut item: Item) -> Result<(), CliError> {
        let receipt = std::mem::take(&mut item.receipt);
        if let Err(error) = print(self.output, item) {
            give_back(self.client, &self.queue, receipt).await;
            return Err(error);
        }
        let receipts = vec![receipt];
        let acknowledge = Message::Acknowledge(ConsumeAcknowledge { receipts });
        // Where the stream is over, it says why itself.
        if self.requests.send(request(acknowledge)).await.is_ok() {
            self.unsettled += 1;
        }
        Ok(())
    }

    /// Waits until what was sent is settled, and gives back what comes meanwhile.
    async fn end(mut self) {
        let until = Instant::now() + self.client.timeout();
        let mut receipts = Vec::new();
        while self.unsettled > 0 {
            match timeout_at(until, self.next()).await {
                Ok(Ok(Event::Item(item))) => receipts.push(item.receipt),
                Ok(Ok(Event::Settled(settled))) => self.settled(settled),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        let Consumer { client, queue, .. } = self;
        // The stream is gone, so what is given back does not come to it again.
        for receipt in receipts {
            give_back(client, &queue, receipt).await;
        }
    }
}

fn request(message: Message) -> ConsumeRequest {
    ConsumeRequest {
        message: Some(message),
    }
}
