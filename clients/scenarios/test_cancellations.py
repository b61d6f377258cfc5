"""Callers give up at every stage: no place in line and no grant is left, the next is served."""

import asyncio
import random

from conftest import Stage
from stage.agent import Agent, Command
from stage.each import each_language
from stage.server import eventually

TTL = 60.0
"""Far longer than a scenario waits: what is left behind does not go by itself."""
RACES = 20
"""How many cancellations race with what they are too late for, for each language and noun."""
RACE_SECONDS = 0.02
ACK = 1.0


async def cancelled(command: Command) -> bool:
    """Return whether a command that is being cancelled was so, or done before that."""
    event = await command.event("done", "failed")
    assert event["event"] == "done" or event["kind"] == "cancelled", command
    return bool(event["event"] == "failed")


async def holds_again(agent: Agent, lock: str) -> None:
    acquire = agent.tell("acquire", lock=lock, wait=20)
    await acquire.done()
    await agent.ask("release", of=acquire.number)


@each_language
async def test_cancellations_before_there_is_a_connection(stage: Stage, language: str) -> None:
    proxy = await stage.proxy()
    agent = await stage.idle(language)
    proxy.cut()
    connect = agent.tell("connect", address=proxy.address, ttl=TTL, timeout=20)
    await eventually("it connects", proxy.is_wanted)
    await connect.cancel()
    # A client may call itself connected before the server has said anything.
    if await cancelled(connect):
        stage.tally.add("cancelled while connecting", language)
    proxy.heal()
    await agent.connect(proxy.address, ttl=TTL, timeout=20)

    proxy.cut()
    acquire = agent.tell("acquire", lock=stage.name)
    turn = agent.tell("turn", fifo=stage.name)
    pop = agent.tell("pop", queue=stage.name)
    await asyncio.sleep(0.1)
    for command in (acquire, turn, pop):
        await command.cancel()
        assert await command.failure() == "cancelled"
        stage.tally.add("cancelled without a connection", language)
    proxy.heal()
    await holds_again(agent, stage.name)
    await stage.server.settles(stage.name, 0, 0)
    await agent.ask("push", queue=stage.name, value="item")
    assert (await agent.ask("pop", queue=stage.name))["value"] == "item"


@each_language
async def test_cancellations_in_line(stage: Stage, language: str, other: str) -> None:
    holder, agent = await stage.agents([other, language], ttl=TTL)
    await holder.ask("create_fifo", fifo=stage.name, accept=TTL, done=TTL)
    held = holder.tell("acquire", lock=stage.name)
    await held.done()
    turn = holder.tell("turn", fifo=stage.name)
    await turn.event("took")
    acquire = agent.tell("acquire", lock=stage.name)
    wanted = agent.tell("turn", fifo=stage.name)
    pop = agent.tell("pop", queue=stage.name)
    await stage.server.settles(stage.name, 1, 1)
    await stage.server.fifo_settles(stage.name, 1, 1)
    await stage.server.consumers_are(stage.name, 1)
    for command in (acquire, wanted, pop):
        await command.cancel()
        assert await command.failure() == "cancelled"
        stage.tally.add("cancelled in line", language)
    await stage.server.settles(stage.name, 1, 0)
    await stage.server.fifo_settles(stage.name, 1, 0)
    await stage.server.consumers_are(stage.name, 0)
    await holder.ask("release", of=held.number)
    await turn.end()
    await stage.server.settles(stage.name, 0, 0)
    await stage.server.fifo_settles(stage.name, 0, 0)
    await holder.ask("push", queue=stage.name, value="item")
    await stage.server.queue_settles(stage.name, ready=1, delivered=0)
    await holds_again(agent, stage.name)
    again = agent.tell("turn", fifo=stage.name)
    await again.event("took")
    await again.end()
    assert (await agent.ask("pop", queue=stage.name))["value"] == "item"


