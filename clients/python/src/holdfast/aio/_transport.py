"""The connection: credentials, calls of their own, and their retries."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from holdfast import errors
from holdfast.v1.fifo_service_pb2_grpc import FifoServiceStub
from holdfast.v1.lease_service_pb2_grpc import LeaseServiceStub
from holdfast.v1.lock_service_pb2_grpc import LockServiceStub
from holdfast.v1.queue_service_pb2_grpc import QueueServiceStub
from holdfast.v1.session_service_pb2_grpc import SessionServiceStub
from holdfast.v1.value_service_pb2_grpc import ValueServiceStub

Pem = str | Path | bytes
"""A path of a file in PEM, or its bytes."""

PAUSE_MIN = 0.05
PAUSE_MAX = 2.0
_CONNECT_TIMEOUT_MS = 2_000
_KEEPALIVE_MS = 3_000
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_OPTIONS: list[tuple[str, Any]] = [
    # A channel that is made anew has to make a connection anew.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", _CONNECT_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Finds a dead peer under a call of its own; the session has heartbeats.
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),
]


class Pause:
    """Ever longer pauses between attempts, with jitter."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with a short one again."""
        self._next = PAUSE_MIN

    def length(self) -> float:
        """Return the next one's length in seconds."""
        length = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, PAUSE_MAX)
        return length


def is_cancelled() -> bool:
    """Return whether the running task is to end; if not, it is only its call that was cancelled."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _pem(source: Pem | None) -> bytes | None:
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()


class Wire:
    """One channel with its stubs."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.fifos: Any = FifoServiceStub(channel)
        self.leases: Any = LeaseServiceStub(channel)
        self.locks: Any = LockServiceStub(channel)
        self.queues: Any = QueueServiceStub(channel)
        self.sessions: Any = SessionServiceStub(channel)
        self.values: Any = ValueServiceStub(channel)


class Transport:
    """What every part of a client calls the server through."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None,
        ca: Pem | None,
        cert: Pem | None,
        key: Pem | None,
        tls: bool | None,
        timeout: float,
    ) -> None:
        scheme, _, rest = address.rpartition("://")
        self._target = rest
        secure = tls if tls is not None else scheme == "https" or ca is not None or cert is not None
        self._credentials = (
            grpc.ssl_channel_credentials(_pem(ca), _pem(key), _pem(cert)) if secure else None
        )
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.timeout = timeout
        self._wire: Wire | None = None

    @property
    def wire(self) -> Wire:
        """The channel of the moment."""
        if self._wire is None:
            channel = (
                grpc.aio.secure_channel(self._target, self._credentials, options=_OPTIONS)
                if self._credentials
                else grpc.aio.insecure_channel(self._target, options=_OPTIONS)
            )
            self._wire = Wire(channel)
        return self._wire

    async def renew(self, seen: Wire) -> None:
        """Give up the connection that was `seen` to be dead; calls on it go to the next one."""
        if self._wire is seen:
            self._wire = None
            await seen.channel.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            await self._wire.channel.close()

    async def call(
        self,
        method: Callable[[Wire], Callable[..., Awaitable[Any]]],
        request: Any,
        *,
        wait: float = 0.0,
        retried: bool = True,
    ) -> Any:
        """Make a call that may take `wait` seconds and the time-out, and return its answer.

        It is repeated while the server can't be reached or asks to come back. So it must be safe to
        repeat: a read, or a change with a request id.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait + self.timeout
        pause = Pause()
        while True:
            left = max(deadline - loop.time(), 0.001)
            error = await self._attempt(method, request, left)
            if not isinstance(error, errors.HoldfastError):
                return error
            length = max(error.retry_after or 0.0, pause.length())
            if not retried or not errors.is_retried(error) or loop.time() + length >= deadline:
                raise error
            await asyncio.sleep(length)

    async def _attempt(
        self,
        method: Callable[[Wire], Callable[..., Awaitable[Any]]],
        request: Any,
        timeout: float,
    ) -> Any:
        try:
            return await method(self.wire)(request, timeout=timeout, metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            return errors.of_rpc(error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            return connection_lost()


def connection_lost() -> errors.Unavailable:
    """Return the error of a call whose connection was given up."""
    return errors.Unavailable("the connection was lost", reason="UNAVAILABLE")
