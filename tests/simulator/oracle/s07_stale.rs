//! S7. A token from an earlier grant changes nothing and is told so; a current one is obeyed.

use holdfast::core::{Answer, Change, Command, Key, Proof, Record, Refusal, Request, State};

use super::Verdict;
use super::book::{Book, Step};

super::property!(
    "S7",
    "a stale token changes nothing, and a current one is obeyed"
);

/// Every so many stale calls, all records are compared before and after.
const COMPARE_EVERY: u64 = 16;

#[derive(Default)]
pub struct Stale {
    /// Whether the token of the call that is being applied is current; `None`: it has none.
    current: Option<bool>,
    before: Option<Vec<Record>>,
    seen: u64,
}

impl Stale {
    pub fn before(&mut self, book: &Book, request: &Request, state: &State) {
        self.before = None;
        if let Command::ForceRelease {
            lock,
            fencing_token: Some(token),
            ..
        } = &request.command
            && book.is_lapsed(&(request.namespace.clone(), lock.clone()), *token)
        {
            // It ends the delay of a hold that was lost.
            self.current = Some(true);
            return;
        }
        self.current = match &request.command {
            Command::Renew {
                lock,
                proof: Proof::Token(token),
                ..
            }
            | Command::Release {
                lock,
                proof: Proof::Token(token),
                ..
            }
            | Command::ForceRelease {
                lock,
                fencing_token: Some(token),
                ..
            }
            | Command::Check {
                lock,
                fencing_token: token,
            }
            | Command::GiveBack {
                lock,
                fencing_token: token,
            } => {
                let lock = (request.namespace.clone(), lock.clone());
                Some(book.hold(&lock, *token).is_some())
            }
            _ => None,
        };
        if self.current == Some(false) {
            self.seen += 1;
            if self.seen % COMPARE_EVERY == 1 {
                self.before = Some(state.records());
            }
        }
    }

    pub fn step(&mut self, step: &Step<'_>, state: &State) -> Verdict {
        let before = self.before.take();
        match self.current.take() {
            None => Ok(()),
            Some(true) => obeyed(step),
            Some(false) => {
                let is_outcome = |change: &Change| {
                    matches!(
                        change,
                        Change::Put(Record {
                            key: Key::Request(..) | Key::Shard,
                            ..
                        })
                    )
                };
                if let Some(change) = step.changes.iter().find(|change| !is_outcome(change)) {
                    return broken(format!("a stale token brought about {change:?}"));
                }
                let same = |record: &&Record| !matches!(record.key, Key::Request(..));
                if let Some(before) = before
                    && !before
                        .iter()
                        .filter(same)
                        .eq(state.records().iter().filter(same))
                {
                    return broken("a stale token changed the records");
                }
                refused(step)
            }
        }
    }
}

fn refused(step: &Step<'_>) -> Verdict {
    match (step.command(), step.reply()) {
        (Some(Command::Renew { .. }), Some(Err(Refusal::NotHolder(_))))
        | (Some(Command::Check { .. }), Some(Ok(Answer::Checked { current: false, .. })))
        | (Some(Command::GiveBack { .. }), None) => Ok(()),
        // A retry gets the first call's outcome, which S12 judges.
        (Some(Command::Release { request_id, .. }), Some(reply))
            if request_id.is_some() || matches!(reply, Err(Refusal::NotHolder(_))) =>
        {
            Ok(())
        }
        (Some(Command::ForceRelease { request_id, .. }), Some(reply))
            if request_id.is_some() || *reply == Ok(Answer::Forced(0)) =>
        {
            Ok(())
        }
        (_, reply) => broken(format!("a stale token was answered {reply:?}")),
    }
}

fn obeyed(step: &Step<'_>) -> Verdict {
    match (step.command(), step.reply()) {
        (Some(Command::GiveBack { .. }), None)
        | (Some(Command::Renew { .. }), Some(Ok(Answer::Renewed { .. })))
        | (Some(Command::Renew { ttl: Some(_), .. }), Some(Err(Refusal::Invalid(_))))
        | (Some(Command::Check { .. }), Some(Ok(Answer::Checked { current: true, .. })))
        | (
            Some(Command::Release {
                request_id: None, ..
            }),
            Some(Ok(Answer::Released)),
        )
        | (
            Some(Command::Release {
                request_id: Some(_),
                ..
            }),
            Some(_),
        )
        | (
            Some(Command::ForceRelease {
                request_id: None, ..
            }),
            Some(Ok(Answer::Forced(1))),
        )
        | (
            Some(Command::ForceRelease {
                request_id: Some(_),
                ..
            }),
            Some(_),
        ) => Ok(()),
        (_, reply) => broken(format!("a current token was answered {reply:?}")),
    }
}
