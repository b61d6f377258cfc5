"""Locks and grants, in asyncio."""

import asyncio

import pytest
from conftest import Server, eventually, waiting

import holdfast
from holdfast import Mode, aio


async def test_a_lock_is_held_for_the_time_of_a_block(client: aio.Client) -> None:
    async with client.lock("deploy").hold(owner="ci-42", metadata={"run": "7"}) as grant:
        state = await client.lock("deploy").state()
        assert [holder.fencing_token for holder in state.holders] == [grant.fencing_token]
        assert (state.holders[0].owner, state.holders[0].metadata) == ("ci-42", {"run": "7"})
        assert grant.held and not grant.lost.is_set()
        assert await client.check_grant("deploy", grant.fencing_token)
    assert not grant.held and not grant.lost.is_set()
    assert (await client.lock("deploy").state()).holder_count == 0
    await grant.release()


async def test_a_held_lock_is_not_had_at_once_and_not_in_time(client: aio.Client) -> None:
    lock = client.lock("deploy")
    first = await lock.acquire()
    assert await lock.try_acquire() is None
    with pytest.raises(holdfast.Held) as held:
        await lock.acquire(wait=0)
    assert held.value.reason == "LOCK_HELD"
    with pytest.raises(holdfast.WaitTimedOut):
        await lock.acquire(wait=0.1)
    await first.release()
    second = await lock.try_acquire()
    assert second is not None and second.fencing_token > first.fencing_token


async def test_waiters_are_served_in_order_and_told_their_place(client: aio.Client) -> None:
    lock = client.lock("deploy")
    first = await lock.acquire()
    places: list[int] = []
    second = asyncio.create_task(lock.acquire())
    await waiting(client, "deploy", 1)
    third = asyncio.create_task(lock.acquire(on_position=places.append))
    await waiting(client, "deploy", 2)
    await eventually(lambda: places == [2])
    await first.release()
    grant = await second
    assert not third.done()
    await eventually(lambda: places == [2, 1])
    await grant.release()
    await (await third).release()


async def test_a_cancelled_acquire_leaves_the_line(client: aio.Client) -> None:
    first = await client.lock("deploy").acquire()
    second = asyncio.create_task(client.lock("deploy").acquire())
    third = asyncio.create_task(client.lock("deploy").acquire())
    await waiting(client, "deploy", 2)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await waiting(client, "deploy", 1)
    await first.release()
    await (await third).release()


async def test_an_acquire_cancelled_at_any_moment_leaves_nothing_behind(
    client: aio.Client,
) -> None:
    lock = client.lock("deploy")
    granted = cancelled = 0
    for step in range(200):
        holder = await lock.acquire() if step % 2 else None
        task = asyncio.create_task(lock.acquire())
        for _ in range(step % 20):
            await asyncio.sleep(0)
        if holder:
            await holder.release()
        await asyncio.sleep(0.0001 * (step % 13))
        task.cancel()
        try:
            await (await task).release()
            granted += 1
        except asyncio.CancelledError:
            cancelled += 1
        async with lock.hold(wait=10):
            pass
    state = await lock.state()
    assert (state.holder_count, state.waiter_count) == (0, 0)
    assert granted + cancelled == 200 and cancelled > 20, (granted, cancelled)


async def test_a_forced_release_is_a_loss_that_cancels_the_block(client: aio.Client) -> None:
    told: list[holdfast.Lost] = []
    with pytest.raises(holdfast.Lost) as lost:
        async with client.lock("deploy").hold() as grant:
            grant.on_lost(told.append)
            assert await client.lock("deploy").force_release(grant.fencing_token) == 1
            await asyncio.sleep(60)
    assert lost.value.reason == "FORCED"
    assert grant.lost.is_set() and told and not grant.held
    # The task was cancelled for the block only.
    await asyncio.sleep(0)
    grant = await client.lock("deploy").acquire()
    await client.lock("deploy").force_release()
    await asyncio.wait_for(grant.lost.wait(), 10)
    with pytest.raises(holdfast.Lost):
        await grant.release()


async def test_the_error_of_a_block_comes_through(client: aio.Client) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client.lock("deploy").hold():
            raise ZeroDivisionError
    assert (await client.lock("deploy").state()).holder_count == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), client.lock("deploy").hold():
            await asyncio.sleep(60)
    await eventually_free(client, "deploy")


