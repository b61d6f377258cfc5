//! Items on their way: what nobody was told of goes to others, and nothing is told too early.

use super::store::Wrong;
use super::*;
use crate::core::{Delivered, QueueAnswer, QueueView, ValueBytes};
use crate::store::crash::Fault;

const ACK: Duration = HOUR;

fn queue() -> QueueName {
    QueueName::new("jobs").unwrap()
}

fn enqueue(text: &str) -> Command {
    Command::Queue(QueueCommand::Enqueue {
        queue: queue(),
        bytes: ValueBytes::new(text.as_bytes().to_vec()).unwrap(),
        ttl: None,
        request_id: None,
    })
}

fn dequeue(ack_timeout: Option<Duration>) -> Command {
    Command::Queue(QueueCommand::Dequeue {
        queue: queue(),
        wait: HOUR,
        ack_timeout,
        request_id: None,
    })
}

fn item(outcome: Outcome) -> Delivered {
    match outcome {
        Ok(Answer::Queue(QueueAnswer::Delivered(told))) => told,
        other => panic!("no item: {other:?}"),
    }
}

fn text(told: &Delivered) -> String {
    String::from_utf8(told.item.bytes.bytes().to_vec()).unwrap()
}

fn next(watch: &mut Watch) -> Delivered {
    match block_on(watch.next()) {
        Some(WatchNews::Item(told)) => told,
        other => panic!("no item: {other:?}"),
    }
}

impl Shard {
    fn put_in(&self, text: &str) {
        let outcome = wait(self.ask(enqueue(text)));
        assert!(matches!(
            outcome,
            Ok(Answer::Queue(QueueAnswer::Enqueued(_)))
        ));
    }

    fn take_item(&self) -> Delivered {
        item(wait(self.ask(dequeue(Some(ACK)))))
    }

    fn stream(&self, window: u32) -> Watch {
        self.consume(&namespace(), queue(), window, ACK)
    }

