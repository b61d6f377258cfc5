/** What the worker does: to wait, and say so. */
const WAITING = "onmessage = ({ data: [id, ms] }) => setTimeout(() => postMessage(id), ms);";

interface Alarm {
  readonly due: number;
  readonly run: () => void;
}

/**
 * Timers that fire in time in a tab that nobody looks at.
 *
 * Browsers let the timers of a hidden page fire once a minute, too seldom to keep a grant; those of a
 * worker they leave alone. Where there are no workers, or the page's Content-Security-Policy forbids
 * `worker-src blob:`, they are ordinary timers.
 */
export class Timers {
  readonly #alarms = new Map<number, Alarm>();
  #next = 0;
  #worker: Worker | undefined | null;
  /** Whether the worker has begun: what it is told before that waits for as long as that takes. */
  #begun = false;

  /** Runs a function once, after so many milliseconds. What comes back prevents that. */
  after(ms: number, run: () => void): () => void {
    const id = this.#next++;
    const wait = Math.max(0, ms);
    this.#alarms.set(id, { due: performance.now() + wait, run });
    const worker = this.#start();
    worker?.postMessage([id, wait]);
    if (!worker || !this.#begun) {
      setTimeout(() => this.#ring(id), wait);
    }
    return () => this.#alarms.delete(id);
  }

  /** Waits for so many milliseconds, or rejects with the signal's reason when that is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const aborted = () => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.after(ms, () => {
        signal?.removeEventListener("abort", aborted);
        resolve();
      });
      signal?.addEventListener("abort", aborted, { once: true });
    });
  }

  /** Ends the worker. Timers set from now on are ordinary ones. */
  close(): void {
    this.#fallBack();
  }

  #start(): Worker | null {
    if (this.#worker !== undefined) {
      return this.#worker;
    }
    this.#worker = null;
    if (typeof Worker === "undefined" || typeof document === "undefined") {
      return null;
    }
    try {
      const url = URL.createObjectURL(new Blob([WAITING], { type: "text/javascript" }));
      this.#worker = new Worker(url);
      URL.revokeObjectURL(url);
      this.#worker.onmessage = (event: MessageEvent<number>) => {
        this.#begun = true;
        this.#ring(event.data);
      };
      this.#worker.onerror = () => this.#fallBack();
    } catch {
      // Not allowed here.
    }
    return this.#worker;
  }

  #fallBack(): void {
    this.#worker?.terminate();
    this.#worker = null;
    for (const [id, alarm] of this.#alarms) {
      setTimeout(() => this.#ring(id), alarm.due - performance.now());
    }
  }

  #ring(id: number): void {
    const alarm = this.#alarms.get(id);
    this.#alarms.delete(id);
    alarm?.run();
  }
}
