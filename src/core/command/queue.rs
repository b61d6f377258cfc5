//! What can be asked of queues and their items, and what is answered.

use std::time::Duration;

use super::RequestId;
use crate::core::name::{QueueName, ValueBytes};
use crate::core::time::WallTime;

/// How a queue treats its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueSettings {
    /// After so many deliveries without an acknowledgement an item goes to the dead letters; `None`:
    /// it is delivered again and again.
    pub deliveries_max: Option<u32>,
}

/// One delivery of an item: what proves the right to acknowledge, extend or return it. Adapters make
/// it a secret, as they do with grant tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// The item.
    pub item: u64,
    /// Which delivery of it, counted from 1.
    pub number: u32,
}

/// Which items of a queue are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Those that wait for a consumer.
    Ready,
    /// Those that are with a consumer and not acknowledged.
    Delivered,
    /// The dead letters.
    Dead,
}

/// What can be asked of queues. A queue appears at first use, and goes when nothing is left of it
/// and it was not configured.
#[derive(Clone, Debug)]
pub enum QueueCommand {
    /// Says how the queue treats its items; it stays from then on, empty or not. Answer:
    /// [`QueueAnswer::Queue`].
    Configure {
        /// The queue.
        queue: QueueName,
        /// How it treats its items.
        settings: QueueSettings,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Reads a queue's state; one that nobody has named is empty. Answer: [`QueueAnswer::Queue`].
    Get {
        /// The queue.
        queue: QueueName,
    },
    /// Lists queues by name. Answer: [`QueueAnswer::Queues`].
    List {
        /// Only names that begin so.
        prefix: String,
        /// Only names after this one.
        after: Option<String>,
        /// The most queues to list.
        limit: usize,
    },
    /// Forgets how a queue treats its items and removes up to
    /// [`PURGE_MAX`](crate::core::limits::PURGE_MAX) of them, those that are delivered and dead
    /// included. Answer: [`QueueAnswer::Purged`].
    Delete {
        /// The queue.
        queue: QueueName,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Puts an item at the end. Answer: [`QueueAnswer::Enqueued`].
    Enqueue {
        /// The queue.
        queue: QueueName,
        /// The item.
        bytes: ValueBytes,
        /// How long it may wait for a consumer; `None`: for ever.
        ttl: Option<Duration>,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Takes the first item, waiting in line for one. Answer: [`QueueAnswer::Delivered`] or
    /// [`QueueAnswer::Empty`].
    Dequeue {
        /// The queue.
        queue: QueueName,
        /// How long to wait; zero asks once.
        wait: Duration,
        /// How long the consumer has to acknowledge the item before it is delivered again; `None`:
        /// the delivery is final.
        ack_timeout: Option<Duration>,
        /// Makes a retry safe; only with `ack_timeout`, as a final delivery can't be told twice.
        request_id: Option<RequestId>,
    },
    /// Takes items as they come, until cancelled: [`super::Effect::Delivered`] for each. At most
    /// `window` of them are without an acknowledgement at any time.
    Consume {
        /// The queue.
        queue: QueueName,
        /// How many items may be without an acknowledgement.
        window: u32,
        /// How long the consumer has to acknowledge each.
        ack_timeout: Duration,
    },
    /// The item has been dealt with: it is gone. Answer: [`QueueAnswer::Acknowledged`].
    Acknowledge {
        /// The queue.
        queue: QueueName,
        /// Which delivery.
        delivery: Delivery,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// The item could not be dealt with: it is delivered again at once, at the front, or goes to the
    /// dead letters. Answer: [`QueueAnswer::Returned`].
    Return {
        /// The queue.
        queue: QueueName,
        /// Which delivery.
        delivery: Delivery,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Starts the time to acknowledge anew; its end is never brought nearer. Answer:
    /// [`QueueAnswer::Extended`].
    Extend {
        /// The queue.
        queue: QueueName,
        /// Which delivery.
        delivery: Delivery,
        /// How long from now; `None`: as the item was delivered.
        ack_timeout: Option<Duration>,
    },
    /// Reads items without taking them. Answer: [`QueueAnswer::Items`].
    Peek {
        /// The queue.
        queue: QueueName,
        /// Which of its items.
        part: Part,
        /// Only items after this one.
        after: Option<u64>,
        /// The most items to read; a page has fewer where they are large.
        limit: usize,
    },
    /// Removes up to [`PURGE_MAX`](crate::core::limits::PURGE_MAX) items that wait, or dead letters.
    /// Answer: [`QueueAnswer::Purged`].
    Purge {
        /// The queue.
        queue: QueueName,
        /// [`Part::Ready`] or [`Part::Dead`].
        part: Part,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// Puts up to [`PURGE_MAX`](crate::core::limits::PURGE_MAX) dead letters back in line, in the
    /// order of their ids and with their deliveries counted anew. Answer: [`QueueAnswer::Redriven`].
    Redrive {
        /// The queue.
        queue: QueueName,
        /// Makes a retry safe.
        request_id: Option<RequestId>,
    },
    /// An item could not be told to its consumer, who is gone: it goes back to the front, and the
    /// delivery does not count. Not answered; harmless when the delivery has ended.
    GiveBack {
        /// The queue.
        queue: QueueName,
        /// The item, as it was to be told.
        item: ItemView,
        /// Whether the delivery was final, so that the item was removed.
        is_final: bool,
    },
}

/// An item as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemView {
    /// The id: items of a queue are in the order of their ids.
    pub id: u64,
    /// The item.
    pub bytes: ValueBytes,
    /// How often it was delivered.
    pub deliveries: u32,
    /// When it was put in line.
    pub enqueued_at: WallTime,
    /// The time until its TTL has passed; `None`: it has none.
    pub expires_in: Option<Duration>,
    /// Of a delivered item: the time left to acknowledge it.
    pub ack_in: Option<Duration>,
}

/// An item as told to its consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The queue.
    pub queue: QueueName,
    /// The item.
    pub item: ItemView,
    /// What has to be acknowledged; `None`: the delivery is final.
    pub delivery: Option<Delivery>,
}

/// A queue as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// The name.
    pub name: QueueName,
    /// How it treats its items.
    pub settings: QueueSettings,
    /// Whether it was configured, and so stays while it is empty.
    pub configured: bool,
    /// How many items wait for a consumer.
    pub ready_count: usize,
    /// How many are with a consumer and not acknowledged.
    pub delivered_count: usize,
    /// How many dead letters there are.
    pub dead_count: usize,
    /// How many bytes all of them have.
    pub bytes: usize,
    /// How many calls and streams consume.
    pub consumer_count: usize,
}

/// What a call about queues that succeeded is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueAnswer {
    /// The queue as it stands.
    Queue(QueueView),
    /// A page of queues.
    Queues {
        /// The queues.
        queues: Vec<QueueView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// The item is in line, under this id.
    Enqueued(u64),
    /// The item is the caller's.
    Delivered(Delivered),
    /// There was no item in time.
    Empty,
    /// The item is gone.
    Acknowledged,
    /// The item is back in line, or dead.
    Returned,
    /// There is so much time to acknowledge.
    Extended(Duration),
    /// A page of items.
    Items {
        /// The items.
        items: Vec<ItemView>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// Items were removed.
    Purged {
        /// How many.
        count: usize,
        /// Whether there are more to remove: ask again, with a new request id.
        more: bool,
    },
    /// Dead letters are back in line.
    Redriven {
        /// How many.
        count: usize,
        /// Whether there are more.
        more: bool,
    },
}
