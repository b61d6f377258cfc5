//! QueueService.

mod consume;
mod produce;

use tonic::{Request, Response, Status, Streaming};

use self::consume::Consumed;
use self::produce::Produced;
use super::deadline::UntilDeadline;
use super::{Caller, convert, error};
use crate::api::page::{after_name, after_name_token, after_number, after_number_token, prefix};
use crate::api::{Api, request_id};
use crate::core::limits::QUEUE_NAME_BYTES_MAX;
use crate::core::{
    Answer, Command, Delivered, Invalid, ItemView, Namespace, Part, QueueAnswer, QueueCommand,
    QueueName, QueueSettings, QueueView, ValueBytes, check_deliveries_max, check_page_size,
};
use crate::proto::v1::{
    self, AcknowledgeRequest, AcknowledgeResponse, ConfigureQueueRequest, ConfigureQueueResponse,
    ConsumeRequest, DeleteQueueRequest, DeleteQueueResponse, DequeueRequest, DequeueResponse,
    EnqueueRequest, EnqueueResponse, ExtendRequest, ExtendResponse, GetQueueRequest,
    GetQueueResponse, ListQueuesRequest, ListQueuesResponse, PeekRequest, PeekResponse,
    ProduceRequest, PurgeRequest, PurgeResponse, RedriveRequest, RedriveResponse, ReturnRequest,
    ReturnResponse, queue_service_server,
};

/// QueueService over an [`Api`].
pub struct Queues(pub(super) Api);

impl Queues {
    async fn ask(&self, caller: &Caller, command: QueueCommand) -> Result<QueueAnswer, Status> {
        match caller.ask(&self.0, Command::Queue(command)).await? {
            Answer::Queue(answer) => Ok(answer),
            _ => Err(error::misfit().into()),
        }
    }
}

#[tonic::async_trait]
impl queue_service_server::QueueService for Queues {
    type ProduceStream = UntilDeadline<Produced>;
    type ConsumeStream = UntilDeadline<Consumed>;

