//! Queues: list, read, configure, delete, purge, redrive.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::page::{PageRequest, page_of};
use super::{Replied, ask, required};
use crate::api::http::extract::{Caller, Fields, QueuePath};
use crate::api::http::fields::{Deliveries, PartWord};
use crate::api::http::queue::QueueJson;
use crate::api::http::{HttpError, unexpected_answer};
use crate::api::page::after_name_token;
use crate::api::{Api, request_id};
use crate::core::{
    Answer, Command, Namespace, Part, QueueAnswer, QueueCommand, QueueName, QueueSettings,
    QueueView, check_deliveries_max,
};

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

#[derive(Serialize)]
pub(super) struct ListResponse {
    queues: Vec<QueueJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Caller(caller): Caller,
    Fields(page): Fields<PageRequest>,
) -> Replied<ListResponse> {
    caller.require_admin()?;
    let command = QueueCommand::List {
        limit: page.limit()?,
        after: page.after_name(QueueName::new)?,
        prefix: page.prefix.unwrap_or_default(),
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

pub(super) async fn get(
    State(api): State<Api>,
    Caller(caller): Caller,
    QueuePath(queue): QueuePath,
) -> Replied<QueueJson> {
    let view = view(&api, &caller.namespace, QueueCommand::Get { queue }).await?;
    Ok(Json(QueueJson::from(&view)))
}

/// How many items there are, by where they are.
#[derive(Serialize)]
pub(super) struct LengthResponse {
    length: usize,
    delivered_count: usize,
    dead_count: usize,
}

pub(super) async fn length(
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigureRequest {
    deliveries_max: Option<Deliveries>,
    request_id: Option<String>,
}

pub(super) async fn configure(
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRequest {
    request_id: Option<String>,
}

/// What went; with `more`, ask again, under a new request id.
#[derive(Serialize)]
pub(super) struct PurgeResponse {
    purged: usize,
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

pub(super) async fn delete(
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeRequest {
    part: Option<PartWord>,
    request_id: Option<String>,
}

pub(super) async fn purge(
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
#[derive(Serialize)]
pub(super) struct RedriveResponse {
    redriven: usize,
    more: bool,
}

pub(super) async fn redrive(
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
