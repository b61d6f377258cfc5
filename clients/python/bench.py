"""Measures the asyncio client against a release server on its durable store.

    cargo build --release
    clients/python/.venv/bin/python clients/python/bench.py --rounds 5 --kept-alive

Prints acquire-and-release cycles a second, of distinct locks by many tasks over one client: each
round and the median. With `--kept-alive` also the share of one core that this process needs to keep
10,000 grants alive.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast import aio

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT = 30.0
WATCHED = 20.0
"""How many seconds the grants that are kept alive are watched: long enough for some renewals."""


@contextmanager
def serving(binary: str) -> Iterator[str]:
    """Run a server on a directory of its own, and yield its address."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "server.log"
        with log.open("w") as output:
            command = [
                binary,
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
                f"{directory}/data",
            ]
            process = subprocess.Popen(command, stderr=output)  # noqa: S603 - as asked for
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not (at := re.search(r"listening on http://(127\.0\.0\.1:\d+)", log.read_text())):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start: {log.read_text()}")
                time.sleep(0.01)
            yield at.group(1)
        finally:
            process.kill()
            process.wait()


async def cycles_per_second(client: aio.Client, callers: int, cycles: int) -> float:
    """Return how many acquires with their releases are made in a second."""

    async def call(number: int) -> None:
        lock = client.lock(f"lock-{number}")
        for _ in range(cycles):
            grant = await lock.acquire()
            await grant.release()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(call(number))
    return callers * cycles / (time.perf_counter() - began)


async def share_of_core(client: aio.Client, grants: int) -> float:
    """Return the share of one core that keeping so many grants alive needs."""
    held = await asyncio.gather(*(client.lock(f"kept-{n}").acquire() for n in range(grants)))
    before, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(WATCHED)
    share = (time.process_time() - before) / (time.perf_counter() - began)
    if not all(grant.held for grant in held):
        raise SystemExit("a grant was lost")
    return share


async def measure(options: argparse.Namespace, address: str) -> None:
    """Measure all that was asked for."""
    async with aio.connect(address) as client:
        rates = []
        for number in range(options.rounds):
            before = time.process_time()
            rate = await cycles_per_second(client, options.callers, options.cycles)
            spent = (time.process_time() - before) / (options.callers * options.cycles)
            rates.append(rate)
            print(f"round {number + 1}: {rate:,.0f} cycles/s, {spent * 1e6:.0f} µs of this process")
        print(f"median of {len(rates)}: {statistics.median(rates):,.0f} cycles/s")
        if options.kept_alive:
            share = await share_of_core(client, options.grants)
            print(f"{options.grants:,} grants kept alive: {share:.1%} of one core")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    binary = os.environ.get("HOLDFAST_BIN") or str(REPOSITORY / "target/release/holdfast")
    parser.add_argument("--server", default=binary, help="the server's binary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", type=int, default=256, help="tasks that share the client")
    parser.add_argument("--cycles", type=int, default=100, help="cycles of each task in a round")
    parser.add_argument("--kept-alive", action="store_true", help="measure that as well")
    parser.add_argument("--grants", type=int, default=10_000, help="grants to keep alive")
    options = parser.parse_args()
    with serving(options.server) as address:
        asyncio.run(measure(options, address))


if __name__ == "__main__":
    main()
