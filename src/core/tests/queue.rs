//! Queues: order, deliveries, acknowledgements, windows, TTLs, dead letters and retries.

use super::*;
use crate::core::limits::{CONSUME_WINDOW_BYTES_MAX, PURGE_MAX, VALUE_BYTES_MAX};

const ACK: Duration = Duration::from_secs(30);

fn queue() -> QueueName {
    QueueName::new("jobs").unwrap()
}

fn bytes(text: &str) -> ValueBytes {
    ValueBytes::new(text.as_bytes().to_vec()).unwrap()
}

fn enqueue(text: &str) -> QueueCommand {
    QueueCommand::Enqueue {
        queue: queue(),
        bytes: bytes(text),
        ttl: None,
        request_id: None,
    }
}

fn enqueue_with_ttl(text: &str) -> QueueCommand {
    QueueCommand::Enqueue {
        queue: queue(),
        bytes: bytes(text),
        ttl: Some(TTL),
        request_id: None,
    }
}

/// A dequeue that has to be acknowledged.
fn dequeue(wait: Duration, request_id: Option<RequestId>) -> QueueCommand {
    QueueCommand::Dequeue {
        queue: queue(),
        wait,
        ack_timeout: Some(ACK),
        request_id,
    }
}

fn dequeue_for_good(wait: Duration) -> QueueCommand {
    QueueCommand::Dequeue {
        queue: queue(),
        wait,
        ack_timeout: None,
        request_id: None,
    }
}

fn consume(window: u32) -> QueueCommand {
    QueueCommand::Consume {
        queue: queue(),
        window,
        ack_timeout: ACK,
    }
}

fn acknowledge(delivery: Delivery) -> QueueCommand {
    QueueCommand::Acknowledge {
        queue: queue(),
        delivery,
        request_id: None,
    }
}

fn give_up(delivery: Delivery) -> QueueCommand {
    QueueCommand::Return {
        queue: queue(),
        delivery,
        request_id: None,
    }
}

fn extend(delivery: Delivery, ack_timeout: Option<Duration>) -> QueueCommand {
    QueueCommand::Extend {
        queue: queue(),
        delivery,
        ack_timeout,
    }
}

fn configure(deliveries_max: Option<u32>) -> QueueCommand {
    QueueCommand::Configure {
        queue: queue(),
        settings: QueueSettings { deliveries_max },
        request_id: None,
    }
}

fn purge(part: Part, request_id: Option<RequestId>) -> QueueCommand {
    QueueCommand::Purge {
        queue: queue(),
        part,
        request_id,
    }
}

fn give_back(told: &Delivered) -> QueueCommand {
    QueueCommand::GiveBack {
        queue: told.queue.clone(),
        item: told.item.clone(),
        is_final: told.delivery.is_none(),
    }
}

fn text(told: &Delivered) -> &str {
    std::str::from_utf8(told.item.bytes.bytes()).unwrap()
}

type Reply = Result<QueueAnswer, Refusal>;

fn answer(reply: Result<Answer, Refusal>) -> Reply {
    match reply {
        Ok(Answer::Queue(answer)) => Ok(answer),
        Ok(other) => panic!("not about a queue: {other:?}"),
        Err(refusal) => Err(refusal),
    }
}

fn delivered(reply: Reply) -> Delivered {
    match reply {
        Ok(QueueAnswer::Delivered(told)) => told,
        other => panic!("no item: {other:?}"),
    }
}

fn ended() -> Reply {
    Err(Refusal::DeliveryEnded(queue()))
}

impl Rules {
    fn q(&mut self, command: QueueCommand) -> Reply {
        answer(self.call(Command::Queue(command)))
    }

    fn ask_q(&mut self, command: QueueCommand) -> CallId {
        self.ask(Command::Queue(command))
    }

    fn put_in(&mut self, text: &str) -> u64 {
        match self.q(enqueue(text)) {
            Ok(QueueAnswer::Enqueued(id)) => id,
            other => panic!("not enqueued: {other:?}"),
        }
    }

    /// Takes the first item, which is there.
    fn take_item(&mut self) -> Delivered {
        delivered(self.q(dequeue(Duration::ZERO, None)))
    }

    /// The item that a waiting call has got.
    fn got_item(&mut self, call: CallId) -> Delivered {
        delivered(answer(self.reply(call).expect("an answer")))
    }

