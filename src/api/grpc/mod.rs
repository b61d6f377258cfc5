//! The gRPC surface: one file per service, and what they share.
//!
//! Each method checks its request into a command, asks the shard, and shapes the answer. A stream
//! of answers owns its call, watch or session, so that dropping it is all that a hang-up needs.

pub mod codec;
mod convert;
mod deadline;
mod error;
mod fifo;
mod lease;
mod lock;
mod queue;
mod session;
mod value;
mod webhook;

use futures_util::FutureExt as _;
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_web::GrpcWebLayer;
use tower::Service as _;
use tower::util::MapResponseLayer;

use self::deadline::Deadline;
use self::fifo::Fifos;
use self::lease::Leases;
use self::lock::Locks;
use self::queue::Queues;
use self::session::Sessions;
use self::value::Values;
use self::webhook::Webhooks;
use super::{Api, ApiError, Identity, Reason};
use crate::core::{Answer, Command, Namespace};
use crate::proto::DESCRIPTORS;
use crate::proto::v1::fifo_service_server::{self, FifoServiceServer};
use crate::proto::v1::lease_service_server::{self, LeaseServiceServer};
use crate::proto::v1::lock_service_server::{self, LockServiceServer};
use crate::proto::v1::queue_service_server::{self, QueueServiceServer};
use crate::proto::v1::session_service_server::{self, SessionServiceServer};
use crate::proto::v1::value_service_server::{self, ValueServiceServer};
use crate::proto::v1::webhook_service_server::{self, WebhookServiceServer};

pub use error::ERROR_DOMAIN;

/// The largest message that is read, in bytes. The largest request of all, a put of a
/// value, has less than 72 KiB.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest message of a session that is read, in bytes. Many short messages in one take up to a
/// hundred times their size in memory.
pub const SESSION_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// The most messages of a session in one, and the most answers.
pub const SESSION_BATCH_MAX: usize = 1_024;
/// About the most bytes of a session's answers in one message.
pub const SESSION_ANSWERS_BYTES_MAX: usize = 64 * 1024;
/// About the most bytes of one page of a listing: clients read up to 4 MiB unless told otherwise.
pub const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;
/// The most messages of a session, of KeepAlive or of a queue's stream that are read before their answers are looked at.
pub const STREAM_BATCH_MAX: usize = 256;
/// The most calls of one stream, those that wait in lines not counted, that are without an answer
/// before no more are read.
pub const STREAM_UNANSWERED_MAX: usize = 4_096;

/// The services whose health is told; the empty name stands for the whole server.
const SERVICES: [&str; 8] = [
    "",
    lock_service_server::SERVICE_NAME,
    lease_service_server::SERVICE_NAME,
    session_service_server::SERVICE_NAME,
    value_service_server::SERVICE_NAME,
    fifo_service_server::SERVICE_NAME,
    queue_service_server::SERVICE_NAME,
    webhook_service_server::SERVICE_NAME,
];

/// What `grpc.health.v1.Health` tells. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Default for Health {
    fn default() -> Health {
        Health::new()
    }
}

impl Health {
    /// Every service serves.
    pub fn new() -> Health {
        let health = Health(HealthReporter::new());
        // Nobody else has the reporter yet, so there is nothing to wait for.
        let set = health.set_serving(true).now_or_never();
        debug_assert!(set.is_some());
        health
    }

