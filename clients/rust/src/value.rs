//! Values.

use std::time::Duration;

use tonic::Streaming;

use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::proto;
use crate::proto::value_service_client::ValueServiceClient;
use crate::proto::watch_value_response::Event;

/// About the first and the longest pause of a transformation that others get ahead of.
const TRANSFORM_PAUSE_MIN: Duration = Duration::from_millis(1);
const TRANSFORM_PAUSE_MAX: Duration = Duration::from_millis(100);

/// A value under a key, and how to keep it: made by [`Client::value`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Value {
    client: Client,
    key: String,
    ttl: Option<Duration>,
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value, at most 64 KiB of any kind.
    pub value: Vec<u8>,
    /// The revision that it got when it was put: greater than any earlier one in the namespace.
    pub revision: u64,
    /// The time until it ends; `None`: it has no expiry.
    pub expires_in: Option<Duration>,
}

impl From<proto::Value> for Entry {
    fn from(value: proto::Value) -> Entry {
        Entry {
            key: value.key,
            value: value.value,
            revision: value.revision,
            expires_in: value.expires_in.map(convert::duration),
        }
    }
}

/// What [`Value::try_transform`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transformed {
    /// Whether the new value was kept. If not, somebody else changed it meanwhile.
    pub succeeded: bool,
    /// What is there now; `None`: nothing.
    pub entry: Option<Entry>,
}

