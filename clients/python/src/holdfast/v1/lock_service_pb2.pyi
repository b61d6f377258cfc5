import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.v1 import callback_pb2 as _callback_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LockMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOCK_MODE_UNSPECIFIED: _ClassVar[LockMode]
    LOCK_MODE_EXCLUSIVE: _ClassVar[LockMode]
    LOCK_MODE_SHARED: _ClassVar[LockMode]

class LockState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOCK_STATE_UNSPECIFIED: _ClassVar[LockState]
    LOCK_STATE_FREE: _ClassVar[LockState]
    LOCK_STATE_HELD: _ClassVar[LockState]
    LOCK_STATE_HELD_BACK: _ClassVar[LockState]

class LockEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOCK_EVENT_KIND_UNSPECIFIED: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_GRANTED: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_RELEASED: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_EXPIRED: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_REVOKED: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_FORCED: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_CALLBACK_REFUSED: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_CALLBACK_TIMED_OUT: _ClassVar[LockEventKind]
    LOCK_EVENT_KIND_RELEASE_DELAY_ENDED: _ClassVar[LockEventKind]
LOCK_MODE_UNSPECIFIED: LockMode
LOCK_MODE_EXCLUSIVE: LockMode
LOCK_MODE_SHARED: LockMode
LOCK_STATE_UNSPECIFIED: LockState
LOCK_STATE_FREE: LockState
LOCK_STATE_HELD: LockState
LOCK_STATE_HELD_BACK: LockState
LOCK_EVENT_KIND_UNSPECIFIED: LockEventKind
LOCK_EVENT_KIND_GRANTED: LockEventKind
LOCK_EVENT_KIND_RELEASED: LockEventKind
LOCK_EVENT_KIND_EXPIRED: LockEventKind
LOCK_EVENT_KIND_REVOKED: LockEventKind
LOCK_EVENT_KIND_FORCED: LockEventKind
LOCK_EVENT_KIND_CALLBACK_REFUSED: LockEventKind
LOCK_EVENT_KIND_CALLBACK_TIMED_OUT: LockEventKind
LOCK_EVENT_KIND_RELEASE_DELAY_ENDED: LockEventKind

