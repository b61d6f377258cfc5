//! FIFOs and their tickets.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::proto;
use crate::proto::fifo_service_client::FifoServiceClient;
use crate::proto::wait_ticket_response::Event;
use crate::turn::Turn;

/// A durable line: made by [`Client::fifo`]. Nothing is asked before one of the asynchronous methods
/// is called.
#[derive(Clone, Debug)]
pub struct Fifo {
    client: Client,
    id: String,
}

/// How a FIFO is to be made.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct FifoOptions {
    timeouts: proto::Timeouts,
    concurrency: u32,
    unused_destroy_timeout: Option<Duration>,
    allow_overrides: bool,
}

impl FifoOptions {
    /// How many tickets may have their turn at once: 1 to 10,000. Default: 1.
    pub fn concurrency(mut self, concurrency: u32) -> FifoOptions {
        self.concurrency = concurrency;
        self
    }

    /// How long one wait lasts: at most 365 d, 0: no end. Default: 6 h.
    pub fn wait_timeout(mut self, timeout: Duration) -> FifoOptions {
        self.timeouts.wait = Some(convert::span(timeout));
        self
    }

    /// How long a turn waits to be accepted: at most 365 d, 0: no end. Default: 1 min.
    pub fn accept_timeout(mut self, timeout: Duration) -> FifoOptions {
        self.timeouts.accept = Some(convert::span(timeout));
        self
    }

    /// How long the work may take: at most 365 d, 0: no end. Default: 10 min.
    pub fn done_timeout(mut self, timeout: Duration) -> FifoOptions {
        self.timeouts.done = Some(convert::span(timeout));
        self
    }

    /// After how long without use the FIFO goes: at most 365 d, 0: never. Default: 30 d.
    pub fn unused_destroy_timeout(mut self, timeout: Duration) -> FifoOptions {
        self.unused_destroy_timeout = Some(timeout);
        self
    }

    /// Lets tickets have timeouts of their own.
    pub fn allow_overrides(mut self) -> FifoOptions {
        self.allow_overrides = true;
        self
    }
}

/// How a ticket is to be made.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TicketOptions {
    overrides: Option<proto::Timeouts>,
    owner: Option<String>,
    metadata: BTreeMap<String, String>,
}

impl TicketOptions {
    /// Whose it is, for people to read: at most 512 bytes. Default: the client's owner.
    pub fn owner(mut self, owner: impl Into<String>) -> TicketOptions {
        self.owner = Some(owner.into());
        self
    }

    /// What the owner says of itself: at most 32 entries and 4 KiB in all.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> TicketOptions {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// How long its work may take; only where the FIFO allows overrides.
    pub fn done_timeout(mut self, timeout: Duration) -> TicketOptions {
        let overrides = self.overrides.get_or_insert_default();
        overrides.done = Some(convert::span(timeout));
        self
    }
}

impl Fifo {
    pub(crate) fn new(client: Client, id: String) -> Fifo {
        Fifo { client, id }
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Makes the FIFO where there is none with its id; whether it did. One that is there stays as it
    /// is.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] where there is no room, [`Error::Invalid`].
    pub async fn create(&self, options: FifoOptions) -> Result<bool> {
        let shared = self.client.shared();
        let create = proto::CreateFifoRequest {
            id: self.id.clone(),
            timeouts: Some(options.timeouts),
            unused_destroy_timeout: options.unused_destroy_timeout.map(convert::span),
            allow_overrides: options.allow_overrides,
            concurrency: options.concurrency,
            request_id: convert::request_id(),
        };
        let made = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(create.clone());
                async move { FifoServiceClient::new(channel).create_fifo(request).await }
            })
            .await;
        match made {
            Ok(_) => Ok(true),
            Err(error) if error.reason() == "FIFO_EXISTS" => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the FIFO and the first 100 of its tickets.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn get(&self) -> Result<proto::Fifo> {
        let shared = self.client.shared();
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let fifo = self.id.clone();
                let request = shared.config.request(proto::GetFifoRequest { fifo });
                async move { FifoServiceClient::new(channel).get_fifo(request).await }
            })
            .await?;
        answer.fifo.ok_or_else(Error::misfit)
    }

    /// Takes a place at the end of the line.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no such FIFO, [`Error::Limit`] where the line is full.
    pub async fn ticket(&self) -> Result<Ticket> {
        self.ticket_with(TicketOptions::default()).await
    }

    /// As [`Fifo::ticket`], saying more.
    ///
    /// # Errors
    ///
    /// As [`Fifo::ticket`].
    pub async fn ticket_with(&self, options: TicketOptions) -> Result<Ticket> {
        let shared = self.client.shared();
        let owner = options.owner;
        let create = proto::CreateTicketRequest {
            fifo: self.id.clone(),
            overrides: options.overrides,
            owner: owner.unwrap_or_else(|| shared.config.owner.clone()),
            metadata: options.metadata,
            request_id: convert::request_id(),
            callback: None,
        };
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(create.clone());
                async move { FifoServiceClient::new(channel).create_ticket(request).await }
            })
            .await?;
        let ticket = answer.ticket.ok_or_else(Error::misfit)?;
        Ok(self.ticket_of(ticket.id))
    }

    /// A ticket that was made before, perhaps by another program.
    pub fn ticket_of(&self, id: impl Into<String>) -> Ticket {
        Ticket {
            client: self.client.clone(),
            fifo: self.id.clone(),
            id: id.into(),
        }
    }

    /// Takes a ticket, waits for its turn, runs `work` and says that it is done, whatever the work
    /// does. While the work runs its time is extended. Dropping the future takes the ticket back.
    ///
    /// # Errors
    ///
    /// As [`Fifo::ticket`] and [`Ticket::wait`]; and [`Error::Lost`] where the turn lapsed, in which
    /// case the work was dropped at the point where it waited.
    pub async fn scope<T>(&self, work: impl AsyncFnOnce(&Turn) -> T) -> Result<T> {
        let mut kept = self.kept().await?;
        let turn = match &kept.0 {
            Some(ticket) => ticket.wait().await?,
            None => return Err(Error::misfit()),
        };
        let done = turn.run(work).await?;
        kept.0 = None;
        turn.done().await?;
        Ok(done)
    }

    /// Takes a ticket that is taken back when it is dropped. Dropping the future leaves none behind
    /// either: the server may have made it already, so its answer is waited for.
    async fn kept(&self) -> Result<Kept> {
        let fifo = self.clone();
        let taking = async move { fifo.ticket().await.map(|ticket| Kept(Some(ticket))) };
        let taken = self.client.shared().runtime.spawn(taking).await;
        taken.unwrap_or_else(|_| Err(Error::closed()))
    }
}

