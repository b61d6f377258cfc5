//! The terminal, which one process group has at a time.
//!
//! The command is in a group of its own, so it needs the terminal to read from it, and to get ^C and ^Z.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, stdin, stdout};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getppid, getsid, tcgetpgrp, tcsetpgrp};

/// The terminal that this process belongs to.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
    /// The group of this process.
    own: Pid,
    /// How the terminal was set.
    settings: Option<Termios>,
}

impl Terminal {
    /// The terminal; `None`: this process belongs to none.
    pub fn open() -> Option<Terminal> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let tty = tty.ok()?;
        let settings = tcgetattr(&tty).ok();
        Some(Terminal {
            tty,
            own: getpgrp(),
            settings,
        })
    }

    /// Whether the command is to have the terminal from the start. In a pipeline it is not: the
    /// others in it, a pager say, may need it. It gets the terminal when it asks for it.
    pub fn is_for_the_command(&self) -> bool {
        self.is_ours() && stdin().is_terminal() && stdout().is_terminal()
    }

    /// Whether this process's group has it.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(&self.tty) == Ok(self.own)
    }

    /// Gives it to a group.
    pub fn give(&self, group: Pid) {
        without_being_stopped(|| {
            let _ = tcsetpgrp(&self.tty, group);
        });
    }

    /// Takes it back from a group, where that has it.
    pub fn take_back(&self, group: Pid) {
        if tcgetpgrp(&self.tty) == Ok(group) {
            self.give(self.own);
        }
    }

    /// Sets it as it was, for one that could not do so itself.
    pub fn restore(&self) {
        if let Some(settings) = &self.settings {
            without_being_stopped(|| {
                let _ = tcsetattr(&self.tty, SetArg::TCSADRAIN, settings);
            });
        }
    }
}

/// Whether there is a shell that can let this process go on after it has been stopped.
pub fn may_be_stopped() -> bool {
    getppid().as_raw() > 0 && getsid(Some(getppid())) == getsid(None)
}

/// Does what a group without the terminal is stopped for.
fn without_being_stopped(work: impl FnOnce()) {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    work();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
}
