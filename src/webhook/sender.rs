//! Sends one webhook once, to addresses that may be called, within bounded time and memory.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use reqwest::redirect;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use tokio::time::{Instant, timeout_at};

use super::{AddressPolicy, Endpoint, Gate, Resolve, SystemResolver, WebhookSecret, tls};
use crate::core::limits::ATTEMPT_ERROR_BYTES_MAX;
use crate::core::{Invalid, WebhookId};
use crate::tls::system_roots;

/// The longest time of one attempt, from the lookup of the name to the head of the answer.
pub const ATTEMPT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take to be made, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer's body is read, in bytes. The status is what counts; a receiver that still
/// writes should not see a connection that breaks, as long as it is short.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// How long an answer's body is read.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// The most header fields of an answer.
pub const ANSWER_HEADERS_MAX: usize = 100;
/// The largest head of an HTTP/2 answer, in bytes.
const HTTP2_HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How far a receiver may send ahead over HTTP/2, in bytes: the least that the protocol allows to
/// start with.
const HTTP2_WINDOW_BYTES: u32 = 64 * 1024 - 1;

/// A webhook that is to be sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The same for all attempts, also after a restart.
    pub id: WebhookId,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// What it is signed with; `None`: it isn't.
    pub secret: Option<WebhookSecret>,
    /// The body: JSON.
    pub body: Bytes,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver took it: 2xx.
    Accepted {
        /// The status.
        status: u16,
    },
    /// The receiver wants it no more: 410.
    Refused,
    /// It may be tried again.
    Failed {
        /// What happened, in at most [`ATTEMPT_ERROR_BYTES_MAX`] bytes.
        reason: String,
        /// The status, where there was an answer.
        status: Option<u16>,
        /// How long to wait at least, where the receiver said so with a 429 or a 503.
        retry_after: Option<Duration>,
    },
}

/// Why no webhook can be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("webhooks can't be sent: {0}")]
pub struct SenderError(String);

impl SenderError {
    pub(super) fn new(problem: impl ToString) -> SenderError {
        SenderError(problem.to_string())
    }
}

/// Sends webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    client: reqwest::Client,
    gate: Gate,
}

impl Sender {
    /// A sender that calls what `policy` allows, by the names of the system's resolver. Reads the
    /// system's root certificates, which blocks.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(policy: AddressPolicy) -> Result<Sender, SenderError> {
        Sender::with_resolver(policy, SystemResolver::default())
    }

    /// As [`Sender::new`], with another resolver.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn with_resolver(
        policy: AddressPolicy,
        resolver: impl Resolve,
    ) -> Result<Sender, SenderError> {
        Sender::build(Gate::new(policy, resolver), system_roots())
    }

    pub(super) fn build(gate: Gate, roots: rustls::RootCertStore) -> Result<Sender, SenderError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(roots)?)
            .dns_resolver(Arc::new(gate.clone()))
            .redirect(redirect::Policy::none())
            // Repetitions are ours: each is counted, dated and signed.
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            // No connection outlives its attempt, so that each has its address judged, and nothing
            // is kept for receivers that are called once.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            .http1_max_headers(ANSWER_HEADERS_MAX)
            .http2_max_header_list_size(HTTP2_HEADER_BYTES_MAX)
            .http2_initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .http2_initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .build()
            .map_err(|error| SenderError::new(cause(&error)))?;
        Ok(Sender { client, gate })
    }

    /// Checks an endpoint that is subscribed. See [`Gate::check`].
    ///
    /// # Errors
    /// Names `field`.
    pub async fn check(&self, field: &'static str, endpoint: &Endpoint) -> Result<(), Invalid> {
        self.gate.check(field, endpoint).await
    }

    /// Makes one attempt, which the receiver sees as made at `timestamp`, in seconds since 1970. It
    /// takes at most `within`, and at most [`ATTEMPT_TIMEOUT_MAX`].
    ///
    /// Receivers may see a webhook twice: an attempt that was given up may have arrived.
    pub async fn attempt(
        &self,
        delivery: &Delivery,
        timestamp: u64,
        within: Duration,
    ) -> AttemptOutcome {
        let within = within.min(ATTEMPT_TIMEOUT_MAX);
        let deadline = Instant::now() + within;
        match timeout_at(deadline, self.post(delivery, timestamp)).await {
            Ok(Ok(answer)) => {
                let outcome = outcome(answer.status(), answer.headers(), timestamp);
                let patience = deadline.min(Instant::now() + ANSWER_TIMEOUT);
                // Whatever comes of it, the outcome stands.
                let _ = timeout_at(patience, read_some(answer)).await;
                outcome
            }
            Ok(Err(reason)) => failed(reason),
            Err(_) => failed(format!("no answer within {within:.1?}")),
        }
    }

    /// The head of the answer, or why there is none.
    async fn post(&self, delivery: &Delivery, timestamp: u64) -> Result<reqwest::Response, String> {
        self.gate
            .check_literal(&delivery.endpoint)
            .map_err(|refusal| refusal.to_string())?;
        let mut request = self
            .client
            .post(delivery.endpoint.url().clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, delivery.id.to_string())
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp);
        if let Some(secret) = &delivery.secret {
            let signature = secret
                .sign(delivery.id, timestamp, &delivery.body)
                .ok_or("it can't be signed: the body is not UTF-8")?;
            request = request.header(HEADER_WEBHOOK_SIGNATURE, signature);
        }
        let answer = request.body(delivery.body.clone()).send().await;
        answer.map_err(|error| match error.is_connect() || error.is_dns() {
            true => format!("no connection: {}", cause(&error)),
            false => format!("no answer: {}", cause(&error)),
        })
    }
}

