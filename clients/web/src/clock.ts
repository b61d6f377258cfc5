/**
 * How far the wall clock has to get ahead of the steady one, between two readings, to count as a time
 * asleep. Browsers round both, some of them to 100 ms.
 */
const ASLEEP_MS = 250;

/**
 * The time by which a client reckons, in milliseconds since some fixed moment. It never goes back.
 *
 * A tab may be suspended, with its machine or alone, while the server's clock goes on. Neither clock of
 * a browser will do for that: `performance.now()` stands still while the machine sleeps, on some systems,
 * and `Date.now()` is set forward and back by people and time servers. So time is what the steady clock
 * counts, plus what the wall clock has gained on it: a sleep counts, and so does a wall clock that is set
 * forward, by which a grant is at worst lost too early. One that is set back is not believed.
 *
 * What remains is a wall clock that is set back during a sleep. It hides as much of that sleep, and only
 * of what passed since the last reading: whoever holds something reads at least once a second.
 */
export class Clock {
  readonly #wall: () => number;
  readonly #steady: () => number;
  #lastWall: number;
  #lastSteady: number;
  #asleep = 0;

  constructor(wall: () => number = () => Date.now(), steady: () => number = () => performance.now()) {
    this.#wall = wall;
    this.#steady = steady;
    this.#lastWall = wall();
    this.#lastSteady = steady();
  }

  /** The time, in milliseconds. */
  now(): number {
    const wall = this.#wall();
    const steady = this.#steady();
    const gained = wall - this.#lastWall - (steady - this.#lastSteady);
    if (gained > ASLEEP_MS) {
      this.#asleep += gained;
    }
    this.#lastWall = wall;
    this.#lastSteady = steady;
    return steady + this.#asleep;
  }

  /** How long the tab has slept in all, as far as it is known, in milliseconds. */
  get asleep(): number {
    return this.#asleep;
  }
}

const MARGIN_MIN_MS = 100;
/** Where a tenth of the TTL is more than delays and clocks can ask for. */
const MARGIN_ENOUGH_MS = 5_000;
/** The part of a span by which two clocks may differ; those of computers do far less. */
const CLOCK_DRIFT = 1_000;

/**
 * How long before the server may end something its holder counts it as lost, in milliseconds: for the
 * difference of two clocks, and for the work that has to stop.
 */
export function margin(ttl: number): number {
  const wanted = Math.min(Math.max(ttl / 10, MARGIN_MIN_MS), Math.max(MARGIN_ENOUGH_MS, ttl / CLOCK_DRIFT));
  return Math.min(wanted, ttl / 2);
}
