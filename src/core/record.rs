//! What is durable: one record per lease, reserved lock, grant, durable place in line,
//! remembered request, value, FIFO, ticket, configured queue, item, webhook and lapsed hold, one more
//! for each item that was delivered, and one for the shard itself.
//!
//! A change always writes a whole record, so that replaying changes in order, from any point that
//! is not too late, gives the same state. Values are protobuf messages: a field keeps its number
//! for ever, so that what an older version wrote stays readable.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::command::WebhookState;
use super::name::{About, FifoId, LeaseId, LockName, Namespace, QueueName, RequestId, ValueKey};
use super::time::Time;

/// A change to make durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The record is there from now on, in place of an earlier one with its key.
    Put(Record),
    /// There is no record with this key any more.
    Delete(Key),
}

/// Under what a record is kept. The order of the variants is the order in which a shard is loaded:
/// what a record refers to comes before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The shard itself.
    Shard,
    /// A shared lease.
    Lease(Namespace, LeaseId),
    /// A reserved lock.
    Lock(Namespace, LockName),
    /// A grant, by its fencing token.
    Grant(Namespace, LockName, u64),
    /// A place in line, by its order of arrival.
    Waiter(Namespace, LockName, u64),
    /// A remembered request.
    Request(Namespace, RequestId),
    /// A value that a caller keeps.
    Value(Namespace, ValueKey),
    /// A FIFO.
    Fifo(Namespace, FifoId),
    /// A ticket, by its number.
    Ticket(Namespace, FifoId, u64),
    /// A configured queue.
    Queue(Namespace, QueueName),
    /// An item of a queue, by its id.
    Item(Namespace, QueueName, u64),
    /// How an item that was delivered fares.
    Delivery(Namespace, QueueName, u64),
    /// A webhook, by its number.
    Webhook(Namespace, u64),
    /// A lost grant that holds its lock back, by its fencing token.
    Lapsed(Namespace, LockName, u64),
}

/// A record with its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// What it says.
    pub value: Value,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of the shard.
    Shard(ShardValue),
    /// Of a lease.
    Lease(LeaseValue),
    /// Of a reserved lock.
    Lock(LockValue),
    /// Of a grant.
    Grant(HoldValue),
    /// Of a place in line.
    Waiter(HoldValue),
    /// Of a remembered request.
    Request(RequestValue),
    /// Of a value that a caller keeps.
    Value(KeptValue),
    /// Of a configured queue.
    Queue(QueueValue),
    /// Of an item.
    Item(ItemValue),
    /// Of how an item fares.
    Delivery(DeliveryValue),
    /// Of a FIFO.
    Fifo(FifoValue),
    /// Of a ticket.
    Ticket(TicketValue),
    /// Of a webhook.
    Webhook(WebhookValue),
    /// Of a lost grant that holds its lock back.
    Lapsed(LapsedValue),
}

/// The shard's counters.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ShardValue {
    /// The clock at this commit.
    #[prost(uint64, tag = "1")]
    pub clock_nanos: u64,
    /// The highest fencing token ever given.
    #[prost(uint64, tag = "2")]
    pub last_fencing_token: u64,
    /// The highest order of arrival ever given.
    #[prost(uint64, tag = "3")]
    pub last_arrival: u64,
    /// The highest revision of a value ever given.
    #[prost(uint64, tag = "4")]
    pub last_revision: u64,
}

/// A shared lease.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseValue {
    /// The TTL.
    #[prost(uint64, tag = "1")]
    pub ttl_nanos: u64,
    /// The end, as far as it was committed; it counts for long leases only.
    #[prost(uint64, tag = "2")]
    pub ends_nanos: u64,
    /// When it was made, by the wall clock.
    #[prost(uint64, tag = "3")]
    pub created_at_ms: u64,
    /// Whose it is.
    #[prost(string, tag = "4")]
    pub owner: String,
    /// What the owner says of itself.
    #[prost(btree_map = "string, string", tag = "5")]
    pub metadata: BTreeMap<String, String>,
}

/// A reserved lock.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LockValue {
    /// How long it stays unused.
    #[prost(uint64, tag = "1")]
    pub destroy_after_nanos: u64,
}

