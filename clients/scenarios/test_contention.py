"""Processes of all three languages at one lock, one FIFO and one queue at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from conftest import Stage
from stage import judge
from stage.agent import LANGUAGES, Agent, Command, Gone
from stage.tally import Tally

OF_EACH = 2
"""How many processes of each language."""
ROUNDS = 25
"""How many holds, turns and items each of them has."""
KILLS = 6
"""How many of them are killed, and replaced, in the middle."""
KILL_EVERY = 15
"""After how many holds the next one is killed."""
SERVER_ENDS = 3
"""How often the server is killed, or stopped, in the middle."""
SERVER_END_EVERY = 30
"""After how many holds that happens."""


@dataclass
class Happened:
    """What a crowd has done."""

    holds: list[judge.Hold] = field(default_factory=list)
    turns: list[judge.Turn] = field(default_factory=list)
    turn_holds: list[judge.Hold] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    got: list[str] = field(default_factory=list)

    def judge(self, kills: int = 0) -> None:
        """Say whether it was right, where so many died in the middle of something."""
        judge.never_overlap(self.holds)
        judge.tokens_rise(self.holds)
        judge.never_overlap(self.turn_holds)
        judge.first_come_first_served(self.turns)
        # A push that died with its agent may have been carried out, and so may a pop.
        unsure = set(self.got) - set(self.pushed)
        assert len(unsure) <= kills, f"were never pushed: {unsure}"
        judge.each_once([*self.pushed, *unsure], self.got, lost_max=kills)

    def count(self, tally: Tally, what: str, kills: int) -> None:
        """Count it, and fail where it was too little."""
        whole = OF_EACH * len(LANGUAGES) * ROUNDS - 3 * kills
        for noun, done in (("holds", self.holds), ("turns", self.turns), ("items", self.got)):
            tally.add(f"{noun} {what}", number=len(done))
            tally.need(whole, f"{noun} {what}")


class Crowd:
    """Agents of all languages, some of which are killed; another takes the place."""

    def __init__(self, stage: Stage, *, ttl: float, kills: int = 0) -> None:
        self.stage = stage
        self.happened = Happened()
        self.agents: list[Agent] = []
        self._ttl = ttl
        self._kills = kills
        # Whose turn it is to be killed, by language.
        self._victims = [*LANGUAGES] * (kills // len(LANGUAGES))

    async def contend(self, address: str | None = None, *, accept: float, done: float) -> None:
        """Have all of them at the same lock, FIFO and queue, until all have had their rounds."""
        languages = [*LANGUAGES] * OF_EACH
        self.agents = await self.stage.agents(languages, address=address, ttl=self._ttl)
        await self.agents[0].ask("create_fifo", fifo=self.stage.name, accept=accept, done=done)
        work = (self._locks, self._fifos, self._queues)
        places = range(len(self.agents))
        await asyncio.gather(*(part(place) for place in places for part in work))

    async def drain(self) -> None:
        """Take what is left, also what comes again because its consumer died."""
        agent = await self.stage.agent("python")
        while True:
            state = await self.stage.server.queue(self.stage.name)
            if not state["ready_count"] and not state["delivered_count"]:
                return
            value = (await agent.ask("pop", queue=self.stage.name, wait=1))["value"]
            if value is not None:
                self.happened.got.append(value)

    async def _rounds(self, place: int) -> AsyncIterator[Agent]:
        """Go on with whoever has the place, until it has been so many rounds."""
        for _ in range(ROUNDS):
            while self.agents[place].has_gone:
                await asyncio.sleep(0.01)
            yield self.agents[place]

    def _is_victim(self, agent: Agent) -> bool:
        """Return whether this holder is to be killed: holders of each language are, in turn."""
        killed = self._kills - len(self._victims)
        enough = len(self.happened.holds) >= KILL_EVERY * (killed + 1)
        return enough and self._victims[:1] == [agent.language]

    async def _kill(self, killed: Agent) -> int:
        """Kill it at this moment, and put another in its place."""
        language = self._victims.pop(0)
        self.stage.tally.add("killed as holders, in contention", language)
        at = await killed.kill()
        place = self.agents.index(killed)
        self.agents[place] = await self.stage.agent(language, ttl=self._ttl)
        return at

    async def _locks(self, place: int) -> None:
        async for agent in self._rounds(place):
            acquire = agent.tell("acquire", lock=self.stage.name)
            with suppress(Gone):
                got = await acquire.done()
                await asyncio.sleep(random.uniform(0, 0.004))
                if self._is_victim(agent):
                    gave = await self._kill(agent)
                else:
                    gave = await given(agent.tell("release", of=acquire.number), got["took"])
                hold = judge.Hold(agent.name, got["took"], gave, got["token"])
                self.happened.holds.append(hold)

    async def _fifos(self, place: int) -> None:
        async for agent in self._rounds(place):
            ticket = agent.tell("ticket", fifo=self.stage.name)
            with suppress(Gone):
                made = await ticket.done()
                took = (await agent.ask("wait", of=ticket.number))["took"]
                gave = await given(agent.tell("complete", of=ticket.number), took)
                self.happened.turn_holds.append(judge.Hold(agent.name, took, gave))
                turn = judge.Turn(agent.name, made["asked"], made["at"], took)
                self.happened.turns.append(turn)

    async def _queues(self, place: int) -> None:
        queue, number = self.stage.name, 0
        async for agent in self._rounds(place):
            number += 1
            with suppress(Gone):
                item = f"{place}/{number}"
                await agent.ask("push", queue=queue, value=item)
                self.happened.pushed.append(item)
                if number % 2:
                    value = (await agent.ask("pop", queue=queue))["value"]
                else:
                    take = agent.tell("take", queue=queue, wait=20, ack=2)
                    value = (await take.done())["value"]
                    await agent.ask("acknowledge", of=take.number)
                self.happened.got.append(value)


async def given(giving: Command, took: int) -> int:
    """Return until when what is given back was relied on, as far as is known."""
    with suppress(Gone):
        return int((await giving.done())["gave"])
    return took


async def test_contention_of_processes_that_are_killed(stage: Stage) -> None:
    crowd = Crowd(stage, ttl=1.5, kills=KILLS)
    await crowd.contend(accept=1, done=2)
    await crowd.drain()
    crowd.happened.judge(KILLS)
    crowd.happened.count(stage.tally, "while holders are killed", KILLS)
    for language in LANGUAGES:
        stage.tally.need(KILLS // len(LANGUAGES), "killed as holders, in contention", language)


async def test_contention_while_the_server_ends(stage: Stage) -> None:
    async def trouble() -> None:
        for end in range(SERVER_ENDS):
            while len(crowd.happened.holds) < SERVER_END_EVERY * (end + 1):
                await asyncio.sleep(0.01)
            await (stage.server.upgrade() if end % 2 else stage.server.restart())
            stage.tally.add("ends of the server, in contention")

    crowd = Crowd(stage, ttl=20)
    await asyncio.gather(crowd.contend(accept=30, done=30), trouble())
    await crowd.drain()
    crowd.happened.judge()
    crowd.happened.count(stage.tally, "while the server ends", 0)


async def test_contention_over_a_network_that_drops(stage: Stage) -> None:
    proxy = await stage.proxy()

    async def trouble() -> None:
        while True:
            await asyncio.sleep(random.uniform(0.02, 0.2))
            # Some answers are lost before the connections are.
            proxy.swallow()
            await asyncio.sleep(random.uniform(0, 0.01))
            proxy.heal()
            stage.tally.add("networks that dropped, in contention")

    crowd = Crowd(stage, ttl=20)
    troubling = asyncio.create_task(trouble())
    await crowd.contend(proxy.address, accept=30, done=30)
    troubling.cancel()
    await crowd.drain()
    crowd.happened.judge()
    crowd.happened.count(stage.tally, "while the network drops", 0)
    stage.tally.need(5, "networks that dropped, in contention")


async def test_contention_over_a_value_loses_no_change(stage: Stage) -> None:
    agents = await stage.agents([*LANGUAGES] * OF_EACH)

    async def adds(agent: Agent) -> list[int]:
        return [(await agent.ask("add", value=stage.name))["sum"] for _ in range(ROUNDS)]

    sums = [each for some in await asyncio.gather(*map(adds, agents)) for each in some]
    assert sorted(sums) == list(range(1, len(agents) * ROUNDS + 1))
    stage.tally.add("changes of a value", number=len(sums))
    stage.tally.need(len(agents) * ROUNDS, "changes of a value")
