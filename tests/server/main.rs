//! The running server from outside: its settings, its tokens, its limits and its end, over real
//! sockets. What the surfaces answer is tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../certificates/mod.rs"]
mod certificates;
mod limits;
mod process;
mod settings;
mod shutdown;
mod tls;
mod tokens;
mod wire;