/// A grant or a place in line.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HoldValue {
    /// Shared, or else exclusive.
    #[prost(bool, tag = "1")]
    pub shared: bool,
    /// The most holders at once; 0: no bound.
    #[prost(uint32, tag = "2")]
    pub max_shared: u32,
    /// Whether whoever knows the lock's name may renew and release it.
    #[prost(bool, tag = "3")]
    pub open: bool,
    /// The TTL of its own lease; 0: it has none.
    #[prost(uint64, tag = "4")]
    pub ttl_nanos: u64,
    /// Of a grant: the end of its own lease, as far as it was committed. Of a place in line: when
    /// the wait times out.
    #[prost(uint64, tag = "5")]
    pub ends_nanos: u64,
    /// The shared lease, 16 bytes; empty: none.
    #[prost(bytes = "vec", tag = "6")]
    pub lease: Vec<u8>,
    /// When the grant was made, or the place in line taken, by the wall clock.
    #[prost(uint64, tag = "7")]
    pub acquired_at_ms: u64,
    /// Who asked.
    #[prost(string, tag = "8")]
    pub owner: String,
    /// What it said of itself.
    #[prost(btree_map = "string, string", tag = "9")]
    pub metadata: BTreeMap<String, String>,
    /// The request id that it was asked with; empty: none.
    #[prost(string, tag = "10")]
    pub request_id: String,
    /// The fingerprint of that request.
    #[prost(fixed64, tag = "11")]
    pub fingerprint: u64,
    /// How long the lock is held back when the grant is lost, in milliseconds.
    #[prost(uint32, tag = "12")]
    pub release_delay_millis: u32,
}

/// A lost grant that holds its lock back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LapsedValue {
    /// Shared, or else exclusive.
    #[prost(bool, tag = "1")]
    pub shared: bool,
    /// The most holders at once; 0: no bound.
    #[prost(uint32, tag = "2")]
    pub max_shared: u32,
    /// When it stops counting.
    #[prost(uint64, tag = "3")]
    pub ends_nanos: u64,
}

/// The outcome of a request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestValue {
    /// The fingerprint of its parameters.
    #[prost(fixed64, tag = "1")]
    pub fingerprint: u64,
    /// The outcome.
    #[prost(
        oneof = "OutcomeValue",
        tags = "2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 20, 30, 31"
    )]
    pub outcome: Option<OutcomeValue>,
    /// Of a grant: when it was made, by the wall clock.
    #[prost(uint64, tag = "8")]
    pub acquired_at_ms: u64,
}

/// What a remembered request came to.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OutcomeValue {
    /// A grant, by its fencing token.
    #[prost(uint64, tag = "2")]
    Granted(u64),
    /// A release.
    #[prost(bool, tag = "3")]
    Released(bool),
    /// A reserved lock, by its name.
    #[prost(string, tag = "4")]
    Reserved(String),
    /// A lease, by its id.
    #[prost(bytes, tag = "5")]
    Lease(Vec<u8>),
    /// A revoked lease, and how many grants ended with it.
    #[prost(uint64, tag = "6")]
    Revoked(u64),
    /// A forced release of so many grants.
    #[prost(uint64, tag = "7")]
    Forced(u64),
    /// A value that was put, by its revision.
    #[prost(uint64, tag = "9")]
    ValuePut(u64),
    /// A value that was deleted, by its revision.
    #[prost(uint64, tag = "10")]
    ValueDeleted(u64),
    /// Something that was asked of a queue.
    #[prost(message, tag = "20")]
    Queue(QueueOutcomeValue),
    /// A FIFO that was made, by its id.
    #[prost(string, tag = "11")]
    Fifo(String),
    /// A FIFO that was deleted, and how many tickets ended with it.
    #[prost(uint64, tag = "12")]
    FifoDeleted(u64),
    /// A ticket that was made, by its id.
    #[prost(bytes, tag = "13")]
    Ticket(Vec<u8>),
    /// A ticket that was completed.
    #[prost(bool, tag = "14")]
    TicketCompleted(bool),
    /// A ticket that was cancelled.
    #[prost(bool, tag = "15")]
    TicketCancelled(bool),
    /// A place in line with a callback, by the webhook's id.
    #[prost(bytes, tag = "30")]
    Subscribed(Vec<u8>),
    /// A webhook's place in line was given up.
    #[prost(bool, tag = "31")]
    WebhookCancelled(bool),
}

