"""FIFOs: durable lines, with tickets that outlive connections and restarts."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager

from holdfast._held import Endings
from holdfast._runner import Runner, in_thread
from holdfast.aio import Fifo as AioFifo
from holdfast.aio import Ticket as AioTicket
from holdfast.types import Place


class Ticket(Endings):
    """A place in line. Its id proves the right to it, in any process.

    Once its turn was accepted by `wait`, `lost` is set when the turn lapses, by the reckoning of
    this process before the server can give the turn to anyone else.
    """

    def __init__(self, runner: Runner, ticket: AioTicket) -> None:
        super().__init__(runner, ticket)
        self._ticket = ticket

    @property
    def fifo(self) -> str:
        """The FIFO's id."""
        return self._ticket.fifo

    @property
    def id(self) -> str:
        """The ticket's id, a secret."""
        return self._ticket.id

    @property
    def number(self) -> int:
        """Tickets have their turns in the order of their numbers; 0: not known here."""
        return self._ticket.number

    def wait(
        self,
        wait: float | None = None,
        *,
        on_position: Callable[[Place], object] | None = None,
    ) -> None:
        """Wait until it is this ticket's turn, and accept it.

        `wait`: for how many seconds; None: as long as it takes. `on_position` is called, in a
        thread of its own, with the place in line, now and when it changes. The ticket keeps its
        place when this is interrupted.

        Raises `WaitTimedOut`, `TicketLapsed`, `TicketEnded`, and `NotFound` for one that is done.
        """
        told = on_position
        self._runner.run(
            self._ticket.wait(
                wait,
                on_position=None if told is None else lambda place: in_thread(told, place),
            )
        )

    def places(self, wait: float | None = None) -> Generator[Place, None, None]:
        """Iterate over the place in line until it is this ticket's turn, which is then accepted."""
        return self._runner.iterate(self._ticket.places(wait))

    def extend(self, done: float | None = None) -> None:
        """Start the time for the work anew; it never brings the end nearer.

        `done`: how many seconds it may take from now on; None: the ticket's own time-out.
        Raises `NotAccepted`, `TicketLapsed`, and `NotFound` for one that is done.
        """
        self._runner.run(self._ticket.extend(done))

    def done(self) -> None:
        """Say that the work is done: the next ticket has its turn.

        Raises `TicketLapsed` where the turn was lost, and `NotFound` where it was done before.
        """
        self._runner.run(self._ticket.done())

    def cancel(self) -> None:
        """Take the ticket back, wherever it stands."""
        self._runner.run(self._ticket.cancel())

    async def undone(self) -> None:
        """Take it back, in the runner's thread, for a caller that was interrupted."""
        await self._ticket.cancel()


class Fifo:
    """A durable line. Making this object asks nothing of the server."""

    def __init__(self, runner: Runner, fifo: AioFifo) -> None:
        self._runner = runner
        self._fifo = fifo

    @property
    def id(self) -> str:
        """The FIFO's id."""
        return self._fifo.id

    def create(
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
        work = self._fifo.create(
            wait_timeout=wait_timeout,
            accept_timeout=accept_timeout,
            done_timeout=done_timeout,
            unused_destroy_timeout=unused_destroy_timeout,
            allow_overrides=allow_overrides,
            concurrency=concurrency,
            exist_ok=exist_ok,
        )
        self._runner.run(work)

    def delete(self) -> int:
        """End the FIFO with all its tickets, and return how many there were. Wants `admin`."""
        return self._runner.run(self._fifo.delete())

    def ticket(
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
        work = self._fifo.ticket(
            owner=owner,
            metadata=metadata,
            wait_timeout=wait_timeout,
            accept_timeout=accept_timeout,
            done_timeout=done_timeout,
        )

        async def taking() -> Ticket:
            return Ticket(self._runner, await work)

        return self._runner.run(taking(), Ticket.undone)

    def ticket_of(self, ticket_id: str) -> Ticket:
        """Return the ticket with this id, which was taken elsewhere or earlier."""
        return self._runner.call(
            lambda: Ticket(self._runner, self._fifo.ticket_of(ticket_id)),
        )

    @contextmanager
    def turn(
        self,
        wait: float | None = None,
        *,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_position: Callable[[Place], object] | None = None,
    ) -> Iterator[Ticket]:
        """Take a ticket, wait for its turn, and have it for the time of a `with` block.

        The turn is extended while the block runs. `TicketLapsed` is raised at the end where it was
        lost. Who is interrupted while waiting leaves the line.
        """
        told = on_position
        scope = self._fifo.turn(
            wait,
            owner=owner,
            metadata=metadata,
            on_position=None if told is None else lambda place: in_thread(told, place),
            cancel_on_lost=False,
        )

        async def enter() -> Ticket:
            return Ticket(self._runner, await scope.__aenter__())

        async def leave(error: BaseException | None) -> None:
            await scope.__aexit__(type(error) if error else None, error, None)

        ticket = self._runner.run(enter(), lambda _: leave(None))
        try:
            yield ticket
        except BaseException as error:
            # It raises the same error again.
            self._runner.run(leave(error))
            raise
        self._runner.run(leave(None))
