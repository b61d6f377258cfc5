//! Queues: items in order, each to one consumer at a time.
//!
//! Invariant: an item is in exactly one part of its queue: it waits, is with one consumer, or is dead.
//! Invariant: an item that waits and a consumer that waits are never left side by side.
//! Invariant: an item's record is written once. How it fares from then on is a small record of its
//! own, so that deliveries cost the same whatever the item's size.
//!
//! Items that wait are kept by id, and ids rise in the order of commits: so one that comes back is
//! before those behind it by itself. Deadlines are committed and used as they are when loaded: the
//! core's time is never ahead of what was served, so none comes early. Consumers are in memory only.

mod consumer;
mod item;
mod load;
mod sweep;

use std::collections::{BTreeMap, HashMap};

use smallvec::SmallVec;

pub(super) use self::consumer::Consumer;
use self::item::End;
pub(super) use self::item::Item;
pub(super) use self::load::{queue_outcome, read_queue_outcome};
pub(super) use self::sweep::Swept;
use super::command::*;
use super::limits::*;
use super::name::{QueueName, RequestId};
use super::page::{named, page};
use super::record::{Key, QueueValue, Value};
use super::request::{Done, Kind, Recall};
use super::state::{ConsumerIx, ItemIx, Out, QueueIx, SpaceIx, State};

/// How a queue treats its items that was not configured.
const SETTINGS_DEFAULT: QueueSettings = QueueSettings {
    deliveries_max: Some(DELIVERIES_MAX_DEFAULT),
};

/// A queue that has items or consumers, or was configured.
#[derive(Debug)]
pub(super) struct Queue {
    space: SpaceIx,
    name: QueueName,
    /// `None`: it was not configured.
    configured: Option<QueueSettings>,
    ready: BTreeMap<u64, ItemIx>,
    delivered: BTreeMap<u64, ItemIx>,
    dead: BTreeMap<u64, ItemIx>,
    /// How many bytes the items have.
    bytes: usize,
    /// Consumers that take an item at once, in the order in which they began to wait.
    waiting: BTreeMap<u64, ConsumerIx>,
    /// Calls that wait with a request id: one outcome answers all that have the same.
    asked: HashMap<RequestId, SmallVec<[ConsumerIx; 1]>, foldhash::fast::RandomState>,
    /// How many calls and streams consume, those without room included.
    consumer_count: usize,
}

impl Queue {
    fn settings(&self) -> QueueSettings {
        self.configured.unwrap_or(SETTINGS_DEFAULT)
    }

    fn part(&self, part: Part) -> &BTreeMap<u64, ItemIx> {
        match part {
            Part::Ready => &self.ready,
            Part::Delivered => &self.delivered,
            Part::Dead => &self.dead,
        }
    }

    fn part_mut(&mut self, part: Part) -> &mut BTreeMap<u64, ItemIx> {
        match part {
            Part::Ready => &mut self.ready,
            Part::Delivered => &mut self.delivered,
            Part::Dead => &mut self.dead,
        }
    }

    fn is_unused(&self) -> bool {
        self.configured.is_none()
            && self.consumer_count == 0
            && self.ready.is_empty()
            && self.delivered.is_empty()
            && self.dead.is_empty()
    }
}

impl State {
    pub(super) fn queue(
        &mut self,
        call: CallId,
        space: SpaceIx,
        command: QueueCommand,
        out: &mut Out,
    ) {
        match command {
            QueueCommand::Configure {
                queue,
                settings,
                request_id,
            } => self.configure_queue(call, space, queue, settings, request_id, out),
            QueueCommand::Get { queue } => {
                let view = self.view_queue_by_name(space, &queue);
                out.answer(call, Answer::Queue(QueueAnswer::Queue(view)));
            }
            QueueCommand::List {
                prefix,
                after,
                limit,
            } => {
                let found = named(&self.space_of(space).queues, &prefix, after.as_deref());
                let (queues, more) = page(found, limit, |queue| self.view_queue(queue));
                let answer = QueueAnswer::Queues { queues, more };
                out.answer(call, Answer::Queue(answer));
            }
            QueueCommand::Delete { queue, request_id } => {
                self.delete_queue(call, space, queue, request_id, out);
            }
            QueueCommand::Enqueue {
                queue,
                bytes,
                ttl,
                request_id,
            } => self.enqueue(call, space, queue, bytes, ttl, request_id, out),
            QueueCommand::Dequeue {
                queue,
                wait,
                ack_timeout,
                request_id,
            } => self.dequeue(call, space, queue, wait, ack_timeout, request_id, out),
            QueueCommand::Consume {
                queue,
                window,
                ack_timeout,
            } => self.consume(call, space, &queue, window, ack_timeout, out),
            QueueCommand::Acknowledge {
                queue,
                delivery,
                request_id,
            } => {
                let end = End::Acknowledge;
                self.end_delivery(call, space, queue, delivery, end, request_id, out);
            }
            QueueCommand::Return {
                queue,
                delivery,
                request_id,
            } => {
                let end = End::Return;
                self.end_delivery(call, space, queue, delivery, end, request_id, out);
            }
            QueueCommand::Extend {
                queue,
                delivery,
                ack_timeout,
            } => self.extend_delivery(call, space, queue, delivery, ack_timeout, out),
            QueueCommand::Peek {
                queue,
                part,
                after,
                limit,
            } => {
                let answer = self.peek(space, &queue, part, after, limit);
                out.answer(call, Answer::Queue(answer));
            }
            QueueCommand::Purge {
                queue,
                part,
                request_id,
            } => self.purge(call, space, queue, part, request_id, out),
            QueueCommand::Redrive { queue, request_id } => {
                self.redrive(call, space, queue, request_id, out);
            }
            QueueCommand::GiveBack {
                queue,
                item,
                is_final,
            } => self.give_item_back(space, queue, item, is_final, out),
        }
    }

