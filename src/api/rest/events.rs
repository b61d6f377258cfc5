//! Server-Sent Events: the line before a lock, and the changes of its holders.
//!
//! A stream owns its call or watch: when the connection goes, it is dropped, and the caller leaves
//! the line. Nothing is buffered beyond what the shard keeps for a slow reader.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use utoipa::openapi::path::HttpMethod::Get;

use super::acquire::acquire_error;
use crate::api::http::extract::{Caller, LockPath};
use crate::api::http::paths::rest as paths;
use crate::api::http::view::{GrantJson, HolderJson, LockJson, cause_word, rfc3339, seconds};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{EventStream, LockNameText, Operation, Routes};
use crate::api::{Api, ApiError, Reason};
use crate::core::{Acquire, Answer, Command, LockChange, LockEvent, LockName, Namespace};
use crate::shard::{Progress, WATCH_NEWS_MAX, WATCH_VALUE_BYTES_MAX, WatchNews};

/// How often a stream with no news sends a comment, so that proxies keep the connection and a dead
/// one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) type Events = Result<Event, Infallible>;

#[derive(Serialize)]
struct Queued<'a> {
    lock: &'a str,
    position: u32,
}

/// Stands in line: `queued` at first and whenever the position changes, then `granted` or `error`.
pub(super) fn acquire(api: Api, namespace: Namespace, acquire: Acquire) -> Response {
    let lock = acquire.lock.clone();
    let call = api
        .shard(&namespace)
        .call(&namespace, Command::Acquire(acquire));
    stream(unfold(Some(call), move |call| {
        let (api, namespace, lock) = (api.clone(), namespace.clone(), lock.clone());
        async move {
            let mut call = call?;
            Some(match call.progress().await {
                Progress::Queued(standing) => {
                    let (lock, position) = (lock.as_str(), standing.position);
                    (event("queued", &Queued { lock, position }), Some(call))
                }
                Progress::Done(Ok(Answer::Granted(granted))) => {
                    let grant = GrantJson::new(api.grant_tokens(), &namespace, &granted);
                    (event("granted", &grant), None)
                }
                Progress::Done(Ok(_)) => (error_event(&unexpected_answer()), None),
                Progress::Done(Err(failure)) => (error_event(&acquire_error(failure)), None),
            })
        }
    }))
}

#[derive(Serialize)]
struct Change<'a> {
    lock: &'a str,
    /// A decimal string, as everywhere.
    fencing_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<HolderJson>,
    event_time: String,
    holder_count: usize,
    waiters: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back_for: Option<f64>,
}

fn change(lock: &LockName, news: &LockEvent) -> Events {
    let name = match &news.change {
        LockChange::Granted(_) => "granted",
        LockChange::Ended(_, cause) => cause_word(*cause),
        LockChange::ReleaseDelayEnded(_) => "release_delay_ended",
    };
    let change = Change {
        lock: lock.as_str(),
        fencing_token: news.change.fencing_token().to_string(),
        holder: news.change.holder().map(HolderJson::from),
        event_time: rfc3339(news.at),
        holder_count: news.holder_count,
        waiters: news.waiter_count,
        held_back_for: news.held_back_for.map(seconds),
    };
    event(name, &change)
}

pub(super) fn routes() -> Routes<Api> {
    let operation = Operation::new(
        "locks",
        "watchLock",
        "Follows a lock",
        "`state` at first, then `granted`, `released`, `expired`, `revoked`, `forced`, \
         `callback_refused` or `callback_timed_out` for every change of its holders, and \
         `release_delay_ended` where a lost grant holds it back no more; `error` ends it. The lock is \
         free when there are no holders and no `held_back_for`.",
    );
    Routes::new().on(
        Get,
        paths::WATCH,
        watch,
        operation
            .in_path::<LockNameText>("name")
            .answers_with::<EventStream>(StatusCode::OK, "text/event-stream", "The changes."),
    )
}

/// Follows a lock: `state`, then an event for every change; `error` ends it.
async fn watch(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
) -> Response {
    let watch = api
        .shard(&caller.namespace)
        .watch(&caller.namespace, lock.clone());
    stream(unfold(Some(watch), move |watch| {
        let lock = lock.clone();
        async move {
            let mut watch = watch?;
            Some(match watch.next().await {
                Some(WatchNews::State(view)) => {
                    (event("state", &LockJson::from(&view)), Some(watch))
                }
                Some(WatchNews::Changed(news)) => (change(&lock, &news), Some(watch)),
                Some(WatchNews::Failed(failure)) => (error_event(&failure.into()), None),
                Some(_) => (error_event(&unexpected_answer()), None),
                None => (error_event(&slow_reader()), None),
            })
        }
    }))
}

pub(super) fn slow_reader() -> HttpError {
    let message = format!(
        "the reader fell behind by more than {WATCH_NEWS_MAX} events, or {WATCH_VALUE_BYTES_MAX} bytes of values, and was cut off; watch again"
    );
    ApiError::new(Reason::SlowReader, message).into()
}

pub(super) fn event(name: &'static str, data: &impl Serialize) -> Events {
    // Our own types always serialize; should one not, its reader is told rather than left waiting.
    Ok(Event::default()
        .event(name)
        .json_data(data)
        .unwrap_or_else(|_| Event::default().event("error").data("{}")))
}

pub(super) fn error_event(error: &HttpError) -> Events {
    let event = event("error", &error.json())?;
    Ok(match error.reason.retry_after() {
        Some(after) => event.retry(after),
        None => event,
    })
}

pub(super) fn stream(events: impl Stream<Item = Events> + Send + 'static) -> Response {
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    // Or else a proxy in front would hold events back until it has a page of them.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
