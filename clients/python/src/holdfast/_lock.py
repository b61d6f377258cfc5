"""Locks, and what is made of them: reader/writer locks, semaphores, elections."""

from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Self, TypeVar, Unpack

from holdfast._held import Grant, LossEvent
from holdfast._options import AcquireOptions, HoldOptions
from holdfast._runner import Runner, in_thread
from holdfast.aio import Election as AioElection
from holdfast.aio import Grant as AioGrant
from holdfast.aio import Lease as AioLease
from holdfast.aio import Lock as AioLock
from holdfast.aio import RWLock as AioRWLock
from holdfast.errors import Held, HoldfastError, Lost
from holdfast.types import Holder, LockState, Mode

T = TypeVar("T")


class Lock:
    """A named lock. Making this object asks nothing of the server."""

    def __init__(self, runner: Runner, lock: AioLock) -> None:
        self._runner = runner
        self._lock = lock

    @property
    def name(self) -> str:
        """The lock's name, 1 to 512 bytes of UTF-8 without control characters."""
        return self._lock.name

    def acquire(
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
        `on_position` is called, in a thread of its own, with the place in line, now and when it
        changes; 1 is the next.

        An interrupted call (Ctrl-C) leaves the line, and what was granted at that moment is given
        back. A place in line outlives a broken connection.

        Raises `Held` where `wait` is 0, `WaitTimedOut` where it has passed, and `Unavailable` where
        the server could not be reached in `wait` and the client's time-out. Without `wait` it tries
        for as long as it takes.
        """
        told = on_position
        work = self._lock.acquire(
            ttl=ttl,
            wait=wait,
            owner=owner,
            metadata=metadata,
            mode=mode,
            max_shared=max_shared,
            release_delay=release_delay,
            on_position=None if told is None else lambda place: in_thread(told, place),
        )
        return self._runner.run(self._wrapped(work), _undo)

    def try_acquire(self, **options: Unpack[AcquireOptions]) -> Grant | None:
        """Take the lock if it can be had at once; None: it is held. Options as for `acquire`."""
        try:
            return self.acquire(wait=0, **options)
        except Held:
            return None

    async def _wrapped(self, work: Coroutine[object, object, AioGrant]) -> Grant:
        return Grant(self._runner, await work)

    @contextmanager
    def hold(self, **options: Unpack[HoldOptions]) -> Iterator[Grant]:
        """Hold the lock for the time of a `with` block. Options as for `acquire`.

        A thread can't be stopped from outside: long work looks at `grant.lost` now and then. `Lost`
        is raised at the end where the grant was lost.
        """
        with self.acquire(**options) as grant:
            yield grant

    def run(self, block: Callable[[Grant], T], **options: Unpack[HoldOptions]) -> T:
        """Run `block` under the lock, waiting for it, and return its result.

        The lock is released whatever the block does. This is `lock(key, ttl) { block }` of the etcd
        patterns.
        """
        with self.hold(**options) as grant:
            return block(grant)

    def try_run(self, block: Callable[[Grant], T], **options: Unpack[AcquireOptions]) -> T:
        """Run `block` under the lock if it can be had at once, and return its result.

        Raises `Held`, and does not run the block, where another holds it. This is
        `tryLock(key, ttl) { block }` of the etcd patterns.
        """
        with self.hold(wait=0, **options) as grant:
            return block(grant)

    def state(self) -> LockState:
        """Return who holds the lock and how many wait. One that nobody has named is free."""
        return self._runner.run(self._lock.state())

    def watch(self) -> Generator[LockState, None, None]:
        """Iterate over the state, now and whenever its holders change, until the caller stops.

        States may be left out where they change fast, never the last one.
        """
        return self._runner.iterate(self._lock.watch())

    def force_release(self, fencing_token: int = 0) -> int:
        """End the grant with this fencing token, or with 0 all, of others too; return how many.

        With API tokens it wants the role `admin`. It does not stop the former holder's work.
        """
        return self._runner.run(self._lock.force_release(fencing_token))


async def _undo(grant: Grant) -> None:
    await grant.undone()


class RWLock:
    """A reader/writer lock: any number of readers together, or one writer alone."""

    def __init__(self, runner: Runner, lock: AioRWLock) -> None:
        self.reader = Lock(runner, lock.reader)
        """The lock, as readers take it."""
        self.writer = Lock(runner, lock.writer)
        """The lock, as a writer takes it."""


class Election:
    """An election: who holds the lock of its name leads."""

    def __init__(self, runner: Runner, lock: Lock, election: AioElection) -> None:
        self._runner = runner
        self._lock = lock
        self._election = election

    @property
    def name(self) -> str:
        """The election's name, which is that of its lock."""
        return self._election.name

    def campaign(self, **options: Unpack[HoldOptions]) -> Grant:
        """Wait to be elected. Who leads resigns with `release`. Options as for `Lock.acquire`."""
        return self._lock.acquire(**options)

    def lead(self, **options: Unpack[HoldOptions]) -> AbstractContextManager[Grant]:
        """Lead for the time of a `with` block, as `Lock.hold` holds."""
        return self._lock.hold(**options)

    def resign(self, leadership: Grant) -> None:
        """Stop leading. Raises `Lost` where the leadership was lost before."""
        leadership.release()

    def leader(self) -> Holder | None:
        """Return who leads; None: nobody."""
        return self._runner.run(self._election.leader())

    def observe(self) -> Generator[Holder | None, None, None]:
        """Iterate over who leads, now and whenever that changes; None: nobody."""
        return self._runner.iterate(self._election.observe())


class Lease:
    """One heartbeat for many locks: a lease, which is renewed until it is revoked or lost.

    Everything that was acquired on it ends with it. As a context manager it is made at the start
    and revoked at the end.
    """

    def __init__(self, runner: Runner, lease: AioLease) -> None:
        self._runner = runner
        self._lease = lease
        self._lost: LossEvent | None = None

    def lock(self, name: str) -> Lock:
        """Return a lock whose grants hang on this lease."""
        return Lock(self._runner, self._lease.lock(name))

    def rw_lock(self, name: str) -> RWLock:
        """Return a reader/writer lock whose grants hang on this lease."""
        return RWLock(self._runner, self._lease.rw_lock(name))

    def semaphore(self, name: str, n: int) -> Lock:
        """Return a semaphore whose grants hang on this lease."""
        return Lock(self._runner, self._lease.semaphore(name, n))

    @property
    def id(self) -> str:
        """The lease's id: whoever knows it may use and revoke it."""
        return self._lease.id

    @property
    def lost(self) -> LossEvent:
        """An event that is set when the lease is lost, and all that hangs on it."""
        if self._lost is None:
            event = LossEvent(self._lease.ending)
            self._runner.call(lambda: self._lease.on_lost(lambda _: event.set()))
            self._lost = event
        return self._lost

    def on_lost(self, callback: Callable[[Lost], object]) -> None:
        """Have `callback` called with the reason, in a thread of its own, when this is lost."""
        self._runner.call(lambda: self._lease.on_lost(lambda loss: in_thread(callback, loss)))

    def open(self) -> Self:
        """Make the lease, where it is not made yet."""
        self._runner.run(self._lease.open())
        return self

    def revoke(self) -> None:
        """End the lease, and everything that hangs on it.

        Raises `Lost` where it was lost, and `Unavailable` where the server could not be reached in
        the client's time-out; it then ends when its TTL has passed.
        """
        self._runner.run(self._lease.revoke())

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.revoke()
        except HoldfastError:
            if error is None:
                raise
