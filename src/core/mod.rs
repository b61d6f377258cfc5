//! The rules of the service: a state machine that is pure, synchronous and deterministic.
//!
//! [`State::apply`] takes a command and the time, changes the state, and appends to an [`Out`] the
//! changes to make durable and the effects to tell once they are. It never does I/O, never reads a
//! clock and never draws a random number: times and fresh ids arrive with the command. So the same
//! commands give the same state, and a simulator can drive it through years in seconds.

mod command;
mod fifo;
mod history;
mod lapse;
mod lease;
pub mod limits;
mod line;
mod load;
mod lock;
mod name;
mod page;
mod queue;
mod record;
mod request;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod timer;
mod value;
mod view;
mod webhook;

pub use command::*;
pub use load::Loader;
pub use name::*;
pub use record::{
    Change, Damage, FifoValue, Key, Record, ShardValue, TicketValue, TimeoutsValue, Value,
    WebhookStage,
};
pub use request::Fnv1a;
pub use state::{Context, Out, State};
pub use time::{Time, WallTime};
