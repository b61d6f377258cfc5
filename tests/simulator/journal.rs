//! What happened: a fingerprint of all of it, and the last steps in words when somebody asks.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::Hasher as _;

use holdfast::core::{Fnv1a, Time};

/// How many lines are kept.
const LINES_MAX: usize = 60;

#[derive(Default)]
pub struct Journal {
    hash: Fnv1a,
    lines: VecDeque<String>,
    /// From which step on lines are kept; `None`: from none.
    words_from: Option<u64>,
    /// Whether every word counts for the fingerprint, not only what is cheap to have.
    exact: bool,
}

impl Journal {
    pub fn new(words_from: Option<u64>, exact: bool) -> Journal {
        Journal {
            words_from,
            exact,
            ..Journal::default()
        }
    }

    pub fn number(&mut self, number: u64) {
        self.hash.write_u64(number.to_le());
    }

    /// Notes what happened, where anybody wants to know.
    pub fn note(&mut self, step: u64, real: Time, what: &str, thing: &dyn Debug) {
        let in_words = self.words_from.is_some_and(|from| step >= from);
        if !in_words && !self.exact {
            return;
        }
        let line = format!(
            "{step:>7} {:>12.3}s {what} {thing:?}",
            real.as_nanos() as f64 / 1e9
        );
        if self.exact {
            self.hash.write(line.as_bytes());
        }
        if in_words {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }

    pub fn fingerprint(&self) -> u64 {
        self.hash.finish()
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
