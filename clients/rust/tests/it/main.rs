//! The client against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod examples;
mod fifos;
mod links;
mod locks;
mod losses;
mod proxy;
mod queues;
mod server;
mod tls;
mod values;
