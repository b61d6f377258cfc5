"""FIFOs: durable lines, with tickets that outlive connections and restarts."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from holdfast import _convert, errors
from holdfast._clock import Clock
from holdfast.aio._grant import CancelScope
from holdfast.aio._lease import Reckoning
from holdfast.aio._session import TICK
from holdfast.aio._transport import Transport
from holdfast.aio._watch import watch
from holdfast.types import Place
from holdfast.v1 import fifo_service_pb2
from holdfast.v1.fifo_service_pb2 import (
    CancelTicketRequest,
    CompleteTicketRequest,
    CreateFifoRequest,
    CreateTicketRequest,
    DeleteFifoRequest,
    ExtendTicketRequest,
    Timeouts,
    WaitTicketRequest,
)

EXTENSIONS_PER_TIMEOUT = 3
EXTENSION_EVERY_MAX = 60.0


def _timeouts(
    wait: float | None, accept: float | None, done: float | None
) -> fifo_service_pb2.Timeouts | None:
    if wait is None and accept is None and done is None:
        return None
    return Timeouts(
        wait=_convert.span(wait, "timeouts.wait"),
        accept=_convert.span(accept, "timeouts.accept"),
        done=_convert.span(done, "timeouts.done"),
    )


class Ticket(Reckoning):
    """A place in line. Its id proves the right to it, in any process.

    Once its turn was accepted by `wait`, `lost` is set when the turn lapses, by the reckoning of
    this process before the server can give the turn to anyone else.
    """

    def __init__(
        self, transport: Transport, clock: Clock, fifo: str, ticket_id: str, number: int
    ) -> None:
        super().__init__(clock)
        self._transport = transport
        self._fifo = fifo
        self._id = ticket_id
        self._number = number
        self._lasts: float | None = None

    @property
    def fifo(self) -> str:
        """The FIFO's id."""
        return self._fifo

    @property
    def id(self) -> str:
        """The ticket's id, a secret."""
        return self._id

    @property
    def number(self) -> int:
        """Tickets have their turns in the order of their numbers; 0: not known here."""
        return self._number

    async def wait(
        self,
        wait: float | None = None,
        *,
        on_position: Callable[[Place], object] | None = None,
    ) -> None:
        """Wait until it is this ticket's turn, and accept it.

        `wait`: for how many seconds; None: as long as it takes. `on_position` is called with the
        place in line, now and when it changes. The ticket keeps its place when this is cancelled.

        Raises `WaitTimedOut`, `TicketLapsed`, `TicketEnded`, and `NotFound` for one that is done.
        """
        async for place in self.places(wait):
            if on_position is not None:
                with contextlib.suppress(Exception):
                    on_position(place)

    async def places(self, wait: float | None = None) -> AsyncGenerator[Place, None]:
        """Iterate over the place in line until it is this ticket's turn, which is then accepted."""
        loop = asyncio.get_running_loop()
        ends = None if wait is None else loop.time() + wait
        _convert.span(wait, "wait")
        while True:
            left = _convert.WAIT_MAX if ends is None else max(ends - loop.time(), 0.0)
            request = WaitTicketRequest(
                fifo=self._fifo,
                ticket=self._id,
                wait=_convert.span(min(left, _convert.WAIT_MAX), "wait"),
            )
            sent = self.now()
            news = watch(
                self._transport, lambda wire: wire.fifos.WaitTicket, request, until_end=True
            )
            try:
                async for told in news:
                    if told.WhichOneof("event") == "ready":
                        await self._accepted(sent, told.ready)
                        return
                    place = told.in_line
                    to_go = place.HasField("time_to_go")
                    yield Place(
                        place.position, _convert.seconds(place.time_to_go) if to_go else None
                    )
            except errors.WaitTimedOut:
                if ends is not None and loop.time() >= ends:
                    raise

    async def _accepted(self, sent: float, ready: fifo_service_pb2.Ticket) -> None:
        if not ready.HasField("lapses_in"):
            return
        lasts = _convert.seconds(ready.lapses_in)
        if self.now() - sent < lasts / 10:
            self._lasts = lasts
            self.renewed(sent, lasts)
        else:
            # Nobody here knows when the turn came: begin to count anew.
            await self.extend()

    async def extend(self, done: float | None = None) -> None:
        """Start the time for the work anew; it never brings the end nearer.

        `done`: how many seconds it may take from now on; None: the ticket's own time-out.
        Raises `NotAccepted`, `TicketLapsed`, and `NotFound` for one that is done.
        """
        request = ExtendTicketRequest(
            fifo=self._fifo, ticket=self._id, done=_convert.span(done, "done")
        )
        sent = self.now()
        answer = await self._transport.call(lambda wire: wire.fifos.ExtendTicket, request)
        if answer.ticket.HasField("lapses_in"):
            self._lasts = _convert.seconds(answer.ticket.lapses_in)
            self.renewed(sent, self._lasts)

    async def done(self) -> None:
        """Say that the work is done: the next ticket has its turn.

        Raises `TicketLapsed` where the turn was lost, and `NotFound` where it was done before.
        """
        request = CompleteTicketRequest(
            fifo=self._fifo, ticket=self._id, request_id=_convert.request_id()
        )
        lost = self.lost.is_set()
        self.finish()
        await self._transport.call(lambda wire: wire.fifos.CompleteTicket, request)
        if lost:
            raise errors.TicketLapsed("the turn was not extended in time", reason="TICKET_LAPSED")

    async def cancel(self) -> None:
        """Take the ticket back, wherever it stands."""
        request = CancelTicketRequest(
            fifo=self._fifo, ticket=self._id, request_id=_convert.request_id()
        )
        self.finish()
        await self._transport.call(lambda wire: wire.fifos.CancelTicket, request)

    async def keep(self) -> None:
        """Extend the accepted turn for as long as this runs, or until it is lost."""
        loop = asyncio.get_running_loop()
        if self._lasts is None:
            return
        every = min(self._lasts / EXTENSIONS_PER_TIMEOUT, EXTENSION_EVERY_MAX)
        due = loop.time() + every
        extending: asyncio.Task[None] | None = None
        try:
            while not self.lost.is_set():
                if extending is None and loop.time() >= due:
                    extending = asyncio.create_task(self.extend())
                    due = loop.time() + every
                left = TICK if self.deadline is None else max(self.deadline - self.now(), 0.001)
                if extending is not None:
                    await asyncio.wait({extending}, timeout=min(left, TICK))
                    if extending.done():
                        self._extended(extending)
                        extending = None
                else:
                    await asyncio.sleep(min(left, TICK, max(due - loop.time(), 0.001)))
            if not self.ended:
                self.lose(errors.TicketLapsed(self.loss.message, reason="TICKET_LAPSED"))
        finally:
            if extending is not None:
                extending.cancel()

    def _extended(self, extending: asyncio.Task[None]) -> None:
        error = extending.exception()
        if isinstance(error, errors.Lost):
            self.lose(error)
        elif isinstance(error, errors.NotFound):
            self.lose(errors.TicketLapsed(error.message, reason=error.reason))


