"""Values, queues and FIFOs, in asyncio."""

import asyncio
import contextlib
from collections import Counter

import pytest
from conftest import Proxy, Server, eventually

import holdfast
from holdfast import aio


async def test_a_value_is_put_read_changed_and_deleted(client: aio.Client) -> None:
    value = client.value("config/a")
    assert await value.get() is None
    assert not await value.delete()
    first = await value.put("one")
    kept = await value.get()
    assert kept is not None and (kept.value, kept.revision, kept.expires_in) == (
        b"one",
        first,
        None,
    )
    second = await value.compare_and_set(b"two", first, ttl=60)
    with pytest.raises(holdfast.RevisionMismatch) as mismatch:
        await value.compare_and_set(b"three", first)
    assert mismatch.value.revision == second
    with pytest.raises(holdfast.RevisionMismatch):
        await value.delete(expected_revision=first)
    assert await value.delete(expected_revision=second)


async def test_values_of_a_key_or_of_its_children(client: aio.Client) -> None:
    for key in ("a/1", "a/2", "ab"):
        await client.value(key).put(key)
    assert await client.get_values("a") == [b"a/1", b"a/2"]
    assert await client.get_values("ab") == [b"ab"]
    assert await client.get_values("c") == []
    assert [each.key async for each in client.values("a")] == ["a/1", "a/2", "ab"]


async def test_a_watch_goes_on_over_a_restart(server: Server, client: aio.Client) -> None:
    seen: list[bytes | None] = []

    async def watch() -> None:
        async for there in client.value("key").watch():
            seen.append(there.value if there else None)

    watching = asyncio.create_task(watch())
    await eventually(lambda: seen == [None])
    await client.value("key").put("one")
    await eventually(lambda: seen[-1] == b"one")
    server.kill()
    server.start()
    await client.value("key").put("two")
    await eventually(lambda: seen[-1] == b"two")
    await client.value("key").delete()
    await eventually(lambda: seen == [None, b"one", b"two", None])
    watching.cancel()


async def test_twenty_clients_increment_a_value_twenty_times_each(server: Server) -> None:
    async def increment(client: aio.Client) -> list[int]:
        value = client.value("counter")
        return [
            int((await value.transform(lambda old: str(int(old or b"0") + 1))).value)
            for _ in range(20)
        ]

    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(aio.connect(server.address)) for _ in range(20)]
        results = await asyncio.gather(*(increment(client) for client in clients))
        assert sorted(number for each in results for number in each) == list(range(1, 401))
        final = await clients[0].value("counter").get()
        assert final is not None and final.value == b"400"


async def test_a_failed_transform_tells_what_is_there(client: aio.Client) -> None:
    value = client.value("key")
    before = await value.get()
    await value.put("other")
    done, there = await value.replace(before, "mine")
    assert not done and there is not None and there.value == b"other"
    done, there = await value.try_transform(lambda old: (old or b"") + b"!")
    assert done and there is not None and there.value == b"other!"


async def test_ten_consumers_take_a_hundred_items_each_once(client: aio.Client) -> None:
    queue = client.queue("mail")
    consumers = [asyncio.create_task(_pop(queue, 10)) for _ in range(10)]
    for number in range(100):
        await queue.push(str(number))
    taken = Counter(item for items in await asyncio.gather(*consumers) for item in items)
    assert taken == Counter(str(number).encode() for number in range(100))
    assert await queue.pop(wait=0) is None


async def _pop(queue: aio.Queue, number: int) -> list[bytes | None]:
    return [await queue.pop() for _ in range(number)]


async def test_what_is_not_acknowledged_comes_again(client: aio.Client) -> None:
    queue = client.queue("mail")
    await queue.push("to ann")
    item = await queue.take(ack_timeout=60)
    assert item is not None
    assert await item.extend(120) > 100
    await item.give_back()
    with pytest.raises(holdfast.DeliveryEnded):
        await item.ack()
    with pytest.raises(ZeroDivisionError):
        async with await _take(queue):
            raise ZeroDivisionError
    async with await _take(queue) as item:
        assert (item.value, item.deliveries) == (b"to ann", 3)
    state = await queue.state()
    assert (state.ready_count, state.delivered_count) == (0, 0)