    /// Tells, and tells whoever watches, whether every service serves.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// The services of the schema. All of them want an [`Identity`] in the request's extensions.
#[derive(Clone)]
pub struct Services {
    locks: LockServiceServer<Locks>,
    leases: LeaseServiceServer<Leases>,
    sessions: SessionServiceServer<Sessions>,
    values: ValueServiceServer<Values>,
    fifos: FifoServiceServer<Fifos>,
    queues: QueueServiceServer<Queues>,
    webhooks: WebhookServiceServer<Webhooks>,
}

impl Services {
    /// Over this.
    pub fn new(api: &Api) -> Services {
        let locks = LockServiceServer::new(Locks(api.clone()));
        let leases = LeaseServiceServer::new(Leases(api.clone()));
        let sessions = SessionServiceServer::new(Sessions(api.clone()));
        let values = ValueServiceServer::new(Values(api.clone()));
        let fifos = FifoServiceServer::new(Fifos(api.clone()));
        let queues = QueueServiceServer::new(Queues(api.clone()));
        let webhooks = WebhookServiceServer::new(Webhooks(api.clone()));
        Services {
            locks: locks.max_decoding_message_size(MESSAGE_BYTES_MAX),
            leases: leases.max_decoding_message_size(MESSAGE_BYTES_MAX),
            sessions: sessions.max_decoding_message_size(SESSION_MESSAGE_BYTES_MAX),
            values: values.max_decoding_message_size(MESSAGE_BYTES_MAX),
            fifos: fifos.max_decoding_message_size(MESSAGE_BYTES_MAX),
            queues: queues.max_decoding_message_size(MESSAGE_BYTES_MAX),
            webhooks: webhooks.max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Answers a request that is gRPC itself without a way through the router, which would cost a
    /// tenth of a short call. Returns the request where it is for none of these services.
    pub async fn answer<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<tonic::body::Body>, http::Request<B>>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let service = request
            .uri()
            .path()
            .get(1..)
            .and_then(|path| path.split_once('/'));
        let answered = match service {
            Some((lock_service_server::SERVICE_NAME, _)) => self.locks.clone().call(request).await,
            Some((lease_service_server::SERVICE_NAME, _)) => {
                self.leases.clone().call(request).await
            }
            Some((session_service_server::SERVICE_NAME, _)) => {
                self.sessions.clone().call(request).await
            }
            Some((value_service_server::SERVICE_NAME, _)) => {
                self.values.clone().call(request).await
            }
            Some((fifo_service_server::SERVICE_NAME, _)) => self.fifos.clone().call(request).await,
            Some((queue_service_server::SERVICE_NAME, _)) => {
                self.queues.clone().call(request).await
            }
            Some((webhook_service_server::SERVICE_NAME, _)) => {
                self.webhooks.clone().call(request).await
            }
            _ => return Err(request),
        };
        match answered {
            Ok(response) => Ok(error::explain(response)),
            Err(never) => match never {},
        }
    }
}

/// The routes of every gRPC service, for gRPC and grpc-web. They have no fallback.
///
/// All but health and reflection want an [`Identity`] in the request's extensions.
///
/// Fails when the schema in the binary can't be read, which a test rules out.
pub fn routes(
    services: Services,
    health: &Health,
) -> Result<axum::Router, tonic_reflection::server::Error> {
    let health_service = HealthService::from_health_reporter(health.0.clone());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(services.locks)
        .add_service(services.leases)
        .add_service(services.sessions)
        .add_service(services.values)
        .add_service(services.fifos)
        .add_service(services.queues)
        .add_service(services.webhooks)
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            health_service,
        ))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes
        .into_axum_router()
        .reset_fallback()
        .layer(MapResponseLayer::new(error::explain))
        .layer(GrpcWebLayer::new()))
}

/// Who calls, and until when it waits.
struct Caller {
    identity: Identity,
    deadline: Deadline,
}

impl Caller {
    fn of<T>(request: &Request<T>) -> Result<Caller, ApiError> {
        let identity = request
            .extensions()
            .get::<Identity>()
            .ok_or_else(|| ApiError::new(Reason::Unauthenticated, "an API token is needed"))?;
        Ok(Caller {
            identity: identity.clone(),
            deadline: Deadline::of(request.metadata())?,
        })
    }

    fn namespace(&self) -> &Namespace {
        &self.identity.namespace
    }

    /// Asks for something that has one answer. Dropping the future cancels the call.
    async fn ask(&self, api: &Api, command: Command) -> Result<Answer, Status> {
        let namespace = self.namespace();
        let call = api.shard(namespace).call(namespace, command);
        let outcome = self.deadline.bound(call.outcome()).await?;
        Ok(outcome.map_err(ApiError::from)?)
    }
}
