//! A grant as the session knows it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::life::Life;
use crate::proto::{Grant, LossCause};

/// How a grant was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Its lease has ended, or by this client's reckoning may have ended.
    Expired,
    /// Its lease was revoked.
    Revoked,
    /// An administrator ended it.
    Forced,
    /// Another call released it, with its grant token.
    Released,
    /// The server says that the grant is not current, not why.
    Unknown,
}

impl From<LossCause> for Loss {
    fn from(cause: LossCause) -> Loss {
        match cause {
            LossCause::Expired => Loss::Expired,
            LossCause::Revoked => Loss::Revoked,
            LossCause::Forced => Loss::Forced,
            LossCause::Released => Loss::Released,
            LossCause::Unspecified | LossCause::Callback => Loss::Unknown,
        }
    }
}

/// A grant that the server has told of.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) grant: Grant,
    /// What it hangs on; `None`: it has no expiry.
    pub(crate) life: Option<Arc<Life>>,
    lost: OnceLock<Loss>,
    news: Notify,
}

impl Hold {
    pub(crate) fn new(grant: Grant, life: Option<Arc<Life>>) -> Hold {
        Hold {
            grant,
            life,
            lost: OnceLock::new(),
            news: Notify::new(),
        }
    }

    /// How it was lost; `None`: it is held.
    pub(crate) fn loss(&self, now: Duration) -> Option<Loss> {
        if self.lost.get().is_none() && self.life.as_ref().is_some_and(|life| life.is_over(now)) {
            self.lose(Loss::Expired);
        }
        self.lost.get().copied()
    }

    /// Marks it as lost; how it was lost first stays.
    pub(crate) fn lose(&self, loss: Loss) {
        if self.lost.set(loss).is_ok() {
            self.news.notify_waiters();
        }
    }

    pub(crate) fn hangs_on(&self, life: &Arc<Life>) -> bool {
        self.life.as_ref().is_some_and(|own| Arc::ptr_eq(own, life))
    }

    /// Waits until it is lost.
    pub(crate) async fn lost(&self, shared: &Shared) -> Loss {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(loss) = self.loss(shared.now()) {
                return loss;
            }
            news.await;
        }
    }
}

/// A grant that is given back unless it is released: it is nobody's yet, or somebody's.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hold: Arc<Hold>,
    /// Whether dropping it does nothing.
    pub(crate) released: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.released {
            self.shared.release_in_background(&self.hold);
        }
    }
}