/// What a remembered request about a queue came to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueOutcomeValue {
    /// What was done.
    #[prost(enumeration = "QueueDeed", tag = "1")]
    pub deed: i32,
    /// The item that was enqueued or dequeued.
    #[prost(uint64, tag = "2")]
    pub item: u64,
    /// Which delivery of it.
    #[prost(uint32, tag = "3")]
    pub delivery: u32,
    /// How many items were meant.
    #[prost(uint64, tag = "4")]
    pub count: u64,
    /// Whether there were more.
    #[prost(bool, tag = "5")]
    pub more: bool,
}

/// What was done to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum QueueDeed {
    /// Nothing that this version knows.
    Unknown = 0,
    /// It was configured.
    Configured = 1,
    /// It was deleted.
    Deleted = 2,
    /// An item was put in line.
    Enqueued = 3,
    /// An item was delivered.
    Dequeued = 4,
    /// An item was acknowledged.
    Acknowledged = 5,
    /// An item was returned.
    Returned = 6,
    /// Items were removed.
    Purged = 7,
    /// Dead letters were put back in line.
    Redriven = 8,
}

/// A configured queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueValue {
    /// After so many deliveries an item is dead; 0: never.
    #[prost(uint32, tag = "1")]
    pub deliveries_max: u32,
}

/// An item of a queue. It is written once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ItemValue {
    /// The item.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
    /// When its TTL has passed; 0: it has none.
    #[prost(uint64, tag = "2")]
    pub expires_nanos: u64,
    /// When it was put in line, by the wall clock.
    #[prost(uint64, tag = "3")]
    pub enqueued_at_ms: u64,
}

/// How an item fares that was delivered, or was dead.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeliveryValue {
    /// How often it was delivered.
    #[prost(uint32, tag = "1")]
    pub deliveries: u32,
    /// Of a delivery that is under way: when it has to be acknowledged; 0: none is.
    #[prost(uint64, tag = "2")]
    pub ends_nanos: u64,
    /// Of a delivery that is under way: the time to acknowledge it.
    #[prost(uint64, tag = "3")]
    pub ack_timeout_nanos: u64,
    /// Whether it is a dead letter.
    #[prost(bool, tag = "4")]
    pub dead: bool,
    /// Whether its TTL counts no more, as it was a dead letter.
    #[prost(bool, tag = "5")]
    pub lost_ttl: bool,
    /// Of a delivery that is under way: the request id that it was asked with; empty: none.
    #[prost(string, tag = "6")]
    pub request_id: String,
}

/// A value that a caller keeps.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeptValue {
    /// The value.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
    /// Its revision.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// When it ends; 0: it has no expiry.
    #[prost(uint64, tag = "3")]
    pub ends_nanos: u64,
}

/// How long the tickets of a FIFO, or one of them, may take. A span of 0 has no end.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeoutsValue {
    /// How long one call waits for a turn.
    #[prost(uint64, tag = "1")]
    pub wait_nanos: u64,
    /// How long a turn waits to be accepted.
    #[prost(uint64, tag = "2")]
    pub accept_nanos: u64,
    /// How long the work may take from then on.
    #[prost(uint64, tag = "3")]
    pub done_nanos: u64,
}

/// A FIFO.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FifoValue {
    /// How long its tickets may take.
    #[prost(message, optional, tag = "1")]
    pub timeouts: Option<TimeoutsValue>,
    /// How long it stays unused; 0: for ever.
    #[prost(uint64, tag = "2")]
    pub unused_destroy_nanos: u64,
    /// Whether a ticket may have timeouts of its own.
    #[prost(bool, tag = "3")]
    pub allow_overrides: bool,
    /// How many tickets may have their turn at once.
    #[prost(uint32, tag = "4")]
    pub concurrency: u32,
    /// When it was made, by the wall clock.
    #[prost(uint64, tag = "5")]
    pub created_at_ms: u64,
}

/// A ticket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TicketValue {
    /// Its id, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// Where it stands: one of the numbers below.
    #[prost(uint32, tag = "2")]
    pub state: u32,
    /// When that ends: it lapses, or is forgotten. 0: it has no end.
    #[prost(uint64, tag = "3")]
    pub ends_nanos: u64,
    /// How long it may take.
    #[prost(message, optional, tag = "4")]
    pub timeouts: Option<TimeoutsValue>,
    /// When it was made, by the wall clock.
    #[prost(uint64, tag = "5")]
    pub created_at_ms: u64,
    /// Since when it has been in its state, by the wall clock.
    #[prost(uint64, tag = "6")]
    pub since_ms: u64,
    /// Whose it is.
    #[prost(string, tag = "7")]
    pub owner: String,
    /// What the owner says of itself.
    #[prost(btree_map = "string, string", tag = "8")]
    pub metadata: BTreeMap<String, String>,
}

