//! The durable side: encoded records, changed by whole batches, and loaded as a shard loads them.

use std::collections::BTreeMap;

use holdfast::core::{Change, Damage, Key, Record, State, Value};

#[derive(Default)]
pub struct Store {
    bytes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The same, for whoever wants to look.
    records: BTreeMap<Key, Value>,
}

impl Store {
    pub fn records(&self) -> &BTreeMap<Key, Value> {
        &self.records
    }

    pub fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(record) => self.put(record.clone()),
                Change::Delete(key) => {
                    self.bytes.remove(&key.encode());
                    self.records.remove(key);
                }
            }
        }
    }

    pub fn put(&mut self, record: Record) {
        let mut value = Vec::new();
        record.encode_value(&mut value);
        self.bytes.insert(record.key.encode(), value);
        self.records.insert(record.key, record.value);
    }

    /// Loses the records that `lost` picks.
    pub fn lose(&mut self, lost: impl Fn(&Key) -> bool) {
        self.records.retain(|key, _| !lost(key));
        self.bytes
            .retain(|key, _| Key::decode(key).is_ok_and(|key| !lost(&key)));
    }

    pub fn load(&self) -> Result<State, Damage> {
        let mut loader = State::loader();
        for (key, value) in &self.bytes {
            loader.record(key, value)?;
        }
        Ok(loader.finish())
    }
}
