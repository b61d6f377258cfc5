"""Following what changes, over broken connections."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc.aio

from holdfast import errors
from holdfast.aio._transport import Pause, Transport, Wire, connection_lost, is_cancelled


async def watch(
    transport: Transport,
    method: Callable[[Wire], Callable[..., Any]],
    request: Any,
    *,
    until_end: bool = False,
) -> AsyncGenerator[Any, None]:
    """Iterate over what a stream tells, asking anew when it breaks or could not be kept up with.

    The first message of each stream has to be the whole state. `until_end`: the server ends it.
    """
    pause = Pause()
    while True:
        call = method(transport.wire)(request, metadata=transport.metadata)
        try:
            while (told := await call.read()) is not grpc.aio.EOF:
                pause.reset()
                yield told
            if until_end:
                return
            failure: errors.HoldfastError = connection_lost()
        except grpc.aio.AioRpcError as error:
            failure = errors.of_rpc(error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            failure = connection_lost()
        finally:
            call.cancel()
        if not errors.is_retried(failure) and not isinstance(failure, errors.SlowReader):
            raise failure
        await asyncio.sleep(max(pause.length(), failure.retry_after or 0.0))
