//! The guardian: what ends the command when the process that watches over it was killed.
//!
//! It is this program once more, started before the command as the leader of the process group that
//! the command will be in. It holds the reading end of a pipe whose writing end only its parent has:
//! the end of the pipe is the end of the parent, however that came. As the group's leader it also
//! keeps the group's number from being anyone else's.
//!
//! It blocks all signals, since those to its group are meant for the command; its parent ends it by
//! KILL.

use std::fs;
use std::io::{self, Read as _};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, getpgrp, getpid};

/// The first argument that makes this program a guardian; the second is the grace in milliseconds.
pub const ARGUMENT: &str = "--guard-process-group";
/// What the parent says before it starts the command; without it there is nobody to end.
pub const ARMED: &[u8] = b"a";
/// How often it is looked whether the group is empty.
const LOOK: Duration = Duration::from_millis(50);

/// Runs as a guardian where the arguments say so.
pub fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let grace = arguments
        .next()
        .and_then(|text| text.to_str()?.parse().ok());
    let grace = Duration::from_millis(grace.unwrap_or_default());
    let _ = SigSet::all().thread_block();
    if getpgrp() == getpid() && is_orphaned_with_a_command() {
        end(getpgrp(), grace);
    }
    Some(ExitCode::SUCCESS)
}

/// Reads the pipe to its end, which is that of the parent. Whether there is a command.
fn is_orphaned_with_a_command() -> bool {
    let mut said = Vec::new();
    let _ = io::stdin().lock().read_to_end(&mut said);
    said == ARMED
}

/// TERM, grace, KILL.
fn end(group: Pid, grace: Duration) {
    // A command that was just being started when its parent was killed is in the group by then.
    sleep(LOOK);
    let until = Instant::now() + grace;
    let _ = killpg(group, Signal::SIGTERM);
    // One that is stopped can't heed it.
    let _ = killpg(group, Signal::SIGCONT);
    while Instant::now() < until {
        if !has_others(group) {
            return;
        }
        sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
    }
    let _ = killpg(group, Signal::SIGKILL);
}

/// Whether anyone but this process is alive in the group; yes, where that can't be known.
fn has_others(group: Pid) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return true;
    };
    processes.flatten().any(|process| {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        pid.is_some_and(|pid: i32| pid != getpid().as_raw())
            && fs::read_to_string(process.path().join("stat"))
                .is_ok_and(|stat| is_alive_in(group, &stat))
    })
}

/// Reads a line of `/proc/PID/stat`. The name, which may hold anything, is in parentheses.
fn is_alive_in(group: Pid, stat: &str) -> bool {
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = rest.split_whitespace();
    let (state, of) = (fields.next(), fields.nth(1));
    !matches!(state, Some("Z" | "X")) && of == Some(group.to_string().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_known_by_its_group_whatever_its_name() {
        let group = Pid::from_raw(42);
        assert!(is_alive_in(group, "7 (sh) S 1 42 42 0 -1"));
        assert!(is_alive_in(group, "7 (a ) Z 1 3) T 1 42 42 0 -1"));
        assert!(!is_alive_in(group, "7 (sh) Z 1 42 42 0 -1"));
        assert!(!is_alive_in(group, "42 (sh) S 42 7 42 0 -1"));
        assert!(!is_alive_in(group, ""));
    }
}