async def _take(queue: aio.Queue) -> aio.Item:
    item = await queue.take(10)
    assert item is not None
    return item


async def test_consuming_goes_on_over_restarts_and_broken_connections(
    server: Server, proxy: Proxy
) -> None:
    async with aio.connect(server.address) as other, aio.connect(proxy.address) as client:
        queue = other.queue("mail")
        taken: list[bytes] = []

        async def consume() -> None:
            async for item in client.queue("mail").consume(window=10, ack_timeout=2):
                with contextlib.suppress(holdfast.DeliveryEnded):
                    await item.ack()
                    taken.append(item.value)

        consuming = asyncio.create_task(consume())
        for number in range(60):
            await queue.push(str(number))
            if number == 20:
                proxy.drop()
            if number == 40:
                server.kill()
                server.start()
        await eventually(lambda: len(taken) >= 60)
        consuming.cancel()
        assert Counter(taken) == Counter(str(number).encode() for number in range(60))


async def test_who_stops_consuming_gives_back_what_was_fetched_ahead(client: aio.Client) -> None:
    queue = client.queue("mail")
    for number in range(20):
        await queue.push(str(number))
    async with contextlib.aclosing(queue.consume(window=10)) as items:
        async for item in items:
            async with item:
                assert item.value == b"0"
            break
    assert await queue.pop(wait=0) == b"1"
    assert (await queue.state()).ready_count == 18


async def test_tickets_have_their_turns_in_order(client: aio.Client) -> None:
    fifo = client.fifo("deploys")
    with pytest.raises(holdfast.NotFound):
        await fifo.ticket()
    await fifo.create(done_timeout=60)
    with pytest.raises(holdfast.AlreadyExists):
        await fifo.create()
    await fifo.create(exist_ok=True)
    first, second = await fifo.ticket(), await fifo.ticket()
    places: list[int] = []
    await first.wait()
    waiting = asyncio.create_task(
        second.wait(on_position=lambda place: places.append(place.position))
    )
    await eventually(lambda: places == [1])
    with pytest.raises(holdfast.WaitTimedOut):
        await fifo.ticket_of(second.id).wait(0.05)
    await first.extend()
    await first.done()
    await waiting
    await second.done()
    with pytest.raises(holdfast.NotFound):
        await second.done()


async def test_a_turn_is_extended_while_its_block_runs(client: aio.Client) -> None:
    fifo = client.fifo("deploys")
    await fifo.create(done_timeout=1)
    async with fifo.turn() as ticket:
        await asyncio.sleep(2)
        assert not ticket.lost.is_set()
    async with fifo.turn(10):
        pass


async def test_a_lost_turn_cancels_its_block(server: Server, proxy: Proxy) -> None:
    async with aio.connect(server.address) as other, aio.connect(proxy.address) as client:
        await other.fifo("deploys").create(done_timeout=1)
        with pytest.raises(holdfast.TicketLapsed):
            async with client.fifo("deploys").turn():
                next_one = asyncio.create_task(_turn(other.fifo("deploys")))
                await asyncio.sleep(0.1)
                proxy.cut()
                try:
                    await asyncio.sleep(60)
                finally:
                    assert not next_one.done()
                    proxy.heal()
        await next_one


async def _turn(fifo: aio.Fifo) -> None:
    async with fifo.turn():
        pass


async def test_who_is_cancelled_while_waiting_for_a_turn_leaves_the_line(
    client: aio.Client,
) -> None:
    fifo = client.fifo("deploys")
    await fifo.create()
    async with fifo.turn():
        for step in range(20):
            task = asyncio.create_task(_turn(fifo))
            await asyncio.sleep(0.002 * step)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    async with fifo.turn(10):
        pass
