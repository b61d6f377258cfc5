"""A network that fails: a proxy between clients and a server."""

import asyncio
import contextlib

BYTES = 64 * 1024


class Proxy:
    """Passes bytes on, until it is told to lose them."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._up = True
        self._down = True
        self._late = False
        self._healed = asyncio.Event()
        self._healed.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted = 0
        self.address = ""
        self.swallowed = 0
        """How many bytes of answers were lost."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self, *, late: bool = False) -> None:
        """Let nothing through, either way, and tell nobody. New connections get nowhere.

        What is sent meanwhile is lost, or else comes late: when it is healed.
        """
        self._up = self._down = False
        self._late = late
        self._healed.clear()

    def swallow(self) -> None:
        """Let the server hear everything and lose what it answers."""
        self._down = False
        self._healed.clear()

    def heal(self) -> None:
        """Let everything through again. Connections that have lost bytes break."""
        if not self._late:
            self.drop()
        self._up = self._down = True
        self._late = False
        self._healed.set()

    def drop(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def is_wanted(self) -> bool:
        """Return whether anybody has connected."""
        return self._accepted > 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        if not self._up:
            await self._healed.wait()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        self._writers |= {writer, back}
        for pump in (self._pump(reader, back, up=True), self._pump(there, writer, up=False)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(BYTES):
                if self._late:
                    await self._healed.wait()
                if self._up if up else self._down:
                    sink.write(data)
                    await sink.drain()
                elif not up:
                    self.swallowed += len(data)
        # An end is a word as well, which a cut network does not carry.
        await self._healed.wait()
        sink.close()

    async def stop(self) -> None:
        self._server.close()
        self.drop()
        self.heal()
        for task in list(self._tasks):
            task.cancel()
