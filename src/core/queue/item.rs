//! The rules of items: how they come, are delivered, come back, and go.

use std::time::Duration;

use super::super::command::*;
use super::super::limits::*;
use super::super::name::{QueueName, RequestId, ValueBytes};
use super::super::page::page;
use super::super::record::{DeliveryValue, ItemValue, Key, Value, nanos};
use super::super::request::{Done, Kind, Recall};
use super::super::state::{ItemIx, Out, QueueIx, SpaceIx, State};
use super::super::time::{Time, WallTime};
use super::super::timer::Timer;

/// An item of a queue.
#[derive(Debug)]
pub(in crate::core) struct Item {
    pub(super) queue: QueueIx,
    pub(super) id: u64,
    pub(super) bytes: ValueBytes,
    pub(super) enqueued_at: WallTime,
    /// When its TTL has passed; `None`: it has none.
    pub(super) expires: Option<Time>,
    /// Whether its TTL counts no more, as it was a dead letter.
    pub(super) lost_ttl: bool,
    /// How often it was delivered.
    pub(super) deliveries: u32,
    pub(super) stage: Stage,
    /// Whether it has a record of its deliveries.
    pub(super) has_fared: bool,
}

/// Where an item stands.
#[derive(Debug)]
pub(super) enum Stage {
    Ready,
    Delivered(Box<Under>),
    Dead,
}

/// A delivery that is under way.
#[derive(Debug)]
pub(super) struct Under {
    pub(super) ends: Time,
    pub(super) ack_timeout: Duration,
    /// The stream that it counts for.
    pub(super) stream: Option<CallId>,
    /// How many calls were told of it and have not given it back.
    pub(super) told: u32,
    pub(super) request_id: Option<RequestId>,
}

/// How a consumer ends a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Acknowledge,
    Return,
}

impl End {
    fn kind(self) -> Kind {
        match self {
            End::Acknowledge => Kind::Acknowledge,
            End::Return => Kind::Return,
        }
    }

    fn done(self) -> Done {
        match self {
            End::Acknowledge => Done::Acknowledged,
            End::Return => Done::Returned,
        }
    }

    fn answer(self) -> Answer {
        Answer::Queue(match self {
            End::Acknowledge => QueueAnswer::Acknowledged,
            End::Return => QueueAnswer::Returned,
        })
    }
}

impl Item {
    fn part(&self) -> Part {
        match self.stage {
            Stage::Ready => Part::Ready,
            Stage::Delivered(_) => Part::Delivered,
            Stage::Dead => Part::Dead,
        }
    }

    /// Where its timer stands.
    fn deadline(&self) -> Option<Time> {
        match &self.stage {
            Stage::Ready => self.expires(),
            Stage::Delivered(under) => Some(under.ends),
            Stage::Dead => None,
        }
    }

    /// When its TTL has passed, where that counts.
    fn expires(&self) -> Option<Time> {
        self.expires.filter(|_| !self.lost_ttl)
    }

    pub(super) fn has_expired(&self, now: Time) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }

    /// The delivery that is under way, where one is.
    pub(super) fn delivery(&self) -> Delivery {
        Delivery {
            item: self.id,
            number: self.deliveries,
        }
    }

    pub(super) fn record(&self) -> ItemValue {
        ItemValue {
            bytes: self.bytes.bytes().clone(),
            expires_nanos: self.expires.map_or(0, Time::as_nanos),
            enqueued_at_ms: self.enqueued_at.0,
        }
    }

    fn fares(&self) -> DeliveryValue {
        let mut value = DeliveryValue {
            deliveries: self.deliveries,
            lost_ttl: self.lost_ttl,
            ..DeliveryValue::default()
        };
        match &self.stage {
            Stage::Ready => {}
            Stage::Delivered(under) => {
                value.ends_nanos = under.ends.as_nanos();
                value.ack_timeout_nanos = nanos(under.ack_timeout);
                if let Some(id) = &under.request_id {
                    id.as_str().clone_into(&mut value.request_id);
                }
            }
            Stage::Dead => value.dead = true,
        }
        value
    }
}

