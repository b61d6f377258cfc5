"""A session: one Attach stream that carries calls and keeps a lease alive, over broken connections.

What has no answer is kept, and asked again with the same request id when the stream stands anew.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from holdfast import errors
from holdfast._clock import Clock
from holdfast._convert import request_id, seconds, span
from holdfast.aio._grant import Grant
from holdfast.aio._lease import HeldLease
from holdfast.aio._transport import Pause, Transport, Wire, connection_lost, is_cancelled
from holdfast.v1.lease_service_pb2 import RenewLeaseRequest, RevokeLeaseRequest
from holdfast.v1.lock_service_pb2 import (
    AcquireLockRequest,
    AcquireLockResponse,
    CheckGrantRequest,
    ReleaseLockRequest,
)
from holdfast.v1.session_service_pb2 import (
    AttachRequest,
    AttachResponse,
    CancelCall,
    CloseSession,
    LossCause,
    OpenSession,
)

TICK = 0.25
"""How often the clock is looked at, since the event loop's does not count suspended time."""
BEATS_PER_TTL = 3
OPEN_TIMEOUT = 5.0
BEAT_TIMEOUT_MIN = 0.2
BEAT_TIMEOUT_MAX = 5.0
CLOSE_TIMEOUT = 2.0
BEAT_MAX = 30.0
"""How long a lease goes without a renewal at most, so that a dead connection is noticed."""
REQUEST_MEMORY = 110.0
"""How long the server surely knows a request id again, in seconds: it promises two minutes."""
BATCH_MAX = 1024
BATCH_BYTES_MAX = 64 * 1024
"""What goes in one message at most; the server takes 256 KiB."""


@dataclass(eq=False)
class _Pending:
    """A call without its answer."""

    make: Callable[[], AttachRequest]
    answer: asyncio.Future[Any]
    on_queued: Callable[[int], object] | None = None
    is_acquire: bool = False
    abandoned: bool = False
    """Nobody waits for the answer any more, but it still has to come."""
    call_id: int = 0
    asked: float = 0.0
    """When it was asked for first, by the clock."""
    last_error: errors.HoldfastError | None = None
    request_id: str = ""
    """What the server remembers it by."""
    copies: int = 0
    """How often it was sent."""


@dataclass
class _Stream:
    """One Attach stream."""

    wire: Wire
    call: Any
    takes_batches: bool = False
    """Whether the server takes several messages in one."""
    beats: dict[int, float] = field(default_factory=dict)
    """When each renewal without its answer was sent, by the number of its call."""


