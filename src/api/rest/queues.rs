//! Queues: list, read, configure, delete, purge, redrive.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::{Delete, Get, Post, Put};

use super::page::{PageRequest, page_of};
use super::{Replied, ask, required};
use crate::api::http::extract::{Caller, Fields, QueuePath};
use crate::api::http::fields::{Deliveries, PartWord};
use crate::api::http::paths::rest as paths;
use crate::api::http::queue::QueueJson;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::openapi::{Operation, PageTokenText, QueueNameText, RequestIdText, Routes};
use crate::api::page::after_name_token;
use crate::api::{Api, request_id};
use crate::core::limits::QUEUE_NAME_BYTES_MAX;
use crate::core::{
    Answer, Command, Namespace, Part, QueueAnswer, QueueCommand, QueueName, QueueSettings,
    QueueView, check_deliveries_max,
};

/// The group of the operations of queues and their items.
pub(super) const TAG: &str = "queues";

pub(super) fn routes() -> Routes<Api> {
    Routes::new()
        .on(
            Get,
            paths::QUEUES,
            list,
            Operation::new(
                TAG,
                "listQueues",
                "Lists queues",
                "In the order of their names. For the role `admin`.",
            )
            .query::<PageRequest>()
            .answers::<ListResponse>("A page of queues."),
        )
        .on(
            Get,
            paths::QUEUE,
            get,
            of_queue(
                "getQueue",
                "Reads a queue",
                "One that nobody has named is empty.",
            )
            .answers::<QueueJson>("The queue as it stands."),
        )
        .on(
            Get,
            paths::LENGTH,
            length,
            of_queue(
                "getQueueLength",
                "Tells how many items wait",
                "And where the others are.",
            )
            .answers::<LengthResponse>("How many items there are."),
        )
        .merge(change_routes())
}

fn change_routes() -> Routes<Api> {
    Routes::new()
        .on(
            Put,
            paths::QUEUE,
            configure,
            of_queue(
                "configureQueue",
                "Configures a queue",
                "It stays from then on, empty or not.",
            )
            .body::<ConfigureRequest>()
            .answers::<QueueJson>("The queue.")
            .grows(),
        )
        .on(
            Delete,
            paths::QUEUE,
            delete,
            of_queue(
                "deleteQueue",
                "Deletes a queue",
                "Its configuration and all its items: at most 10,000 at once, so ask again while \
                 `more` is set. For the role `admin`.",
            )
            .query::<ChangeRequest>()
            .answers::<PurgeResponse>("How many items were removed."),
        )
        .on(
            Post,
            paths::PURGE,
            purge,
            of_queue(
                "purgeQueue",
                "Removes items",
                "Those that wait, or the dead letters: at most 10,000 at once, so ask again while \
                 `more` is set. For the role `admin`.",
            )
            .body::<PurgeRequest>()
            .answers::<PurgeResponse>("How many items were removed."),
        )
        .on(
            Post,
            paths::REDRIVE,
            redrive,
            of_queue(
                "redriveQueue",
                "Puts dead letters back in line",
                "Their deliveries are counted anew: at most 10,000 at once, so ask again while \
                 `more` is set. For the role `admin`.",
            )
            .body::<ChangeRequest>()
            .answers::<RedriveResponse>("How many are back in line."),
        )
}

pub(super) fn of_queue(id: &str, summary: &'static str, description: &'static str) -> Operation {
    Operation::new(TAG, id, summary, description).in_path::<QueueNameText>("queue")
}

/// Asks something of queues.
pub(super) async fn ask_queue(
    api: &Api,
    namespace: &Namespace,
    command: QueueCommand,
) -> Result<QueueAnswer, HttpError> {
    match ask(api, namespace, Command::Queue(command)).await? {
        Answer::Queue(answer) => Ok(answer),
        _ => Err(unexpected_answer()),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ListQueuesResponse)]
pub(super) struct ListResponse {
    queues: Vec<QueueJson>,
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
    caller.require_admin()?;
    let command = QueueCommand::List {
        limit: page.limit()?,
        after: page.after_name(QueueName::new)?,
        prefix: page.prefix(QUEUE_NAME_BYTES_MAX)?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Queues { queues, more } => {
            let (queues, next_page_token) =
                page_of(&queues, more, |queue| after_name_token(queue.name.as_str()));
            Ok(Json(ListResponse {
                queues,
                next_page_token,
            }))
        }
        _ => Err(unexpected_answer()),
    }
}

