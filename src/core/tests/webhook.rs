//! Places in line whose turn is told by a call back.

use std::sync::Arc;

use super::*;

const ACCEPT: Duration = Duration::from_secs(60);

fn callback(id: u128) -> Subscribe {
    let callback = Callback {
        url: CallbackUrl::new("https://example.com/turn").unwrap(),
        secret: None,
        accept_timeout: ACCEPT,
        shape: CallbackShape::Native,
    };
    Subscribe {
        id: WebhookId(id),
        callback: Arc::new(callback),
    }
}

fn subscribe(lock: &str, id: u128) -> Acquire {
    Acquire {
        wait: limits::CALLBACK_WAIT_MAX,
        subscribe: Some(callback(id)),
        ..acquire(lock)
    }
}

impl Rules {
    fn subscribe(&mut self, lock: &str, id: u128) {
        self.subscribe_as(subscribe(lock, id), id);
    }

    fn subscribe_as(&mut self, acquire: Acquire, id: u128) {
        let answer = self.call(Command::Acquire(acquire));
        let subscribed = WebhookAnswer::Subscribed(WebhookId(id));
        assert_eq!(answer, Ok(Answer::Webhook(subscribed)));
    }

    /// What is to be posted, from the start.
    fn due(&mut self) -> Vec<WebhookJob> {
        let command = WebhookCommand::Due {
            after: 0,
            limit: 100,
        };
        match self.call(Command::Webhook(command)) {
            Ok(Answer::Webhook(WebhookAnswer::Due(jobs))) => jobs,
            other => panic!("{other:?}"),
        }
    }

    fn due_ids(&mut self) -> Vec<u128> {
        self.due().iter().map(|job| job.id.0).collect()
    }

    fn settle(&mut self, id: u128, taken: bool) {
        let status = if taken { 200 } else { 410 };
        self.ask(Command::Webhook(WebhookCommand::Settled {
            id: WebhookId(id),
            taken,
            attempt: attempt(Some(status)),
        }));
    }

