import { durationMs, timestampDate } from "@bufbuild/protobuf/wkt";
import { type Calls, newRequestId, spanOf, unreachable } from "./calls.js";
import { HoldfastError, isKind } from "./errors.js";
import { Grant } from "./grant.js";
import type { Lease } from "./lease.js";
import type { Leases } from "./leases.js";
import {
  type Grant as GrantTold,
  type Holder as HolderTold,
  LockEventKind,
  LockMode,
  type Lock as LockTold,
} from "./stubs/holdfast/v1/lock_service_pb.js";

/** How long a grant outlives a page that is gone, unless said, in milliseconds. */
const TTL_MS = 30_000;
/** How much longer than its wait an acquire may go without an answer, in milliseconds. */
const GRACE_MS = 1_000;

/** How to acquire a lock. Every span is in milliseconds. */
export interface AcquireOptions {
  /** How long the grant outlives a page that is gone, 100 ms to 30 d; 30 s unless said. */
  ttl?: number;
  /** How long to stand in line at most; without it for as long as `signal` allows. 0 asks once. */
  wait?: number;
  /** Who holds, for people to read: at most 512 bytes. The client's own unless said. */
  owner?: string;
  /** What the holder says of itself: at most 32 entries and 4 KiB in all. */
  metadata?: Record<string, string>;
  /** Whether to hold the lock together with others that hold it so; alone unless said. */
  shared?: boolean;
  /** With `shared`: the most holders at once, 1 to 1,000,000. Of several the smallest counts. */
  maxShared?: number;
  /** How long the lock is held back from others when the grant is lost, 0 to 1 h; 0 unless said. */
  releaseDelay?: number;
  /** Gives the place in line up; `acquire` then rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Is told the place in line, counted from 1, at first and when it changes. */
  onPosition?: (position: number) => void;
}

/** Who holds a lock. */
export interface Holder {
  /** The grant's number. */
  readonly fencingToken: bigint;
  /** Who it is, in the holder's own words; empty: it said nothing. */
  readonly owner: string;
  /** Whether it shares the lock. */
  readonly shared: boolean;
  /** When the grant was made, by the server's wall clock. */
  readonly acquireTime: Date;
  /** The time until the grant ends without a renewal, in milliseconds; absent: it has no expiry. */
  readonly expiresIn?: number;
  /** What it says of itself. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Who holds a lock and how many wait. */
export interface LockState {
  /** The lock's name. */
  readonly name: string;
  /** Who holds it, in the order of their grants: the first 100. */
  readonly holders: readonly Holder[];
  /** How many hold it. */
  readonly holderCount: number;
  /** How many stand in line. A watch tells it anew with each change of the holders, not with each arrival. */
  readonly waiterCount: number;
  /** The time until holders that lost it hold it back no more, in milliseconds; absent: they don't. */
  readonly heldBackFor?: number;
}

/** What happened to a holder. */
export type LockChangeKind =
  | "granted"
  | "released"
  | "expired"
  | "revoked"
  | "forced"
  | "callbackRefused"
  | "callbackTimedOut";

/** A lock as it stands, and what has changed it. */
export interface LockNews {
  /** The lock now. */
  readonly state: LockState;
  /** What happened; absent in the first news, in the first after a reconnection, and when a delay is over. */
  readonly change?: { readonly kind: LockChangeKind; readonly holder: Holder; readonly time: Date };
}

const CHANGES: Readonly<Record<LockEventKind, LockChangeKind | undefined>> = {
  [LockEventKind.UNSPECIFIED]: undefined,
  [LockEventKind.GRANTED]: "granted",
  [LockEventKind.RELEASED]: "released",
  [LockEventKind.EXPIRED]: "expired",
  [LockEventKind.REVOKED]: "revoked",
  [LockEventKind.FORCED]: "forced",
  [LockEventKind.CALLBACK_REFUSED]: "callbackRefused",
  [LockEventKind.CALLBACK_TIMED_OUT]: "callbackTimedOut",
  [LockEventKind.RELEASE_DELAY_ENDED]: undefined,
};

/** A lock by its name, held by nobody in particular until acquired. */
export class Lock {
  /** The lock's name. */
  readonly name: string;
  readonly #calls: Calls;
  readonly #leases: Leases;
  readonly #defaults: AcquireOptions;

