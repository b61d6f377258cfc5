"""Values: small, keyed, changed atomically."""

import time
from collections.abc import Callable, Generator

from holdfast._convert import Data
from holdfast._runner import Runner
from holdfast.aio import Value as AioValue
from holdfast.aio._transport import Pause
from holdfast.types import Value as Kept

Transform = Callable[[bytes | None], Data]
"""What makes the new value out of what is there; None: nothing is."""


class Value:
    """What is kept under a key: at most 64 KiB of any kind."""

    def __init__(self, runner: Runner, value: AioValue) -> None:
        self._runner = runner
        self._value = value

    @property
    def key(self) -> str:
        """The key, 1 to 512 bytes of UTF-8 without control characters."""
        return self._value.key

    def get(self) -> Kept | None:
        """Return what is there; None: nothing is."""
        return self._runner.run(self._value.get())

    def put(self, value: Data, *, ttl: float | None = None) -> int:
        """Keep a value in place of what is there, and return its revision.

        `ttl`: how many seconds it stays, 0.1 to 30 days; None: until it is deleted.
        """
        return self._runner.run(self._value.put(value, ttl=ttl))

    def compare_and_set(
        self, value: Data, expected_revision: int, *, ttl: float | None = None
    ) -> int:
        """Keep a value if what is there has the revision (0: nothing is), and return its revision.

        Raises `RevisionMismatch` where it has another.
        """
        return self._runner.run(self._value.compare_and_set(value, expected_revision, ttl=ttl))

    def delete(self, *, expected_revision: int = 0) -> bool:
        """Take the value away, and return whether there was one.

        Raises `RevisionMismatch` where it has another revision than the expected one (0: any).
        """
        return self._runner.run(self._value.delete(expected_revision=expected_revision))

    def watch(self) -> Generator[Kept | None, None, None]:
        """Iterate over what is there, now and whenever it changes, until the caller stops.

        None: nothing is there. Over a broken connection it goes on with what is there then.
        """
        return self._runner.iterate(self._value.watch())

    def try_transform(
        self, change: Transform, *, ttl: float | None = None
    ) -> tuple[bool, Kept | None]:
        """Read, apply `change`, and write back only if nobody else has written meanwhile.

        Returns whether that succeeded, and what is there now. This is `tryTransformValue(key, f)`
        of the etcd patterns.
        """
        before = self.get()
        # In the caller's thread: it may be slow, and may use this client.
        changed = change(before.value if before else None)
        return self._runner.run(self._value.replace(before, changed, ttl=ttl))

    def transform(self, change: Transform, *, ttl: float | None = None) -> Kept:
        """Do `try_transform` again and again until it succeeds, and return the value after it.

        `change` may be called several times. This is `transformValue(key, f)` of the etcd patterns.
        """
        pause = Pause()
        while True:
            done, there = self.try_transform(change, ttl=ttl)
            if done and there is not None:
                return there
            time.sleep(pause.length() / 10)
