"""What breaks: the server, the connection, the time."""

import asyncio
import signal
import time

import pytest
from conftest import PATIENCE, FakeClock, Proxy, Server, eventually, waiting

import holdfast
from holdfast import aio
from holdfast._clock import boottime, margin
from holdfast._convert import span
from holdfast.v1.call_error_pb2 import CallError
from holdfast.v1.session_service_pb2 import AttachResponse


async def test_holds_and_places_in_line_outlive_a_killed_server(server: Server) -> None:
    async with aio.connect(server.address, ttl=20) as client:
        held = [await client.lock(f"lock-{n}").acquire() for n in range(20)]
        other = await client.lock("other").acquire(ttl=15)
        waiters = []
        for number in range(5):
            waiters.append(asyncio.create_task(client.lock("lock-0").acquire()))
            await waiting(client, "lock-0", number + 1)
        for _ in range(3):
            server.kill()
            server.start()
            await waiting(client, "lock-0", 5)
        assert all(grant.held for grant in [*held, other])
        for grant in [*held, other]:
            assert await client.check_grant(grant.lock, grant.fencing_token)
        await held[0].release()
        tokens = []
        for waiter in waiters:
            grant = await asyncio.wait_for(waiter, 10)
            tokens.append(grant.fencing_token)
            await grant.release()
        assert tokens == sorted(tokens)


async def test_calls_made_while_the_server_is_down_are_made_when_it_is_back(
    server: Server, client: aio.Client
) -> None:
    grant = await client.lock("held").acquire()
    server.kill()
    releasing = asyncio.create_task(grant.release())
    taking = asyncio.create_task(client.lock("other").acquire())
    putting = asyncio.create_task(client.value("key").put("value"))
    pushing = asyncio.create_task(client.queue("queue").push("item"))
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in (releasing, taking, putting, pushing))
    server.start()
    await releasing
    await (await taking).release()
    await putting
    await pushing
    assert (await client.queue("queue").state()).ready_count == 1


async def test_a_call_gives_up_in_its_time_and_its_release_is_made_later(server: Server) -> None:
    async with aio.connect(server.address, ttl=20, timeout=1) as client:
        grant = await client.lock("held").acquire()
        server.kill()
        with pytest.raises(holdfast.Unavailable):
            await grant.release()
        with pytest.raises(holdfast.Unavailable):
            await client.lock("other").acquire(wait=0)
        with pytest.raises(holdfast.Unavailable):
            await client.value("key").get()
        server.start()
        async with client.lock("held").hold(wait=10):
            pass
        assert (await client.lock("other").state()).holder_count == 0


async def test_a_grant_is_lost_before_a_stopped_server_can_give_it_away(server: Server) -> None:
    async with aio.connect(server.address, ttl=2) as client:
        for _ in range(3):
            grant = await client.lock("deploy").acquire()
            called: list[float] = []
            grant.on_lost(lambda _, called=called: called.append(boottime()))  # type: ignore[misc]
            stopped = boottime()
            server.signal(signal.SIGSTOP)
            await asyncio.wait_for(grant.lost.wait(), 10)
            lost = boottime()
            # The server has read the last renewal before it was stopped.
            assert lost < stopped + 2.0 - margin(2.0) + 0.05
            assert not grant.held
            with pytest.raises(holdfast.Lost):
                await grant.release()
            server.signal(signal.SIGCONT)
            await eventually(lambda called=called: called)  # type: ignore[misc]


async def test_the_next_holder_starts_after_the_former_one_has_given_up(
    server: Server, proxy: Proxy
) -> None:
    async with aio.connect(server.address) as other:
        gaps = []
        for number in range(5):
            async with aio.connect(proxy.address, ttl=1) as client:
                grant = await client.lock(f"lock-{number}").acquire()
                next_one = asyncio.create_task(other.lock(f"lock-{number}").acquire())
                await waiting(other, f"lock-{number}", 1)
                proxy.cut()
                await asyncio.wait_for(grant.lost.wait(), 10)
                lost = time.monotonic()
                assert not next_one.done()
                await (await next_one).release()
                gaps.append(time.monotonic() - lost)
                proxy.heal()
        assert min(gaps) > 0.05, gaps


