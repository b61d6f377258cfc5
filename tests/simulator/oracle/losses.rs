//! A session is told, once, of every grant that it loses without its own doing.

use std::collections::BTreeSet;

use holdfast::core::Effect;

use super::Verdict;
use super::book::{Seen, Step};

super::property!(
    "losses",
    "a session is told once of every grant that it loses"
);

pub fn step(step: &Step<'_>, seen: &Seen) -> Verdict {
    let mut told = BTreeSet::new();
    for effect in step.effects {
        if let Effect::Lost {
            session,
            fencing_token,
            ..
        } = effect
            && !told.insert((*session, *fencing_token))
        {
            return broken(format!(
                "{session:?} was told twice that it lost {fencing_token}"
            ));
        }
    }
    for ended in &seen.ended {
        if let Some(session) = ended.session
            && !told.contains(&(session, ended.token))
        {
            return broken(format!(
                "{session:?} was not told that it lost {}",
                ended.token
            ));
        }
        told.retain(|(_, token)| *token != ended.token);
    }
    match told.first() {
        Some((session, token)) => broken(format!("{session:?} was told that it lost {token}")),
        None => Ok(()),
    }
}