    fn queue_view(&self) -> QueueView {
        let get = QueueCommand::Get { queue: queue() };
        match wait(self.ask(Command::Queue(get))) {
            Ok(Answer::Queue(QueueAnswer::Queue(view))) => view,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_item_is_told_only_once_its_delivery_is_durable() {
    let (store, shard) = start();
    let mut waits = shard.ask(dequeue(Some(ACK)));
    store.hold_commits();
    let put = shard.ask(enqueue("a"));
    store.until_one_waits();
    assert!(told(&mut waits).is_none());
    store.let_go();
    assert_eq!(text(&item(wait(waits))), "a");
    assert!(wait(put).is_ok());
    shard.stop();
}

#[test]
fn an_item_whose_caller_goes_while_it_is_on_its_way_goes_to_the_next() {
    for ack_timeout in [Some(ACK), None] {
        let (store, shard) = start();
        let gone = shard.ask(dequeue(ack_timeout));
        let next = shard.ask(dequeue(Some(ACK)));
        store.hold_commits();
        let put = shard.ask(enqueue("a"));
        store.until_one_waits();
        drop(gone);
        store.let_go();
        let told = item(wait(next));
        assert_eq!((text(&told).as_str(), told.item.deliveries), ("a", 1));
        assert!(wait(put).is_ok());
        shard.stop();
    }
}

#[test]
fn an_answer_that_nobody_took_is_given_back() {
    for ack_timeout in [Some(ACK), None] {
        let (_store, shard) = start();
        shard.put_in("a");
        shard.put_in("b");
        let call = shard.ask(dequeue(ack_timeout));
        until("it is told", || call.is_told());
        drop(call);
        let told = shard.take_item();
        assert_eq!((text(&told).as_str(), told.item.deliveries), ("a", 1));
        shard.stop();
    }
}

#[test]
fn a_stream_that_ends_gives_back_what_it_did_not_read() {
    let (_store, shard) = start();
    for text in ["a", "b", "c"] {
        shard.put_in(text);
    }
    let mut stream = shard.stream(10);
    assert_eq!(text(&next(&mut stream)), "a");
    until("all are told", || shard.queue_view().delivered_count == 3);
    drop(stream);
    let view = shard.queue_view();
    assert_eq!((view.ready_count, view.delivered_count), (2, 1));
    assert_eq!(view.consumer_count, 0);
    let told = shard.take_item();
    assert_eq!((text(&told).as_str(), told.item.deliveries), ("b", 1));
    shard.stop();
}

#[test]
fn a_stream_that_ends_while_items_are_on_their_way_gives_them_back() {
    let (store, shard) = start();
    let stream = shard.stream(10);
    store.hold_commits();
    let put = shard.ask(enqueue("a"));
    store.until_one_waits();
    drop(stream);
    store.let_go();
    assert!(wait(put).is_ok());
    assert_eq!(text(&shard.take_item()), "a");
    shard.stop();
}

#[test]
fn an_item_whose_delivery_could_not_be_committed_for_sure_goes_to_another() {
    for (ack_timeout, fault) in [
        (Some(ACK), Fault::Before),
        (Some(ACK), Fault::After),
        (None, Fault::Before),
        (None, Fault::After),
    ] {
        let (store, shard) = start();
        shard.put_in("a");
        store.hold_commits();
        let call = shard.ask(dequeue(ack_timeout));
        store.until_one_waits();
        store.next_goes(Wrong::Fault(fault));
        store.let_go();
        assert_eq!(wait(call), Err(Failure::Unavailable));
        shard.until_it_serves();
        let told = shard.take_item();
        assert_eq!((text(&told).as_str(), told.item.deliveries), ("a", 1));
        assert_eq!(shard.queue_view().ready_count, 0);
        shard.stop();
    }
}

#[test]
fn a_stream_fails_with_its_commit_and_its_items_go_to_others() {
    for fault in [Fault::Before, Fault::After] {
        let (store, shard) = start();
        shard.put_in("a");
        store.hold_commits();
        let mut stream = shard.stream(10);
        store.until_one_waits();
        store.next_goes(Wrong::Fault(fault));
        store.let_go();
        let news = block_on(stream.next());
        assert!(matches!(
            news,
            Some(WatchNews::Failed(Failure::Unavailable))
        ));
        shard.until_it_serves();
        assert_eq!(shard.take_item().item.deliveries, 1);
        shard.stop();
    }
}

#[test]
fn a_stream_that_is_not_read_is_never_cut_off() {
    let (_store, shard) = start();
    // However slowly this runs, no item dies of its deliveries.
    let settings = crate::core::QueueSettings {
        deliveries_max: None,
    };
    let configure = Command::Queue(QueueCommand::Configure {
        queue: queue(),
        settings,
        request_id: None,
    });
    wait(shard.ask(configure)).unwrap();
    let mut stream = shard.consume(&namespace(), queue(), 1_000, Duration::from_millis(100));
    for n in 0..1_000 {
        shard.put_in(&n.to_string());
    }
    // Again and again they expire unread, and are delivered to the same stream.
    until("all are delivered for the third time", || {
        shard.inner().work().sleep(Duration::from_millis(200));
        shard.inner().wake.notify_one();
        let peek = Command::Queue(QueueCommand::Peek {
            queue: queue(),
            part: crate::core::Part::Delivered,
            after: None,
            limit: 1_000,
        });
        match wait(shard.ask(peek)) {
            Ok(Answer::Queue(QueueAnswer::Items { items, .. })) => {
                items.len() == 1_000 && items.iter().all(|item| item.deliveries >= 3)
            }
            other => panic!("{other:?}"),
        }
    });
    assert!(next(&mut stream).item.deliveries >= 2);
    shard.stop();
}

#[test]
fn items_are_acknowledged_many_at_once() {
    let (_store, shard) = start();
    let calls = shard.calls(&namespace());
    let puts = (0..100).map(|n| (n, enqueue(&n.to_string()))).collect();
    calls.submit(puts);
    let mut numbers = Vec::new();
    while numbers.len() < 100 {
        let mut news = Vec::new();
        block_on(std::future::poll_fn(|cx| calls.poll_news(cx, &mut news)));
        for news in news {
            match news {
                SessionNews::Reply(number, Ok(_)) => numbers.push(number),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!(shard.queue_view().ready_count, 100);
    shard.stop();
}