impl State {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn enqueue(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        bytes: ValueBytes,
        ttl: Option<Duration>,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let asked = (&name, &bytes, ttl);
        let request = match self.recall(call, space, request_id, Kind::Enqueue, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Enqueued(id)) => {
                return out.answer(call, Answer::Queue(QueueAnswer::Enqueued(id)));
            }
            _ => return,
        };
        let found = self
            .has_room_for_item(space, &bytes)
            .and_then(|()| self.queue_to_use(space, &name));
        let queue = match found {
            Ok(queue) => queue,
            Err(refusal) => return out.refuse(call, refusal),
        };
        self.last_arrival += 1;
        let id = self.last_arrival;
        let index = self.keep_item(Item {
            queue,
            id,
            bytes,
            enqueued_at: self.wall,
            expires: ttl.map(|ttl| self.now + ttl),
            lost_ttl: false,
            deliveries: 0,
            stage: Stage::Ready,
            has_fared: false,
        });
        self.put_item(index, out);
        self.remember(space, request, Done::Enqueued(id), out);
        out.answer(call, Answer::Queue(QueueAnswer::Enqueued(id)));
        self.settle_queue(queue, out);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn end_delivery(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        delivery: Delivery,
        end: End,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let asked = (&name, delivery);
        let request = match self.recall(call, space, request_id, end.kind(), asked, out) {
            Recall::New(request) => request,
            Recall::Done(done) if done == end.done() => return out.answer(call, end.answer()),
            _ => return,
        };
        let Some(index) = self.find_delivery(space, &name, delivery) else {
            return out.refuse(call, Refusal::DeliveryEnded(name));
        };
        let queue = self.items[index].queue;
        self.leave_stream(index);
        match end {
            End::Acknowledge => self.remove_item(index, out),
            End::Return => self.put_back(index, out),
        }
        self.remember(space, request, end.done(), out);
        out.answer(call, end.answer());
        self.settle_queue(queue, out);
    }

    pub(super) fn extend_delivery(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        delivery: Delivery,
        ack_timeout: Option<Duration>,
        out: &mut Out,
    ) {
        let now = self.now;
        let Some(index) = self.find_delivery(space, &name, delivery) else {
            return out.refuse(call, Refusal::DeliveryEnded(name));
        };
        let Stage::Delivered(under) = &mut self.items[index].stage else {
            return out.refuse(call, Refusal::DeliveryEnded(name));
        };
        let before = under.ends;
        let ends = before.max(now + ack_timeout.unwrap_or(under.ack_timeout));
        under.ends = ends;
        if ends != before {
            self.timers.unset(before, Timer::Item(index));
            self.timers.set(ends, Timer::Item(index));
            self.put_fares(index, out);
        }
        let left = ends.since(now);
        out.answer(call, Answer::Queue(QueueAnswer::Extended(left)));
    }

    pub(super) fn peek(
        &self,
        space: SpaceIx,
        name: &QueueName,
        part: Part,
        after: Option<u64>,
        limit: usize,
    ) -> QueueAnswer {
        let Some(queue) = self.find_queue(space, name) else {
            return QueueAnswer::Items {
                items: Vec::new(),
                more: false,
            };
        };
        let from = after.map_or(0, |after| after.saturating_add(1));
        let found = self.queues[queue]
            .part(part)
            .range(from..)
            .map(|(_, index)| *index)
            .filter(|index| part != Part::Ready || !self.items[*index].has_expired(self.now));
        let mut bytes = 0;
        let fitting = found.clone().take(limit).take_while(|index| {
            let has_room = bytes < VALUE_PAGE_BYTES_MAX;
            bytes += self.items[*index].bytes.len();
            has_room
        });
        let (items, more) = page(found, fitting.count(), |index| self.view_item(index));
        QueueAnswer::Items { items, more }
    }