impl TicketValue {
    /// In line.
    pub const WAITING: u32 = 1;
    /// It is its turn.
    pub const NOTIFIED: u32 = 2;
    /// Its turn was accepted.
    pub const ACCEPTED: u32 = 3;
    /// It has taken too long.
    pub const LAPSED: u32 = 4;
}

/// A webhook.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WebhookValue {
    /// The id, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// Where it is posted.
    #[prost(string, tag = "2")]
    pub url: String,
    /// What it is signed with; empty: the namespace's own secret.
    #[prost(bytes = "bytes", tag = "3")]
    pub secret: Bytes,
    /// How long the receiver has to take its turn.
    #[prost(uint64, tag = "4")]
    pub accept_timeout_nanos: u64,
    /// Whether it is told in the shape of the webmutex dialect.
    #[prost(bool, tag = "5")]
    pub webmutex: bool,
    /// The lock; empty: it is of a ticket.
    #[prost(string, tag = "6")]
    pub lock: String,
    /// Where it stands.
    #[prost(enumeration = "WebhookStage", tag = "7")]
    pub stage: i32,
    /// Of one that waits: its place in line.
    #[prost(uint64, tag = "8")]
    pub arrival: u64,
    /// Of one that is due: the grant.
    #[prost(uint64, tag = "9")]
    pub fencing_token: u64,
    /// Of one that is due: its order.
    #[prost(uint64, tag = "10")]
    pub due_number: u64,
    /// Of one that is due: until when it can be taken. Of one that is over: when it is forgotten.
    #[prost(uint64, tag = "11")]
    pub ends_nanos: u64,
    /// How often it was posted.
    #[prost(uint32, tag = "12")]
    pub attempts: u32,
    /// The status of the last post; 0: none.
    #[prost(uint32, tag = "13")]
    pub last_status: u32,
    /// What was wrong with the last post.
    #[prost(string, tag = "14")]
    pub last_error: String,
    /// When the place in line was taken, by the wall clock.
    #[prost(uint64, tag = "15")]
    pub created_at_ms: u64,
    /// Since when it stands where it stands, by the wall clock.
    #[prost(uint64, tag = "16")]
    pub since_ms: u64,
    /// The FIFO, of one that is of a ticket and not of a lock.
    #[prost(string, tag = "17")]
    pub fifo: String,
    /// The ticket, 16 bytes.
    #[prost(bytes = "vec", tag = "18")]
    pub ticket: Vec<u8>,
}

/// Where a webhook stands, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum WebhookStage {
    /// It waits for its turn.
    Waiting = 0,
    /// It is its turn.
    Due = 1,
    /// The receiver has taken it.
    Taken = 2,
    /// The receiver has refused it.
    Refused = 3,
    /// The receiver did not take it in time.
    TimedOut = 4,
    /// Its turn did not come.
    WaitEnded = 5,
    /// Somebody gave up its place.
    Cancelled = 6,
    /// Its turn ended otherwise.
    Ended = 7,
}

impl From<WebhookState> for WebhookStage {
    fn from(state: WebhookState) -> WebhookStage {
        match state {
            WebhookState::Waiting => WebhookStage::Waiting,
            WebhookState::Due => WebhookStage::Due,
            WebhookState::Taken => WebhookStage::Taken,
            WebhookState::Refused => WebhookStage::Refused,
            WebhookState::TimedOut => WebhookStage::TimedOut,
            WebhookState::WaitEnded => WebhookStage::WaitEnded,
            WebhookState::Cancelled => WebhookStage::Cancelled,
            WebhookState::Ended => WebhookStage::Ended,
        }
    }
}

