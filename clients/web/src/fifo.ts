import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import { type Calls, newRequestId, spanOf, unreachable } from "./calls.js";
import { HoldfastError, isKind } from "./errors.js";
import type { Timeouts } from "./stubs/holdfast/v1/fifo_service_pb.js";

/** How much longer than its wait a ticket may go without an answer, in milliseconds. */
const GRACE_MS = 1_000;

/** How a FIFO serves its tickets. Every span is in milliseconds, at most 365 d; 0: no end. */
export interface FifoOptions {
  /** How many tickets may have their turn at once, 1 to 10,000; 1 unless said. */
  concurrency?: number;
  /** How long a turn waits to be accepted; 1 m unless said. */
  acceptTimeout?: number;
  /** How long the work may take from then on; 10 m unless said. */
  doneTimeout?: number;
  /** After how long without use it is destroyed with its tickets; 30 d unless said. */
  unusedDestroyTimeout?: number;
}

/** A place in line. */
export interface Place {
  /** How many stand before it, plus one: 1 is the next. */
  readonly position: number;
  /** About how long it will stand there, in milliseconds; absent: no history tells. */
  readonly timeToGo?: number;
}

/** A durable line: its tickets outlive pages, connections and restarts of the server. */
export class Fifo {
  /** The FIFO's id. */
  readonly id: string;
  readonly #calls: Calls;
  readonly #owner: string;

  /** @internal */
  constructor(calls: Calls, id: string, owner: string) {
    this.#calls = calls;
    this.id = id;
    this.#owner = owner;
  }

  /** Makes the FIFO. Errors: `exists`. */
  async create(options: FifoOptions = {}): Promise<void> {
    const timeouts: Partial<Pick<Timeouts, "accept" | "done">> = {
      ...spanOf("accept", options.acceptTimeout),
      ...spanOf("done", options.doneTimeout),
    };
    const request = {
      id: this.id,
      timeouts,
      concurrency: options.concurrency ?? 0,
      ...spanOf("unusedDestroyTimeout", options.unusedDestroyTimeout),
      requestId: newRequestId(),
    };
    await this.#calls.retried((call) => this.#calls.fifos.createFifo(request, call));
  }

  /** Takes a place at the end of the line. Errors: `notFound` for a FIFO that nobody made; `limit`. */
  async ticket(options: { owner?: string; metadata?: Record<string, string> } = {}): Promise<Ticket> {
    const request = {
      fifo: this.id,
      owner: options.owner ?? this.#owner,
      metadata: options.metadata ?? {},
      requestId: newRequestId(),
    };
    const answer = await this.#calls.retried((call) => this.#calls.fifos.createTicket(request, call));
    return this.resume(answer.ticket?.id ?? "");
  }

  /** A ticket from before, such as of this page before it was loaded again, by its id. */
  resume(id: string): Ticket {
    return new Ticket(this.#calls, this.id, id);
  }
}

/** A place in a FIFO. Whoever knows its id may use it. */
export class Ticket {
  /** The FIFO. */
  readonly fifo: string;
  /** The ticket's id, a UUID: keep it to go on after the page is loaded again. */
  readonly id: string;
  readonly #calls: Calls;

  /** @internal */
  constructor(calls: Calls, fifo: string, id: string) {
    this.#calls = calls;
    this.fifo = fifo;
    this.id = id;
  }

  /**
   * Waits for the ticket's turn and accepts it. What comes back is the time until it lapses unless it is
   * done, in milliseconds; undefined: it does not lapse. The ticket stays where it is when the wait ends:
   * wait again to go on.
   *
   * Errors: `waitTimedOut` when `wait` (0 to 24 h, in milliseconds; the ticket's own time-out unless said)
   * passed; the signal's reason; `ticketLapsed`, `ticketEnded`, `notFound`.
   */
  async wait(
    options: { wait?: number; signal?: AbortSignal; onPosition?: (place: Place) => void } = {},
  ): Promise<number | undefined> {
    const { signal, onPosition } = options;
    const { clock } = this.#calls;
    const until = options.wait === undefined ? undefined : clock.now() + options.wait;
    for (let failures = 0, wait = options.wait; ; failures++) {
      let failure: unknown = unreachable();
      try {
        const request = { ...this.#key, ...spanOf("wait", wait) };
        const timeout = wait === undefined ? undefined : Math.max(0, wait) + GRACE_MS;
        const news = this.#calls.told((call) => this.#calls.fifos.waitTicket(request, call), signal, timeout);
        for await (const { event } of news) {
          failures = 0;
          if (event.case === "ready") {
            return ms(event.value.lapsesIn);
          }
          if (event.case === "inLine") {
            const timeToGo = ms(event.value.timeToGo);
            onPosition?.({ position: event.value.position, ...(timeToGo !== undefined && { timeToGo }) });
          }
        }
      } catch (error) {
        if (!isKind(error, "unavailable")) {
          throw error;
        }
        failure = error;
      }
      if (until !== undefined && clock.now() >= until + GRACE_MS) {
        throw new HoldfastError("waitTimedOut", "the turn did not come in time", {
          reason: "TURN_TIMED_OUT",
          cause: failure,
        });
      }
      await this.#calls.pause(failures, failure, signal);
      wait = until === undefined ? undefined : Math.max(1, until - clock.now());
    }
  }

  /** Starts the work time of an accepted ticket anew: for so many milliseconds, or its own time-out. */
  async extend(done?: number): Promise<void> {
    const request = { ...this.#key, ...spanOf("done", done) };
    await this.#calls.retried((call) => this.#calls.fifos.extendTicket(request, call));
  }

  /** Says that the work is done: the next ticket has its turn. */
  async done(): Promise<void> {
    const request = { ...this.#key, requestId: newRequestId() };
    await this.#calls.retried((call) => this.#calls.fifos.completeTicket(request, call));
  }

  /** Takes the ticket back, wherever it stands. */
  async cancel(): Promise<void> {
    const request = { ...this.#key, requestId: newRequestId() };
    await this.#calls.retried((call) => this.#calls.fifos.cancelTicket(request, call));
  }

  get #key(): { fifo: string; ticket: string } {
    return { fifo: this.fifo, ticket: this.id };
  }
}

function ms(told: Duration | undefined): number | undefined {
  return told && durationMs(told);
}
