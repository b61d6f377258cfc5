"""The agent on the Python client: commands as lines of JSON in, events as lines of JSON out.

README.md has the commands. An agent holds its end of a scenario and judges nothing.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import holdfast
from holdfast import aio

Command = dict[str, Any]
Outcome = dict[str, Any]
CarryOut = Callable[[int, Command], Coroutine[Any, Any, Outcome]]

KINDS: list[tuple[type[BaseException], str]] = [
    (asyncio.CancelledError, "cancelled"),
    (holdfast.DeliveryEnded, "ended"),
    (holdfast.TicketEnded, "ended"),
    (holdfast.Lost, "lost"),
    (holdfast.Held, "held"),
    (holdfast.WaitTimedOut, "timed_out"),
    (holdfast.NotHolder, "not_holder"),
    (holdfast.LimitReached, "limit"),
    (holdfast.Unavailable, "unavailable"),
    (holdfast.Unauthenticated, "unauthenticated"),
    (holdfast.PermissionDenied, "denied"),
    (holdfast.Invalid, "invalid"),
    (holdfast.NotFound, "not_found"),
]


def now() -> int:
    """Return nanoseconds of the clock that all agents of a machine share."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def say(number: int, event: str, **more: Any) -> None:
    """Tell an event of a command, stamped with this moment."""
    line = {"id": number, "event": event, "at": now(), **more}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def tell(number: int, task: asyncio.Task[Outcome]) -> None:
    """Tell the outcome of a command."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        say(number, "done", **task.result())
        return
    kind = next((kind for each, kind in KINDS if isinstance(error, each)), "other")
    say(number, "failed", kind=kind, message=f"{type(error).__name__}: {error}")


class Agent:
    """One client, and what it has got by the numbers of the commands that got it."""

    def __init__(self) -> None:
        self.client: aio.Client | None = None
        self.running: dict[int, asyncio.Task[Outcome]] = {}
        self.got: dict[int, Any] = {}
        self.ends: dict[int, asyncio.Event] = {}

    def begin(self, command: Command) -> None:
        number = command["id"]
        if command["do"] == "cancel":
            # It has begun by then: what was not begun can't be given up.
            asyncio.get_running_loop().call_soon(self.running[command["of"]].cancel)
            say(number, "done")
        elif command["do"] == "end":
            self.ends[command["of"]].set()
            say(number, "done")
        else:
            carry_out: CarryOut = getattr(self, command["do"])
            self.ends[number] = asyncio.Event()
            self.running[number] = task = asyncio.create_task(carry_out(number, command))
            task.add_done_callback(lambda task: tell(number, task))

    @property
    def open(self) -> aio.Client:
        assert self.client is not None
        return self.client

    async def connect(self, _: int, command: Command) -> Outcome:
        self.client = await aio.connect(
            command["address"],
            ttl=command["ttl"],
            token=command.get("token"),
            ca=command.get("ca"),
            cert=command.get("cert"),
            key=command.get("key"),
            timeout=command["timeout"],
        )
        return {}

    async def close(self, _: int, __: Command) -> Outcome:
        await self.open.close()
        return {}

    async def acquire(self, number: int, command: Command) -> Outcome:
        grant = await self.open.lock(command["lock"]).acquire(
            wait=command.get("wait"),
            on_position=lambda position: say(number, "position", position=position),
        )
        at = now()
        self.got[number] = grant
        grant.on_lost(lambda _: say(number, "lost"))
        return {"took": at, "token": grant.fencing_token}

    async def release(self, _: int, command: Command) -> Outcome:
        grant: aio.Grant = self.got.pop(command["of"])
        gave = now()
        await grant.release()
        return {"gave": gave}

    async def believe(self, number: int, command: Command) -> Outcome:
        """Look again and again whether the grant is held, until the command is ended."""
        grant: aio.Grant = self.got[command["of"]]
        believed, lost, looks, revived = 0, 0, 0, False
        while True:
            ended = self.ends[number].is_set()
            # The moment before the look: nothing that comes between them can make it wrong.
            moment = now()
            looks += 1
            if grant.lost.is_set():
                lost = lost or now()
            else:
                believed, revived = moment, revived or lost > 0
            if ended:
                return {"believed": believed, "lost": lost, "looks": looks, "revived": revived}
            await asyncio.sleep(command["every"])

    async def create_fifo(self, _: int, command: Command) -> Outcome:
        fifo = self.open.fifo(command["fifo"])
        await fifo.create(
            accept_timeout=command["accept"], done_timeout=command["done"], exist_ok=True
        )
        return {}

    async def ticket(self, number: int, command: Command) -> Outcome:
        asked = now()
        self.got[number] = await self.open.fifo(command["fifo"]).ticket()
        return {"asked": asked}

    async def wait(self, number: int, command: Command) -> Outcome:
        ticket: aio.Ticket = self.got[command["of"]]
        await ticket.wait(on_position=lambda at: say(number, "position", position=at.position))
        return {"took": now()}

    async def complete(self, _: int, command: Command) -> Outcome:
        ticket: aio.Ticket = self.got.pop(command["of"])
        gave = now()
        await ticket.done()
        return {"gave": gave}

    async def turn(self, number: int, command: Command) -> Outcome:
        """Have a turn, which extends itself, until the command is ended."""
        async with self.open.fifo(command["fifo"]).turn() as ticket:
            ticket.on_lost(lambda _: say(number, "lost"))
            say(number, "took")
            await self.ends[number].wait()
            gave = now()
        return {"gave": gave}

    async def push(self, _: int, command: Command) -> Outcome:
        return {"item": await self.open.queue(command["queue"]).push(command["value"])}

    async def pop(self, _: int, command: Command) -> Outcome:
        value = await self.open.queue(command["queue"]).pop(command.get("wait"))
        return {"value": None if value is None else value.decode()}

    async def take(self, number: int, command: Command) -> Outcome:
        queue = self.open.queue(command["queue"])
        item = await queue.take(command.get("wait"), ack_timeout=command["ack"])
        self.got[number] = item
        return {"value": None if item is None else item.value.decode()}

    async def acknowledge(self, _: int, command: Command) -> Outcome:
        await self.got.pop(command["of"]).ack()
        return {}

    async def add(self, _: int, command: Command) -> Outcome:
        after = await self.open.value(command["value"]).transform(
            lambda old: str(int(old or b"0") + 1)
        )
        return {"sum": int(after.value)}


async def main() -> None:
    """Carry out what stdin says, all at the same time, until it ends."""
    agent = Agent()
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        agent.begin(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main())