async def eventually_free(client: aio.Client, name: str) -> None:
    async with client.lock(name).hold(wait=10):
        pass


async def test_readers_share_and_a_writer_is_alone(client: aio.Client) -> None:
    lock = client.rw_lock("table")
    async with lock.reader.hold() as one, lock.reader.hold() as other:
        assert one.mode is other.mode is Mode.SHARED
        assert await lock.writer.try_acquire() is None
    async with lock.writer.hold():
        assert await lock.reader.try_acquire() is None


async def test_a_semaphore_has_so_many_holders(client: aio.Client) -> None:
    pool = client.semaphore("pool", 2)
    first, second = await pool.acquire(), await pool.acquire()
    assert await pool.try_acquire() is None
    await first.release()
    third = await pool.try_acquire()
    assert third is not None
    await second.release()


async def test_an_election_has_one_leader_whom_all_see(client: aio.Client) -> None:
    election = client.election("main")
    seen: list[str | None] = []

    async def observe() -> None:
        async for leader in election.observe():
            seen.append(leader.owner if leader else None)

    observing = asyncio.create_task(observe())
    await eventually(lambda: seen == [None])
    first = await election.campaign(owner="one")
    second = asyncio.create_task(election.campaign(owner="two"))
    await waiting(client, "main", 1)
    leader = await election.leader()
    assert leader is not None and leader.owner == "one"
    await election.resign(first)
    await (await second).release()
    await eventually(lambda: seen[-1] is None and len(seen) > 1)
    assert set(seen) == {None, "one", "two"} or set(seen) == {None, "one"}
    observing.cancel()


async def test_a_lease_keeps_many_locks_and_ends_them_all(client: aio.Client) -> None:
    async with client.lease(ttl=1) as lease:
        grants = [await lease.lock(f"lock-{n}").acquire() for n in range(10)]
        assert {grant.lease_id for grant in grants} == {lease.id}
        await asyncio.sleep(1.5)
        assert all(grant.held for grant in grants)
    assert not any(grant.held or grant.lost.is_set() for grant in grants)
    assert (await client.lock("lock-0").state()).holder_count == 0


async def test_grants_of_other_ttls_are_kept_and_told_their_losses(client: aio.Client) -> None:
    grants = [await client.lock(f"lock-{ttl}").acquire(ttl=ttl) for ttl in (0.5, 1.0, 1.0)[:2]]
    await asyncio.sleep(1.5)
    assert all(grant.held for grant in grants)
    assert len({grant.lease_id for grant in grants}) == 2
    await client.lock("lock-0.5").force_release()
    await asyncio.wait_for(grants[0].lost.wait(), 10)
    assert grants[1].held


async def test_closing_gives_everything_back(server: Server, client: aio.Client) -> None:
    async with aio.connect(server.address) as other:
        await other.lock("one").acquire()
        await other.lock("two").acquire(ttl=20)
        task = asyncio.create_task(other.lock("one").acquire())
        await waiting(client, "one", 1)
    with pytest.raises(holdfast.Unavailable):
        await task
    for name in ("one", "two"):
        assert (await client.lock(name).state()).holder_count == 0


async def test_bad_parameters_are_named(client: aio.Client) -> None:
    for call, field in (
        (client.lock("").acquire(), "lock"),
        (client.lock("x").acquire(wait=-1), "wait"),
        (client.lock("x").acquire(ttl=float("nan")), "ttl"),
        (client.lock("x").acquire(ttl=0.01), "ttl"),
    ):
        with pytest.raises(holdfast.Invalid) as invalid:
            await call
        assert invalid.value.field == field
        assert invalid.value.message


async def test_tokens_are_wanted_where_there_are_any(server: Server) -> None:
    token = server.command("token", "create", "--namespace", "ci").split()[-1]
    server.kill()
    server.start()
    with pytest.raises(holdfast.Unauthenticated) as refused:
        async with aio.connect(server.address):
            pass
    assert refused.value.reason == "UNAUTHENTICATED"
    async with aio.connect(server.address, token=token) as client:
        with pytest.raises(holdfast.Unauthenticated):
            await aio.connect(server.address, token=token + "x")
        async with client.lock("deploy").hold():
            pass
        with pytest.raises(holdfast.PermissionDenied):
            await client.lock("deploy").force_release()


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(holdfast.Unavailable):
        await aio.connect("127.0.0.1:1", timeout=0.5)
