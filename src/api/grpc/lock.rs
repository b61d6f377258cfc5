//! LockService.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::deadline::UntilDeadline;
use super::{Caller, convert, error, webhook};
use crate::api::{Api, ApiError, Reason};
use crate::core::{Answer, Command, Hold, LockName, Namespace, WebhookAnswer};
use crate::proto::v1::{
    AcquireLockRequest, AcquireLockResponse, CheckGrantRequest, CheckGrantResponse,
    ExplainLockRequest, ExplainLockResponse, ForceReleaseLockRequest, ForceReleaseLockResponse,
    GetLockRequest, GetLockResponse, ListLocksRequest, ListLocksResponse, ReleaseLockRequest,
    ReleaseLockResponse, RenewLockRequest, RenewLockResponse, ReserveLockRequest,
    ReserveLockResponse, SubscribeAndGrabRequest, SubscribeAndGrabResponse, WatchLockRequest,
    WatchLockResponse, lock_service_server, subscribe_and_grab_response, watch_lock_response,
};
use crate::shard::{Call, Progress, Watch, WatchNews};

/// LockService over an [`Api`].
pub struct Locks(pub(super) Api);

#[tonic::async_trait]
impl lock_service_server::LockService for Locks {
    type SubscribeAndGrabStream = UntilDeadline<Grab>;
    type WatchLockStream = UntilDeadline<Changes>;