    /// What a stream was told and did not take yet.
    fn streamed(&mut self, call: CallId) -> Vec<Delivered> {
        let mut items = Vec::new();
        self.told.retain(|effect| match effect {
            Effect::Delivered(to, told) if *to == call => {
                items.push(told.clone());
                false
            }
            _ => true,
        });
        items
    }

    fn queue_view(&mut self) -> QueueView {
        match self.q(QueueCommand::Get { queue: queue() }) {
            Ok(QueueAnswer::Queue(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    /// How many items wait, are delivered, are dead.
    fn counts(&mut self) -> (usize, usize, usize) {
        let view = self.queue_view();
        (view.ready_count, view.delivered_count, view.dead_count)
    }

    fn peek(&mut self, part: Part) -> Vec<ItemView> {
        let peek = QueueCommand::Peek {
            queue: queue(),
            part,
            after: None,
            limit: 100,
        };
        match self.q(peek) {
            Ok(QueueAnswer::Items { items, .. }) => items,
            other => panic!("{other:?}"),
        }
    }

    /// What is stored is what the state says is to be stored.
    fn assert_stored(&self) {
        let records: BTreeMap<Vec<u8>, Vec<u8>> = self
            .state
            .records()
            .iter()
            .filter(|record| record.key != Key::Shard)
            .map(|record| {
                let mut value = Vec::new();
                record.encode_value(&mut value);
                (record.key.encode(), value)
            })
            .collect();
        let mut store = self.store.clone();
        store.remove(&Key::Shard.encode());
        assert_eq!(store, records);
    }
}

#[test]
fn items_are_delivered_in_the_order_in_which_they_came() {
    let mut rules = Rules::new();
    let ids = [rules.put_in("a"), rules.put_in("b"), rules.put_in("c")];
    assert!(ids.is_sorted());
    let texts = [(); 3].map(|()| text(&rules.take_item()).to_owned());
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(
        rules.q(dequeue(Duration::ZERO, None)),
        Ok(QueueAnswer::Empty)
    );
    rules.assert_stored();
}

#[test]
fn an_item_goes_to_the_consumer_that_waits_longest() {
    let mut rules = Rules::new();
    let first = rules.ask_q(dequeue(WAIT, None));
    let second = rules.ask_q(dequeue(WAIT, None));
    rules.put_in("a");
    assert_eq!(text(&rules.got_item(first)), "a");
    assert_eq!(rules.reply(second), None);
    rules.put_in("b");
    assert_eq!(text(&rules.got_item(second)), "b");
    assert_eq!(rules.counts(), (0, 2, 0));
    rules.assert_stored();
}

#[test]
fn a_final_delivery_leaves_nothing() {
    let mut rules = Rules::new();
    rules.put_in("a");
    let told = delivered(rules.q(dequeue_for_good(Duration::ZERO)));
    assert_eq!((told.delivery, told.item.deliveries), (None, 0));
    assert_eq!(rules.queue_view().bytes, 0);
    let waits = rules.ask_q(dequeue_for_good(WAIT));
    rules.put_in("b");
    assert_eq!(text(&rules.got_item(waits)), "b");
    rules.assert_stored();
    rules.crash();
    assert_eq!(rules.counts(), (0, 0, 0));
}

#[test]
fn an_acknowledged_item_is_never_delivered_again() {
    let mut rules = Rules::new();
    rules.put_in("a");
    let delivery = rules.take_item().delivery.unwrap();
    assert_eq!(
        rules.q(acknowledge(delivery)),
        Ok(QueueAnswer::Acknowledged)
    );
    assert_eq!(rules.q(acknowledge(delivery)), ended());
    rules.pass(10 * ACK);
    assert_eq!(rules.counts(), (0, 0, 0));
    rules.assert_stored();
    rules.crash();
    assert_eq!(
        rules.q(dequeue(Duration::ZERO, None)),
        Ok(QueueAnswer::Empty)
    );
}

#[test]
fn an_item_that_is_not_acknowledged_in_time_goes_to_the_front() {
    let mut rules = Rules::new();
    rules.put_in("a");
    rules.put_in("b");
    let first = rules.take_item();
    rules.pass(ACK - MS);
    assert_eq!(rules.counts(), (1, 1, 0));
    rules.pass(MS);
    assert_eq!(rules.counts(), (2, 0, 0));
    let again = rules.take_item();
    assert_eq!((again.item.id, again.item.deliveries), (first.item.id, 2));
    for stale in [
        acknowledge(first.delivery.unwrap()),
        give_up(first.delivery.unwrap()),
        extend(first.delivery.unwrap(), None),
    ] {
        assert_eq!(rules.q(stale), ended());
    }
    assert_eq!(rules.counts(), (1, 1, 0));
    rules.assert_stored();
}

#[test]
fn a_returned_item_goes_to_the_front_at_once() {
    let mut rules = Rules::new();
    rules.put_in("a");
    rules.put_in("b");
    let told = rules.take_item();
    assert_eq!(
        rules.q(give_up(told.delivery.unwrap())),
        Ok(QueueAnswer::Returned)
    );
    assert_eq!(rules.q(give_up(told.delivery.unwrap())), ended());
    assert_eq!(text(&rules.take_item()), "a");
}

#[test]
fn extending_never_brings_the_end_nearer() {
    let mut rules = Rules::new();
    rules.put_in("a");
    let delivery = rules.take_item().delivery.unwrap();
    rules.pass(10 * SEC);
    let left = |span| Ok(QueueAnswer::Extended(span));
    assert_eq!(rules.q(extend(delivery, Some(SEC))), left(ACK - 10 * SEC));
    assert_eq!(rules.q(extend(delivery, None)), left(ACK));
    rules.crash();
    assert_eq!(rules.q(extend(delivery, Some(2 * ACK))), left(2 * ACK));
    rules.pass(2 * ACK - MS);
    assert_eq!(rules.counts(), (0, 1, 0));
    rules.pass(MS);
    assert_eq!(rules.counts(), (1, 0, 0));
    rules.assert_stored();
}

#[test]
fn after_too_many_deliveries_an_item_is_dead() {
    let mut rules = Rules::new();
    rules.q(configure(Some(2))).unwrap();
    rules.put_in("a");
    rules.take_item();
    rules.pass(ACK);
    let last = rules.take_item();
    rules.crash();
    assert_eq!(last.item.deliveries, 2);
    assert_eq!(
        rules.q(give_up(last.delivery.unwrap())),
        Ok(QueueAnswer::Returned)
    );
    assert_eq!(rules.counts(), (0, 0, 1));
    assert_eq!(rules.peek(Part::Dead)[0].deliveries, 2);
    rules.assert_stored();
    rules.crash();
    assert_eq!(rules.counts(), (0, 0, 1));
}

#[test]
fn a_queue_that_was_not_configured_gives_an_item_twenty_chances() {
    let mut rules = Rules::new();
    rules.put_in("a");
    for number in 1..=20 {
        assert_eq!(rules.take_item().item.deliveries, number);
        rules.pass(ACK);
    }
    assert_eq!(rules.counts(), (0, 0, 1));
}

#[test]
fn a_queue_can_deliver_for_ever() {
    let mut rules = Rules::new();
    rules.q(configure(None)).unwrap();
    rules.put_in("a");
    for number in 1..=50 {
        assert_eq!(rules.take_item().item.deliveries, number);
        rules.pass(ACK);
    }
    assert_eq!(rules.counts(), (1, 0, 0));
}

#[test]
fn redriven_items_start_anew_in_their_order() {
    let mut rules = Rules::new();
    rules.q(configure(Some(1))).unwrap();
    rules.q(enqueue_with_ttl("a")).unwrap();
    rules.put_in("b");
    for _ in 0..2 {
        let delivery = rules.take_item().delivery.unwrap();
        rules.q(give_up(delivery)).unwrap();
    }
    let waits = rules.ask_q(dequeue(2 * TTL, None));
    // A dead letter has no TTL any more, nor has one that is back in line.
    rules.pass(TTL);
    let redrive = || QueueCommand::Redrive {
        queue: queue(),
        request_id: id("r"),
    };
    let redriven = Ok(QueueAnswer::Redriven {
        count: 2,
        more: false,
    });
    assert_eq!(rules.q(redrive()), redriven);
    let told = rules.got_item(waits);
    assert_eq!((text(&told), told.item.deliveries), ("a", 1));
    assert_eq!(told.item.expires_in, None);
    assert_eq!(rules.q(redrive()), redriven);
    rules.assert_stored();
    rules.crash();
    rules.pass(ACK);
    assert_eq!(rules.counts(), (1, 0, 1));
    rules.assert_stored();
}

#[test]
fn an_item_that_waits_is_gone_with_its_ttl() {
    let mut rules = Rules::new();
    rules.q(enqueue_with_ttl("a")).unwrap();
    rules.put_in("b");
    rules.crash();
    rules.pass(TTL - MS);
    assert_eq!(rules.peek(Part::Ready)[0].expires_in, Some(MS));
    rules.pass(MS);
    assert_eq!(rules.counts(), (1, 0, 0));
    assert_eq!(text(&rules.take_item()), "b");
    rules.assert_stored();
}

#[test]
fn an_item_whose_ttl_has_passed_is_not_delivered_before_the_tick_either() {
    let mut rules = Rules::new();
    rules.q(enqueue_with_ttl("a")).unwrap();
    rules.now = rules.now + TTL;
    assert!(rules.peek(Part::Ready).is_empty());
    assert_eq!(
        rules.q(dequeue(Duration::ZERO, None)),
        Ok(QueueAnswer::Empty)
    );
}

#[test]
fn a_delivered_item_outlives_its_ttl_until_it_comes_back() {
    let mut rules = Rules::new();
    rules.q(enqueue_with_ttl("a")).unwrap();
    let delivery = rules.take_item().delivery.unwrap();
    rules.pass(TTL);
    assert_eq!(rules.counts(), (0, 1, 0));
    rules.q(give_up(delivery)).unwrap();
    assert_eq!(rules.counts(), (0, 0, 0));
    rules.assert_stored();
}

#[test]
fn deliveries_and_their_deadlines_survive_a_crash() {
    let mut rules = Rules::new();
    rules.put_in("a");
    rules.take_item();
    rules.pass(ACK);
    let second = rules.take_item();
    rules.pass(10 * SEC);
    rules.put_in("b");
    rules.crash();
    rules.pass(ACK - 10 * SEC - MS);
    assert_eq!(rules.counts(), (1, 1, 0));
    rules.pass(MS);
    assert_eq!(rules.counts(), (2, 0, 0));
    assert_eq!(rules.q(acknowledge(second.delivery.unwrap())), ended());
    assert_eq!(rules.take_item().item.deliveries, 3);
    rules.assert_stored();
}

#[test]
fn a_wait_ends_empty() {
    let mut rules = Rules::new();
    let waits = rules.ask_q(dequeue(WAIT, None));
    rules.pass(WAIT - MS);
    assert_eq!(rules.reply(waits), None);
    assert_eq!(rules.queue_view().consumer_count, 1);
    rules.pass(MS);
    assert_eq!(answer(rules.reply(waits).unwrap()), Ok(QueueAnswer::Empty));
    assert!(rules.list_queues().is_empty());
}

impl Rules {
    fn list_queues(&mut self) -> Vec<QueueView> {
        let list = QueueCommand::List {
            prefix: String::new(),
            after: None,
            limit: 10,
        };
        match self.q(list) {
            Ok(QueueAnswer::Queues { queues, .. }) => queues,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_queue_is_there_as_long_as_anything_is_left_of_it() {
    let mut rules = Rules::new();
    rules.put_in("a");
    assert_eq!(rules.list_queues().len(), 1);
    let delivery = rules.take_item().delivery.unwrap();
    assert_eq!(rules.list_queues().len(), 1);
    rules.q(acknowledge(delivery)).unwrap();
    assert!(rules.list_queues().is_empty());
    rules.q(configure(Some(3))).unwrap();
    rules.crash();
    assert_eq!(rules.list_queues()[0].settings.deliveries_max, Some(3));
    let delete = QueueCommand::Delete {
        queue: queue(),
        request_id: None,
    };
    rules.q(delete).unwrap();
    assert!(rules.list_queues().is_empty());
    rules.assert_stored();
}

#[test]
fn who_is_gone_is_served_no_more() {
    let mut rules = Rules::new();
    let first = rules.ask_q(dequeue(WAIT, None));
    let second = rules.ask_q(dequeue(WAIT, None));
    let third = rules.ask_q(dequeue(WAIT, None));
    rules.ask(Command::Cancel { call: first });
    rules.ask(Command::Withdraw { call: second });
    assert_eq!(rules.reply(second), Some(Err(Refusal::Cancelled)));
    rules.put_in("a");
    assert_eq!(text(&rules.got_item(third)), "a");
    assert_eq!(rules.reply(first), None);
}

#[test]
fn a_stream_gets_items_as_long_as_its_window_has_room() {
    let mut rules = Rules::new();
    let stream = rules.ask_q(consume(2));
    for text in ["a", "b", "c", "d"] {
        rules.put_in(text);
    }
    let told = rules.streamed(stream);
    assert_eq!(told.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
    rules.q(acknowledge(told[1].delivery.unwrap())).unwrap();
    let more = rules.streamed(stream);
    assert_eq!(more.iter().map(text).collect::<Vec<_>>(), ["c"]);
    // A returned item makes room for itself: it is the first again.
    rules.q(give_up(told[0].delivery.unwrap())).unwrap();
    let again = rules.streamed(stream);
    assert_eq!(again.iter().map(text).collect::<Vec<_>>(), ["a"]);
    rules.assert_stored();
}

#[test]
fn streams_take_turns() {
    let mut rules = Rules::new();
    let one = rules.ask_q(consume(10));
    let other = rules.ask_q(consume(10));
    let once = rules.ask_q(dequeue(WAIT, None));
    for text in ["a", "b", "c", "d", "e"] {
        rules.put_in(text);
    }
    let told = rules.streamed(one);
    assert_eq!(told.iter().map(text).collect::<Vec<_>>(), ["a", "d"]);
    let told = rules.streamed(other);
    assert_eq!(told.iter().map(text).collect::<Vec<_>>(), ["b", "e"]);
    assert_eq!(text(&rules.got_item(once)), "c");
}

#[test]
fn a_stream_has_no_more_bytes_than_its_bound_and_one_item() {
    let mut rules = Rules::new();
    let stream = rules.ask_q(consume(1_000));
    let large = "x".repeat(VALUE_BYTES_MAX);
    for _ in 0..100 {
        rules.put_in(&large);
    }
    let told = rules.streamed(stream);
    assert_eq!(told.len() * VALUE_BYTES_MAX, CONSUME_WINDOW_BYTES_MAX);
    rules.q(acknowledge(told[0].delivery.unwrap())).unwrap();
    assert_eq!(rules.streamed(stream).len(), 1);
}

#[test]
fn an_item_that_expires_with_a_stream_is_recalled_before_it_is_told_again() {
    let mut rules = Rules::new();
    let stream = rules.ask_q(consume(1));
    rules.put_in("a");
    let told = rules.streamed(stream);
    rules.pass(ACK);
    let effects = std::mem::take(&mut rules.told);
    assert!(matches!(
        effects.as_slice(),
        [Effect::Recalled(to, delivery), Effect::Delivered(again, next)]
            if *to == stream && *again == stream && Some(*delivery) == told[0].delivery
                && next.item.deliveries == 2
    ));
}

#[test]
fn what_a_stream_was_told_stays_with_it_when_it_ends() {
    let mut rules = Rules::new();
    let stream = rules.ask_q(consume(1));
    rules.put_in("a");
    let told = rules.streamed(stream);
    rules.ask(Command::Cancel { call: stream });
    assert_eq!(rules.counts(), (0, 1, 0));
    rules.pass(ACK - MS);
    assert_eq!(rules.counts(), (0, 1, 0));
    let acknowledged = rules.q(acknowledge(told[0].delivery.unwrap()));
    assert_eq!(acknowledged, Ok(QueueAnswer::Acknowledged));
    assert!(rules.list_queues().is_empty());
}

#[test]
fn an_item_that_nobody_was_told_of_is_given_back_as_if_it_had_never_left() {
    let mut rules = Rules::new();
    rules.put_in("a");
    rules.put_in("b");
    let told = rules.take_item();
    rules.ask_q(give_back(&told));
    assert_eq!(rules.counts(), (2, 0, 0));
    rules.assert_stored();
    let again = rules.take_item();
    assert_eq!((text(&again), again.item.deliveries), ("a", 1));
    // Twice is harmless, and so is an item that was acknowledged.
    rules.q(acknowledge(again.delivery.unwrap())).unwrap();
    rules.ask_q(give_back(&again));
    assert_eq!(rules.counts(), (1, 0, 0));
    rules.assert_stored();
}

#[test]
fn an_item_of_a_final_delivery_that_nobody_was_told_of_is_put_in_again() {
    let mut rules = Rules::new();
    let id = rules.put_in("a");
    rules.put_in("b");
    let told = delivered(rules.q(dequeue_for_good(Duration::ZERO)));
    rules.crash();
    rules.ask_q(give_back(&told));
    rules.ask_q(give_back(&told));
    assert_eq!(rules.counts(), (2, 0, 0));
    rules.assert_stored();
    rules.crash();
    let again = rules.take_item();
    assert_eq!((again.item.id, text(&again)), (id, "a"));
    assert_eq!(again.item.enqueued_at, told.item.enqueued_at);
}

#[test]
fn a_retried_enqueue_puts_in_one_item() {
    let mut rules = Rules::new();
    let command = |text| QueueCommand::Enqueue {
        queue: queue(),
        bytes: bytes(text),
        ttl: None,
        request_id: id("r"),
    };
    let first = rules.q(command("a"));
    assert_eq!(rules.q(command("a")), first);
    rules.crash();
    assert_eq!(rules.q(command("a")), first);
    let reused = rules.q(command("b"));
    assert!(matches!(reused, Err(Refusal::RequestIdReused(_))));
    assert_eq!(rules.counts(), (1, 0, 0));
    rules.assert_stored();
}

#[test]
fn a_retried_dequeue_gets_the_same_delivery_as_long_as_it_lasts() {
    let mut rules = Rules::new();
    rules.put_in("a");
    rules.put_in("b");
    let first = delivered(rules.q(dequeue(Duration::ZERO, id("r"))));
    rules.crash();
    rules.pass(SEC);
    let again = delivered(rules.q(dequeue(WAIT, id("r"))));
    assert_eq!(
        (again.delivery, &again.item.id),
        (first.delivery, &first.item.id)
    );
    assert_eq!(again.item.ack_in, Some(ACK - SEC));
    rules.q(acknowledge(first.delivery.unwrap())).unwrap();
    assert_eq!(rules.q(dequeue(WAIT, id("r"))), ended());
    assert_eq!(rules.counts(), (1, 0, 0));
    rules.assert_stored();
}

#[test]
fn calls_that_wait_with_one_request_id_get_one_item() {
    let mut rules = Rules::new();
    let first = rules.ask_q(dequeue(WAIT, id("r")));
    let retry = rules.ask_q(dequeue(WAIT, id("r")));
    rules.put_in("a");
    let (one, other) = (rules.got_item(first), rules.got_item(retry));
    assert_eq!(one.delivery, other.delivery);
    rules.put_in("b");
    assert_eq!(rules.counts(), (1, 1, 0));
    // One of two that were told is gone: the other has the item still.
    rules.ask_q(give_back(&one));
    assert_eq!(rules.counts(), (1, 1, 0));
    rules.ask_q(give_back(&other));
    assert_eq!(rules.counts(), (2, 0, 0));
    // Nobody has seen the outcome, so the id is as good as new.
    assert_eq!(text(&delivered(rules.q(dequeue(WAIT, id("r"))))), "a");
    rules.assert_stored();
}

#[test]
fn a_final_dequeue_takes_no_request_id() {
    let mut rules = Rules::new();
    let refused = rules.q(QueueCommand::Dequeue {
        queue: queue(),
        wait: WAIT,
        ack_timeout: None,
        request_id: id("r"),
    });
    assert!(matches!(refused, Err(Refusal::Invalid(invalid)) if invalid.field == "request_id"));
}

#[test]
fn retries_of_everything_else_have_the_same_outcome() {
    let mut rules = Rules::new();
    rules.put_in("a");
    rules.put_in("b");
    let (one, other) = (rules.take_item(), rules.take_item());
    let commands = [
        QueueCommand::Configure {
            queue: queue(),
            settings: QueueSettings {
                deliveries_max: Some(5),
            },
            request_id: id("configure"),
        },
        QueueCommand::Acknowledge {
            queue: queue(),
            delivery: one.delivery.unwrap(),
            request_id: id("acknowledge"),
        },
        QueueCommand::Return {
            queue: queue(),
            delivery: other.delivery.unwrap(),
            request_id: id("return"),
        },
        purge(Part::Ready, id("purge")),
        QueueCommand::Delete {
            queue: queue(),
            request_id: id("delete"),
        },
    ];
    for command in commands {
        let first = rules.q(command.clone()).unwrap();
        rules.assert_stored();
        rules.crash();
        let again = rules.q(command.clone()).unwrap();
        let is_view = matches!(command, QueueCommand::Configure { .. });
        assert!(is_view || again == first, "{command:?}: {again:?}");
    }
}

#[test]
fn a_purge_takes_so_many_items_at_once() {
    let mut rules = Rules::new();
    let kept = rules.put_in("kept");
    rules.take_item();
    for _ in 0..=PURGE_MAX {
        rules.put_in("x");
    }
    let purged = |count, more| Ok(QueueAnswer::Purged { count, more });
    assert_eq!(rules.q(purge(Part::Ready, None)), purged(PURGE_MAX, true));
    assert_eq!(rules.q(purge(Part::Ready, None)), purged(1, false));
    assert_eq!(rules.q(purge(Part::Ready, None)), purged(0, false));
    assert_eq!(rules.peek(Part::Delivered)[0].id, kept);
    let refused = rules.q(purge(Part::Delivered, None));
    assert!(matches!(refused, Err(Refusal::Invalid(invalid)) if invalid.field == "part"));
    rules.assert_stored();
}

#[test]
fn deleting_takes_delivered_items_and_dead_letters_too() {
    let mut rules = Rules::new();
    rules.q(configure(Some(1))).unwrap();
    for text in ["a", "b", "c"] {
        rules.put_in(text);
    }
    let dead = rules.take_item().delivery.unwrap();
    rules.q(give_up(dead)).unwrap();
    let taken = rules.take_item().delivery.unwrap();
    let stream = rules.ask_q(consume(1));
    assert_eq!(rules.streamed(stream).len(), 1);
    let deleted = rules.q(QueueCommand::Delete {
        queue: queue(),
        request_id: None,
    });
    let all = QueueAnswer::Purged {
        count: 3,
        more: false,
    };
    assert_eq!(deleted, Ok(all));
    assert_eq!(rules.q(acknowledge(taken)), ended());
    rules.put_in("d");
    assert_eq!(text(&rules.streamed(stream)[0]), "d");
    rules.assert_stored();
}

#[test]
fn pages_of_items_joined_are_all_of_them() {
    let mut rules = Rules::new();
    for n in 0..5 {
        rules.put_in(&n.to_string());
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let peek = QueueCommand::Peek {
            queue: queue(),
            part: Part::Ready,
            after,
            limit: 2,
        };
        let Ok(QueueAnswer::Items { items, more }) = rules.q(peek) else {
            panic!("no page");
        };
        after = items.last().map(|item| item.id);
        seen.extend(items);
        if !more {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(rules.counts(), (5, 0, 0));
}

#[test]
fn queues_of_other_namespaces_are_others() {
    let mut rules = Rules::new();
    rules.put_in("a");
    let told = rules.take_item();
    let call = rules.ask_in("other", Command::Queue(acknowledge(told.delivery.unwrap())));
    assert_eq!(answer(rules.reply(call).unwrap()), ended());
    let call = rules.ask_in("other", Command::Queue(dequeue(Duration::ZERO, None)));
    assert_eq!(answer(rules.reply(call).unwrap()), Ok(QueueAnswer::Empty));
}

#[test]
fn damaged_records_of_queues_are_told_and_never_panic() {
    let ns = || Namespace::new("default").unwrap();
    let load = |key: Key, value: Value| {
        let record = Record { key, value };
        let mut bytes = Vec::new();
        record.encode_value(&mut bytes);
        let mut loader = State::loader();
        loader.record(&record.key.encode(), &bytes)
    };
    let item = Value::Item(Default::default());
    assert!(
        load(Key::Item(ns(), queue(), 1), item).is_err(),
        "above the counter"
    );
    let delivery = Value::Delivery(Default::default());
    assert!(
        load(Key::Delivery(ns(), queue(), 1), delivery).is_err(),
        "no item"
    );
}