/// A ticket that is taken back when it is dropped.
struct Kept(Option<Ticket>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            let runtime = ticket.client.shared().runtime.clone();
            runtime.spawn(async move { ticket.cancel().await });
        }
    }
}

/// A place in line. It outlives this program: dropping it does nothing, and whoever knows its id may
/// go on with it.
#[derive(Clone, Debug)]
pub struct Ticket {
    client: Client,
    fifo: String,
    id: String,
}

impl Ticket {
    /// The id. It proves the right to the ticket.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The FIFO's id.
    pub fn fifo(&self) -> &str {
        &self.fifo
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Reads the ticket.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where it is done or was cancelled.
    pub async fn get(&self) -> Result<proto::Ticket> {
        let shared = self.client.shared();
        let get = proto::GetTicketRequest {
            fifo: self.fifo.clone(),
            ticket: self.id.clone(),
        };
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(get.clone());
                async move { FifoServiceClient::new(channel).get_ticket(request).await }
            })
            .await?;
        answer.ticket.ok_or_else(Error::misfit)
    }

    /// Waits for the ticket's turn and accepts it. Over a broken connection the ticket stands where
    /// it stood. Dropping the future leaves the ticket in line.
    ///
    /// # Errors
    ///
    /// [`Error::WaitTimedOut`] when the FIFO's wait timeout passes; [`Error::Lost`] where the ticket
    /// lapsed or was ended by somebody else; [`Error::NotFound`].
    pub async fn wait(&self) -> Result<Turn> {
        self.wait_watching(|_| ()).await
    }

    /// As [`Ticket::wait`], telling the place in line, 1 for the next, whenever it changes.
    ///
    /// # Errors
    ///
    /// As [`Ticket::wait`].
    pub async fn wait_watching(&self, mut on_position: impl FnMut(u32)) -> Result<Turn> {
        let shared = self.client.shared();
        let mut backoff = shared.config.backoff();
        loop {
            let error = match self.wait_once(&mut on_position).await {
                // The accepted turn is read, to learn how long it lasts from a moment that is known.
                Ok(()) => match Turn::new(self.clone()).await {
                    Ok(turn) => return Ok(turn),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !error.may_be_retried() {
                return Err(error);
            }
            backoff.pause(shared, error, None).await?;
        }
    }

    async fn wait_once(&self, on_position: &mut impl FnMut(u32)) -> Result<()> {
        let shared = self.client.shared();
        let wait = shared.config.request(proto::WaitTicketRequest {
            fifo: self.fifo.clone(),
            ticket: self.id.clone(),
            wait: None,
        });
        let mut fifos = FifoServiceClient::new(shared.channel());
        let mut events = fifos.wait_ticket(wait).await?.into_inner();
        while let Some(message) = events.message().await? {
            match message.event {
                Some(Event::InLine(in_line)) => on_position(in_line.position),
                Some(Event::Ready(_)) => return Ok(()),
                None => {}
            }
        }
        Err(Error::unavailable("the stream ended"))
    }

    /// Takes the ticket back, wherever it stands.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where it is done or was cancelled; [`Error::Lost`] where it lapsed.
    pub async fn cancel(&self) -> Result<()> {
        let shared = self.client.shared();
        let cancel = proto::CancelTicketRequest {
            fifo: self.fifo.clone(),
            ticket: self.id.clone(),
            request_id: convert::request_id(),
        };
        shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(cancel.clone());
                async move { FifoServiceClient::new(channel).cancel_ticket(request).await }
            })
            .await?;
        Ok(())
    }

    pub(crate) async fn complete(&self) -> Result<()> {
        let shared = self.client.shared();
        let complete = proto::CompleteTicketRequest {
            fifo: self.fifo.clone(),
            ticket: self.id.clone(),
            request_id: convert::request_id(),
        };
        shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(complete.clone());
                async move {
                    FifoServiceClient::new(channel)
                        .complete_ticket(request)
                        .await
                }
            })
            .await?;
        Ok(())
    }

    pub(crate) async fn extend(&self, done: Option<Duration>) -> Result<proto::Ticket> {
        let shared = self.client.shared();
        let extend = proto::ExtendTicketRequest {
            fifo: self.fifo.clone(),
            ticket: self.id.clone(),
            done: done.map(convert::span),
        };
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(extend.clone());
                async move { FifoServiceClient::new(channel).extend_ticket(request).await }
            })
            .await?;
        answer.ticket.ok_or_else(Error::misfit)
    }
}
