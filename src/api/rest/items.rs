//! Items of queues: put in line, take, acknowledge, return, extend, peek.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Get, Post};

use super::events::{error_event, event, stream};
use super::page::{PageRequest, page_of};
use super::queues::{ask_queue, of_queue};
use super::{Replied, kept_for, required, value_bytes};
use crate::api::http::extract::{Caller, Fields, QueuePath};
use crate::api::http::fields::{Base64, Count, PartWord, Span, Ttl};
use crate::api::http::params::VALUE_BODY_BYTES_MAX;
use crate::api::http::paths::rest as paths;
use crate::api::http::queue::ItemJson;
use crate::api::http::view::seconds;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{
    ConsumeWindow, DecimalText, EventStream, Operation, PageSize, PageTokenText, ReceiptText,
    RequestIdText, Routes, SecondsNumber, ValueText,
};
use crate::api::page::after_number_token;
use crate::api::{Api, Identity, Reason, request_id};
use crate::core::limits::ACK_TIMEOUT_DEFAULT;
use crate::core::{
    Delivered, Delivery, Namespace, Part, QueueAnswer, QueueCommand, QueueName, check_ack_timeout,
    check_wait, check_window,
};
use crate::shard::WatchNews;

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::ITEMS,
            peek,
            of_queue("peekQueue", "Reads items", "Without taking them.")
                .query::<PeekRequest>()
                .answers::<PeekResponse>("A page of items; fewer where they are large."),
        )
        .on(
            Post,
            paths::ENQUEUE,
            enqueue,
            of_queue(
                "enqueue",
                "Puts an item in line",
                "At the end. The bytes come as `value` or as `value_base64`.",
            )
            .body::<EnqueueRequest>()
            .answers::<EnqueueResponse>("The item's id.")
            .grows(),
        )
        .on(
            Post,
            paths::DEQUEUE,
            dequeue,
            of_queue(
                "dequeue",
                "Takes an item",
                "The first one, or, with `wait`, the first that comes. With `ack_timeout` it has a \
                 receipt, and comes back unless it is acknowledged; without it the delivery is \
                 final. Hanging up leaves the line.",
            )
            .body::<DequeueRequest>()
            .answers::<ItemJson>("The item.")
            .answers_empty(StatusCode::NO_CONTENT, "There was none in time.")
            .grows()
            .refuses(&[Reason::DeliveryEnded, Reason::Cancelled]),
        )
        .on(
            Post,
            paths::CONSUME,
            consume,
            of_queue(
                "consume",
                "Takes items as they come",
                "`item` for each, with its receipt, at most a window of them without an \
                 acknowledgement; `error` ends it.",
            )
            .body::<ConsumeRequest>()
            .answers_with::<EventStream>(
                StatusCode::OK,
                "text/event-stream",
                "The items.",
            ),
        )
        .merge(settle_routes())
}

fn settle_routes() -> Routes<Api> {
    Routes::new()
        .on(
            Post,
            paths::ACK,
            acknowledge,
            of_item(
                "acknowledgeItem",
                "Says that an item has been dealt with",
                "It is gone.",
            )
            .body::<SettleRequest>()
            .answers::<AcknowledgeResponse>("It is gone."),
        )
        .on(
            Post,
            paths::RETURN,
            give_back,
            of_item(
                "returnItem",
                "Gives an item back",
                "It is delivered again at once, before those behind it, or goes to the dead letters \
                 where this was its last delivery.",
            )
            .body::<SettleRequest>()
            .answers::<ReturnResponse>("It is back."),
        )
        .on(
            Post,
            paths::EXTEND,
            extend,
            of_item(
                "extendItem",
                "Prolongs the time to acknowledge an item",
                "Starts it anew. It never brings the end nearer.",
            )
            .body::<ExtendRequest>()
            .answers::<ExtendResponse>("How long there is."),
        )
}

fn of_item(id: &str, summary: &'static str, description: &'static str) -> Operation {
    of_queue(id, summary, description).refuses(&[Reason::DeliveryEnded])
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnqueueRequest)]
pub(super) struct EnqueueRequest {
    /// Text. Either it or `value_base64` is wanted.
    #[schema(value_type = ValueText)]
    value: Option<String>,
    /// Any bytes, at most 65,536.
    value_base64: Option<Base64>,
    /// How long it may wait for a consumer, 100ms to 30d; unless given: for ever.
    ttl: Option<Ttl>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct EnqueueResponse {
    #[schema(value_type = DecimalText)]
    id: String,
}

async fn enqueue(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DequeueRequest {
    /// How long to wait for one: at most 24h, unless given not at all.
    wait: Option<Span>,
    /// How long the consumer has to acknowledge it, 100ms to 7d; unless given: the delivery is final.
    ack_timeout: Option<Span>,
    /// Makes a retry safe. Only with `ack_timeout`: a final delivery can't be told twice.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

async fn dequeue(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsumeRequest {
    /// How many items may be without an acknowledgement: 1 to 1,000; unless given, or 0: 100.
    #[schema(value_type = ConsumeWindow)]
    window: Option<Count>,
    /// How long the consumer has to acknowledge each: 100ms to 7d, unless given 60s.
    ack_timeout: Option<Span>,
}

/// Takes items as they come: `item` for each; `error` ends it. The other calls acknowledge them.
async fn consume(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SettleItemRequest)]
pub(super) struct SettleRequest {
    #[schema(value_type = ReceiptText, required = true)]
    receipt: Option<String>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AcknowledgeItemResponse)]
pub(super) struct AcknowledgeResponse {
    acknowledged: bool,
}

async fn acknowledge(
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

#[derive(Serialize, ToSchema)]
#[schema(as = ReturnItemResponse)]
pub(super) struct ReturnResponse {
    returned: bool,
}

async fn give_back(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExtendItemRequest)]
pub(super) struct ExtendRequest {
    #[schema(value_type = ReceiptText, required = true)]
    receipt: Option<String>,
    /// From now on, 100ms to 7d; unless given: as it was delivered.
    ack_timeout: Option<Span>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ExtendItemResponse)]
pub(super) struct ExtendResponse {
    /// The seconds left to acknowledge it.
    #[schema(value_type = SecondsNumber)]
    ack_in: f64,
}

async fn extend(
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PeekQueueRequest)]
pub(super) struct PeekRequest {
    /// Unless given: `ready`.
    part: Option<PartWord>,
    /// 1 to 1,000; unless given, or 0: 100.
    #[schema(value_type = PageSize)]
    page_size: Option<Count>,
    /// Where the last page ended.
    #[schema(value_type = PageTokenText)]
    page_token: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PeekQueueResponse)]
pub(super) struct PeekResponse {
    items: Vec<ItemJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Absent on the last page.
    #[schema(value_type = PageTokenText)]
    next_page_token: Option<String>,
}

async fn peek(
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
