//! The rules of consumers: who waits, who is served, and how much a stream may have.

use std::time::Duration;

use super::super::command::*;
use super::super::limits::*;
use super::super::name::{Invalid, QueueName, RequestId};
use super::super::request::{Done, Kind, Recall};
use super::super::state::{CallRole, ConsumerIx, ItemIx, Out, QueueIx, SpaceIx, State};
use super::super::time::Time;
use super::super::timer::Timer;
use super::item::{Stage, Under};

/// A call that waits for an item, or a stream.
#[derive(Debug)]
pub(in crate::core) struct Consumer {
    call: CallId,
    queue: QueueIx,
    /// Its place among those that wait; `None`: a stream without room.
    turn: Option<u64>,
    kind: ConsumerKind,
}

#[derive(Debug)]
enum ConsumerKind {
    /// It takes one item.
    Once {
        deadline: Time,
        ack_timeout: Option<Duration>,
        request_id: Option<RequestId>,
    },
    /// It takes items as long as it has room.
    Stream {
        ack_timeout: Duration,
        window: u32,
        /// How many items it has and did not acknowledge.
        count: u32,
        /// How many bytes these have.
        bytes: usize,
    },
}

impl Consumer {
    fn has_room(&self) -> bool {
        match self.kind {
            ConsumerKind::Once { .. } => true,
            ConsumerKind::Stream {
                window,
                count,
                bytes,
                ..
            } => count < window && bytes < CONSUME_WINDOW_BYTES_MAX,
        }
    }

    fn request_id(&self) -> Option<&RequestId> {
        match &self.kind {
            ConsumerKind::Once { request_id, .. } => request_id.as_ref(),
            ConsumerKind::Stream { .. } => None,
        }
    }
}

impl State {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn dequeue(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        wait: Duration,
        ack_timeout: Option<Duration>,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        if request_id.is_some() && ack_timeout.is_none() {
            let expected = "needs ack_timeout: a final delivery can't be told twice";
            let invalid = Invalid::new("request_id", expected);
            return out.refuse(call, Refusal::Invalid(invalid));
        }
        if self.is_known(call, space, &name, ack_timeout, request_id.clone(), out) {
            return;
        }
        if wait.is_zero() && self.find_queue(space, &name).is_none() {
            return out.answer(call, Answer::Queue(QueueAnswer::Empty));
        }
        let deadline = self.now + wait;
        let kind = ConsumerKind::Once {
            deadline,
            ack_timeout,
            request_id,
        };
        let Some(queue) = self.start_to_consume(call, space, &name, kind, out) else {
            return;
        };
        self.serve_consumers(queue, out);
        if let Some(CallRole::Consumer(index)) = self.calls.get(&call) {
            let index = *index;
            if wait.is_zero() {
                self.leave_queue(index);
                out.answer(call, Answer::Queue(QueueAnswer::Empty));
            } else {
                self.timers.set(deadline, Timer::Consumer(index));
            }
        }
        self.settle_queue(queue, out);
    }

    pub(super) fn consume(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: &QueueName,
        window: u32,
        ack_timeout: Duration,
        out: &mut Out,
    ) {
        let kind = ConsumerKind::Stream {
            ack_timeout,
            window,
            count: 0,
            bytes: 0,
        };
        if let Some(queue) = self.start_to_consume(call, space, name, kind, out) {
            self.settle_queue(queue, out);
        }
    }

    /// Puts a consumer behind those that wait, or refuses it.
    fn start_to_consume(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: &QueueName,
        kind: ConsumerKind,
        out: &mut Out,
    ) -> Option<QueueIx> {
        let queue = match self.queue_to_use(space, name) {
            Ok(queue) => queue,
            Err(refusal) => {
                out.refuse(call, refusal);
                return None;
            }
        };
        if self.queues[queue].consumer_count >= CONSUMERS_PER_QUEUE_MAX {
            let refusal = Refusal::LimitReached {
                what: "consumers of one queue",
                max: CONSUMERS_PER_QUEUE_MAX,
            };
            out.refuse(call, refusal);
            return None;
        }
        let consumer = Consumer {
            call,
            queue,
            turn: None,
            kind,
        };
        let request_id = consumer.request_id().cloned();
        let index = self.consumers.insert(consumer);
        self.calls.insert(call, CallRole::Consumer(index));
        let queue_entry = &mut self.queues[queue];
        queue_entry.consumer_count += 1;
        if let Some(id) = request_id {
            queue_entry.asked.entry(id).or_default().push(index);
        }
        self.wait_anew(index);
        Some(queue)
    }

