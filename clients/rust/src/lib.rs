//! The Rust client of Holdfast: locks, leases, FIFOs, queues and values that any program can share.
//!
//! A [`Client`] is one connection. Locks are taken over one stream, the session, whose lease keeps
//! all of them with one heartbeat. When the connection breaks, the client connects again and takes up
//! its lease, its holds and its places in line where they stood.
//!
//! **A grant is lost here before it can be anyone else's.** A [`Grant`] counts its time from when the
//! last acknowledged renewal was *sent*, on a clock that counts suspended time, less a margin of a
//! tenth of the TTL (100 ms to 5 s, at most half of it). A lock service can't stop a paused process,
//! though: a resource that matters checks [`Grant::fencing_token`].
//!
//! **Calls are made again by themselves** where the connection broke or the server was overloaded,
//! within [`Builder::call_timeout`]. Each that changes something has a request id, so it is carried
//! out once.
//!
//! The seven operations that are known from libraries over etcd:
//!
//! | operation | here |
//! |---|---|
//! | `lock(key) { block }` | [`Lock::scope`] |
//! | `tryLock(key) { block }` | [`Lock::try_scope`] |
//! | `getValues(key)` | [`Client::get_values`] |
//! | `tryTransformValue(key, f)` | [`Value::try_transform`] |
//! | `transformValue(key, f)` | [`Value::transform`] |
//! | `enqueueValue(dir, value, ttl?)` | [`Queue::push`] |
//! | `dequeueValue(dir)` | [`Queue::pop`] |

mod builder;
mod client;
mod clock;
mod convert;
mod election;
mod error;
mod fifo;
mod grant;
mod lease;
pub mod limits;
mod lock;
mod queue;
mod retry;
mod session;
mod turn;
mod value;

/// The stubs, as they are generated from the schema, for what the client has no word for.
#[allow(missing_docs, clippy::all, rust_2018_idioms, rustdoc::all)]
#[rustfmt::skip]
#[path = "generated/holdfast.v1.rs"]
pub mod proto;

pub use builder::Builder;
pub use client::Client;
pub use clock::{Clock, SystemClock};
pub use election::{Election, Leader, Observer};
pub use error::{Details, Error, Result};
pub use fifo::{Fifo, FifoOptions, Ticket, TicketOptions};
pub use grant::Grant;
pub use lease::{Lease, LeaseOptions};
pub use lock::{Lock, RwLock};
pub use queue::{Consumer, Delivery, Queue};
pub use session::Loss;
pub use turn::Turn;
pub use value::{Change, Entry, Transformed, Value, Watch};
