"""Queues: items in order, each to one consumer."""

import contextlib
import datetime
from collections.abc import Generator
from types import TracebackType
from typing import Self

from holdfast._convert import Data
from holdfast._runner import Runner
from holdfast.aio import Item as AioItem
from holdfast.aio import Queue as AioQueue
from holdfast.types import QueueState


class Item:
    """An item that was delivered and has to be acknowledged, or else is delivered again.

    As a context manager it is acknowledged at the end, and given back where the block ends with an
    exception.
    """

    def __init__(self, runner: Runner, item: AioItem) -> None:
        self._runner = runner
        self._item = item

    @property
    def id(self) -> int:
        """Items of a queue are in the order of their ids."""
        return self._item.id

    @property
    def value(self) -> bytes:
        """The item."""
        return self._item.value

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included."""
        return self._item.deliveries

    @property
    def enqueued_at(self) -> datetime.datetime:
        """When it was put in line, by the server's wall clock."""
        return self._item.enqueued_at

    @property
    def receipt(self) -> str:
        """What proves the right to settle this delivery."""
        return self._item.receipt

    def ack(self) -> None:
        """Say that the item has been dealt with: it is gone.

        Raises `DeliveryEnded` where the time for that was over: it is delivered again.
        """
        self._runner.run(self._item.ack())

    def give_back(self) -> None:
        """Give the item back: it is delivered again at once, before those behind it."""
        self._runner.run(self._item.give_back())

    def extend(self, ack_timeout: float | None = None) -> float:
        """Start the time to acknowledge it anew, and return how many seconds there are.

        `ack_timeout`: how many seconds from now; None: as it was delivered.
        """
        return self._runner.run(self._item.extend(ack_timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._item.__aexit__(kind, error, trace))


class Queue:
    """A queue. Making this object asks nothing of the server; a queue appears at first use."""

    def __init__(self, runner: Runner, queue: AioQueue) -> None:
        self._runner = runner
        self._queue = queue

    @property
    def name(self) -> str:
        """The queue's name, 1 to 512 bytes of UTF-8 without control characters."""
        return self._queue.name

    def configure(self, *, deliveries_max: int) -> None:
        """Say after how many deliveries an item goes to the dead letters; 0: never."""
        self._runner.run(self._queue.configure(deliveries_max=deliveries_max))

    def state(self) -> QueueState:
        """Return how many items there are."""
        return self._runner.run(self._queue.state())

    def push(self, value: Data, *, ttl: float | None = None) -> int:
        """Put an item of at most 64 KiB at the end, and return its id.

        `ttl`: for how many seconds it may wait for a consumer; None: for ever. This is
        `enqueueValue(dir, value, ttl)` of the etcd patterns.
        """
        return self._runner.run(self._queue.push(value, ttl=ttl))

    def pop(self, wait: float | None = None) -> bytes | None:
        """Take the oldest item for good, waiting for one; None: there was none in time.

        `wait`: how many seconds; None: as long as it takes; 0: look once. Nobody else receives what
        this returned. This is `dequeueValue(dir)` of the etcd patterns.
        """
        return self._runner.run(self._queue.pop(wait))

    def take(self, wait: float | None = None, *, ack_timeout: float = 60.0) -> Item | None:
        """Take the oldest item, to be acknowledged in `ack_timeout` seconds, waiting as `pop`."""

        async def undo(item: AioItem | None) -> None:
            if item is not None:
                await item.give_back()

        item = self._runner.run(self._queue.take(wait, ack_timeout=ack_timeout), undo)
        return None if item is None else Item(self._runner, item)

    def consume(self, *, window: int = 1, ack_timeout: float = 60.0) -> Generator[Item, None, None]:
        """Iterate over the items as they come, each to be acknowledged: `with item: ...`.

        `window`: how many items may be with this consumer at once, 1 to 1,000; with more than one
        they are fetched ahead, and `ack_timeout`, in seconds, counts from then. It goes on over
        broken connections; what was fetched ahead is given back at the end.
        """
        items = self._runner.iterate(self._queue.consume(window=window, ack_timeout=ack_timeout))
        with contextlib.closing(items):
            for item in items:
                yield Item(self._runner, item)
