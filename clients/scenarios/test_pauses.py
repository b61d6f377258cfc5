"""No holder believes in its grant after the next one has it.

Holders are paused past their TTL, cut off from the server, or have a server that stands still.
Many of them side by side: what takes time is the TTL.
"""

import asyncio
import os
import random
from dataclasses import dataclass

import pytest

from conftest import Stage
from stage import judge
from stage.agent import LANGUAGES, Agent, Command, Event
from stage.each import each_language

PAUSES = int(os.environ.get("HOLDFAST_PAUSES", "20"))
"""How many pauses of each kind there are for each language."""
SIDE_BY_SIDE = max(5, PAUSES // 10)
"""How many holders of a language there are at a time."""
TTL = 1.0
"""The TTL of the holders, in seconds."""
SECOND = 1_000_000_000
LOOK_EVERY = 0.005
"""How often, in seconds, a holder looks whether it holds."""


@dataclass
class Pair:
    """A holder that believes, and somebody that waits for what it has."""

    lock: str
    holder: Agent
    held: Command
    belief: Command
    waiter: Agent
    wanted: Command

    async def judge(self, stage: Stage, what: str, *, told_before: bool) -> None:
        """Say whether the belief ended before the next hold began."""
        after = await self.wanted.done()
        before = await self.held.done()
        lost = await self.held.event("lost")
        belief: Event = await self.belief.end()
        assert before["token"] < after["token"]
        assert belief["believed"] < after["took"], f"two believe at once: {belief}, {after}"
        assert belief["lost"] and not belief["revived"], belief
        assert belief["looks"] > 1
        release = self.holder.tell("release", of=self.held.number)
        assert await release.failure() == "lost"
        assert await stage.server.tokens(self.lock) == [after["token"]]
        await self.waiter.ask("release", of=self.wanted.number)
        if told_before:
            assert lost["at"] < after["took"], f"told too late: {lost}, {after}"
            gap, since = after["took"] - lost["at"], "the loss told"
        else:
            gap, since = after["took"] - belief["believed"], "the last belief"
        stage.tally.gap(f"{what}: from {since} to the next grant", self.holder.language, gap)
        stage.tally.add(what, self.holder.language)


async def pair(stage: Stage, lock: str, holder: Agent, waiter: Agent) -> Pair:
    """Have one hold the lock, and the other wait for it."""
    held = holder.tell("acquire", lock=lock)
    await held.done()
    wanted = waiter.tell("acquire", lock=lock)
    await stage.server.settles(lock, 1, 1)
    belief = holder.tell("believe", of=held.number, every=LOOK_EVERY)
    return Pair(lock, holder, held, belief, waiter, wanted)


async def crowd(stage: Stage, language: str, address: str | None = None) -> list[Agent]:
    number = min(SIDE_BY_SIDE, PAUSES)
    return await stage.agents([language] * number, address=address, ttl=TTL)


@each_language
async def test_pauses_past_the_ttl_of_processes(stage: Stage, language: str) -> None:
    waiters = await stage.agents([*LANGUAGES])
    holders = await crowd(stage, language)
    what = "pauses past the TTL"

    async def pauses(place: int) -> None:
        for round_ in range(PAUSES // len(holders)):
            waiter = waiters[(place + round_) % len(waiters)]
            both = await pair(stage, f"{stage.name}/{place}", holders[place], waiter)
            # At any point of the renewing.
            await asyncio.sleep(random.uniform(0, TTL / 2))
            await both.holder.pause()
            await both.wanted.done()
            await asyncio.sleep(random.uniform(0, 0.1))
            both.holder.resume()
            await both.judge(stage, what, told_before=False)

    await asyncio.gather(*(pauses(place) for place in range(len(holders))))
    stage.tally.need(PAUSES, what, language)


@each_language
async def test_pauses_within_the_ttl_cost_nothing(stage: Stage, language: str) -> None:
    ttl = 3.0
    agents = await stage.agents([language] * 3, ttl=ttl)

    async def pauses(place: int) -> None:
        agent, lock = agents[place], f"{stage.name}/{place}"
        held = agent.tell("acquire", lock=lock)
        token = (await held.done())["token"]
        await asyncio.sleep(random.uniform(0, 0.3) * ttl)
        await agent.pause()
        await asyncio.sleep(random.uniform(0.2, 0.4) * ttl)
        agent.resume()
        await asyncio.sleep(0.4 * ttl)
        assert held.has("lost") is None
        stage.tally.add("pauses within the TTL", agent.language)
        assert await stage.server.tokens(lock) == [token]
        await agent.ask("release", of=held.number)

    await asyncio.gather(*(pauses(place) for place in range(len(agents))))
    stage.tally.need(len(agents), "pauses within the TTL", language)


@each_language
async def test_pauses_of_the_network_are_told_before_the_next_grant(
    stage: Stage, language: str
) -> None:
    waiters = await stage.agents([*LANGUAGES])
    proxy = await stage.proxy()
    holders = await crowd(stage, language, proxy.address)
    what = "cut off past the TTL"
    for round_ in range(PAUSES // len(holders)):
        pairs = await asyncio.gather(
            *(
                pair(stage, f"{stage.name}/{place}", holder, waiters[(place + round_) % 3])
                for place, holder in enumerate(holders)
            )
        )
        await asyncio.sleep(random.uniform(0, TTL / 2))
        proxy.cut()
        await asyncio.gather(*(each.wanted.done() for each in pairs))
        proxy.heal()
        await asyncio.gather(*(each.judge(stage, what, told_before=True) for each in pairs))
    stage.tally.need(PAUSES, what, language)


@each_language
async def test_pauses_of_the_server_are_told_within_the_ttl(stage: Stage, language: str) -> None:
    waiters = await stage.agents([*LANGUAGES], ttl=30)
    holders = await crowd(stage, language)
    what = "server stood still past the TTL"
    pairs = await asyncio.gather(
        *(
            pair(stage, f"{stage.name}/{place}", holder, waiters[place % 3])
            for place, holder in enumerate(holders)
        )
    )
    await stage.once(stage.server.pause)
    await asyncio.gather(*(each.held.event("lost") for each in pairs))
    await stage.once(stage.server.resume)
    await asyncio.gather(*(each.judge(stage, what, told_before=True) for each in pairs))
    stage.tally.need(len(holders), what, language)


@pytest.mark.parametrize("what", ["paused", "cut off"])
@each_language
async def test_pauses_of_turns(stage: Stage, language: str, other: str, what: str) -> None:
    """A turn that is not extended goes to the next ticket, and its holder has stopped."""
    proxy = await stage.proxy()
    fifos = [f"{stage.name}/{place}" for place in range(3)]
    holders = await stage.agents([language] * len(fifos), address=proxy.address)
    (waiter,) = await stage.agents([other])
    turns, wanted = [], []
    for fifo, holder in zip(fifos, holders, strict=True):
        await waiter.ask("create_fifo", fifo=fifo, accept=30, done=TTL)
        turns.append(holder.tell("turn", fifo=fifo))
        await turns[-1].event("took")
        wanted.append(waiter.tell("turn", fifo=fifo))
        await stage.server.fifo_settles(fifo, 1, 1)
    # They are extended.
    await asyncio.sleep(TTL * 1.2)
    assert not [turn for turn in (*turns, *wanted) if turn.has("lost", "done", "failed")]
    if what == "paused":
        await asyncio.gather(*(holder.pause() for holder in holders))
    else:
        proxy.cut()
    after = await asyncio.gather(*(each.event("took") for each in wanted))
    for holder in holders:
        holder.resume()
    for turn, took in zip(turns, after, strict=True):
        lost = await turn.event("lost")
        if what == "cut off":
            assert lost["at"] < took["at"], f"told too late: {lost}, {took}"
            gap = took["at"] - lost["at"]
            stage.tally.gap("turns cut off: from the loss told to the next turn", language, gap)
            # Who has stopped does not wait for a network that is not there.
            assert (await turn.event("failed"))["at"] - lost["at"] < SECOND
    proxy.heal()
    for turn, want in zip(turns, wanted, strict=True):
        assert await turn.failure() == "lost"
        await want.end()
        stage.tally.add(f"turns {what} past their time", language)
    for fifo in fifos:
        await stage.server.fifo_settles(fifo, 0, 0)


@each_language
async def test_pauses_in_line(stage: Stage, language: str, other: str) -> None:
    """Who was paused as its grant came does not take it for held when that has ended meanwhile."""
    what = "pauses in line"
    paused = await crowd(stage, language)
    holder, behind = await stage.agents([other, other], ttl=30)

    async def hold(acquire: Command) -> judge.Hold:
        """Hold it for a moment, and give it back."""
        got = await acquire.done()
        belief = acquire.agent.tell("believe", of=acquire.number, every=LOOK_EVERY)
        await asyncio.sleep(0.05)
        believed = (await belief.end())["believed"]
        release = acquire.agent.tell("release", of=acquire.number)
        if (await release.event("done", "failed"))["event"] == "failed":
            assert await release.failure() == "lost"
        name = acquire.agent.name
        return judge.Hold(name, got["took"], max(got["took"], believed), got["token"])

    async def pauses(place: int) -> None:
        lock, agent = f"{stage.name}/{place}", paused[place]
        for _ in range(PAUSES // len(paused)):
            held = holder.tell("acquire", lock=lock)
            token = (await held.done())["token"]
            acquires = []
            for waiters, each in enumerate((agent, behind), 1):
                acquires.append(each.tell("acquire", lock=lock))
                await stage.server.settles(lock, 1, waiters)
            await agent.pause()
            await asyncio.sleep(random.uniform(0, TTL / 2))
            await holder.ask("release", of=held.number)
            await asyncio.sleep(random.uniform(TTL / 4, TTL * 1.25))
            agent.resume()
            holds = await asyncio.gather(*map(hold, acquires))
            judge.never_overlap(holds)
            judge.tokens_rise(holds)
            assert min(each.token for each in holds) > token
            await stage.server.settles(lock, 0, 0)
            stage.tally.add(what, language)

    await asyncio.gather(*(pauses(place) for place in range(len(paused))))
    stage.tally.need(PAUSES, what, language)
