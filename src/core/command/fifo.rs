//! What can be asked of FIFOs and their tickets, and what is answered.

use std::sync::Arc;
use std::time::Duration;

use super::{RequestId, Subscribe};
use crate::core::name::{About, FifoId, TicketId, WebhookId};
use crate::core::time::WallTime;

/// How a FIFO treats its tickets. A span of `None` has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FifoSettings {
    /// How long tickets may take, unless they say otherwise.
    pub timeouts: TicketTimeouts,
    /// After how long without use the FIFO is destroyed with its tickets.
    pub unused_destroy_timeout: Option<Duration>,
    /// Whether a ticket may have timeouts of its own.
    pub allow_overrides: bool,
    /// How many tickets may have their turn at once; at least 1.
    pub concurrency: u32,
}

/// How long a ticket may take. A span of `None` has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TicketTimeouts {
    /// How long one call waits for the ticket's turn, unless the call says otherwise.
    pub wait: Option<Duration>,
    /// How long the ticket's turn waits for somebody to accept it.
    pub accept: Option<Duration>,
    /// How long the work may take from then on.
    pub done: Option<Duration>,
}

/// Timeouts of one ticket, each in place of its FIFO's where it is given. `Some(None)`: no end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TicketOverrides {
    /// In place of [`TicketTimeouts::wait`].
    pub wait: Option<Option<Duration>>,
    /// In place of [`TicketTimeouts::accept`].
    pub accept: Option<Option<Duration>>,
    /// In place of [`TicketTimeouts::done`].
    pub done: Option<Option<Duration>>,
}

