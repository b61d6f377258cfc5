import { durationMs, timestampDate } from "@bufbuild/protobuf/wkt";
import { type Calls, newRequestId } from "./calls.js";
import { isKind, type Loss, LostError } from "./errors.js";
import type { Lease } from "./lease.js";
import type { Grant as Told } from "./stubs/holdfast/v1/lock_service_pb.js";

/**
 * A hold on a lock. It is renewed in the background until it is released or lost, or the page is left.
 *
 * It counts as lost before the server can give the lock to anyone else: that is reckoned from the moment
 * at which the last renewal that was confirmed had been sent, on a clock that counts the time a tab
 * sleeps, and with a margin of a tenth of the TTL (at least 100 ms; at most 5 s, or a thousandth of a long
 * TTL). A tab that was suspended notices on waking. A grant that an administrator ends is noticed at the
 * next renewal, within a third of the TTL.
 *
 * No client can stop a page that is suspended itself: what the lock protects compares fencing tokens.
 */
export class Grant {
  /** The lock's name. */
  readonly lock: string;
  /** The number of this grant: greater than that of every earlier one. Hand it to what the lock protects. */
  readonly fencingToken: bigint;
  /** When the grant was made, by the server's wall clock. */
  readonly acquireTime: Date;
  /** Resolves when the grant is lost, and never otherwise: not by a release. */
  readonly lost: Promise<LostError>;
  /** Aborted when the grant is lost, with the {@link LostError} as reason: give it to what works under the lock. */
  readonly signal: AbortSignal;
  readonly #calls: Calls;
  readonly #lease: Lease;
  readonly #token: string;
  readonly #losing = new AbortController();
  #release: Promise<void> | undefined;

  /**
   * The grant that a stream has told of, once its lease keeps it; undefined: it has ended already.
   * @internal
   */
  static async of(calls: Calls, lease: Lease, told: Told): Promise<Grant | undefined> {
    if (told.expiresIn && durationMs(told.expiresIn) <= 0) {
      return undefined;
    }
    const grant = new Grant(calls, lease, told);
    const renew = { lock: told.lock, grantToken: told.grantToken };
    const kept = await lease.hold(
      async (options) => {
        const answer = await calls.locks.renewLock(renew, options);
        return answer.expiresIn ? durationMs(answer.expiresIn) : 0;
      },
      (loss) => grant.#lose(loss),
    );
    return kept ? grant : undefined;
  }

  private constructor(calls: Calls, lease: Lease, told: Told) {
    this.#calls = calls;
    this.#lease = lease;
    this.#token = told.grantToken;
    this.lock = told.lock;
    this.fencingToken = told.fencingToken;
    this.acquireTime = told.acquireTime ? timestampDate(told.acquireTime) : new Date();
    this.signal = this.#losing.signal;
    this.lost = new Promise((resolve) => {
      this.signal.addEventListener("abort", () => resolve(this.signal.reason), { once: true });
    });
  }

  /** Whether the lock is held, by the clock of this moment. Ask it after anything that may have taken long. */
  get held(): boolean {
    return this.#release === undefined && this.#lease.look();
  }

  /** Throws the {@link LostError} if the grant is lost, by the clock of this moment. */
  throwIfLost(): void {
    this.#lease.look();
    this.signal.throwIfAborted();
  }

  /** Asks the server whether it still has the grant. */
  async check(options: { signal?: AbortSignal } = {}): Promise<boolean> {
    const request = { lock: this.lock, fencingToken: this.fencingToken };
    const answer = await this.#calls.retried(
      (call) => this.#calls.locks.checkGrant(request, call),
      options.signal,
    );
    return answer.current;
  }

  /**
   * Gives the lock back; the next in line gets it. Rejects with a {@link LostError} where it was lost
   * before. Releasing again tells the same as the first time.
   */
  release(): Promise<void> {
    this.#release ??= this.#giveBack();
    return this.#release;
  }

  async #giveBack(): Promise<void> {
    this.throwIfLost();
    this.#lease.end();
    const request = { lock: this.lock, grantToken: this.#token, requestId: newRequestId() };
    try {
      await this.#calls.retried((options) => this.#calls.locks.releaseLock(request, options));
    } catch (error) {
      if (isKind(error, "notHolder") || isKind(error, "lost")) {
        this.#losing.abort(new LostError(this.lock, "ended", error));
        this.throwIfLost();
      }
      throw error;
    } finally {
      this.#lease.abandon();
    }
  }

  #lose(loss: Loss): void {
    this.#losing.abort(new LostError(this.lock, loss));
    if (loss === "unconfirmed") {
      // The server may think it held for a while yet, and nobody is waited for by then.
      this.#lease.abandon();
    }
  }
}
