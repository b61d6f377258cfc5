import type { DescService } from "@bufbuild/protobuf";
import { type Duration, durationFromMs } from "@bufbuild/protobuf/wkt";
import { type CallOptions, type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Clock } from "./clock.js";
import { errorOf, HoldfastError, isKind } from "./errors.js";
import { FifoService } from "./stubs/holdfast/v1/fifo_service_pb.js";
import { LeaseService } from "./stubs/holdfast/v1/lease_service_pb.js";
import { LockService } from "./stubs/holdfast/v1/lock_service_pb.js";
import { ValueService } from "./stubs/holdfast/v1/value_service_pb.js";
import { Timers } from "./timers.js";

/** How long one attempt of a call may take, in milliseconds. */
const ATTEMPT_MS = 10_000;
/** The first and the longest pause between two attempts, in milliseconds; half of each is left to chance. */
const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 2_000;
/** The longest span that the schema's durations have, in milliseconds. */
const SPAN_MAX_MS = 315_576_000_000_000;

/** Where the server is, and how to speak to it. */
export interface Settings {
  readonly address: string;
  readonly token: string | undefined;
  readonly patience: number;
}

/** What every noun uses of the server: its services, and what makes their calls last. */
export class Calls {
  readonly clock = new Clock();
  readonly timers = new Timers();
  readonly locks: Client<typeof LockService>;
  readonly leases: Client<typeof LeaseService>;
  readonly fifos: Client<typeof FifoService>;
  readonly values: Client<typeof ValueService>;
  /** The leases once more, for a call that is to outlive its page. */
  readonly lastWords: Client<typeof LeaseService>;
  /** Aborted when the client is closed. */
  readonly closed: AbortSignal;
  readonly #patience: number;

  constructor(settings: Settings, closed: AbortSignal) {
    this.closed = closed;
    this.#patience = settings.patience;
    const authorize: Interceptor = (next) => (request) => {
      if (settings.token !== undefined) {
        request.header.set("authorization", `Bearer ${settings.token}`);
      }
      return next(request);
    };
    const service = <S extends DescService>(service: S, keepalive: boolean): Client<S> =>
      createClient(
        service,
        createGrpcWebTransport({
          baseUrl: settings.address,
          interceptors: [authorize],
          fetch: (input, init) => fetch(input, { ...init, keepalive }),
        }),
      );
    this.locks = service(LockService, false);
    this.leases = service(LeaseService, false);
    this.fifos = service(FifoService, false);
    this.values = service(ValueService, false);
    this.lastWords = service(LeaseService, true);
  }

  /**
   * Makes a call, again and again while the server is unavailable, for as long as the client is patient.
   * A changing call must carry a request id.
   */
  async retried<T>(send: (options: CallOptions) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const until = this.clock.now() + this.#patience;
    for (let failures = 0; ; failures++) {
      try {
        return await this.once(send, ATTEMPT_MS, signal);
      } catch (error) {
        if (!isKind(error, "unavailable") || this.clock.now() >= until) {
          throw error;
        }
        await this.pause(failures, error, signal);
      }
    }
  }

  /** Makes a call once. */
  async once<T>(
    send: (options: CallOptions) => Promise<T>,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<T> {
    const either = this.#untilClosed(signal);
    try {
      either.throwIfAborted();
      return await send({ timeoutMs: Math.ceil(timeoutMs), signal: either });
    } catch (error) {
      throw either.aborted ? either.reason : errorOf(error);
    }
  }

  /** What a stream tells, with its failures as errors of this client. */
  async *told<T>(
    open: (options: CallOptions) => AsyncIterable<T>,
    signal?: AbortSignal,
    timeoutMs?: number,
  ): AsyncGenerator<T, void, undefined> {
    const either = this.#untilClosed(signal);
    either.throwIfAborted();
    const hangUp = new AbortController();
    const options = {
      signal: AbortSignal.any([either, hangUp.signal]),
      ...(timeoutMs !== undefined && { timeoutMs: Math.ceil(timeoutMs) }),
    };
    try {
      for await (const message of open(options)) {
        yield message;
      }
    } catch (error) {
      throw either.aborted ? either.reason : errorOf(error);
    } finally {
      // Whoever stops reading hangs up.
      hangUp.abort();
    }
  }

  /** What a stream without an end tells, over broken connections and restarts of the server. */
  async *followed<T>(
    open: (options: CallOptions) => AsyncIterable<T>,
    signal?: AbortSignal,
  ): AsyncGenerator<T, void, undefined> {
    for (let failures = 0; ; failures++) {
      const stop = new AbortController();
      const leave = this.#onWaking(() => stop.abort(unreachable()));
      const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
      let failure: unknown = unreachable();
      try {
        for await (const message of this.told(open, either)) {
          failures = 0;
          yield message;
        }
      } catch (error) {
        if (!isKind(error, "unavailable")) {
          throw error;
        }
        failure = error;
      } finally {
        leave();
        stop.abort();
      }
      await this.pause(failures, failure, signal);
    }
  }

  /** Waits before the next attempt: longer after each failure, and no less than the server asks for. */
  async pause(failures: number, failure: unknown, signal?: AbortSignal): Promise<void> {
    const longest = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(failures, 10));
    const asked = failure instanceof HoldfastError ? (failure.retryAfter ?? 0) : 0;
    const pause = Math.max(asked, longest * (0.5 + Math.random() / 2));
    await this.timers.sleep(pause, this.#untilClosed(signal));
  }

  #untilClosed(signal?: AbortSignal): AbortSignal {
    return AbortSignal.any(signal ? [signal, this.closed] : [this.closed]);
  }

  /** Calls when the network has come back: a stream from before may be dead without having been cut. */
  #onWaking(run: () => void): () => void {
    if (typeof window === "undefined") {
      return () => {};
    }
    window.addEventListener("online", run);
    return () => window.removeEventListener("online", run);
  }
}

/** The error of a call that got no answer. */
export function unreachable(cause?: unknown): HoldfastError {
  return new HoldfastError("unavailable", "the connection to the server was lost", { cause });
}

/** An id for a changing call. `crypto.randomUUID` would want a page from a secure origin. */
export function newRequestId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/** A span of milliseconds as the schema has it. The server checks its bounds, where it is one at all. */
export function span(field: string, ms: number): Duration {
  if (!Number.isFinite(ms) || Math.abs(ms) > SPAN_MAX_MS) {
    throw new HoldfastError("invalid", `${field} must be a number of milliseconds; is ${ms}`, { field });
  }
  return durationFromMs(Math.round(ms));
}

/** The schema's field of a span that may be left out. */
export function spanOf<F extends string>(field: F, ms: number | undefined): { [K in F]?: Duration } {
  return (ms === undefined ? {} : { [field]: span(field, ms) }) as { [K in F]?: Duration };
}
