"""The asyncio twin of `holdfast`: the same names, awaited.

async with holdfast.aio.connect("localhost:4653") as client:
    async with client.lock("deploy").hold() as grant:
        ...
"""

from holdfast.aio._client import Client, connect
from holdfast.aio._fifo import Fifo, Ticket
from holdfast.aio._grant import Grant
from holdfast.aio._lock import Election, Lease, Lock, RWLock
from holdfast.aio._queue import Item, Queue
from holdfast.aio._value import Value

__all__ = [
    "Client",
    "Election",
    "Fifo",
    "Grant",
    "Item",
    "Lease",
    "Lock",
    "Queue",
    "RWLock",
    "Ticket",
    "Value",
    "connect",
]
