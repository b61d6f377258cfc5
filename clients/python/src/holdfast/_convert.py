"""Between the schema's messages and plain values."""

import datetime
import math
import secrets

from google.protobuf.duration_pb2 import Duration

from holdfast import types
from holdfast.errors import Invalid
from holdfast.v1 import lock_service_pb2, queue_service_pb2, value_service_pb2

Seconds = float
Data = bytes | str

WAIT_MAX = 24 * 60 * 60.0
"""The longest that the server lets one call stand in line; who waits longer asks again."""

_SPAN_MAX = 10 * 365 * 24 * 60 * 60.0


def request_id() -> str:
    """Return an id that no other call has: short, as the server keeps one for every change."""
    return secrets.token_urlsafe(16)


def span(seconds: Seconds | None, field: str) -> Duration | None:
    """Return the duration; None for None."""
    if seconds is None:
        return None
    if not math.isfinite(seconds) or not 0 <= seconds <= _SPAN_MAX:
        raise Invalid(
            f"{field}: must be seconds, at least 0 and at most ten years, is {seconds}",
            field=field,
            reason="INVALID_ARGUMENT",
        )
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def seconds(duration: Duration) -> Seconds:
    """Return the seconds of a duration."""
    return duration.seconds + duration.nanos / 1e9


def data(value: Data) -> bytes:
    """Return the bytes of a value; text is told as UTF-8."""
    return value.encode() if isinstance(value, str) else bytes(value)


def holder(message: lock_service_pb2.Holder) -> types.Holder:
    """Return a holder of a lock."""
    return types.Holder(
        fencing_token=message.fencing_token,
        owner=message.owner,
        mode=types.Mode(message.mode),
        acquired_at=message.acquire_time.ToDatetime(datetime.UTC),
        expires_in=seconds(message.expires_in) if message.HasField("expires_in") else None,
        metadata=dict(message.metadata),
    )


def lock_state(message: lock_service_pb2.Lock) -> types.LockState:
    """Return the state of a lock."""
    return types.LockState(
        name=message.name,
        holders=tuple(holder(each) for each in message.holders),
        holder_count=message.holder_count,
        waiter_count=message.waiter_count,
    )


def value(message: value_service_pb2.Value) -> types.Value:
    """Return a value."""
    return types.Value(
        key=message.key,
        value=message.value,
        revision=message.revision,
        expires_in=seconds(message.expires_in) if message.HasField("expires_in") else None,
    )


def queue_state(message: queue_service_pb2.Queue) -> types.QueueState:
    """Return the state of a queue."""
    return types.QueueState(
        name=message.name,
        ready_count=message.ready_count,
        delivered_count=message.delivered_count,
        dead_count=message.dead_count,
    )
