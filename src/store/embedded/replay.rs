//! Log records, coalesced: of all writes to one key the last one, in ascending order of keys.
//!
//! Invariant: a write holds a key's whole new value or its removal, so applying a run of records
//! over a state that has some or all of them already gives the same state. Folding may therefore
//! stop anywhere and start over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use crate::store::batch::{self, BatchError, entries};

/// One key and its newest value, or `None` where it was removed.
pub(super) type Write<'a> = (&'a [u8], Option<&'a [u8]>);

/// The writes of a run of records.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The records' batches, one behind the other.
    arena: Vec<u8>,
    places: Vec<Place>,
}

/// Where in the arena a write's parts are. Offsets are 64 bits wide, so that no log outgrows them.
#[derive(Clone, Copy, Debug)]
struct Place {
    key_at: usize,
    key_len: u32,
    /// Right behind the key and the value's length; `None` for a removal.
    value_len: Option<u32>,
    /// Whether the key was not there before the first of its writes that this stands for.
    is_new: bool,
}

/// The width of a length in an encoded batch.
const LENGTH_BYTES: usize = 4;

impl Replay {
    /// An empty one with room for records of `bytes` in all, so that it does not grow by copying.
    pub(super) fn with_capacity(bytes: u64) -> Self {
        Self {
            arena: Vec::with_capacity(usize::try_from(bytes).unwrap_or_default()),
            places: Vec::new(),
        }
    }

    /// Adds the batch of the next record.
    pub(super) fn push(&mut self, batch: &[u8]) -> Result<(), BatchError> {
        let base = self.arena.len();
        self.arena.extend_from_slice(batch);
        let mut at = 0;
        for entry in entries(batch) {
            let batch::Entry { key, value, is_new } = entry?;
            let key_at = at + 1 + LENGTH_BYTES;
            at = key_at + key.len() + value.map_or(0, |value| LENGTH_BYTES + value.len());
            self.places.push(Place {
                key_at: base + key_at,
                key_len: key.len() as u32,
                value_len: value.map(|value| value.len() as u32),
                is_new,
            });
        }
        Ok(())
    }

    /// Coalesces what was added, to be laid over a state.
    pub(super) fn finish(&mut self) {
        let arena = &self.arena;
        let key = |place: &Place| key_of(arena, place);
        // By place within a key: later records stand further back in the arena.
        self.places
            .sort_unstable_by(|a, b| key(a).cmp(key(b)).then(b.key_at.cmp(&a.key_at)));
        self.places.dedup_by(|later, kept| key(later) == key(kept));
    }

    /// Coalesces what was added, all of one file, to be folded into the state. What came and went within
    /// the file is left out: no fold of this file, whole or cut short, has written it or ever will.
    pub(super) fn finish_file(&mut self) {
        let arena = &self.arena;
        let mut newest = HashMap::with_hasher(RandomState::default());
        for place in self.places.drain(..) {
            match newest.entry(key_of(arena, &place)) {
                Entry::Vacant(none) => {
                    none.insert(place);
                }
                Entry::Occupied(earlier) if earlier.get().is_new && place.value_len.is_none() => {
                    earlier.remove();
                }
                Entry::Occupied(mut earlier) => {
                    let is_new = earlier.get().is_new;
                    earlier.insert(Place { is_new, ..place });
                }
            }
        }
        self.places.extend(newest.into_values());
        self.places
            .sort_unstable_by(|a, b| key_of(arena, a).cmp(key_of(arena, b)));
    }

    /// The coalesced writes.
    pub(super) fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.places.iter().map(|place| {
            let value = place.value_len.map(|len| {
                let at = place.key_at + place.key_len as usize + LENGTH_BYTES;
                self.arena.get(at..at + len as usize).unwrap_or_default()
            });
            (key_of(&self.arena, place), value)
        })
    }

    /// How many keys the coalesced writes touch.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

fn key_of<'a>(arena: &'a [u8], place: &Place) -> &'a [u8] {
    arena
        .get(place.key_at..place.key_at + place.key_len as usize)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Batch;

    #[test]
    fn the_last_write_of_a_key_wins_in_ascending_order() {
        let mut replay = Replay::default();
        let mut first = Batch::new();
        first.put(b"b", b"1");
        first.put(b"a", b"1");
        first.put(b"b", b"2");
        first.put(b"c", b"1");
        let mut second = Batch::new();
        second.put(b"a", b"");
        second.delete(b"c");
        replay.push(first.as_bytes()).unwrap();
        replay.push(second.as_bytes()).unwrap();
        replay.finish();
        let writes: Vec<_> = replay.writes().collect();
        let expected: [Write<'_>; 3] = [(b"a", Some(b"")), (b"b", Some(b"2")), (b"c", None)];
        assert_eq!(writes, expected);
    }

    #[test]
    fn what_came_and_went_within_a_file_is_left_out_and_nothing_else() {
        let mut replay = Replay::default();
        let mut first = Batch::new();
        let insert = |batch: &mut Batch, key: &[u8], value: &[u8]| {
            batch.insert_with(key, |bytes| bytes.extend_from_slice(value));
        };
        insert(&mut first, b"came, went", b"1");
        insert(&mut first, b"came", b"1");
        insert(&mut first, b"came, went, came", b"1");
        first.put(b"was there, went", b"1");
        first.delete(b"went, came, went");
        let mut second = Batch::new();
        second.put(b"came, went", b"2");
        second.delete(b"came, went");
        second.put(b"came", b"2");
        second.delete(b"came, went, came");
        insert(&mut second, b"came, went, came", b"3");
        second.delete(b"was there, went");
        insert(&mut second, b"went, came, went", b"1");
        second.delete(b"went, came, went");
        replay.push(first.as_bytes()).unwrap();
        replay.push(second.as_bytes()).unwrap();
        replay.finish_file();
        let writes: Vec<_> = replay.writes().collect();
        let expected: [Write<'_>; 4] = [
            (b"came", Some(b"2")),
            (b"came, went, came", Some(b"3")),
            (b"was there, went", None),
            (b"went, came, went", None),
        ];
        assert_eq!(writes, expected);
    }
}