class Session:
    """Keeps one lease alive and carries the calls of what hangs on it."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        ttl: float | None,
        owner: str,
        metadata: Mapping[str, str],
        once: bool = False,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._ttl = span(ttl, "ttl")
        self._owner = owner
        self._metadata = dict(metadata)
        self._once = once
        self._numbers = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._outbox: deque[AttachRequest] = deque()
        self._answered: list[str] = []
        """Request ids with which nothing will be asked again, told with the next calls."""
        self._wanted = asyncio.Event()
        self._opened = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stream: _Stream | None = None
        self._failure: errors.HoldfastError | None = None
        self._heard = 0.0
        self._closed = False
        self._confirmed = False
        """Whether the server has said that the session is closed."""
        self._closing: asyncio.Task[Any] | None = None
        self.lease: HeldLease | None = None
        """The lease of the moment; one that was lost gives way to a new one."""

    @property
    def is_over(self) -> bool:
        """Whether there will be no lease any more."""
        return self._closed or (
            self._once and self.lease is not None and (self.lease.ended or self.lease.is_over())
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and nothing asked."""
        return not self._pending and not (self.lease is not None and self.lease.grants)

    def close_soon(self) -> None:
        """Close it without waiting for that."""
        task = asyncio.create_task(self.close())
        self._closing = task

    # What is asked of it.

    async def open(self) -> HeldLease:
        """Return the lease as soon as there is one.

        Raises `Unavailable` where there is none in the time-out.
        """
        self._start()
        opened = asyncio.ensure_future(self._opened.wait())
        runner = self._runner
        assert runner is not None  # noqa: S101 - `_start` has made it
        try:
            await asyncio.wait(
                {opened, runner},
                timeout=self._transport.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            opened.cancel()
        if self.lease is not None and self._opened.is_set():
            return self.lease
        raise self._failure or connection_lost()

    async def acquire(
        self,
        ask: Callable[[], AcquireLockRequest],
        *,
        wait: float | None,
        on_queued: Callable[[int], object] | None,
    ) -> Grant:
        """Ask for a lock and return the grant; `ask` makes the request anew for each attempt."""
        pending = self._ask(lambda: AttachRequest(acquire_lock=ask()))
        pending.is_acquire = True
        pending.on_queued = on_queued
        timeout = None if wait is None else wait + self._transport.timeout
        try:
            grant = await self._answer(pending, timeout)
        except asyncio.CancelledError:
            answer = pending.answer
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self.give_back(answer.result())
            raise
        assert isinstance(grant, Grant)  # noqa: S101 - `_acquired` has made it
        return grant

    async def release(self, lock: str, grant_token: str) -> None:
        """Release a grant. It goes on being released when the caller can't wait for it."""
        await self._answer(self._ask(_release(lock, grant_token)), self._transport.timeout)

    def give_back(self, grant: Grant) -> None:
        """Release a grant that nobody will use, without waiting for the answer."""
        grant.finish()
        if self.lease is not None:
            self.lease.grants.pop(grant.fencing_token, None)
        if not self.is_over:
            self._ask_in_background(_release(grant.lock, grant.token))

    async def close(self, within: float = CLOSE_TIMEOUT) -> errors.HoldfastError | None:
        """End the session: its lease is revoked, and all that hangs on it ends.

        Returns why the server did not say so in `within` seconds: then the lease ends by itself.
        """
        if self._closed:
            return None
        self._closed = True
        end = asyncio.get_running_loop().time() + within
        stream, lease = self._stream, self.lease
        revoked = None
        if lease is not None:
            if not lease.ended and not lease.is_over() and (self._once or not self.is_idle):
                revoked = lease.id
            for grant in lease.grants.values():
                grant.finish()
            lease.finish()
        if stream is not None and self._runner is not None:
            self._send(AttachRequest(call_id=next(self._numbers), close=CloseSession()))
            await asyncio.wait({self._runner}, timeout=CLOSE_TIMEOUT)
        tasks = {task for task in (self._runner, *self._tasks) if task is not None}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_all(_closed())
        if revoked is None or self._confirmed:
            return None
        return await self._revoke(revoked, end - asyncio.get_running_loop().time())

    async def _revoke(self, lease: str, within: float) -> errors.HoldfastError | None:
        """End the lease by a call of its own, as there is no stream any more that could tell."""
        request = RevokeLeaseRequest(lease_id=lease, request_id=request_id())
        try:
            async with asyncio.timeout(max(within, 0.0)):
                await self._transport.call(lambda wire: wire.leases.RevokeLease, request)
        except errors.Lost:
            return None
        except errors.HoldfastError as error:
            return error
        except TimeoutError:
            return connection_lost()
        return None

    # Calls.

    def _start(self) -> None:
        if self._closed:
            raise _closed()
        if self._once and self.lease is not None and self.lease.is_over():
            raise self.lease.loss
        if self._runner is None or self._runner.done():
            self._failure = None
            self._runner = asyncio.create_task(self._run())

    def _ask(self, make: Callable[[], AttachRequest]) -> _Pending:
        self._start()
        pending = _Pending(make, asyncio.get_running_loop().create_future(), asked=self._clock())
        self._submit(pending)
        return pending

    def _ask_in_background(self, make: Callable[[], AttachRequest]) -> _Pending:
        pending = self._ask(make)
        pending.abandoned = True
        _let_go(pending)
        return pending

    def _submit(self, pending: _Pending) -> None:
        # What is asked after a loss is for the next lease, though this stream may still stand.
        self._look_at_clock()
        pending.call_id = next(self._numbers)
        self._pending[pending.call_id] = pending
        if self._stream is not None and (self.lease is None or not self.lease.ended):
            self._send_pending(pending)

    def _send_pending(self, pending: _Pending) -> None:
        request = pending.make()
        request.call_id = pending.call_id
        pending.request_id = request.acquire_lock.request_id or request.release_lock.request_id
        pending.copies += 1
        self._send(request)
        if pending.abandoned and pending.is_acquire:
            self._send_cancel(pending)

    def _send_cancel(self, pending: _Pending) -> None:
        self._send(AttachRequest(cancel=CancelCall(call_id=pending.call_id)))

    def _send(self, request: AttachRequest) -> None:
        self._outbox.append(request)
        self._wanted.set()

    async def _answer(self, pending: _Pending, timeout: float | None) -> Any:
        timer = None
        if timeout is not None:
            timer = asyncio.get_running_loop().call_later(timeout, self._expire, pending)
        try:
            return await pending.answer
        except asyncio.CancelledError:
            self._abandon(pending)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _expire(self, pending: _Pending) -> None:
        self._abandon(pending)
        _fail(pending, pending.last_error or self._failure or connection_lost())

    def _abandon(self, pending: _Pending) -> None:
        pending.abandoned = True
        _let_go(pending)
        if pending.is_acquire and self._stream is not None and pending.call_id in self._pending:
            self._send_cancel(pending)

    def _fail_all(self, error: errors.HoldfastError) -> None:
        pending, self._pending = self._pending, {}
        for each in pending.values():
            _fail(each, error)

    # The stream's life.

    async def _run(self) -> None:
        pause = Pause()
        while not self._closed:
            self._opened.clear()
            stream = _Stream(self._transport.wire, None)
            try:
                await self._attach(stream, pause)
            except grpc.aio.AioRpcError as error:
                self._failure = errors.of_rpc(error)
            except errors.HoldfastError as error:
                self._failure = error
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                self._failure = connection_lost()
            finally:
                self._opened.clear()
                self._stream = None
                self._outbox.clear()
                if stream.call is not None:
                    stream.call.cancel()
            if self._closed or not self._goes_on(self._failure):
                return
            await self._rest(max(pause.length(), self._hint()))

    def _hint(self) -> float:
        # A holder can't wait long: whatever the server asks for, its lease is ending.
        hint = (self._failure and self._failure.retry_after) or 0.0
        return min(hint, self.lease.ttl / 10 if self.lease and not self.lease.ended else 1.0)

    def _goes_on(self, failure: errors.HoldfastError | None) -> bool:
        """Take note of why a stream ended, and tell whether there is to be another."""
        if isinstance(failure, errors.Lost):
            self._lose(failure)
            if self._once:
                self._fail_all(failure)
            return not self._once
        if failure is None or errors.is_retried(failure) or failure.reason == "SESSION_TAKEN":
            return True
        if isinstance(failure, errors.LimitReached | errors.DeadlineExceeded):
            return True
        # It will not get better by trying again, but whoever holds something may hope so.
        self._fail_all(failure)
        if self.lease is None or self.lease.ended:
            return False
        return self._once or bool(self.lease.grants)

    async def _rest(self, length: float) -> None:
        """Pause before the next attempt, with an eye on the clock."""
        loop = asyncio.get_running_loop()
        end = loop.time() + length
        while (left := end - loop.time()) > 0:
            self._look_at_clock()
            await asyncio.sleep(min(left, self._until_loss(), TICK))
        self._look_at_clock()

    def _until_loss(self) -> float:
        if self.lease is None or self.lease.ended or self.lease.deadline is None:
            return TICK
        return max(self.lease.deadline - self._clock(), 0.001)

    def _look_at_clock(self) -> None:
        lease = self.lease
        if lease is not None and not lease.ended and lease.is_over():
            self._lose(lease.loss)

    def _lose(self, loss: errors.Lost) -> None:
        """Take note that the lease is lost, and with it every grant and place in line."""
        if self.lease is not None:
            self.lease.lose(loss)
        for call_id, pending in list(self._pending.items()):
            if pending.is_acquire:
                del self._pending[call_id]
                _fail(pending, loss)

    async def _attach(self, stream: _Stream, pause: Pause) -> None:
        self._look_at_clock()
        if self._once and self.lease is not None and self.lease.ended:
            raise self.lease.loss
        stream.call = stream.wire.sessions.Attach(metadata=self._transport.metadata)
        opening = asyncio.create_task(self._open_stream(stream))
        try:
            await self._watched(opening, stream)
        finally:
            opening.cancel()
        pause.reset()
        self._failure = None
        self._stream = stream
        self._opened.set()
        self._resend()
        await self._serve(stream)

    async def _watched(self, opening: asyncio.Task[None], stream: _Stream) -> None:
        """Wait until the stream is open, while the clock of the lease goes on."""
        loop = asyncio.get_running_loop()
        end = loop.time() + OPEN_TIMEOUT
        while not opening.done():
            self._look_at_clock()
            left = end - loop.time()
            if left <= 0:
                await self._transport.renew(stream.wire)
                raise connection_lost()
            await asyncio.wait({opening}, timeout=min(left, self._until_loss(), TICK))
        if opening.cancelled():
            raise connection_lost()
        opening.result()

    async def _open_stream(self, stream: _Stream) -> None:
        resumed = self.lease if self.lease is not None and not self.lease.ended else None
        if resumed is not None:
            request = OpenSession(lease_id=resumed.id)
        else:
            request = OpenSession(ttl=self._ttl, owner=self._owner, metadata=self._metadata)
        request.accepts_batches = True
        sent = self._clock()
        await stream.call.write(AttachRequest(call_id=next(self._numbers), open=request))
        told = await stream.call.read()
        if told is grpc.aio.EOF or told.WhichOneof("result") != "opened":
            raise connection_lost()
        stream.takes_batches = told.opened.accepts_batches
        message = told.opened.lease
        if resumed is not None and self._may_hold_unknown(message.grant_count):
            await self._give_up(stream)
        self._heard = self._clock()
        if resumed is None:
            self.lease = HeldLease(self._clock, message.lease_id, seconds(message.ttl))
        lease = self.lease
        if lease is None or lease.ended:
            raise connection_lost()
        lease.renewed(sent, seconds(message.expires_in))

    def _may_hold_unknown(self, grants: int) -> bool:
        """Return whether the lease may have a grant whose answer was lost, and can't be had again.

        The server has forgotten the request id, so asking again would wait behind that grant, which
        this very session keeps alive.
        """
        if self.lease is None or grants <= len(self.lease.grants):
            return False
        long_ago = self._clock() - REQUEST_MEMORY
        asked = (each.asked for each in self._pending.values() if each.is_acquire)
        return any(max(when, self._heard) < long_ago for when in asked)

    async def _give_up(self, stream: _Stream) -> None:
        """End the lease, and with it the grants that nobody knows."""
        close = AttachRequest(call_id=next(self._numbers), close=CloseSession())
        await stream.call.write(close)
        while await stream.call.read() is not grpc.aio.EOF:
            pass
        raise errors.Lost(
            "the connection was broken for too long to know what is held", reason="LEASE_EXPIRED"
        )

    def _resend(self) -> None:
        """Ask again for all that has no answer, and whether what is held is held."""
        pending, self._pending = self._pending, {}
        for each in pending.values():
            self._submit(each)
        if self.lease is not None:
            for grant in list(self.lease.grants.values()):
                if isinstance(grant, Grant):
                    self._check(grant)

    def _check(self, grant: Grant) -> None:
        """Ask whether a grant was ended by others while nobody could tell us."""
        request = CheckGrantRequest(lock=grant.lock, fencing_token=grant.fencing_token)
        pending = self._ask_in_background(lambda: AttachRequest(check_grant=request))

        def checked(answer: asyncio.Future[Any]) -> None:
            told = not answer.cancelled() and answer.exception() is None
            if told and not answer.result().current:
                self._grant_lost(grant.fencing_token, "it ended while the connection was broken")

        pending.answer.add_done_callback(checked)

    async def _serve(self, stream: _Stream) -> None:
        parts: list[Awaitable[None]] = [
            self._read(stream),
            self._write(stream),
            self._beat(stream),
        ]
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        # What the server said is worth more than that nothing could be written to it.
        for result in ended:
            if isinstance(result, Exception):
                raise result
        if not self._closed:
            raise connection_lost()

    async def _write(self, stream: _Stream) -> None:
        try:
            while True:
                while self._outbox:
                    await stream.call.write(self._next_message(stream))
                self._wanted.clear()
                await self._wanted.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The reader is told why.
            await asyncio.sleep(CLOSE_TIMEOUT)

    def _next_message(self, stream: _Stream) -> AttachRequest:
        """Take the next message from the outbox, or as many as go in one."""
        first = self._outbox.popleft()
        if not stream.takes_batches or not (self._outbox or self._answered):
            return first
        message, length = AttachRequest(), first.ByteSize()
        message.batch.answered_request_ids.extend(self._answered)
        self._answered.clear()
        requests = message.batch.requests
        requests.append(first)
        while self._outbox and len(requests) < BATCH_MAX and length < BATCH_BYTES_MAX:
            request = self._outbox.popleft()
            length += request.ByteSize()
            requests.append(request)
        return message

    async def _beat(self, stream: _Stream) -> None:
        """Renew the lease, see that the answers come, and look at the clock."""
        loop = asyncio.get_running_loop()
        lease = self.lease
        if lease is None:
            return None
        every = min(lease.ttl / BEATS_PER_TTL, BEAT_MAX)
        patience = min(max(every, BEAT_TIMEOUT_MIN), BEAT_TIMEOUT_MAX, max(lease.ttl / 2, 0.05))
        due = loop.time() + every
        while True:
            self._look_at_clock()
            if lease.ended:
                if self._closed:
                    return await asyncio.sleep(CLOSE_TIMEOUT)
                raise lease.loss
            now = loop.time()
            if now >= due:
                due = now + every
                call_id = next(self._numbers)
                stream.beats[call_id] = self._clock()
                self._send(AttachRequest(call_id=call_id, renew_lease=RenewLeaseRequest()))
            oldest = next(iter(stream.beats.values()), None)
            if oldest is not None and self._clock() - oldest > patience:
                await self._transport.renew(stream.wire)
                raise connection_lost()
            await asyncio.sleep(min(TICK, max(due - loop.time(), 0.001), self._until_loss()))

    # What the server says.

    async def _read(self, stream: _Stream) -> None:
        while True:
            told = await stream.call.read()
            if told is grpc.aio.EOF:
                return
            self._heard = self._clock()
            if told.WhichOneof("result") == "batch":
                for each in told.batch.answers:
                    self._take(stream, each)
            else:
                self._take(stream, told)

    def _take(self, stream: _Stream, told: AttachResponse) -> None:
        kind = told.WhichOneof("result")
        if kind == "closed":
            self._confirmed = True
            return
        if kind == "grant_lost":
            lost = told.grant_lost
            cause = LossCause.Name(lost.cause).removeprefix("LOSS_CAUSE_")
            self._grant_lost(lost.fencing_token, f"the grant was lost: {cause.lower()}", cause)
            return
        sent = stream.beats.pop(told.call_id, None)
        if sent is not None:
            self._renewed(sent, told)
            return
        pending = self._pending.get(told.call_id)
        if pending is None:
            return
        if kind == "queued":
            if pending.on_queued is not None and not pending.abandoned:
                with contextlib.suppress(Exception):
                    pending.on_queued(told.queued.position)
            return
        del self._pending[told.call_id]
        if kind == "error":
            self._refused(pending, errors.of_call_error(told.error))
            return
        self._settled(pending)
        if kind == "acquired":
            self._acquired(pending, told.acquired)
        elif kind is not None and not pending.answer.done():
            pending.answer.set_result(getattr(told, kind))

    def _settled(self, pending: _Pending) -> None:
        """Note that the server may forget a request: where no copy can be on its way still."""
        if pending.request_id and pending.copies == 1 and len(self._answered) < BATCH_MAX:
            self._answered.append(pending.request_id)

    def _renewed(self, sent: float, told: AttachResponse) -> None:
        if self.lease is None:
            return
        if told.WhichOneof("result") == "lease_renewed":
            self.lease.renewed(sent, seconds(told.lease_renewed.expires_in))
            return
        error = errors.of_call_error(told.error)
        if isinstance(error, errors.Lost):
            self._lose(error)

    def _refused(self, pending: _Pending, error: errors.HoldfastError) -> None:
        if self._closed:
            # However the server puts it, it is this client that has ended it.
            _fail(pending, _closed())
        elif not errors.is_retried(error) or (pending.abandoned and pending.is_acquire):
            _fail(pending, error)
        else:
            pending.last_error = error
            # Until then it is one without an answer: for a new stream, a loss or the end.
            self._pending[pending.call_id] = pending
            later = self._later(pending, pending.call_id, error.retry_after or 0.1)
            task = asyncio.create_task(later)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _later(self, pending: _Pending, call_id: int, length: float) -> None:
        """Ask again, unless that has been done, or is of no use any more."""
        await asyncio.sleep(length)
        if self._pending.get(call_id) is not pending:
            return
        del self._pending[call_id]
        if not (pending.abandoned and pending.is_acquire):
            self._submit(pending)

    def _acquired(self, pending: _Pending, told: AcquireLockResponse) -> None:
        message, lease = told.grant, self.lease
        if lease is None or lease.ended or lease.is_over() or message.lease_id != lease.id:
            _fail(pending, errors.Lost("the lease ended meanwhile", reason="LEASE_EXPIRED"))
            return
        if message.HasField("expires_in") and seconds(message.expires_in) <= 0:
            # A retry of what was granted and has ended since, before anybody knew of it.
            _fail(pending, errors.Lost("the grant has ended meanwhile", reason="LEASE_EXPIRED"))
            return
        grant = Grant(self, lease, message)
        if pending.abandoned or pending.answer.done():
            self.give_back(grant)
            return
        lease.grants[grant.fencing_token] = grant
        pending.answer.set_result(grant)

    def _grant_lost(self, fencing_token: int, message: str, cause: str = "EXPIRED") -> None:
        grant = self.lease.grants.pop(fencing_token, None) if self.lease is not None else None
        if grant is not None:
            grant.lose(errors.Lost(message, reason=cause))


def _release(lock: str, grant_token: str) -> Callable[[], AttachRequest]:
    request = ReleaseLockRequest(lock=lock, grant_token=grant_token, request_id=request_id())
    return lambda: AttachRequest(release_lock=request)


def _closed() -> errors.Unavailable:
    return errors.Unavailable("the client was closed", reason="CLOSED")


def _let_go(pending: _Pending) -> None:
    """See that an error which nobody waits for is not taken for a forgotten one."""
    pending.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())


def _fail(pending: _Pending, error: errors.HoldfastError) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(error)
