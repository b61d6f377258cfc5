"""A real server for each test, and a proxy that can be cut."""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from holdfast import aio

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE = 30.0


def server_binary() -> str:
    return os.environ.get("HOLDFAST_BIN") or str(REPOSITORY / "target/debug/holdfast")


class Server:
    """A server on loopback, with its state below a directory of the test's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self._starts = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._starts += 1
        log = self.directory / f"server-{self._starts}.log"
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [
                    server_binary(),
                    "serve",
                    "--listen",
                    f"127.0.0.1:{self.port}",
                    "--data-dir",
                    str(self.directory / "data"),
                ],
                stderr=output,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            )
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        self.port = int(found.group(1))

    def command(self, *arguments: str) -> str:
        data = ["--data-dir", str(self.directory / "data")]
        run = [server_binary(), *arguments, *data]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()


class Proxy:
    """Forwards TCP until it is cut: then everything is dropped in silence."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        # What went through the cut is gone, so those connections are of no use any more.
        self.drop()
        self._open.set()

    def drop(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if self._open.is_set():
                    sink.write(data)
                    await sink.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if self._open.is_set():
                sink.close()

    async def stop(self) -> None:
        self.drop()
        self._server.close()
        for task in list(self._tasks):
            task.cancel()


class FakeClock:
    """The boot-time clock, which a test can move on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.ahead


async def eventually(holds: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.005)


async def waiting(client: aio.Client, name: str, number: int) -> None:
    """Wait until so many stand in the line of a lock."""
    deadline = time.monotonic() + PATIENCE
    while (await client.lock(name).state()).waiter_count != number:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest_asyncio.fixture
async def client(server: Server) -> AsyncIterator[aio.Client]:
    async with aio.connect(server.address, ttl=5) as client:
        yield client


@pytest_asyncio.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    proxy = Proxy(server.port)
    await proxy.start()
    yield proxy
    await proxy.stop()
