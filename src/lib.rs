//! Holdfast: a server for locks, leases and queues that any program can reach.

pub mod store;