/// What can be asked of FIFOs.
#[derive(Clone, Debug)]
pub enum FifoCommand {
    /// Makes a FIFO. Answer: [`FifoAnswer::Fifo`].
    Create {
        /// The id: the caller's, or a fresh one made by the adapter.
        id: FifoId,
        /// Whether the adapter made the id: a retry comes with another one then.
        fresh_id: bool,
        /// How it treats its tickets.
        settings: FifoSettings,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Reads a FIFO. Answer: [`FifoAnswer::Fifo`].
    Get {
        /// The FIFO.
        id: FifoId,
    },
    /// Lists FIFOs by id. Answer: [`FifoAnswer::Fifos`].
    List {
        /// Only ids that begin so.
        prefix: String,
        /// Only ids after this one.
        after: Option<String>,
        /// The most FIFOs to list.
        limit: usize,
    },
    /// Ends a FIFO and all its tickets. Answer: [`FifoAnswer::Deleted`].
    Delete {
        /// The FIFO.
        id: FifoId,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Takes a place at the end of the line. Answer: [`FifoAnswer::Ticket`].
    CreateTicket {
        /// The FIFO.
        fifo: FifoId,
        /// The fresh id, made by the adapter.
        id: TicketId,
        /// Timeouts of its own.
        overrides: TicketOverrides,
        /// Where the FIFO allows no overrides: leave them aside instead of refusing the call.
        lenient: bool,
        /// Whose it is.
        about: Option<Arc<About>>,
        /// Call back when it is its turn: who takes the call accepts the turn.
        subscribe: Option<Subscribe>,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Reads a ticket that lives or has lapsed. Answer: [`FifoAnswer::Ticket`].
    GetTicket {
        /// The FIFO.
        fifo: FifoId,
        /// The ticket.
        ticket: TicketId,
    },
    /// Lists the tickets that live in the order of their turns. Answer: [`FifoAnswer::Tickets`].
    ListTickets {
        /// The FIFO.
        fifo: FifoId,
        /// Only tickets after this number.
        after: Option<u64>,
        /// The most tickets to list.
        limit: usize,
    },
    /// Waits for a ticket's turn and accepts it. Told meanwhile: [`super::Effect::InLine`]. Answer:
    /// [`FifoAnswer::Ready`].
    Wait {
        /// The FIFO.
        fifo: FifoId,
        /// The ticket.
        ticket: TicketId,
        /// How long this call waits; `None`: the ticket's own timeout.
        wait: Option<Duration>,
    },
    /// Starts the work time of an accepted ticket anew; its end is never brought nearer. Answer:
    /// [`FifoAnswer::Ticket`].
    Extend {
        /// The FIFO.
        fifo: FifoId,
        /// The ticket.
        ticket: TicketId,
        /// How long from now; `None`: the ticket's own timeout.
        done: Option<Duration>,
    },
    /// The work is done, or is not to be done: ends the ticket, wherever it stands. Answer:
    /// [`FifoAnswer::Completed`].
    Complete {
        /// The FIFO.
        fifo: FifoId,
        /// The ticket.
        ticket: TicketId,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Takes back a ticket, wherever it stands. Answer: [`FifoAnswer::Cancelled`].
    Cancel {
        /// The FIFO.
        fifo: FifoId,
        /// The ticket.
        ticket: TicketId,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// A ticket's turn could not be told to its caller, who is gone: unless another call was told,
    /// the turn waits again for somebody to accept it. Not answered; harmless when it has ended.
    GiveBack {
        /// The ticket.
        ticket: TicketId,
    },
}

/// Where a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TicketState {
    /// In line.
    Waiting,
    /// It is its turn, which nobody has accepted yet.
    Notified,
    /// Its work is being done.
    Accepted,
    /// It was not accepted or not done in time. Forgotten after
    /// [`LAPSED_MEMORY`](crate::core::limits::LAPSED_MEMORY).
    Lapsed,
}

/// A ticket as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketView {
    /// The FIFO.
    pub fifo: FifoId,
    /// The id, which is also what proves the right to it.
    pub id: TicketId,
    /// Its number: tickets of a FIFO have their turns in the order of their numbers.
    pub number: u64,
    /// Where it stands.
    pub state: TicketState,
    /// Its place in line, counted from 1; 0: it does not stand in line any more.
    pub position: u32,
    /// About how long it will stand in line; `None`: no history tells, or it doesn't stand there.
    pub time_to_go: Option<Duration>,
    /// The time until it lapses, of a ticket whose turn it is; `None`: it does not lapse.
    pub lapses_in: Option<Duration>,
    /// How long it may take.
    pub timeouts: TicketTimeouts,
    /// Whose it is.
    pub about: Option<Arc<About>>,
    /// When it was made.
    pub created_at: WallTime,
    /// Since when it has been in its state.
    pub since: WallTime,
    /// What calls back when it is its turn; `None`: nothing, or that is over.
    pub webhook: Option<WebhookId>,
}

/// A FIFO as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FifoView {
    /// The id.
    pub id: FifoId,
    /// How it treats its tickets.
    pub settings: FifoSettings,
    /// When it was made.
    pub created_at: WallTime,
    /// The first tickets that live, by number: at most
    /// [`TICKETS_SHOWN_MAX`](crate::core::limits::TICKETS_SHOWN_MAX).
    pub tickets: Vec<TicketView>,
    /// How many tickets have their turn.
    pub serving_count: usize,
    /// How many stand in line.
    pub waiting_count: usize,
    /// How long a turn takes on average, from the last ones; `None`: there was none.
    pub mean_turn: Option<Duration>,
}

/// What a call about FIFOs that succeeded is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FifoAnswer {
    /// The FIFO as it stands.
    Fifo(FifoView),
    /// A page of FIFOs.
    Fifos {
        /// The FIFOs.
        fifos: Vec<FifoView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// The FIFO is gone, and so many living tickets with it.
    Deleted(usize),
    /// The ticket as it stands.
    Ticket(TicketView),
    /// A page of tickets.
    Tickets {
        /// The tickets.
        tickets: Vec<TicketView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// It is the ticket's turn, accepted by this call or by one before.
    Ready(TicketView),
    /// The ticket is done.
    Completed,
    /// The ticket was taken back.
    Cancelled,
}

/// How a ticket ended, other than by lapsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TicketEnd {
    /// Somebody said that it is done.
    Done,
    /// Somebody took it back.
    Cancelled,
    /// Its FIFO is gone.
    Deleted,
}
