"""Queues: items in order, each to one consumer."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

import grpc.aio

from holdfast import _convert, errors
from holdfast._convert import Data
from holdfast.aio._transport import Pause, Transport, connection_lost, is_cancelled
from holdfast.types import QueueState
from holdfast.v1 import queue_service_pb2
from holdfast.v1.queue_service_pb2 import (
    AcknowledgeRequest,
    ConfigureQueueRequest,
    ConsumeOpen,
    ConsumeRequest,
    DequeueRequest,
    EnqueueRequest,
    ExtendRequest,
    GetQueueRequest,
    ReturnRequest,
)

POP_ACK_TIMEOUT = 30.0
"""How long an item that was popped is out of line until this client has acknowledged it."""
CLOSE_TIMEOUT = 2.0


class Item:
    """An item that was delivered and has to be acknowledged, or else is delivered again.

    As an asynchronous context manager it is acknowledged at the end, and given back where the block
    ends with an exception.
    """

    def __init__(
        self,
        transport: Transport,
        queue: str,
        message: queue_service_pb2.Item,
    ) -> None:
        self._transport = transport
        self._queue = queue
        self._message = message
        self._settled = False

    @property
    def id(self) -> int:
        """Items of a queue are in the order of their ids."""
        return self._message.id

    @property
    def value(self) -> bytes:
        """The item."""
        return self._message.value

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included."""
        return self._message.deliveries

    @property
    def enqueued_at(self) -> datetime.datetime:
        """When it was put in line, by the server's wall clock."""
        return self._message.enqueue_time.ToDatetime(datetime.UTC)

    @property
    def receipt(self) -> str:
        """What proves the right to settle this delivery."""
        return self._message.receipt

    async def ack(self) -> None:
        """Say that the item has been dealt with: it is gone.

        Raises `DeliveryEnded` where the time for that was over: it is delivered again.
        """
        self._settled = True
        request = AcknowledgeRequest(
            queue=self._queue, receipt=self.receipt, request_id=_convert.request_id()
        )
        await self._transport.call(lambda wire: wire.queues.Acknowledge, request)

    async def give_back(self) -> None:
        """Give the item back: it is delivered again at once, before those behind it."""
        self._settled = True
        request = ReturnRequest(
            queue=self._queue, receipt=self.receipt, request_id=_convert.request_id()
        )
        await self._transport.call(lambda wire: wire.queues.Return, request)

    async def extend(self, ack_timeout: float | None = None) -> float:
        """Start the time to acknowledge it anew, and return how many seconds there are.

        `ack_timeout`: how many seconds from now; None: as it was delivered.
        """
        request = ExtendRequest(
            queue=self._queue,
            receipt=self.receipt,
            ack_timeout=_convert.span(ack_timeout, "ack_timeout"),
        )
        answer = await self._transport.call(lambda wire: wire.queues.Extend, request)
        return _convert.seconds(answer.ack_in)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._settled:
            return
        if error is None:
            await self.ack()
            return
        with contextlib.suppress(Exception):
            await self.give_back()


