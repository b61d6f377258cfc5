"""What is held: grants, leases and turns, as threads see them."""

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from holdfast._runner import Runner, in_thread
from holdfast.aio._grant import Grant as AioGrant
from holdfast.aio._lease import Ending
from holdfast.errors import HoldfastError, Lost
from holdfast.types import Mode


class LossEvent(threading.Event):
    """A `threading.Event` that also looks at the clock when it is asked.

    So it says the truth even where no thread had a turn since the end, such as after a pause of the
    whole process.
    """

    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self._ending = ending

    def is_set(self) -> bool:
        """Return whether it is lost."""
        return super().is_set() or self._ending.lost.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is lost, for at most `timeout` seconds, and return whether it is."""
        return self.is_set() or super().wait(timeout) or self.is_set()


class Endings:
    """What can be lost. It is made in the runner's thread."""

    def __init__(self, runner: Runner, ending: Ending) -> None:
        self._runner = runner
        self._ending = ending
        self.lost = LossEvent(ending)
        """An event that is set when it is lost, by the reckoning of this process: before the server
        can give it to anyone else."""
        ending.on_lost(lambda _: self.lost.set())

    def on_lost(self, callback: Callable[[Lost], object]) -> None:
        """Have `callback` called with the reason, in a thread of its own, when this is lost."""
        self._runner.call(lambda: self._ending.on_lost(lambda loss: in_thread(callback, loss)))


class Grant(Endings):
    """A hold on a lock, which is renewed until it is released or lost.

    It is lost, by the reckoning of this process, before the server can give the lock to anyone
    else; from then on `lost.is_set()` is true, whoever waits for `lost` is woken, and what
    `on_lost` was given is called. As a context manager it is released at the end.
    """

    def __init__(self, runner: Runner, grant: AioGrant) -> None:
        super().__init__(runner, grant)
        self._grant = grant

    @property
    def lock(self) -> str:
        """The lock's name."""
        return self._grant.lock

    @property
    def fencing_token(self) -> int:
        """The number of this grant, greater than that of any earlier one.

        Give it along with everything that is done under the lock: a resource that keeps the highest
        it has seen, and refuses lower ones, is safe even from a holder that was paused.
        """
        return self._grant.fencing_token

    @property
    def token(self) -> str:
        """The secret that proves the hold. Treat it as a password."""
        return self._grant.token

    @property
    def lease_id(self) -> str:
        """The lease that keeps it alive."""
        return self._grant.lease_id

    @property
    def mode(self) -> Mode:
        """With whom the lock is shared."""
        return self._grant.mode

    @property
    def owner(self) -> str:
        """Who holds, as given to `acquire`."""
        return self._grant.owner

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the holder said of itself."""
        return self._grant.metadata

    @property
    def held(self) -> bool:
        """Whether the lock is still held: neither released nor lost."""
        return self._grant.held

    def release(self) -> None:
        """Give the lock to the next in line. A second call does nothing.

        Raises `Lost` where the grant was lost before, and `Unavailable` where the server could not
        be reached in time; it is then told as soon as it can be reached again.
        """
        self._runner.run(self._grant.release())

    async def undone(self) -> None:
        """Release it, in the runner's thread, for a caller that was interrupted."""
        await self._grant.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except HoldfastError:
            # What went wrong inside is worth more than what goes wrong now.
            if error is None:
                raise

    def __repr__(self) -> str:
        return repr(self._grant)
