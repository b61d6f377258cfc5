//! Names and descriptions that have been checked: who holds one of these need not check again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use super::limits::*;

/// Bad input: which field, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {expected}")]
pub struct Invalid {
    /// The field's name, as in the schema.
    pub field: &'static str,
    /// What is expected, with its bound.
    pub expected: String,
}

impl Invalid {
    /// Says of `field` what was expected.
    pub fn new(field: &'static str, expected: impl Into<String>) -> Invalid {
        Invalid {
            field,
            expected: expected.into(),
        }
    }
}

/// Checks that `text` has `min` to `max` bytes and no control characters.
fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), Invalid> {
    if text.len() < min || text.len() > max {
        let expected = format!("must have {min} to {max} bytes, has {}", text.len());
        return Err(Invalid::new(field, expected));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "must have no control characters"));
    }
    Ok(())
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $field:literal, $min:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks `text` and keeps it.
            pub fn new(text: &str) -> Result<$name, Invalid> {
                check_text($field, text, $min, $max)?;
                Ok($name(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// The name of a namespace: 1 to 64 bytes without control characters.
    Namespace, "namespace", 1, NAMESPACE_BYTES_MAX
);
text_type!(
    /// The name of a lock: 1 to 512 bytes without control characters.
    LockName, "lock", 1, LOCK_NAME_BYTES_MAX
);
text_type!(
    /// The key of a value: 1 to 512 bytes without control characters.
    ValueKey, "key", 1, VALUE_KEY_BYTES_MAX
);
text_type!(
    /// The id of a FIFO: 1 to 512 bytes without control characters.
    FifoId, "fifo", 1, FIFO_ID_BYTES_MAX
);
text_type!(
    /// The name of a queue: 1 to 512 bytes without control characters.
    QueueName, "queue", 1, QUEUE_NAME_BYTES_MAX
);
text_type!(
    /// Where a webhook is posted: 1 to 2,048 bytes without control characters.
    CallbackUrl, "callback.url", 1, CALLBACK_URL_BYTES_MAX
);
text_type!(
    /// What makes a retry safe: 1 to 128 bytes without control characters.
    RequestId, "request_id", 1, REQUEST_ID_BYTES_MAX
);

/// What is kept under a key: at most 64 KiB of any kind. A copy shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ValueBytes(Bytes);

impl ValueBytes {
    /// Checks the size and keeps the bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<ValueBytes, Invalid> {
        let bytes = bytes.into();
        if bytes.len() > VALUE_BYTES_MAX {
            let expected = format!(
                "must have at most {VALUE_BYTES_MAX} bytes, has {}",
                bytes.len()
            );
            return Err(Invalid::new("value", expected));
        }
        Ok(ValueBytes(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for ValueBytes {
    // What callers keep is nobody else's business, so logs get only its size.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValueBytes({} bytes)", self.0.len())
    }
}

/// The id of a shared lease: a random UUID, which is also what proves the right to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u128);

impl std::fmt::Debug for LeaseId {
    // The id is a capability, so logs get only its first quarter.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeaseId({:08x}…)", self.0 >> 96)
    }
}

/// The id of a ticket: a random UUID, which is also what proves the right to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub u128);

/// The id of a webhook: 128 random bits, which are also what proves the right to it. All posts of a
/// webhook carry the same, so that the receiver can tell a repetition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookId(pub u128);

impl std::fmt::Display for WebhookId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "msg_{:032x}", self.0)
    }
}

impl std::fmt::Debug for WebhookId {
    // The id is a capability, so logs get only its first quarter.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookId({:08x}…)", self.0 >> 96)
    }
}

/// What the posts of a webhook are signed with: 24 to 64 bytes. A copy shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallbackSecret(Bytes);

impl CallbackSecret {
    /// Checks the size and keeps the bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<CallbackSecret, Invalid> {
        let bytes = bytes.into();
        if bytes.len() < CALLBACK_SECRET_BYTES_MIN || bytes.len() > CALLBACK_SECRET_BYTES_MAX {
            let expected = format!(
                "must have {CALLBACK_SECRET_BYTES_MIN} to {CALLBACK_SECRET_BYTES_MAX} bytes, has {}",
                bytes.len()
            );
            return Err(Invalid::new("callback.secret", expected));
        }
        Ok(CallbackSecret(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl std::fmt::Debug for CallbackSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallbackSecret(…)")
    }
}

impl std::fmt::Display for TicketId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

impl std::fmt::Debug for TicketId {
    // The id is a capability, so logs get only its first quarter.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketId({:08x}…)", self.0 >> 96)
    }
}

/// What a caller says of itself, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About(Said);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// The owner, and nothing else: so it is with most.
    Owner(SmolStr),
    /// The owner and metadata.
    More(Box<(SmolStr, BTreeMap<String, String>)>),
}

// With its counts it fills an allocation of 48 bytes, of which most held locks have one.
const _: () = assert!(size_of::<About>() <= 24);