    fn webhook(&mut self, id: u128) -> WebhookView {
        let id = WebhookId(id);
        match self.call(Command::Webhook(WebhookCommand::Get { id })) {
            Ok(Answer::Webhook(WebhookAnswer::Webhook(view))) => view,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, id: u128) -> WebhookState {
        self.webhook(id).state
    }

    fn cancel_webhook(&mut self, id: u128) -> Result<Answer, Refusal> {
        self.call(Command::Webhook(WebhookCommand::Cancel {
            id: WebhookId(id),
            request_id: None,
        }))
    }

    fn follow(&mut self) -> CallId {
        let call = self.ask(Command::Webhook(WebhookCommand::Follow));
        assert!(self.told.contains(&Effect::WebhooksDue(call)));
        self.told.clear();
        call
    }
}

/// The fencing token of the grant that is to be posted.
fn turned(job: &WebhookJob) -> u64 {
    match &job.turn {
        Turn::Granted(granted) => granted.holder.fencing_token,
        other => panic!("{other:?}"),
    }
}

fn attempt(status: Option<u16>) -> Attempt {
    Attempt {
        status,
        error: String::new(),
    }
}

#[test]
fn a_free_lock_is_granted_at_once_and_its_post_is_due_in_the_same_commit() {
    let mut rules = Rules::new();
    rules.subscribe("a", 1);
    let stored = |key: fn(&Key) -> bool| move |change: &Change| matches!(change, Change::Put(record) if key(&record.key));
    let changes = std::mem::take(&mut rules.changes);
    assert!(
        changes
            .iter()
            .any(stored(|key| matches!(key, Key::Grant(..))))
    );
    assert!(
        changes
            .iter()
            .any(stored(|key| matches!(key, Key::Webhook(..))))
    );
    let jobs = rules.due();
    assert_eq!(jobs.len(), 1);
    let held = turned(&jobs[0]);
    assert!(rules.holds("a", held));
    assert_eq!(jobs[0].accept_in, Some(ACCEPT));
}

#[test]
fn subscribers_stand_in_one_line_with_everyone_else() {
    let mut rules = Rules::new();
    let held = rules.take(acquire("a"));
    let before = rules.stand(acquire("a"));
    rules.subscribe("a", 1);
    let behind = rules.stand(acquire("a"));
    rules.release("a", held).unwrap();
    let held = rules.got(before);
    assert_eq!(rules.due_ids(), []);
    rules.release("a", held).unwrap();
    assert_eq!(rules.due_ids(), [1]);
    assert_eq!(rules.reply(behind), None);
    rules.settle(1, false);
    rules.got(behind);
}

#[test]
fn one_is_called_at_a_time_in_order() {
    let mut rules = Rules::new();
    for id in 1..=3 {
        rules.subscribe("a", id);
    }
    for id in 1..=3 {
        assert_eq!(rules.due_ids(), [id]);
        rules.settle(id, false);
        assert_eq!(rules.state(id), WebhookState::Refused);
    }
    assert_eq!(rules.view("a").holder_count, 0);
}

#[test]
fn a_turn_that_was_taken_is_held_for_its_ttl_from_then_on() {
    let mut rules = Rules::new();
    rules.subscribe("a", 1);
    // Longer than the TTL of 10 s: nobody was told of the grant before.
    rules.pass(30 * SEC);
    assert_eq!(rules.due_ids(), [1]);
    rules.settle(1, true);
    assert_eq!(rules.due_ids(), []);
    assert_eq!(rules.state(1), WebhookState::Taken);
    rules.pass(9 * SEC);
    assert_eq!(rules.view("a").holder_count, 1);
    rules.pass(SEC);
    assert_eq!(rules.view("a").holder_count, 0);
}

#[test]
fn a_turn_that_is_not_taken_in_time_is_the_next_ones() {
    let mut rules = Rules::new();
    rules.subscribe("a", 1);
    rules.subscribe("a", 2);
    rules.pass(ACCEPT - MS);
    assert_eq!(rules.due_ids(), [1]);
    rules.pass(MS);
    assert_eq!(rules.state(1), WebhookState::TimedOut);
    assert_eq!(rules.due_ids(), [2]);
    assert_eq!(rules.due()[0].accept_in, Some(ACCEPT));
    // Whatever comes too late changes nothing.
    rules.settle(1, true);
    assert_eq!(rules.state(1), WebhookState::TimedOut);
    assert_eq!(rules.due_ids(), [2]);
}

#[test]
fn a_grant_without_expiry_ends_all_the_same_where_it_is_not_taken() {
    let mut rules = Rules::new();
    let forever = Acquire {
        hold: Hold::Forever,
        ..subscribe("a", 1)
    };
    rules.subscribe_as(forever, 1);
    rules.pass(ACCEPT);
    assert_eq!(rules.view("a").holder_count, 0);
    assert_eq!(rules.state(1), WebhookState::TimedOut);
}

#[test]
fn what_is_due_is_due_after_a_crash_under_the_same_id_and_token() {
    let mut rules = Rules::new();
    rules.subscribe("a", 1);
    rules.subscribe("a", 2);
    rules.ask(Command::Webhook(WebhookCommand::Attempted {
        id: WebhookId(1),
        attempt: attempt(Some(500)),
    }));
    let before = rules.due();
    rules.crash();
    rules.tick();
    assert_eq!(rules.due(), before);
    assert_eq!(rules.webhook(1).attempts, 1);
    assert_eq!(rules.webhook(1).last_attempt.status, Some(500));
    assert_eq!(rules.state(2), WebhookState::Waiting);
    rules.settle(1, true);
    rules.crash();
    rules.tick();
    assert_eq!(rules.state(1), WebhookState::Taken);
    rules.release("a", turned(&before[0])).unwrap();
    assert_eq!(rules.due_ids(), [2]);
}

#[test]
fn a_retry_of_a_subscription_takes_no_second_place() {
    let mut rules = Rules::new();
    rules.subscribe_as(with_id(subscribe("a", 1), "r"), 1);
    rules.subscribe_as(with_id(subscribe("a", 2), "r"), 1);
    rules.crash();
    rules.subscribe_as(with_id(subscribe("a", 3), "r"), 1);
    assert_eq!(rules.due_ids(), [1]);
    assert_eq!(rules.view("a").waiter_count, 0);
}

#[test]
fn a_place_can_be_given_up_before_its_turn_and_not_after() {
    let mut rules = Rules::new();
    for id in 1..=3 {
        rules.subscribe("a", id);
    }
    let cancelled = Answer::Webhook(WebhookAnswer::Cancelled);
    assert_eq!(rules.cancel_webhook(2), Ok(cancelled));
    assert_eq!(rules.state(2), WebhookState::Cancelled);
    let not_waiting = Refusal::WebhookNotWaiting(WebhookId(1));
    assert_eq!(rules.cancel_webhook(1), Err(not_waiting));
    let not_found = Refusal::WebhookNotFound(WebhookId(9));
    assert_eq!(rules.cancel_webhook(9), Err(not_found));
    rules.settle(1, false);
    assert_eq!(rules.due_ids(), [3]);
}

#[test]
fn a_receiver_may_release_before_it_answers() {
    let mut rules = Rules::new();
    let follower = rules.follow();
    rules.subscribe("a", 1);
    let held = turned(&rules.due()[0]);
    rules.release("a", held).unwrap();
    let over = Effect::WebhookOver(follower, WebhookId(1));
    assert!(rules.told.contains(&over));
    assert_eq!(rules.state(1), WebhookState::Ended);
    rules.settle(1, true);
    assert_eq!(rules.state(1), WebhookState::Ended);
}

#[test]
fn whoever_follows_is_told_of_what_comes_due_and_of_nothing_else() {
    let mut rules = Rules::new();
    let follower = rules.follow();
    rules.subscribe("a", 1);
    assert!(rules.told.contains(&Effect::WebhooksDue(follower)));
    rules.told.clear();
    rules.subscribe("a", 2);
    assert_eq!(rules.told, []);
    rules.ask(Command::Cancel { call: follower });
    rules.settle(1, false);
    assert_eq!(rules.told, []);
    assert_eq!(rules.due_ids(), [2]);
}

#[test]
fn a_wait_that_ends_is_told_in_the_listing() {
    let mut rules = Rules::new();
    let forever = Acquire {
        hold: Hold::Forever,
        ..acquire("a")
    };
    rules.take(forever);
    let short = Acquire {
        wait: WAIT,
        ..subscribe("a", 1)
    };
    rules.subscribe_as(short, 1);
    let lease = rules.lease(TTL);
    rules.subscribe_as(on_lease(subscribe("a", 2), lease), 2);
    rules.pass(WAIT);
    assert_eq!(rules.state(1), WebhookState::WaitEnded);
    rules.pass(TTL);
    assert_eq!(rules.state(2), WebhookState::WaitEnded);
    assert_eq!(rules.view("a").waiter_count, 0);
}

#[test]
fn what_is_over_is_listed_for_a_day_and_then_forgotten() {
    let mut rules = Rules::new();
    rules.subscribe("a", 1);
    rules.settle(1, false);
    rules.pass(limits::WEBHOOK_OVER_MEMORY - MS);
    assert_eq!(rules.state(1), WebhookState::Refused);
    rules.crash();
    rules.pass(SEC);
    let id = WebhookId(1);
    let gone = rules.call(Command::Webhook(WebhookCommand::Get { id }));
    assert_eq!(gone, Err(Refusal::WebhookNotFound(id)));
    let left = |record: &Record| matches!(record.key, Key::Webhook(..));
    assert!(!rules.state.records().iter().any(left));
}

#[test]
fn the_oldest_that_are_over_make_room() {
    let mut rules = Rules::new();
    let count = limits::WEBHOOKS_OVER_MAX as u128 + 5;
    for id in 1..=count {
        rules.subscribe("a", id);
        rules.settle(id, false);
    }
    let id = WebhookId(5);
    let gone = rules.call(Command::Webhook(WebhookCommand::Get { id }));
    assert_eq!(gone, Err(Refusal::WebhookNotFound(id)));
    assert_eq!(rules.state(6), WebhookState::Refused);
    rules.crash();
    rules.subscribe("a", count + 1);
    rules.settle(count + 1, false);
    assert_eq!(rules.state(7), WebhookState::Refused);
}

#[test]
fn after_a_crash_the_one_that_was_over_first_still_makes_room_first() {
    let mut rules = Rules::new();
    for id in 1..=3 {
        rules.subscribe("a", id);
    }
    // Not in the order in which they were made.
    assert!(rules.cancel_webhook(3).is_ok());
    rules.pass(SEC);
    assert!(rules.cancel_webhook(2).is_ok());
    rules.crash();
    let last = limits::WEBHOOKS_OVER_MAX as u128 + 2;
    for id in 4..=last {
        rules.subscribe("b", id);
        rules.settle(id, false);
    }
    let id = WebhookId(3);
    let gone = rules.call(Command::Webhook(WebhookCommand::Get { id }));
    assert_eq!(gone, Err(Refusal::WebhookNotFound(id)));
    assert_eq!(rules.state(2), WebhookState::Cancelled);
}

#[test]
fn webhooks_of_another_namespace_are_not_there() {
    let mut rules = Rules::new();
    rules.subscribe("a", 1);
    let id = WebhookId(1);
    let call = rules.ask_in("other", Command::Webhook(WebhookCommand::Get { id }));
    assert_eq!(rules.reply(call), Some(Err(Refusal::WebhookNotFound(id))));
    let taken = WebhookCommand::Settled {
        id,
        taken: true,
        attempt: attempt(Some(200)),
    };
    rules.ask_in("other", Command::Webhook(taken));
    assert_eq!(rules.due_ids(), [1]);
}

#[test]
fn what_a_receiver_says_is_cut_to_its_bound() {
    let mut rules = Rules::new();
    rules.subscribe("a", 1);
    rules.ask(Command::Webhook(WebhookCommand::Attempted {
        id: WebhookId(1),
        attempt: Attempt {
            status: None,
            error: "é".repeat(500),
        },
    }));
    let error = rules.webhook(1).last_attempt.error;
    assert_eq!(error, "é".repeat(limits::ATTEMPT_ERROR_BYTES_MAX / 2));
}

const DONE: Duration = Duration::from_secs(600);

impl Rules {
    /// A FIFO with one ticket for each id, all of which call back.
    fn line_of_callbacks(&mut self, ids: std::ops::RangeInclusive<u128>) {
        self.told_of_fifo(FifoCommand::Create {
            id: line(),
            fresh_id: false,
            settings: FifoSettings {
                timeouts: TicketTimeouts {
                    wait: None,
                    accept: Some(ACCEPT),
                    done: Some(DONE),
                },
                unused_destroy_timeout: None,
                allow_overrides: false,
                concurrency: 1,
            },
            request_id: None,
        });
        for id in ids {
            self.ticket(id, None);
        }
    }

