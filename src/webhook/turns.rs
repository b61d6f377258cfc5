//! How many webhooks of a namespace are on their way at a time: one tenant's receivers that hang may
//! not take all there is.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::Namespace;

/// The most attempts at a time in one namespace; further ones wait for their turn, in order.
pub const IN_FLIGHT_PER_NAMESPACE_MAX: usize = 16;

/// The turns of all namespaces. Cheap to clone.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Namespace, Arc<Semaphore>>>>);

/// A turn that lasts until it is dropped.
#[derive(Debug)]
pub struct Turn {
    // Goes first: the place looks whether anybody else has the semaphore. `None` only if it were
    // closed, which it never is.
    _permit: Option<OwnedSemaphorePermit>,
    _place: Place,
}

impl Turns {
    /// Waits for a turn. Whoever drops this leaves the line.
    pub async fn take(&self, namespace: &Namespace) -> Turn {
        let place = self.place(namespace);
        let permit = place.semaphore.clone().acquire_owned().await.ok();
        Turn {
            _permit: permit,
            _place: place,
        }
    }

    fn place(&self, namespace: &Namespace) -> Place {
        let mut namespaces = self.lock();
        let semaphore = namespaces
            .entry(namespace.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(IN_FLIGHT_PER_NAMESPACE_MAX)));
        Place {
            turns: self.clone(),
            namespace: namespace.clone(),
            semaphore: semaphore.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Namespace, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

/// What keeps a namespace known: a turn, or waiting for one.
#[derive(Debug)]
struct Place {
    turns: Turns,
    namespace: Namespace,
    semaphore: Arc<Semaphore>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut namespaces = self.turns.lock();
        // The map's and this one's: nobody else has a turn or waits for one, and nobody can come
        // while the map is locked.
        if Arc::strong_count(&self.semaphore) == 2 {
            namespaces.remove(&self.namespace);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    async fn all_of(turns: &Turns, namespace: &Namespace) -> Vec<Turn> {
        join_all((0..IN_FLIGHT_PER_NAMESPACE_MAX).map(|_| turns.take(namespace))).await
    }

    #[tokio::test]
    async fn one_more_than_there_may_be_waits_and_other_namespaces_do_not() {
        let (turns, ci) = (Turns::default(), namespace("ci"));
        let mut taken = all_of(&turns, &ci).await;
        let mut first = Box::pin(turns.take(&ci));
        let mut second = Box::pin(turns.take(&ci));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(turns.take(&namespace("other")).now_or_never().is_some());
        taken.pop();
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn an_idle_namespace_is_forgotten() {
        let (turns, ci) = (Turns::default(), namespace("ci"));
        let taken = all_of(&turns, &ci).await;
        let mut waiting = Box::pin(turns.take(&ci));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(taken);
        assert_eq!(turns.lock().len(), 1);
        drop(waiting);
        assert!(turns.lock().is_empty());
    }

    #[tokio::test]
    async fn who_leaves_the_line_takes_no_turn_along() {
        let (turns, ci) = (Turns::default(), namespace("ci"));
        let mut taken = all_of(&turns, &ci).await;
        let mut first = Box::pin(turns.take(&ci));
        let mut second = Box::pin(turns.take(&ci));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        taken.pop();
        drop(first);
        assert!(second.as_mut().now_or_never().is_some());
    }
}