    /// Puts a consumer behind all that wait; one without room leaves them.
    fn wait_anew(&mut self, index: ConsumerIx) {
        let consumer = &mut self.consumers[index];
        let waiting = &mut self.queues[consumer.queue].waiting;
        if let Some(turn) = consumer.turn.take() {
            waiting.remove(&turn);
        }
        if consumer.has_room() {
            self.last_turn += 1;
            consumer.turn = Some(self.last_turn);
            waiting.insert(self.last_turn, index);
        }
    }

    /// Takes a consumer out, and tells it nothing.
    fn leave_queue(&mut self, index: ConsumerIx) -> Consumer {
        let consumer = self.consumers.remove(index);
        self.calls.remove(&consumer.call);
        if let ConsumerKind::Once { deadline, .. } = &consumer.kind {
            self.timers.unset(*deadline, Timer::Consumer(index));
        }
        let queue = &mut self.queues[consumer.queue];
        queue.consumer_count -= 1;
        if let Some(turn) = consumer.turn {
            queue.waiting.remove(&turn);
        }
        if let Some(id) = consumer.request_id()
            && let Some(asked) = queue.asked.get_mut(id)
        {
            asked.retain(|other| *other != index);
            if asked.is_empty() {
                queue.asked.remove(id);
            }
        }
        consumer
    }

    /// Gives the items that wait to the consumers that wait, as long as there are both.
    pub(super) fn serve_consumers(&mut self, queue: QueueIx, out: &mut Out) {
        loop {
            let entry = &self.queues[queue];
            let (Some((_, consumer)), Some((_, item))) = (
                entry.waiting.first_key_value(),
                entry.ready.first_key_value(),
            ) else {
                return;
            };
            let (consumer, item) = (*consumer, *item);
            if self.items[item].has_expired(self.now) {
                self.remove_item(item, out);
            } else {
                self.deliver(item, consumer, out);
            }
        }
    }

    fn deliver(&mut self, item: ItemIx, index: ConsumerIx, out: &mut Out) {
        let consumer = &self.consumers[index];
        let (call, queue) = (consumer.call, consumer.queue);
        let under = |ends, ack_timeout| Under {
            ends,
            ack_timeout,
            stream: None,
            told: 1,
            request_id: None,
        };
        match &consumer.kind {
            ConsumerKind::Once {
                ack_timeout: None, ..
            } => {
                let told = self.view_delivered(item, None);
                self.leave_queue(index);
                self.remove_item(item, out);
                out.answer(call, Answer::Queue(QueueAnswer::Delivered(told)));
            }
            ConsumerKind::Once {
                ack_timeout: Some(ack_timeout),
                request_id,
                ..
            } => {
                let (ack_timeout, request_id) = (*ack_timeout, request_id.clone());
                let ends = self.now + ack_timeout;
                let space = self.queues[queue].space;
                let name = self.queues[queue].name.clone();
                let asked = (&name, Some(ack_timeout));
                self.leave_queue(index);
                // Another call with the same id may have been served while this one waited for its
                // turn, or the id been used for something else.
                let kind = Kind::Dequeue;
                let id = request_id.clone();
                let request = match self.recall(call, space, id, kind, asked, out) {
                    Recall::New(request) => request,
                    Recall::Done(Done::Dequeued(delivery)) => {
                        return self.tell_again(call, space, name, delivery, out);
                    }
                    _ => return,
                };
                let under = Under {
                    request_id: request_id.clone(),
                    ..under(ends, ack_timeout)
                };
                self.start_delivery(item, under, out);
                let delivery = self.items[item].delivery();
                self.remember(space, request, Done::Dequeued(delivery), out);
                let told = self.view_delivered(item, Some(delivery));
                out.answer(call, Answer::Queue(QueueAnswer::Delivered(told)));
                if let Some(id) = request_id {
                    self.tell_retries(queue, &id, out);
                }
            }
            ConsumerKind::Stream { ack_timeout, .. } => {
                let ack_timeout = *ack_timeout;
                let under = Under {
                    stream: Some(call),
                    ..under(self.now + ack_timeout, ack_timeout)
                };
                self.start_delivery(item, under, out);
                let weight = self.items[item].bytes.len();
                if let ConsumerKind::Stream { count, bytes, .. } = &mut self.consumers[index].kind {
                    *count += 1;
                    *bytes += weight;
                }
                self.wait_anew(index);
                let delivery = self.items[item].delivery();
                let told = self.view_delivered(item, Some(delivery));
                out.effects.push(Effect::Delivered(call, told));
            }
        }
    }

