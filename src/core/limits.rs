//! Every limit of the rules, by name. Limits of sockets and bodies stand in `server::limits`.

use std::time::Duration;

/// The longest name of a lock, in bytes.
pub const LOCK_NAME_BYTES_MAX: usize = 512;
/// The longest name of a namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;
/// The longest owner, in bytes.
pub const OWNER_BYTES_MAX: usize = 512;
/// The longest request id, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// The most metadata entries of a grant or lease.
pub const METADATA_ENTRIES_MAX: usize = 32;
/// The longest metadata key, in bytes.
pub const METADATA_KEY_BYTES_MAX: usize = 128;
/// The most metadata, keys and values together, in bytes.
pub const METADATA_BYTES_MAX: usize = 4096;

/// The shortest TTL of a lease.
pub const TTL_MIN: Duration = Duration::from_millis(100);
/// The longest TTL of a lease.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The TTL of a lease whose caller named none, unless the operator says otherwise.
pub const TTL_DEFAULT: Duration = Duration::from_secs(60);
/// The longest time for which a lost grant holds its lock back.
pub const RELEASE_DELAY_MAX: Duration = Duration::from_secs(3600);
/// The longest wait in line.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// The shortest time for which an unused reserved lock stays.
pub const DESTROY_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest time for which an unused reserved lock stays.
pub const DESTROY_AFTER_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long an unused reserved lock stays when its maker did not say.
pub const DESTROY_AFTER_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The most shared holders that a caller can ask for.
pub const MAX_SHARED_MAX: u32 = 1_000_000;
/// The most holders of one lock, whatever they asked for: one end of a lease may have to release so
/// many in one commit.
pub const HOLDERS_PER_LOCK_MAX: u32 = 65_536;
/// The most places in line of one lock.
pub const WAITERS_PER_LOCK_MAX: usize = 65_536;
/// The most calls that wait on one place in line: its caller, and retries of the same request.
pub const CALLS_PER_WAITER_MAX: usize = 64;
/// The most locks, held, held back, waited for or reserved, in one namespace.
pub const LOCKS_PER_NAMESPACE_MAX: usize = 4_000_000;
/// The most shared leases in one namespace.
pub const LEASES_PER_NAMESPACE_MAX: usize = 1_000_000;
/// The most grants and places in line that hang on one shared lease.
pub const HOLDS_PER_LEASE_MAX: usize = 65_536;
/// The most watchers of one lock.
pub const WATCHERS_PER_LOCK_MAX: usize = 4_096;

/// The longest key of a value, in bytes.
pub const VALUE_KEY_BYTES_MAX: usize = 512;
/// The largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The most values in one namespace.
pub const VALUES_PER_NAMESPACE_MAX: usize = 1_000_000;
/// The most bytes of keys and values in one namespace: all of them are in memory.
pub const VALUE_BYTES_PER_NAMESPACE_MAX: usize = 1024 * 1024 * 1024;
/// The most watchers of one value.
pub const WATCHERS_PER_VALUE_MAX: usize = 4_096;
/// About the most bytes of keys and values in one page of a listing: a page ends with the entry
/// that reaches it.
pub const VALUE_PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The longest id of a FIFO, in bytes.
pub const FIFO_ID_BYTES_MAX: usize = 512;
/// The longest timeout of a FIFO or ticket.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long one call waits for a ticket's turn where its FIFO's maker did not say.
pub const WAIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(6 * 3600);
/// How long a turn waits to be accepted where the FIFO's maker did not say.
pub const ACCEPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// How long the work may take where the FIFO's maker did not say.
pub const DONE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// How long an unused FIFO stays where its maker did not say.
pub const FIFO_DESTROY_AFTER_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most tickets of one FIFO that are served at once.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// The most FIFOs in one namespace.
pub const FIFOS_PER_NAMESPACE_MAX: usize = 1_000_000;
/// The most living tickets of one FIFO: deleting it ends them all in one commit.
pub const TICKETS_PER_FIFO_MAX: usize = 65_536;
/// The most tickets, lapsed ones included, in one namespace.
pub const TICKETS_PER_NAMESPACE_MAX: usize = 4_000_000;
/// The most calls that wait for one ticket's turn.
pub const CALLS_PER_TICKET_MAX: usize = 64;
/// How long a lapsed ticket is remembered, so that its owner learns what became of it.
pub const LAPSED_MEMORY: Duration = Duration::from_secs(3600);
/// The most lapsed tickets of one FIFO that are remembered; the oldest are forgotten first.
pub const LAPSED_PER_FIFO_MAX: usize = 4_096;
/// The most tickets that a view of a FIFO shows.
pub const TICKETS_SHOWN_MAX: usize = 100;

