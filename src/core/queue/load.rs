//! Builds queues from their records, and lists the records of queues.

use std::time::Duration;

use super::super::command::{Delivery, QueueSettings};
use super::super::load::{Loader, TOLD_BEFORE_LOAD};
use super::super::name::{Namespace, QueueName, RequestId, ValueBytes};
use super::super::record::{
    Damage, DeliveryValue, ItemValue, Key, QueueDeed, QueueOutcomeValue, QueueValue, Value,
};
use super::super::request::Done;
use super::super::state::{QueueIx, State};
use super::super::time::{Time, WallTime};
use super::item::{Item, Stage, Under};
use super::queue_value;
use super::sweep::Swept;

impl State {
    /// The records of queues, of items and of how these fare, in no order.
    pub(in crate::core) fn queue_records(&self) -> impl Iterator<Item = (Key, Value)> {
        let queues = self.queues.iter().filter_map(|(index, queue)| {
            let value = queue_value(queue.configured?);
            Some((self.queue_key(index), Value::Queue(value)))
        });
        queues.chain(self.item_records())
    }
}

impl Loader {
    pub(in crate::core) fn queue(
        &mut self,
        space: &Namespace,
        name: &QueueName,
        value: &QueueValue,
    ) -> Result<(), Damage> {
        let queue = self.queue_of(space, name)?;
        self.state.queues[queue].configured = Some(QueueSettings {
            deliveries_max: (value.deliveries_max > 0).then_some(value.deliveries_max),
        });
        Ok(())
    }

    pub(in crate::core) fn item(
        &mut self,
        space: &Namespace,
        name: &QueueName,
        id: u64,
        value: ItemValue,
    ) -> Result<(), Damage> {
        let queue = self.queue_of(space, name)?;
        let state = &mut self.state;
        if id > state.last_arrival {
            return Err(Damage(format!(
                "the queue {name} has the item {id}, above the highest ever given, {}",
                state.last_arrival
            )));
        }
        let bytes = ValueBytes::new(value.bytes)
            .map_err(|invalid| Damage(format!("the item {id} of the queue {name}: {invalid}")))?;
        state.keep_item(Item {
            queue,
            id,
            bytes,
            enqueued_at: WallTime(value.enqueued_at_ms),
            expires: (value.expires_nanos > 0).then(|| Time::from_nanos(value.expires_nanos)),
            lost_ttl: false,
            deliveries: 0,
            stage: Stage::Ready,
            has_fared: false,
        });
        Ok(())
    }

    pub(in crate::core) fn delivery(
        &mut self,
        space: &Namespace,
        name: &QueueName,
        id: u64,
        value: &DeliveryValue,
    ) -> Result<(), Damage> {
        let queue = self.queue_of(space, name)?;
        let state = &mut self.state;
        let Some(index) = state.queues[queue].ready.get(&id).copied() else {
            return Err(Damage(format!(
                "the queue {name} has a delivery of the item {id}, which is not there"
            )));
        };
        let is_delivered = value.ends_nanos > 0;
        if is_delivered && (value.dead || value.deliveries == 0) {
            return Err(Damage(format!(
                "the item {id} of the queue {name} is delivered, and is not"
            )));
        }
        let stage = if is_delivered {
            let request_id = match value.request_id.as_str() {
                "" => None,
                id => Some(RequestId::new(id).map_err(|invalid| Damage(invalid.to_string()))?),
            };
            Stage::Delivered(Box::new(Under {
                ends: Time::from_nanos(value.ends_nanos),
                ack_timeout: Duration::from_nanos(value.ack_timeout_nanos),
                stream: None,
                // Without a request id no second call can have been told.
                told: request_id.as_ref().map_or(1, |_| TOLD_BEFORE_LOAD),
                request_id,
            }))
        } else if value.dead {
            Stage::Dead
        } else {
            Stage::Ready
        };
        // Its timer stands at its TTL: out with that before it may count no more.
        state.set_stage(index, Stage::Dead);
        let item = &mut state.items[index];
        item.deliveries = value.deliveries;
        item.has_fared = true;
        item.lost_ttl = value.lost_ttl;
        state.set_stage(index, stage);
        Ok(())
    }

    fn queue_of(&mut self, space: &Namespace, name: &QueueName) -> Result<QueueIx, Damage> {
        let space = self.state.space(space);
        self.state
            .queue_to_use(space, name)
            .map_err(|_| Damage("there are more queues than a namespace may have".to_owned()))
    }
}

/// A remembered outcome about a queue as stored; one about anything else is nothing.
pub(in crate::core) fn queue_outcome(done: &Done) -> QueueOutcomeValue {
    let of = |deed: QueueDeed| QueueOutcomeValue {
        deed: deed.into(),
        ..QueueOutcomeValue::default()
    };
    let sweep = |deed, swept: Swept| QueueOutcomeValue {
        count: swept.count as u64,
        more: swept.more,
        ..of(deed)
    };
    match done {
        Done::QueueConfigured => of(QueueDeed::Configured),
        Done::QueueDeleted(swept) => sweep(QueueDeed::Deleted, *swept),
        Done::Enqueued(item) => QueueOutcomeValue {
            item: *item,
            ..of(QueueDeed::Enqueued)
        },
        Done::Dequeued(delivery) => QueueOutcomeValue {
            item: delivery.item,
            delivery: delivery.number,
            ..of(QueueDeed::Dequeued)
        },
        Done::Acknowledged => of(QueueDeed::Acknowledged),
        Done::Returned => of(QueueDeed::Returned),
        Done::Purged(swept) => sweep(QueueDeed::Purged, *swept),
        Done::Redriven(swept) => sweep(QueueDeed::Redriven, *swept),
        _ => of(QueueDeed::Unknown),
    }
}

/// Reads what [`queue_outcome`] wrote.
pub(in crate::core) fn read_queue_outcome(
    id: &RequestId,
    value: QueueOutcomeValue,
) -> Result<Done, Damage> {
    let swept = Swept {
        count: value.count as usize,
        more: value.more,
    };
    Ok(match value.deed() {
        QueueDeed::Configured => Done::QueueConfigured,
        QueueDeed::Deleted => Done::QueueDeleted(swept),
        QueueDeed::Enqueued => Done::Enqueued(value.item),
        QueueDeed::Dequeued => Done::Dequeued(Delivery {
            item: value.item,
            number: value.delivery,
        }),
        QueueDeed::Acknowledged => Done::Acknowledged,
        QueueDeed::Returned => Done::Returned,
        QueueDeed::Purged => Done::Purged(swept),
        QueueDeed::Redriven => Done::Redriven(swept),
        QueueDeed::Unknown => {
            return Err(Damage(format!("the request {id} has an unknown outcome")));
        }
    })
}