    fn view_delivered(&self, item: ItemIx, delivery: Option<Delivery>) -> Delivered {
        Delivered {
            queue: self.queues[self.items[item].queue].name.clone(),
            item: self.view_item(item),
            delivery,
        }
    }

    /// Tells those who wait with this request id what it has come to.
    fn tell_retries(&mut self, queue: QueueIx, id: &RequestId, out: &mut Out) {
        let Some(retries) = self.queues[queue].asked.get(id).cloned() else {
            return;
        };
        let (space, name) = (self.queues[queue].space, self.queues[queue].name.clone());
        for index in retries {
            let consumer = self.leave_queue(index);
            if let ConsumerKind::Once { ack_timeout, .. } = consumer.kind {
                self.is_known(
                    consumer.call,
                    space,
                    &name,
                    ack_timeout,
                    Some(id.clone()),
                    out,
                );
            }
        }
    }

    /// Whether a dequeue is the retry of one that was served, or was refused: then it is answered.
    fn is_known(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: &QueueName,
        ack_timeout: Option<Duration>,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) -> bool {
        let asked = (name, ack_timeout);
        match self.recall(call, space, request_id, Kind::Dequeue, asked, out) {
            Recall::New(_) => return false,
            Recall::Done(Done::Dequeued(delivery)) => {
                self.tell_again(call, space, name.clone(), delivery, out);
            }
            _ => {}
        }
        true
    }

    /// Answers the retry of a dequeue that was served.
    fn tell_again(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        delivery: Delivery,
        out: &mut Out,
    ) {
        let Some(item) = self.find_delivery(space, &name, delivery) else {
            return out.refuse(call, Refusal::DeliveryEnded(name));
        };
        if let Stage::Delivered(under) = &mut self.items[item].stage {
            under.told = under.told.saturating_add(1);
        }
        let told = self.view_delivered(item, Some(delivery));
        out.answer(call, Answer::Queue(QueueAnswer::Delivered(told)));
    }

    /// An item leaves the window of the stream that has it.
    pub(super) fn leave_stream(&mut self, item: ItemIx) -> Option<CallId> {
        let item = &mut self.items[item];
        let Stage::Delivered(under) = &mut item.stage else {
            return None;
        };
        // The stream may be over: numbers of calls are not used again.
        let call = under.stream.take()?;
        let Some(CallRole::Consumer(index)) = self.calls.get(&call) else {
            return None;
        };
        let index = *index;
        let consumer = &mut self.consumers[index];
        if let ConsumerKind::Stream { count, bytes, .. } = &mut consumer.kind {
            *count -= 1;
            *bytes -= item.bytes.len();
        }
        if consumer.turn.is_none() {
            self.wait_anew(index);
        }
        Some(call)
    }

    /// As [`State::leave_stream`], where the stream may not have read the item yet.
    pub(super) fn recall_from_stream(&mut self, item: ItemIx, out: &mut Out) {
        if let Some(call) = self.leave_stream(item) {
            let delivery = self.items[item].delivery();
            out.effects.push(Effect::Recalled(call, delivery));
        }
    }

    /// A consumer's caller is gone; what a stream was given stays with it until its ack timeout.
    pub(in crate::core) fn consumer_is_gone(&mut self, index: ConsumerIx, out: &mut Out) {
        let queue = self.leave_queue(index).queue;
        self.settle_queue(queue, out);
    }

    /// Takes a waiting call back. A stream is ended by its caller's going only.
    pub(in crate::core) fn withdraw_consumer(&mut self, index: ConsumerIx, out: &mut Out) {
        if let ConsumerKind::Once { .. } = self.consumers[index].kind {
            let consumer = self.leave_queue(index);
            out.refuse(consumer.call, Refusal::Cancelled);
            self.settle_queue(consumer.queue, out);
        }
    }

    pub(in crate::core) fn consumer_is_due(&mut self, index: ConsumerIx, out: &mut Out) {
        let due = self.consumers.get(index).is_some_and(|consumer| {
            matches!(consumer.kind, ConsumerKind::Once { deadline, .. } if deadline <= self.now)
        });
        if due {
            let consumer = self.leave_queue(index);
            out.answer(consumer.call, Answer::Queue(QueueAnswer::Empty));
            self.settle_queue(consumer.queue, out);
        }
    }
}