/// What an answer means.
fn outcome(status: StatusCode, headers: &HeaderMap, timestamp: u64) -> AttemptOutcome {
    if status.is_success() {
        return AttemptOutcome::Accepted {
            status: status.as_u16(),
        };
    }
    if status == StatusCode::GONE {
        return AttemptOutcome::Refused;
    }
    let reason = match status.is_redirection() {
        true => format!("answered with {status}; redirects are not followed"),
        false => format!("answered with {status}"),
    };
    let busy = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    AttemptOutcome::Failed {
        reason,
        status: Some(status.as_u16()),
        retry_after: busy.then(|| retry_after(headers, timestamp)).flatten(),
    }
}

/// What the header `retry-after` asks for: seconds, or a date.
fn retry_after(headers: &HeaderMap, timestamp: u64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since_1970 = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since_1970.saturating_sub(Duration::from_secs(timestamp)))
}

/// Reads an answer's body up to its bound.
async fn read_some(mut answer: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read >= ANSWER_BYTES_MAX {
            return;
        }
    }
}

fn failed(mut reason: String) -> AttemptOutcome {
    reason.truncate(reason.floor_char_boundary(ATTEMPT_ERROR_BYTES_MAX));
    AttemptOutcome::Failed {
        reason,
        status: None,
        retry_after: None,
    }
}

/// The first of the causes of an error: those above it only say that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause = match error.source() {
        Some(source) => source,
        None => return error.to_string(),
    };
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_a_busy_receiver_asks_for_is_read_in_both_forms() {
        let asked = |status, value: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
            // 1994-11-06 08:49:00
            match outcome(status, &headers, 784_111_740) {
                AttemptOutcome::Failed { retry_after, .. } => {
                    retry_after.map(|span| span.as_secs())
                }
                other => panic!("{other:?}"),
            }
        };
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120", Some(120)),
            ("18446744073709551615", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(asked(busy, value), seconds, "{value:?}");
        }
        assert_eq!(asked(StatusCode::TOO_MANY_REQUESTS, "7"), Some(7));
        assert_eq!(asked(StatusCode::INTERNAL_SERVER_ERROR, "7"), None);
    }

    #[test]
    fn a_failure_is_told_in_bounded_length() {
        match failed("ü".repeat(1000)) {
            AttemptOutcome::Failed { reason, .. } => {
                assert_eq!(reason.len(), ATTEMPT_ERROR_BYTES_MAX)
            }
            other => panic!("{other:?}"),
        }
    }
}
