//! Between the command and the rest of the world: starts it, passes signals and the terminal on to it,
//! ends it when what is held is lost, and sees that nothing of it is left.

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::process::Command;

use futures_util::future::FutureExt as _;
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use tokio::signal::unix;
use tokio::time::Instant;

use super::OnLost;
use super::group::{Change, Group};
use super::hold::Held;
use super::news::{Loss, News, at};
use super::plan::{KILL_MARGIN, Plan};
use super::signals::Signals;
use super::terminal::{Terminal, may_be_stopped};
use crate::cli::error::{CliError, Exit};
use crate::core::Invalid;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The command ended with this exit code.
    Ended(u8),
    /// What was held was lost while it ran.
    Lost,
}

/// Runs the command.
#[derive(Debug)]
pub struct Supervisor<'a> {
    plan: &'a Plan,
    news: &'a News,
    group: Group,
    signals: Signals,
    terminal: Option<Terminal>,
    /// Whether the command is to have the terminal whenever this process could have it.
    with_terminal: bool,
    /// ^Z, where it does not reach the command.
    stops: Option<unix::Signal>,
    /// Whether the next ^Z is of this process's own making.
    own_stop: bool,
    /// When those that are left are to be ended by KILL.
    kill_at: Option<Instant>,
    /// Whether they were.
    killed: bool,
    lost: bool,
}

impl<'a> Supervisor<'a> {
    /// Looks where it stands: on a terminal or not, in the foreground or not.
    pub fn new(
        plan: &'a Plan,
        news: &'a News,
        group: Group,
        signals: Signals,
    ) -> Result<Supervisor<'a>, CliError> {
        let terminal = Terminal::open();
        let with_terminal = terminal.as_ref().is_some_and(Terminal::is_for_the_command);
        let stops = match &terminal {
            Some(_) if !with_terminal => signals.stops()?,
            _ => None,
        };
        Ok(Supervisor {
            plan,
            news,
            group,
            signals,
            terminal,
            with_terminal,
            stops,
            own_stop: false,
            kill_at: None,
            killed: false,
            lost: false,
        })
    }

    /// Runs the command to its end, and that of all in its group.
    ///
    /// # Errors
    /// It can't be started.
    pub async fn run(mut self, held: &Held, command: Command) -> Result<Done, CliError> {
        // Before the start: it must not find itself without.
        if self.with_terminal {
            self.give_terminal();
        }
        let program = command.get_program().to_owned();
        let ended = match self.group.spawn(command) {
            Ok(()) => Ok(self.watch(held).await),
            Err(error) => Err(not_started(&program.to_string_lossy(), &error)),
        };
        if let Some(terminal) = &self.terminal {
            if matches!(ended, Ok((_, true))) {
                terminal.restore();
            }
            terminal.take_back(self.group.id());
        }
        let (code, _) = ended?;
        self.end_the_rest(held).await;
        Ok(match self.lost {
            true => Done::Lost,
            false => Done::Ended(code),
        })
    }

    /// Waits for the command's end: its exit code, and whether a signal ended it.
    async fn watch(&mut self, held: &Held) -> (u8, bool) {
        let mut lost = pin!(held.lost().fuse());
        loop {
            match self.group.reap() {
                Some(Change::Ended { code, by_signal }) => return (code, by_signal),
                Some(Change::Stopped(signal)) => {
                    self.stopped(signal, held);
                    continue;
                }
                None => {}
            }
            tokio::select! {
                biased;
                loss = &mut lost => self.lost(&loss),
                signal = self.signals.next_or_child() => if let Some(signal) = signal {
                    self.group.signal(signal);
                },
                () = next(&mut self.stops) => self.stop_asked(),
                () = at(self.kill_at) => self.kill(),
            }
        }
    }

    /// Ends what the command has left behind in its group.
    async fn end_the_rest(&mut self, held: &Held) {
        self.group.dismiss_guardian();
        let mut lost = pin!(held.lost().fuse());
        loop {
            self.group.reap();
            if self.group.is_empty() {
                return;
            }
            if self.kill_at.is_none() {
                self.group.end(Signal::SIGTERM);
                self.kill_at = Some(Instant::now() + self.plan.grace);
            }
            tokio::select! {
                biased;
                loss = &mut lost, if !self.lost => self.lost(&loss),
                signal = self.signals.next_or_child() => if let Some(signal) = signal {
                    self.group.signal(signal);
                },
                // What KILL does not end, in a hung device say, can't be waited for.
                () = at(self.kill_at) => match self.killed {
                    true => return,
                    false => self.kill(),
                },
            }
        }
    }

    fn lost(&mut self, loss: &Loss) {
        self.lost = true;
        match self.plan.on_lost {
            OnLost::Term => {
                self.group.end(Signal::SIGTERM);
                let kill_at = Instant::now() + self.plan.grace;
                self.kill_at.get_or_insert(kill_at);
            }
            OnLost::Kill => self.kill(),
            OnLost::Ignore => self.group.signal(Signal::SIGCONT),
        }
        self.news.lost(loss);
    }

    fn kill(&mut self) {
        self.group.signal(Signal::SIGKILL);
        self.killed = true;
        // Again, then: what could not be ended may be so by now.
        self.kill_at = Some(Instant::now() + KILL_MARGIN);
    }

    fn give_terminal(&self) {
        if let Some(terminal) = &self.terminal
            && terminal.is_ours()
        {
            terminal.give(self.group.id());
        }
    }

    /// ^Z came to this process: the command is stopped first, and then this process with it.
    fn stop_asked(&mut self) {
        if !std::mem::take(&mut self.own_stop) {
            self.group.signal(Signal::SIGTSTP);
        }
    }

    /// The command was stopped.
    fn stopped(&mut self, signal: i32, held: &Held) {
        let Some(terminal) = &self.terminal else {
            // Without a terminal there is no shell that would let it go on.
            return;
        };
        let wants_terminal = signal == Signal::SIGTTIN as i32 || signal == Signal::SIGTTOU as i32;
        if self.lost && self.plan.on_lost != OnLost::Ignore {
            // It is to end, and can't while it is stopped.
            self.group.signal(Signal::SIGCONT);
        } else if wants_terminal && terminal.is_ours() {
            self.with_terminal = true;
            terminal.give(self.group.id());
            self.group.signal(Signal::SIGCONT);
        } else {
            terminal.take_back(self.group.id());
            self.suspend();
            self.resumed(held);
        }
    }

    /// Stops this process, and those of its job, until the shell lets them go on.
    fn suspend(&mut self) {
        let own_group = Pid::from_raw(0);
        self.own_stop = self.stops.is_some();
        // Where nothing listens for it this stops this process too.
        let _ = kill(own_group, Signal::SIGTSTP);
        if self.stops.is_some() && may_be_stopped() {
            let _ = raise(Signal::SIGSTOP);
        }
    }

    /// Goes on, unless what was held is lost by now: then the command must not.
    fn resumed(&self, held: &Held) {
        if held.is_lost() && !self.lost {
            return;
        }
        if self.with_terminal {
            self.give_terminal();
        }
        self.group.signal(Signal::SIGCONT);
    }
}

async fn next(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn not_started(program: &str, error: &io::Error) -> CliError {
    let exit = match error.kind() {
        ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::NotRunnable,
    };
    let expected = format!("{program} can't be run: {error}");
    CliError::from(Invalid::new("command", expected)).with_exit(exit)
}
