//! Holdfast: a server for locks, leases and queues that any program can reach.

pub mod api;
pub mod cli;
pub mod core;
pub mod proto;
pub mod server;
pub mod shard;
pub mod store;
pub mod tls;
pub mod webhook;
