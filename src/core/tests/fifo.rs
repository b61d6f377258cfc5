//! FIFOs: order, turns, deadlines, waiting calls, retries and restarts.

use super::*;
use crate::core::limits::{
    CALLS_PER_TICKET_MAX, LAPSED_MEMORY, LAPSED_PER_FIFO_MAX, POSITION_INTERVAL, REQUEST_MEMORY,
    TICKETS_PER_FIFO_MAX, TICKETS_SHOWN_MAX,
};

const ACCEPT: Duration = Duration::from_secs(60);
const DONE: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(3600);
const UNUSED: Duration = Duration::from_secs(24 * 3600);

fn fifo(id: &str) -> FifoId {
    FifoId::new(id).unwrap()
}

fn settings() -> FifoSettings {
    FifoSettings {
        timeouts: TicketTimeouts {
            wait: Some(PATIENCE),
            accept: Some(ACCEPT),
            done: Some(DONE),
        },
        unused_destroy_timeout: Some(UNUSED),
        allow_overrides: false,
        concurrency: 1,
    }
}

fn create(of: &str, settings: FifoSettings, request_id: Option<RequestId>) -> FifoCommand {
    FifoCommand::Create {
        id: fifo(of),
        fresh_id: false,
        settings,
        request_id,
    }
}

fn new_ticket(of: &str, id: u128, request_id: Option<RequestId>) -> FifoCommand {
    FifoCommand::CreateTicket {
        fifo: fifo(of),
        id: TicketId(id),
        overrides: TicketOverrides::default(),
        lenient: false,
        about: None,
        subscribe: None,
        request_id,
    }
}

fn wait(of: &str, ticket: TicketId, wait: Option<Duration>) -> Command {
    Command::Fifo(FifoCommand::Wait {
        fifo: fifo(of),
        ticket,
        wait,
    })
}

fn give_back(ticket: TicketId) -> Command {
    Command::Fifo(FifoCommand::GiveBack { ticket })
}

fn ready(reply: Option<Result<Answer, Refusal>>) -> TicketView {
    match reply {
        Some(Ok(Answer::Fifo(FifoAnswer::Ready(view)))) => view,
        other => panic!("not its turn: {other:?}"),
    }
}

impl Rules {
    fn asked(&mut self, command: FifoCommand) -> Result<FifoAnswer, Refusal> {
        match self.call(Command::Fifo(command))? {
            Answer::Fifo(answer) => Ok(answer),
            other => panic!("{other:?}"),
        }
    }