async def test_a_cut_that_heals_in_time_is_not_noticed(server: Server, proxy: Proxy) -> None:
    async with aio.connect(server.address) as other, aio.connect(proxy.address, ttl=6) as client:
        grant = await client.lock("deploy").acquire()
        held = await other.lock("held").acquire()
        place = asyncio.create_task(client.lock("held").acquire())
        await waiting(other, "held", 1)
        last = asyncio.create_task(other.lock("held").acquire())
        await waiting(other, "held", 2)
        for cut in (proxy.cut, proxy.drop):
            cut()
            await asyncio.sleep(0.5)
            proxy.heal()
            async with client.lock("x").hold(wait=10):
                pass
        assert grant.held
        await held.release()
        await (await place).release()
        await (await last).release()
        await grant.release()


async def test_after_a_loss_a_client_goes_on_with_a_new_lease(server: Server, proxy: Proxy) -> None:
    async with aio.connect(server.address) as other, aio.connect(proxy.address, ttl=0.6) as client:
        held = await other.lock("held").acquire()
        waiter = asyncio.create_task(client.lock("held").acquire())
        grant = await client.lock("deploy").acquire()
        lease = await client.lease(ttl=0.6).open()
        leased = await lease.lock("leased").acquire()
        proxy.cut()
        for lost in (grant.lost, lease.lost, leased.lost):
            await asyncio.wait_for(lost.wait(), 10)
        proxy.heal()
        async with client.lock("deploy").hold(wait=10) as again:
            assert again.lease_id != grant.lease_id
        with pytest.raises(holdfast.Lost):
            await lease.lock("more").acquire()
        with pytest.raises(holdfast.Lost):
            await lease.revoke()
        await held.release()
        await (await asyncio.wait_for(waiter, 10)).release()


async def test_a_forced_release_during_a_cut_is_found_out(server: Server, proxy: Proxy) -> None:
    async with aio.connect(server.address) as other, aio.connect(proxy.address, ttl=30) as client:
        kept = await client.lock("kept").acquire()
        grant = await client.lock("deploy").acquire()
        proxy.cut()
        proxy.drop()
        await other.lock("deploy").force_release()
        proxy.heal()
        await asyncio.wait_for(grant.lost.wait(), 20)
        assert kept.held


async def test_a_call_without_an_answer_in_time_is_unavailable(proxy: Proxy) -> None:
    async with aio.connect(proxy.address, timeout=0.5) as client:
        await client.queue("mail").push("to ann")
        proxy.cut()
        with pytest.raises(holdfast.Unavailable):
            await client.queue("mail").push("to bob")
        proxy.heal()


async def test_suspended_time_counts(server: Server) -> None:
    clock = FakeClock()
    async with aio.connect(server.address, ttl=30, clock=clock) as client:
        grant = await client.lock("deploy").acquire()
        woken = asyncio.create_task(grant.lost.wait())
        await asyncio.sleep(0)
        clock.ahead += 26
        assert not grant.lost.is_set()
        clock.ahead += 2
        # At once, without a turn of the event loop.
        assert grant.lost.is_set() and not grant.held
        await asyncio.wait_for(woken, 10)
        clock.ahead -= 2
        assert grant.lost.is_set()


async def test_a_lost_block_is_cancelled_while_the_server_is_stopped(server: Server) -> None:
    async with aio.connect(server.address, ttl=1) as client:
        begun = time.monotonic()
        with pytest.raises(holdfast.Lost):
            async with client.lock("deploy").hold():
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(60)
        assert time.monotonic() - begun < 5
        server.signal(signal.SIGCONT)


async def test_a_stopping_server_is_waited_for(server: Server, client: aio.Client) -> None:
    grant = await client.lock("deploy").acquire()
    waiter = asyncio.create_task(client.lock("deploy").acquire())
    await waiting(client, "deploy", 1)
    server.signal(signal.SIGTERM)
    await asyncio.to_thread(server._process.wait)
    server.start()
    await grant.release()
    await (await asyncio.wait_for(waiter, 10)).release()


def test_the_margin_is_a_tenth_and_bounded() -> None:
    assert [margin(ttl) for ttl in (0.1, 0.5, 2.0, 60.0, 86400.0)] == [0.05, 0.1, 0.2, 6.0, 10.0]


