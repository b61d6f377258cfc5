//! Queues and their items as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use super::view::{BytesJson, rfc3339, seconds};
use crate::api::openapi::{DecimalText, MomentText, QueueNameText, ReceiptText, SecondsNumber};
use crate::core::{ItemView, QueueView};

/// A queue as it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueJson {
    /// The name.
    #[schema(value_type = QueueNameText)]
    pub name: String,
    /// After so many deliveries an item is dead; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_max: Option<u32>,
    /// Whether it stays while it is empty.
    pub configured: bool,
    /// How many items wait.
    pub ready_count: usize,
    /// How many are with a consumer.
    pub delivered_count: usize,
    /// How many dead letters there are.
    pub dead_count: usize,
    /// How many bytes all of them have.
    pub bytes: usize,
    /// How many calls and streams consume.
    pub consumer_count: usize,
}

impl From<&QueueView> for QueueJson {
    fn from(view: &QueueView) -> QueueJson {
        QueueJson {
            name: view.name.to_string(),
            deliveries_max: view.settings.deliveries_max,
            configured: view.configured,
            ready_count: view.ready_count,
            delivered_count: view.delivered_count,
            dead_count: view.dead_count,
            bytes: view.bytes,
            consumer_count: view.consumer_count,
        }
    }
}

/// An item as it stands, with its receipt where it is told to its consumer.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Item)]
pub struct ItemJson {
    /// The id, as text so that no reader rounds it.
    #[schema(value_type = DecimalText)]
    pub id: String,
    /// The item.
    #[serde(flatten)]
    pub bytes: BytesJson,
    /// Only as told to its consumer, and where that has to acknowledge it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ReceiptText)]
    pub receipt: Option<String>,
    /// How often it was delivered.
    pub deliveries: u32,
    /// When it was put in line.
    #[schema(value_type = MomentText)]
    pub enqueue_time: String,
    /// The seconds until its TTL has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub expires_in: Option<f64>,
    /// The seconds left to acknowledge it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub ack_in: Option<f64>,
}

impl ItemJson {
    /// As told to its consumer.
    pub fn delivered(item: &ItemView, receipt: Option<String>) -> ItemJson {
        ItemJson {
            receipt,
            ..ItemJson::from(item)
        }
    }
}

impl From<&ItemView> for ItemJson {
    fn from(view: &ItemView) -> ItemJson {
        ItemJson {
            id: view.id.to_string(),
            bytes: BytesJson::new(view.bytes.bytes()),
            receipt: None,
            deliveries: view.deliveries,
            enqueue_time: rfc3339(view.enqueued_at),
            expires_in: view.expires_in.map(seconds),
            ack_in: view.ack_in.map(seconds),
        }
    }
}