impl Value {
    pub(crate) fn new(client: Client, key: String) -> Value {
        let ttl = None;
        Value { client, key, ttl }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How long what is put stays: 100 ms to 30 d. Default: until it is deleted. Each put counts
    /// anew.
    pub fn ttl(mut self, ttl: Duration) -> Value {
        self.ttl = Some(ttl);
        self
    }

    /// Reads the value; `None`: there is none.
    ///
    /// # Errors
    ///
    /// Of the connection only, and [`Error::Invalid`] for a key that can't be one.
    pub async fn get(&self) -> Result<Option<Entry>> {
        let shared = self.client.shared();
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let key = self.key.clone();
                let request = shared.config.request(proto::GetValueRequest { key });
                async move { ValueServiceClient::new(channel).get_value(request).await }
            })
            .await;
        match answer {
            Ok(answer) => answer
                .value
                .map(Entry::from)
                .ok_or_else(Error::misfit)
                .map(Some),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a value, in place of what is there; its revision.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] where there is no room, [`Error::Invalid`] for one of more than 64 KiB.
    pub async fn put(&self, value: impl Into<Vec<u8>>) -> Result<u64> {
        let shared = self.client.shared();
        let put = proto::PutValueRequest {
            key: self.key.clone(),
            value: value.into(),
            ttl: self.ttl.map(convert::span),
            request_id: convert::request_id(),
        };
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(put.clone());
                async move { ValueServiceClient::new(channel).put_value(request).await }
            })
            .await?;
        Ok(answer.revision)
    }

    /// Keeps a value where the one that is there has the expected revision, 0 for none; its revision.
    ///
    /// # Errors
    ///
    /// [`Error::RevisionMismatch`] where it has another; then as [`Value::put`].
    pub async fn compare_and_set(&self, expected: u64, value: impl Into<Vec<u8>>) -> Result<u64> {
        let shared = self.client.shared();
        let set = proto::CompareAndSetValueRequest {
            key: self.key.clone(),
            value: value.into(),
            expected_revision: expected,
            ttl: self.ttl.map(convert::span),
            request_id: convert::request_id(),
        };
        let answer = shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(set.clone());
                async move {
                    let mut values = ValueServiceClient::new(channel);
                    values.compare_and_set_value(request).await
                }
            })
            .await?;
        Ok(answer.revision)
    }

    /// Takes the value away; whether there was one.
    ///
    /// # Errors
    ///
    /// Of the connection only.
    pub async fn delete(&self) -> Result<bool> {
        match self.delete_at(0).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the value away where it has the expected revision.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is none, [`Error::RevisionMismatch`] where it has another;
    /// [`Error::Invalid`] for the revision 0.
    pub async fn compare_and_delete(&self, expected: u64) -> Result<()> {
        match expected {
            0 => Err(Error::invalid("expected", "must be at least 1, is 0")),
            expected => self.delete_at(expected).await,
        }
    }

    async fn delete_at(&self, expected_revision: u64) -> Result<()> {
        let shared = self.client.shared();
        let delete = proto::DeleteValueRequest {
            key: self.key.clone(),
            expected_revision,
            request_id: convert::request_id(),
        };
        shared
            .call(Duration::ZERO, |channel| {
                let request = shared.config.request(delete.clone());
                async move { ValueServiceClient::new(channel).delete_value(request).await }
            })
            .await?;
        Ok(())
    }

    /// Reads the value, applies `change` to it (`None`: there is none), and keeps what comes out if
    /// nobody changed it meanwhile. `tryTransformValue(key, f)` of the etcd patterns.
    ///
    /// # Errors
    ///
    /// As [`Value::put`].
    pub async fn try_transform(
        &self,
        change: impl FnOnce(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<Transformed> {
        let entry = self.get().await?;
        match self.transform_from(entry, change).await? {
            Some(entry) => Ok(Transformed {
                succeeded: true,
                entry: Some(entry),
            }),
            None => Ok(Transformed {
                succeeded: false,
                entry: self.get().await?,
            }),
        }
    }

    /// Puts what `change` makes of `entry`; `None`: that is not there any more.
    async fn transform_from(
        &self,
        entry: Option<Entry>,
        change: impl FnOnce(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<Option<Entry>> {
        let value = change(entry.as_ref().map(|entry| entry.value.as_slice()));
        let expected = entry.map_or(0, |entry| entry.revision);
        match self.compare_and_set(expected, value.clone()).await {
            Ok(revision) => Ok(Some(Entry {
                key: self.key.clone(),
                value,
                revision,
                expires_in: self.ttl,
            })),
            Err(Error::RevisionMismatch { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Value::try_transform`], again and again until it succeeds; what is there after it.
    /// `change` may be applied several times. `transformValue(key, f)` of the etcd patterns.
    ///
    /// # Errors
    ///
    /// As [`Value::put`].
    pub async fn transform(
        &self,
        mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<Entry> {
        let mut entry = self.get().await?;
        let mut pause = TRANSFORM_PAUSE_MIN;
        loop {
            if let Some(entry) = self.transform_from(entry, &mut change).await? {
                return Ok(entry);
            }
            // Somebody else got ahead, so somebody always gets on. Chance and growing pauses keep a
            // crowd from doing most of its work in vain.
            tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
            pause = (pause * 2).min(TRANSFORM_PAUSE_MAX);
            entry = self.get().await?;
        }
    }

    /// Follows the value: what is there, and then each change.
    pub fn watch(&self) -> Watch {
        Watch {
            value: self.clone(),
            events: None,
            told: None,
        }
    }
}

/// What [`Watch::next`] tells: what is under the key; `None`: nothing.
pub type Change = Option<Entry>;

/// Follows a value: made by [`Value::watch`].
#[derive(Debug)]
pub struct Watch {
    value: Value,
    events: Option<Streaming<proto::WatchValueResponse>>,
    /// The revision that was told last, 0 for none.
    told: Option<u64>,
}

impl Watch {
    /// What is there at first, and then after each change. A connection that breaks is made again;
    /// of what changed meanwhile the last is told.
    ///
    /// # Errors
    ///
    /// As [`Value::get`]; asking again then goes on.
    pub async fn next(&mut self) -> Result<Change> {
        loop {
            let events = match &mut self.events {
                Some(events) => events,
                None => {
                    let events = self.value.follow().await?;
                    self.events.insert(events)
                }
            };
            let event = match events.message().await {
                Ok(Some(message)) => message.event,
                Ok(None) => {
                    self.events = None;
                    continue;
                }
                Err(status) => {
                    self.events = None;
                    let error = Error::from(status);
                    if error.may_be_retried() || error.reason() == "SLOW_READER" {
                        continue;
                    }
                    return Err(error);
                }
            };
            let entry = match event {
                Some(Event::State(state)) => state.value,
                Some(Event::Change(change)) => match change.kind() {
                    proto::ValueEventKind::Put => change.value,
                    _ => None,
                },
                None => continue,
            };
            let entry = entry.map(Entry::from);
            let revision = entry.as_ref().map_or(0, |entry| entry.revision);
            if self.told.replace(revision) != Some(revision) {
                return Ok(entry);
            }
        }
    }
}

impl Value {
    async fn follow(&self) -> Result<Streaming<proto::WatchValueResponse>> {
        let shared = self.client.shared();
        shared
            .call(Duration::ZERO, |channel| {
                let key = self.key.clone();
                let request = shared.config.request(proto::WatchValueRequest { key });
                async move { ValueServiceClient::new(channel).watch_value(request).await }
            })
            .await
    }
}

impl Client {
    /// The value at `key`, or, where there is none, all values under `key/`, in the order of their
    /// keys; an empty list where there are none either. `getValues(key)` of the etcd patterns.
    ///
    /// # Errors
    ///
    /// As [`Value::get`].
    pub async fn get_values(&self, key: &str) -> Result<Vec<Entry>> {
        match self.value(key).get().await? {
            Some(entry) => Ok(vec![entry]),
            None => {
                self.list_values(&format!("{}/", key.trim_end_matches('/')))
                    .await
            }
        }
    }

    /// All values whose keys begin with `prefix`, in the order of their keys. They are read page by
    /// page: what changes meanwhile may be there or not.
    ///
    /// # Errors
    ///
    /// As [`Value::get`].
    pub async fn list_values(&self, prefix: &str) -> Result<Vec<Entry>> {
        let shared = self.shared();
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let list = proto::ListValuesRequest {
                prefix: prefix.to_owned(),
                page_size: 0,
                page_token,
            };
            let page = shared
                .call(Duration::ZERO, |channel| {
                    let request = shared.config.request(list.clone());
                    async move { ValueServiceClient::new(channel).list_values(request).await }
                })
                .await?;
            all.extend(page.values.into_iter().map(Entry::from));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }
}
