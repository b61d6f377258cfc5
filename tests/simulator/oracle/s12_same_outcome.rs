//! S12. The same `request_id` has the same outcome for 120 s, across crashes; with other parameters
//! it is refused. And it is forgotten in the end, or else the memory would grow for ever; before that
//! only where a session says that it has the answer.

use holdfast::core::{Acquire, Command, Effect, Hold, Refusal, Request, RequestId};

use super::Verdict;
use super::book::{Book, Cause, Known, Outcome, Seen, Step, asks_the_same, outcome, request_id};

super::property!(
    "S12",
    "the same request id has the same outcome, and other parameters are refused"
);

enum Expected {
    /// The id is new, or the command has none.
    New,
    /// It was used with other parameters.
    Reused,
    /// It stands in line.
    Place {
        waits: bool,
    },
    Outcome(Known),
}

#[derive(Default)]
pub struct SameOutcome {
    expected: Option<Expected>,
}

impl SameOutcome {
    pub fn before(&mut self, book: &Book, request: &Request) {
        self.expected = Some(expected(book, request));
    }

    pub fn step(&mut self, step: &Step<'_>, seen: &Seen) -> Verdict {
        if let Some(expected) = self.expected.take() {
            check(&expected, step, seen)?;
        }
        let given_back = matches!(step.command(), Some(Command::GiveBack { .. }));
        for ((_, id), known) in &seen.forgotten {
            if known.until > step.now && !given_back && !answered(step).contains(id) {
                return broken(format!("{id} was forgotten at {:?}: {known:?}", step.now));
            }
            if let (Some(Command::GiveBack { fencing_token, .. }), Outcome::Granted(token)) =
                (step.command(), &known.outcome)
                && fencing_token == token
            {
                // Its caller can come back for as long as the lease lasts.
                if matches!(&*known.asked, Command::Acquire(a) if matches!(a.hold, Hold::Lease(_)))
                {
                    return broken(format!("{known:?} hangs on a lease and was given back"));
                }
                continue;
            }
            if given_back {
                return broken(format!(
                    "{id} was forgotten with another's grant: {known:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The requests that a session said to have the answers of.
fn answered<'a>(step: &'a Step<'_>) -> &'a [RequestId] {
    match step.command() {
        Some(Command::Touch { answered, .. }) => answered,
        _ => &[],
    }
}

/// What is due is forgotten after a tick, and what was answered at once.
pub fn forgotten(book: &Book, step: &Step<'_>) -> Verdict {
    if let Some(request) = step.request()
        && matches!(&request.command, Command::Touch { session, .. } if book.sessions.contains_key(session))
    {
        let kept = answered(step).iter().find(|id| {
            let id = (request.namespace.clone(), RequestId::clone(id));
            book.requests.contains_key(&id)
        });
        return match kept {
            Some(id) => broken(format!("{id} is remembered, though it was answered")),
            None => Ok(()),
        };
    }
    if !matches!(step.cause, Cause::Tick) {
        return Ok(());
    }
    match book
        .requests
        .iter()
        .find(|(_, known)| known.latest <= step.now)
    {
        Some(((_, id), known)) => {
            broken(format!("{id} is remembered at {:?}: {known:?}", step.now))
        }
        None => Ok(()),
    }
}

fn expected(book: &Book, request: &Request) -> Expected {
    let Some(id) = request_id(&request.command) else {
        return Expected::New;
    };
    if let Some(place) = book.place_of_request(&request.namespace, id) {
        let asked = Command::Acquire(Acquire::clone(&book.places[&place].asked));
        let Command::Acquire(acquire) = &request.command else {
            return Expected::Reused;
        };
        if !asks_the_same(&asked, &request.command) {
            return Expected::Reused;
        }
        let waits = !acquire.wait.is_zero();
        return Expected::Place { waits };
    }
    match book.requests.get(&(request.namespace.clone(), id.clone())) {
        None => Expected::New,
        Some(known) if !asks_the_same(&known.asked, &request.command) => Expected::Reused,
        Some(known) => Expected::Outcome(known.clone()),
    }
}

fn check(expected: &Expected, step: &Step<'_>, seen: &Seen) -> Verdict {
    let Some(request) = step.request() else {
        return Ok(());
    };
    // S11 looks into retries on queues.
    if matches!(request.command, Command::Queue(_)) {
        return Ok(());
    }
    let reply = step.reply();
    let as_expected = match expected {
        Expected::New => !matches!(reply, Some(Err(Refusal::RequestIdReused(_)))),
        Expected::Reused => matches!(reply, Some(Err(Refusal::RequestIdReused(_)))),
        Expected::Place { waits: false } => matches!(reply, Some(Err(Refusal::LockHeld(_)))),
        Expected::Place { waits: true } => {
            let queued = |effect: &Effect| matches!(effect, Effect::Queued(call, ..) if *call == request.call);
            reply.is_none() && step.effects.iter().any(queued)
        }
        Expected::Outcome(known) => match (reply, &known.outcome) {
            (Some(Ok(answer)), expected) => outcome(answer).as_ref() == Some(expected),
            // The lease that was made may have ended since.
            (Some(Err(Refusal::LeaseExpired)), Outcome::Lease(_)) => true,
            // So may the FIFO or the ticket.
            (Some(Err(Refusal::FifoNotFound(_))), Outcome::Fifo(_) | Outcome::Ticket(_)) => true,
            (Some(Err(Refusal::TicketNotFound(id))), Outcome::Ticket(made)) => id == made,
            _ => false,
        },
    };
    let again = !matches!(expected, Expected::New);
    if !as_expected || again && !seen.begun.is_empty() {
        let expected = match expected {
            Expected::Outcome(known) => format!("{:?}", known.outcome),
            Expected::New => "a first answer".to_owned(),
            Expected::Reused => "a refusal".to_owned(),
            Expected::Place { .. } => "its place in line".to_owned(),
        };
        return broken(format!(
            "{:?} got {reply:?}, not {expected}",
            request.command
        ));
    }
    let untouched = matches!(expected, Expected::Reused | Expected::Outcome(_));
    if untouched && !step.changes.is_empty() {
        return broken(format!("a retry changed something: {:?}", step.changes));
    }
    Ok(())
}
