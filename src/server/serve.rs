//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, with every limit and timer set.
//!
//! What one connection does wrong ends that connection and no other.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::*;
use super::tls::Tls;

/// What every HTTP/2 connection with prior knowledge begins with.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is said to a connection too many. HTTP/2 clients see no answer in it, and try again.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How the two protocols are served.
#[derive(Clone)]
struct Protocols {
    head_timeout: Duration,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new(timers: &Timers) -> Protocols {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(timers.head)
            .max_headers(HTTP1_HEADERS_MAX)
            .max_buf_size(HTTP1_BUFFER_BYTES_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(HTTP2_HEADER_BYTES_MAX)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES_MAX)
            .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS_MAX)
            .max_local_error_reset_streams(HTTP2_LOCAL_RESETS_MAX)
            .keep_alive_interval(timers.ping_interval)
            .keep_alive_timeout(timers.ping_timeout);
        Protocols {
            head_timeout: timers.head,
            http1,
            http2,
        }
    }
}

/// The connections of a server, and how to end them.
#[derive(Clone)]
pub(super) struct Connections {
    protocols: Protocols,
    tls: Option<Arc<Tls>>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    draining: CancellationToken,
    aborted: CancellationToken,
}

impl Connections {
    /// Encrypted with `tls`, where there is one.
    pub(super) fn new(
        timers: &Timers,
        connections_max: usize,
        tls: Option<Arc<Tls>>,
    ) -> Connections {
        Connections {
            protocols: Protocols::new(timers),
            tls,
            room: Arc::new(Semaphore::new(connections_max)),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            aborted: CancellationToken::new(),
        }
    }

    /// Lets every connection finish what is under way. New ones are still taken, so that the server
    /// can say that it is stopping, but each for one request only.
    pub(super) fn drain(&self) {
        self.draining.cancel();
        self.tasks.close();
    }

    /// Waits until a drain is done.
    pub(super) async fn drained(&self) {
        self.tasks.wait().await;
    }

    /// Ends every connection, and with them the accepting.
    pub(super) fn abort(&self) {
        self.aborted.cancel();
    }

    /// Accepts until [`Connections::abort`].
    pub(super) async fn accept<S>(self, listener: TcpListener, service: S)
    where
        S: Answers,
    {
        loop {
            let accepted = tokio::select! {
                () = self.aborted.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                // That one's own trouble.
                Err(error) if is_of_the_peer(&error) => continue,
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted; trying again");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(room) = self.room.clone().try_acquire_owned() else {
                // Said if it can be said at once; nothing waits for it.
                if self.tls.is_none() {
                    let _ = stream.try_write(TOO_MANY);
                }
                continue;
            };
            let (connections, service) = (self.clone(), service.clone());
            self.tasks.spawn(async move {
                let aborted = connections.aborted.clone();
                tokio::select! {
                    () = aborted.cancelled() => {}
                    served = connections.serve(stream, service, room) => {
                        if let Err(error) = served {
                            tracing::debug!(error = %describe(error.as_ref()), "a connection has ended");
                        }
                    }
                }
            });
        }
    }

    async fn serve<S>(
        self,
        stream: TcpStream,
        service: S,
        _room: OwnedSemaphorePermit,
    ) -> Result<(), axum::BoxError>
    where
        S: Answers,
    {
        tune(&stream)?;
        let late = self.draining.is_cancelled();
        let head_timeout = match late {
            false => self.protocols.head_timeout,
            true => self.protocols.head_timeout.min(LATE_HEAD_TIMEOUT),
        };
        let opening = Opening {
            late,
            head_timeout,
            until: Instant::now() + head_timeout,
        };
        let Some(tls) = self.tls.clone() else {
            let (reader, writer) = stream.into_split();
            return self.speak(reader, writer, service, opening).await;
        };
        // What TLS takes is taken only where there is TLS.
        Box::pin(async move {
            let Some(stream) = self.open(&opening, tls.accept(stream)).await? else {
                return Ok(());
            };
            let (reader, writer) = tokio::io::split(stream);
            self.speak(reader, writer, service, opening).await
        })
        .await
    }

    /// Awaits what has to come before a request; `None`: it is no longer waited for, because the
    /// server stops and nothing is under way yet.
    async fn open<T>(
        &self,
        opening: &Opening,
        what: impl Future<Output = io::Result<T>>,
    ) -> Result<Option<T>, axum::BoxError> {
        tokio::select! {
            done = timeout_at(opening.until, what) => Ok(Some(done??)),
            () = self.draining.cancelled(), if !opening.late => Ok(None),
        }
    }

    async fn speak<S>(
        self,
        mut reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        service: S,
        opening: Opening,
    ) -> Result<(), axum::BoxError>
    where
        S: Answers,
    {
        let Opening {
            late, head_timeout, ..
        } = opening;
        let Some(head) = self.open(&opening, read_preface(&mut reader)).await? else {
            return Ok(());
        };
        let is_http2 = head == HTTP2_PREFACE;
        let io = TokioIo::new(tokio::io::join(Cursor::new(head).chain(reader), writer));
        if is_http2 {
            if late {
                return Ok(());
            }
            let connection = self.protocols.http2.serve_connection(io, service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                served = connection.as_mut() => return Ok(served?),
                () = self.draining.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            Ok(connection.await?)
        } else {
            let mut http1 = self.protocols.http1.clone();
            let connection = http1
                .keep_alive(!late)
                .header_read_timeout(head_timeout)
                .serve_connection(io, service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                served = connection.as_mut() => return Ok(served?),
                () = self.draining.cancelled(), if !late => connection.as_mut().graceful_shutdown(),
            }
            Ok(connection.await?)
        }
    }
}

/// How a connection begins.
struct Opening {
    /// It was made while the server stops.
    late: bool,
    /// How long a request's head may take.
    head_timeout: Duration,
    /// When the first bytes must be there, after the handshake where there is one.
    until: Instant,
}

/// What answers requests.
pub(super) trait Answers:
    hyper::service::Service<
        hyper::Request<hyper::body::Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Answers for S where
    S: hyper::service::Service<
            hyper::Request<hyper::body::Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Reads what tells the protocols apart: the preface of HTTP/2, or as much as differs from it.
async fn read_preface(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HTTP2_PREFACE.len());
    while HTTP2_PREFACE.starts_with(&head) && head.len() < HTTP2_PREFACE.len() {
        let rest = HTTP2_PREFACE.len() - head.len();
        if (&mut *reader).take(rest as u64).read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// Sets what TCP is to do for a connection.
fn tune(stream: &TcpStream) -> io::Result<()> {
    // Answers are small, and none may wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE_IDLE)
        .with_interval(TCP_KEEPALIVE_INTERVAL)
        .with_retries(TCP_KEEPALIVE_TRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(())
}

/// Whether an error of accepting tells of the connection, not of the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// An error with its causes.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
