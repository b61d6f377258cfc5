//! Every limit and default of the client, by name.

use std::time::Duration;

/// How long a session's lease lasts without a renewal, unless the builder says otherwise: so long
/// the locks of a client that died stay taken.
pub const SESSION_TTL_DEFAULT: Duration = Duration::from_secs(30);
/// How long a call that does not wait may take, its retries included.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The first pause before trying again.
pub const BACKOFF_MIN_DEFAULT: Duration = Duration::from_millis(50);
/// The longest pause before trying again.
pub const BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(2);
/// The most calls over the session without an answer, those that wait in lines included. As many as
/// the server takes.
pub const CALLS_MAX: usize = 65_536;
/// How long the server surely knows a request id again: it promises two minutes.
pub(crate) const REQUEST_MEMORY: Duration = Duration::from_secs(110);
/// How long the session goes without a renewal at most, however long its TTL is: so that it is known
/// when a connection was last alive.
pub(crate) const SESSION_RENEWAL_MAX: Duration = Duration::from_secs(30);
/// The most calls in one message, as many as the server takes...
pub(crate) const BATCH_MAX: usize = 1_024;
/// ...and about the most bytes of them; the server takes four times as many.
pub(crate) const BATCH_BYTES_MAX: usize = 64 * 1024;
/// The longest wait that the server takes in one call; the client asks again after it.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The least time by which a grant counts as lost before the server may end it...
pub(crate) const MARGIN_MIN: Duration = Duration::from_millis(100);
/// ...and the most: a tenth of the TTL between them, and never more than half of it.
pub(crate) const MARGIN_MAX: Duration = Duration::from_secs(5);
/// The longest pause between two looks at the clock while something is held: a timer does not count
/// suspended time, so what has ended meanwhile is noticed at the next look.
pub(crate) const LOOK_MAX: Duration = Duration::from_millis(250);
/// The shortest such pause.
pub(crate) const LOOK_MIN: Duration = Duration::from_millis(5);
/// How long a client that is dropped goes on to give back what it holds.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);
/// How often an idle connection is asked whether it is alive, and how long it has to answer.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How many items a consumer is sent ahead, unless it says otherwise.
pub const CONSUME_WINDOW_DEFAULT: u32 = 16;
/// How long a consumer has to acknowledge an item, unless it says otherwise.
pub const ACK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
