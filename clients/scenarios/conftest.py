"""The stage of each scenario."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from stage.agent import LANGUAGES, Agent
from stage.proxy import Proxy
from stage.server import Server
from stage.tally import Tally

TTL = 4.0
TIMEOUT = 20.0
tally_of_run = Tally()


class Stage:
    """Agents and proxies around a server, all of which end with the scenario."""

    def __init__(self, server: Server, tally: Tally, name: str, barrier: asyncio.Barrier) -> None:
        self.server = server
        self.tally = tally
        self.name = name
        self._barrier = barrier
        self._agents: list[Agent] = []
        self._proxies: list[Proxy] = []

    async def agent(self, language: str, address: str | None = None, **more: Any) -> Agent:
        """Start an agent and have it connect, to the server unless said otherwise."""
        agent = await self.idle(language)
        options = {"ttl": TTL, "timeout": TIMEOUT, **more}
        await agent.connect(address or self.server.address, **options)
        return agent

    async def idle(self, language: str) -> Agent:
        """Start an agent that is not connected."""
        agent = await Agent.start(language, f"{language} {len(self._agents)}")
        self._agents.append(agent)
        return agent

    async def agents(self, languages: list[str], **more: Any) -> list[Agent]:
        """Start agents side by side."""
        return await asyncio.gather(*(self.agent(language, **more) for language in languages))

    async def proxy(self) -> Proxy:
        """Put a network that fails before the server."""
        proxy = Proxy(self.server.port)
        await proxy.start()
        self._proxies.append(proxy)
        return proxy

    async def once(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do something to what all languages share, when the scenarios of all have come to it."""
        if await self._barrier.wait() == 0:
            await act()
        await self._barrier.wait()

    async def give_up(self) -> None:
        """Have nobody wait for this one at a `once`."""
        await self._barrier.abort()

    async def end(self) -> None:
        await asyncio.gather(*(agent.kill() for agent in self._agents))
        for proxy in self._proxies:
            await proxy.stop()


@pytest.fixture(scope="session")
def tally() -> Tally:
    return tally_of_run


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of all scenarios that need no options of their own."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


numbers = itertools.count(1)


@pytest_asyncio.fixture
async def stage(server: Server, tally: Tally) -> AsyncIterator[Stage]:
    """The stage of a scenario in which all languages meet."""
    # Names of its own keep a scenario apart from those before it.
    stage = Stage(server, tally, f"scenario {next(numbers)}", asyncio.Barrier(1))
    yield stage
    await stage.end()
    server.revive()


@pytest_asyncio.fixture
async def stages(
    server: Server, tally: Tally, languages: tuple[str, ...]
) -> AsyncIterator[dict[str, Stage]]:
    """The stages of a scenario that is played with each language, side by side."""
    barrier = asyncio.Barrier(len(languages))
    number = next(numbers)
    stages = {
        language: Stage(server, tally, f"scenario {number} {language}", barrier)
        for language in languages
    }
    yield stages
    await asyncio.gather(*(stage.end() for stage in stages.values()))
    server.revive()


@pytest.fixture(scope="session")
def languages(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen = request.config.getoption("--language")
    return tuple(chosen or LANGUAGES)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--language",
        action="append",
        choices=LANGUAGES,
        help="play with this client only; may be repeated",
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("what was tried")
    for line in tally_of_run.lines(LANGUAGES):
        terminalreporter.write_line(line)
