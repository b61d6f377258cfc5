//! Many calls of one stream, submitted together and answered together.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::session::{Outbox, SessionNews};
use super::{Shard, work};
use crate::core::{Command, Namespace};

/// The caller's end of many calls, each of which the rules answer at once: for others there are
/// [`Shard::call`] and [`super::Session`]. Nothing is taken back where it is dropped.
pub struct Calls {
    shard: Shard,
    outbox: Arc<Outbox>,
}

impl Calls {
    pub(super) fn new(shard: Shard, namespace: &Namespace) -> Calls {
        let outbox = Arc::new(Outbox::new(namespace));
        Calls { shard, outbox }
    }

    /// Hands over calls, each under a number of the caller's; they are applied in this order. A
    /// number must not be used again before its reply.
    pub fn submit(&self, calls: Vec<(u64, Command)>) {
        let grows = calls.iter().any(|(_, command)| work::may_grow(command));
        self.shard.submit_calls(&self.outbox, calls, grows);
    }

    /// Swaps the unread replies, at least one, into `into`, which must be empty. Each is a
    /// [`SessionNews::Reply`].
    pub fn poll_news(&self, cx: &mut Context<'_>, into: &mut Vec<SessionNews>) -> Poll<()> {
        self.outbox.poll(cx, into)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        drop(self.outbox.close());
    }
}
