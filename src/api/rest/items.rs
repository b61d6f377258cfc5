//! Items of queues: put in line, take, acknowledge, return, extend, peek.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};

use super::events::{error_event, event, stream};
use super::page::{PageRequest, page_of};
use super::queues::ask_queue;
use super::{Replied, kept_for, required, value_bytes};
use crate::api::http::extract::{Caller, Fields, QueuePath};
use crate::api::http::fields::{Base64, Count, PartWord, Span, Ttl};
use crate::api::http::params::VALUE_BODY_BYTES_MAX;
use crate::api::http::queue::ItemJson;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::page::after_number_token;
use crate::api::{Api, Identity, request_id};
use crate::core::limits::ACK_TIMEOUT_DEFAULT;
use crate::core::{
    Delivered, Delivery, Namespace, Part, QueueAnswer, QueueCommand, QueueName, check_ack_timeout,
    check_wait, check_window,
};
use crate::shard::WatchNews;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnqueueRequest {
    value: Option<String>,
    value_base64: Option<Base64>,
    ttl: Option<Ttl>,
    request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct EnqueueResponse {
    id: String,
}

pub(super) async fn enqueue(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<EnqueueRequest, VALUE_BODY_BYTES_MAX>,
) -> Replied<EnqueueResponse> {
    let command = QueueCommand::Enqueue {
        queue,
        bytes: value_bytes(request.value, request.value_base64)?,
        ttl: kept_for(request.ttl)?,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Enqueued(id) => Ok(Json(EnqueueResponse { id: id.to_string() })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DequeueRequest {
    wait: Option<Span>,
    ack_timeout: Option<Span>,
    request_id: Option<String>,
}

pub(super) async fn dequeue(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<DequeueRequest>,
) -> Result<Response, HttpError> {
    let command = QueueCommand::Dequeue {
        queue,
        wait: check_wait(request.wait.map_or(Duration::ZERO, |span| span.0))?,
        ack_timeout: ack_timeout(request.ack_timeout)?,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Delivered(item) => {
            Ok(Json(delivered(&api, &caller.namespace, &item)).into_response())
        }
        QueueAnswer::Empty => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Err(unexpected_answer()),
    }
}

/// An item as told to its consumer: the only place where its receipt is written.
fn delivered(api: &Api, namespace: &Namespace, told: &Delivered) -> ItemJson {
    let receipt = told
        .delivery
        .map(|delivery| api.receipts().mint(namespace, &told.queue, delivery));
    ItemJson::delivered(&told.item, receipt)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsumeRequest {
    window: Option<Count>,
    ack_timeout: Option<Span>,
}

/// Takes items as they come: `item` for each; `error` ends it. The other calls acknowledge them.
pub(super) async fn consume(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<ConsumeRequest>,
) -> Result<Response, HttpError> {
    let window = check_window(request.window.map_or(0, |count| count.0))?;
    let ack_timeout = ack_timeout(request.ack_timeout)?.unwrap_or(ACK_TIMEOUT_DEFAULT);
    let namespace = caller.namespace;
    let items = api
        .shard(&namespace)
        .consume(&namespace, queue, window, ack_timeout);
    Ok(stream(unfold(Some(items), move |items| {
        let (api, namespace) = (api.clone(), namespace.clone());
        async move {
            let mut items = items?;
            Some(match items.next().await? {
                WatchNews::Item(item) => {
                    let item = delivered(&api, &namespace, &item);
                    (event("item", &item), Some(items))
                }
                WatchNews::Failed(failure) => (error_event(&failure.into()), None),
                _ => (error_event(&unexpected_answer()), None),
            })
        }
    })))
}

fn ack_timeout(span: Option<Span>) -> Result<Option<Duration>, HttpError> {
    Ok(span.map(|span| check_ack_timeout(span.0)).transpose()?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleRequest {
    receipt: Option<String>,
    request_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct AcknowledgeResponse {
    acknowledged: bool,
}

pub(super) async fn acknowledge(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<SettleRequest>,
) -> Replied<AcknowledgeResponse> {
    let command = QueueCommand::Acknowledge {
        delivery: delivery(&api, &caller, &queue, request.receipt)?,
        queue,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Acknowledged => Ok(Json(AcknowledgeResponse { acknowledged: true })),
        _ => Err(unexpected_answer()),
    }
}

/// Which delivery a receipt is of.
fn delivery(
    api: &Api,
    caller: &Identity,
    queue: &QueueName,
    receipt: Option<String>,
) -> Result<Delivery, HttpError> {
    let receipt = required("receipt", receipt)?;
    Ok(api.delivery(&caller.namespace, queue, &receipt)?)
}

#[derive(Serialize)]
pub(super) struct ReturnResponse {
    returned: bool,
}

pub(super) async fn give_back(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<SettleRequest>,
) -> Replied<ReturnResponse> {
    let command = QueueCommand::Return {
        delivery: delivery(&api, &caller, &queue, request.receipt)?,
        queue,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Returned => Ok(Json(ReturnResponse { returned: true })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendRequest {
    receipt: Option<String>,
    ack_timeout: Option<Span>,
}

#[derive(Serialize)]
pub(super) struct ExtendResponse {
    ack_in: f64,
}

pub(super) async fn extend(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<ExtendRequest>,
) -> Replied<ExtendResponse> {
    let command = QueueCommand::Extend {
        delivery: delivery(&api, &caller, &queue, request.receipt)?,
        queue,
        ack_timeout: ack_timeout(request.ack_timeout)?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Extended(left) => Ok(Json(ExtendResponse {
            ack_in: seconds(left),
        })),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeekRequest {
    part: Option<PartWord>,
    page_size: Option<Count>,
    page_token: Option<String>,
}

#[derive(Serialize)]
pub(super) struct PeekResponse {
    items: Vec<ItemJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn peek(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<PeekRequest>,
) -> Replied<PeekResponse> {
    let page = PageRequest {
        prefix: None,
        page_size: request.page_size,
        page_token: request.page_token,
    };
    let command = QueueCommand::Peek {
        queue,
        part: request.part.map_or(Part::Ready, |part| part.0),
        after: page.after_number()?,
        limit: page.limit()?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Items { items, more } => {
            let (items, next_page_token) =
                page_of(&items, more, |item| after_number_token(item.id));
            Ok(Json(PeekResponse {
                items,
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}