class Queue:
    """A queue. Making this object asks nothing of the server; a queue appears at first use."""

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport = transport
        self._name = name

    @property
    def name(self) -> str:
        """The queue's name, 1 to 512 bytes of UTF-8 without control characters."""
        return self._name

    async def configure(self, *, deliveries_max: int) -> None:
        """Say after how many deliveries an item goes to the dead letters; 0: never."""
        request = ConfigureQueueRequest(
            queue=self._name, deliveries_max=deliveries_max, request_id=_convert.request_id()
        )
        await self._transport.call(lambda wire: wire.queues.ConfigureQueue, request)

    async def state(self) -> QueueState:
        """Return how many items there are."""
        request = GetQueueRequest(queue=self._name)
        answer = await self._transport.call(lambda wire: wire.queues.GetQueue, request)
        return _convert.queue_state(answer.queue)

    async def push(self, value: Data, *, ttl: float | None = None) -> int:
        """Put an item of at most 64 KiB at the end, and return its id.

        `ttl`: for how many seconds it may wait for a consumer; None: for ever. This is
        `enqueueValue(dir, value, ttl)` of the etcd patterns.
        """
        request = EnqueueRequest(
            queue=self._name,
            value=_convert.data(value),
            ttl=_convert.span(ttl, "ttl"),
            request_id=_convert.request_id(),
        )
        answer = await self._transport.call(lambda wire: wire.queues.Enqueue, request)
        return int(answer.id)

    async def pop(self, wait: float | None = None) -> bytes | None:
        """Take the oldest item for good, waiting for one; None: there was none in time.

        `wait`: how many seconds; None: as long as it takes; 0: look once. Nobody else receives what
        this returned. This is `dequeueValue(dir)` of the etcd patterns.
        """
        loop = asyncio.get_running_loop()
        ends = None if wait is None else loop.time() + wait
        while True:
            left = None if ends is None else max(ends - loop.time(), 0.0)
            item = await self.take(left, ack_timeout=POP_ACK_TIMEOUT)
            if item is None:
                return None
            try:
                await item.ack()
            except errors.DeliveryEnded:
                continue
            return item.value

    async def take(self, wait: float | None = None, *, ack_timeout: float = 60.0) -> Item | None:
        """Take the oldest item, to be acknowledged in `ack_timeout` seconds, waiting as `pop`."""
        loop = asyncio.get_running_loop()
        ends = None if wait is None else loop.time() + wait
        _convert.span(wait, "wait")
        while True:
            left = _convert.WAIT_MAX if ends is None else max(ends - loop.time(), 0.0)
            left = min(left, _convert.WAIT_MAX)
            request = DequeueRequest(
                queue=self._name,
                wait=_convert.span(left, "wait"),
                ack_timeout=_convert.span(ack_timeout, "ack_timeout"),
                request_id=_convert.request_id(),
            )
            try:
                answer: Any = await self._transport.call(
                    lambda wire: wire.queues.Dequeue, request, wait=left
                )
            except errors.DeliveryEnded:
                # A retry of a delivery whose answer was lost, and whose time is over.
                continue
            except errors.Unavailable:
                # Who waits as long as it takes waits for the server too.
                if ends is None:
                    continue
                raise
            if answer.HasField("item"):
                return Item(self._transport, self._name, answer.item)
            if ends is not None and loop.time() >= ends:
                return None

    async def consume(
        self, *, window: int = 1, ack_timeout: float = 60.0
    ) -> AsyncGenerator[Item, None]:
        """Iterate over the items as they come, each to be acknowledged: `async with item: ...`.

        `window`: how many items may be with this consumer at once, 1 to 1,000; with more than one
        they are fetched ahead, and `ack_timeout`, in seconds, counts from then. It goes on over
        broken connections; what was fetched ahead is given back at the end.
        """
        request = ConsumeOpen(
            queue=self._name, window=window, ack_timeout=_convert.span(ack_timeout, "ack_timeout")
        )
        pause = Pause()
        while True:
            call = self._transport.wire.queues.Consume(metadata=self._transport.metadata)
            try:
                await call.write(ConsumeRequest(open=request))
                while (told := await call.read()) is not grpc.aio.EOF:
                    if told.WhichOneof("event") == "item":
                        pause.reset()
                        yield Item(self._transport, self._name, told.item)
                failure: errors.HoldfastError = connection_lost()
            except grpc.aio.AioRpcError as error:
                failure = errors.of_rpc(error)
            except asyncio.InvalidStateError:
                failure = connection_lost()
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                failure = connection_lost()
            finally:
                await self._end(call)
            if not errors.is_retried(failure):
                raise failure
            await asyncio.sleep(max(pause.length(), failure.retry_after or 0.0))

    async def _end(self, call: Any) -> None:
        """Give back what was fetched ahead."""
        if call.done():
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                # Nothing more is delivered from here on: what is given back would come again.
                await call.done_writing()
                while (told := await call.read()) is not grpc.aio.EOF:
                    if told.WhichOneof("event") == "item":
                        await Item(self._transport, self._name, told.item).give_back()
        except (
            TimeoutError,
            asyncio.InvalidStateError,
            grpc.aio.AioRpcError,
            errors.HoldfastError,
        ):
            # It comes again by itself, after its time.
            return
        finally:
            call.cancel()