impl From<WebhookStage> for WebhookState {
    fn from(stage: WebhookStage) -> WebhookState {
        match stage {
            WebhookStage::Waiting => WebhookState::Waiting,
            WebhookStage::Due => WebhookState::Due,
            WebhookStage::Taken => WebhookState::Taken,
            WebhookStage::Refused => WebhookState::Refused,
            WebhookStage::TimedOut => WebhookState::TimedOut,
            WebhookStage::WaitEnded => WebhookState::WaitEnded,
            WebhookStage::Cancelled => WebhookState::Cancelled,
            WebhookStage::Ended => WebhookState::Ended,
        }
    }
}

/// What can't be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub String);

const SHARD: u8 = 0;
const LEASE: u8 = 1;
const LOCK: u8 = 2;
const GRANT: u8 = 3;
const WAITER: u8 = 4;
const REQUEST: u8 = 5;
const VALUE: u8 = 6;
const FIFO: u8 = 7;
const TICKET: u8 = 8;
const QUEUE: u8 = 9;
const ITEM: u8 = 10;
const DELIVERY: u8 = 11;
const WEBHOOK: u8 = 12;
const LAPSED: u8 = 13;

impl Key {
    /// The key's bytes, which sort as the keys do. Names have no control characters, so a zero byte
    /// ends one.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes);
        bytes
    }

    /// Puts the key's bytes in place of what is in `bytes`.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        match self {
            Key::Shard => bytes.push(SHARD),
            Key::Lease(namespace, id) => {
                start(bytes, LEASE, namespace);
                bytes.extend_from_slice(&id.0.to_be_bytes());
            }
            Key::Lock(namespace, lock) => {
                start(bytes, LOCK, namespace);
                bytes.extend_from_slice(lock.as_str().as_bytes());
            }
            Key::Grant(namespace, lock, number) => {
                numbered(bytes, GRANT, namespace, lock.as_str(), *number);
            }
            Key::Waiter(namespace, lock, number) => {
                numbered(bytes, WAITER, namespace, lock.as_str(), *number);
            }
            Key::Request(namespace, id) => {
                start(bytes, REQUEST, namespace);
                bytes.extend_from_slice(id.as_str().as_bytes());
            }
            Key::Value(namespace, key) => {
                start(bytes, VALUE, namespace);
                bytes.extend_from_slice(key.as_str().as_bytes());
            }
            Key::Queue(namespace, queue) => {
                start(bytes, QUEUE, namespace);
                bytes.extend_from_slice(queue.as_str().as_bytes());
            }
            Key::Item(namespace, queue, id) => {
                numbered(bytes, ITEM, namespace, queue.as_str(), *id);
            }
            Key::Delivery(namespace, queue, id) => {
                numbered(bytes, DELIVERY, namespace, queue.as_str(), *id);
            }
            Key::Fifo(namespace, id) => {
                start(bytes, FIFO, namespace);
                bytes.extend_from_slice(id.as_str().as_bytes());
            }
            Key::Ticket(namespace, fifo, number) => {
                numbered(bytes, TICKET, namespace, fifo.as_str(), *number);
            }
            Key::Webhook(namespace, number) => {
                start(bytes, WEBHOOK, namespace);
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Key::Lapsed(namespace, lock, number) => {
                numbered(bytes, LAPSED, namespace, lock.as_str(), *number);
            }
        }
    }

    /// Reads a key's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Key, Damage> {
        read_key(bytes).ok_or_else(|| Damage(format!("no key of a record: {bytes:02x?}")))
    }
}

fn start(bytes: &mut Vec<u8>, kind: u8, namespace: &Namespace) {
    bytes.push(kind);
    bytes.extend_from_slice(namespace.as_str().as_bytes());
    bytes.push(0);
}

fn numbered(bytes: &mut Vec<u8>, kind: u8, namespace: &Namespace, name: &str, number: u64) {
    start(bytes, kind, namespace);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&number.to_be_bytes());
}

