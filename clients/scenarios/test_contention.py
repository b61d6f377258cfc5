"""Processes of all three languages at one lock, one FIFO and one queue at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

from conftest import Stage
from stage import judge
from stage.agent import LANGUAGES, Agent, Command, Gone

OF_EACH = 2
"""How many processes of each language."""
ROUNDS = 25
"""How many holds, turns and items each of them has."""
KILLS = 6
"""How many of them are killed, and replaced, in the middle."""
KILL_EVERY = 15
"""After how many holds the next one is killed."""
TTL = 1.5
"""Seconds after which what a killed one held goes on."""


class Crowd:
    """Agents of all languages, some of which are killed; another takes the place."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.agents: list[Agent] = []
        self.victims = [*LANGUAGES] * (KILLS // len(LANGUAGES))
        """Whose turn it is to be killed, by language."""

    async def gather(self) -> None:
        languages = [*LANGUAGES] * OF_EACH
        self.agents = await self.stage.agents(languages, ttl=TTL)

    async def rounds(self, place: int) -> AsyncIterator[Agent]:
        """Go on with whoever has the place, until it has been so many rounds."""
        for _ in range(ROUNDS):
            while self.agents[place].has_gone:
                await asyncio.sleep(0.01)
            yield self.agents[place]

    def is_victim(self, agent: Agent, holds: int) -> bool:
        """Return whether this holder is to be killed: holders of each language are, in turn."""
        killed = KILLS - len(self.victims)
        return self.victims[:1] == [agent.language] and holds >= KILL_EVERY * (killed + 1)

    async def kill(self, killed: Agent) -> int:
        """Kill it at this moment, and put another in its place."""
        language = self.victims.pop(0)
        self.stage.tally.add("killed as holders, in contention", language)
        at = await killed.kill()
        place = self.agents.index(killed)
        self.agents[place] = await self.stage.agent(language, ttl=TTL)
        return at


async def lock_rounds(crowd: Crowd, place: int, holds: list[judge.Hold]) -> None:
    async for agent in crowd.rounds(place):
        acquire = agent.tell("acquire", lock=crowd.stage.name)
        with suppress(Gone):
            got = await acquire.done()
            await asyncio.sleep(random.uniform(0, 0.004))
            if crowd.is_victim(agent, len(holds)):
                gave = await crowd.kill(agent)
            else:
                gave = await given(agent.tell("release", of=acquire.number), got["took"])
            holds.append(judge.Hold(agent.name, got["took"], gave, got["token"]))


async def given(giving: Command, took: int) -> int:
    """Return until when what is given back was relied on, as far as is known."""
    with suppress(Gone):
        return int((await giving.done())["gave"])
    return took


async def fifo_rounds(
    crowd: Crowd, place: int, turns: list[judge.Turn], holds: list[judge.Hold]
) -> None:
    async for agent in crowd.rounds(place):
        ticket = agent.tell("ticket", fifo=crowd.stage.name)
        with suppress(Gone):
            made = await ticket.done()
            took = (await agent.ask("wait", of=ticket.number))["took"]
            gave = await given(agent.tell("complete", of=ticket.number), took)
            holds.append(judge.Hold(agent.name, took, gave))
            turns.append(judge.Turn(agent.name, made["asked"], made["at"], took))


async def queue_rounds(crowd: Crowd, place: int, pushed: list[str], got: list[str]) -> None:
    queue = crowd.stage.name
    number = 0
    async for agent in crowd.rounds(place):
        number += 1
        item = f"{place}/{number}"
        try:
            # Pushed for sure: where it died in the middle, another pushes it under another name.
            await agent.ask("push", queue=queue, value=item)
            pushed.append(item)
            if number % 2:
                value = (await agent.ask("pop", queue=queue))["value"]
            else:
                take = agent.tell("take", queue=queue, wait=20, ack=2)
                value = (await take.done())["value"]
                await agent.ask("acknowledge", of=take.number)
            got.append(value)
        except Gone:
            continue


async def test_contention_of_processes_of_all_languages(stage: Stage) -> None:
    crowd = Crowd(stage)
    await crowd.gather()
    await crowd.agents[0].ask("create_fifo", fifo=stage.name, accept=1, done=2)
    holds: list[judge.Hold] = []
    turns: list[judge.Turn] = []
    turn_holds: list[judge.Hold] = []
    pushed: list[str] = []
    got: list[str] = []
    work = [
        part
        for place in range(len(crowd.agents))
        for part in (
            lock_rounds(crowd, place, holds),
            fifo_rounds(crowd, place, turns, turn_holds),
            queue_rounds(crowd, place, pushed, got),
        )
    ]
    await asyncio.gather(*work)
    await drain(stage, got)

    judge.never_overlap(holds)
    judge.tokens_rise(holds)
    judge.never_overlap(turn_holds)
    judge.first_come_first_served(turns)
    # A push or a pop that died with its agent may have been carried out.
    judge.each_once(pushed + unsure(pushed, got), got, lost_max=KILLS)

    tally = stage.tally
    tally.add("holds in contention", number=len(holds))
    tally.add("turns in contention", number=len(turns))
    tally.add("items in contention", number=len(got))
    whole = OF_EACH * len(LANGUAGES) * ROUNDS
    for what in ("holds", "turns", "items"):
        tally.need(whole - 3 * KILLS, f"{what} in contention")
    for language in LANGUAGES:
        tally.need(KILLS // len(LANGUAGES), "killed as holders, in contention", language)


async def drain(stage: Stage, got: list[str]) -> None:
    """Take what is left, also what comes again because its consumer died."""
    agent = await stage.agent("python")
    while True:
        state = await stage.server.queue(stage.name)
        if not state["ready_count"] and not state["delivered_count"]:
            return
        value = (await agent.ask("pop", queue=stage.name, wait=1))["value"]
        if value is not None:
            got.append(value)


def unsure(pushed: list[str], got: list[str]) -> list[str]:
    """Return what came although nobody heard that its push was carried out."""
    return sorted(set(got) - set(pushed))


async def test_contention_over_a_value_loses_no_change(stage: Stage) -> None:
    agents = await stage.agents([*LANGUAGES] * OF_EACH)

    async def adds(agent: Agent) -> list[int]:
        return [(await agent.ask("add", value=stage.name))["sum"] for _ in range(ROUNDS)]

    sums = [each for some in await asyncio.gather(*map(adds, agents)) for each in some]
    assert sorted(sums) == list(range(1, len(agents) * ROUNDS + 1))
    stage.tally.add("changes of a value", number=len(sums))
    stage.tally.need(len(agents) * ROUNDS, "changes of a value")
