"""Programs on each client, which are told what to do and tell what happened."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from stage import PATIENCE

HERE = Path(__file__).resolve().parents[1]
PROGRAMS = {
    "rust": [os.environ.get("AGENT_RUST", "")],
    "python": [sys.executable, str(HERE / "agents/agent.py")],
    "go": [os.environ.get("AGENT_GO", "")],
}
LANGUAGES = tuple(PROGRAMS)
LINE_BYTES_MAX = 1 << 20

Event = dict[str, Any]


def now() -> int:
    """Return nanoseconds of the clock by which agents stamp their events."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Failed(Exception):
    """A command failed; `kind` is how, in words that all languages share."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Gone(Exception):
    """The agent has gone before it could tell."""


class Command:
    """Something that an agent was told to do."""

    def __init__(self, agent: "Agent", number: int, do: str) -> None:
        self.agent = agent
        self.number = number
        self.do = do
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{self.do} {self.number} of {self.agent.name}: {self.events}>"

    def hears(self, event: Event) -> None:
        self.events.append(event)
        self.tell()

    def tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def has(self, *names: str) -> Event | None:
        """Return the first event of these names, if it has come."""
        return next((event for event in self.events if event["event"] in names), None)

    async def event(self, *names: str) -> Event:
        """Wait for the first event of these names."""
        with timely(f"{names} of {self}"):
            async with asyncio.timeout(PATIENCE):
                while (event := self.has(*names)) is None:
                    if self.agent.has_gone:
                        raise Gone(repr(self))
                    await self._news.wait()
                return event

    async def done(self) -> Event:
        """Wait for the outcome. Raises `Failed`."""
        event = await self.event("done", "failed")
        if event["event"] == "failed":
            raise Failed(event["kind"], f"{event.get('message')} ({self})")
        return event

    async def failure(self) -> str:
        """Wait for the outcome, which has to be a failure, and return its kind."""
        event = await self.event("done", "failed")
        assert event["event"] == "failed", f"it was done: {self}"
        return str(event["kind"])

    async def cancel(self) -> None:
        """Have the caller of the client give up, wherever it stands."""
        await self.agent.ask("cancel", of=self.number)

    async def end(self) -> Event:
        """Have something that goes on come to its end, and return its outcome."""
        await self.agent.ask("end", of=self.number)
        return await self.done()


@contextlib.contextmanager
def timely(what: str) -> Any:
    """Say what did not come in time."""
    try:
        yield
    except TimeoutError:
        raise AssertionError(f"not in time: {what}") from None


class Agent:
    """A process with one client in one of the languages."""

    def __init__(self, language: str, name: str, process: asyncio.subprocess.Process) -> None:
        self.language = language
        self.name = name
        self.has_gone = False
        self._process = process
        self._commands: dict[int, Command] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, language: str, name: str) -> "Agent":
        process = await asyncio.create_subprocess_exec(
            *PROGRAMS[language],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        return cls(language, name, process)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                event = json.loads(line)
                self._commands[event["id"]].hears(event)
        finally:
            self.has_gone = True
            for command in self._commands.values():
                command.tell()

    def tell(self, do: str, **parameters: Any) -> Command:
        """Begin something, and return what will tell of it."""
        command = Command(self, len(self._commands) + 1, do)
        self._commands[command.number] = command
        line = json.dumps({"id": command.number, "do": do, **parameters})
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return command

    async def ask(self, do: str, **parameters: Any) -> Event:
        """Do something and return its outcome. Raises `Failed`."""
        return await self.tell(do, **parameters).done()

    async def connect(self, address: str, *, ttl: float, timeout: float, **more: Any) -> None:
        await self.ask("connect", address=address, ttl=ttl, timeout=timeout, **more)

    async def pause(self) -> None:
        """Stop the whole process, and wait until it stands still."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> Coroutine[Any, Any, int]:
        """End the process without a word, at once; waits until it has, and returns the moment."""
        killed = now()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        return self._killed(killed)

    async def _killed(self, killed: int) -> int:
        await self._process.wait()
        await self._reading
        return killed
