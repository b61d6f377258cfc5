"""The client."""

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncGenerator, Generator, Mapping
from types import TracebackType
from typing import Any, Self

from holdfast._clock import Clock, boottime
from holdfast.aio._fifo import Fifo
from holdfast.aio._lock import Election, Lease, Lock, RWLock, Sessions
from holdfast.aio._queue import Queue
from holdfast.aio._session import Session
from holdfast.aio._transport import Pem, Transport
from holdfast.aio._value import Value, values
from holdfast.types import Mode
from holdfast.types import Value as Kept
from holdfast.v1.lock_service_pb2 import CheckGrantRequest

TIMEOUT = 10.0
"""How long a call may take that does not wait for others, in seconds."""
TTLS_MAX = 64
"""How many different TTLs a client may use for its grants at the same time."""


def default_owner() -> str:
    """Return who asks, where nobody said: user@host:pid."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def connect(
    address: str = "127.0.0.1:4653",
    *,
    token: str | None = None,
    ca: Pem | None = None,
    cert: Pem | None = None,
    key: Pem | None = None,
    tls: bool | None = None,
    ttl: float | None = None,
    owner: str | None = None,
    metadata: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    clock: Clock = boottime,
) -> "Client":
    """Return a client, for `async with` or to be awaited.

    `address`: host and port; with `https://` in front, or a `ca`, a `cert` or `tls=True`, over TLS.
    `token`: the API token.
    `ca`: a file, or the bytes, with the certificates to trust; None: the system's.
    `cert`, `key`: the certificate that this client shows, and its key.
    `ttl`: after how many seconds without this process its grants end; None: the server's default.
    `owner`, `metadata`: who this is, for people to read; None: user@host:pid.
    `timeout`: how many seconds a call may take that does not wait for others, retries included.
    `clock`: seconds that only rise, for tests.
    """
    transport = Transport(address, token=token, ca=ca, cert=cert, key=key, tls=tls, timeout=timeout)
    return Client(
        transport, ttl, default_owner() if owner is None else owner, metadata or {}, clock
    )


class Client(Sessions):
    """A connection to a server: `holdfast.aio.connect` makes it.

    It belongs to the event loop in which it was opened.
    """

    def __init__(
        self,
        transport: Transport,
        ttl: float | None,
        owner: str,
        metadata: Mapping[str, str],
        clock: Clock,
    ) -> None:
        super().__init__(transport, owner)
        self._ttl = ttl
        self._metadata = metadata
        self._clock = clock
        self._sessions: dict[float | None, Session] = {}
        self._leases: list[Session] = []

    def _session(self, ttl: float | None, *, once: bool = False) -> Session:
        return Session(
            self.transport,
            self._clock,
            ttl=ttl,
            owner=self.owner,
            metadata=self._metadata,
            once=once,
        )

    def for_ttl(self, ttl: float | None) -> Session:
        """Return the session whose lease has this TTL; None: the usual one."""
        ttl = self._ttl if ttl is None else ttl
        session = self._sessions.get(ttl)
        if session is None:
            if len(self._sessions) >= TTLS_MAX:
                self._drop_idle()
            session = self._sessions[ttl] = self._session(ttl)
        return session

    def _drop_idle(self) -> None:
        for ttl, session in list(self._sessions.items()):
            if session.is_idle and ttl != self._ttl:
                del self._sessions[ttl]
                session.close_soon()

    async def open(self) -> Self:
        """Connect. Raises `Unavailable`, `Unauthenticated` and so on where that can't be done."""
        try:
            await self.for_ttl(None).open()
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Release everything that is held, leave every line, and close the connection."""
        sessions = [*self._sessions.values(), *self._leases]
        await asyncio.gather(*(session.close() for session in sessions))
        await self.transport.close()

    def lock(self, name: str) -> Lock:
        """Return the lock of this name."""
        return Lock(self, name)

    def rw_lock(self, name: str) -> RWLock:
        """Return the reader/writer lock of this name."""
        return RWLock(self, name)

    def semaphore(self, name: str, n: int) -> Lock:
        """Return the semaphore of this name, with at most `n` holders at once."""
        return Lock(self, name, mode=Mode.SHARED, max_shared=n)

    def election(self, name: str) -> Election:
        """Return the election of this name."""
        return Election(self, name)

    def lease(self, ttl: float | None = None) -> Lease:
        """Return a lease of its own: one heartbeat for many locks, and one end."""
        session = self._session(self._ttl if ttl is None else ttl, once=True)
        self._leases = [each for each in self._leases if not each.is_over]
        self._leases.append(session)
        return Lease(self, session)

    def fifo(self, fifo_id: str) -> Fifo:
        """Return the FIFO with this id."""
        return Fifo(self.transport, self._clock, fifo_id, self.owner)

    def queue(self, name: str) -> Queue:
        """Return the queue of this name."""
        return Queue(self.transport, name)

    def value(self, key: str) -> Value:
        """Return what is kept under this key."""
        return Value(self.transport, key)

    def values(self, prefix: str = "") -> AsyncGenerator[Kept, None]:
        """Iterate over the values whose keys begin with `prefix`, in the order of their keys."""
        return values(self.transport, prefix)

    async def get_values(self, key: str) -> list[bytes]:
        """Return the value under the key, or those of all its children; none: an empty list.

        The children of `a` are the keys that begin with `a/`. This is `getValues(key)` of the etcd
        patterns.
        """
        own = await self.value(key).get()
        if own is not None:
            return [own.value]
        return [each.value async for each in self.values(key.rstrip("/") + "/")]

    async def check_grant(self, lock: str, fencing_token: int) -> bool:
        """Return whether the grant with this fencing token is current: for resources to ask."""
        request = CheckGrantRequest(lock=lock, fencing_token=fencing_token)
        answer = await self.transport.call(lambda wire: wire.locks.CheckGrant, request)
        return bool(answer.current)

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