    fn fifo(&mut self, of: &str) -> FifoView {
        match self.asked(FifoCommand::Get { id: fifo(of) }) {
            Ok(FifoAnswer::Fifo(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    fn is_there(&mut self, of: &str) -> bool {
        self.asked(FifoCommand::Get { id: fifo(of) }).is_ok()
    }

    fn with_fifo(of: &str, settings: FifoSettings) -> Rules {
        let mut rules = Rules::new();
        rules.asked(create(of, settings, None)).unwrap();
        rules
    }

    /// Rules with a FIFO `f` that has tickets 1 to `count`.
    fn with_tickets(settings: FifoSettings, count: u128) -> Rules {
        let mut rules = Rules::with_fifo("f", settings);
        for id in 1..=count {
            rules.stand_in("f", id);
        }
        rules
    }

    fn stand_in(&mut self, of: &str, id: u128) -> TicketView {
        match self.asked(new_ticket(of, id, None)) {
            Ok(FifoAnswer::Ticket(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    fn get_ticket(&mut self, id: u128) -> Result<TicketView, Refusal> {
        let (fifo, ticket) = (fifo("f"), TicketId(id));
        match self.asked(FifoCommand::GetTicket { fifo, ticket })? {
            FifoAnswer::Ticket(view) => Ok(view),
            other => panic!("{other:?}"),
        }
    }

    fn states(&mut self, ids: std::ops::RangeInclusive<u128>) -> Vec<Option<TicketState>> {
        ids.map(|id| self.get_ticket(id).ok().map(|view| view.state))
            .collect()
    }

    fn waits(&mut self, id: u128) -> CallId {
        self.ask(wait("f", TicketId(id), None))
    }

    fn accept(&mut self, id: u128) -> TicketView {
        let call = self.waits(id);
        ready(self.reply(call))
    }

    fn complete(&mut self, id: u128) -> Result<FifoAnswer, Refusal> {
        self.asked(FifoCommand::Complete {
            fifo: fifo("f"),
            ticket: TicketId(id),
            request_id: None,
        })
    }

    fn cancel_ticket(&mut self, id: u128) -> Result<FifoAnswer, Refusal> {
        self.asked(FifoCommand::Cancel {
            fifo: fifo("f"),
            ticket: TicketId(id),
            request_id: None,
        })
    }

    fn extend(&mut self, id: u128, done: Option<Duration>) -> Result<TicketView, Refusal> {
        let (fifo, ticket) = (fifo("f"), TicketId(id));
        match self.asked(FifoCommand::Extend { fifo, ticket, done })? {
            FifoAnswer::Ticket(view) => Ok(view),
            other => panic!("{other:?}"),
        }
    }

    /// The positions in a FIFO that a call was told, in order; they are taken.
    fn in_line(&mut self, call: CallId) -> Vec<u32> {
        let mut positions = Vec::new();
        self.told.retain(|effect| match effect {
            Effect::InLine(to, standing) if *to == call => {
                positions.push(standing.position);
                false
            }
            _ => true,
        });
        positions
    }
}

use TicketState::{Accepted, Lapsed, Notified, Waiting};

#[test]
fn the_first_ticket_is_notified_and_the_others_stand_in_line() {
    let mut rules = Rules::with_tickets(settings(), 3);
    let views: Vec<_> = (1..=3).map(|id| rules.get_ticket(id).unwrap()).collect();
    assert_eq!(
        views.iter().map(|v| v.position).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert!(views.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert_eq!(views[0].state, Notified);
    assert_eq!(views[0].lapses_in, Some(ACCEPT));
    assert_eq!(views[1].lapses_in, None);
    let view = rules.fifo("f");
    assert_eq!((view.serving_count, view.waiting_count), (1, 2));
    assert_eq!(view.tickets, views);
}

#[test]
fn so_many_have_their_turn_at_once_as_the_fifo_says() {
    let two = FifoSettings {
        concurrency: 2,
        ..settings()
    };
    let mut rules = Rules::with_tickets(two, 4);
    rules.accept(2);
    let states = [Notified, Accepted, Waiting, Waiting].map(Some);
    assert_eq!(rules.states(1..=4), states);
    rules.complete(2).unwrap();
    let states = [Some(Notified), None, Some(Notified), Some(Waiting)];
    assert_eq!(rules.states(1..=4), states);
}

#[test]
fn waiting_on_a_notified_ticket_accepts_it() {
    let mut rules = Rules::with_tickets(settings(), 1);
    let view = rules.accept(1);
    assert_eq!(view.state, Accepted);
    assert_eq!(view.lapses_in, Some(DONE));
}

#[test]
fn waiting_on_an_accepted_ticket_answers_at_once_and_wins_no_time() {
    let mut rules = Rules::with_tickets(settings(), 1);
    rules.accept(1);
    rules.pass(10 * SEC);
    assert_eq!(rules.accept(1).lapses_in, Some(DONE - 10 * SEC));
    assert!(rules.changes.is_empty());
}

#[test]
fn every_call_that_waits_for_a_ticket_is_told_of_its_turn() {
    let mut rules = Rules::with_tickets(settings(), 2);
    let calls = [rules.waits(2), rules.waits(2)];
    assert_eq!(calls.map(|call| rules.reply(call)), [None, None]);
    rules.complete(1).unwrap();
    let views = calls.map(|call| ready(rules.reply(call)));
    assert_eq!(views[0], views[1]);
    assert_eq!(views[0].state, Accepted);
}

#[test]
fn a_turn_that_is_not_accepted_lapses_and_the_next_is_notified_in_the_same_commit() {
    let mut rules = Rules::with_tickets(settings(), 2);
    rules.pass(ACCEPT - MS);
    assert_eq!(rules.states(1..=2), [Notified, Waiting].map(Some));
    rules.pass(MS);
    let is_of_ticket = |change: &&Change| matches!(change, Change::Put(record) if matches!(record.key, Key::Ticket(..)));
    assert_eq!(rules.changes.iter().filter(is_of_ticket).count(), 2);
    assert_eq!(rules.states(1..=2), [Lapsed, Notified].map(Some));
}

#[test]
fn work_that_is_not_done_in_time_lapses() {
    let mut rules = Rules::with_tickets(settings(), 2);
    rules.accept(1);
    rules.pass(DONE - MS);
    assert_eq!(rules.states(1..=2), [Accepted, Waiting].map(Some));
    rules.pass(MS);
    assert_eq!(rules.states(1..=2), [Lapsed, Notified].map(Some));
}

#[test]
fn a_lapsed_ticket_says_so_for_an_hour_and_can_do_nothing_more() {
    let mut rules = Rules::with_tickets(settings(), 1);
    rules.pass(ACCEPT);
    let lapsed = Refusal::TicketLapsed(TicketId(1));
    let waited = rules.waits(1);
    assert_eq!(rules.reply(waited), Some(Err(lapsed.clone())));
    assert_eq!(rules.complete(1), Err(lapsed.clone()));
    assert_eq!(rules.cancel_ticket(1), Err(lapsed.clone()));
    assert_eq!(rules.extend(1, None), Err(lapsed));
    let view = rules.get_ticket(1).unwrap();
    assert_eq!((view.state, view.lapses_in), (Lapsed, None));
    rules.pass(LAPSED_MEMORY - MS);
    assert_eq!(rules.states(1..=1), [Some(Lapsed)]);
    rules.pass(MS);
    assert_eq!(
        rules.get_ticket(1),
        Err(Refusal::TicketNotFound(TicketId(1)))
    );
    assert_eq!(rules.state.records().len(), 2, "the shard and the FIFO");
}

#[test]
fn the_oldest_lapsed_tickets_are_forgotten_first() {
    let all = FifoSettings {
        concurrency: 10_000,
        ..settings()
    };
    let mut rules = Rules::with_tickets(all, 2);
    rules.pass(SEC);
    for id in 0..LAPSED_PER_FIFO_MAX as u128 {
        rules.stand_in("f", 100 + id);
    }
    while rules.fifo("f").serving_count > 0 {
        rules.pass(ACCEPT / 2);
    }
    let states = [None, None, Some(Lapsed)];
    assert_eq!([1, 2, 100].map(|id| rules.states(id..=id)[0]), states);
}

#[test]
fn a_span_without_an_end_never_passes() {
    let endless = FifoSettings {
        timeouts: TicketTimeouts {
            wait: None,
            accept: None,
            done: None,
        },
        unused_destroy_timeout: None,
        ..settings()
    };
    let mut rules = Rules::with_tickets(endless, 2);
    let call = rules.waits(2);
    rules.pass(1_000 * UNUSED);
    assert_eq!(rules.states(1..=2), [Notified, Waiting].map(Some));
    assert_eq!(rules.accept(1).lapses_in, None);
    rules.pass(1_000 * UNUSED);
    assert_eq!(rules.states(1..=2), [Accepted, Waiting].map(Some));
    assert_eq!(rules.extend(1, None).unwrap().lapses_in, None);
    assert_eq!(rules.reply(call), None);
}

#[test]
fn calls_that_wait_equally_long_end_together_though_one_of_them_hangs_up() {
    let mut rules = Rules::with_tickets(settings(), 2);
    let [gone, second, third] = [WAIT, WAIT, WAIT].map(|span| {
        let call = wait("f", TicketId(2), Some(span));
        rules.ask(call)
    });
    rules.ask(Command::Cancel { call: gone });
    rules.pass(WAIT - MS);
    assert_eq!([second, third].map(|call| rules.reply(call)), [None, None]);
    rules.pass(MS);
    for call in [second, third] {
        let reply = rules.reply(call);
        let timed_out = matches!(reply, Some(Err(Refusal::TurnTimedOut(TicketId(2), _))));
        assert!(timed_out, "{reply:?}");
    }
    assert_eq!(rules.reply(gone), None);
}

#[test]
fn a_wait_ends_at_its_time_and_the_ticket_stays() {
    let mut rules = Rules::with_tickets(settings(), 2);
    let own = rules.ask(wait("f", TicketId(2), Some(WAIT)));
    let default = rules.waits(2);
    rules.accept(1);
    rules.extend(1, Some(2 * PATIENCE)).unwrap();
    rules.pass(WAIT - MS);
    assert_eq!(rules.reply(own), None);
    rules.pass(MS);
    let timed_out = |reply: &Option<Result<Answer, Refusal>>| matches!(reply, Some(Err(Refusal::TurnTimedOut(TicketId(2), at))) if at.position == 1);
    assert!(timed_out(&rules.reply(own)));
    assert_eq!(rules.reply(default), None);
    rules.pass(PATIENCE - WAIT);
    assert!(timed_out(&rules.reply(default)));
    let at_once = rules.ask(wait("f", TicketId(2), Some(Duration::ZERO)));
    assert!(timed_out(&rules.reply(at_once)));
    assert_eq!(rules.states(2..=2), [Some(Waiting)]);
}

#[test]
fn completing_or_cancelling_a_ticket_in_line_tells_whoever_waits_for_it() {
    let mut rules = Rules::with_tickets(settings(), 4);
    let (second, third, fourth) = (rules.waits(2), rules.waits(3), rules.waits(4));
    rules.complete(2).unwrap();
    rules.cancel_ticket(3).unwrap();
    let ended = |id, end| Some(Err(Refusal::TicketEnded(TicketId(id), end)));
    assert_eq!(rules.reply(second), ended(2, TicketEnd::Done));
    assert_eq!(rules.reply(third), ended(3, TicketEnd::Cancelled));
    assert_eq!(rules.reply(fourth), None);
    for id in [2, 3] {
        let unknown = Err(Refusal::TicketNotFound(TicketId(id)));
        assert_eq!(rules.complete(id), unknown);
        assert_eq!(rules.cancel_ticket(id), unknown);
    }
    rules.cancel_ticket(1).unwrap();
    ready(rules.reply(fourth));
}

#[test]
fn extending_starts_the_work_time_anew_and_never_brings_its_end_nearer() {
    let mut rules = Rules::with_tickets(settings(), 2);
    let early = Err(Refusal::TicketNotAccepted(TicketId(1)));
    assert_eq!(rules.extend(1, None), early);
    rules.accept(1);
    rules.pass(10 * SEC);
    let left = |view: Result<TicketView, Refusal>| view.unwrap().lapses_in.unwrap();
    assert_eq!(left(rules.extend(1, Some(SEC))), DONE - 10 * SEC);
    assert_eq!(left(rules.extend(1, None)), DONE);
    assert_eq!(left(rules.extend(1, Some(2 * DONE))), 2 * DONE);
    rules.pass(2 * DONE - MS);
    assert_eq!(rules.states(1..=2), [Accepted, Waiting].map(Some));
    rules.pass(MS);
    assert_eq!(rules.states(1..=2), [Lapsed, Notified].map(Some));
}

#[test]
fn overrides_count_where_the_fifo_allows_them() {
    let overrides = TicketOverrides {
        accept: Some(Some(SEC)),
        done: Some(None),
        ..TicketOverrides::default()
    };
    let with = |lenient| FifoCommand::CreateTicket {
        fifo: fifo("f"),
        id: TicketId(1),
        overrides,
        lenient,
        about: None,
        subscribe: None,
        request_id: None,
    };
    let open = FifoSettings {
        allow_overrides: true,
        ..settings()
    };
    let mut rules = Rules::with_fifo("f", open);
    rules.asked(with(false)).unwrap();
    let timeouts = rules.get_ticket(1).unwrap().timeouts;
    assert_eq!(timeouts.accept, Some(SEC));
    assert_eq!(timeouts.done, None);
    assert_eq!(timeouts.wait, Some(PATIENCE));

    let mut rules = Rules::with_fifo("f", settings());
    match rules.asked(with(false)) {
        Err(Refusal::Invalid(invalid)) => assert_eq!(invalid.field, "overrides"),
        other => panic!("{other:?}"),
    }
    rules.asked(with(true)).unwrap();
    assert_eq!(rules.get_ticket(1).unwrap().timeouts, settings().timeouts);
}

#[test]
fn an_unknown_fifo_is_told_before_an_unknown_or_strange_ticket() {
    let mut rules = Rules::with_tickets(settings(), 1);
    rules.asked(create("other", settings(), None)).unwrap();
    let get = |of, id| FifoCommand::GetTicket {
        fifo: fifo(of),
        ticket: TicketId(id),
    };
    let nowhere = Err(Refusal::FifoNotFound(fifo("nowhere")));
    assert_eq!(rules.asked(get("nowhere", 1)), nowhere);
    assert_eq!(rules.asked(new_ticket("nowhere", 9, None)), nowhere);
    let unknown = Err(Refusal::TicketNotFound(TicketId(9)));
    assert_eq!(rules.asked(get("other", 9)), unknown);
    match rules.asked(get("other", 1)) {
        Err(Refusal::Invalid(invalid)) => assert_eq!(invalid.field, "ticket"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_namespace_sees_nothing_of_anothers_fifos() {
    let mut rules = Rules::with_tickets(settings(), 1);
    let call = rules.ask_in("other", wait("f", TicketId(1), None));
    let unknown = Some(Err(Refusal::FifoNotFound(fifo("f"))));
    assert_eq!(rules.reply(call), unknown);
}

#[test]
fn a_fifo_exists_once() {
    let mut rules = Rules::with_fifo("f", settings());
    let again = rules.asked(create("f", settings(), None));
    assert_eq!(again, Err(Refusal::FifoExists(fifo("f"))));
}

#[test]
fn a_retry_gets_the_same_outcome_also_after_a_crash() {
    let mut rules = Rules::new();
    let fresh = |of: &str| FifoCommand::Create {
        id: fifo(of),
        fresh_id: true,
        settings: settings(),
        request_id: id("make"),
    };
    let finish = |ticket| FifoCommand::Complete {
        fifo: fifo("f"),
        ticket: TicketId(ticket),
        request_id: id("done"),
    };
    rules.asked(fresh("f")).unwrap();
    rules.asked(new_ticket("f", 1, id("stand"))).unwrap();
    rules.asked(new_ticket("f", 2, id("stand too"))).unwrap();
    rules.asked(finish(1)).unwrap();
    rules.crash();
    match rules.asked(fresh("g")) {
        Ok(FifoAnswer::Fifo(view)) => assert_eq!(view.id, fifo("f")),
        other => panic!("{other:?}"),
    }
    assert_eq!(rules.asked(finish(1)), Ok(FifoAnswer::Completed));
    let ended = rules.asked(new_ticket("f", 7, id("stand")));
    assert_eq!(ended, Err(Refusal::TicketNotFound(TicketId(1))));
    match rules.asked(new_ticket("f", 8, id("stand too"))) {
        Ok(FifoAnswer::Ticket(view)) => assert_eq!(view.id, TicketId(2)),
        other => panic!("{other:?}"),
    }
    let reused = Err(Refusal::RequestIdReused(id("done").unwrap()));
    assert_eq!(rules.asked(finish(2)), reused);
    assert_eq!(rules.fifo("f").serving_count, 1);
    rules.pass(REQUEST_MEMORY);
    assert!(rules.asked(finish(1)).is_err());
}

#[test]
fn the_retry_of_a_deletion_tells_the_same_count() {
    let mut rules = Rules::with_tickets(settings(), 3);
    let delete = || FifoCommand::Delete {
        id: fifo("f"),
        request_id: id("r"),
    };
    assert_eq!(rules.asked(delete()), Ok(FifoAnswer::Deleted(3)));
    assert_eq!(rules.asked(delete()), Ok(FifoAnswer::Deleted(3)));
}

#[test]
fn deleting_a_fifo_ends_its_tickets_and_tells_whoever_waits() {
    let mut rules = Rules::with_tickets(settings(), 2);
    rules.pass(ACCEPT);
    rules.stand_in("f", 3);
    let call = rules.waits(3);
    let delete = FifoCommand::Delete {
        id: fifo("f"),
        request_id: None,
    };
    assert_eq!(rules.asked(delete), Ok(FifoAnswer::Deleted(2)));
    let ended = Refusal::TicketEnded(TicketId(3), TicketEnd::Deleted);
    assert_eq!(rules.reply(call), Some(Err(ended)));
    assert!(!rules.is_there("f"));
    assert_eq!(rules.state.records().len(), 1);
    assert_eq!(rules.store.len(), 1);
    assert_eq!(rules.state.next_deadline(), None);
}

#[test]
fn a_caller_that_hangs_up_leaves_its_ticket_in_line() {
    let mut rules = Rules::with_tickets(settings(), 2);
    let (gone, stays) = (rules.waits(2), rules.waits(2));
    rules.ask(Command::Cancel { call: gone });
    rules.complete(1).unwrap();
    assert_eq!(rules.reply(gone), None);
    ready(rules.reply(stays));
}

#[test]
fn a_ticket_whose_callers_are_gone_is_only_notified() {
    let mut rules = Rules::with_tickets(settings(), 2);
    let gone = rules.waits(2);
    rules.ask(Command::Cancel { call: gone });
    rules.complete(1).unwrap();
    assert_eq!(rules.states(2..=2), [Some(Notified)]);
}

#[test]
fn a_turn_that_nobody_was_told_of_waits_again_to_be_accepted() {
    let mut rules = Rules::with_tickets(settings(), 1);
    rules.accept(1);
    rules.accept(1);
    rules.pass(10 * SEC);
    rules.ask(give_back(TicketId(1)));
    assert_eq!(rules.states(1..=1), [Some(Accepted)]);
    rules.ask(give_back(TicketId(1)));
    let view = rules.get_ticket(1).unwrap();
    assert_eq!((view.state, view.lapses_in), (Notified, Some(ACCEPT)));
    rules.ask(give_back(TicketId(1)));
    rules.accept(1);
    rules.crash();
    rules.ask(give_back(TicketId(1)));
    assert_eq!(
        rules.states(1..=1),
        [Some(Accepted)],
        "who knows who was told"
    );
}

#[test]
fn who_has_extended_a_ticket_keeps_its_turn() {
    let mut rules = Rules::with_tickets(settings(), 1);
    rules.accept(1);
    rules.extend(1, None).unwrap();
    rules.ask(give_back(TicketId(1)));
    assert_eq!(rules.states(1..=1), [Some(Accepted)]);
}

#[test]
fn positions_are_told_at_once_and_then_coalesced() {
    let mut rules = Rules::with_tickets(settings(), 5);
    let calls = [3, 4, 5].map(|id| rules.waits(id));
    assert_eq!(calls.map(|call| rules.in_line(call)), [[2], [3], [4]]);
    rules.complete(1).unwrap();
    rules.complete(2).unwrap();
    rules.pass(POSITION_INTERVAL);
    assert_eq!(rules.in_line(calls[0]), [0; 0]);
    assert_eq!(rules.in_line(calls[1]), [1]);
    assert_eq!(rules.in_line(calls[2]), [2]);
    rules.complete(3).unwrap();
    rules.pass(MS);
    assert_eq!(
        rules.in_line(calls[2]),
        [0; 0],
        "not before the interval is over"
    );
    rules.pass(POSITION_INTERVAL);
    assert_eq!(rules.in_line(calls[2]), [1]);
}

#[test]
fn a_completion_costs_the_same_however_long_the_line_is() {
    for count in [10, 10_000] {
        let mut rules = Rules::with_tickets(settings(), count);
        let calls = [count - 1, count].map(|id| rules.waits(id));
        rules.told.clear();
        rules.complete(1).unwrap();
        assert_eq!(rules.changes.len(), 2, "of {count}");
        assert!(rules.told.is_empty(), "of {count}");
        assert_eq!(calls.map(|call| rules.in_line(call)), [[0; 0]; 2]);
    }
}

#[test]
fn the_time_to_go_follows_from_the_last_turns() {
    let two = FifoSettings {
        concurrency: 2,
        ..settings()
    };
    let mut rules = Rules::with_tickets(two, 6);
    assert_eq!(rules.get_ticket(6).unwrap().time_to_go, None);
    rules.accept(1);
    rules.pass(8 * SEC);
    rules.complete(1).unwrap();
    assert_eq!(rules.fifo("f").mean_turn, Some(8 * SEC));
    let view = rules.get_ticket(6).unwrap();
    assert_eq!((view.position, view.time_to_go), (3, Some(12 * SEC)));
    rules.complete(3).unwrap();
    assert_eq!(rules.fifo("f").mean_turn, Some(7 * SEC));
    assert_eq!(
        rules.get_ticket(2).unwrap().time_to_go,
        None,
        "its turn has come"
    );
}

#[test]
fn tickets_keep_their_places_states_and_deadlines_over_a_crash() {
    let mut rules = Rules::with_tickets(settings(), 4);
    rules.pass(ACCEPT);
    rules.accept(2);
    rules.pass(10 * SEC);
    rules.cancel_ticket(4).unwrap();
    let mut before = rules.fifo("f");
    // What turns took is not remembered.
    before.mean_turn = None;
    for ticket in &mut before.tickets {
        ticket.time_to_go = None;
    }
    rules.crash();
    rules.tick();
    assert!(rules.changes.is_empty());
    let states = [Some(Lapsed), Some(Accepted), Some(Waiting), None];
    assert_eq!(rules.states(1..=4), states);
    assert_eq!(rules.fifo("f"), before);
    let left = rules.get_ticket(2).unwrap().lapses_in;
    assert_eq!(left, Some(DONE - 10 * SEC));
    rules.pass(DONE);
    assert_eq!(rules.states(2..=3), [Lapsed, Notified].map(Some));
    let number = rules.get_ticket(3).unwrap().number;
    assert!(rules.stand_in("f", 5).number > number);
}

#[test]
fn a_turn_that_is_free_when_loaded_is_given_at_the_first_tick() {
    let mut rules = Rules::with_tickets(settings(), 3);
    let first = Key::Ticket(
        Namespace::new("default").unwrap(),
        fifo("f"),
        rules.get_ticket(1).unwrap().number,
    );
    rules.store.remove(&first.encode()).unwrap();
    rules.crash();
    rules.tick();
    assert_eq!(rules.states(1..=3), [None, Some(Notified), Some(Waiting)]);
}

#[test]
fn damaged_tickets_are_told_and_load_nothing() {
    let rules = Rules::with_tickets(settings(), 2);
    let load = |change: &dyn Fn(&mut Record)| {
        let mut loader = State::loader();
        rules
            .state
            .records()
            .into_iter()
            .try_for_each(|mut record| {
                if matches!(record.key, Key::Ticket(..) | Key::Fifo(..)) {
                    change(&mut record);
                }
                let mut value = Vec::new();
                record.encode_value(&mut value);
                loader.record(&record.key.encode(), &value)
            })
    };
    let of_tickets = |change: &dyn Fn(&mut crate::core::record::TicketValue)| {
        load(&|record| {
            if let Value::Ticket(ticket) = &mut record.value {
                change(ticket);
            }
        })
    };
    assert_eq!(load(&|_| {}), Ok(()));
    assert!(of_tickets(&|ticket| ticket.id.truncate(9)).is_err());
    assert!(of_tickets(&|ticket| ticket.id.fill(3)).is_err());
    assert!(of_tickets(&|ticket| ticket.state = 0).is_err());
    assert!(of_tickets(&|ticket| ticket.state = 5).is_err());
    assert!(
        of_tickets(&|ticket| ticket.state = 3).is_err(),
        "two turns at once"
    );
    let unknown_number = |record: &mut Record| {
        if let Key::Ticket(_, _, number) = &mut record.key {
            *number += 100;
        }
    };
    assert!(load(&unknown_number).is_err());
    let no_fifo = |record: &mut Record| {
        if let Key::Fifo(_, id) = &mut record.key {
            *id = fifo("g");
        }
    };
    assert!(load(&no_fifo).is_err());
    let serves_nobody = |record: &mut Record| {
        if let Value::Fifo(fifo) = &mut record.value {
            fifo.concurrency = 0;
        }
    };
    assert!(load(&serves_nobody).is_err());
}

#[test]
fn a_fifo_that_nobody_uses_goes_with_its_tickets() {
    let patient = FifoSettings {
        timeouts: TicketTimeouts {
            accept: None,
            ..settings().timeouts
        },
        ..settings()
    };
    let mut rules = Rules::with_tickets(patient, 2);
    rules.pass(UNUSED - MS);
    rules.fifo("f");
    rules.get_ticket(1).unwrap();
    rules.pass(MS);
    assert!(!rules.is_there("f"), "reading is no use");
    assert_eq!(rules.store.len(), 1);
}

#[test]
fn a_fifo_is_in_use_while_a_call_waits_or_a_ticket_is_accepted() {
    let patient = FifoSettings {
        timeouts: TicketTimeouts {
            wait: None,
            accept: None,
            done: Some(3 * UNUSED),
        },
        ..settings()
    };
    let mut rules = Rules::with_tickets(patient, 2);
    let call = rules.waits(2);
    rules.pass(2 * UNUSED);
    assert!(rules.is_there("f"));
    rules.ask(Command::Cancel { call });
    rules.pass(UNUSED - MS);
    rules.accept(1);
    rules.pass(2 * UNUSED);
    assert!(rules.is_there("f"));
    rules.complete(1).unwrap();
    rules.pass(UNUSED - MS);
    assert!(rules.is_there("f"));
    rules.pass(MS);
    assert!(!rules.is_there("f"));
}

#[test]
fn the_time_without_use_is_counted_anew_after_a_crash() {
    let mut rules = Rules::with_fifo("f", settings());
    rules.pass(UNUSED - MS);
    rules.crash();
    rules.pass(UNUSED - MS);
    assert!(rules.is_there("f"));
    rules.pass(MS);
    assert!(!rules.is_there("f"));
}

#[test]
fn fifos_and_tickets_are_listed_page_by_page() {
    let mut rules = Rules::with_tickets(settings(), 5);
    rules.asked(create("g", settings(), None)).unwrap();
    let fifos = rules.asked(FifoCommand::List {
        prefix: String::new(),
        after: None,
        limit: 1,
    });
    match fifos {
        Ok(FifoAnswer::Fifos { fifos, more: true }) => {
            assert_eq!(fifos.len(), 1);
            assert_eq!((fifos[0].waiting_count, fifos[0].tickets.len()), (4, 0));
        }
        other => panic!("{other:?}"),
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = rules.asked(FifoCommand::ListTickets {
            fifo: fifo("f"),
            after,
            limit: 2,
        });
        let Ok(FifoAnswer::Tickets { tickets, more }) = page else {
            panic!("{page:?}");
        };
        after = tickets.last().map(|ticket| ticket.number);
        seen.extend(tickets.iter().map(|ticket| (ticket.id.0, ticket.position)));
        if !more {
            break;
        }
    }
    assert_eq!(seen, [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]);
}

#[test]
fn a_view_shows_the_first_tickets_only() {
    let mut rules = Rules::with_tickets(settings(), TICKETS_SHOWN_MAX as u128 + 5);
    let view = rules.fifo("f");
    assert_eq!(view.tickets.len(), TICKETS_SHOWN_MAX);
    assert_eq!(view.waiting_count, TICKETS_SHOWN_MAX + 4);
}

#[test]
fn a_fifo_has_room_for_so_many_tickets_and_a_ticket_for_so_many_calls() {
    let mut rules = Rules::with_tickets(settings(), TICKETS_PER_FIFO_MAX as u128);
    let is_full = |reply: Result<Answer, Refusal>, most| matches!(reply, Err(Refusal::LimitReached { max, .. }) if max == most);
    let one_more = rules.call(Command::Fifo(new_ticket("f", u128::MAX, None)));
    assert!(is_full(one_more, TICKETS_PER_FIFO_MAX));
    for _ in 0..CALLS_PER_TICKET_MAX {
        rules.waits(2);
    }
    let one_more = rules.call(wait("f", TicketId(2), None));
    assert!(is_full(one_more, CALLS_PER_TICKET_MAX));
    rules.complete(9).unwrap();
    rules.stand_in("f", u128::MAX);
}
