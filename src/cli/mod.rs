//! The command line: one binary for the server and for those who call it.
//!
//! It reads arguments, calls the library and prints; no rule lives here. One file per subcommand.

mod acquire;
mod awaited;
mod callback;
mod client;
mod completions;
mod error;
mod fifo;
mod fifo_views;
mod fifo_wait;
mod input;
mod lease;
mod listing;
mod lock;
mod output;
mod queue;
mod run;
mod serve;
mod signal;
mod tls;
mod token;
mod value;
mod views;
mod webhook;
mod why;

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Locks, leases and queues that any program can reach.
///
/// Start a server with `holdfast serve`; nothing else is needed.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, propagate_version = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// The arguments of a subcommand are made only when it is called. Their doc comment then replaces the
// one here, which is all that the list of subcommands knows.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Run the server
    Serve(Box<serve::Serve>),
    /// Run a command while holding a lock
    Run(Box<run::RunArgs>),
    /// Take, keep, give back and look at locks
    Lock(lock::LockArgs),
    /// Tell what stands behind a lock: who holds it, who waits, and how its last holds ended
    Why(why::WhyArgs),
    /// Make and keep shared leases: one heartbeat for many locks
    Lease(lease::LeaseArgs),
    /// Stand in durable lines, with tickets that outlive connections
    Fifo(fifo::FifoArgs),
    /// Keep small values under keys, and change them atomically
    Value(value::ValueArgs),
    /// Put items in line, and take each once
    Queue(queue::QueueArgs),
    /// Look at webhooks, give them up, and tell what they are signed with
    Webhook(webhook::WebhookArgs),
    /// Make, list and revoke the API tokens of a server on this machine
    Token(token::Token),
    /// Print a script that completes this command's arguments in a shell
    Completions(completions::Completions),
}

/// Reads this process's arguments and does what they say. What it returns is the exit code: 0, or 1
/// after an error, which has then been told on stderr. Bad usage is 2, and 64 for `run`, which has to
/// be told apart from what the command that it runs ends with.
pub fn main() -> ExitCode {
    if let Some(code) = run::guardian::main() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && is_run() => {
            let _ = error.print();
            return error::Exit::BadValue.into();
        }
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Serve(args) => args.run(),
        Command::Run(args) => args.run(),
        Command::Lock(args) => args.run(),
        Command::Why(args) => args.run(),
        Command::Lease(args) => args.run(),
        Command::Fifo(args) => args.run(),
        Command::Value(args) => args.run(),
        Command::Queue(args) => args.run(),
        Command::Webhook(args) => args.run(),
        Command::Token(args) => args.run(),
        Command::Completions(args) => args.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

/// Whether the arguments, which can't be read, are those of `run`.
fn is_run() -> bool {
    std::env::args_os().nth(1).is_some_and(|name| name == "run")
}

/// An error with those of its causes that it does not tell itself.
fn describe(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Writes to stdout. A reader that has gone away (`| head`) is no error.
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_subcommand_says_of_itself_what_the_list_says_of_it() {
        let listed = Cli::command();
        let mut built = listed.clone();
        built.build();
        assert!(listed.has_subcommands());
        for subcommand in listed.get_subcommands() {
            let name = subcommand.get_name();
            let itself = built.find_subcommand(name).unwrap();
            let about = |command: &clap::Command| command.get_about().unwrap().to_string();
            assert_eq!(about(itself), about(subcommand), "{name}");
        }
    }
}