async fn view(
    api: &Api,
    namespace: &Namespace,
    command: QueueCommand,
) -> Result<QueueView, HttpError> {
    match ask_queue(api, namespace, command).await? {
        QueueAnswer::Queue(view) => Ok(view),
        _ => Err(unexpected_answer()),
    }
}

async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
) -> Replied<QueueJson> {
    let view = view(&api, &caller.namespace, QueueCommand::Get { queue }).await?;
    Ok(Json(QueueJson::from(&view)))
}

/// How many items there are, by where they are.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueLengthResponse)]
pub(super) struct LengthResponse {
    /// How many wait.
    length: usize,
    delivered_count: usize,
    dead_count: usize,
}

async fn length(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
) -> Replied<LengthResponse> {
    let view = view(&api, &caller.namespace, QueueCommand::Get { queue }).await?;
    Ok(Json(LengthResponse {
        length: view.ready_count,
        delivered_count: view.delivered_count,
        dead_count: view.dead_count,
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConfigureQueueRequest)]
pub(super) struct ConfigureRequest {
    /// After so many deliveries without an acknowledgement an item goes to the dead letters.
    #[schema(required = true)]
    deliveries_max: Option<Deliveries>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

async fn configure(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<ConfigureRequest>,
) -> Replied<QueueJson> {
    let Deliveries(deliveries) = required("deliveries_max", request.deliveries_max)?;
    let settings = QueueSettings {
        deliveries_max: check_deliveries_max(deliveries.unwrap_or(0))?,
    };
    let command = QueueCommand::Configure {
        queue,
        settings,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    let view = view(&api, &caller.namespace, command).await?;
    Ok(Json(QueueJson::from(&view)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeQueueRequest)]
pub(super) struct ChangeRequest {
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

/// What went; with `more`, ask again, under a new request id.
#[derive(Serialize, ToSchema)]
#[schema(as = PurgeQueueResponse)]
pub(super) struct PurgeResponse {
    purged: usize,
    /// Whether there are more.
    more: bool,
}

async fn removed(
    api: &Api,
    namespace: &Namespace,
    command: QueueCommand,
) -> Replied<PurgeResponse> {
    match ask_queue(api, namespace, command).await? {
        QueueAnswer::Purged { count, more } => Ok(Json(PurgeResponse {
            purged: count,
            more,
        })),
        _ => Err(unexpected_answer()),
    }
}

async fn delete(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<ChangeRequest>,
) -> Replied<PurgeResponse> {
    caller.require_admin()?;
    let command = QueueCommand::Delete {
        queue,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    removed(&api, &caller.namespace, command).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PurgeQueueRequest)]
pub(super) struct PurgeRequest {
    /// `ready` or `dead`; unless given: `ready`.
    part: Option<PartWord>,
    /// Makes a retry safe.
    #[schema(value_type = RequestIdText)]
    request_id: Option<String>,
}

async fn purge(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<PurgeRequest>,
) -> Replied<PurgeResponse> {
    caller.require_admin()?;
    let command = QueueCommand::Purge {
        queue,
        part: request.part.map_or(Part::Ready, |part| part.0),
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    removed(&api, &caller.namespace, command).await
}

/// What is back in line; with `more`, ask again, under a new request id.
#[derive(Serialize, ToSchema)]
#[schema(as = RedriveQueueResponse)]
pub(super) struct RedriveResponse {
    redriven: usize,
    /// Whether there are more.
    more: bool,
}

async fn redrive(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
    Fields(request): Fields<ChangeRequest>,
) -> Replied<RedriveResponse> {
    caller.require_admin()?;
    let command = QueueCommand::Redrive {
        queue,
        request_id: request_id(&request.request_id.unwrap_or_default())?,
    };
    match ask_queue(&api, &caller.namespace, command).await? {
        QueueAnswer::Redriven { count, more } => Ok(Json(RedriveResponse {
            redriven: count,
            more,
        })),
        _ => Err(unexpected_answer()),
    }
}
