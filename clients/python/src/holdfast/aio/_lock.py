"""Locks, and what is made of them: reader/writer locks, semaphores, elections."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar, Unpack

from holdfast import _convert, errors
from holdfast._options import AcquireOptions, HoldOptions
from holdfast.aio._grant import CancelScope, Grant
from holdfast.aio._lease import Ending
from holdfast.aio._session import Session
from holdfast.aio._transport import Transport
from holdfast.aio._watch import watch
from holdfast.types import Holder, LockState, Mode
from holdfast.v1.lock_service_pb2 import (
    AcquireLockRequest,
    ForceReleaseLockRequest,
    GetLockRequest,
    LockMode,
    WatchLockRequest,
)

T = TypeVar("T")


class Sessions:
    """Where the locks of a client find the session for a TTL."""

    def __init__(self, transport: Transport, owner: str) -> None:
        self.transport = transport
        self.owner = owner

    def for_ttl(self, ttl: float | None) -> Session:
        """Return the session whose lease has this TTL; None: the usual one."""
        raise NotImplementedError


class Lock:
    """A named lock. Making this object asks nothing of the server."""

    def __init__(
        self,
        sessions: Sessions,
        name: str,
        *,
        mode: Mode = Mode.EXCLUSIVE,
        max_shared: int | None = None,
    ) -> None:
        self._sessions = sessions
        self._name = name
        self._mode = mode
        self._max_shared = max_shared

    @property
    def name(self) -> str:
        """The lock's name, 1 to 512 bytes of UTF-8 without control characters."""
        return self._name

    async def acquire(
        self,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        mode: Mode | None = None,
        max_shared: int | None = None,
        release_delay: float | None = None,
        on_position: Callable[[int], object] | None = None,
    ) -> Grant:
        """Take the lock, standing in line for it.

        `ttl`: after how many seconds without this process the lock goes to the next, 0.1 to 30
        days; None: the client's. Grants of one TTL share one lease and its heartbeat.
        `wait`: how many seconds to stand in line; None: as long as it takes; 0: ask once.
        `owner` and `metadata`: who asks, for people to read.
        `mode`, `max_shared`: with whom the lock may be shared, and with how many.
        `release_delay`: for how many seconds the server holds the lock back when the grant is lost,
        so that its work can be stopped before the next holder begins: 0 to an hour; None: not at
        all. After a release the lock goes on at once.
        `on_position` is called with the place in line, now and when it changes; 1 is the next.

        A cancelled call leaves the line, and what was granted at that moment is given back. A place
        in line outlives a broken connection.

        Raises `Held` where `wait` is 0, `WaitTimedOut` where it has passed, and `Unavailable` where
        the server could not be reached in `wait` and the client's time-out. Without `wait` it tries
        for as long as it takes.
        """
        loop = asyncio.get_running_loop()
        ends = None if wait is None else loop.time() + max(wait, 0.0)
        _convert.span(wait, "wait")
        session = self._sessions.for_ttl(ttl)
        while True:
            ask = self._asker(ends, owner, metadata, mode or self._mode, max_shared, release_delay)
            left = None if ends is None else max(ends - loop.time(), 0.0)
            try:
                return await session.acquire(ask, wait=left, on_queued=on_position)
            except errors.Lost as error:
                # The place in line went with its lease; the next attempt has another.
                late = ends is not None and loop.time() > ends + self._sessions.transport.timeout
                if session.is_over or late:
                    raise
                await asyncio.sleep(0.05 if error.reason == "LEASE_EXPIRED" else 0.2)
            except errors.WaitTimedOut:
                if ends is not None and loop.time() < ends:
                    continue
                if ends is not None:
                    raise
            except errors.Held as error:
                if wait == 0:
                    raise
                raise errors.WaitTimedOut(
                    error.message, reason="WAIT_TIMED_OUT", details=error.details
                ) from error

    def _asker(
        self,
        ends: float | None,
        owner: str | None,
        metadata: Mapping[str, str] | None,
        mode: Mode,
        max_shared: int | None,
        release_delay: float | None,
    ) -> Callable[[], AcquireLockRequest]:
        loop = asyncio.get_running_loop()
        request = AcquireLockRequest(
            lock=self._name,
            mode=LockMode.Name(mode.value),
            max_shared=max_shared or self._max_shared or 0,
            owner=self._sessions.owner if owner is None else owner,
            metadata=metadata or {},
            release_delay=_convert.span(release_delay, "release_delay"),
            request_id=_convert.request_id(),
        )

        def ask() -> AcquireLockRequest:
            left = _convert.WAIT_MAX if ends is None else max(ends - loop.time(), 0.0)
            wait = _convert.span(min(left, _convert.WAIT_MAX), "wait")
            if wait is not None:
                request.wait.CopyFrom(wait)
            return request

        return ask

    async def try_acquire(self, **options: Unpack[AcquireOptions]) -> Grant | None:
        """Take the lock if it can be had at once; None: it is held. Options as for `acquire`."""
        try:
            return await self.acquire(wait=0, **options)
        except errors.Held:
            return None

    @asynccontextmanager
    async def hold(
        self, *, cancel_on_lost: bool = True, **options: Unpack[HoldOptions]
    ) -> AsyncIterator[Grant]:
        """Hold the lock for the time of an `async with` block. Options as for `acquire`.

        The block is cancelled when the grant is lost, and `Lost` raised at its end; without
        `cancel_on_lost` it is only raised at the end.
        """
        async with await self.acquire(**options) as grant:
            if cancel_on_lost:
                with CancelScope(grant):
                    yield grant
            else:
                yield grant

    async def run(
        self, block: Callable[[Grant], Awaitable[T]], **options: Unpack[HoldOptions]
    ) -> T:
        """Run `block` under the lock, waiting for it, and return its result.

        The lock is released whatever the block does. This is `lock(key, ttl) { block }` of the etcd
        patterns.
        """
        async with self.hold(**options) as grant:
            return await block(grant)

    async def try_run(
        self, block: Callable[[Grant], Awaitable[T]], **options: Unpack[AcquireOptions]
    ) -> T:
        """Run `block` under the lock if it can be had at once, and return its result.

        Raises `Held`, and does not run the block, where another holds it. This is
        `tryLock(key, ttl) { block }` of the etcd patterns.
        """
        async with self.hold(wait=0, **options) as grant:
            return await block(grant)

    async def state(self) -> LockState:
        """Return who holds the lock and how many wait. One that nobody has named is free."""
        request = GetLockRequest(lock=self._name)
        answer = await self._sessions.transport.call(lambda wire: wire.locks.GetLock, request)
        return _convert.lock_state(answer.lock)

    async def watch(self) -> AsyncGenerator[LockState, None]:
        """Iterate over the state, now and whenever its holders change, until the caller stops.

        States may be left out where they change fast, never the last one.
        """
        request = WatchLockRequest(lock=self._name)
        news = watch(self._sessions.transport, lambda wire: wire.locks.WatchLock, request)
        async for told in news:
            if told.WhichOneof("event") == "state":
                yield _convert.lock_state(told.state)
            else:
                yield await self.state()

    async def force_release(self, fencing_token: int = 0) -> int:
        """End the grant with this fencing token, or with 0 all, of others too; return how many.

        With API tokens it wants the role `admin`. It does not stop the former holder's work.
        """
        request = ForceReleaseLockRequest(
            lock=self._name, fencing_token=fencing_token, request_id=_convert.request_id()
        )
        transport = self._sessions.transport
        answer = await transport.call(lambda wire: wire.locks.ForceReleaseLock, request)
        return int(answer.released_count)


