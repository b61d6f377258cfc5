"""Many calls at once, which go in one message where the server takes that."""

import asyncio
from typing import Any

import grpc
import pytest
from conftest import PATIENCE, Server, waiting

from holdfast import _convert, aio, errors
from holdfast._clock import boottime
from holdfast.aio._session import BATCH_BYTES_MAX, BATCH_MAX, Session, _Stream
from holdfast.v1.lock_service_pb2 import AcquireLockRequest
from holdfast.v1.lock_service_pb2_grpc import LockServiceStub
from holdfast.v1.session_service_pb2 import AttachRequest

CALLERS = 500


def sent(count: int, *, takes_batches: bool, owner: str = "") -> list[list[int]]:
    """Return the numbers of the calls in each message that would go out."""
    transport: Any = None
    wire: Any = None
    session = Session(transport, boottime, ttl=None, owner="", metadata={})
    stream = _Stream(wire, None, takes_batches=takes_batches)
    for number in range(1, count + 1):
        acquire = AcquireLockRequest(lock="x", owner=owner)
        session._outbox.append(AttachRequest(call_id=number, acquire_lock=acquire))
    messages = []
    while session._outbox:
        message = session._next_message(stream)
        one = [message.call_id] if message.call_id else []
        messages.append(one or [each.call_id for each in message.batch.requests])
    return messages


def test_what_waits_goes_in_one_message_in_its_order() -> None:
    assert sent(100, takes_batches=True) == [list(range(1, 101))]
    assert sent(1, takes_batches=True) == [[1]]
    assert sent(3, takes_batches=False) == [[1], [2], [3]]


def test_a_batch_is_bounded_by_number_and_by_bytes() -> None:
    assert [len(each) for each in sent(BATCH_MAX + 1, takes_batches=True)] == [BATCH_MAX, 1]
    large = "o" * (BATCH_BYTES_MAX // 2)
    assert sent(5, takes_batches=True, owner=large) == [[1, 2], [3, 4], [5]]


async def test_many_callers_at_once_stand_in_line_in_their_order(server: Server) -> None:
    turns: list[int] = []

    async def turn(client: aio.Client, number: int) -> None:
        async with client.lock("deploy").hold():
            turns.append(number)

    async with aio.connect(server.address) as other, aio.connect(server.address) as client:
        before = await other.lock("deploy").acquire()
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(turn(client, number))
            await waiting(other, "deploy", CALLERS)
            await before.release()
    assert turns == list(range(CALLERS))


async def test_answered_requests_are_forgotten(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    def request_id() -> str:
        ids.append(f"request-{len(ids)}")
        return ids[-1]

    monkeypatch.setattr(_convert, "request_id", request_id)
    async with aio.connect(server.address) as client, asyncio.timeout(PATIENCE):
        first = await client.lock("first").acquire()
        # The answer of the first goes with the call of the second.
        await client.lock("second").acquire()
        async with grpc.aio.insecure_channel(server.address) as channel:
            locks: Any = LockServiceStub(channel)
            # Of a request that is remembered the server would say that its id is used already.
            for lock, request, reason in [
                (first.lock, ids[0], "LOCK_HELD"),
                ("second", ids[1], "REQUEST_ID_REUSED"),
            ]:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await locks.AcquireLock(AcquireLockRequest(lock=lock, request_id=request))
                assert errors.of_rpc(refused.value).reason == reason
