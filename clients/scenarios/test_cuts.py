"""The network is cut, and healed within the TTL or beyond it."""

import asyncio

from conftest import Stage
from stage.agent import now
from stage.each import each_language

TTL = 3.0
LATE = (False, True)
"""What is sent in a cut is lost, or comes late."""
CALL = 1.5
"""For how many seconds calls are tried."""
SECOND = 1_000_000_000


@each_language
async def test_cuts_within_the_ttl_cost_nothing(stage: Stage, language: str, other: str) -> None:
    proxy = await stage.proxy()
    agent, waiter = await asyncio.gather(
        stage.agent(language, proxy.address, ttl=TTL), stage.agent(other)
    )
    held = agent.tell("acquire", lock=stage.name)
    token = (await held.done())["token"]
    wanted = waiter.tell("acquire", lock=stage.name)
    await stage.server.settles(stage.name, 1, 1)
    for late in LATE:
        proxy.cut(late=late)
        await asyncio.sleep(TTL * 0.4)
        proxy.heal()
        await stage.server.renewed(stage.name, TTL * 0.75)
        assert held.has("lost") is None
        assert await stage.server.tokens(stage.name) == [token]
        stage.tally.add("cuts within the TTL", language)
    assert wanted.has("done") is None
    await agent.ask("release", of=held.number)
    assert (await wanted.done())["token"] > token
    stage.tally.need(len(LATE), "cuts within the TTL", language)


@each_language
async def test_cuts_within_the_ttl_keep_a_place_in_line(
    stage: Stage, language: str, other: str
) -> None:
    proxy = await stage.proxy()
    first, agent, last = await asyncio.gather(
        stage.agent(other), stage.agent(language, proxy.address, ttl=TTL), stage.agent(other)
    )
    held = first.tell("acquire", lock=stage.name)
    await held.done()
    wanted = agent.tell("acquire", lock=stage.name)
    await stage.server.settles(stage.name, 1, 1)
    behind = last.tell("acquire", lock=stage.name)
    await stage.server.settles(stage.name, 1, 2)
    proxy.cut()
    # The grant finds nobody there.
    await first.ask("release", of=held.number)
    await stage.server.settles(stage.name, 1, 1)
    (token,) = await stage.server.tokens(stage.name)
    await asyncio.sleep(TTL * 0.3)
    assert wanted.has("done") is None
    proxy.heal()
    assert (await wanted.done())["token"] == token
    assert behind.has("done") is None
    await agent.ask("release", of=wanted.number)
    assert (await behind.done())["token"] > token
    stage.tally.add("grants while cut off", language)


@each_language
async def test_cuts_beyond_the_ttl_are_told_in_time(
    stage: Stage, language: str, other: str
) -> None:
    proxy = await stage.proxy()
    agent, waiter = await asyncio.gather(
        stage.agent(language, proxy.address, ttl=1), stage.agent(other)
    )
    for late in LATE:
        held = agent.tell("acquire", lock=stage.name)
        token = (await held.done())["token"]
        wanted = waiter.tell("acquire", lock=stage.name)
        await stage.server.settles(stage.name, 1, 1)
        proxy.cut(late=late)
        cut = now()
        lost = await held.event("lost")
        assert lost["at"] - cut < SECOND, "told after its TTL"
        # Whoever asks meanwhile is told in time that nobody answers...
        silent = agent.tell("acquire", lock=f"{stage.name}/other", wait=60)
        granted = await wanted.done()
        assert lost["at"] < granted["took"]
        assert granted["token"] > token
        release = agent.tell("release", of=held.number)
        assert await release.failure() == "lost"
        proxy.heal()
        # ...and is served as soon as somebody does.
        await silent.done()
        await agent.ask("release", of=silent.number)
        await waiter.ask("release", of=wanted.number)
        await stage.server.settles(stage.name, 0, 0)
        await stage.server.settles(f"{stage.name}/other", 0, 0)
        stage.tally.add("cuts beyond the TTL", language)
    again = agent.tell("acquire", lock=stage.name)
    await again.done()
    await agent.ask("release", of=again.number)
    stage.tally.need(len(LATE), "cuts beyond the TTL", language)


@each_language
async def test_cuts_lose_no_turn_and_no_item(stage: Stage, language: str, other: str) -> None:
    proxy = await stage.proxy()
    agent, near = await asyncio.gather(
        stage.agent(language, proxy.address, ttl=TTL), stage.agent(other)
    )
    await near.ask("create_fifo", fifo=stage.name, accept=30, done=30)
    turn = near.tell("turn", fifo=stage.name)
    await turn.event("took")
    ticket = agent.tell("ticket", fifo=stage.name)
    await ticket.done()
    wait = agent.tell("wait", of=ticket.number)
    await wait.event("position")
    pop = agent.tell("take", queue=stage.name, wait=30, ack=30)
    await stage.server.consumers_are(stage.name, 1)
    proxy.cut()
    await turn.end()
    await near.ask("push", queue=stage.name, value="item")
    await asyncio.sleep(0.3)
    assert wait.has("done") is None and pop.has("done") is None
    proxy.heal()
    await wait.done()
    assert (await pop.done())["value"] == "item"
    await agent.ask("complete", of=ticket.number)
    await agent.ask("acknowledge", of=pop.number)
    await stage.server.fifo_settles(stage.name, 0, 0)
    await stage.server.queue_settles(stage.name, ready=0, delivered=0)
    stage.tally.add("turns and items while cut off", language)


@each_language
async def test_cuts_longer_than_a_call_are_told(stage: Stage, language: str, other: str) -> None:
    """Nothing hangs, and what was begun is finished or taken back when there is a network again."""
    proxy = await stage.proxy()
    agent, near = await asyncio.gather(
        stage.agent(language, proxy.address, ttl=60, timeout=CALL), stage.agent(other)
    )
    await agent.ask("create_fifo", fifo=stage.name, accept=60, done=60)
    held = agent.tell("acquire", lock=stage.name)
    await held.done()
    had = agent.tell("ticket", fifo=stage.name)
    await had.done()
    await agent.ask("wait", of=had.number)
    proxy.cut()
    calls = [
        agent.tell("release", of=held.number),
        agent.tell("acquire", lock=f"{stage.name}/try", wait=0),
        agent.tell("acquire", lock=f"{stage.name}/wait", wait=0.5),
        agent.tell("push", queue=stage.name, value="item"),
        agent.tell("pop", queue=f"{stage.name}/none", wait=0.5),
        agent.tell("complete", of=had.number),
        agent.tell("add", value=stage.name),
    ]
    begun = now()
    for call in calls:
        assert await call.failure() == "unavailable", call
        assert call.events[-1]["at"] - begun < 3 * CALL * SECOND, call
        stage.tally.add("calls without a network", language)
    proxy.heal()
    for lock in (stage.name, f"{stage.name}/try", f"{stage.name}/wait"):
        await stage.server.settles(lock, 0, 0)
    for lock in (stage.name, f"{stage.name}/try"):
        for who in (agent, near):
            acquire = who.tell("acquire", lock=lock, wait=10)
            await acquire.done()
            await who.ask("release", of=acquire.number)
    await near.ask("push", queue=f"{stage.name}/none", value="item")
    assert (await near.ask("pop", queue=f"{stage.name}/none", wait=10))["value"] == "item"
    assert held.has("lost") is None
