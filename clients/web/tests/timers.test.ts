import assert from "node:assert/strict";
import { test } from "node:test";
import { Timers } from "../src/timers.js";

/** A worker that has not begun yet: what it is told waits until then. */
class LateWorker {
  static made: LateWorker;
  readonly told: [id: number, ms: number][] = [];
  onmessage: (event: { data: number }) => void = () => {};
  constructor() {
    LateWorker.made = this;
  }
  postMessage(message: [id: number, ms: number]): void {
    this.told.push(message);
  }
}

test("a timer rings in time though its worker begins late, and once", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const page = globalThis as Record<string, unknown>;
  Object.assign(page, { Worker: LateWorker, document: {} });
  t.after(() => {
    delete page.Worker;
    delete page.document;
  });
  const timers = new Timers();
  const rung: string[] = [];
  timers.after(100, () => rung.push("first"));
  t.mock.timers.tick(100);
  assert.deepEqual(rung, ["first"]);
  const worker = LateWorker.made;
  assert.deepEqual(worker.told, [[0, 100]]);
  worker.onmessage({ data: 0 });
  assert.deepEqual(rung, ["first"]);
  // From now on the worker is there, and alone rings.
  timers.after(100, () => rung.push("second"));
  t.mock.timers.tick(100);
  assert.deepEqual(rung, ["first"]);
  worker.onmessage({ data: 1 });
  assert.deepEqual(rung, ["first", "second"]);
});
