"""A hold on a lock."""

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from holdfast.aio._lease import Ending, HeldLease
from holdfast.errors import Lost, NotHolder
from holdfast.types import Mode
from holdfast.v1 import lock_service_pb2

if TYPE_CHECKING:
    from holdfast.aio._session import Session


class Grant(Ending):
    """A hold on a lock, which is renewed until it is released or lost.

    It is lost, by the reckoning of this process, before the server can give the lock to anyone
    else; from then on `lost.is_set()` is true, whoever waits for `lost` is woken, and what
    `on_lost` was given is called. As an asynchronous context manager it is released at the end.
    """

    def __init__(
        self, session: "Session", lease: HeldLease, message: lock_service_pb2.Grant
    ) -> None:
        super().__init__(self._is_over)
        self._session = session
        self._lease = lease
        self._message = message

    @property
    def lock(self) -> str:
        """The lock's name."""
        return self._message.lock

    @property
    def fencing_token(self) -> int:
        """The number of this grant, greater than that of any earlier one.

        Give it along with everything that is done under the lock: a resource that keeps the highest
        it has seen, and refuses lower ones, is safe even from a holder that was paused.
        """
        return self._message.fencing_token

    @property
    def token(self) -> str:
        """The secret that proves the hold. Treat it as a password."""
        return self._message.grant_token

    @property
    def lease_id(self) -> str:
        """The lease that keeps it alive."""
        return self._message.lease_id

    @property
    def mode(self) -> Mode:
        """With whom the lock is shared."""
        return Mode(self._message.mode)

    @property
    def owner(self) -> str:
        """Who holds, as given to `acquire`."""
        return self._message.owner

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the holder said of itself."""
        return dict(self._message.metadata)

    @property
    def held(self) -> bool:
        """Whether the lock is still held: neither released nor lost."""
        return not self.ended and not self.lost.is_set()

    async def release(self) -> None:
        """Give the lock to the next in line. A second call does nothing.

        Raises `Lost` where the grant was lost before, and `Unavailable` where the server could not
        be reached in time; it is then told as soon as it can be reached again.
        """
        if self.ended and self._loss is None:
            return
        if self.lost.is_set():
            loss = self.loss
            self.lose(loss)
            if not self._lease.ended:
                # Only by our own reckoning, perhaps.
                with contextlib.suppress(Exception):
                    self._session.give_back(self)
            raise Lost(f"{self.lock}: {loss.message}", reason=loss.reason) from loss
        self._lease.grants.pop(self.fencing_token, None)
        self.finish()
        try:
            await self._session.release(self.lock, self.token)
        except NotHolder as error:
            raise Lost(error.message, reason=error.reason) from error

    def _is_over(self) -> bool:
        return not self.ended and self._lease.is_over()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.release()
            return
        # What went wrong inside is worth more than what goes wrong now.
        with contextlib.suppress(Exception):
            await self.release()

    def __repr__(self) -> str:
        return f"<Grant of {self.lock!r}, fencing token {self.fencing_token}, held={self.held}>"


class CancelScope:
    """Cancels the task that opened it when something is lost, and raises `Lost` at its end."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self._task: asyncio.Task[object] | None = None
        self._before = 0
        self._cancelled = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a scope needs a task")
        self._task = task
        self._before = task.cancelling()
        self._ending.on_lost(self._cancel)

    def _cancel(self, _loss: Lost) -> None:
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.forget(self._cancel)
        task, self._task = self._task, None
        if task is None or not self._cancelled:
            return
        if task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError):
            raise self._ending.loss from error
