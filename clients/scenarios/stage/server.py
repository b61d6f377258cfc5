"""A real server, on its embedded store."""

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stage import PATIENCE

LISTENING = re.compile(r"listening on https?://127\.0\.0\.1:(\d+)")
BINARY = os.environ.get("HOLDFAST_BIN", "")


class Server:
    """A server on loopback, with its state below a directory of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options
        self.port = 0
        self._starts = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def tls_address(self) -> str:
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        """Start it, on the port and with the state that it had before."""
        self._starts += 1
        log = self.directory / f"server-{self._starts}.log"
        listen = ["--listen", f"127.0.0.1:{self.port}"]
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [BINARY, "serve", *listen, "--data-dir", self._data, *self.options],
                stderr=output,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            )
        until = time.monotonic() + PATIENCE
        while not (
            found := re.search(r"listening on https?://127\.0\.0\.1:(\d+)", log.read_text())
        ):
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.005)
        self.port = int(found.group(1))

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def command(self, *arguments: str) -> str:
        """Run a command of the server's binary on its data, and return what it prints."""
        run = [BINARY, *arguments, "--data-dir", self._data]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def revive(self) -> None:
        """Have it serve again, whatever a scenario that failed has left it in."""
        self._process.send_signal(signal.SIGCONT)
        if self._process.poll() is not None:
            self.start()

    async def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        await asyncio.to_thread(self.start)

    async def upgrade(self) -> None:
        """Have it stop as an operator does, and start it again."""
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, PATIENCE)
        await asyncio.to_thread(self.start)

    async def pause(self) -> None:
        """Stop the process, and wait until it stands still."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self._process.pid, os.WSTOPPED)

    async def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def settle_tokens(self, identity: dict[str, str]) -> None:
        """Wait until it refuses callers without an API token, over TLS."""
        trust = ssl.create_default_context(cafile=identity["ca"])
        trust.load_cert_chain(identity["cert"], identity["key"])
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            url = f"{self.tls_address}/api/v1/locks/x"
            try:
                urllib.request.urlopen(url, timeout=10, context=trust).close()
            except urllib.error.HTTPError as error:
                if error.code == HTTPStatus.UNAUTHORIZED:
                    return
            time.sleep(0.02)
        raise AssertionError("not in time: it asks for tokens")

    # What it says over REST: what is true, whatever the clients believe.

    async def get(self, path: str) -> dict[str, Any]:
        def read() -> Any:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}", timeout=10) as told:
                return json.load(told)

        return dict(await asyncio.to_thread(read))

    async def lock(self, name: str) -> dict[str, Any]:
        return await self.get(f"locks/{quote(name, safe='')}")

    async def tokens(self, lock: str) -> list[int]:
        """Return the fencing tokens of those who hold a lock."""
        return [int(each["fencing_token"]) for each in (await self.lock(lock))["holders"]]

    async def fifo(self, name: str) -> dict[str, Any]:
        return await self.get(f"fifos/{quote(name, safe='')}")

    async def queue(self, name: str) -> dict[str, Any]:
        return await self.get(f"queues/{quote(name, safe='')}")

    async def settles(self, lock: str, holders: int, waiters: int) -> None:
        """Wait until so many hold a lock and so many stand in its line."""

        async def settled() -> bool:
            state = await self.lock(lock)
            return bool((state["holder_count"], state["waiters"]) == (holders, waiters))

        await eventually(f"{lock}: {holders} holders and {waiters} waiters", settled)

    async def renewed(self, lock: str, seconds: float) -> None:
        """Wait until a lock is held for at least so long."""

        async def held() -> bool:
            holders = (await self.lock(lock))["holders"]
            return bool(holders and holders[0]["expires_in"] > seconds)

        await eventually(f"{lock}: is renewed", held)

    async def consumers_are(self, queue: str, number: int) -> None:
        """Wait until so many consumers wait for an item."""

        async def settled() -> bool:
            return bool((await self.queue(queue))["consumer_count"] == number)

        await eventually(f"{queue}: {number} consumers", settled)

    async def fifo_settles(self, name: str, serving: int, waiting: int) -> None:
        """Wait until so many tickets of a FIFO have their turn, and so many stand in line."""

        async def settled() -> bool:
            state = await self.fifo(name)
            return bool((state["serving_count"], state["waiting_count"]) == (serving, waiting))

        await eventually(f"{name}: {serving} turns and {waiting} in line", settled)

    async def tickets_are(self, fifo: str, states: list[str]) -> None:
        """Wait until the tickets of a FIFO are in these states."""

        async def settled() -> bool:
            return [each["state"] for each in (await self.fifo(fifo))["tickets"]] == states

        await eventually(f"{fifo}: {states}", settled)

    async def queue_settles(self, name: str, *, ready: int, delivered: int) -> None:
        """Wait until so many items of a queue are in line, and so many with consumers."""

        async def settled() -> bool:
            state = await self.queue(name)
            return bool((state["ready_count"], state["delivered_count"]) == (ready, delivered))

        await eventually(f"{name}: {ready} in line and {delivered} delivered", settled)


async def eventually(what: str, holds: Any) -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < until, f"not in time: {what}"
        await asyncio.sleep(0.01)
