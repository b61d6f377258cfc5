"""What may be asked along with a lock."""

from collections.abc import Callable, Mapping
from typing import TypedDict

from holdfast.types import Mode


class AcquireOptions(TypedDict, total=False):
    """The parameters of `Lock.acquire` that are about the grant."""

    ttl: float | None
    owner: str | None
    metadata: Mapping[str, str] | None
    mode: Mode | None
    max_shared: int | None
    release_delay: float | None


class HoldOptions(AcquireOptions, total=False):
    """The parameters of `Lock.acquire`."""

    wait: float | None
    on_position: Callable[[int], object] | None