    async fn reserve_lock(
        &self,
        request: Request<ReserveLockRequest>,
    ) -> Result<Response<ReserveLockResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = convert::reserve(request.get_ref())?;
        match caller.ask(&self.0, command).await? {
            Answer::Reserved(lock) => Ok(Response::new(ReserveLockResponse {
                lock: lock.as_str().to_owned(),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn acquire_lock(
        &self,
        request: Request<AcquireLockRequest>,
    ) -> Result<Response<AcquireLockResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut request = request.into_inner();
        let acquire = match request.callback.take() {
            Some(callback) => {
                let callback = webhook::callback(callback)?;
                let check = convert::acquire_with_callback(&self.0, request, callback);
                caller.deadline.bound(check).await??
            }
            None => {
                let hold = Hold::Ttl(self.0.ttl_default());
                convert::acquire(request, hold, Duration::ZERO)?
            }
        };
        match caller.ask(&self.0, Command::Acquire(acquire)).await? {
            Answer::Granted(granted) => {
                let grant = convert::grant(&self.0, caller.namespace(), &granted);
                Ok(Response::new(AcquireLockResponse {
                    grant: Some(grant),
                    ..AcquireLockResponse::default()
                }))
            }
            Answer::Webhook(WebhookAnswer::Subscribed(webhook)) => {
                Ok(Response::new(AcquireLockResponse {
                    webhook: webhook.to_string(),
                    ..AcquireLockResponse::default()
                }))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn subscribe_and_grab(
        &self,
        request: Request<SubscribeAndGrabRequest>,
    ) -> Result<Response<Self::SubscribeAndGrabStream>, Status> {
        let caller = Caller::of(&request)?;
        let hold = Hold::Ttl(self.0.ttl_default());
        let acquire = convert::subscribe(request.into_inner(), hold)?;
        let namespace = caller.identity.namespace;
        let lock = acquire.lock.clone();
        let call = self
            .0
            .shard(&namespace)
            .call(&namespace, Command::Acquire(acquire));
        let grab = Grab {
            api: self.0.clone(),
            namespace,
            lock,
            call: Some(call),
        };
        Ok(Response::new(caller.deadline.bound_stream(grab)))
    }

    async fn renew_lock(
        &self,
        request: Request<RenewLockRequest>,
    ) -> Result<Response<RenewLockResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = convert::renew(&self.0, caller.namespace(), request.get_ref())?;
        match caller.ask(&self.0, command).await? {
            Answer::Renewed { expires_in } => Ok(Response::new(RenewLockResponse {
                expires_in: expires_in.map(convert::proto_duration),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn release_lock(
        &self,
        request: Request<ReleaseLockRequest>,
    ) -> Result<Response<ReleaseLockResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = convert::release(&self.0, caller.namespace(), None, request.get_ref())?;
        match caller.ask(&self.0, command).await? {
            Answer::Released => Ok(Response::new(ReleaseLockResponse {})),
            _ => Err(error::misfit().into()),
        }
    }

    async fn get_lock(
        &self,
        request: Request<GetLockRequest>,
    ) -> Result<Response<GetLockResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::GetLock {
            lock: LockName::new(&request.get_ref().lock)?,
        };
        match caller.ask(&self.0, command).await? {
            Answer::Lock(view) => Ok(Response::new(GetLockResponse {
                lock: Some(convert::lock(view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn explain_lock(
        &self,
        request: Request<ExplainLockRequest>,
    ) -> Result<Response<ExplainLockResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::Explain {
            lock: LockName::new(&request.get_ref().lock)?,
        };
        match caller.ask(&self.0, command).await? {
            Answer::Explained(explained) => Ok(Response::new(convert::explanation(*explained))),
            _ => Err(error::misfit().into()),
        }
    }

    async fn list_locks(
        &self,
        request: Request<ListLocksRequest>,
    ) -> Result<Response<ListLocksResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let command = convert::list_locks(request.into_inner())?;
        match caller.ask(&self.0, command).await? {
            Answer::Locks { locks, more } => Ok(Response::new(convert::locks_page(locks, more))),
            _ => Err(error::misfit().into()),
        }
    }

    async fn watch_lock(
        &self,
        request: Request<WatchLockRequest>,
    ) -> Result<Response<Self::WatchLockStream>, Status> {
        let caller = Caller::of(&request)?;
        let lock = LockName::new(&request.get_ref().lock)?;
        let namespace = caller.namespace();
        let watch = self.0.shard(namespace).watch(namespace, lock);
        let changes = Changes(Some(watch));
        Ok(Response::new(caller.deadline.bound_stream(changes)))
    }

    async fn force_release_lock(
        &self,
        request: Request<ForceReleaseLockRequest>,
    ) -> Result<Response<ForceReleaseLockResponse>, Status> {
        let caller = Caller::of(&request)?;
        caller.identity.require_admin()?;
        let command = convert::force_release(request.get_ref())?;
        match caller.ask(&self.0, command).await? {
            Answer::Forced(ended) => Ok(Response::new(ForceReleaseLockResponse {
                released_count: convert::count(ended),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn check_grant(
        &self,
        request: Request<CheckGrantRequest>,
    ) -> Result<Response<CheckGrantResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = convert::check(request.get_ref())?;
        match caller.ask(&self.0, command).await? {
            Answer::Checked {
                current,
                expires_in,
            } => Ok(Response::new(CheckGrantResponse {
                current,
                expires_in: expires_in.map(convert::proto_duration),
            })),
            _ => Err(error::misfit().into()),
        }
    }
}

/// The answers of SubscribeAndGrab. It is all that an idle waiter costs here: no task, no channel.
pub struct Grab {
    api: Api,
    namespace: Namespace,
    lock: LockName,
    /// `None`: the last message has been told.
    call: Option<Call>,
}

impl Stream for Grab {
    type Item = Result<SubscribeAndGrabResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use subscribe_and_grab_response::Event;
        let this = self.get_mut();
        let Some(call) = &mut this.call else {
            return Poll::Ready(None);
        };
        let event = match ready!(call.poll_progress(cx)) {
            Progress::Queued(standing) => Ok(Event::Queued(convert::position(
                &this.lock,
                standing.position,
            ))),
            Progress::Done(outcome) => {
                this.call = None;
                match outcome {
                    Ok(Answer::Granted(granted)) => {
                        let grant = convert::grant(&this.api, &this.namespace, &granted);
                        Ok(Event::Granted(grant))
                    }
                    Ok(_) => Err(Status::from(error::misfit())),
                    Err(failure) => Err(Status::from(failure)),
                }
            }
        };
        Poll::Ready(Some(
            event.map(|event| SubscribeAndGrabResponse { event: Some(event) }),
        ))
    }
}

/// The answers of WatchLock. `None`: the last message has been told.
pub struct Changes(Option<Watch>);

impl Stream for Changes {
    type Item = Result<WatchLockResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use watch_lock_response::Event;
        let this = self.get_mut();
        let Some(watch) = &mut this.0 else {
            return Poll::Ready(None);
        };
        let event = match ready!(watch.poll_next(cx)) {
            Some(WatchNews::State(view)) => Ok(Event::State(convert::lock(view))),
            Some(WatchNews::Changed(event)) => Ok(Event::Change(convert::event(&event))),
            Some(WatchNews::Failed(failure)) => Err(Status::from(failure)),
            Some(_) => Err(Status::from(error::misfit())),
            None => Err(Status::from(ApiError::new(
                Reason::SlowReader,
                "the watch was cut off, as its events were not read in time; watch again",
            ))),
        };
        if event.is_err() {
            this.0 = None;
        }
        Poll::Ready(Some(
            event.map(|event| WatchLockResponse { event: Some(event) }),
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {

    use tokio_stream::StreamExt as _;
    use tonic::Code;

    use super::*;
    use crate::shard::WATCH_NEWS_MAX;

    #[tokio::test]
    async fn a_watcher_that_reads_too_slowly_is_cut_off() {
        let api = Api::in_memory();
        let namespace = Namespace::new("default").unwrap();
        let shard = api.shard(&namespace);
        let lock = LockName::new("busy").unwrap();
        let mut changes = Changes(Some(shard.watch(&namespace, lock)));
        for _ in 0..WATCH_NEWS_MAX {
            let request = AcquireLockRequest {
                lock: "busy".into(),
                ..Default::default()
            };
            let acquire = convert::acquire(request, Hold::Forever, Duration::ZERO).unwrap();
            let call = shard.call(&namespace, Command::Acquire(acquire));
            let Ok(Answer::Granted(granted)) = call.outcome().await else {
                continue;
            };
            let release = Command::ForceRelease {
                lock: granted.lock,
                fencing_token: None,
                request_id: None,
            };
            shard.call(&namespace, release).outcome().await.unwrap();
        }
        for _ in 0..WATCH_NEWS_MAX {
            changes.next().await.unwrap().unwrap();
        }
        let status = changes.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(changes.next().await.is_none());
        api.stop();
    }
}