fn read_key(bytes: &[u8]) -> Option<Key> {
    let (kind, rest) = bytes.split_first()?;
    if *kind == SHARD {
        return rest.is_empty().then_some(Key::Shard);
    }
    let (namespace, rest) = split_zero(rest)?;
    let namespace = Namespace::new(namespace).ok()?;
    Some(match *kind {
        LEASE => Key::Lease(
            namespace,
            LeaseId(u128::from_be_bytes(rest.try_into().ok()?)),
        ),
        LOCK => Key::Lock(
            namespace,
            LockName::new(std::str::from_utf8(rest).ok()?).ok()?,
        ),
        FIFO => Key::Fifo(
            namespace,
            FifoId::new(std::str::from_utf8(rest).ok()?).ok()?,
        ),
        TICKET => {
            let (fifo, number) = split_zero(rest)?;
            let number = u64::from_be_bytes(number.try_into().ok()?);
            Key::Ticket(namespace, FifoId::new(fifo).ok()?, number)
        }
        GRANT | WAITER | LAPSED => {
            let (lock, number) = split_zero(rest)?;
            let lock = LockName::new(lock).ok()?;
            let number = u64::from_be_bytes(number.try_into().ok()?);
            match *kind {
                GRANT => Key::Grant(namespace, lock, number),
                WAITER => Key::Waiter(namespace, lock, number),
                _ => Key::Lapsed(namespace, lock, number),
            }
        }
        REQUEST => Key::Request(
            namespace,
            RequestId::new(std::str::from_utf8(rest).ok()?).ok()?,
        ),
        VALUE => Key::Value(
            namespace,
            ValueKey::new(std::str::from_utf8(rest).ok()?).ok()?,
        ),
        QUEUE => Key::Queue(
            namespace,
            QueueName::new(std::str::from_utf8(rest).ok()?).ok()?,
        ),
        ITEM | DELIVERY => {
            let (queue, id) = split_zero(rest)?;
            let queue = QueueName::new(queue).ok()?;
            let id = u64::from_be_bytes(id.try_into().ok()?);
            if *kind == ITEM {
                Key::Item(namespace, queue, id)
            } else {
                Key::Delivery(namespace, queue, id)
            }
        }
        WEBHOOK => Key::Webhook(namespace, u64::from_be_bytes(rest.try_into().ok()?)),
        _ => return None,
    })
}

fn split_zero(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    Some((text, bytes.get(end + 1..)?))
}

impl Record {
    /// Whether it is never written anew while it is there: what a request came to, and a grant on a
    /// shared lease. A store makes short work of what comes and goes.
    pub fn is_written_once(&self) -> bool {
        match &self.value {
            Value::Request(_) => true,
            Value::Grant(grant) => !grant.lease.is_empty(),
            _ => false,
        }
    }
}

impl Record {
    /// Appends the value's bytes.
    pub fn encode_value(&self, bytes: &mut Vec<u8>) {
        // Encoding fails only where the buffer can't grow, and a vector can.
        let _ = match &self.value {
            Value::Shard(value) => value.encode(bytes),
            Value::Lease(value) => value.encode(bytes),
            Value::Lock(value) => value.encode(bytes),
            Value::Grant(value) | Value::Waiter(value) => value.encode(bytes),
            Value::Request(value) => value.encode(bytes),
            Value::Value(value) => value.encode(bytes),
            Value::Queue(value) => value.encode(bytes),
            Value::Item(value) => value.encode(bytes),
            Value::Delivery(value) => value.encode(bytes),
            Value::Fifo(value) => value.encode(bytes),
            Value::Ticket(value) => value.encode(bytes),
            Value::Webhook(value) => value.encode(bytes),
            Value::Lapsed(value) => value.encode(bytes),
        };
    }

    /// Reads a record.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Record, Damage> {
        let key = Key::decode(key)?;
        let read = match &key {
            Key::Shard => ShardValue::decode(value).map(Value::Shard),
            Key::Lease(..) => LeaseValue::decode(value).map(Value::Lease),
            Key::Lock(..) => LockValue::decode(value).map(Value::Lock),
            Key::Grant(..) => HoldValue::decode(value).map(Value::Grant),
            Key::Waiter(..) => HoldValue::decode(value).map(Value::Waiter),
            Key::Request(..) => RequestValue::decode(value).map(Value::Request),
            Key::Value(..) => KeptValue::decode(value).map(Value::Value),
            Key::Queue(..) => QueueValue::decode(value).map(Value::Queue),
            Key::Item(..) => ItemValue::decode(value).map(Value::Item),
            Key::Delivery(..) => DeliveryValue::decode(value).map(Value::Delivery),
            Key::Fifo(..) => FifoValue::decode(value).map(Value::Fifo),
            Key::Ticket(..) => TicketValue::decode(value).map(Value::Ticket),
            Key::Webhook(..) => WebhookValue::decode(value).map(Value::Webhook),
            Key::Lapsed(..) => LapsedValue::decode(value).map(Value::Lapsed),
        };
        match read {
            Ok(value) => Ok(Record { key, value }),
            Err(error) => Err(Damage(format!("the value of {key:?}: {error}"))),
        }
    }
}

