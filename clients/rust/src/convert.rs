//! Between the schema's types and those of Rust.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How much of a request id is chance, in bytes.
const CHANCE_BYTES: usize = 12;

/// A span of the schema; one that is negative, which the server never sends, is none.
pub(crate) fn duration(span: prost_types::Duration) -> Duration {
    Duration::try_from(span).unwrap_or_default()
}

/// A span for the schema, as long as it can be.
pub(crate) fn span(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

/// A moment of the schema; `None`: it was not told or can't be.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    time.and_then(|time| SystemTime::try_from(time).ok())
}

/// A request id that nobody has used: chance for this process, and a number. It is short, as every
/// change sends one and the server keeps it: up to 23 bytes take it no memory of their own.
pub(crate) fn request_id() -> String {
    static PROCESS: LazyLock<String> = LazyLock::new(|| {
        let chance = uuid::Uuid::new_v4().into_bytes();
        URL_SAFE_NO_PAD.encode(chance.get(..CHANCE_BYTES).unwrap_or(&chance))
    });
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{}{number:x}", *PROCESS)
}
