//! The signals that are passed on to the command, and end the waiting before there is one.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

use super::Failure;
use crate::cli::error::CliError;
use crate::cli::signal::cannot_listen;

/// The signals that are passed on.
const FORWARDED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTERM,
];

/// Listens from when it is made, so that none is lost.
#[derive(Debug)]
pub struct Signals {
    forwarded: Vec<(Signal, unix::Signal)>,
    children: unix::Signal,
    ignored: u64,
}

impl Signals {
    /// Begins to listen. Those that were ignored at the start, as `nohup` has it, stay ignored, by the
    /// command too.
    pub fn listen() -> Result<Signals, CliError> {
        let ignored = ignored_signals();
        let heeded = FORWARDED.into_iter().filter(|s| !contains(ignored, *s));
        Ok(Signals {
            forwarded: heeded
                .map(|signal| Ok((signal, listen_for(signal)?)))
                .collect::<Result<_, CliError>>()?,
            children: listen_for(Signal::SIGCHLD)?,
            ignored,
        })
    }

    /// Waits for one that is to be passed on.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Waits for one that is to be passed on, or, `None`, until a child may have changed.
    pub async fn next_or_child(&mut self) -> Option<Signal> {
        poll_fn(|context| match self.poll_next(context) {
            Poll::Ready(signal) => Poll::Ready(Some(signal)),
            Poll::Pending => self.children.poll_recv(context).map(|_| None),
        })
        .await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
        for (signal, stream) in &mut self.forwarded {
            if stream.poll_recv(context).is_ready() {
                return Poll::Ready(*signal);
            }
        }
        Poll::Pending
    }

    /// Does what is to be done while no signal comes.
    pub async fn unless_one_comes<T, E: Into<CliError>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            signal = self.next() => Err(Failure::Signal(signal)),
            done = work => done.map_err(Failure::from),
        }
    }

    /// Listens for ^Z from now on; `None`: it was ignored at the start.
    pub fn stops(&self) -> Result<Option<unix::Signal>, CliError> {
        match contains(self.ignored, Signal::SIGTSTP) {
            true => Ok(None),
            false => listen_for(Signal::SIGTSTP).map(Some),
        }
    }
}

fn listen_for(signal: Signal) -> Result<unix::Signal, CliError> {
    unix::signal(SignalKind::from_raw(signal as i32)).map_err(cannot_listen)
}

/// The signals that this process ignores, the first in the lowest bit; none, where that can't be
/// known.
fn ignored_signals() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigIgn:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .unwrap_or_default()
}

fn contains(signals: u64, signal: Signal) -> bool {
    signals >> (signal as u32 - 1) & 1 == 1
}
