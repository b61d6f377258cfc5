import { durationMs } from "@bufbuild/protobuf/wkt";
import type { CallOptions } from "@connectrpc/connect";
import { type Calls, newRequestId, span } from "./calls.js";
import { margin } from "./clock.js";
import { isKind, type Loss } from "./errors.js";

/** How often the clock is read while something is held: timers stand still while a tab is suspended. */
const LOOK_MS = 1_000;
/** How long a lease goes without a renewal at most, however long it lasts. */
const RENEWAL_MAX_MS = 60_000;
/** How long one renewal may take at most, and at least. */
const ATTEMPT_MAX_MS = 10_000;
const ATTEMPT_MIN_MS = 100;
/** How many renewals may be under way at once: the next does not wait for one whose answer is late. */
const RENEWALS_MAX = 2;

/** Renews a lease, or a grant and with it its lease: the time won, in milliseconds. */
type Renewal = (options: CallOptions) => Promise<number>;

/**
 * A lease that is renewed in the background, for one place in line and the grant that comes of it: so the
 * place outlives broken connections and restarts of the server.
 */
export class Lease {
  readonly id: string;
  readonly #calls: Calls;
  readonly #ttl: number;
  readonly #stop = new AbortController();
  #renewal: Renewal;
  #onLost: ((loss: Loss) => void) | undefined;
  #onDoubt: (() => void) | undefined;
  /** Until when it counts as kept: reckoned from when the last confirmed renewal was sent. */
  #until: number;
  #renewAt: number;
  /** How many renewals are under way. */
  #renewing = 0;
  #cancelLook: () => void = () => {};

  /** Makes a lease. */
  static async create(calls: Calls, ttl: number, owner: string, signal?: AbortSignal): Promise<Lease> {
    const request = { ttl: span("ttl", ttl), owner, requestId: newRequestId() };
    // The answer to a repeated call may be the first one's.
    const sent = calls.clock.now();
    const answer = await calls.retried((options) => calls.leases.createLease(request, options), signal);
    const left = answer.lease?.expiresIn ? durationMs(answer.lease.expiresIn) : ttl;
    return new Lease(calls, answer.lease?.leaseId ?? "", ttl, sent, left);
  }

  private constructor(calls: Calls, id: string, ttl: number, sent: number, left: number) {
    this.#calls = calls;
    this.id = id;
    this.#ttl = ttl;
    this.#until = sent + left - margin(ttl);
    this.#renewal = async (options) => {
      const answer = await calls.leases.renewLease({ leaseId: id }, options);
      return answer.expiresIn ? durationMs(answer.expiresIn) : ttl;
    };
    this.#renewAt = sent + this.#pace;
    this.look();
  }

  /** Aborted when the lease has ended, with the {@link Loss} as its reason. */
  get ended(): AbortSignal {
    return this.#stop.signal;
  }

  /** Whether the lease is kept, by the clock of this moment. */
  get kept(): boolean {
    return !this.ended.aborted && this.#calls.clock.now() < this.#until;
  }

  /** Calls when a renewal got no answer: other connections of that time may be dead as well. */
  onDoubt(run: (() => void) | undefined): void {
    this.#onDoubt = run;
  }

  /**
   * From now on the lease keeps a grant: renews it, and tells when it is lost. False: the lease is not kept
   * any more, and so the grant is not.
   */
  async hold(renewal: Renewal, onLost: (loss: Loss) => void): Promise<boolean> {
    this.#onDoubt = undefined;
    this.#renewal = renewal;
    if (!this.kept) {
      // The grant may have lain here while the tab slept.
      await this.#renew();
    }
    if (!this.kept) {
      return false;
    }
    this.#onLost = onLost;
    this.look();
    return true;
  }

  /** Looks at the clock, and does what is due: whether the lease is kept. */
  look(): boolean {
    this.#cancelLook();
    if (this.ended.aborted) {
      return false;
    }
    const now = this.#calls.clock.now();
    if (this.#onLost && now >= this.#until) {
      this.end("unconfirmed");
      return false;
    }
    if (now >= this.#renewAt && this.#renewing < RENEWALS_MAX) {
      this.#renewing++;
      this.#renewAt = now + this.#pace;
      void this.#renew().finally(() => {
        this.#renewing--;
        this.look();
      });
    }
    const next = [LOOK_MS];
    if (this.#onLost) {
      next.push(this.#until - now);
    }
    if (this.#renewing < RENEWALS_MAX) {
      next.push(this.#renewAt - now);
    }
    this.#cancelLook = this.#calls.timers.after(Math.max(1, Math.min(...next)), () => this.look());
    return now < this.#until;
  }

  /** Renews no more. Without a loss nobody is told. */
  end(loss?: Loss): void {
    if (this.ended.aborted) {
      return;
    }
    this.#cancelLook();
    this.#stop.abort(loss);
    if (loss) {
      this.#onLost?.(loss);
    }
  }

  /** Ends the lease here, and soon at the server, with all that hangs on it. Nobody is told. */
  abandon(): void {
    this.end();
    const { leases, lastWords } = this.#calls;
    const request = { leaseId: this.id, requestId: newRequestId() };
    // The first attempt outlives the client. Where all fail the lease ends by itself.
    lastWords
      .revokeLease(request)
      .catch(() => this.#calls.retried((options) => leases.revokeLease(request, options)))
      .catch(() => {});
  }

  /** Ends the lease as the page or the client goes: one call, that outlives the page. */
  leave(loss: Loss): void {
    this.#calls.lastWords.revokeLease({ leaseId: this.id, requestId: newRequestId() }).catch(() => {});
    this.end(loss);
  }

  get #pace(): number {
    return Math.min(this.#ttl / 3, RENEWAL_MAX_MS);
  }

  async #renew(): Promise<void> {
    const { clock } = this.#calls;
    const sent = clock.now();
    // For as long as an answer is of use: the lease counts as lost soon after.
    const patience = Math.max(ATTEMPT_MIN_MS, Math.min(ATTEMPT_MAX_MS, (this.#ttl * 2) / 3));
    try {
      const left = await this.#calls.once(this.#renewal, patience, this.ended);
      this.#until = Math.max(this.#until, sent + left - margin(left));
      this.#renewAt = Math.max(this.#renewAt, sent + this.#pace);
    } catch (error) {
      if (this.ended.aborted) {
        return;
      }
      if (isKind(error, "lost") || isKind(error, "notHolder")) {
        this.end("ended");
        return;
      }
      // Refused for another reason, such as a revoked token, it may yet come right in time.
      this.#renewAt = Math.min(this.#renewAt, clock.now() + this.#pace / 4);
      this.#onDoubt?.();
    }
  }
}