impl std::hash::Hash for About {
    // It is part of stored fingerprints: what is hashed must stay the same.
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.owner().hash(hasher);
        let metadata = Some(self.metadata()).filter(|metadata| !metadata.is_empty());
        metadata.hash(hasher);
    }
}

impl About {
    /// Checks owner and metadata; `None` when there is nothing to keep.
    pub fn new(
        owner: &str,
        metadata: BTreeMap<String, String>,
    ) -> Result<Option<Arc<About>>, Invalid> {
        if owner.is_empty() && metadata.is_empty() {
            return Ok(None);
        }
        check_text("owner", owner, 0, OWNER_BYTES_MAX)?;
        if metadata.len() > METADATA_ENTRIES_MAX {
            let expected = format!(
                "must have at most {METADATA_ENTRIES_MAX} entries, has {}",
                metadata.len()
            );
            return Err(Invalid::new("metadata", expected));
        }
        let mut bytes = 0;
        for (key, value) in &metadata {
            check_text("metadata", key, 1, METADATA_KEY_BYTES_MAX)?;
            if value.chars().any(char::is_control) {
                return Err(Invalid::new("metadata", "must have no control characters"));
            }
            bytes += key.len() + value.len();
        }
        if bytes > METADATA_BYTES_MAX {
            let expected = format!("must have at most {METADATA_BYTES_MAX} bytes, has {bytes}");
            return Err(Invalid::new("metadata", expected));
        }
        Ok(Some(About::trusted(owner, metadata)))
    }

    /// What was checked when it was stored needs no second check.
    pub(crate) fn trusted(owner: &str, metadata: BTreeMap<String, String>) -> Arc<About> {
        Arc::new(About(match metadata.is_empty() {
            true => Said::Owner(owner.into()),
            false => Said::More(Box::new((owner.into(), metadata))),
        }))
    }

    /// Who asks; empty when it didn't say.
    pub fn owner(&self) -> &str {
        match &self.0 {
            Said::Owner(owner) => owner,
            Said::More(more) => &more.0,
        }
    }

    /// What the caller says of itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match &self.0 {
            Said::Owner(_) => &NONE,
            Said::More(more) => &more.1,
        }
    }
}

/// Checks a span against its bounds, both allowed.
fn check_span(
    field: &'static str,
    span: Duration,
    min: Duration,
    max: Duration,
) -> Result<Duration, Invalid> {
    if span < min || span > max {
        let (min, max, is) = (span_text(min), span_text(max), span_text(span));
        return Err(Invalid::new(
            field,
            format!("must be {min} to {max}, is {is}"),
        ));
    }
    Ok(span)
}

/// A span as people write it: in the largest unit that it is a whole number of; one day is 24h.
fn span_text(span: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "µs"),
    ];
    let nanos = span.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(unit, name)| nanos.is_multiple_of(*unit) && (*name != "d" || nanos > *unit))
        .map_or_else(
            || format!("{nanos}ns"),
            |(unit, name)| format!("{}{name}", nanos / unit),
        )
}

/// Checks the TTL of a lease: 100 ms to 30 d.
pub fn check_ttl(ttl: Duration) -> Result<Duration, Invalid> {
    check_span("ttl", ttl, TTL_MIN, TTL_MAX)
}

/// Checks a wait in line: 0 to 24 h.
pub fn check_wait(wait: Duration) -> Result<Duration, Invalid> {
    check_span("wait", wait, Duration::ZERO, WAIT_MAX)
}

/// How long a lost grant holds its lock back: 0 to 1 h, in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReleaseDelay(u32);

impl ReleaseDelay {
    /// Checks a delay. What is not a whole number of milliseconds counts as the next one.
    ///
    /// # Errors
    /// Names `release_delay`, where it is over [`RELEASE_DELAY_MAX`].
    pub fn new(delay: Duration) -> Result<ReleaseDelay, Invalid> {
        let delay = check_span("release_delay", delay, Duration::ZERO, RELEASE_DELAY_MAX)?;
        let millis = delay.as_nanos().div_ceil(1_000_000);
        // The bound is far below the end of the type.
        Ok(ReleaseDelay(u32::try_from(millis).unwrap_or(u32::MAX)))
    }

    /// The delay.
    pub fn span(self) -> Duration {
        Duration::from_millis(u64::from(self.0))
    }

    /// Whether there is none.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// As it is stored.
    pub(super) fn millis(self) -> u32 {
        self.0
    }

    /// As it was stored.
    pub(super) fn trusted(millis: u32) -> ReleaseDelay {
        ReleaseDelay(millis)
    }
}

/// Checks a timeout of a FIFO or ticket: more than 0, and at most 365 d.
pub fn check_timeout(field: &'static str, span: Duration) -> Result<Duration, Invalid> {
    check_span(field, span, Duration::from_nanos(1), TIMEOUT_MAX)
}

