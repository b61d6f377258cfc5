//! The process group of the command, and what becomes of those in it.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{self, WaitOptions};

use super::{SIGNALED, guardian};
use crate::api::Reason;
use crate::cli::error::CliError;

/// The group. Dropping it while the command runs has the guardian end it.
#[derive(Debug)]
pub struct Group {
    /// The guardian, and the group that it leads.
    leader: Pid,
    /// Whether the guardian is there, alive or not.
    guarded: bool,
    /// The guardian ends the group when this is closed.
    pipe: ChildStdin,
    /// The command.
    child: Option<Pid>,
    /// Whether the command has been started and not ended.
    running: bool,
}

/// What has become of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended with this exit code.
    Ended {
        /// The code, that of a signal included.
        code: u8,
        /// Whether a signal ended it.
        by_signal: bool,
    },
    /// It was stopped.
    Stopped(i32),
}

impl Group {
    /// Makes the group, with nobody in it but its guardian, and doesn't wait for its start.
    pub fn prepare(grace: Duration) -> Result<Group, CliError> {
        // Orphans of the group become children of this process: so it knows when all have ended.
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_child_subreaper(true).map_err(|error| cannot("adopt", error))?;
        let mut command = Command::new(own_program().map_err(|error| cannot("find", error))?);
        command
            .arg0("holdfast")
            .arg(guardian::ARGUMENT)
            .arg(grace.as_millis().to_string())
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It inherits what is blocked, so that no signal finds it unprepared.
        let before = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .map_err(|error| cannot("block signals for", error))?;
        let spawned = command.spawn();
        let restored = before.thread_set_mask();
        let mut spawned = spawned.map_err(|error| cannot("start", error))?;
        restored.map_err(|error| cannot("unblock signals after", error))?;
        let (leader, pipe) = (pid_of(&spawned), spawned.stdin.take());
        let pipe = pipe.ok_or_else(|| cannot("talk to", "it has no pipe"))?;
        Ok(Group {
            leader,
            guarded: true,
            pipe,
            child: None,
            running: false,
        })
    }

    /// The group's number.
    pub fn id(&self) -> Pid {
        self.leader
    }

    /// Starts the command in the group.
    pub fn spawn(&mut self, mut command: Command) -> io::Result<()> {
        // Before the start: whenever this process is killed, the guardian knows of the command.
        self.pipe.write_all(guardian::ARMED)?;
        command.process_group(self.leader.as_raw());
        self.child = Some(pid_of(&command.spawn()?));
        self.running = true;
        Ok(())
    }

    /// Sends a signal to all in the group. It may be empty by now.
    pub fn signal(&self, signal: Signal) {
        let _ = killpg(self.leader, signal);
    }

    /// Sends the signal that is to end the group, also to those in it that are stopped.
    pub fn end(&self, signal: Signal) {
        self.signal(signal);
        self.signal(Signal::SIGCONT);
    }

    /// Sees to all children that have changed: what has become of the command; `None`: nothing new.
    pub fn reap(&mut self) -> Option<Change> {
        loop {
            // Not by `nix`, which knows no real-time signals and loses whom they ended.
            let (pid, status) = match process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some(changed)) => changed,
                Err(Errno::INTR) => continue,
                Ok(None) | Err(_) => return None,
            };
            let pid = Pid::from_raw(pid.as_raw_nonzero().get());
            let ended = status.exited() || status.signaled();
            if pid == self.leader {
                self.guarded &= !ended;
            } else if Some(pid) == self.child {
                self.running &= !ended;
                let signal = status.terminating_signal();
                return Some(
                    match (status.stopping_signal(), signal, status.exit_status()) {
                        (Some(signal), _, _) => Change::Stopped(signal),
                        (_, Some(signal), _) => Change::Ended {
                            code: SIGNALED.saturating_add(low_byte(signal)),
                            by_signal: true,
                        },
                        (_, _, code) => Change::Ended {
                            code: low_byte(code.unwrap_or_default()),
                            by_signal: false,
                        },
                    },
                );
            }
        }
    }

    /// Ends the guardian. From then on [`Group::is_empty`] can tell.
    pub fn dismiss_guardian(&mut self) {
        if self.guarded {
            // It is a child that nobody has waited for: the number is nobody else's.
            let _ = kill(self.leader, Signal::SIGKILL);
            let leader = process::Pid::from_raw(self.leader.as_raw());
            let wait = || process::waitpid(leader, WaitOptions::empty());
            while matches!(wait(), Err(Errno::INTR)) {}
            self.guarded = false;
        }
    }

    /// Whether all in the group have ended.
    pub fn is_empty(&self) -> bool {
        let Some(group) = process::Pid::from_raw(self.leader.as_raw()) else {
            return true;
        };
        loop {
            match process::waitpgid(group, WaitOptions::NOHANG) {
                Ok(None) => return false,
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.running {
            self.dismiss_guardian();
        }
    }
}

/// This program, also when its file was replaced meanwhile.
fn own_program() -> io::Result<std::path::PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    }
}

fn low_byte(number: i32) -> u8 {
    number.to_le_bytes()[0]
}

fn pid_of(child: &std::process::Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn cannot(what: &str, error: impl std::fmt::Display) -> CliError {
    let message = format!("cannot {what} the command's guardian: {error}");
    CliError::new(Reason::Internal, message)
}
