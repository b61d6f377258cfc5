import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from holdfast.v1 import call_error_pb2 as _call_error_pb2
from holdfast.v1 import lease_service_pb2 as _lease_service_pb2
from holdfast.v1 import lock_service_pb2 as _lock_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LossCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOSS_CAUSE_UNSPECIFIED: _ClassVar[LossCause]
    LOSS_CAUSE_EXPIRED: _ClassVar[LossCause]
    LOSS_CAUSE_REVOKED: _ClassVar[LossCause]
    LOSS_CAUSE_FORCED: _ClassVar[LossCause]
    LOSS_CAUSE_RELEASED: _ClassVar[LossCause]
    LOSS_CAUSE_CALLBACK: _ClassVar[LossCause]
LOSS_CAUSE_UNSPECIFIED: LossCause
LOSS_CAUSE_EXPIRED: LossCause
LOSS_CAUSE_REVOKED: LossCause
LOSS_CAUSE_FORCED: LossCause
LOSS_CAUSE_RELEASED: LossCause
LOSS_CAUSE_CALLBACK: LossCause

class AttachRequest(_message.Message):
    __slots__ = ("call_id", "open", "acquire_lock", "release_lock", "renew_lock", "check_grant", "renew_lease", "cancel", "close", "batch")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ACQUIRE_LOCK_FIELD_NUMBER: _ClassVar[int]
    RELEASE_LOCK_FIELD_NUMBER: _ClassVar[int]
    RENEW_LOCK_FIELD_NUMBER: _ClassVar[int]
    CHECK_GRANT_FIELD_NUMBER: _ClassVar[int]
    RENEW_LEASE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    open: OpenSession
    acquire_lock: _lock_service_pb2.AcquireLockRequest
    release_lock: _lock_service_pb2.ReleaseLockRequest
    renew_lock: _lock_service_pb2.RenewLockRequest
    check_grant: _lock_service_pb2.CheckGrantRequest
    renew_lease: _lease_service_pb2.RenewLeaseRequest
    cancel: CancelCall
    close: CloseSession
    batch: AttachBatch
    def __init__(self, call_id: _Optional[int] = ..., open: _Optional[_Union[OpenSession, _Mapping]] = ..., acquire_lock: _Optional[_Union[_lock_service_pb2.AcquireLockRequest, _Mapping]] = ..., release_lock: _Optional[_Union[_lock_service_pb2.ReleaseLockRequest, _Mapping]] = ..., renew_lock: _Optional[_Union[_lock_service_pb2.RenewLockRequest, _Mapping]] = ..., check_grant: _Optional[_Union[_lock_service_pb2.CheckGrantRequest, _Mapping]] = ..., renew_lease: _Optional[_Union[_lease_service_pb2.RenewLeaseRequest, _Mapping]] = ..., cancel: _Optional[_Union[CancelCall, _Mapping]] = ..., close: _Optional[_Union[CloseSession, _Mapping]] = ..., batch: _Optional[_Union[AttachBatch, _Mapping]] = ...) -> None: ...

class AttachBatch(_message.Message):
    __slots__ = ("requests", "answered_request_ids")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_REQUEST_IDS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[AttachRequest]
    answered_request_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, requests: _Optional[_Iterable[_Union[AttachRequest, _Mapping]]] = ..., answered_request_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("ttl", "lease_id", "owner", "metadata", "accepts_batches")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TTL_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ACCEPTS_BATCHES_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    lease_id: str
    owner: str
    metadata: _containers.ScalarMap[str, str]
    accepts_batches: bool
    def __init__(self, ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_id: _Optional[str] = ..., owner: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., accepts_batches: bool = ...) -> None: ...

class CancelCall(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    def __init__(self, call_id: _Optional[int] = ...) -> None: ...

class CloseSession(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("call_id", "opened", "acquired", "released", "renewed", "checked", "lease_renewed", "queued", "error", "grant_lost", "closed", "batch")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    LEASE_RENEWED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    GRANT_LOST_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    opened: SessionOpened
    acquired: _lock_service_pb2.AcquireLockResponse
    released: _lock_service_pb2.ReleaseLockResponse
    renewed: _lock_service_pb2.RenewLockResponse
    checked: _lock_service_pb2.CheckGrantResponse
    lease_renewed: _lease_service_pb2.RenewLeaseResponse
    queued: _lock_service_pb2.QueuePosition
    error: _call_error_pb2.CallError
    grant_lost: GrantLost
    closed: SessionClosed
    batch: AttachAnswers
    def __init__(self, call_id: _Optional[int] = ..., opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., acquired: _Optional[_Union[_lock_service_pb2.AcquireLockResponse, _Mapping]] = ..., released: _Optional[_Union[_lock_service_pb2.ReleaseLockResponse, _Mapping]] = ..., renewed: _Optional[_Union[_lock_service_pb2.RenewLockResponse, _Mapping]] = ..., checked: _Optional[_Union[_lock_service_pb2.CheckGrantResponse, _Mapping]] = ..., lease_renewed: _Optional[_Union[_lease_service_pb2.RenewLeaseResponse, _Mapping]] = ..., queued: _Optional[_Union[_lock_service_pb2.QueuePosition, _Mapping]] = ..., error: _Optional[_Union[_call_error_pb2.CallError, _Mapping]] = ..., grant_lost: _Optional[_Union[GrantLost, _Mapping]] = ..., closed: _Optional[_Union[SessionClosed, _Mapping]] = ..., batch: _Optional[_Union[AttachAnswers, _Mapping]] = ...) -> None: ...

class AttachAnswers(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[AttachResponse]
    def __init__(self, answers: _Optional[_Iterable[_Union[AttachResponse, _Mapping]]] = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("lease", "resumed", "accepts_batches")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTS_BATCHES_FIELD_NUMBER: _ClassVar[int]
    lease: _lease_service_pb2.Lease
    resumed: bool
    accepts_batches: bool
    def __init__(self, lease: _Optional[_Union[_lease_service_pb2.Lease, _Mapping]] = ..., resumed: bool = ..., accepts_batches: bool = ...) -> None: ...

class GrantLost(_message.Message):
    __slots__ = ("lock", "fencing_token", "cause")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    lock: str
    fencing_token: int
    cause: LossCause
    def __init__(self, lock: _Optional[str] = ..., fencing_token: _Optional[int] = ..., cause: _Optional[_Union[LossCause, str]] = ...) -> None: ...

class SessionClosed(_message.Message):
    __slots__ = ("released_count",)
    RELEASED_COUNT_FIELD_NUMBER: _ClassVar[int]
    released_count: int
    def __init__(self, released_count: _Optional[int] = ...) -> None: ...