    async fn configure_queue(
        &self,
        request: Request<ConfigureQueueRequest>,
    ) -> Result<Response<ConfigureQueueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let command = QueueCommand::Configure {
            queue: QueueName::new(&request.queue)?,
            settings: QueueSettings {
                deliveries_max: check_deliveries_max(request.deliveries_max)?,
            },
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Queue(view) => Ok(Response::new(ConfigureQueueResponse {
                queue: Some(queue(&view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn get_queue(
        &self,
        request: Request<GetQueueRequest>,
    ) -> Result<Response<GetQueueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = QueueCommand::Get {
            queue: QueueName::new(&request.get_ref().queue)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Queue(view) => Ok(Response::new(GetQueueResponse {
                queue: Some(queue(&view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let request = request.into_inner();
        let command = QueueCommand::List {
            prefix: prefix(request.prefix, QUEUE_NAME_BYTES_MAX)?,
            after: after_name(&request.page_token, QueueName::new)?,
            limit: check_page_size(request.page_size)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Queues { queues, more } => {
                let queues = queues.iter().map(queue).collect();
                let (queues, next_page_token) = convert::page(queues, more, |last: &v1::Queue| {
                    after_name_token(&last.name)
                });
                Ok(Response::new(ListQueuesResponse {
                    queues,
                    next_page_token,
                }))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn delete_queue(
        &self,
        request: Request<DeleteQueueRequest>,
    ) -> Result<Response<DeleteQueueResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let request = request.get_ref();
        let command = QueueCommand::Delete {
            queue: QueueName::new(&request.queue)?,
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Purged { count, more } => Ok(Response::new(DeleteQueueResponse {
                count: convert::count(count),
                more,
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn enqueue(
        &self,
        request: Request<EnqueueRequest>,
    ) -> Result<Response<EnqueueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = enqueue(request.into_inner())?;
        match self.ask(&caller, command).await? {
            QueueAnswer::Enqueued(id) => Ok(Response::new(EnqueueResponse { id })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn dequeue(
        &self,
        request: Request<DequeueRequest>,
    ) -> Result<Response<DequeueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = QueueCommand::Dequeue {
            queue: QueueName::new(&request.queue)?,
            wait: convert::wait(request.wait)?,
            ack_timeout: convert::ack_timeout(request.ack_timeout)?,
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Delivered(told) => Ok(Response::new(DequeueResponse {
                item: Some(delivered(&self.0, caller.namespace(), &told)),
            })),
            QueueAnswer::Empty => Ok(Response::new(DequeueResponse { item: None })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn produce(
        &self,
        request: Request<Streaming<ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let caller = Caller::of(&request)?;
        let produced = Produced::new(&self.0, caller.namespace(), request.into_inner());
        Ok(Response::new(caller.deadline.bound_stream(produced)))
    }

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let caller = Caller::of(&request)?;
        let consumed = Consumed::new(&self.0, caller.namespace(), request.into_inner());
        Ok(Response::new(caller.deadline.bound_stream(consumed)))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let queue = QueueName::new(&request.queue)?;
        let request_id = request_id(&request.request_id)?;
        let delivery = self
            .0
            .delivery(caller.namespace(), &queue, &request.receipt)?;
        let command = QueueCommand::Acknowledge {
            queue,
            delivery,
            request_id,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Acknowledged => Ok(Response::new(AcknowledgeResponse {})),
            _ => Err(error::misfit().into()),
        }
    }

    async fn r#return(
        &self,
        request: Request<ReturnRequest>,
    ) -> Result<Response<ReturnResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let queue = QueueName::new(&request.queue)?;
        let request_id = request_id(&request.request_id)?;
        let delivery = self
            .0
            .delivery(caller.namespace(), &queue, &request.receipt)?;
        let command = QueueCommand::Return {
            queue,
            delivery,
            request_id,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Returned => Ok(Response::new(ReturnResponse {})),
            _ => Err(error::misfit().into()),
        }
    }

    async fn extend(
        &self,
        request: Request<ExtendRequest>,
    ) -> Result<Response<ExtendResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let queue = QueueName::new(&request.queue)?;
        let ack_timeout = convert::ack_timeout(request.ack_timeout)?;
        let delivery = self
            .0
            .delivery(caller.namespace(), &queue, &request.receipt)?;
        let command = QueueCommand::Extend {
            queue,
            delivery,
            ack_timeout,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Extended(left) => Ok(Response::new(ExtendResponse {
                ack_in: Some(convert::proto_duration(left)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn peek(&self, request: Request<PeekRequest>) -> Result<Response<PeekResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let command = QueueCommand::Peek {
            queue: QueueName::new(&request.queue)?,
            part: part(request.part)?,
            after: after_number(&request.page_token)?,
            limit: check_page_size(request.page_size)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Items { items, more } => {
                let items = items.iter().map(item).collect();
                let (items, next_page_token) =
                    convert::page(items, more, |last: &v1::Item| after_number_token(last.id));
                Ok(Response::new(PeekResponse {
                    items,
                    next_page_token,
                }))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn purge(
        &self,
        request: Request<PurgeRequest>,
    ) -> Result<Response<PurgeResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let request = request.get_ref();
        let command = QueueCommand::Purge {
            queue: QueueName::new(&request.queue)?,
            part: part(request.part)?,
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Purged { count, more } => Ok(Response::new(PurgeResponse {
                count: convert::count(count),
                more,
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn redrive(
        &self,
        request: Request<RedriveRequest>,
    ) -> Result<Response<RedriveResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let request = request.get_ref();
        let command = QueueCommand::Redrive {
            queue: QueueName::new(&request.queue)?,
            request_id: request_id(&request.request_id)?,
        };
        match self.ask(&caller, command).await? {
            QueueAnswer::Redriven { count, more } => Ok(Response::new(RedriveResponse {
                count: convert::count(count),
                more,
            })),
            _ => Err(error::misfit().into()),
        }
    }
}

fn enqueue(request: EnqueueRequest) -> Result<QueueCommand, Invalid> {
    Ok(QueueCommand::Enqueue {
        queue: QueueName::new(&request.queue)?,
        bytes: ValueBytes::new(request.value)?,
        ttl: convert::ttl(request.ttl)?,
        request_id: request_id(&request.request_id)?,
    })
}

fn part(part: i32) -> Result<Part, Invalid> {
    match v1::Part::try_from(part) {
        Ok(v1::Part::Unspecified | v1::Part::Ready) => Ok(Part::Ready),
        Ok(v1::Part::Delivered) => Ok(Part::Delivered),
        Ok(v1::Part::Dead) => Ok(Part::Dead),
        Err(_) => {
            let expected =
                format!("must be PART_READY (1), PART_DELIVERED (2) or PART_DEAD (3), is {part}");
            Err(Invalid::new("part", expected))
        }
    }
}

fn queue(view: &QueueView) -> v1::Queue {
    v1::Queue {
        name: view.name.as_str().to_owned(),
        deliveries_max: view.settings.deliveries_max.unwrap_or(0),
        configured: view.configured,
        ready_count: view.ready_count as u64,
        delivered_count: view.delivered_count as u64,
        dead_count: view.dead_count as u64,
        bytes: view.bytes as u64,
        consumer_count: convert::count(view.consumer_count),
    }
}

fn item(view: &ItemView) -> v1::Item {
    v1::Item {
        id: view.id,
        value: view.bytes.bytes().to_vec(),
        deliveries: view.deliveries,
        enqueue_time: Some(convert::timestamp(view.enqueued_at)),
        expires_in: view.expires_in.map(convert::proto_duration),
        ack_in: view.ack_in.map(convert::proto_duration),
        receipt: String::new(),
    }
}

/// An item with the receipt of its delivery.
fn delivered(api: &Api, namespace: &Namespace, told: &Delivered) -> v1::Item {
    let receipt = told
        .delivery
        .map(|delivery| api.receipts().mint(namespace, &told.queue, delivery));
    v1::Item {
        receipt: receipt.unwrap_or_default(),
        ..item(&told.item)
    }
}
