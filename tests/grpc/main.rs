//! The gRPC surface over real sockets, with the generated clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod fifo;
mod lease;
mod lock;
mod queue;
mod session;
mod session_batch;
mod support;
mod webhook;
mod wire;
