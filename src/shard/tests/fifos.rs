//! Turns of tickets whose callers are gone, and what passes when there is little room.

use super::*;
use crate::core::{
    FifoAnswer, FifoCommand, FifoId, FifoSettings, TicketId, TicketState, TicketTimeouts,
};

fn fifo() -> FifoId {
    FifoId::new("f").unwrap()
}

fn create() -> Command {
    Command::Fifo(FifoCommand::Create {
        id: fifo(),
        fresh_id: false,
        settings: FifoSettings {
            timeouts: TicketTimeouts {
                wait: Some(HOUR),
                accept: Some(HOUR),
                done: Some(HOUR),
            },
            unused_destroy_timeout: None,
            allow_overrides: false,
            concurrency: 1,
        },
        request_id: None,
    })
}

fn stand(id: u128) -> Command {
    Command::Fifo(FifoCommand::CreateTicket {
        fifo: fifo(),
        id: TicketId(id),
        overrides: Default::default(),
        lenient: false,
        about: None,
        subscribe: None,
        request_id: None,
    })
}

fn turn(id: u128) -> Command {
    Command::Fifo(FifoCommand::Wait {
        fifo: fifo(),
        ticket: TicketId(id),
        wait: None,
    })
}

fn extend(id: u128) -> Command {
    Command::Fifo(FifoCommand::Extend {
        fifo: fifo(),
        ticket: TicketId(id),
        done: None,
    })
}

fn complete(id: u128) -> Command {
    Command::Fifo(FifoCommand::Complete {
        fifo: fifo(),
        ticket: TicketId(id),
        request_id: None,
    })
}

fn cancel(id: u128) -> Command {
    Command::Fifo(FifoCommand::Cancel {
        fifo: fifo(),
        ticket: TicketId(id),
        request_id: None,
    })
}

fn delete() -> Command {
    Command::Fifo(FifoCommand::Delete {
        id: fifo(),
        request_id: None,
    })
}

impl Shard {
    fn state_of(&self, id: u128) -> TicketState {
        let get = FifoCommand::GetTicket {
            fifo: fifo(),
            ticket: TicketId(id),
        };
        match wait(self.ask(Command::Fifo(get))) {
            Ok(Answer::Fifo(FifoAnswer::Ticket(view))) => view.state,
            other => panic!("{other:?}"),
        }
    }
}

/// A FIFO with tickets 1 and 2, and a call that waits for the second.
fn with_waiting(shard: &Shard) -> Call {
    wait(shard.ask(create())).unwrap();
    wait(shard.ask(stand(1))).unwrap();
    wait(shard.ask(stand(2))).unwrap();
    let mut call = shard.ask(turn(2));
    assert_eq!(queued(&mut call), 1);
    call
}

#[test]
fn a_caller_who_leaves_between_its_turn_and_the_commit_accepts_nothing() {
    let (store, shard) = start();
    let leaves = with_waiting(&shard);
    shard.until_its_thread_sleeps();
    store.hold_commits();
    let completed = shard.ask(complete(1));
    store.until_one_waits();
    drop(leaves);
    store.let_go();
    wait(completed).unwrap();
    until("nobody has accepted it", || {
        shard.state_of(2) == TicketState::Notified
    });
    shard.stop();
}

#[test]
fn a_caller_who_leaves_with_its_turn_told_and_not_taken_accepts_nothing() {
    let (_store, shard) = start();
    let leaves = with_waiting(&shard);
    wait(shard.ask(complete(1))).unwrap();
    until("it is told", || leaves.is_told());
    assert_eq!(shard.state_of(2), TicketState::Accepted);
    drop(leaves);
    assert_eq!(shard.state_of(2), TicketState::Notified);
    shard.stop();
}

#[test]
fn a_caller_who_has_taken_its_turn_keeps_it_when_another_leaves() {
    let (_store, shard) = start();
    let takes = with_waiting(&shard);
    let leaves = shard.ask(turn(2));
    wait(shard.ask(complete(1))).unwrap();
    until("it is told", || leaves.is_told());
    wait(takes).unwrap();
    drop(leaves);
    assert_eq!(shard.state_of(2), TicketState::Accepted);
    shard.stop();
}

#[test]
fn a_turn_whose_commit_fails_can_be_waited_for_again() {
    let (store, shard) = start();
    let call = with_waiting(&shard);
    shard.until_its_thread_sleeps();
    store.hold_commits();
    let completed = shard.ask(complete(1));
    store.until_one_waits();
    store.next_goes(store::Wrong::Fault(crate::store::crash::Fault::Before));
    store.let_go();
    assert_eq!(wait(completed), Err(Failure::Unavailable));
    assert_eq!(wait(call), Err(Failure::Unavailable));
    shard.until_it_serves();
    assert_eq!(shard.state_of(1), TicketState::Notified);
    assert_eq!(shard.state_of(2), TicketState::Waiting);
    wait(shard.ask(complete(1))).unwrap();
    wait(shard.ask(turn(2))).unwrap();
    shard.stop();
}

#[test]
fn a_full_disk_takes_no_new_ticket_and_lets_those_there_are_end() {
    let (store, shard) = start();
    let call = with_waiting(&shard);
    store.set_room(false);
    assert_eq!(wait(shard.ask(stand(3))), Err(Failure::StorageFull));
    wait(shard.ask(turn(1))).unwrap();
    wait(shard.ask(extend(1))).unwrap();
    wait(shard.ask(complete(1))).unwrap();
    wait(call).unwrap();
    wait(shard.ask(cancel(2))).unwrap();
    wait(shard.ask(delete())).unwrap();
    assert_eq!(wait(shard.ask(create())), Err(Failure::StorageFull));
    shard.stop();
}