/// A span as stored.
pub(super) fn nanos(span: Duration) -> u64 {
    (Time::ZERO + span).as_nanos()
}

/// What callers say of themselves, as stored.
pub(super) fn about_value(about: Option<&About>) -> (String, BTreeMap<String, String>) {
    about.map_or_else(Default::default, |about| {
        (about.owner().to_owned(), about.metadata().clone())
    })
}

/// An id of 128 bits as stored.
pub(super) fn read_id(bytes: &[u8]) -> Result<u128, Damage> {
    match bytes.try_into() {
        Ok(id) => Ok(u128::from_be_bytes(id)),
        Err(_) => Err(Damage(format!("an id of {} bytes", bytes.len()))),
    }
}

/// The id of a lease as stored; `None` where there is none, an error where it is no id.
pub(super) fn read_lease_id(bytes: &[u8]) -> Result<Option<LeaseId>, Damage> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match bytes.try_into() {
        Ok(id) => Ok(Some(LeaseId(u128::from_be_bytes(id)))),
        Err(_) => Err(Damage(format!("a lease id of {} bytes", bytes.len()))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        "[^\\p{C}]{1,8}"
    }

    fn key() -> impl Strategy<Value = Key> {
        let ns = || name().prop_map(|text| Namespace::new(&text).unwrap());
        let lock = || name().prop_map(|text| LockName::new(&text).unwrap());
        let queue = || name().prop_map(|text| QueueName::new(&text).unwrap());
        let fifo = || name().prop_map(|text| FifoId::new(&text).unwrap());
        prop_oneof![
            Just(Key::Shard),
            (ns(), any::<u128>()).prop_map(|(ns, id)| Key::Lease(ns, LeaseId(id))),
            (ns(), lock()).prop_map(|(ns, lock)| Key::Lock(ns, lock)),
            (ns(), lock(), any::<u64>()).prop_map(|(ns, lock, n)| Key::Grant(ns, lock, n)),
            (ns(), lock(), any::<u64>()).prop_map(|(ns, lock, n)| Key::Waiter(ns, lock, n)),
            (ns(), name()).prop_map(|(ns, id)| Key::Request(ns, RequestId::new(&id).unwrap())),
            (ns(), name()).prop_map(|(ns, key)| Key::Value(ns, ValueKey::new(&key).unwrap())),
            (ns(), queue()).prop_map(|(ns, queue)| Key::Queue(ns, queue)),
            (ns(), queue(), any::<u64>()).prop_map(|(ns, queue, id)| Key::Item(ns, queue, id)),
            (ns(), queue(), any::<u64>()).prop_map(|(ns, queue, id)| Key::Delivery(ns, queue, id)),
            (ns(), fifo()).prop_map(|(ns, fifo)| Key::Fifo(ns, fifo)),
            (ns(), fifo(), any::<u64>()).prop_map(|(ns, fifo, n)| Key::Ticket(ns, fifo, n)),
            (ns(), any::<u64>()).prop_map(|(ns, n)| Key::Webhook(ns, n)),
            (ns(), lock(), any::<u64>()).prop_map(|(ns, lock, n)| Key::Lapsed(ns, lock, n)),
        ]
    }

    proptest! {
        #[test]
        fn a_key_reads_back_as_it_was_written(key in key()) {
            prop_assert_eq!(Key::decode(&key.encode()).unwrap(), key);
        }

        #[test]
        fn keys_sort_as_their_bytes_do(a in key(), b in key()) {
            prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = Record::decode(&key, &value);
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let record = Record {
            key: Key::Grant(
                Namespace::new("ci").unwrap(),
                LockName::new("deploy").unwrap(),
                7,
            ),
            value: Value::Grant(HoldValue {
                shared: true,
                max_shared: 3,
                ttl_nanos: 5,
                owner: "me".to_owned(),
                request_id: "r".to_owned(),
                fingerprint: 9,
                ..HoldValue::default()
            }),
        };
        let mut value = Vec::new();
        record.encode_value(&mut value);
        assert_eq!(
            Record::decode(&record.key.encode(), &value).unwrap(),
            record
        );
    }
}
