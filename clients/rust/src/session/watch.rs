//! The task that renews what has to be renewed and says what has ended, and who has waited for too long,
//! by the client's clock. Callers have no timers of their own: that would cost each call as much as all
//! the rest of waiting for it.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::limits::{LOOK_MAX, LOOK_MIN};
use crate::session::life::Due;

/// When to look again.
enum Next {
    In(Duration),
    /// When something new is to be watched.
    OnNews,
    Never,
}

/// Runs until the client is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        match shared.look() {
            Next::Never => return,
            Next::OnNews => shared.watch_news.notified().await,
            Next::In(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shared.watch_news.notified() => {}
                }
            }
        }
    }
}

impl Shared {
    /// Looks at everything that has to be renewed.
    fn look(&self) -> Next {
        let now = self.now();
        let mut state = self.state();
        if state.end == End::Closed {
            return Next::Never;
        }
        let next_wait = state.end_waits(now);
        if state.lives.is_empty() && next_wait.is_none() {
            return Next::OnNews;
        }
        let mut over = Vec::new();
        let mut renewals = Vec::new();
        let mut unanswered = false;
        // A timer does not count the time in which the machine is suspended: so look often.
        let mut pause = LOOK_MAX;
        if let Some(next) = next_wait {
            pause = pause.min(next.saturating_sub(now));
        }
        for life in &state.lives {
            pause = pause.min(margin(life.ttl) / 2);
            match life.due(now) {
                Due::At(at) => pause = pause.min(at.saturating_sub(now)),
                Due::Renewal if state.link.is_some() => renewals.push(Arc::clone(life)),
                // It is renewed as soon as there is a stream.
                Due::Renewal => pause = pause.min(life.left(now)),
                Due::Answer => unanswered = true,
                Due::End => over.push(Arc::clone(life)),
            }
        }
        for life in over {
            state.end_life(&life, Loss::Expired);
        }
        for life in renewals {
            if state.link.is_none() {
                break;
            }
            let renewal = Pending::Renew {
                life: Arc::clone(&life),
                sent: now,
            };
            if state.put(renewal, now).is_err() {
                life.not_renewed(now, life.ttl / 20);
            }
        }
        if unanswered {
            state.link = None;
            state.broken = true;
        }
        let broken = state.broken;
        drop(state);
        if broken {
            self.link_news.notify_one();
        }
        Next::In(pause.max(LOOK_MIN))
    }
}
