"""What can go wrong, each with the server's reason, its message and when to try again."""

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from holdfast.v1.call_error_pb2 import CallError

__all__ = [
    "AlreadyExists",
    "DeadlineExceeded",
    "DeliveryEnded",
    "Held",
    "HoldfastError",
    "Internal",
    "Invalid",
    "LimitReached",
    "Lost",
    "NotAccepted",
    "NotFound",
    "NotHolder",
    "Overloaded",
    "PermissionDenied",
    "RevisionMismatch",
    "SlowReader",
    "TicketEnded",
    "TicketLapsed",
    "Unauthenticated",
    "Unavailable",
    "WaitTimedOut",
]


class HoldfastError(Exception):
    """What every error of this package is."""

    reason: str
    """The stable word for what went wrong, such as `LOCK_HELD`."""
    message: str
    """What went wrong, for people to read."""
    retry_after: float | None
    """When to try again at the earliest, in seconds; None: trying again as it is won't help."""
    details: Mapping[str, str]
    """What else the server said of it, such as who holds the lock."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        retry_after: float | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.retry_after = retry_after
        self.details = details or {}


class Held(HoldfastError):
    """The lock can't be had at once."""


class WaitTimedOut(HoldfastError):
    """The lock, or the ticket's turn, did not come in time."""


class Lost(HoldfastError):
    """The grant, lease or turn was lost: somebody else may have what it stood for."""


class NotHolder(HoldfastError):
    """The token is not of a current grant."""


class LimitReached(HoldfastError):
    """There is no room for one more."""


class Overloaded(LimitReached):
    """Too much is under way, and it did not get better in the time of the call."""


class SlowReader(LimitReached):
    """A reader did not keep up with its stream."""


class Unavailable(HoldfastError):
    """The server could not be reached in the time of the call. What became of it is unknown."""


class DeadlineExceeded(HoldfastError):
    """The time of the call has passed. What became of it is unknown."""


class Unauthenticated(HoldfastError):
    """The API token is missing or unknown."""


class PermissionDenied(HoldfastError):
    """The API token's role does not allow it."""


class Invalid(HoldfastError, ValueError):
    """A parameter is out of its bounds."""

    field: str
    """The parameter at fault, as the schema names it; empty: none in particular."""

    def __init__(self, message: str, *, field: str = "", **more: Any) -> None:
        super().__init__(message, **more)
        self.field = field


class NotFound(HoldfastError):
    """There is no such thing."""


class AlreadyExists(HoldfastError):
    """There is one with that name."""


class RevisionMismatch(HoldfastError):
    """The value has another revision than was expected."""

    @property
    def revision(self) -> int:
        """The revision that it has; 0: there is no value."""
        return int(self.details.get("revision", "0"))


class TicketLapsed(Lost):
    """The ticket was not accepted or not done in time."""


class TicketEnded(HoldfastError):
    """The ticket was completed or cancelled by somebody else, or its FIFO deleted."""


class NotAccepted(HoldfastError):
    """The ticket's turn has not been accepted."""


class DeliveryEnded(Lost):
    """The item's delivery has ended: it was settled before, or not acknowledged in time."""


class Internal(HoldfastError):
    """A defect of the server, or an answer that this client can't read."""


_BY_REASON: dict[str, type[HoldfastError]] = {
    "LOCK_HELD": Held,
    "WAIT_TIMED_OUT": WaitTimedOut,
    "TURN_TIMED_OUT": WaitTimedOut,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_HOLDER": NotHolder,
    "LEASE_NOT_FOUND": Lost,
    "LEASE_EXPIRED": Lost,
    "LIMIT_REACHED": LimitReached,
    "OVERLOADED": Overloaded,
    "SLOW_READER": SlowReader,
    "STORAGE_FULL": LimitReached,
    "BODY_TOO_LARGE": Invalid,
    "REVISION_MISMATCH": RevisionMismatch,
    "TICKET_LAPSED": TicketLapsed,
    "TICKET_ENDED": TicketEnded,
    "TICKET_NOT_ACCEPTED": NotAccepted,
    "DELIVERY_ENDED": DeliveryEnded,
}
_BY_CODE: dict[int, type[HoldfastError]] = {
    grpc.StatusCode.INVALID_ARGUMENT.value[0]: Invalid,
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND.value[0]: NotFound,
    grpc.StatusCode.ALREADY_EXISTS.value[0]: AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED.value[0]: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: LimitReached,
    grpc.StatusCode.UNAVAILABLE.value[0]: Unavailable,
    grpc.StatusCode.CANCELLED.value[0]: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED.value[0]: Unauthenticated,
}
# What a broken connection, or one over which no answer came in time, looks like. The server's own
# errors have a reason.
_BROKEN = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
# What changed nothing, or is safe to repeat with its request id.
_RETRIED = frozenset({"UNAVAILABLE", "STOPPING", "OVERLOADED"})


def _make(
    code: int,
    reason: str,
    message: str,
    field: str,
    retry_after: float | None,
    details: Mapping[str, str],
) -> HoldfastError:
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, Internal)
    if kind is Invalid:
        return Invalid(
            message, field=field, reason=reason, retry_after=retry_after, details=details
        )
    return kind(message, reason=reason, retry_after=retry_after, details=details)


def of_call_error(error: CallError) -> HoldfastError:
    """Return the error that one call on a stream met."""
    retry = error.retry_after.ToTimedelta() if error.HasField("retry_after") else None
    after = retry.total_seconds() if retry is not None else None
    return _make(error.code, error.reason, error.message, error.field, after, {})


def _status_of(error: grpc.aio.AioRpcError) -> Any:
    # It reads no more than code, details and trailing metadata, which this error has as well.
    call: Any = error
    return rpc_status.from_call(call) if error.trailing_metadata() else None


def of_rpc(error: grpc.aio.AioRpcError) -> HoldfastError:
    """Return the error that a call of its own met."""
    code = error.code()
    reason, message, field = "", error.details() or "", ""
    retry_after: float | None = None
    details: dict[str, str] = {}
    status = _status_of(error)
    for detail in status.details if status else ():
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            reason, details = info.reason, dict(info.metadata)
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    if not reason and code in _BROKEN:
        code, reason = grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"
    return _make(code.value[0], reason, message, field, retry_after, details)


def is_retried(error: HoldfastError) -> bool:
    """Return whether the same call with the same request id may well succeed."""
    return error.reason in _RETRIED