async def test_after_a_pause_beyond_the_ttl_the_next_call_has_a_new_lease(server: Server) -> None:
    clock = FakeClock()
    async with aio.connect(server.address, ttl=5, clock=clock) as client:
        for _ in range(20):
            grant = await client.lock("deploy").acquire()
            clock.ahead += 60
            another = await client.lock("other").try_acquire()
            assert grant.lost.is_set()
            assert another is not None and another.held
            await another.release()
            await client.lock("deploy").force_release()


async def cut_off_while_waiting(
    client: aio.Client, other: aio.Client, proxy: Proxy
) -> tuple[aio.Grant, aio.Grant, asyncio.Task[aio.Grant]]:
    """Cut a client off that has a lock and waits for one of another's.

    Returns its grant, the other's, and its waiting.
    """
    mine = await client.lock("mine").acquire()
    before = await other.lock("deploy").acquire()
    asking = asyncio.create_task(client.lock("deploy").acquire())
    await waiting(other, "deploy", 1)
    proxy.cut()
    return mine, before, asking


async def test_a_grant_too_old_to_be_asked_for_again_does_not_stand_in_its_own_way(
    server: Server, proxy: Proxy
) -> None:
    clock = FakeClock()
    async with (
        aio.connect(server.address) as other,
        aio.connect(proxy.address, ttl=600, clock=clock) as client,
    ):
        mine, before, asking = await cut_off_while_waiting(client, other, proxy)
        await before.release()
        unknown = (await other.lock("deploy").state()).holders[0].fencing_token
        clock.ahead += 130
        proxy.heal()
        grant = await asyncio.wait_for(asking, PATIENCE)
        assert grant.fencing_token > unknown
        assert mine.lost.is_set()


async def test_a_long_cut_costs_nothing_where_nothing_was_granted_in_it(
    server: Server, proxy: Proxy
) -> None:
    clock = FakeClock()
    async with (
        aio.connect(server.address) as other,
        aio.connect(proxy.address, ttl=600, clock=clock) as client,
    ):
        mine, before, asking = await cut_off_while_waiting(client, other, proxy)
        clock.ahead += 130
        proxy.heal()
        # It is answered over the next stream.
        await client.lock("another").acquire()
        await before.release()
        assert (await asyncio.wait_for(asking, PATIENCE)).held
        assert mine.held


async def test_a_lease_is_revoked_though_its_connection_breaks_meanwhile(
    server: Server, proxy: Proxy
) -> None:
    async with (
        aio.connect(server.address) as other,
        aio.connect(proxy.address, ttl=600) as client,
    ):
        lease = await client.lease().open()
        grant = await lease.lock("deploy").acquire()
        proxy.cut()
        ending = asyncio.create_task(lease.revoke())
        await eventually(lambda: not grant.held)
        proxy.heal()
        await asyncio.wait_for(ending, PATIENCE)
        assert (await other.lock("deploy").state()).holder_count == 0


async def test_a_client_that_is_closed_without_a_connection_gives_everything_back(
    server: Server, proxy: Proxy
) -> None:
    async with aio.connect(server.address) as other:
        client = await aio.connect(proxy.address, ttl=600)
        grant = await client.lock("deploy").acquire()
        proxy.cut()
        ending = asyncio.create_task(client.close())
        await eventually(lambda: not grant.held)
        proxy.heal()
        await asyncio.wait_for(ending, PATIENCE)
        assert (await other.lock("deploy").state()).holder_count == 0


async def test_an_acquire_that_pauses_for_an_overloaded_server_ends_with_its_client(
    client: aio.Client,
) -> None:
    await client.lock("deploy").acquire()
    asking = asyncio.create_task(client.lock("deploy").acquire())
    await waiting(client, "deploy", 1)
    session = client.for_ttl(None)
    stream = session._stream
    assert stream is not None
    (asked,) = session._pending
    refusal = CallError(reason="OVERLOADED", retry_after=span(60.0, "retry_after"))
    session._take(stream, AttachResponse(call_id=asked, error=refusal))
    assert not session.is_idle
    await client.close()
    with pytest.raises(holdfast.Unavailable):
        await asyncio.wait_for(asking, PATIENCE)
