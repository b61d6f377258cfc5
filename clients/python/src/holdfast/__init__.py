"""A client of Holdfast: locks, leases, FIFOs, queues and values that any program can reach.

    with holdfast.connect("localhost:4653") as client:
        with client.lock("deploy").hold() as grant:
            ...

`holdfast.aio` is the same for asyncio, `holdfast.v1` the generated messages and stubs below it.
"""

from holdfast import aio, errors
from holdfast._client import Client, connect
from holdfast._fifo import Fifo, Ticket
from holdfast._held import Grant
from holdfast._lock import Election, Lease, Lock, RWLock
from holdfast._queue import Item, Queue
from holdfast._value import Value
from holdfast.errors import *  # noqa: F403 - its names are listed there
from holdfast.types import Holder, LockState, Mode, Place, QueueState

__all__ = [
    "Client",
    "Election",
    "Fifo",
    "Grant",
    "Holder",
    "Item",
    "Lease",
    "Lock",
    "LockState",
    "Mode",
    "Place",
    "Queue",
    "QueueState",
    "RWLock",
    "Ticket",
    "Value",
    "aio",
    "connect",
    *errors.__all__,
]
