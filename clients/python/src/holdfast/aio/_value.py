"""Values: small, keyed, changed atomically."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from holdfast import _convert, errors
from holdfast._convert import Data
from holdfast.aio._transport import Pause, Transport
from holdfast.aio._watch import watch
from holdfast.types import Value as Kept
from holdfast.v1.value_service_pb2 import (
    CompareAndSetValueRequest,
    DeleteValueRequest,
    GetValueRequest,
    ListValuesRequest,
    PutValueRequest,
    WatchValueRequest,
)

Transform = Callable[[bytes | None], Data]
"""What makes the new value out of what is there; None: nothing is."""


class Value:
    """What is kept under a key: at most 64 KiB of any kind."""

    def __init__(self, transport: Transport, key: str) -> None:
        self._transport = transport
        self._key = key

    @property
    def key(self) -> str:
        """The key, 1 to 512 bytes of UTF-8 without control characters."""
        return self._key

    async def get(self) -> Kept | None:
        """Return what is there; None: nothing is."""
        request = GetValueRequest(key=self._key)
        try:
            answer = await self._transport.call(lambda wire: wire.values.GetValue, request)
        except errors.NotFound:
            return None
        return _convert.value(answer.value)

    async def put(self, value: Data, *, ttl: float | None = None) -> int:
        """Keep a value in place of what is there, and return its revision.

        `ttl`: how many seconds it stays, 0.1 to 30 days; None: until it is deleted.
        """
        request = PutValueRequest(
            key=self._key,
            value=_convert.data(value),
            ttl=_convert.span(ttl, "ttl"),
            request_id=_convert.request_id(),
        )
        answer = await self._transport.call(lambda wire: wire.values.PutValue, request)
        return int(answer.revision)

    async def compare_and_set(
        self, value: Data, expected_revision: int, *, ttl: float | None = None
    ) -> int:
        """Keep a value if what is there has the revision (0: nothing is), and return its revision.

        Raises `RevisionMismatch` where it has another.
        """
        request = CompareAndSetValueRequest(
            key=self._key,
            value=_convert.data(value),
            expected_revision=expected_revision,
            ttl=_convert.span(ttl, "ttl"),
            request_id=_convert.request_id(),
        )
        answer = await self._transport.call(lambda wire: wire.values.CompareAndSetValue, request)
        return int(answer.revision)

    async def delete(self, *, expected_revision: int = 0) -> bool:
        """Take the value away, and return whether there was one.

        Raises `RevisionMismatch` where it has another revision than the expected one (0: any).
        """
        request = DeleteValueRequest(
            key=self._key,
            expected_revision=expected_revision,
            request_id=_convert.request_id(),
        )
        try:
            await self._transport.call(lambda wire: wire.values.DeleteValue, request)
        except errors.NotFound:
            return False
        return True

    async def watch(self) -> AsyncGenerator[Kept | None, None]:
        """Iterate over what is there, now and whenever it changes, until the caller stops.

        None: nothing is there. Over a broken connection it goes on with what is there then.
        """
        request = WatchValueRequest(key=self._key)
        last: int | None = None
        async for told in watch(self._transport, lambda wire: wire.values.WatchValue, request):
            if told.WhichOneof("event") == "state":
                there = _convert.value(told.state.value) if told.state.HasField("value") else None
            elif told.change.kind == 1:
                there = _convert.value(told.change.value)
            else:
                there = None
            revision = there.revision if there else 0
            if revision != last:
                last = revision
                yield there

    async def try_transform(
        self, change: Transform, *, ttl: float | None = None
    ) -> tuple[bool, Kept | None]:
        """Read, apply `change`, and write back only if nobody else has written meanwhile.

        Returns whether that succeeded, and what is there now. This is `tryTransformValue(key, f)`
        of the etcd patterns.
        """
        before = await self.get()
        changed = change(before.value if before else None)
        return await self.replace(before, changed, ttl=ttl)

    async def replace(
        self, before: Kept | None, value: Data, *, ttl: float | None = None
    ) -> tuple[bool, Kept | None]:
        """Put a value in place of the one `before`, if that is still there.

        Returns whether that succeeded, and what is there now.
        """
        data = _convert.data(value)
        try:
            revision = await self.compare_and_set(data, before.revision if before else 0, ttl=ttl)
        except errors.RevisionMismatch:
            return False, await self.get()
        return True, Kept(key=self._key, value=data, revision=revision, expires_in=ttl)

    async def transform(self, change: Transform, *, ttl: float | None = None) -> Kept:
        """Do `try_transform` again and again until it succeeds, and return the value after it.

        `change` may be called several times. This is `transformValue(key, f)` of the etcd patterns.
        """
        pause = Pause()
        while True:
            done, there = await self.try_transform(change, ttl=ttl)
            if done and there is not None:
                return there
            await asyncio.sleep(pause.length() / 10)


async def values(transport: Transport, prefix: str) -> AsyncGenerator[Kept, None]:
    """Iterate over the values whose keys begin with `prefix`, in the order of their keys' bytes."""
    token = ""
    while True:
        request = ListValuesRequest(prefix=prefix, page_token=token)
        page = await transport.call(lambda wire: wire.values.ListValues, request)
        for each in page.values:
            yield _convert.value(each)
        token = page.next_page_token
        if not token:
            return
