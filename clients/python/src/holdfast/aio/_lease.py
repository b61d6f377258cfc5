"""What is held, and the reckoning of when it ends."""

import asyncio
from collections.abc import Callable

from holdfast._clock import Clock, margin
from holdfast.errors import Lost

LostCallback = Callable[[Lost], object]


class LossEvent(asyncio.Event):
    """An `asyncio.Event` that also looks at the clock when it is asked.

    So it says the truth even where the event loop had no turn since the end, such as after a pause
    of the whole process.
    """

    def __init__(self, is_over: Callable[[], bool]) -> None:
        super().__init__()
        self._is_over = is_over

    def is_set(self) -> bool:
        """Return whether it is lost."""
        return super().is_set() or self._is_over()


class Ending:
    """Something that ends, at the latest when its time is over by the reckoning of its holder."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self.lost = LossEvent(is_over)
        self._loss: Lost | None = None
        self._ended = False
        self._callbacks: list[LostCallback] = []

    @property
    def ended(self) -> bool:
        """Whether it ended, as its holder wished or not."""
        return self._ended

    @property
    def loss(self) -> Lost:
        """Why it is lost."""
        return self._loss or Lost("it was not renewed in time", reason="LEASE_EXPIRED")

    def on_lost(self, callback: LostCallback) -> None:
        """Have `callback` called with the reason when this is lost; at once where it is."""
        if self._loss is not None:
            asyncio.get_running_loop().call_soon(callback, self._loss)
        elif not self._ended:
            self._callbacks.append(callback)

    def forget(self, callback: LostCallback) -> None:
        """Take back an `on_lost`."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def lose(self, loss: Lost) -> None:
        """End it without the holder's doing."""
        if self._ended:
            return
        self._ended = True
        self._loss = loss
        self.lost.set()
        callbacks, self._callbacks = self._callbacks, []
        loop = asyncio.get_running_loop()
        for callback in callbacks:
            loop.call_soon(callback, loss)

    def finish(self) -> None:
        """End it as the holder wished."""
        self._ended = True
        self._callbacks = []


class Reckoning(Ending):
    """An ending with a time, counted from when what was acknowledged last was *sent*.

    The server counts from when it read that, which is later. So the holder's time is over before
    the server's is, by a margin that stands for clocks of different speed.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(self.is_over)
        self._clock = clock
        self.deadline: float | None = None
        """When it is lost, by the clock; None: never by itself."""
        self._over = False

    def now(self) -> float:
        """Return the time by which it is reckoned."""
        return self._clock()

    def renewed(self, sent: float, lasts: float) -> None:
        """Take note of an answer that promised `lasts` seconds to what was sent at `sent`.

        What is over stays over, even where the answer would have been in time.
        """
        if self.is_over():
            return
        end = sent + lasts - margin(lasts)
        self.deadline = end if self.deadline is None else max(self.deadline, end)

    def is_over(self) -> bool:
        """Return whether it is lost, or its time is over."""
        if self._ended:
            return self._loss is not None
        if not self._over and self.deadline is not None and self._clock() >= self.deadline:
            self._over = True
        return self._over


class HeldLease(Reckoning):
    """A lease of the server's that a session keeps alive, and what hangs on it."""

    def __init__(self, clock: Clock, lease_id: str, ttl: float) -> None:
        super().__init__(clock)
        self.id = lease_id
        self.ttl = ttl
        self.grants: dict[int, Ending] = {}

    def lose(self, loss: Lost) -> None:
        """End it, and all grants on it."""
        super().lose(loss)
        grants, self.grants = self.grants, {}
        for grant in grants.values():
            grant.lose(loss)