    fn configure_queue(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        settings: QueueSettings,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let asked = (&name, settings);
        let request = match self.recall(call, space, request_id, Kind::ConfigureQueue, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::QueueConfigured) => {
                let view = self.view_queue_by_name(space, &name);
                return out.answer(call, Answer::Queue(QueueAnswer::Queue(view)));
            }
            _ => return,
        };
        let index = match self.queue_to_use(space, &name) {
            Ok(index) => index,
            Err(refusal) => return out.refuse(call, refusal),
        };
        self.queues[index].configured = Some(settings);
        out.put(self.queue_key(index), Value::Queue(queue_value(settings)));
        self.remember(space, request, Done::QueueConfigured, out);
        let view = self.view_queue(index);
        out.answer(call, Answer::Queue(QueueAnswer::Queue(view)));
    }

    fn find_queue(&self, space: SpaceIx, name: &QueueName) -> Option<QueueIx> {
        self.space_of(space).queues.get(name).copied()
    }

    /// The queue of that name, made where there is none. [`State::settle_queue`] has to follow.
    fn queue_to_use(&mut self, space: SpaceIx, name: &QueueName) -> Result<QueueIx, Refusal> {
        if let Some(index) = self.find_queue(space, name) {
            return Ok(index);
        }
        if self.space_of(space).queues.len() >= QUEUES_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "queues in one namespace",
                max: QUEUES_PER_NAMESPACE_MAX,
            });
        }
        let index = self.queues.insert(Queue {
            space,
            name: name.clone(),
            configured: None,
            ready: BTreeMap::new(),
            delivered: BTreeMap::new(),
            dead: BTreeMap::new(),
            bytes: 0,
            waiting: BTreeMap::new(),
            asked: HashMap::default(),
            consumer_count: 0,
        });
        self.space_mut(space).queues.insert(name.clone(), index);
        Ok(index)
    }

    /// Serves the consumers that wait, and drops the queue where nothing is left of it. Has to follow
    /// every change of a queue.
    fn settle_queue(&mut self, index: QueueIx, out: &mut Out) {
        self.serve_consumers(index, out);
        if self.queues[index].is_unused() {
            let queue = self.queues.remove(index);
            self.space_mut(queue.space).queues.remove(&queue.name);
        }
    }

    fn queue_key(&self, index: QueueIx) -> Key {
        let queue = &self.queues[index];
        let space = &self.space_of(queue.space).name;
        Key::Queue(space.clone(), queue.name.clone())
    }

    fn view_queue(&self, index: QueueIx) -> QueueView {
        let queue = &self.queues[index];
        QueueView {
            name: queue.name.clone(),
            settings: queue.settings(),
            configured: queue.configured.is_some(),
            ready_count: queue.ready.len(),
            delivered_count: queue.delivered.len(),
            dead_count: queue.dead.len(),
            bytes: queue.bytes,
            consumer_count: queue.consumer_count,
        }
    }

    fn view_queue_by_name(&self, space: SpaceIx, name: &QueueName) -> QueueView {
        match self.find_queue(space, name) {
            Some(index) => self.view_queue(index),
            None => QueueView {
                name: name.clone(),
                settings: SETTINGS_DEFAULT,
                configured: false,
                ready_count: 0,
                delivered_count: 0,
                dead_count: 0,
                bytes: 0,
                consumer_count: 0,
            },
        }
    }
}

fn queue_value(settings: QueueSettings) -> QueueValue {
    QueueValue {
        deliveries_max: settings.deliveries_max.unwrap_or(0),
    }
}