class RWLock:
    """A reader/writer lock: any number of readers together, or one writer alone."""

    def __init__(self, sessions: Sessions, name: str) -> None:
        self.reader = Lock(sessions, name, mode=Mode.SHARED)
        """The lock, as readers take it."""
        self.writer = Lock(sessions, name)
        """The lock, as a writer takes it."""


class Election:
    """An election: who holds the lock of its name leads."""

    def __init__(self, sessions: Sessions, name: str) -> None:
        self._lock = Lock(sessions, name)

    @property
    def name(self) -> str:
        """The election's name, which is that of its lock."""
        return self._lock.name

    async def campaign(self, **options: Unpack[HoldOptions]) -> Grant:
        """Wait to be elected. Who leads resigns with `release`. Options as for `Lock.acquire`."""
        return await self._lock.acquire(**options)

    def lead(
        self, *, cancel_on_lost: bool = True, **options: Unpack[HoldOptions]
    ) -> AbstractAsyncContextManager[Grant]:
        """Lead for the time of an `async with` block, as `Lock.hold` holds."""
        return self._lock.hold(cancel_on_lost=cancel_on_lost, **options)

    async def resign(self, leadership: Grant) -> None:
        """Stop leading. Raises `Lost` where the leadership was lost before."""
        await leadership.release()

    async def leader(self) -> Holder | None:
        """Return who leads; None: nobody."""
        return _first(await self._lock.state())

    async def observe(self) -> AsyncGenerator[Holder | None, None]:
        """Iterate over who leads, now and whenever that changes; None: nobody."""
        last: int | None = None
        async for state in self._lock.watch():
            leader = _first(state)
            token = leader.fencing_token if leader else 0
            if token != last:
                last = token
                yield leader