class Lock(_message.Message):
    __slots__ = ("name", "state", "holders", "holder_count", "waiter_count", "reserved", "held_back_for")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    HOLDER_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITER_COUNT_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: LockState
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    holder_count: int
    waiter_count: int
    reserved: bool
    held_back_for: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[LockState, str]] = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., holder_count: _Optional[int] = ..., waiter_count: _Optional[int] = ..., reserved: bool = ..., held_back_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("fencing_token", "owner", "mode", "acquire_time", "expires_in", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ACQUIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    fencing_token: int
    owner: str
    mode: LockMode
    acquire_time: _timestamp_pb2.Timestamp
    expires_in: _duration_pb2.Duration
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, fencing_token: _Optional[int] = ..., owner: _Optional[str] = ..., mode: _Optional[_Union[LockMode, str]] = ..., acquire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("lock", "fencing_token", "grant_token", "mode", "owner", "acquire_time", "expires_in", "lease_id", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LOCK_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ACQUIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    lock: str
    fencing_token: int
    grant_token: str
    mode: LockMode
    owner: str
    acquire_time: _timestamp_pb2.Timestamp
    expires_in: _duration_pb2.Duration
    lease_id: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, lock: _Optional[str] = ..., fencing_token: _Optional[int] = ..., grant_token: _Optional[str] = ..., mode: _Optional[_Union[LockMode, str]] = ..., owner: _Optional[str] = ..., acquire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class QueuePosition(_message.Message):
    __slots__ = ("lock", "position")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    lock: str
    position: int
    def __init__(self, lock: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...

class LockEvent(_message.Message):
    __slots__ = ("kind", "holder", "event_time", "holder_count", "waiter_count", "held_back_for", "fencing_token")
    KIND_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    HOLDER_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITER_COUNT_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FOR_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    kind: LockEventKind
    holder: Holder
    event_time: _timestamp_pb2.Timestamp
    holder_count: int
    waiter_count: int
    held_back_for: _duration_pb2.Duration
    fencing_token: int
    def __init__(self, kind: _Optional[_Union[LockEventKind, str]] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., holder_count: _Optional[int] = ..., waiter_count: _Optional[int] = ..., held_back_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., fencing_token: _Optional[int] = ...) -> None: ...

class ReserveLockRequest(_message.Message):
    __slots__ = ("unused_destroy_timeout", "request_id")
    UNUSED_DESTROY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    unused_destroy_timeout: _duration_pb2.Duration
    request_id: str
    def __init__(self, unused_destroy_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReserveLockResponse(_message.Message):
    __slots__ = ("lock",)
    LOCK_FIELD_NUMBER: _ClassVar[int]
    lock: str
    def __init__(self, lock: _Optional[str] = ...) -> None: ...

class AcquireLockRequest(_message.Message):
    __slots__ = ("lock", "mode", "max_shared", "ttl", "lease_id", "no_expiry", "wait", "owner", "metadata", "request_id", "callback", "release_delay")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LOCK_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MAX_SHARED_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    NO_EXPIRY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_FIELD_NUMBER: _ClassVar[int]
    RELEASE_DELAY_FIELD_NUMBER: _ClassVar[int]
    lock: str
    mode: LockMode
    max_shared: int
    ttl: _duration_pb2.Duration
    lease_id: str
    no_expiry: bool
    wait: _duration_pb2.Duration
    owner: str
    metadata: _containers.ScalarMap[str, str]
    request_id: str
    callback: _callback_pb2.Callback
    release_delay: _duration_pb2.Duration
    def __init__(self, lock: _Optional[str] = ..., mode: _Optional[_Union[LockMode, str]] = ..., max_shared: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_id: _Optional[str] = ..., no_expiry: bool = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., owner: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., callback: _Optional[_Union[_callback_pb2.Callback, _Mapping]] = ..., release_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AcquireLockResponse(_message.Message):
    __slots__ = ("grant", "webhook")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    webhook: str
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ..., webhook: _Optional[str] = ...) -> None: ...

class SubscribeAndGrabRequest(_message.Message):
    __slots__ = ("lock", "mode", "max_shared", "ttl", "lease_id", "no_expiry", "wait", "owner", "metadata", "request_id", "release_delay")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LOCK_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MAX_SHARED_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    NO_EXPIRY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RELEASE_DELAY_FIELD_NUMBER: _ClassVar[int]
    lock: str
    mode: LockMode
    max_shared: int
    ttl: _duration_pb2.Duration
    lease_id: str
    no_expiry: bool
    wait: _duration_pb2.Duration
    owner: str
    metadata: _containers.ScalarMap[str, str]
    request_id: str
    release_delay: _duration_pb2.Duration
    def __init__(self, lock: _Optional[str] = ..., mode: _Optional[_Union[LockMode, str]] = ..., max_shared: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_id: _Optional[str] = ..., no_expiry: bool = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., owner: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., release_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SubscribeAndGrabResponse(_message.Message):
    __slots__ = ("queued", "granted")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    queued: QueuePosition
    granted: Grant
    def __init__(self, queued: _Optional[_Union[QueuePosition, _Mapping]] = ..., granted: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class RenewLockRequest(_message.Message):
    __slots__ = ("lock", "grant_token", "ttl")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    lock: str
    grant_token: str
    ttl: _duration_pb2.Duration
    def __init__(self, lock: _Optional[str] = ..., grant_token: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RenewLockResponse(_message.Message):
    __slots__ = ("expires_in",)
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    expires_in: _duration_pb2.Duration
    def __init__(self, expires_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReleaseLockRequest(_message.Message):
    __slots__ = ("lock", "grant_token", "request_id")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    lock: str
    grant_token: str
    request_id: str
    def __init__(self, lock: _Optional[str] = ..., grant_token: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReleaseLockResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLockRequest(_message.Message):
    __slots__ = ("lock",)
    LOCK_FIELD_NUMBER: _ClassVar[int]
    lock: str
    def __init__(self, lock: _Optional[str] = ...) -> None: ...

class GetLockResponse(_message.Message):
    __slots__ = ("lock",)
    LOCK_FIELD_NUMBER: _ClassVar[int]
    lock: Lock
    def __init__(self, lock: _Optional[_Union[Lock, _Mapping]] = ...) -> None: ...

class ExplainLockRequest(_message.Message):
    __slots__ = ("lock",)
    LOCK_FIELD_NUMBER: _ClassVar[int]
    lock: str
    def __init__(self, lock: _Optional[str] = ...) -> None: ...

class ExplainLockResponse(_message.Message):
    __slots__ = ("lock", "waiters", "past_holds")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    WAITERS_FIELD_NUMBER: _ClassVar[int]
    PAST_HOLDS_FIELD_NUMBER: _ClassVar[int]
    lock: Lock
    waiters: _containers.RepeatedCompositeFieldContainer[Waiter]
    past_holds: _containers.RepeatedCompositeFieldContainer[PastHold]
    def __init__(self, lock: _Optional[_Union[Lock, _Mapping]] = ..., waiters: _Optional[_Iterable[_Union[Waiter, _Mapping]]] = ..., past_holds: _Optional[_Iterable[_Union[PastHold, _Mapping]]] = ...) -> None: ...

class Waiter(_message.Message):
    __slots__ = ("position", "owner", "mode", "wait_start_time", "wait_ends_in", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WAIT_START_TIME_FIELD_NUMBER: _ClassVar[int]
    WAIT_ENDS_IN_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    position: int
    owner: str
    mode: LockMode
    wait_start_time: _timestamp_pb2.Timestamp
    wait_ends_in: _duration_pb2.Duration
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, position: _Optional[int] = ..., owner: _Optional[str] = ..., mode: _Optional[_Union[LockMode, str]] = ..., wait_start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., wait_ends_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PastHold(_message.Message):
    __slots__ = ("holder", "cause", "end_time")
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    holder: Holder
    cause: LockEventKind
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, holder: _Optional[_Union[Holder, _Mapping]] = ..., cause: _Optional[_Union[LockEventKind, str]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListLocksRequest(_message.Message):
    __slots__ = ("prefix", "page_size", "page_token")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    page_size: int
    page_token: str
    def __init__(self, prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLocksResponse(_message.Message):
    __slots__ = ("locks", "next_page_token")
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    locks: _containers.RepeatedCompositeFieldContainer[Lock]
    next_page_token: str
    def __init__(self, locks: _Optional[_Iterable[_Union[Lock, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchLockRequest(_message.Message):
    __slots__ = ("lock",)
    LOCK_FIELD_NUMBER: _ClassVar[int]
    lock: str
    def __init__(self, lock: _Optional[str] = ...) -> None: ...

class WatchLockResponse(_message.Message):
    __slots__ = ("state", "change")
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    state: Lock
    change: LockEvent
    def __init__(self, state: _Optional[_Union[Lock, _Mapping]] = ..., change: _Optional[_Union[LockEvent, _Mapping]] = ...) -> None: ...

class ForceReleaseLockRequest(_message.Message):
    __slots__ = ("lock", "fencing_token", "request_id")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    lock: str
    fencing_token: int
    request_id: str
    def __init__(self, lock: _Optional[str] = ..., fencing_token: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ForceReleaseLockResponse(_message.Message):
    __slots__ = ("released_count",)
    RELEASED_COUNT_FIELD_NUMBER: _ClassVar[int]
    released_count: int
    def __init__(self, released_count: _Optional[int] = ...) -> None: ...

class CheckGrantRequest(_message.Message):
    __slots__ = ("lock", "fencing_token")
    LOCK_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    lock: str
    fencing_token: int
    def __init__(self, lock: _Optional[str] = ..., fencing_token: _Optional[int] = ...) -> None: ...

class CheckGrantResponse(_message.Message):
    __slots__ = ("current", "expires_in")
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    current: bool
    expires_in: _duration_pb2.Duration
    def __init__(self, current: bool = ..., expires_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
