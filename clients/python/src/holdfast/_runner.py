"""The thread in which the synchronous client's event loop runs."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Runner:
    """Runs coroutines in one background thread, which all synchronous clients share.

    So a grant is renewed, and its loss found out, while the program does something else.
    """

    _shared: "Runner | None" = None
    _making = threading.Lock()

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="holdfast", daemon=True)
        self._thread.start()

    @classmethod
    def shared(cls) -> "Runner":
        """Return this process's runner; a forked process gets one of its own."""
        with cls._making:
            if cls._shared is None or cls._shared._pid != os.getpid():
                cls._shared = Runner()
            return cls._shared

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(
        self,
        work: Coroutine[Any, Any, T],
        undo: Callable[[T], Coroutine[Any, Any, Any]] | None = None,
    ) -> T:
        """Run `work` and return its result. When this is interrupted, `work` is cancelled.

        `undo` takes back a result that came too late for an interrupted caller.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a callback can't wait for the thread that called it")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # An error of the work's own, or an interrupt of the caller.
            if not future.done() or future.cancelled():
                future.cancel()
            elif undo is not None and future.exception() is None:
                asyncio.run_coroutine_threadsafe(undo(future.result()), self._loop)
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the thread and return its result."""

        async def work() -> T:
            return function()

        return self.run(work())

    def iterate(self, source: AsyncIterator[T]) -> Generator[T, None, None]:
        """Iterate over an asynchronous iterator, and close it at the end."""
        end = object()

        async def following() -> T | object:
            return await anext(source, end)

        try:
            while (item := self.run(following())) is not end:
                yield cast(T, item)
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                # Where the caller was interrupted, it may be about to end by itself.
                with contextlib.suppress(RuntimeError):
                    self.run(_closing(close))


async def _closing(close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await close()


def in_thread(callback: Callable[..., object], *arguments: object) -> None:
    """Call back in a thread of its own, so that a slow callback delays no renewal."""
    threading.Thread(target=callback, args=arguments, name="holdfast-callback", daemon=True).start()
