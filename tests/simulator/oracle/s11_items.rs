//! S11, of queues. An item goes to one consumer with each delivery, the first that waits to the one
//! that waits longest, and to nobody any more once it was acknowledged; no item and consumer wait side
//! by side; nothing is told before it is durable, and what was told is there after a crash; no item is
//! taken from its consumer before the time that it was told; a retry has the same outcome.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::core::{
    Answer, CallId, Change, Command, Delivered, Delivery, Effect, Key, Namespace, QueueAnswer,
    QueueCommand, QueueName, Record, RequestId, Time, Value,
};

use super::book::{Cause, Step};
use super::{Told, Verdict};
use crate::consumer::queue_request_id;

super::property!(
    "S11",
    "an item goes to one consumer at a time, in order, until it is acknowledged"
);

/// After so many deliveries an item is dead where nobody has said otherwise: a promise to users.
const DELIVERIES_MAX: u32 = 20;

type QueueId = (Namespace, QueueName);

#[derive(Clone, Debug, PartialEq)]
struct Item {
    expires: Option<Time>,
    deliveries: u32,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Ready,
    /// With the stream that it counts for.
    Delivered(Option<CallId>),
    Dead,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Queue {
    items: BTreeMap<u64, Item>,
    /// As configured; `Some(0)`: there is no bound.
    deliveries_max: Option<u32>,
}

/// Who waits, in the order in which they began to.
#[derive(Debug)]
struct Consumer {
    call: CallId,
    queue: QueueId,
    /// How many items it has, and how many it may have; `None`: it takes one and goes.
    window: Option<(u32, u32)>,
}

#[derive(Default)]
pub struct Items {
    live: BTreeMap<QueueId, Queue>,
    durable: BTreeMap<QueueId, Queue>,
    /// Consumers with room first come first; those without stand anywhere.
    consumers: Vec<Consumer>,
    /// Ids that were ever committed, and the highest that was ever put in line.
    committed: BTreeSet<u64>,
    highest: u64,
    /// Deliveries that were ever committed.
    begun: BTreeSet<Delivery>,
    /// Items that somebody was told are gone.
    finished: BTreeSet<u64>,
    /// Until when an item was promised to whoever has it, in the world's time.
    promises: BTreeMap<Delivery, Time>,
    /// Records of requests, as the core wants them.
    remembered: BTreeMap<(Namespace, RequestId), Value>,
    /// What requests that are remembered were told to have come to.
    outcomes: BTreeMap<(Namespace, RequestId), QueueAnswer>,
}

fn delivered(effect: &Effect) -> Option<&Delivered> {
    match effect {
        Effect::Reply(_, Ok(Answer::Queue(QueueAnswer::Delivered(told))))
        | Effect::Delivered(_, told) => Some(told),
        _ => None,
    }
}

/// Whether two answers are one outcome: how much time is left may differ.
fn same(a: &QueueAnswer, b: &QueueAnswer) -> bool {
    match (a, b) {
        (QueueAnswer::Delivered(a), QueueAnswer::Delivered(b)) => a.delivery == b.delivery,
        (QueueAnswer::Queue(_), QueueAnswer::Queue(_)) => true,
        _ => a == b,
    }
}

impl Items {
    pub fn step(&mut self, step: &Step<'_>) -> Verdict {
        self.come_and_go(step);
        self.retries(step)?;
        self.stale(step)?;
        // Deliveries that begin in this step, each with whom it goes to, in their order.
        let mut news = step.effects.iter().filter(|effect| {
            delivered(effect).is_some_and(|told| match told.delivery {
                Some(delivery) => self.is_new(step, &told.queue, effect.call(), delivery),
                None => true,
            })
        });
        let mut recipients = Vec::new();
        let mut seen = BTreeSet::new();
        for effect in news.by_ref() {
            // Calls with one request id are told of one delivery.
            let told = delivered(effect).unwrap();
            if told.delivery.is_none_or(|delivery| seen.insert(delivery)) {
                recipients.push((effect.call(), told.item.id));
            }
        }
        let mut recipients = recipients.into_iter();
        let ended: BTreeSet<CallId> = step
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Reply(..)))
            .map(Effect::call)
            .filter(|call| !recipients.as_slice().iter().any(|(to, _)| to == call))
            .collect();
        self.consumers
            .retain(|consumer| !ended.contains(&consumer.call));
        for change in step.changes {
            self.see(step, change, &mut recipients)?;
        }
        if let Some(untrue) = recipients.next() {
            return broken(format!("{untrue:?} was told of what was not delivered"));
        }
        self.nobody_waits_in_vain(step)
    }

    /// Whether this delivery is not under way yet.
    fn is_new(&self, step: &Step<'_>, queue: &QueueName, _: CallId, delivery: Delivery) -> bool {
        let begins = |change: &Change| {
            matches!(change, Change::Put(Record { key: Key::Delivery(_, of, id), value: Value::Delivery(value) })
                if of == queue && *id == delivery.item && value.ends_nanos > 0 && value.deliveries == delivery.number)
        };
        step.changes.iter().any(begins)
    }

    fn come_and_go(&mut self, step: &Step<'_>) {
        let Some(request) = step.request() else {
            return;
        };
        let (queue, window) = match &request.command {
            Command::Queue(QueueCommand::Dequeue { queue, .. }) => (queue, None),
            Command::Queue(QueueCommand::Consume { queue, window, .. }) => {
                (queue, Some((0, *window)))
            }
            Command::Cancel { call } => {
                return self.consumers.retain(|consumer| consumer.call != *call);
            }
            _ => return,
        };
        self.consumers.push(Consumer {
            call: request.call,
            queue: (request.namespace.clone(), queue.clone()),
            window,
        });
    }

    /// A request that is remembered has the outcome that it had.
    fn retries(&mut self, step: &Step<'_>) -> Verdict {
        for change in step.changes {
            match change {
                Change::Delete(Key::Request(space, id)) => {
                    let id = (space.clone(), id.clone());
                    self.remembered.remove(&id);
                    self.outcomes.remove(&id);
                }
                Change::Put(Record {
                    key: Key::Request(space, id),
                    value,
                }) => {
                    let id = (space.clone(), id.clone());
                    self.remembered.insert(id, value.clone());
                }
                _ => {}
            }
        }
        let (Some(request), Some(Ok(Answer::Queue(answer)))) = (step.request(), step.reply())
        else {
            return Ok(());
        };
        let Command::Queue(command) = &request.command else {
            return Ok(());
        };
        let Some(id) = queue_request_id(command) else {
            return Ok(());
        };
        let known = self.outcomes.get(&(request.namespace.clone(), id.clone()));
        match known {
            Some(known) if !same(known, answer) => broken(format!(
                "{command:?} was answered {answer:?}, not {known:?}"
            )),
            _ => Ok(()),
        }
    }

    /// Only the delivery that is under way can be settled, unless it is a retry.
    fn stale(&self, step: &Step<'_>) -> Verdict {
        let (Some(request), Some(Ok(_))) = (step.request(), step.reply()) else {
            return Ok(());
        };
        let (
            Command::Queue(
                QueueCommand::Acknowledge {
                    queue, delivery, ..
                }
                | QueueCommand::Return {
                    queue, delivery, ..
                }
                | QueueCommand::Extend {
                    queue, delivery, ..
                },
            ),
            false,
        ) = (&request.command, step.changes.is_empty())
        else {
            return Ok(());
        };
        let queue = self.live.get(&(request.namespace.clone(), queue.clone()));
        let item = queue.and_then(|queue| queue.items.get(&delivery.item));
        let is_current = item.is_some_and(|item| {
            matches!(item.stage, Stage::Delivered(_)) && item.deliveries == delivery.number
        });
        if !is_current {
            return broken(format!("{:?} was obeyed for {item:?}", request.command));
        }
        Ok(())
    }

    fn see(
        &mut self,
        step: &Step<'_>,
        change: &Change,
        recipients: &mut std::vec::IntoIter<(CallId, u64)>,
    ) -> Verdict {
        match change {
            Change::Put(Record {
                key: Key::Queue(space, name),
                value: Value::Queue(value),
            }) => {
                let queue = self.live.entry((space.clone(), name.clone())).or_default();
                queue.deliveries_max = Some(value.deliveries_max);
            }
            Change::Delete(Key::Queue(space, name)) => {
                let queue = self.live.entry((space.clone(), name.clone())).or_default();
                queue.deliveries_max = None;
            }
            Change::Put(Record {
                key: Key::Item(space, name, id),
                value: Value::Item(value),
            }) => {
                let is_new = match step.command() {
                    Some(Command::Queue(QueueCommand::Enqueue { .. })) => true,
                    Some(Command::Queue(QueueCommand::GiveBack { is_final: true, .. })) => false,
                    _ => return broken(format!("nobody has put in the item {id}")),
                };
                if is_new && *id <= self.highest || self.finished.contains(id) {
                    return broken(format!("the id {id} is used again"));
                }
                self.highest = self.highest.max(*id);
                let item = Item {
                    expires: (value.expires_nanos > 0)
                        .then(|| Time::from_nanos(value.expires_nanos)),
                    deliveries: 0,
                    stage: Stage::Ready,
                };
                let queue = self.live.entry((space.clone(), name.clone())).or_default();
                queue.items.insert(*id, item);
            }
            Change::Put(Record {
                key: Key::Delivery(space, name, id),
                value: Value::Delivery(value),
            }) => {
                let queue = (space.clone(), name.clone());
                let Some(before) = self.item(&queue, *id).cloned() else {
                    return broken(format!("the item {id} fares and is not there"));
                };
                let number = value.deliveries;
                let to = match (&before.stage, value.ends_nanos > 0) {
                    (Stage::Ready, true) => {
                        self.begins(step, &queue, *id, recipients)?;
                        if number != before.deliveries + 1 {
                            return broken(format!("{before:?} is delivered as number {number}"));
                        }
                        Stage::Delivered(self.serve(&queue, *id, recipients)?)
                    }
                    // It was extended.
                    (Stage::Delivered(to), true) if number == before.deliveries => {
                        Stage::Delivered(*to)
                    }
                    (_, true) => return broken(format!("{before:?} is delivered once more")),
                    (_, false) => {
                        self.comes_back(step, &queue, *id, &before, value.dead)?;
                        if value.dead {
                            Stage::Dead
                        } else {
                            Stage::Ready
                        }
                    }
                };
                if let Some(item) = self.item(&queue, *id) {
                    item.stage = to;
                    item.deliveries = number;
                    item.expires = item.expires.filter(|_| !value.lost_ttl);
                }
            }
            Change::Delete(Key::Delivery(space, name, id)) => {
                let queue = (space.clone(), name.clone());
                // Where the item is gone too, that was seen before.
                if let Some(before) = self.item(&queue, *id).cloned() {
                    self.comes_back(step, &queue, *id, &before, false)?;
                    if let Some(item) = self.item(&queue, *id) {
                        item.stage = Stage::Ready;
                        item.deliveries = 0;
                    }
                }
            }
            Change::Delete(Key::Item(space, name, id)) => {
                self.goes(step, &(space.clone(), name.clone()), *id, recipients)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn item(&mut self, queue: &QueueId, id: u64) -> Option<&mut Item> {
        self.live.get_mut(queue)?.items.get_mut(&id)
    }

    /// An item is about to be delivered: it has to be the first, and not to have been acknowledged.
    fn begins(
        &mut self,
        step: &Step<'_>,
        queue: &QueueId,
        id: u64,
        recipients: &std::vec::IntoIter<(CallId, u64)>,
    ) -> Verdict {
        if self.finished.contains(&id) {
            return broken(format!("the item {id} is delivered after its end"));
        }
        if recipients.as_slice().is_empty() {
            return broken(format!("the item {id} is delivered to nobody"));
        }
        let items = self.live.get(queue).map(|queue| &queue.items);
        let first = items.into_iter().flatten().find(|(_, item)| {
            item.stage == Stage::Ready && item.expires.is_none_or(|expires| expires > step.now)
        });
        match first {
            Some((first, _)) if *first == id => Ok(()),
            other => broken(format!("the item {id} is delivered before {other:?}")),
        }
    }

    /// Who waits longest gets the item; the stream that it counts for.
    fn serve(
        &mut self,
        queue: &QueueId,
        id: u64,
        recipients: &mut std::vec::IntoIter<(CallId, u64)>,
    ) -> Result<Option<CallId>, super::Failure> {
        let (to, told) = recipients.next().unwrap_or((CallId(0), 0));
        let first = self.consumers.iter().position(|consumer| {
            consumer.queue == *queue && consumer.window.is_none_or(|(has, may)| has < may)
        });
        let Some(first) = first.filter(|first| self.consumers[*first].call == to && told == id)
        else {
            let first = first.map(|first| &self.consumers[first]);
            return broken(format!(
                "{to:?} is told of {told}, and {first:?} waits for {id}"
            ));
        };
        // A stream that was given an item stands behind all others.
        let mut consumer = self.consumers.remove(first);
        let Some((has, _)) = &mut consumer.window else {
            return Ok(None);
        };
        *has += 1;
        self.consumers.push(consumer);
        Ok(Some(to))
    }

    /// An item leaves its consumer.
    fn leaves(&mut self, step: &Step<'_>, id: u64, before: &Item) -> Verdict {
        let delivery = Delivery {
            item: id,
            number: before.deliveries,
        };
        let Stage::Delivered(stream) = before.stage else {
            return Ok(());
        };
        if let (Cause::Tick, Some(until)) = (step.cause, self.promises.get(&delivery))
            && *until > step.real
        {
            return broken(format!(
                "{delivery:?} ended at {:?}, promised until {until:?}",
                step.real
            ));
        }
        self.promises.remove(&delivery);
        let of = |consumer: &Consumer| Some(consumer.call) == stream;
        if let Some(index) = self.consumers.iter().position(of)
            && let Some((has, may)) = &mut self.consumers[index].window
        {
            let was_full = *has >= *may;
            *has -= 1;
            if was_full {
                let consumer = self.consumers.remove(index);
                self.consumers.push(consumer);
            }
        }
        Ok(())
    }

    fn comes_back(
        &mut self,
        step: &Step<'_>,
        queue: &QueueId,
        id: u64,
        before: &Item,
        dead: bool,
    ) -> Verdict {
        self.leaves(step, id, before)?;
        let max = self.live.get(queue).and_then(|queue| queue.deliveries_max);
        let max = max.unwrap_or(DELIVERIES_MAX);
        let has_had_enough = max > 0 && before.deliveries >= max;
        let is_told = matches!(step.cause, Cause::Tick)
            || matches!(
                step.command(),
                Some(Command::Queue(QueueCommand::Return { .. }))
            );
        if is_told && dead != has_had_enough {
            return broken(format!(
                "{before:?} came back, dead: {dead}, of at most {max}"
            ));
        }
        Ok(())
    }

    fn goes(
        &mut self,
        step: &Step<'_>,
        queue: &QueueId,
        id: u64,
        recipients: &mut std::vec::IntoIter<(CallId, u64)>,
    ) -> Verdict {
        let Some(before) = self.item(queue, id).cloned() else {
            return broken(format!("the item {id} is deleted and was not there"));
        };
        let has_expired = before.expires.is_some_and(|expires| expires <= step.now);
        let is_final = before.stage == Stage::Ready
            && recipients
                .as_slice()
                .first()
                .is_some_and(|(_, of)| *of == id);
        let is_asked = match step.command() {
            Some(Command::Queue(QueueCommand::Delete { .. } | QueueCommand::Purge { .. })) => true,
            Some(Command::Queue(QueueCommand::Acknowledge { delivery, .. })) => delivery.item == id,
            _ => false,
        };
        if is_final && !has_expired {
            self.begins(step, queue, id, recipients)?;
            self.serve(queue, id, recipients)?;
        } else if !is_asked && !has_expired {
            return broken(format!("the item {id} is gone: {before:?}"));
        }
        self.leaves(step, id, &before)?;
        if let Some(queue) = self.live.get_mut(queue) {
            queue.items.remove(&id);
        }
        Ok(())
    }

    /// No item that is to be had and no consumer with room are side by side.
    fn nobody_waits_in_vain(&mut self, step: &Step<'_>) -> Verdict {
        for consumer in &self.consumers {
            if consumer.window.is_some_and(|(has, may)| has >= may) {
                continue;
            }
            let items = self.live.get(&consumer.queue).map(|queue| &queue.items);
            let free = items.into_iter().flatten().find(|(_, item)| {
                item.stage == Stage::Ready && item.expires.is_none_or(|expires| expires > step.now)
            });
            if let Some(free) = free {
                return broken(format!("{consumer:?} waits, and {free:?} is to be had"));
            }
        }
        Ok(())
    }

    pub fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(Record {
                    key: Key::Item(space, name, id),
                    value: Value::Item(value),
                }) => {
                    self.committed.insert(*id);
                    let item = Item {
                        expires: (value.expires_nanos > 0)
                            .then(|| Time::from_nanos(value.expires_nanos)),
                        deliveries: 0,
                        stage: Stage::Ready,
                    };
                    let queue = (space.clone(), name.clone());
                    let queue = self.durable.entry(queue).or_default();
                    queue.items.insert(*id, item);
                }
                Change::Put(Record {
                    key: Key::Delivery(_, _, id),
                    value: Value::Delivery(value),
                }) if value.ends_nanos > 0 => {
                    self.begun.insert(Delivery {
                        item: *id,
                        number: value.deliveries,
                    });
                }
                Change::Delete(Key::Item(space, name, id)) => {
                    let queue = (space.clone(), name.clone());
                    if let Some(queue) = self.durable.get_mut(&queue) {
                        queue.items.remove(id);
                    }
                }
                _ => {}
            }
        }
    }

    /// What is told is committed; what is acknowledged is a promise.
    pub fn told(&mut self, told: &Told<'_>) -> Verdict {
        if let Some(item) = delivered(told.effect) {
            match item.delivery {
                Some(delivery) => {
                    if !self.begun.contains(&delivery) {
                        return broken(format!("{delivery:?} was told and isn't committed"));
                    }
                    let until = told.made + item.item.ack_in.unwrap_or_default();
                    self.promise(told, &item.queue, delivery, until);
                }
                None if !self.committed.contains(&item.item.id) => {
                    return broken(format!("{item:?} was told and isn't committed"));
                }
                None => {}
            }
        }
        let Effect::Reply(_, Ok(Answer::Queue(answer))) = told.effect else {
            return Ok(());
        };
        let Command::Queue(command) = &told.asked.command else {
            return broken(format!("{:?} was told {answer:?}", told.asked.command));
        };
        match (command, answer) {
            (_, QueueAnswer::Enqueued(id)) if !self.committed.contains(id) => {
                return broken(format!("the item {id} was told and isn't committed"));
            }
            (QueueCommand::Acknowledge { delivery, .. }, QueueAnswer::Acknowledged) => {
                self.finished.insert(delivery.item);
            }
            (
                QueueCommand::Extend {
                    queue, delivery, ..
                },
                QueueAnswer::Extended(left),
            ) => {
                self.promise(told, queue, *delivery, told.made + *left);
            }
            _ => {}
        }
        // That there was no item changed nothing, and is not remembered.
        if let Some(id) = queue_request_id(command)
            && *answer != QueueAnswer::Empty
        {
            let id = (told.asked.namespace.clone(), id.clone());
            let stored = told.store.get(&Key::Request(id.0.clone(), id.1.clone()));
            if stored.is_some() && stored == self.remembered.get(&id) {
                self.outcomes.insert(id, answer.clone());
            }
        }
        Ok(())
    }

    /// A delivery is promised for so long, where it has not ended by the time that this is told.
    fn promise(&mut self, told: &Told<'_>, queue: &QueueName, delivery: Delivery, until: Time) {
        let space = told.asked.namespace.clone();
        let key = Key::Delivery(space, queue.clone(), delivery.item);
        let is_under_way = matches!(told.store.get(&key), Some(Value::Delivery(value))
            if value.deliveries == delivery.number && value.ends_nanos > 0);
        if is_under_way && self.is_delivered(delivery) {
            let promised = self.promises.entry(delivery).or_insert(until);
            *promised = until.max(*promised);
        }
    }

    fn is_delivered(&self, delivery: Delivery) -> bool {
        let items = self
            .live
            .values()
            .filter_map(|queue| queue.items.get(&delivery.item));
        items.into_iter().any(|item| {
            matches!(item.stage, Stage::Delivered(_)) && item.deliveries == delivery.number
        })
    }

    /// A client has read an item that it need not acknowledge.
    pub fn read(&mut self, effect: &Effect) {
        if let Some(told) = delivered(effect)
            && told.delivery.is_none()
        {
            self.finished.insert(told.item.id);
        }
    }

    /// What is loaded is what was committed; it starts from there.
    pub fn crash(&mut self, records: &[Record]) -> Verdict {
        self.consumers.clear();
        self.live.clear();
        self.remembered.clear();
        for record in records {
            match (&record.key, &record.value) {
                (Key::Request(space, id), value) => {
                    let id = (space.clone(), id.clone());
                    self.remembered.insert(id, value.clone());
                }
                (Key::Queue(space, name), Value::Queue(value)) => {
                    let queue = self.live.entry((space.clone(), name.clone())).or_default();
                    queue.deliveries_max = Some(value.deliveries_max);
                }
                (Key::Item(space, name, id), Value::Item(value)) => {
                    let queue = self.live.entry((space.clone(), name.clone())).or_default();
                    let item = Item {
                        expires: (value.expires_nanos > 0)
                            .then(|| Time::from_nanos(value.expires_nanos)),
                        deliveries: 0,
                        stage: Stage::Ready,
                    };
                    queue.items.insert(*id, item);
                }
                (Key::Delivery(space, name, id), Value::Delivery(value)) => {
                    let queue = (space.clone(), name.clone());
                    if let Some(item) = self.item(&queue, *id) {
                        item.deliveries = value.deliveries;
                        item.expires = item.expires.filter(|_| !value.lost_ttl);
                        item.stage = match (value.ends_nanos > 0, value.dead) {
                            (true, _) => Stage::Delivered(None),
                            (false, true) => Stage::Dead,
                            (false, false) => Stage::Ready,
                        };
                    }
                }
                _ => {}
            }
        }
        let ids = |queues: &BTreeMap<QueueId, Queue>| -> BTreeSet<(QueueId, u64)> {
            let of = |(queue, items): (&QueueId, &Queue)| {
                let queue = queue.clone();
                let ids: Vec<u64> = items.items.keys().copied().collect();
                ids.into_iter().map(move |id| (queue.clone(), id))
            };
            queues.iter().flat_map(of).collect()
        };
        let (loaded, durable) = (ids(&self.live), ids(&self.durable));
        if loaded != durable {
            let lost: Vec<_> = durable.symmetric_difference(&loaded).collect();
            return broken(format!("{lost:?} are not as they were committed"));
        }
        // Ids whose commit was lost are given once more.
        self.highest = self.committed.last().copied().unwrap_or(0);
        Ok(())
    }
}
