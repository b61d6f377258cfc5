//! Values: list, read, put, delete and follow.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Delete, Get, Put};

use super::events::{error_event, event, slow_reader, stream};
use super::page::{PageRequest, page_of};
use super::{Replied, ask, kept_for, value_bytes};
use crate::api::http::extract::{Caller, Fields, ValuePath};
use crate::api::http::fields::{Base64, Revision, Ttl};
use crate::api::http::params::VALUE_BODY_BYTES_MAX;
use crate::api::http::paths::rest as paths;
use crate::api::http::view::{ValueJson, rfc3339};
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    DecimalText, EventStream, Operation, PageTokenText, RequestIdText, Routes, ValueKeyText,
    ValueText,
};
use crate::api::page::after_name_token;
use crate::api::{Api, Reason, request_id};
use crate::core::limits::VALUE_KEY_BYTES_MAX;
use crate::core::{Answer, Command, ValueEvent, ValueEventKind, ValueKey};
use crate::shard::WatchNews;

/// The group of these operations.
const TAG: &str = "values";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::VALUES,
            list,
            Operation::new(TAG, "listValues", "Lists values", "In the order of their keys.")
                .query::<PageRequest>()
                .answers::<ListResponse>("A page of values."),
        )
        .on(
            Get,
            paths::VALUE,
            get,
            of_value("getValue", "Reads a value", "What is under a key, with its revision.")
                .answers::<ValueJson>("The value.")
                .refuses(&[Reason::ValueNotFound]),
        )
        .on(
            Put,
            paths::VALUE,
            put,
            of_value(
                "putValue",
                "Puts a value",
                "With `expected_revision` only over that revision. The bytes come as `value` or as `value_base64`.",
            )
            .body::<PutRequest>()
            .answers::<PutResponse>("The new revision.")
            .grows()
            .refuses(&[Reason::RevisionMismatch]),
        )
        .on(
            Delete,
            paths::VALUE,
            delete,
            of_value("deleteValue", "Deletes a value", "With `expected_revision` only that revision.")
                .query::<DeleteRequest>()
                .answers::<DeleteResponse>("The revision that was deleted.")
                .refuses(&[Reason::ValueNotFound, Reason::RevisionMismatch]),
        )
        .on(
            Get,
            paths::VALUE_WATCH,
            watch,
            of_value(
                "watchValue",
                "Follows a value",
                "`state` at first, then `put`, `deleted` or `expired` for every change; `error` ends it.",
            )
            .answers_with::<EventStream>(StatusCode::OK, "text/event-stream", "The changes."),
        )
}

fn of_value(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description).in_path::<ValueKeyText>("key")
}

#[derive(Serialize, ToSchema)]
#[schema(as = ListValuesResponse)]
pub(super) struct ListResponse {
    values: Vec<ValueJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Absent on the last page.
    #[schema(value_type = PageTokenText)]
    next_page_token: Option<String>,
}

async fn list(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(page): Fields<PageRequest>,
) -> Replied<ListResponse> {
    let command = Command::ListValues {
        limit: page.limit()?,
        after: page.after_name(ValueKey::new)?,
        prefix: page.prefix(VALUE_KEY_BYTES_MAX)?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::Values { values, more } => {
            let (values, next_page_token) =
                page_of(&values, more, |value| after_name_token(value.key.as_str()));
            Ok(Json(ListResponse {
                values,
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}

async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    ValuePath(key): ValuePath,
) -> Replied<ValueJson> {
    match ask(&api, &caller.namespace, Command::GetValue { key }).await? {
        Answer::Value(view) => Ok(Json(ValueJson::from(&view))),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutValueRequest)]
pub(super) struct PutRequest {
    /// Text. Either it or `value_base64` is wanted.
    #[schema(value_type = ValueText)]
    value: Option<String>,
    /// Any bytes, at most 65,536.
    value_base64: Option<Base64>,
    /// 100ms to 30d; unless given: no expiry.
    ttl: Option<Ttl>,
    /// Only over this revision; 0: only where there is no value.
    expected_revision: Option<Revision>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

/// What a change came to.
#[derive(Serialize, ToSchema)]
#[schema(as = PutValueResponse)]
pub(super) struct PutResponse {
    #[schema(value_type = ValueKeyText)]
    key: String,
    #[schema(value_type = DecimalText)]
    revision: String,
}

async fn put(
    State(api): State<Api>,
    Caller(caller): Caller,
    ValuePath(key): ValuePath,
    Fields(request): Fields<PutRequest, VALUE_BODY_BYTES_MAX>,
) -> Replied<PutResponse> {
    let command = Command::PutValue {
        key: key.clone(),
        bytes: value_bytes(request.value, request.value_base64)?,
        ttl: kept_for(request.ttl)?,
        expected_revision: request.expected_revision.map(|revision| revision.0),
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::ValuePut(revision) => Ok(Json(PutResponse {
            key: key.to_string(),
            revision: revision.to_string(),
        })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeleteValueRequest)]
pub(super) struct DeleteRequest {
    /// Only this revision; at least 1.
    expected_revision: Option<Revision>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeleteValueResponse)]
pub(super) struct DeleteResponse {
    deleted: bool,
    #[schema(value_type = DecimalText)]
    revision: String,
}

async fn delete(
    State(api): State<Api>,
    Caller(caller): Caller,
    ValuePath(key): ValuePath,
    Fields(request): Fields<DeleteRequest>,
) -> Replied<DeleteResponse> {
    let expected_revision = match request.expected_revision {
        Some(Revision(0)) => {
            let expected = "must be at least 1 here: no value can't be deleted";
            return Err(HttpError::invalid("expected_revision", expected));
        }
        expected => expected.map(|revision| revision.0),
    };
    let command = Command::DeleteValue {
        key,
        expected_revision,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask(&api, &caller.namespace, command).await? {
        Answer::ValueDeleted(revision) => Ok(Json(DeleteResponse {
            deleted: true,
            revision: revision.to_string(),
        })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize)]
struct Change {
    #[serde(flatten)]
    value: ValueJson,
    event_time: String,
}

fn change(news: &ValueEvent) -> super::events::Events {
    let name = match news.kind {
        ValueEventKind::Put => "put",
        ValueEventKind::Deleted => "deleted",
        ValueEventKind::Expired => "expired",
    };
    let change = Change {
        value: ValueJson::from(&news.value),
        event_time: rfc3339(news.at),
    };
    event(name, &change)
}

/// Follows what is under a key: `state`, then an event for every change; `error` ends it.
async fn watch(
    State(api): State<Api>,
    Caller(caller): Caller,
    ValuePath(key): ValuePath,
) -> Response {
    let watch = api
        .shard(&caller.namespace)
        .watch_value(&caller.namespace, key.clone());
    stream(unfold(Some(watch), move |watch| {
        let key = key.clone();
        async move {
            let mut watch = watch?;
            Some(match watch.next().await {
                Some(WatchNews::ValueState(value)) => {
                    let state = ValueJson::new(&key, value.as_ref());
                    (event("state", &state), Some(watch))
                }
                Some(WatchNews::ValueChanged(news)) => (change(&news), Some(watch)),
                Some(WatchNews::Failed(failure)) => (error_event(&failure.into()), None),
                Some(_) => (error_event(&unexpected_answer()), None),
                None => (error_event(&slow_reader()), None),
            })
        }
    }))
}