/// The longest name of a queue, in bytes.
pub const QUEUE_NAME_BYTES_MAX: usize = 512;
/// The shortest time to acknowledge an item.
pub const ACK_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// The longest time to acknowledge an item.
pub const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The time to acknowledge an item of a stream whose consumer named none.
pub const ACK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// The most deliveries that a queue can be told to allow.
pub const DELIVERIES_MAX_MAX: u32 = 10_000;
/// After so many deliveries an item of a queue that was not configured goes to the dead letters.
pub const DELIVERIES_MAX_DEFAULT: u32 = 20;
/// The most queues in one namespace.
pub const QUEUES_PER_NAMESPACE_MAX: usize = 1_000_000;
/// The most items of one namespace's queues, dead ones included.
pub const ITEMS_PER_NAMESPACE_MAX: usize = 4_000_000;
/// The most bytes of one namespace's items: all of them are in memory.
pub const ITEM_BYTES_PER_NAMESPACE_MAX: usize = 1024 * 1024 * 1024;
/// The most calls and streams that consume one queue.
pub const CONSUMERS_PER_QUEUE_MAX: usize = 65_536;
/// The most items that a stream's consumer may have without an acknowledgement.
pub const CONSUME_WINDOW_MAX: u32 = 1_000;
/// The same, where the consumer named no window.
pub const CONSUME_WINDOW_DEFAULT: u32 = 100;
/// About the most bytes of items that a stream's consumer is sent without an acknowledgement.
pub const CONSUME_WINDOW_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most items that one call removes or puts back in line: all of them in one commit.
pub const PURGE_MAX: usize = 10_000;

/// The longest address of a webhook, in bytes.
pub const CALLBACK_URL_BYTES_MAX: usize = 2_048;
/// The shortest secret of a webhook, in bytes.
pub const CALLBACK_SECRET_BYTES_MIN: usize = 24;
/// The longest secret of a webhook, in bytes.
pub const CALLBACK_SECRET_BYTES_MAX: usize = 64;
/// The shortest time that a receiver can be given to take its turn.
pub const CALLBACK_ACCEPT_MIN: Duration = Duration::from_secs(1);
/// The longest time that a receiver can be given to take its turn.
pub const CALLBACK_ACCEPT_MAX: Duration = Duration::from_secs(3600);
/// How long a receiver has to take its turn where the subscriber did not say.
pub const CALLBACK_ACCEPT_DEFAULT: Duration = Duration::from_secs(60);
/// How long a place in line with a callback waits for its turn, unless the subscriber says less.
pub const CALLBACK_WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most webhooks of one namespace that are not over.
pub const WEBHOOKS_PER_NAMESPACE_MAX: usize = 10_000;
/// The most webhooks of one namespace that are over and still listed; the oldest are forgotten first.
pub const WEBHOOKS_OVER_MAX: usize = 1_000;
/// How long a webhook that is over is still listed.
pub const WEBHOOK_OVER_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// The longest account of why a post failed, in bytes.
pub const ATTEMPT_ERROR_BYTES_MAX: usize = 256;

/// How long the outcome of a call with a request id is remembered.
pub const REQUEST_MEMORY: Duration = Duration::from_secs(120);
/// How many requests that were forgotten early may stand in the order of the others, besides half of it.
pub const REQUEST_ORDER_SLACK: usize = 1_024;
/// The most outcomes remembered in one namespace; more calls with a request id are refused.
pub const REQUESTS_PER_NAMESPACE_MAX: usize = 1_000_000;
/// The same for calls that give something up: room that takes nothing from others, so that who holds
/// can still release.
pub const REQUESTS_TO_GIVE_UP_MAX: usize = 1_250_000;

/// From this TTL on, renewals are committed, so that crash after crash can't keep a dead holder's
/// lock alive for long.
pub const LONG_TTL: Duration = Duration::from_secs(300);
/// A long lease's renewal is committed when it moves the end by more than this; after a restart
/// every long lease lasts this much longer than committed, so that none ends early.
pub const LONG_TTL_SLACK: Duration = Duration::from_secs(60);
/// How far the committed clock may fall behind while there are deadlines.
pub const CLOCK_COMMIT_INTERVAL: Duration = Duration::from_secs(60);

/// The most deadlines handled by one tick; the rest follow in the next.
pub const TIMERS_PER_TICK_MAX: usize = 1_024;
/// How often the positions of one line are told at most, for each started
/// [`POSITIONS_PER_INTERVAL`] of its length.
pub const POSITION_INTERVAL: Duration = Duration::from_millis(100);
/// See [`POSITION_INTERVAL`]: it bounds the news of one line to 2,560 a second.
pub const POSITIONS_PER_INTERVAL: usize = 256;
/// The most holders that a view of a lock shows.
pub const HOLDERS_SHOWN_MAX: usize = 100;
/// The most places in line that an explanation of a lock shows.
pub const WAITERS_SHOWN_MAX: usize = 100;
/// The most past holds of one lock that are remembered; the oldest are forgotten first.
pub const PAST_HOLDS_MAX: usize = 8;
/// The most locks of one namespace whose past holds are remembered; the one that was given up longest
/// ago is forgotten first.
pub const PAST_LOCKS_MAX: usize = 4_096;
/// The most metadata of a past hold that is remembered, keys and values together, in bytes; more is
/// left out as a whole.
pub const PAST_METADATA_BYTES_MAX: usize = 1_024;
/// The most entries of one page of a listing.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// The entries of a page whose caller named no size.
pub const PAGE_SIZE_DEFAULT: usize = 100;