    fn ticket(&mut self, number: u128, request_id: Option<RequestId>) {
        self.told_of_fifo(FifoCommand::CreateTicket {
            fifo: line(),
            id: TicketId(number),
            overrides: TicketOverrides::default(),
            lenient: false,
            about: None,
            subscribe: Some(callback(number)),
            request_id,
        });
    }

    fn told_of_fifo(&mut self, command: FifoCommand) -> FifoAnswer {
        match self.call(Command::Fifo(command)) {
            Ok(Answer::Fifo(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn ticket_state(&mut self, id: u128) -> Option<TicketState> {
        let command = FifoCommand::GetTicket {
            fifo: line(),
            ticket: TicketId(id),
        };
        match self.call(Command::Fifo(command)) {
            Ok(Answer::Fifo(FifoAnswer::Ticket(view))) => Some(view.state),
            _ => None,
        }
    }

    fn finish(&mut self, id: u128) {
        self.told_of_fifo(FifoCommand::Complete {
            fifo: line(),
            ticket: TicketId(id),
            request_id: None,
        });
    }
}

fn line() -> FifoId {
    FifoId::new("line").unwrap()
}

#[test]
fn a_ticket_calls_back_when_its_turn_comes_and_who_takes_it_accepts_it() {
    let mut rules = Rules::new();
    rules.line_of_callbacks(1..=2);
    assert_eq!(rules.due_ids(), [1]);
    assert_eq!(rules.due()[0].accept_in, Some(ACCEPT));
    rules.settle(1, true);
    assert_eq!(rules.ticket_state(1), Some(TicketState::Accepted));
    assert_eq!(rules.state(1), WebhookState::Taken);
    // That nobody waited for it takes nothing back.
    rules.ask(Command::Fifo(FifoCommand::GiveBack {
        ticket: TicketId(9),
    }));
    rules.pass(DONE - SEC);
    assert_eq!(rules.ticket_state(1), Some(TicketState::Accepted));
    rules.finish(1);
    assert_eq!(rules.due_ids(), [2]);
}

#[test]
fn a_ticket_whose_receiver_refuses_or_is_late_lapses() {
    let mut rules = Rules::new();
    rules.line_of_callbacks(1..=3);
    rules.settle(1, false);
    assert_eq!(rules.ticket_state(1), Some(TicketState::Lapsed));
    assert_eq!(rules.state(1), WebhookState::Refused);
    assert_eq!(rules.due_ids(), [2]);
    rules.pass(ACCEPT);
    assert_eq!(rules.ticket_state(2), Some(TicketState::Lapsed));
    assert_eq!(rules.state(2), WebhookState::TimedOut);
    assert_eq!(rules.due_ids(), [3]);
}

#[test]
fn whoever_waits_for_a_ticket_may_be_before_its_receiver() {
    let mut rules = Rules::new();
    rules.line_of_callbacks(1..=2);
    rules.told_of_fifo(FifoCommand::Wait {
        fifo: line(),
        ticket: TicketId(1),
        wait: None,
    });
    assert_eq!(rules.state(1), WebhookState::Ended);
    assert_eq!(rules.due_ids(), []);
    rules.settle(1, false);
    assert_eq!(rules.ticket_state(1), Some(TicketState::Accepted));
}

#[test]
fn tickets_and_their_webhooks_end_together() {
    let mut rules = Rules::new();
    rules.line_of_callbacks(1..=4);
    assert!(rules.cancel_webhook(2).is_ok());
    assert_eq!(rules.ticket_state(2), None);
    rules.finish(3);
    assert_eq!(rules.state(3), WebhookState::Cancelled);
    rules.finish(1);
    assert_eq!(rules.state(1), WebhookState::Ended);
    assert_eq!(rules.due_ids(), [4]);
    rules.ticket(5, None);
    rules.told_of_fifo(FifoCommand::Delete {
        id: line(),
        request_id: None,
    });
    assert_eq!(rules.state(4), WebhookState::Ended);
    assert_eq!(rules.state(5), WebhookState::WaitEnded);
    assert_eq!(rules.due_ids(), []);
}

#[test]
fn tickets_that_call_back_are_there_after_a_crash() {
    let mut rules = Rules::new();
    rules.line_of_callbacks(1..=2);
    rules.ticket(3, id("r"));
    let before = rules.due();
    rules.crash();
    rules.tick();
    assert_eq!(rules.due(), before);
    rules.ticket(4, id("r"));
    assert_eq!(rules.ticket_state(4), None);
    rules.settle(1, true);
    rules.crash();
    rules.tick();
    assert_eq!(rules.ticket_state(1), Some(TicketState::Accepted));
    assert_eq!(rules.state(1), WebhookState::Taken);
    rules.finish(1);
    assert_eq!(rules.due_ids(), [2]);
    rules.settle(2, false);
    assert_eq!(rules.due_ids(), [3]);
}

#[test]
fn a_turn_that_is_not_taken_in_time_holds_the_lock_back_and_a_refused_one_does_not() {
    let mut rules = Rules::new();
    let delayed = |id| Acquire {
        release_delay: ReleaseDelay::new(3 * SEC).unwrap(),
        ..subscribe("a", id)
    };
    rules.subscribe_as(delayed(1), 1);
    rules.subscribe_as(delayed(2), 2);
    rules.subscribe_as(delayed(3), 3);
    rules.settle(1, false);
    assert_eq!(rules.due_ids(), [2]);
    rules.pass(ACCEPT);
    assert_eq!(rules.state(2), WebhookState::TimedOut);
    assert_eq!(rules.view("a").held_back_for, Some(3 * SEC));
    assert_eq!(rules.due_ids(), []);
    rules.crash();
    rules.pass(3 * SEC);
    assert_eq!(rules.due_ids(), [3]);
}