@each_language
async def test_cancellations_that_race_with_the_grant(
    stage: Stage, language: str, other: str
) -> None:
    holder, agent = await stage.agents([other, language], ttl=TTL)

    async def race(number: int) -> None:
        lock = f"{stage.name}/{number}"
        held = holder.tell("acquire", lock=lock)
        await held.done()
        acquire = agent.tell("acquire", lock=lock)
        await acquire.event("position")
        release = holder.tell("release", of=held.number)
        await asyncio.sleep(random.uniform(0, RACE_SECONDS))
        await acquire.cancel()
        await release.done()
        if await cancelled(acquire):
            stage.tally.add("cancelled before the grant", language)
        else:
            stage.tally.add("cancelled after the grant", language)
            await agent.ask("release", of=acquire.number)
        await stage.server.settles(lock, 0, 0)
        stage.tally.add("cancellations racing with a grant", language)

    await asyncio.gather(*map(race, range(RACES)))
    await holds_again(agent, f"{stage.name}/0")
    stage.tally.need(RACES, "cancellations racing with a grant", language)


@each_language
async def test_cancellations_that_race_with_the_turn(stage: Stage, language: str) -> None:
    agent = await stage.agent(language, ttl=TTL)

    async def race(number: int) -> None:
        fifo = f"{stage.name}/{number}"
        await agent.ask("create_fifo", fifo=fifo, accept=TTL, done=TTL)
        turn = agent.tell("turn", fifo=fifo)
        # At its ticket, at its turn, or in it.
        await asyncio.sleep(random.uniform(0, RACE_SECONDS))
        await turn.cancel()
        assert await turn.failure() == "cancelled"
        await stage.server.fifo_settles(fifo, 0, 0)
        stage.tally.add("cancellations racing with a turn", language)

    await asyncio.gather(*map(race, range(RACES)))
    stage.tally.need(RACES, "cancellations racing with a turn", language)


@each_language
async def test_cancellations_that_race_with_an_item(
    stage: Stage, language: str, other: str
) -> None:
    pusher, agent = await stage.agents([other, language], ttl=TTL)

    async def race(number: int) -> None:
        queue = f"{stage.name}/{number}"
        take = agent.tell("take", queue=queue, wait=20, ack=ACK)
        await stage.server.consumers_are(queue, 1)
        push = pusher.tell("push", queue=queue, value="item")
        await asyncio.sleep(random.uniform(0, RACE_SECONDS))
        await take.cancel()
        await push.done()
        if await cancelled(take):
            # It comes to the next one, at the latest after its time to be acknowledged.
            again = pusher.tell("take", queue=queue, wait=20, ack=20)
            assert (await again.done())["value"] == "item"
            await pusher.ask("acknowledge", of=again.number)
        else:
            await agent.ask("acknowledge", of=take.number)
        await stage.server.queue_settles(queue, ready=0, delivered=0)
        stage.tally.add("cancellations racing with an item", language)

    await asyncio.gather(*map(race, range(RACES)))
    stage.tally.need(RACES, "cancellations racing with an item", language)


@each_language
async def test_cancellations_of_a_release(stage: Stage, language: str, other: str) -> None:
    proxy = await stage.proxy()
    agent, near = await asyncio.gather(
        stage.agent(language, proxy.address, ttl=TTL), stage.agent(other)
    )

    async def hold(lock: str) -> Command:
        held = agent.tell("acquire", lock=lock)
        await held.done()
        return held

    async def race(number: int) -> None:
        lock = f"{stage.name}/{number}"
        held = await hold(lock)
        release = agent.tell("release", of=held.number)
        await asyncio.sleep(random.uniform(0, RACE_SECONDS))
        await release.cancel()
        await cancelled(release)
        await stage.server.settles(lock, 0, 0)
        stage.tally.add("cancellations of a release", language)

    await asyncio.gather(*map(race, range(RACES)))
    # And where the server could not hear of it before the caller gave up.
    held = await hold(stage.name)
    proxy.cut()
    release = agent.tell("release", of=held.number)
    await asyncio.sleep(0.1)
    await release.cancel()
    assert await release.failure() == "cancelled"
    await stage.server.settles(stage.name, 1, 0)
    proxy.heal()
    await stage.server.settles(stage.name, 0, 0)
    await holds_again(near, stage.name)
    await holds_again(agent, stage.name)
    stage.tally.add("cancellations of a release", language)
    stage.tally.need(RACES + 1, "cancellations of a release", language)
