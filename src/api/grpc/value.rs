//! ValueService.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::deadline::UntilDeadline;
use super::{Caller, convert, error};
use crate::api::page::{after_name, after_name_token, prefix};
use crate::api::{Api, ApiError, Reason, request_id};
use crate::core::limits::VALUE_KEY_BYTES_MAX;
use crate::core::{
    Answer, Command, Invalid, ValueBytes, ValueEvent, ValueEventKind, ValueKey, ValueView,
    check_page_size,
};
use crate::proto::v1::{
    self, CompareAndSetValueRequest, CompareAndSetValueResponse, DeleteValueRequest,
    DeleteValueResponse, GetValueRequest, GetValueResponse, ListValuesRequest, ListValuesResponse,
    PutValueRequest, PutValueResponse, WatchValueRequest, WatchValueResponse, value_service_server,
    watch_value_response,
};
use crate::shard::{Watch, WatchNews};

/// ValueService over an [`Api`].
pub struct Values(pub(super) Api);

impl Values {
    async fn put(&self, caller: &Caller, command: Command) -> Result<u64, Status> {
        match caller.ask(&self.0, command).await? {
            Answer::ValuePut(revision) => Ok(revision),
            _ => Err(error::misfit().into()),
        }
    }
}

#[tonic::async_trait]
impl value_service_server::ValueService for Values {
    type WatchValueStream = UntilDeadline<Changes>;

    async fn get_value(
        &self,
        request: Request<GetValueRequest>,
    ) -> Result<Response<GetValueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = Command::GetValue {
            key: ValueKey::new(&request.get_ref().key)?,
        };
        match caller.ask(&self.0, command).await? {
            Answer::Value(view) => Ok(Response::new(GetValueResponse {
                value: Some(value(&view)),
            })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn list_values(
        &self,
        request: Request<ListValuesRequest>,
    ) -> Result<Response<ListValuesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = list(request.into_inner())?;
        match caller.ask(&self.0, command).await? {
            Answer::Values { values, more } => {
                let values = values.iter().map(value).collect();
                let (values, next_page_token) =
                    convert::page(values, more, |last: &v1::Value| after_name_token(&last.key));
                Ok(Response::new(ListValuesResponse {
                    values,
                    next_page_token,
                }))
            }
            _ => Err(error::misfit().into()),
        }
    }

    async fn put_value(
        &self,
        request: Request<PutValueRequest>,
    ) -> Result<Response<PutValueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = put(request.into_inner(), None)?;
        let revision = self.put(&caller, command).await?;
        Ok(Response::new(PutValueResponse { revision }))
    }

    async fn compare_and_set_value(
        &self,
        request: Request<CompareAndSetValueRequest>,
    ) -> Result<Response<CompareAndSetValueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let expected_revision = Some(request.expected_revision);
        let request = PutValueRequest {
            key: request.key,
            value: request.value,
            ttl: request.ttl,
            request_id: request.request_id,
        };
        let command = put(request, expected_revision)?;
        let revision = self.put(&caller, command).await?;
        Ok(Response::new(CompareAndSetValueResponse { revision }))
    }

    async fn delete_value(
        &self,
        request: Request<DeleteValueRequest>,
    ) -> Result<Response<DeleteValueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let command = Command::DeleteValue {
            key: ValueKey::new(&request.key)?,
            expected_revision: (request.expected_revision != 0)
                .then_some(request.expected_revision),
            request_id: request_id(&request.request_id)?,
        };
        match caller.ask(&self.0, command).await? {
            Answer::ValueDeleted(revision) => Ok(Response::new(DeleteValueResponse { revision })),
            _ => Err(error::misfit().into()),
        }
    }

    async fn watch_value(
        &self,
        request: Request<WatchValueRequest>,
    ) -> Result<Response<Self::WatchValueStream>, Status> {
        let caller = Caller::of(&request)?;
        let key = ValueKey::new(&request.get_ref().key)?;
        let namespace = caller.namespace();
        let watch = self.0.shard(namespace).watch_value(namespace, key);
        let changes = Changes(Some(watch));
        Ok(Response::new(caller.deadline.bound_stream(changes)))
    }
}

fn list(request: ListValuesRequest) -> Result<Command, Invalid> {
    Ok(Command::ListValues {
        prefix: prefix(request.prefix, VALUE_KEY_BYTES_MAX)?,
        after: after_name(&request.page_token, ValueKey::new)?,
        limit: check_page_size(request.page_size)?,
    })
}

/// Both ways to put; `expected_revision` is what sets them apart.
fn put(request: PutValueRequest, expected_revision: Option<u64>) -> Result<Command, Invalid> {
    Ok(Command::PutValue {
        key: ValueKey::new(&request.key)?,
        bytes: ValueBytes::new(request.value)?,
        ttl: convert::ttl(request.ttl)?,
        expected_revision,
        request_id: request_id(&request.request_id)?,
    })
}

fn value(view: &ValueView) -> v1::Value {
    v1::Value {
        key: view.key.as_str().to_owned(),
        value: view.bytes.bytes().to_vec(),
        revision: view.revision,
        expires_in: view.expires_in.map(convert::proto_duration),
    }
}

fn event(event: &ValueEvent) -> v1::ValueEvent {
    let kind = match event.kind {
        ValueEventKind::Put => v1::ValueEventKind::Put,
        ValueEventKind::Deleted => v1::ValueEventKind::Deleted,
        ValueEventKind::Expired => v1::ValueEventKind::Expired,
    };
    v1::ValueEvent {
        kind: kind.into(),
        value: Some(value(&event.value)),
        event_time: Some(convert::timestamp(event.at)),
    }
}

/// The answers of WatchValue. `None`: the last message has been told.
pub struct Changes(Option<Watch>);

impl Stream for Changes {
    type Item = Result<WatchValueResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use watch_value_response::Event;
        let this = self.get_mut();
        let Some(watch) = &mut this.0 else {
            return Poll::Ready(None);
        };
        let told = match ready!(watch.poll_next(cx)) {
            Some(WatchNews::ValueState(view)) => Ok(Event::State(v1::ValueState {
                value: view.as_ref().map(value),
            })),
            Some(WatchNews::ValueChanged(change)) => Ok(Event::Change(event(&change))),
            Some(WatchNews::Failed(failure)) => Err(Status::from(failure)),
            Some(_) => Err(Status::from(error::misfit())),
            None => Err(Status::from(ApiError::new(
                Reason::SlowReader,
                "the watch was cut off, as its events were not read in time; watch again",
            ))),
        };
        if told.is_err() {
            this.0 = None;
        }
        Poll::Ready(Some(
            told.map(|event| WatchValueResponse { event: Some(event) }),
        ))
    }
}
