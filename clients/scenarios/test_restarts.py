"""The server ends and begins again: nothing that was promised is lost, nothing happens twice."""

import asyncio

import pytest

from conftest import Stage
from stage.agent import Agent
from stage.each import each_language

TTL = 10.0
"""Seconds; far longer than the server is away."""


async def a_turn(stage: Stage, agent: Agent) -> None:
    await agent.ask("create_fifo", fifo=stage.name, accept=60, done=60)


@each_language
async def test_restarts_cost_no_hold(stage: Stage, language: str) -> None:
    agent = await stage.agent(language, ttl=TTL)
    await a_turn(stage, agent)
    held = agent.tell("acquire", lock=stage.name)
    token = (await held.done())["token"]
    turn = agent.tell("turn", fifo=stage.name)
    await turn.event("took")
    await agent.ask("push", queue=stage.name, value="item")
    taken = agent.tell("take", queue=stage.name, wait=10, ack=60)
    await taken.done()
    for end in (stage.server.restart, stage.server.upgrade):
        await stage.once(end)
        assert await stage.server.tokens(stage.name) == [token]
        stage.tally.add("ends of the server, something held", language)
    again = agent.tell("acquire", lock=stage.name, wait=0)
    assert await again.failure() == "held"
    assert held.has("lost") is None
    await agent.ask("release", of=held.number)
    await turn.end()
    await agent.ask("acknowledge", of=taken.number)
    await stage.server.settles(stage.name, 0, 0)
    await stage.server.fifo_settles(stage.name, 0, 0)
    queue = await stage.server.queue(stage.name)
    assert (queue["ready_count"], queue["delivered_count"]) == (0, 0)
    next_ = agent.tell("acquire", lock=stage.name)
    assert (await next_.done())["token"] > token
    stage.tally.need(2, "ends of the server, something held", language)


@each_language
async def test_restarts_keep_places_in_line(stage: Stage, language: str, other: str) -> None:
    agents = await stage.agents([other, language, other, language], ttl=TTL)
    await a_turn(stage, agents[0])
    holds, tickets, turns = [], [], []
    for place, agent in enumerate(agents):
        holds.append(agent.tell("acquire", lock=stage.name))
        await stage.server.settles(stage.name, 1, place)
        tickets.append(agent.tell("ticket", fifo=stage.name))
        await tickets[-1].done()
        turns.append(agent.tell("wait", of=tickets[-1].number))
        await turns[-1].event("position", "done")
    pop = agents[1].tell("pop", queue=stage.name)

    for end in (stage.server.restart, stage.server.upgrade):
        await stage.once(end)
        await stage.server.settles(stage.name, 1, len(agents) - 1)
        await stage.server.fifo_settles(stage.name, 1, len(agents) - 1)
        stage.tally.add("ends of the server, somebody waiting", language)

    tokens = []
    for place, agent in enumerate(agents):
        tokens.append((await holds[place].done())["token"])
        await turns[place].done()
        behind = [each for each in (*holds[place + 1 :], *turns[place + 1 :]) if each.has("done")]
        assert not behind, f"overtook: {behind}"
        await agent.ask("release", of=holds[place].number)
        await agent.ask("complete", of=tickets[place].number)
    assert tokens == sorted(set(tokens)), tokens
    assert pop.has("done", "failed") is None
    await agents[0].ask("push", queue=stage.name, value="item")
    assert (await pop.done())["value"] == "item"
    stage.tally.need(2, "ends of the server, somebody waiting", language)


@pytest.mark.parametrize("dies", ["server", "connection"])
@each_language
async def test_restarts_between_commit_and_reply(stage: Stage, language: str, dies: str) -> None:
    """All that changes something is carried out once, though its answer is lost."""
    proxy = await stage.proxy()
    agent = await stage.agent(language, proxy.address, ttl=TTL)
    server, name = stage.server, stage.name

    await a_turn(stage, agent)
    held = agent.tell("acquire", lock=f"{name}/held")
    await held.done()
    having = agent.tell("ticket", fifo=name)
    await having.done()
    await agent.ask("wait", of=having.number)
    await agent.ask("push", queue=f"{name}/taken", value="taken")
    taken = agent.tell("take", queue=f"{name}/taken", wait=10, ack=60)
    await taken.done()
    await agent.ask("push", queue=f"{name}/waiting", value="waiting")
    ready = f"{name}/ready"
    await agent.ask("create_fifo", fifo=ready, accept=60, done=60)
    ticket = agent.tell("ticket", fifo=ready)
    await ticket.done()

    proxy.swallow()
    acquire = agent.tell("acquire", lock=name)
    release = agent.tell("release", of=held.number)
    wait = agent.tell("wait", of=ticket.number)
    complete = agent.tell("complete", of=having.number)
    made = agent.tell("ticket", fifo=name)
    push = agent.tell("push", queue=name, value="pushed")
    take = agent.tell("take", queue=f"{name}/waiting", wait=10, ack=60)
    acknowledge = agent.tell("acknowledge", of=taken.number)
    commands = [acquire, release, wait, complete, made, push, take, acknowledge]

    async def is_committed() -> None:
        await server.settles(name, 1, 0)
        await server.settles(f"{name}/held", 0, 0)
        await server.fifo_settles(name, 1, 0)
        await server.tickets_are(ready, ["ACCEPTED"])
        await server.queue_settles(name, ready=1, delivered=0)
        await server.queue_settles(f"{name}/waiting", ready=0, delivered=1)
        await server.queue_settles(f"{name}/taken", ready=0, delivered=0)

    # All of it is committed...
    await is_committed()
    (token,) = await server.tokens(name)
    # ...and none of it known.
    assert not [each for each in commands if each.has("done", "failed")]
    assert proxy.swallowed
    if dies == "server":
        await stage.once(server.restart)
    proxy.heal()

    assert (await acquire.done())["token"] == token
    await release.done()
    await wait.done()
    await complete.done()
    await made.done()
    await push.done()
    assert (await take.done())["value"] == "waiting"
    await acknowledge.done()

    # Once each.
    assert await server.tokens(name) == [token]
    await is_committed()

    # And what was got is had.
    assert acquire.has("lost") is None
    await agent.ask("release", of=acquire.number)
    await agent.ask("complete", of=ticket.number)
    await agent.ask("acknowledge", of=take.number)
    assert (await agent.ask("pop", queue=name))["value"] == "pushed"
    await agent.ask("wait", of=made.number)
    await agent.ask("complete", of=made.number)
    next_ = agent.tell("acquire", lock=name)
    assert (await next_.done())["token"] > token
    stage.tally.add("answers lost after the commit", language, len(commands))
    stage.tally.need(8, "answers lost after the commit", language)


@each_language
async def test_restarts_in_the_middle_of_changes_lose_none(stage: Stage, language: str) -> None:
    proxy = await stage.proxy()
    agents = [await stage.agent(language, proxy.address, ttl=TTL) for _ in range(2)]

    async def adds(agent: Agent) -> list[int]:
        return [(await agent.ask("add", value=stage.name))["sum"] for _ in range(25)]

    async def drops() -> None:
        while True:
            await asyncio.sleep(0.05)
            proxy.drop()
            stage.tally.add("connections dropped in the middle of changes", language)

    dropping = asyncio.create_task(drops())
    sums = [each for some in await asyncio.gather(*map(adds, agents)) for each in some]
    dropping.cancel()
    assert sorted(sums) == list(range(1, 51))
    stage.tally.need(2, "connections dropped in the middle of changes", language)
