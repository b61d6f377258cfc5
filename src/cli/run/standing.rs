//! Standing in a line, whatever the line: what is told while it moves.

use std::pin::pin;

use futures_util::future::{Fuse, FutureExt as _};
use holdfast_client::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::news::{News, Place, at};
use crate::cli::error::CliError;

/// A place in line, and what is told of it.
pub struct Standing<'a> {
    pub place: Place,
    pub news: &'a mut News,
    /// When to look who is served, where no position was told until then.
    pub next_look: Option<Instant>,
    /// Whether the server has said anything yet.
    pub heard: bool,
}

impl Standing<'_> {
    /// Waits, and looks who is served whenever there is a new position. Only the newest counts.
    ///
    /// `looked` takes in what was seen, and says when to look again at the latest.
    pub async fn until<T, F>(
        mut self,
        waiting: impl Future<Output = Result<T, CliError>>,
        mut positions: watch::Receiver<u32>,
        look: impl AsyncFn() -> Result<F, Error>,
        looked: impl Fn(&mut Self, Result<F, Error>) -> Result<Option<Instant>, CliError>,
    ) -> Result<T, CliError> {
        let mut waiting = pin!(waiting);
        let mut looking = pin!(Fuse::terminated());
        loop {
            tokio::select! {
                biased;
                waited = &mut waiting => return waited,
                Ok(()) = positions.changed() => {
                    self.heard = true;
                    self.place.position = *positions.borrow_and_update();
                    self.next_look = None;
                    if !self.news.is_quiet() {
                        looking.set(look().fuse());
                    }
                }
                // Who is served is told where it is known: it never holds up the end of the waiting.
                found = &mut looking => {
                    self.heard |= found.is_ok();
                    self.next_look = looked(&mut self, found)?;
                }
                () = at(self.next_look) => {
                    self.next_look = None;
                    looking.set(look().fuse());
                }
                () = at(self.news.next_redraw()) => self.news.redraw(&self.place),
            }
        }
    }
}