/// Checks the time to acknowledge an item: 100 ms to 7 d.
pub fn check_ack_timeout(span: Duration) -> Result<Duration, Invalid> {
    check_span("ack_timeout", span, ACK_TIMEOUT_MIN, ACK_TIMEOUT_MAX)
}

/// Checks how many tickets of a FIFO are served at once: 1 to 10,000, where 0 stands for 1.
pub fn check_concurrency(concurrency: u32) -> Result<u32, Invalid> {
    match concurrency {
        0 => Ok(1),
        n => check_number("concurrency", n, CONCURRENCY_MAX),
    }
}

/// Checks after how many deliveries an item is dead: 1 to 10,000, where 0 stands for never.
pub fn check_deliveries_max(deliveries: u32) -> Result<Option<u32>, Invalid> {
    match deliveries {
        0 => Ok(None),
        n => check_number("deliveries_max", n, DELIVERIES_MAX_MAX).map(Some),
    }
}

/// Checks how many items a consumer may have without an acknowledgement: 1 to 1,000, where 0 stands
/// for 100.
pub fn check_window(window: u32) -> Result<u32, Invalid> {
    match window {
        0 => Ok(CONSUME_WINDOW_DEFAULT),
        n => check_number("window", n, CONSUME_WINDOW_MAX),
    }
}

fn check_number(field: &'static str, n: u32, max: u32) -> Result<u32, Invalid> {
    if n > max {
        return Err(Invalid::new(field, format!("must be 1 to {max}, is {n}")));
    }
    Ok(n)
}

/// Checks how long a receiver has to take its turn: 1 s to 1 h.
pub fn check_accept_timeout(span: Duration) -> Result<Duration, Invalid> {
    check_span(
        "callback.accept_timeout",
        span,
        CALLBACK_ACCEPT_MIN,
        CALLBACK_ACCEPT_MAX,
    )
}

/// Checks how long a place in line with a callback waits for its turn: 0 to 30 d.
pub fn check_callback_wait(wait: Duration) -> Result<Duration, Invalid> {
    check_span("wait", wait, Duration::ZERO, CALLBACK_WAIT_MAX)
}

/// Checks for how long a reserved lock stays unused: 1 s to 365 d.
pub fn check_destroy_after(span: Duration) -> Result<Duration, Invalid> {
    check_span(
        "unused_destroy_timeout",
        span,
        DESTROY_AFTER_MIN,
        DESTROY_AFTER_MAX,
    )
}

/// Checks a bound of shared holders: 1 to 1,000,000, where 0 stands for none.
pub fn check_max_shared(mode: super::Mode, max_shared: u32) -> Result<Option<u32>, Invalid> {
    match (mode, max_shared) {
        (_, 0) => Ok(None),
        (super::Mode::Exclusive, _) => Err(Invalid::new(
            "max_shared",
            "is only for the mode SHARED; leave it out",
        )),
        (super::Mode::Shared, n) if n > MAX_SHARED_MAX => {
            let expected = format!("must be 1 to {MAX_SHARED_MAX}, is {n}");
            Err(Invalid::new("max_shared", expected))
        }
        (super::Mode::Shared, n) => Ok(Some(n)),
    }
}

/// Checks the size of a page: 1 to 1,000, where 0 stands for 100.
pub fn check_page_size(page_size: u32) -> Result<usize, Invalid> {
    match page_size as usize {
        0 => Ok(PAGE_SIZE_DEFAULT),
        n if n <= PAGE_SIZE_MAX => Ok(n),
        n => {
            let expected = format!("must be 1 to {PAGE_SIZE_MAX}, is {n}");
            Err(Invalid::new("page_size", expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash, Hasher};

    use super::*;

    #[test]
    fn a_span_out_of_bounds_is_told_as_people_write_it() {
        let told = |ttl| check_ttl(ttl).err().map(|invalid| invalid.expected);
        let bounds = "must be 100ms to 30d, is";
        assert_eq!(told(TTL_MIN), None);
        assert_eq!(told(TTL_MAX), None);
        assert_eq!(
            told(Duration::from_nanos(1_000_001)),
            Some(format!("{bounds} 1000001ns"))
        );
        assert_eq!(told(Duration::ZERO), Some(format!("{bounds} 0s")));
        assert_eq!(told(TTL_MAX * 2), Some(format!("{bounds} 60d")));
    }
    #[test]
    fn what_callers_say_is_hashed_as_stored_fingerprints_have_it() {
        let hash = |hashed: &dyn Fn(&mut std::hash::DefaultHasher)| {
            let mut hasher = std::hash::DefaultHasher::new();
            hashed(&mut hasher);
            hasher.finish()
        };
        for metadata in [vec![], vec![("k".to_owned(), "v".to_owned())]] {
            let metadata: BTreeMap<_, _> = metadata.into_iter().collect();
            let about = About::trusted("me", metadata.clone());
            let stored = ("me", (!metadata.is_empty()).then_some(metadata));
            assert_eq!(hash(&|h| about.hash(h)), hash(&|h| stored.hash(h)));
        }
    }
}
