//! Webhooks, outward: calling a receiver back, signed, repeated in bounded time, and nowhere inside
//! the network that the operator does not allow.
//!
//! It knows nothing of locks and lines: whoever has a [`Job`] calls [`deliver`].

mod address;
mod deliver;
mod endpoint;
mod gate;
mod retry;
mod sender;
mod signature;
mod tls;
mod turns;

#[cfg(test)]
mod tests;

pub use address::AddressPolicy;
pub use deliver::{Attempt, Delivered, Job, deliver};
pub use endpoint::Endpoint;
pub use gate::{
    ADDRESSES_PER_HOST_MAX, Gate, LOOKUP_TIMEOUT, LOOKUPS_MAX, Refusal, Resolve, SystemResolver,
};
pub use retry::{PAUSE_MAX, PAUSE_MIN, Schedule};
pub use sender::{
    ANSWER_BYTES_MAX, ANSWER_HEADERS_MAX, ANSWER_TIMEOUT, ATTEMPT_TIMEOUT_MAX, AttemptOutcome,
    CONNECT_TIMEOUT, Delivery, Sender, SenderError,
};
pub use signature::{KEY_BYTES_MAX, KEY_BYTES_MIN, WebhookSecret};
pub use turns::{IN_FLIGHT_PER_NAMESPACE_MAX, Turn, Turns};
