//! S8. Waiters are served by arrival among those still alive, nobody overtakes, and the position
//! that is told is the true one.

use super::Verdict;
use super::book::{Cause, Grantee, Seen, Step};

super::property!(
    "S8",
    "live waiters are served in the order of their arrival"
);

pub fn step(step: &Step<'_>, seen: &Seen) -> Verdict {
    for begun in &seen.begun {
        let lock = &begun.lock.1;
        match (&begun.to, begun.first) {
            (Grantee::Newcomer, Some(first)) => {
                return broken(format!("a newcomer took {lock} before the place {first}"));
            }
            (Grantee::Place(place), first) if first != Some(*place) => {
                return broken(format!(
                    "{lock} went to the place {place}, {first:?} was first"
                ));
            }
            _ => {}
        }
    }
    // In a tick a line may move on after its positions were told.
    if matches!(step.cause, Cause::Apply(_)) {
        for position in &seen.positions {
            if position.is != Some(position.told) {
                return broken(format!("a position was told that is not so: {position:?}"));
            }
        }
    }
    Ok(())
}
