//! S9. A free lock has no waiters, and whoever is first in line does not fit, beside holders and those
//! who lost the lock and hold it back; every wait, and every release delay, has ended one tick after its
//! deadline. What a view tells of holders, waiters and delays is so.

use holdfast::core::{Answer, Effect, Explanation, LockView, Refusal};

use super::Verdict;
use super::book::{Book, Cause, LockId, Step};

super::property!(
    "S9",
    "a free lock has no waiters and no waiter is forgotten"
);

pub fn step(book: &Book, step: &Step<'_>) -> Verdict {
    if !book.fresh {
        for (id, lock) in &book.locks {
            let first = lock.line.front().and_then(|first| book.places.get(first));
            let Some(first) = first else {
                continue;
            };
            let shared = first.asked.mode == holdfast::core::Mode::Shared;
            if book.fits(id, shared, first.asked.max_shared) {
                return broken(format!(
                    "{first:?} is first in line and fits beside {:?} and {:?}",
                    lock.holders, lock.lapsed
                ));
            }
        }
    }
    if matches!(step.cause, Cause::Tick) {
        let late = book
            .places
            .values()
            .find(|place| place.deadline <= step.now);
        if let Some(place) = late {
            return broken(format!("{place:?} still waits at {:?}", step.now));
        }
    }
    let Some(request) = step.request() else {
        return Ok(());
    };
    for effect in step.effects {
        if let Effect::Reply(call, Ok(Answer::Explained(explained))) = effect
            && *call == request.call
        {
            let id = (request.namespace.clone(), explained.lock.name.clone());
            is_explained(book, step, &id, explained)?;
        }
        let view = match effect {
            Effect::Reply(call, Ok(Answer::Lock(view))) if *call == request.call => view,
            Effect::Reply(call, Ok(Answer::Explained(explained))) if *call == request.call => {
                &explained.lock
            }
            Effect::Reply(call, Err(Refusal::LockHeld(view))) if *call == request.call => view,
            Effect::Watching(_, view) => view,
            _ => continue,
        };
        is_so(book, step, &request.namespace, view)?;
    }
    Ok(())
}

fn is_so(
    book: &Book,
    step: &Step<'_>,
    space: &holdfast::core::Namespace,
    view: &LockView,
) -> Verdict {
    let lock = book.locks.get(&(space.clone(), view.name.clone()));
    let lock = lock.cloned().unwrap_or_default();
    let until = lock.lapsed.values().map(|hold| hold.until).max();
    let held_back_for = until.map(|until| until.since(step.now));
    let holders = view.holders.iter().map(|holder| holder.fencing_token);
    let same = holders.eq(lock.holders.keys().copied())
        && view.holder_count == lock.holders.len()
        && view.waiter_count == lock.line.len()
        && view.held_back_for == held_back_for;
    if !same {
        return broken(format!("{view:?} was told, and {lock:?} is so"));
    }
    Ok(())
}

/// The line is told in its order, and of the past what has ended, the newest first.
fn is_explained(book: &Book, step: &Step<'_>, id: &LockId, explained: &Explanation) -> Verdict {
    let lock = book.locks.get(id).cloned().unwrap_or_default();
    let places = lock.line.iter().map(|place| &book.places[place]);
    let waits = places.map(|place| (place.asked.mode, place.deadline.since(step.now)));
    let told = explained.waiters.iter();
    let told = told.map(|waiter| (waiter.mode, waiter.ends_in));
    let ended: Vec<u64> = (explained.past_holds.iter())
        .map(|past| past.holder.fencing_token)
        .collect();
    let newest: Vec<u64> = lock.ended.iter().rev().take(ended.len()).copied().collect();
    // A restart forgets the past, so less may be told than has been.
    if !told.eq(waits) || ended != newest {
        return broken(format!("{explained:?} was told, and {lock:?} is so"));
    }
    Ok(())
}
