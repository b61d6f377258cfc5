"""What the server tells, as plain values."""

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Mode(enum.Enum):
    """With whom a holder shares a lock."""

    EXCLUSIVE = 1
    """With nobody."""
    SHARED = 2
    """With other shared holders."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as everyone in the namespace may see it."""

    fencing_token: int
    owner: str
    mode: Mode
    acquired_at: datetime.datetime
    expires_in: float | None
    """Seconds until the grant ends if nobody renews it; None: it has no expiry."""
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LockState:
    """Who holds a lock and how many wait for it."""

    name: str
    holders: tuple[Holder, ...]
    """In the order of their grants, the first 100 of them."""
    holder_count: int
    waiter_count: int


@dataclass(frozen=True, slots=True)
class Value:
    """What is kept under a key."""

    key: str
    value: bytes
    revision: int
    """It rises with every change, and nothing ever has it again."""
    expires_in: float | None
    """Seconds until it ends; None: it has no expiry."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ticket stands in line."""

    position: int
    """1 is the next."""
    time_to_go: float | None
    """About how long it will stand there, in seconds; None: no history tells."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many items a queue has, and where they are."""

    name: str
    ready_count: int
    delivered_count: int
    dead_count: int
