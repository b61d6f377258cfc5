//! Where answers, news and errors go: answers to standard output, all else to standard error.
//!
//! So `$(holdfast ...)` captures the answer and nothing but the answer, as text or as JSON.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::error::CliError;

/// The width of a terminal that doesn't tell its own.
const TERMINAL_COLUMNS_DEFAULT: usize = 80;

/// Prints in the form that the caller asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON, or else text for people.
    pub json: bool,
}

impl Output {
    /// Prints an answer.
    pub fn answer<T: Serialize + Display>(self, answer: &T) -> Result<(), CliError> {
        let text = if self.json {
            json(answer)
        } else {
            answer.to_string()
        };
        self.text(&text)
    }

    /// Prints a line, or several, as they are.
    pub fn text(self, text: &str) -> Result<(), CliError> {
        self.line(text.as_bytes())
    }

    /// Prints bytes and a line break.
    pub fn line(self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(|error| CliError::output(&error))
    }

    /// Prints what somebody kept, byte for byte.
    pub fn bytes(self, mut bytes: Vec<u8>) -> Result<(), CliError> {
        // A file gets exactly what was kept; a terminal gets its prompt on a line of its own.
        if io::stdout().is_terminal() && !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        super::print(&bytes).map_err(|error| CliError::output(&error))
    }

    /// Prints news that are no answer.
    pub fn note<T: Serialize + Display>(self, news: &T) {
        let text = if self.json {
            json(news)
        } else {
            news.to_string()
        };
        // News that can't be told are no reason to stop.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Prints why the command failed. A standard error that is gone can't be told of.
    pub fn error(self, error: &CliError) {
        if error.is_silent() {
            return;
        }
        let text = if self.json {
            error.to_json().to_string()
        } else {
            format!("error: {error}")
        };
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// News while a command goes on: on a terminal one line that changes, else a line for each change.
#[derive(Debug)]
pub struct Progress {
    json: bool,
    terminal: bool,
    quiet: bool,
    last: String,
}

impl Progress {
    /// In the form of `output`; with `quiet`, nothing.
    pub fn new(output: Output, quiet: bool) -> Progress {
        Progress {
            json: output.json,
            terminal: !output.json && io::stderr().is_terminal(),
            quiet,
            last: String::new(),
        }
    }

    /// Whether nothing is to be told.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether what is told is one line that changes.
    pub fn is_live(&self) -> bool {
        self.terminal
    }

    /// Tells how things stand, unless that was the last that was told.
    pub fn show<T: Serialize + Display>(&mut self, news: &T) {
        if self.quiet {
            return;
        }
        let text = if self.json {
            json(news)
        } else {
            news.to_string()
        };
        if text == self.last {
            return;
        }
        let mut err = io::stderr().lock();
        // News that can't be told is no reason to leave the line.
        let _ = if self.terminal {
            write!(err, "\r\x1b[K{}", shortened(&text)).and_then(|()| err.flush())
        } else {
            writeln!(err, "{text}")
        };
        self.last = text;
    }

    /// Clears the line that changes.
    pub fn finish(&mut self) {
        if self.terminal && !self.last.is_empty() {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
        self.last.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// As much of `text` as fits on one line of the terminal: a line that wraps can't be written over.
fn shortened(text: &str) -> String {
    let columns = terminal_size::terminal_size_of(io::stderr())
        .map_or(TERMINAL_COLUMNS_DEFAULT, |(width, _)| usize::from(width.0));
    let room = columns.saturating_sub(1);
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let cut = text.chars().take(room.saturating_sub(1));
    cut.chain(std::iter::once('…')).collect()
}

fn json<T: Serialize>(value: &T) -> String {
    // Every key of every answer is text, so this can't fail.
    serde_json::to_string(value).unwrap_or_default()
}
