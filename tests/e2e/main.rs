//! The system from outside: the real binary, real sockets, the clients that people have.
//!
//! Nothing here reaches into the server: what a test knows it was told over a socket, by an exit
//! code, or by the system (a process id, the memory of a process).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bad_grpc;
mod bad_http;
mod bad_webhooks;
mod ci;
mod connections;
mod cycles;
mod dialects;
mod fifos;
mod full_disk;
mod grpc;
mod http;
mod http2;
mod openapi;
mod queues;
mod readme;
mod receiver;
mod restarts;
mod server;
mod tenants;
mod ticket_callbacks;
mod values;
mod webhooks;