  /** @internal */
  constructor(calls: Calls, leases: Leases, name: string, defaults: AcquireOptions) {
    this.#calls = calls;
    this.#leases = leases;
    this.name = name;
    this.#defaults = defaults;
  }

  /**
   * Takes the lock, standing in line for as long as `wait` and `signal` allow. The place in line outlives
   * broken connections and restarts of the server. A tab that was suspended beyond the TTL has lost its
   * place and takes a new one at the end; one that is closed leaves the line.
   *
   * Errors: `waitTimedOut` when `wait` passed; `held` when that was 0; the signal's reason; `invalid`,
   * `limit`, `unauthenticated`; `unavailable` where the server can't be reached at first. Once in line the
   * server is waited for.
   */
  async acquire(options: AcquireOptions = {}): Promise<Grant> {
    const asked = { ...this.#defaults, ...options };
    const attempt = new Attempt(this.#calls, this.name, asked);
    asked.signal?.throwIfAborted();
    for (let stood = false; ; stood = true) {
      const lease = await this.#leases.create(asked.ttl ?? TTL_MS, asked.owner ?? "", asked.signal, stood);
      let grant: Grant | undefined;
      try {
        const told = await attempt.stand(lease);
        grant = told && (await Grant.of(this.#calls, lease, told));
        asked.signal?.throwIfAborted();
      } catch (error) {
        lease.abandon();
        throw error;
      }
      if (grant) {
        return grant;
      }
      lease.abandon();
    }
  }

  /**
   * Takes the lock if that is possible at once.
   *
   * Errors: `held` when it is not, with who holds it in `metadata.owner`; and as for `acquire`.
   */
  tryAcquire(options: Omit<AcquireOptions, "wait"> = {}): Promise<Grant> {
    return this.acquire({ ...options, wait: 0 });
  }

  /**
   * Runs a block under the lock, waiting for it, and releases it whatever the block does. What comes back
   * is the block's result; where the lock was lost meanwhile, a {@link LostError} in place of the result.
   */
  async run<T>(block: (grant: Grant) => T | Promise<T>, options: AcquireOptions = {}): Promise<T> {
    const grant = await this.acquire(options);
    let result: T;
    try {
      result = await block(grant);
    } catch (error) {
      // The block's own failure says more than that of the release.
      await grant.release().catch(() => {});
      throw error;
    }
    await grant.release();
    return result;
  }

  /** Tells who holds the lock and how many wait. A lock that nobody has named is free. */
  async get(options: { signal?: AbortSignal } = {}): Promise<LockState> {
    const answer = await this.#calls.retried(
      (call) => this.#calls.locks.getLock({ lock: this.name }, call),
      options.signal,
    );
    return stateOf(this.name, answer.lock);
  }

  /**
   * Tells the lock's state and then every change of its holders and every end of a release delay. It goes on over broken connections and
   * restarts of the server, and then tells the state anew; what changed meanwhile is in it. It waits for a
   * server that can't be reached. The loop ends when `signal` is aborted.
   */
  async *watch(options: { signal?: AbortSignal } = {}): AsyncGenerator<LockNews, void, undefined> {
    const { signal } = options;
    let state = stateOf(this.name, undefined);
    try {
      const open = this.#calls.followed(
        (call) => this.#calls.locks.watchLock({ lock: this.name }, call),
        signal,
      );
      for await (const { event } of open) {
        if (event.case === "state") {
          state = stateOf(this.name, event.value);
          yield { state };
        } else if (event.case === "change") {
          const told = event.value;
          const kind = CHANGES[told.kind];
          const holder = told.holder && holderOf(told.holder);
          const others = state.holders.filter((other) => other.fencingToken !== holder?.fencingToken);
          state = {
            name: this.name,
            holders: kind === "granted" && holder ? [...others, holder] : others,
            holderCount: told.holderCount,
            waiterCount: told.waiterCount,
            ...(told.heldBackFor && { heldBackFor: durationMs(told.heldBackFor) }),
          };
          const time = told.eventTime ? timestampDate(told.eventTime) : new Date();
          yield { state, ...(kind && holder && { change: { kind, holder, time } }) };
        }
      }
    } catch (error) {
      if (!signal?.aborted) {
        throw error;
      }
    }
  }
}

/** One acquire's way through the line, over as many streams as it takes. */
class Attempt {
  readonly #calls: Calls;
  readonly #asked: AcquireOptions;
  readonly #request: object;
  readonly #until: number | undefined;
  #requestId = newRequestId();
  #streams = 0;

  constructor(calls: Calls, lock: string, asked: AcquireOptions) {
    this.#calls = calls;
    this.#asked = asked;
    this.#request = {
      lock,
      mode: asked.shared ? LockMode.SHARED : LockMode.EXCLUSIVE,
      maxShared: bound(asked.maxShared),
      owner: asked.owner ?? "",
      metadata: asked.metadata ?? {},
      ...spanOf("releaseDelay", asked.releaseDelay),
    };
    this.#until = asked.wait === undefined ? undefined : calls.clock.now() + asked.wait;
  }

  /** Stands in line on a lease until the grant comes; undefined: the lease ended first. */
  async stand(lease: Lease): Promise<GrantTold | undefined> {
    this.#requestId = newRequestId();
    for (let failures = 0; ; failures++) {
      const positions = () => {
        failures = 0;
      };
      const told = await this.#listen(lease, positions);
      if (!(told instanceof HoldfastError)) {
        return told;
      }
      if (this.#until !== undefined && this.#calls.clock.now() >= this.#until + GRACE_MS) {
        throw new HoldfastError("waitTimedOut", "the turn did not come in time", {
          reason: "WAIT_TIMED_OUT",
          cause: told,
        });
      }
      await this.#calls.pause(failures, told, this.#asked.signal);
      if (lease.ended.aborted) {
        return undefined;
      }
    }
  }

  /** Listens to one stream. An error that comes back, and is not thrown, is worth another stream. */
  async #listen(lease: Lease, heard: () => void): Promise<GrantTold | HoldfastError | undefined> {
    const { signal, onPosition } = this.#asked;
    const stop = new AbortController();
    const over = AbortSignal.any([stop.signal, lease.ended, ...(signal ? [signal] : [])]);
    lease.onDoubt(() => stop.abort(unreachable()));
    try {
      for await (const { event } of this.#open(lease, over)) {
        if (event.case === "granted") {
          return event.value;
        }
        if (event.case === "queued") {
          heard();
          onPosition?.(event.value.position);
        }
      }
      return unreachable();
    } catch (error) {
      signal?.throwIfAborted();
      if (lease.ended.aborted) {
        return undefined;
      }
      if (isKind(error, "lost")) {
        return undefined;
      }
      if (isKind(error, "waitTimedOut") && this.#asked.wait === undefined) {
        // The longest wait that the server knows is over; a new one begins.
        this.#requestId = newRequestId();
        return error;
      }
      if (isKind(error, "unavailable")) {
        return error;
      }
      throw error;
    } finally {
      lease.onDoubt(undefined);
    }
  }