class Fifo:
    """A durable line. Making this object asks nothing of the server."""

    def __init__(self, transport: Transport, clock: Clock, fifo_id: str, owner: str) -> None:
        self._transport = transport
        self._clock = clock
        self._id = fifo_id
        self._owner = owner

    @property
    def id(self) -> str:
        """The FIFO's id."""
        return self._id

    async def create(
        self,
        *,
        wait_timeout: float | None = None,
        accept_timeout: float | None = None,
        done_timeout: float | None = None,
        unused_destroy_timeout: float | None = None,
        allow_overrides: bool = False,
        concurrency: int = 1,
        exist_ok: bool = False,
    ) -> None:
        """Make the FIFO.

        All times are seconds; 0 is no end, and None the server's default: turns have a minute to be
        accepted and ten to be done, and a FIFO that nobody uses for 30 days is destroyed.
        `concurrency`: how many tickets may have their turn at once.

        Raises `AlreadyExists` unless `exist_ok`.
        """
        request = CreateFifoRequest(
            id=self._id,
            timeouts=_timeouts(wait_timeout, accept_timeout, done_timeout),
            unused_destroy_timeout=_convert.span(unused_destroy_timeout, "unused_destroy_timeout"),
            allow_overrides=allow_overrides,
            concurrency=concurrency,
            request_id=_convert.request_id(),
        )
        try:
            await self._transport.call(lambda wire: wire.fifos.CreateFifo, request)
        except errors.AlreadyExists:
            if not exist_ok:
                raise

    async def delete(self) -> int:
        """End the FIFO with all its tickets, and return how many there were. Wants `admin`."""
        request = DeleteFifoRequest(fifo=self._id, request_id=_convert.request_id())
        answer = await self._transport.call(lambda wire: wire.fifos.DeleteFifo, request)
        return int(answer.tickets)

    async def ticket(
        self,
        *,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        wait_timeout: float | None = None,
        accept_timeout: float | None = None,
        done_timeout: float | None = None,
    ) -> Ticket:
        """Take a place at the end of the line.

        The time-outs are the ticket's own, where the FIFO allows that. Raises `NotFound` where
        there is no such FIFO.
        """
        request = CreateTicketRequest(
            fifo=self._id,
            overrides=_timeouts(wait_timeout, accept_timeout, done_timeout),
            owner=self._owner if owner is None else owner,
            metadata=metadata or {},
            request_id=_convert.request_id(),
        )
        answer: Any = await self._transport.call(lambda wire: wire.fifos.CreateTicket, request)
        return Ticket(
            self._transport, self._clock, self._id, answer.ticket.id, answer.ticket.number
        )

    def ticket_of(self, ticket_id: str) -> Ticket:
        """Return the ticket with this id, which was taken elsewhere or earlier."""
        return Ticket(self._transport, self._clock, self._id, ticket_id, 0)

    @asynccontextmanager
    async def turn(
        self,
        wait: float | None = None,
        *,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_position: Callable[[Place], object] | None = None,
        cancel_on_lost: bool = True,
    ) -> AsyncIterator[Ticket]:
        """Take a ticket, wait for its turn, and have it for the time of an `async with` block.

        The turn is extended while the block runs. When it is lost the block is cancelled, and
        `TicketLapsed` raised. Who is cancelled while waiting leaves the line.
        """
        ticket = await self._ticket_or_none(owner, metadata)
        try:
            await ticket.wait(wait, on_position=on_position)
        except BaseException:
            with contextlib.suppress(Exception):
                await ticket.cancel()
            raise
        keeping = asyncio.create_task(ticket.keep())
        try:
            if cancel_on_lost:
                with CancelScope(ticket):
                    yield ticket
            else:
                yield ticket
        except BaseException:
            keeping.cancel()
            with contextlib.suppress(Exception):
                await _leave(ticket)
            raise
        keeping.cancel()
        await _leave(ticket)

    async def _ticket_or_none(
        self, owner: str | None, metadata: Mapping[str, str] | None
    ) -> Ticket:
        """Take a ticket; if this is cancelled, none is left behind."""
        taking = asyncio.create_task(self.ticket(owner=owner, metadata=metadata))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            _in_background(_give_back(taking))
            raise


_background: set[asyncio.Task[None]] = set()


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        with contextlib.suppress(errors.HoldfastError):
            await work

    _background.add(task := asyncio.create_task(run()))
    task.add_done_callback(_background.discard)


async def _give_back(taking: asyncio.Task[Ticket]) -> None:
    await (await taking).cancel()


async def _leave(ticket: Ticket) -> None:
    """Say that a turn is over. Raises `TicketLapsed` where it was lost."""
    if not ticket.lost.is_set():
        await ticket.done()
        return
    # The server may still count it as ours, and may be out of reach: nobody waits for that.
    _in_background(ticket.done())
    raise errors.TicketLapsed(ticket.loss.message, reason="TICKET_LAPSED")
