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

class TicketState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TICKET_STATE_UNSPECIFIED: _ClassVar[TicketState]
    TICKET_STATE_WAITING: _ClassVar[TicketState]
    TICKET_STATE_NOTIFIED: _ClassVar[TicketState]
    TICKET_STATE_ACCEPTED: _ClassVar[TicketState]
    TICKET_STATE_LAPSED: _ClassVar[TicketState]
TICKET_STATE_UNSPECIFIED: TicketState
TICKET_STATE_WAITING: TicketState
TICKET_STATE_NOTIFIED: TicketState
TICKET_STATE_ACCEPTED: TicketState
TICKET_STATE_LAPSED: TicketState

class Timeouts(_message.Message):
    __slots__ = ("wait", "accept", "done")
    WAIT_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    wait: _duration_pb2.Duration
    accept: _duration_pb2.Duration
    done: _duration_pb2.Duration
    def __init__(self, wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., accept: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., done: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Fifo(_message.Message):
    __slots__ = ("id", "timeouts", "unused_destroy_timeout", "allow_overrides", "concurrency", "create_time", "tickets", "serving_count", "waiting_count", "mean_turn")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    UNUSED_DESTROY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    TICKETS_FIELD_NUMBER: _ClassVar[int]
    SERVING_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_TURN_FIELD_NUMBER: _ClassVar[int]
    id: str
    timeouts: Timeouts
    unused_destroy_timeout: _duration_pb2.Duration
    allow_overrides: bool
    concurrency: int
    create_time: _timestamp_pb2.Timestamp
    tickets: _containers.RepeatedCompositeFieldContainer[Ticket]
    serving_count: int
    waiting_count: int
    mean_turn: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., unused_destroy_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., allow_overrides: bool = ..., concurrency: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tickets: _Optional[_Iterable[_Union[Ticket, _Mapping]]] = ..., serving_count: _Optional[int] = ..., waiting_count: _Optional[int] = ..., mean_turn: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Ticket(_message.Message):
    __slots__ = ("fifo", "id", "number", "state", "position", "time_to_go", "lapses_in", "timeouts", "owner", "metadata", "create_time", "state_time", "webhook")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FIFO_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_GO_FIELD_NUMBER: _ClassVar[int]
    LAPSES_IN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_TIME_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    id: str
    number: int
    state: TicketState
    position: int
    time_to_go: _duration_pb2.Duration
    lapses_in: _duration_pb2.Duration
    timeouts: Timeouts
    owner: str
    metadata: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    state_time: _timestamp_pb2.Timestamp
    webhook: str
    def __init__(self, fifo: _Optional[str] = ..., id: _Optional[str] = ..., number: _Optional[int] = ..., state: _Optional[_Union[TicketState, str]] = ..., position: _Optional[int] = ..., time_to_go: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lapses_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., owner: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., webhook: _Optional[str] = ...) -> None: ...

class CreateFifoRequest(_message.Message):
    __slots__ = ("id", "timeouts", "unused_destroy_timeout", "allow_overrides", "concurrency", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    UNUSED_DESTROY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    timeouts: Timeouts
    unused_destroy_timeout: _duration_pb2.Duration
    allow_overrides: bool
    concurrency: int
    request_id: str
    def __init__(self, id: _Optional[str] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., unused_destroy_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., allow_overrides: bool = ..., concurrency: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateFifoResponse(_message.Message):
    __slots__ = ("fifo",)
    FIFO_FIELD_NUMBER: _ClassVar[int]
    fifo: Fifo
    def __init__(self, fifo: _Optional[_Union[Fifo, _Mapping]] = ...) -> None: ...

class GetFifoRequest(_message.Message):
    __slots__ = ("fifo",)
    FIFO_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    def __init__(self, fifo: _Optional[str] = ...) -> None: ...

class GetFifoResponse(_message.Message):
    __slots__ = ("fifo",)
    FIFO_FIELD_NUMBER: _ClassVar[int]
    fifo: Fifo
    def __init__(self, fifo: _Optional[_Union[Fifo, _Mapping]] = ...) -> None: ...

class ListFifosRequest(_message.Message):
    __slots__ = ("prefix", "page_size", "page_token")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    page_size: int
    page_token: str
    def __init__(self, prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFifosResponse(_message.Message):
    __slots__ = ("fifos", "next_page_token")
    FIFOS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    fifos: _containers.RepeatedCompositeFieldContainer[Fifo]
    next_page_token: str
    def __init__(self, fifos: _Optional[_Iterable[_Union[Fifo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteFifoRequest(_message.Message):
    __slots__ = ("fifo", "request_id")
    FIFO_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    request_id: str
    def __init__(self, fifo: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteFifoResponse(_message.Message):
    __slots__ = ("tickets",)
    TICKETS_FIELD_NUMBER: _ClassVar[int]
    tickets: int
    def __init__(self, tickets: _Optional[int] = ...) -> None: ...

class CreateTicketRequest(_message.Message):
    __slots__ = ("fifo", "overrides", "owner", "metadata", "request_id", "callback")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FIFO_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    overrides: Timeouts
    owner: str
    metadata: _containers.ScalarMap[str, str]
    request_id: str
    callback: _callback_pb2.Callback
    def __init__(self, fifo: _Optional[str] = ..., overrides: _Optional[_Union[Timeouts, _Mapping]] = ..., owner: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., callback: _Optional[_Union[_callback_pb2.Callback, _Mapping]] = ...) -> None: ...

class CreateTicketResponse(_message.Message):
    __slots__ = ("ticket",)
    TICKET_FIELD_NUMBER: _ClassVar[int]
    ticket: Ticket
    def __init__(self, ticket: _Optional[_Union[Ticket, _Mapping]] = ...) -> None: ...

class GetTicketRequest(_message.Message):
    __slots__ = ("fifo", "ticket")
    FIFO_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    ticket: str
    def __init__(self, fifo: _Optional[str] = ..., ticket: _Optional[str] = ...) -> None: ...

class GetTicketResponse(_message.Message):
    __slots__ = ("ticket",)
    TICKET_FIELD_NUMBER: _ClassVar[int]
    ticket: Ticket
    def __init__(self, ticket: _Optional[_Union[Ticket, _Mapping]] = ...) -> None: ...

class ListTicketsRequest(_message.Message):
    __slots__ = ("fifo", "page_size", "page_token")
    FIFO_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    page_size: int
    page_token: str
    def __init__(self, fifo: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTicketsResponse(_message.Message):
    __slots__ = ("tickets", "next_page_token")
    TICKETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tickets: _containers.RepeatedCompositeFieldContainer[Ticket]
    next_page_token: str
    def __init__(self, tickets: _Optional[_Iterable[_Union[Ticket, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WaitTicketRequest(_message.Message):
    __slots__ = ("fifo", "ticket", "wait")
    FIFO_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    ticket: str
    wait: _duration_pb2.Duration
    def __init__(self, fifo: _Optional[str] = ..., ticket: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitTicketResponse(_message.Message):
    __slots__ = ("in_line", "ready")
    IN_LINE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    in_line: InLine
    ready: Ticket
    def __init__(self, in_line: _Optional[_Union[InLine, _Mapping]] = ..., ready: _Optional[_Union[Ticket, _Mapping]] = ...) -> None: ...

class InLine(_message.Message):
    __slots__ = ("position", "time_to_go")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_GO_FIELD_NUMBER: _ClassVar[int]
    position: int
    time_to_go: _duration_pb2.Duration
    def __init__(self, position: _Optional[int] = ..., time_to_go: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ExtendTicketRequest(_message.Message):
    __slots__ = ("fifo", "ticket", "done")
    FIFO_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    ticket: str
    done: _duration_pb2.Duration
    def __init__(self, fifo: _Optional[str] = ..., ticket: _Optional[str] = ..., done: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ExtendTicketResponse(_message.Message):
    __slots__ = ("ticket",)
    TICKET_FIELD_NUMBER: _ClassVar[int]
    ticket: Ticket
    def __init__(self, ticket: _Optional[_Union[Ticket, _Mapping]] = ...) -> None: ...

class CompleteTicketRequest(_message.Message):
    __slots__ = ("fifo", "ticket", "request_id")
    FIFO_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    ticket: str
    request_id: str
    def __init__(self, fifo: _Optional[str] = ..., ticket: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CompleteTicketResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelTicketRequest(_message.Message):
    __slots__ = ("fifo", "ticket", "request_id")
    FIFO_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    fifo: str
    ticket: str
    request_id: str
    def __init__(self, fifo: _Optional[str] = ..., ticket: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CancelTicketResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
