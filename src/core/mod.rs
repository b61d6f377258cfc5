//! The rules of the service: a state machine that is pure, synchronous and deterministic.
//!
//! [`State::apply`] takes a command and the time, changes the state, and appends to an [`Out`] the
//! changes to make durable and the effects to tell once they are. It never does I/O, never reads a
//! clock and never draws a random number: times and fresh ids arrive with the command. So the same
//! commands give the same state, and a simulator can drive it through years in seconds.

mod command;
pub mod limits;
mod name;
mod state;
mod time;

pub use command::*;
pub use name::*;
pub use state::{Change, Context, Out, State};
pub use time::{Time, WallTime};
