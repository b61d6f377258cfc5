"""What goes over the wire: a stand-in for the server notes it."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from holdfast import aio
from holdfast.v1.lease_service_pb2 import Lease
from holdfast.v1.lock_service_pb2 import AcquireLockRequest, AcquireLockResponse, Grant
from holdfast.v1.session_service_pb2 import AttachRequest, AttachResponse, SessionOpened
from holdfast.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)

TTL = Duration(seconds=30)


class Sessions(SessionServiceServicer):  # type: ignore[misc,unused-ignore]
    def __init__(self) -> None:
        self.acquires: list[AcquireLockRequest] = []

    async def Attach(  # noqa: N802
        self, requests: AsyncIterator[AttachRequest], context: Any
    ) -> AsyncIterator[AttachResponse]:
        async for request in requests:
            answer = AttachResponse(call_id=request.call_id)
            if request.HasField("open"):
                lease = Lease(lease_id="lease", ttl=TTL, expires_in=TTL)
                answer.opened.CopyFrom(SessionOpened(lease=lease))
            elif request.HasField("acquire_lock"):
                self.acquires.append(request.acquire_lock)
                grant = Grant(lock="x", fencing_token=len(self.acquires), lease_id="lease")
                answer.acquired.CopyFrom(AcquireLockResponse(grant=grant))
            elif request.HasField("release_lock"):
                answer.released.SetInParent()
            elif request.HasField("close"):
                answer.closed.SetInParent()
            yield answer


async def test_an_acquire_carries_its_release_delay() -> None:
    sessions = Sessions()
    server = grpc.aio.server()
    add_SessionServiceServicer_to_server(sessions, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.connect(f"127.0.0.1:{port}") as client:
            async with client.lock("x").hold(release_delay=1.5):
                pass
            assert await client.lock("x").try_acquire() is not None
    finally:
        await server.stop(None)
    asked, unasked = sessions.acquires
    assert asked.release_delay == Duration(seconds=1, nanos=500_000_000)
    assert not unasked.HasField("release_delay")
