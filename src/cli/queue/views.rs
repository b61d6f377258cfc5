//! Queues and items, as JSON with the field names of the REST API, and as text for people.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::api::http::queue::{ItemJson, QueueJson};
use crate::api::http::view::BytesJson;
use crate::cli::listing;
use crate::cli::views::seconds;
use crate::proto::v1;

/// The most of an item that a line for people shows, in characters.
const SHOWN_MAX: usize = 60;

/// A queue.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Queue(QueueJson);

impl From<v1::Queue> for Queue {
    fn from(queue: v1::Queue) -> Queue {
        Queue(QueueJson {
            name: queue.name,
            deliveries_max: (queue.deliveries_max > 0).then_some(queue.deliveries_max),
            configured: queue.configured,
            ready_count: queue.ready_count as usize,
            delivered_count: queue.delivered_count as usize,
            dead_count: queue.dead_count as usize,
            bytes: queue.bytes as usize,
            consumer_count: queue.consumer_count as usize,
        })
    }
}

impl Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = &self.0;
        write!(
            f,
            "{} ready={} delivered={} dead={} bytes={} consumers={}",
            queue.name,
            queue.ready_count,
            queue.delivered_count,
            queue.dead_count,
            queue.bytes,
            queue.consumer_count
        )?;
        match queue.deliveries_max {
            Some(most) => write!(f, " deliveries_max={most}")?,
            None => write!(f, " deliveries_max=none")?,
        }
        if queue.configured {
            write!(f, " configured")?;
        }
        Ok(())
    }
}

/// How many items there are, by where they are.
#[derive(Serialize)]
pub struct Length {
    length: usize,
    delivered_count: usize,
    dead_count: usize,
}

impl From<Queue> for Length {
    fn from(Queue(queue): Queue) -> Length {
        Length {
            length: queue.ready_count,
            delivered_count: queue.delivered_count,
            dead_count: queue.dead_count,
        }
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.length)
    }
}

/// An item, with its receipt where it has just been delivered.
#[derive(Serialize)]
pub struct Item {
    #[serde(flatten)]
    json: ItemJson,
    #[serde(skip)]
    summary: String,
}

impl From<v1::Item> for Item {
    fn from(item: v1::Item) -> Item {
        Item {
            summary: summary(&item),
            json: ItemJson {
                id: item.id.to_string(),
                bytes: BytesJson::new(&item.value),
                receipt: (!item.receipt.is_empty()).then_some(item.receipt),
                deliveries: item.deliveries,
                enqueue_time: item
                    .enqueue_time
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                expires_in: item.expires_in.as_ref().map(seconds),
                ack_in: item.ack_in.as_ref().map(seconds),
            },
        }
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

/// An item on one line.
fn summary(item: &v1::Item) -> String {
    let (id, deliveries, bytes) = (item.id, item.deliveries, item.value.len());
    let mut line = format!("{id} deliveries={deliveries} bytes={bytes}");
    for (name, left) in [("expires_in", &item.expires_in), ("ack_in", &item.ack_in)] {
        if let Some(left) = left {
            line.push_str(&format!(" {name}={}", seconds(left)));
        }
    }
    if let Ok(text) = std::str::from_utf8(&item.value) {
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        let cut = if shown.len() < text.len() { "…" } else { "" };
        line.push_str(&format!(" {shown:?}{cut}"));
    }
    line
}

/// What has to be acknowledged of an item that was printed.
#[derive(Serialize)]
pub struct Receipt {
    /// The secret.
    pub receipt: String,
}

impl Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "receipt={}", self.receipt)
    }
}

/// A page of items.
#[derive(Serialize)]
pub struct Items {
    /// The items.
    pub items: Vec<Item>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
}

impl Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(f, "items", &self.items, &self.next_page_token)
    }
}

/// A page of queues.
#[derive(Serialize)]
pub struct Queues {
    /// The queues.
    pub queues: Vec<Queue>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
}

impl Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(f, "queues", &self.queues, &self.next_page_token)
    }
}

/// An answer of one field, told to people as `name=value`, or as the name alone where it is `true`.
pub struct Done<T>(pub &'static str, pub T);

impl<T: Serialize> Serialize for Done<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

impl<T: Display> Display for Done<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.to_string().as_str() {
            "true" => f.write_str(self.0),
            value => write!(f, "{}={value}", self.0),
        }
    }
}
