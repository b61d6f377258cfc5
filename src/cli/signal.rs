//! The signals that end a command that waits.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::{CliError, Exit};
use crate::api::Reason;

/// Listens from when it is made, so that no signal is lost between two waits for one.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen, instead of ending at once on such a signal.
    pub fn listen() -> Result<Signals, CliError> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(cannot_listen)?,
            terminate: signal(SignalKind::terminate()).map_err(cannot_listen)?,
        })
    }

    /// Waits for a signal, and tells the exit code that goes with it.
    pub async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// A signal can't be listened for.
pub fn cannot_listen(error: io::Error) -> CliError {
    CliError::new(
        Reason::Internal,
        format!("cannot listen for signals: {error}"),
    )
}
