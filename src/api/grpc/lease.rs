//! LeaseService.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Request, Response, Status, Streaming};

use super::deadline::UntilDeadline;
use super::{Caller, MESSAGE_BYTES_MAX, STREAM_BATCH_MAX, convert, error};
use crate::api::{Api, ApiError, lease_id, request_id};
use crate::core::{Answer, Command, Namespace};
use crate::proto::v1::{
    CreateLeaseRequest, CreateLeaseResponse, GetLeaseRequest, GetLeaseResponse, KeepAliveRequest,
    KeepAliveResponse, ListLeasesRequest, ListLeasesResponse, RenewLeaseRequest,
    RenewLeaseResponse, RevokeLeaseRequest, RevokeLeaseResponse, keep_alive_response,
    lease_service_server,
};
use crate::shard::{Call, Failure, Outcome, Progress};

/// LeaseService over an [`Api`].
pub struct Leases(pub(super) Api);

#[tonic::async_trait]
impl lease_service_server::LeaseService for Leases {
    type KeepAliveStream = UntilDeadline<Renewals>;

    async fn create_lease(
        &self,
        request: Request<CreateLeaseRequest>,
    ) -> Result<Response<CreateLeaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = convert::create_lease(request.into_inner(), self.0.ttl_default())?;
        match caller.ask(&self.0, command).await? {
            Answer::Lease(view) => Ok(Response::new(CreateLeaseResponse {
                lease: Some(convert::lease(view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::RenewLease {
            id: lease_id(&request.get_ref().lease_id)?,
        };
        match caller.ask(&self.0, command).await? {
            Answer::Renewed { expires_in } => Ok(Response::new(RenewLeaseResponse {
                expires_in: expires_in.map(convert::proto_duration),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        let caller = Caller::of(&request)?;
        let renewals = Renewals {
            api: self.0.clone(),
            stopping: Box::pin(self.0.stopping()),
            namespace: caller.identity.namespace,
            inbound: Some(request.into_inner()),
            asked: VecDeque::new(),
            broken: None,
        };
        Ok(Response::new(caller.deadline.bound_stream(renewals)))
    }

    async fn revoke_lease(
        &self,
        request: Request<RevokeLeaseRequest>,
    ) -> Result<Response<RevokeLeaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::RevokeLease {
            id: lease_id(&request.get_ref().lease_id)?,
            request_id: request_id(&request.get_ref().request_id)?,
        };
        match caller.ask(&self.0, command).await? {
            Answer::Revoked(ended) => Ok(Response::new(RevokeLeaseResponse {
                released_count: convert::count(ended),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<GetLeaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::GetLease {
            id: lease_id(&request.get_ref().lease_id)?,
        };
        match caller.ask(&self.0, command).await? {
            Answer::Lease(view) => Ok(Response::new(GetLeaseResponse {
                lease: Some(convert::lease(view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let command = convert::list_leases(request.get_ref())?;
        match caller.ask(&self.0, command).await? {
            Answer::Leases { leases, more } => {
                Ok(Response::new(convert::leases_page(leases, more)))
            }
            _ => Err(error::misfit().into()),
        }
    }
}

/// The answers of KeepAlive, in the order of the questions. It reads on while up to
/// [`STREAM_BATCH_MAX`] of them are open, so that a commit under way holds up no reading.
pub struct Renewals {
    api: Api,
    /// Ends a silent stream when the server stops.
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    namespace: Namespace,
    /// `None`: the caller asks no more.
    inbound: Option<Streaming<KeepAliveRequest>>,
    asked: VecDeque<Asked>,
    /// What broke the stream, told after the answers to what came before.
    broken: Option<Status>,
}

struct Asked {
    /// The lease's id, as asked.
    lease_id: String,
    call: Result<Call, ApiError>,
}

impl Renewals {
    /// Asks for what the caller has sent.
    fn read(&mut self, cx: &mut Context<'_>) {
        while self.asked.len() < STREAM_BATCH_MAX
            && let Some(inbound) = &mut self.inbound
        {
            match Pin::new(inbound).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Err(status))) => {
                    self.broken = Some(error::unreadable_stream(status, MESSAGE_BYTES_MAX));
                    self.inbound = None;
                }
                Poll::Ready(Some(Ok(KeepAliveRequest { lease_id }))) => {
                    let call = self.renew(&lease_id);
                    self.asked.push_back(Asked { lease_id, call });
                }
            }
        }
    }

    fn renew(&self, text: &str) -> Result<Call, ApiError> {
        let command = Command::RenewLease {
            id: lease_id(text)?,
        };
        let shard = self.api.shard(&self.namespace);
        Ok(shard.call(&self.namespace, command))
    }
}

impl Stream for Renewals {
    type Item = Result<KeepAliveResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Only when all is answered: so many questions share one look at the connection.
        if this.asked.is_empty() {
            this.read(cx);
        }
        let Some(asked) = this.asked.front_mut() else {
            return match this.broken.take() {
                Some(status) => Poll::Ready(Some(Err(status))),
                None if this.inbound.is_none() => Poll::Ready(None),
                None => this.stopping.as_mut().poll(cx).map(|()| {
                    this.inbound = None;
                    Some(Err(Failure::Stopping.into()))
                }),
            };
        };
        let result = match &mut asked.call {
            Err(error) => keep_alive_response::Result::Error(error.clone().into()),
            Ok(call) => loop {
                match call.poll_progress(cx) {
                    Poll::Ready(Progress::Done(outcome)) => break renewed(outcome),
                    Poll::Ready(Progress::Queued(_)) => {}
                    Poll::Pending => {
                        this.read(cx);
                        return Poll::Pending;
                    }
                }
            },
        };
        let lease_id = std::mem::take(&mut asked.lease_id);
        this.asked.pop_front();
        Poll::Ready(Some(Ok(KeepAliveResponse {
            lease_id,
            result: Some(result),
        })))
    }
}

fn renewed(outcome: Outcome) -> keep_alive_response::Result {
    match outcome {
        Ok(Answer::Renewed {
            expires_in: Some(expires_in),
        }) => keep_alive_response::Result::ExpiresIn(convert::proto_duration(expires_in)),
        Ok(_) => keep_alive_response::Result::Error(error::misfit().into()),
        Err(failure) => keep_alive_response::Result::Error(ApiError::from(failure).into()),
    }
}