    /// Puts an item back that nobody was told of: the delivery was none.
    pub(super) fn give_item_back(
        &mut self,
        space: SpaceIx,
        name: QueueName,
        view: ItemView,
        is_final: bool,
        out: &mut Out,
    ) {
        if is_final {
            return self.restore_item(space, &name, view, out);
        }
        let delivery = Delivery {
            item: view.id,
            number: view.deliveries,
        };
        let Some(index) = self.find_delivery(space, &name, delivery) else {
            return;
        };
        let Stage::Delivered(under) = &mut self.items[index].stage else {
            return;
        };
        under.told = under.told.saturating_sub(1);
        if under.told > 0 {
            return;
        }
        if let Some(id) = under.request_id.take() {
            let dequeued = Done::Dequeued(delivery);
            self.forget_done(space, &id, |done| *done == dequeued, out);
        }
        let queue = self.items[index].queue;
        self.leave_stream(index);
        self.items[index].deliveries -= 1;
        self.make_ready(index, out);
        self.settle_queue(queue, out);
    }

    /// Puts an item in again that was removed by its final delivery, which nobody was told of.
    fn restore_item(&mut self, space: SpaceIx, name: &QueueName, view: ItemView, out: &mut Out) {
        let exists = self.find_queue(space, name).is_some_and(|queue| {
            let queue = &self.queues[queue];
            [Part::Ready, Part::Delivered, Part::Dead]
                .iter()
                .any(|part| queue.part(*part).contains_key(&view.id))
        });
        // An id that was never given is of a commit that was lost, and the item with it.
        if exists || view.id > self.last_arrival {
            return;
        }
        let Ok(queue) = self.queue_to_use(space, name) else {
            return;
        };
        let index = self.keep_item(Item {
            queue,
            id: view.id,
            bytes: view.bytes,
            enqueued_at: view.enqueued_at,
            expires: view.expires_in.map(|left| self.now + left),
            lost_ttl: false,
            deliveries: view.deliveries,
            stage: Stage::Ready,
            has_fared: false,
        });
        self.put_item(index, out);
        self.put_fares(index, out);
        self.settle_queue(queue, out);
    }

    pub(in crate::core) fn item_is_due(&mut self, index: ItemIx, out: &mut Out) {
        let Some(item) = self.items.get(index) else {
            return;
        };
        if item.deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        let queue = item.queue;
        match item.stage {
            Stage::Delivered(_) => {
                self.recall_from_stream(index, out);
                self.put_back(index, out);
            }
            Stage::Ready | Stage::Dead => self.remove_item(index, out),
        }
        self.settle_queue(queue, out);
    }

    /// Starts a delivery, committed and not told.
    pub(super) fn start_delivery(&mut self, index: ItemIx, under: Under, out: &mut Out) {
        let item = &mut self.items[index];
        item.deliveries = item.deliveries.saturating_add(1);
        self.set_stage(index, Stage::Delivered(Box::new(under)));
        self.put_fares(index, out);
    }

    /// An item comes back from its delivery: to the front, or to the dead letters.
    fn put_back(&mut self, index: ItemIx, out: &mut Out) {
        let item = &self.items[index];
        let max = self.queues[item.queue].settings().deliveries_max;
        if max.is_none_or(|max| item.deliveries < max) {
            return self.make_ready(index, out);
        }
        self.set_stage(index, Stage::Dead);
        let item = &mut self.items[index];
        item.lost_ttl = item.expires.is_some();
        self.put_fares(index, out);
    }

    /// An item waits again, unless its TTL has passed meanwhile.
    pub(super) fn make_ready(&mut self, index: ItemIx, out: &mut Out) {
        if self.items[index].has_expired(self.now) {
            return self.remove_item(index, out);
        }
        self.set_stage(index, Stage::Ready);
        self.put_fares(index, out);
    }

    /// Keeps an item, without committing it.
    pub(super) fn keep_item(&mut self, item: Item) -> ItemIx {
        let (queue, id, weight) = (item.queue, item.id, item.bytes.len());
        let (part, deadline) = (item.part(), item.deadline());
        let index = self.items.insert(item);
        if let Some(deadline) = deadline {
            self.timers.set(deadline, Timer::Item(index));
        }
        let queue = &mut self.queues[queue];
        queue.part_mut(part).insert(id, index);
        queue.bytes += weight;
        let space = queue.space;
        let space = self.space_mut(space);
        space.item_count += 1;
        space.item_bytes += weight;
        index
    }