def _first(state: LockState) -> Holder | None:
    return state.holders[0] if state.holders else None


class Lease(Sessions):
    """One heartbeat for many locks: a lease, which is renewed until it is revoked or lost.

    Everything that was acquired on it ends with it. As an asynchronous context manager it is made
    at the start and revoked at the end.
    """

    def __init__(self, sessions: Sessions, session: Session) -> None:
        super().__init__(sessions.transport, sessions.owner)
        self._session = session

    def for_ttl(self, ttl: float | None) -> Session:
        """Return the session of this lease, which has a TTL of its own."""
        if ttl is not None:
            raise errors.Invalid("ttl: is the lease's", field="ttl", reason="INVALID_ARGUMENT")
        return self._session

    def lock(self, name: str) -> Lock:
        """Return a lock whose grants hang on this lease."""
        return Lock(self, name)

    def rw_lock(self, name: str) -> RWLock:
        """Return a reader/writer lock whose grants hang on this lease."""
        return RWLock(self, name)

    def semaphore(self, name: str, n: int) -> Lock:
        """Return a semaphore whose grants hang on this lease."""
        return Lock(self, name, mode=Mode.SHARED, max_shared=n)

    @property
    def ending(self) -> Ending:
        """What knows when the lease is lost."""
        if self._session.lease is None:
            raise RuntimeError("the lease is not open: use `async with`, or `await lease.open()`")
        return self._session.lease

    @property
    def id(self) -> str:
        """The lease's id: whoever knows it may use and revoke it."""
        return self._session.lease.id if self._session.lease else ""

    @property
    def lost(self) -> asyncio.Event:
        """An event that is set when the lease is lost, and all that hangs on it."""
        return self.ending.lost

    def on_lost(self, callback: Callable[[errors.Lost], object]) -> None:
        """Have `callback` called with the reason when the lease is lost."""
        self.ending.on_lost(callback)

    async def open(self) -> "Lease":
        """Make the lease, where it is not made yet."""
        await self._session.open()
        return self

    async def revoke(self) -> None:
        """End the lease, and everything that hangs on it.

        Raises `Lost` where it was lost, and `Unavailable` where the server could not be reached in
        the client's time-out; it then ends when its TTL has passed.
        """
        lost = self._session.is_over
        loss = self.ending.loss if lost else None
        failure = await self._session.close(self.transport.timeout)
        if loss is not None:
            raise loss
        if failure is not None:
            raise failure

    async def __aenter__(self) -> "Lease":
        return await self.open()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self.revoke()
        except errors.HoldfastError:
            if error is None:
                raise
