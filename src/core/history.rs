//! How the last holds of locks ended, for people to ask. It is in memory only, and bounded: nothing
//! depends on it, and a restart forgets it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashlink::LruCache;
use smallvec::SmallVec;

use super::command::*;
use super::limits::*;
use super::name::{About, LockName};
use super::state::{GrantIx, LockIx, SpaceIx, State};

/// The last holds of the locks of a namespace. The lock that was given up longest ago goes first.
#[derive(Debug)]
pub(super) struct History(LruCache<LockName, PastHolds, foldhash::fast::RandomState>);

/// Of one lock, the oldest first. Most locks are held once, or few times.
type PastHolds = SmallVec<[PastHold; 1]>;

impl Default for History {
    fn default() -> History {
        let hasher = foldhash::fast::RandomState::default();
        History(LruCache::with_hasher(PAST_LOCKS_MAX, hasher))
    }
}

impl History {
    fn add(&mut self, lock: &LockName, hold: PastHold) {
        let Some(holds) = self.0.get_mut(lock) else {
            self.0.insert(lock.clone(), PastHolds::from_iter([hold]));
            return;
        };
        if holds.len() >= PAST_HOLDS_MAX {
            holds.remove(0);
        }
        holds.push(hold);
    }

    /// The newest first.
    fn of(&self, lock: &LockName) -> Vec<PastHold> {
        let holds = self.0.peek(lock).into_iter().flatten();
        holds.rev().cloned().collect()
    }
}

impl State {
    /// Notes how a grant has ended, before it is gone.
    pub(super) fn note_end(&mut self, index: GrantIx, cause: EndCause) {
        let grant = &self.grants[index];
        let holder = HolderView {
            about: grant.about.as_ref().map(without_much_metadata),
            expires_in: None,
            ttl: None,
            ..self.view_holder(grant)
        };
        let at = self.wall;
        let lock = &self.locks[grant.lock];
        // Not by a method: the lock's name stays borrowed, so that it need not be cloned.
        let space = &mut self.spaces[usize::from(lock.space)];
        space
            .history
            .add(&lock.name, PastHold { holder, cause, at });
    }

    /// What stands behind a lock; behind one that nobody has named, nothing.
    pub(super) fn explain(&self, space: SpaceIx, name: &LockName) -> Explanation {
        let known = self.space_of(space).locks.get(name);
        Explanation {
            lock: self.view_by_name(space, name),
            waiters: known.map_or_else(Vec::new, |lock| self.view_waiters(*lock)),
            past_holds: self.space_of(space).history.of(name),
        }
    }

    /// The first in line.
    fn view_waiters(&self, lock: LockIx) -> Vec<WaiterView> {
        let line = self.locks[lock].line.iter();
        let places = line.flat_map(|line| line.places.values());
        let waiters = places.take(WAITERS_SHOWN_MAX).map(|index| {
            let waiter = &self.waiters[*index];
            WaiterView {
                mode: waiter.ask.mode,
                about: waiter.ask.about.clone(),
                since: waiter.since,
                ends_in: waiter.deadline.since(self.now),
            }
        });
        waiters.collect()
    }
}

/// What a holder said of itself, without its metadata where that is large.
fn without_much_metadata(about: &Arc<About>) -> Arc<About> {
    let entries = about.metadata().iter();
    let bytes: usize = entries.map(|(key, value)| key.len() + value.len()).sum();
    if bytes <= PAST_METADATA_BYTES_MAX {
        return Arc::clone(about);
    }
    About::trusted(about.owner(), BTreeMap::new())
}