    /// Takes an item out for good.
    pub(super) fn remove_item(&mut self, index: ItemIx, out: &mut Out) {
        out.delete(self.item_key(index));
        if self.items[index].has_fared {
            out.delete(self.fares_key(index));
        }
        let item = self.items.remove(index);
        if let Some(deadline) = item.deadline() {
            self.timers.unset(deadline, Timer::Item(index));
        }
        let weight = item.bytes.len();
        let queue = &mut self.queues[item.queue];
        queue.part_mut(item.part()).remove(&item.id);
        queue.bytes -= weight;
        let space = queue.space;
        let space = self.space_mut(space);
        space.item_count -= 1;
        space.item_bytes -= weight;
    }

    /// Moves an item to another part of its queue, without committing it.
    pub(super) fn set_stage(&mut self, index: ItemIx, stage: Stage) {
        let item = &mut self.items[index];
        let (part, deadline) = (item.part(), item.deadline());
        item.stage = stage;
        let (id, queue) = (item.id, item.queue);
        let (to, then) = (item.part(), item.deadline());
        if let Some(deadline) = deadline {
            self.timers.unset(deadline, Timer::Item(index));
        }
        if let Some(then) = then {
            self.timers.set(then, Timer::Item(index));
        }
        let queue = &mut self.queues[queue];
        queue.part_mut(part).remove(&id);
        queue.part_mut(to).insert(id, index);
    }

    fn put_item(&self, index: ItemIx, out: &mut Out) {
        let record = Value::Item(self.items[index].record());
        out.put(self.item_key(index), record);
    }

    /// Commits how an item fares: nothing, as long as it is as it was put in line.
    pub(super) fn put_fares(&mut self, index: ItemIx, out: &mut Out) {
        let key = self.fares_key(index);
        let item = &mut self.items[index];
        let value = item.fares();
        let has_fared = value != DeliveryValue::default();
        let had_fared = std::mem::replace(&mut item.has_fared, has_fared);
        if has_fared {
            out.put(key, Value::Delivery(value));
        } else if had_fared {
            out.delete(key);
        }
    }

    pub(super) fn find_delivery(
        &self,
        space: SpaceIx,
        name: &QueueName,
        delivery: Delivery,
    ) -> Option<ItemIx> {
        let queue = &self.queues[self.find_queue(space, name)?];
        let index = *queue.delivered.get(&delivery.item)?;
        (self.items[index].deliveries == delivery.number).then_some(index)
    }

    pub(super) fn view_item(&self, index: ItemIx) -> ItemView {
        let item = &self.items[index];
        ItemView {
            id: item.id,
            bytes: item.bytes.clone(),
            deliveries: item.deliveries,
            enqueued_at: item.enqueued_at,
            expires_in: item.expires().map(|expires| expires.since(self.now)),
            ack_in: match &item.stage {
                Stage::Delivered(under) => Some(under.ends.since(self.now)),
                Stage::Ready | Stage::Dead => None,
            },
        }
    }

    fn has_room_for_item(&self, space: SpaceIx, bytes: &ValueBytes) -> Result<(), Refusal> {
        let space = self.space_of(space);
        if space.item_count >= ITEMS_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "items of queues in one namespace",
                max: ITEMS_PER_NAMESPACE_MAX,
            });
        }
        if space.item_bytes + bytes.len() > ITEM_BYTES_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "bytes of items in one namespace",
                max: ITEM_BYTES_PER_NAMESPACE_MAX,
            });
        }
        Ok(())
    }

    fn item_key(&self, index: ItemIx) -> Key {
        let item = &self.items[index];
        let queue = &self.queues[item.queue];
        let space = &self.space_of(queue.space).name;
        Key::Item(space.clone(), queue.name.clone(), item.id)
    }

    fn fares_key(&self, index: ItemIx) -> Key {
        let item = &self.items[index];
        let queue = &self.queues[item.queue];
        let space = &self.space_of(queue.space).name;
        Key::Delivery(space.clone(), queue.name.clone(), item.id)
    }

    /// The records of items and of how they fare.
    pub(super) fn item_records(&self) -> impl Iterator<Item = (Key, Value)> {
        self.items.iter().flat_map(|(index, item)| {
            let fares = item
                .has_fared
                .then(|| (self.fares_key(index), Value::Delivery(item.fares())));
            let record = (self.item_key(index), Value::Item(item.record()));
            std::iter::once(record).chain(fares)
        })
    }
}