  #open(lease: Lease, signal: AbortSignal) {
    const left = this.#until === undefined ? undefined : Math.max(1, this.#until - this.#calls.clock.now());
    // As it was given, the first time: the server judges its bounds.
    const wait = this.#streams++ === 0 || this.#asked.wait === 0 ? this.#asked.wait : left;
    const request = {
      ...this.#request,
      ...spanOf("wait", wait),
      hold: { case: "leaseId" as const, value: lease.id },
      requestId: this.#requestId,
    };
    return this.#calls.told(
      (options) => this.#calls.locks.subscribeAndGrab(request, options),
      signal,
      left === undefined ? undefined : left + GRACE_MS,
    );
  }
}

/** A bound for the server to check: none or less must not look like no bound. */
function bound(maxShared: number | undefined): number {
  if (maxShared === undefined) {
    return 0;
  }
  return Number.isInteger(maxShared) && maxShared >= 1 && maxShared <= 0xffff_ffff ? maxShared : 0xffff_ffff;
}

function holderOf(told: HolderTold): Holder {
  return {
    fencingToken: told.fencingToken,
    owner: told.owner,
    shared: told.mode === LockMode.SHARED,
    acquireTime: told.acquireTime ? timestampDate(told.acquireTime) : new Date(),
    ...(told.expiresIn && { expiresIn: durationMs(told.expiresIn) }),
    metadata: told.metadata,
  };
}

function stateOf(name: string, told: LockTold | undefined): LockState {
  return {
    name,
    holders: told?.holders.map(holderOf) ?? [],
    holderCount: told?.holderCount ?? 0,
    waiterCount: told?.waiterCount ?? 0,
    ...(told?.heldBackFor && { heldBackFor: durationMs(told.heldBackFor) }),
  };
}
