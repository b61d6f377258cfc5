//! A batch of writes, encoded as it is built.
//!
//! The bytes a batch holds are the very bytes the embedded store logs, so a commit neither clones
//! nor re-encodes anything. Bytes that come back from outside are checked in full before anybody
//! iterates over them; damage is an error and never a panic.

/// The most bytes one batch may hold; a store refuses a larger one.
///
/// It bounds the longest commit, and the memory that reading one log record takes.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

const OP_DELETE: u8 = 0;
const OP_PUT: u8 = 1;
const OP_INSERT: u8 = 2;

/// An ordered list of writes that become durable together. Of several writes to one key the last
/// one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries one behind the other: op byte (0 delete, 1 put, 2 insert), key length (u32 LE), key, and
    /// but for a delete value length (u32 LE) and value.
    bytes: Vec<u8>,
    entries: usize,
}

/// Bytes that are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a batch: {what} at byte {at}")]
pub struct BatchError {
    /// Where the first entry that cannot be read begins, in bytes from the start.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_with(key, |bytes| bytes.extend_from_slice(value));
    }

    /// Sets `key` to what `encode` appends, without a copy in between.
    ///
    /// `encode` must only append: what stands in the buffer already is the batch so far.
    pub fn put_with(&mut self, key: &[u8], encode: impl FnOnce(&mut Vec<u8>)) {
        self.start(OP_PUT, key);
        self.value(encode);
    }

    /// As [`Batch::put_with`], for a key that is not there: a store need not look whether it removes
    /// an older value when the key goes again. One that is there may come back from the dead.
    pub fn insert_with(&mut self, key: &[u8], encode: impl FnOnce(&mut Vec<u8>)) {
        self.start(OP_INSERT, key);
        self.value(encode);
    }

    fn value(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let value_at = self.bytes.len();
        encode(&mut self.bytes);
        debug_assert!(self.bytes.len() >= value_at, "encode removed bytes");
        let length = length_u32(self.bytes.len().saturating_sub(value_at)).to_le_bytes();
        if let Some(place) = self.bytes.get_mut(length_at..value_at) {
            place.copy_from_slice(&length);
        }
    }

    /// Removes `key`; one that is not there is left so.
    pub fn delete(&mut self, key: &[u8]) {
        self.start(OP_DELETE, key);
    }

    fn start(&mut self, op: u8, key: &[u8]) {
        self.bytes.push(op);
        self.bytes
            .extend_from_slice(&length_u32(key.len()).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.entries += 1;
    }

    /// How many writes it holds, overwritten ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it holds no write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Its size in bytes, against [`BATCH_BYTES_MAX`].
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets every write and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries = 0;
    }

    /// The writes in order: each key with its new value, or with `None` where it is removed.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.bytes }
    }

    /// The encoded batch.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes back what [`Batch::as_bytes`] gave.
    ///
    /// # Errors
    /// Any damage: a batch is read whole or not at all.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, BatchError> {
        let mut count = 0;
        for entry in entries(&bytes) {
            entry?;
            count += 1;
        }
        Ok(Self {
            bytes,
            entries: count,
        })
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The writes of a [`Batch`], in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, rest) = entry(self.rest).ok()?;
        self.rest = rest;
        Some((entry.key, entry.value))
    }
}

/// A length that does not fit is written as the largest one that does: such a batch is far beyond
/// [`BATCH_BYTES_MAX`], so no store takes it.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// One write of an encoded batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    /// `None`: the key is removed.
    pub(super) value: Option<&'a [u8]>,
    /// Whether the key was not there.
    pub(super) is_new: bool,
}

/// Reads an encoded batch in place, up to its end or the first entry that is damaged.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = bytes.len() - rest.len();
        match entry(rest) {
            Ok((write, after)) => {
                rest = after;
                Some(Ok(write))
            }
            Err(what) => {
                rest = &[];
                Some(Err(BatchError { at, what }))
            }
        }
    })
}

/// Splits the first entry off.
fn entry(bytes: &[u8]) -> Result<(Entry<'_>, &[u8]), &'static str> {
    let (op, rest) = bytes.split_first().ok_or("no operation")?;
    let (key, rest) = field(rest).ok_or("a key cut short")?;
    let (value, rest) = match *op {
        OP_DELETE => (None, rest),
        OP_PUT | OP_INSERT => {
            let (value, rest) = field(rest).ok_or("a value cut short")?;
            (Some(value), rest)
        }
        _ => return Err("an unknown operation"),
    };
    let is_new = *op == OP_INSERT;
    Ok((Entry { key, value, is_new }, rest))
}

/// Splits a length and as many bytes off.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch_of(writes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Batch {
        let mut batch = Batch::new();
        for (key, value) in writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch
    }

    type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn writes() -> impl Strategy<Value = Writes> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..20)
    }

    proptest! {
        #[test]
        fn a_batch_reads_back_as_it_was_written(writes in writes()) {
            let batch = batch_of(&writes);
            prop_assert_eq!(batch.len(), writes.len());
            let again = Batch::from_bytes(batch.as_bytes().to_vec()).unwrap();
            prop_assert_eq!(&again, &batch);
            let read: Vec<_> = again.iter().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(read, writes);
        }

        #[test]
        fn any_bytes_are_a_batch_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(batch) = Batch::from_bytes(bytes) {
                prop_assert_eq!(batch.iter().count(), batch.len());
            }
        }

        #[test]
        fn a_batch_cut_short_is_never_read_as_the_whole(writes in writes(), cut in any::<prop::sample::Index>()) {
            let batch = batch_of(&writes);
            prop_assume!(!batch.is_empty());
            let bytes = batch.as_bytes();
            let cut = cut.index(bytes.len());
            if let Ok(shorter) = Batch::from_bytes(bytes[..cut].to_vec()) {
                prop_assert!(shorter.len() < batch.len());
            }
        }
    }

    #[test]
    fn a_cleared_batch_is_empty() {
        let mut batch = batch_of(&[(b"a".to_vec(), None)]);
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!(batch, Batch::new());
    }
}
