import type { Calls } from "./calls.js";
import { isKind, type Loss } from "./errors.js";
import { Lease } from "./lease.js";

/** The leases that a page has, and what the page's own life does to them. */
export class Leases {
  readonly #calls: Calls;
  readonly #open = new Set<Lease>();
  /** Settled when the page is there; a page that was left may be shown again as it was. */
  #present: Promise<void> = Promise.resolve();
  #comeBack: () => void = () => {};
  readonly #gone = new AbortController();

  constructor(calls: Calls) {
    this.#calls = calls;
    if (typeof window === "undefined") {
      return;
    }
    const options = { signal: this.#gone.signal };
    window.addEventListener("pagehide", () => this.#leave(), options);
    window.addEventListener("pageshow", () => this.#return(), options);
    // A tab that wakes looks at the clock at once.
    const look = () => this.#look();
    for (const [target, event] of [
      [document, "visibilitychange"],
      [document, "resume"],
      [window, "focus"],
      [window, "online"],
    ] as const) {
      target.addEventListener(event, look, options);
    }
  }

  /** Makes a lease, once the page is there. Some callers wait for the server, however long that takes. */
  async create(ttl: number, owner: string, signal: AbortSignal | undefined, waits: boolean): Promise<Lease> {
    await this.#present;
    let lease: Lease;
    try {
      lease = await Lease.create(this.#calls, ttl, owner, signal);
    } catch (error) {
      if (waits && isKind(error, "unavailable")) {
        return this.create(ttl, owner, signal, waits);
      }
      throw error;
    }
    this.#open.add(lease);
    lease.ended.addEventListener("abort", () => this.#open.delete(lease), { once: true });
    return lease;
  }

  /** Gives everything back, for good. */
  close(): void {
    this.#gone.abort();
    this.#end("closed");
  }

  #look(): void {
    for (const lease of this.#open) {
      lease.look();
    }
  }

  #end(loss: Loss): void {
    for (const lease of [...this.#open]) {
      lease.leave(loss);
    }
  }

  #leave(): void {
    this.#present = new Promise((resolve) => {
      this.#comeBack = resolve;
    });
    this.#end("left");
  }

  #return(): void {
    this.#comeBack();
    this.#look();
  }
}
