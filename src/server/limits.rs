//! Every limit and timer of sockets, connections and bodies, by name and with its reason. Limits of
//! the rules stand in `core::limits`.
//!
//! hyper and h2 leave several of these off unless told otherwise, so all of them are set.

use std::time::Duration;

/// The most connections at a time, unless the operator says otherwise. The limit of open files may
/// lower it.
pub const CONNECTIONS_MAX_DEFAULT: u32 = 65_536;
/// How many open files are left to the store and the log when connections are counted.
pub const FILES_RESERVED: u64 = 128;
/// How many connections the system holds ready while the server is busy with others.
pub const BACKLOG: u32 = 1_024;
/// How long nothing is accepted after the system refused to (no files, no memory): long enough not
/// to spin, short enough not to be noticed.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a fresh connection has for its TLS handshake and first bytes, and a request for its head. HTTP/1 counts
/// the time between two requests as well, so this is also how long an idle connection stays; a
/// client that polls every second or renews every 20 s keeps its own.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection has for its request when it is made while the server stops: it is most
/// likely a probe, and must not hold up the end.
pub const LATE_HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client whose handshake failed has to read why.
pub const TLS_HANG_UP_PATIENCE: Duration = Duration::from_secs(1);
/// How long a body that is not a stream has from its head to its end.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body that is read unless it is a stream of gRPC, in bytes. Surfaces have tighter
/// bounds; this one holds whatever they forget.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The most header fields of one HTTP/1 request; more get 431. Browsers behind proxies send 40.
pub const HTTP1_HEADERS_MAX: usize = 100;
/// How much of one HTTP/1 connection is buffered, which bounds a request's head, in bytes: the
/// longest name, percent-encoded, takes 1.5 KiB.
pub const HTTP1_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// The most requests at a time on one HTTP/2 connection: a process may wait for 10,000 locks on
/// one. At about 8 KiB each this bounds a connection to 128 MiB.
pub const HTTP2_STREAMS_MAX: u32 = 16_384;
/// The largest head of one HTTP/2 request, decoded, in bytes.
pub const HTTP2_HEADER_BYTES_MAX: u32 = 16 * 1024;
/// The largest frame that is read, in bytes: the least that the protocol allows. Messages are small,
/// and a larger frame keeps others waiting.
pub const HTTP2_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// How far a client may send ahead on one stream, in bytes: some 1,000 calls of a session.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// How far a client may send ahead on one connection, in bytes. h2 ends a connection that has half
/// of this buffered in tiny frames, counting each as 256 bytes; so it must be far above the window
/// of one stream, else a session that is made to wait would take its connection down.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How much is buffered for a reader that is slow, in bytes for each stream. It is not allocated in
/// advance: a stream that waits has nothing buffered.
pub const HTTP2_SEND_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// How many streams a client may have reset before they were looked at. A burst of clients' time-outs
/// stays below it; a flood of resets ends its own connection.
pub const HTTP2_PENDING_RESETS_MAX: usize = 256;
/// How many streams the server may have had to reset for the client's errors before it ends the
/// connection.
pub const HTTP2_LOCAL_RESETS_MAX: usize = 256;
/// How often the other end of an HTTP/2 connection is asked whether it lives.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it has to answer. A dead peer's places in line are free after both together.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a TCP connection may be silent before the system asks whether its other end lives:
/// HTTP/1 has no pings of its own.
pub const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// How often it asks again.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How often it asks in vain before the connection is given up: 30 s after the last sign of life.
pub const TCP_KEEPALIVE_TRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long connections may take to finish when the server stops, unless the operator says
/// otherwise.
pub const SHUTDOWN_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// The longest deadline that can be set.
pub const SHUTDOWN_DEADLINE_MAX: Duration = Duration::from_secs(3600);

/// How long the end waits for calls that were cut off to let go of the store.
pub const STORE_CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// How often the file of tokens is looked at.
pub const TOKENS_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest file of tokens that is read, in bytes: some 50,000 tokens.
pub const TOKENS_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How often the files of TLS certificates are looked at.
pub const TLS_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest name of a token, in bytes.
pub const TOKEN_NAME_BYTES_MAX: usize = 128;
/// How long a browser may remember what the server allows other origins.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(3600);

/// The timers that tests shorten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// See [`HEAD_TIMEOUT`].
    pub head: Duration,
    /// See [`BODY_TIMEOUT`].
    pub body: Duration,
    /// See [`HTTP2_PING_INTERVAL`].
    pub ping_interval: Duration,
    /// See [`HTTP2_PING_TIMEOUT`].
    pub ping_timeout: Duration,
    /// See [`TOKENS_CHECK_INTERVAL`].
    pub tokens_check: Duration,
    /// See [`TLS_CHECK_INTERVAL`].
    pub tls_check: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            head: HEAD_TIMEOUT,
            body: BODY_TIMEOUT,
            ping_interval: HTTP2_PING_INTERVAL,
            ping_timeout: HTTP2_PING_TIMEOUT,
            tokens_check: TOKENS_CHECK_INTERVAL,
            tls_check: TLS_CHECK_INTERVAL,
        }
    }
}
