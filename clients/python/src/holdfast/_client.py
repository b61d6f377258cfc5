"""The client."""

from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Self

from holdfast._clock import Clock, boottime
from holdfast._fifo import Fifo
from holdfast._lock import Election, Lease, Lock, RWLock
from holdfast._queue import Queue
from holdfast._runner import Runner
from holdfast._value import Value
from holdfast.aio import Client as AioClient
from holdfast.aio import connect as aio_connect
from holdfast.aio._client import TIMEOUT
from holdfast.aio._transport import Pem
from holdfast.types import Value as Kept


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
    """Connect to a server, and return the client: `with holdfast.connect(...) as client: ...`.

    `address`: host and port; with `https://` in front, or a `ca`, a `cert` or `tls=True`, over TLS.
    `token`: the API token.
    `ca`: a file, or the bytes, with the certificates to trust; None: the system's.
    `cert`, `key`: the certificate that this client shows, and its key.
    `ttl`: after how many seconds without this process its grants end; None: the server's default.
    `owner`, `metadata`: who this is, for people to read; None: user@host:pid.
    `timeout`: how many seconds a call may take that does not wait for others, retries included.
    `clock`: seconds that only rise, for tests.

    Raises `Unavailable`, `Unauthenticated` and so on where that can't be done in the time-out.
    """
    runner = Runner.shared()

    async def opening() -> AioClient:
        client = aio_connect(
            address,
            token=token,
            ca=ca,
            cert=cert,
            key=key,
            tls=tls,
            ttl=ttl,
            owner=owner,
            metadata=metadata,
            timeout=timeout,
            clock=clock,
        )
        return await client.open()

    return Client(runner, runner.run(opening(), AioClient.close))


class Client:
    """A connection to a server: `holdfast.connect` makes it. Any thread may use it.

    Its grants are renewed by a thread in the background, which all clients of a process share.
    """

    def __init__(self, runner: Runner, client: AioClient) -> None:
        self._runner = runner
        self._client = client

    def close(self) -> None:
        """Release everything that is held, leave every line, and close the connection."""
        self._runner.run(self._client.close())

    def lock(self, name: str) -> Lock:
        """Return the lock of this name."""
        return Lock(self._runner, self._client.lock(name))

    def rw_lock(self, name: str) -> RWLock:
        """Return the reader/writer lock of this name."""
        return RWLock(self._runner, self._client.rw_lock(name))

    def semaphore(self, name: str, n: int) -> Lock:
        """Return the semaphore of this name, with at most `n` holders at once."""
        return Lock(self._runner, self._client.semaphore(name, n))

    def election(self, name: str) -> Election:
        """Return the election of this name."""
        return Election(self._runner, self.lock(name), self._client.election(name))

    def lease(self, ttl: float | None = None) -> Lease:
        """Return a lease of its own: one heartbeat for many locks, and one end."""
        return Lease(self._runner, self._runner.call(lambda: self._client.lease(ttl)))

    def fifo(self, fifo_id: str) -> Fifo:
        """Return the FIFO with this id."""
        return Fifo(self._runner, self._client.fifo(fifo_id))

    def queue(self, name: str) -> Queue:
        """Return the queue of this name."""
        return Queue(self._runner, self._client.queue(name))

    def value(self, key: str) -> Value:
        """Return what is kept under this key."""
        return Value(self._runner, self._client.value(key))

    def values(self, prefix: str = "") -> Generator[Kept, None, None]:
        """Iterate over the values whose keys begin with `prefix`, in the order of their keys."""
        return self._runner.iterate(self._client.values(prefix))

    def get_values(self, key: str) -> list[bytes]:
        """Return the value under the key, or those of all its children; none: an empty list.

        The children of `a` are the keys that begin with `a/`. This is `getValues(key)` of the etcd
        patterns.
        """
        return self._runner.run(self._client.get_values(key))

    def check_grant(self, lock: str, fencing_token: int) -> bool:
        """Return whether the grant with this fencing token is current: for resources to ask."""
        return self._runner.run(self._client.check_grant(lock, fencing_token))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
