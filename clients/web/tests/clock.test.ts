import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, margin } from "../src/clock.js";

/** A clock over two of the test's own. */
function clock() {
  const at = { wall: 1_000_000, steady: 5 };
  const reckoned = new Clock(
    () => at.wall,
    () => at.steady,
  );
  const pass = (wall: number, steady: number) => {
    at.wall += wall;
    at.steady += steady;
    return reckoned.now();
  };
  return { pass, start: reckoned.now() };
}

test("time goes on as the steady clock does", () => {
  const { pass, start } = clock();
  assert.equal(pass(1_000, 1_000), start + 1_000);
});

test("a sleep that the steady clock has not counted counts", () => {
  const { pass, start } = clock();
  assert.equal(pass(60_000, 10), start + 60_000);
  assert.equal(pass(1_000, 1_000), start + 61_000);
});

test("a sleep that the steady clock has counted counts once", () => {
  const { pass, start } = clock();
  assert.equal(pass(60_000, 60_000), start + 60_000);
});

test("a wall clock that is set forward makes it late and never early", () => {
  const { pass, start } = clock();
  assert.equal(pass(3_600_000, 1_000), start + 3_600_000);
});

test("a wall clock that is set back is not believed", () => {
  const { pass, start } = clock();
  assert.equal(pass(-3_600_000, 1_000), start + 1_000);
  assert.equal(pass(60_000, 10), start + 61_000, "and a sleep after that counts");
});

test("rounded clocks do not add up to a sleep", () => {
  const { pass, start } = clock();
  let now = start;
  for (let i = 0; i < 1_000; i++) {
    now = pass(i % 2 === 0 ? 200 : 0, 100);
  }
  assert.equal(now, start + 100_000);
});

test("the margin is a tenth of the TTL within its bounds", () => {
  for (const [ttl, expected] of [
    [100, 50],
    [500, 100],
    [1_000, 100],
    [30_000, 3_000],
    [60_000, 5_000],
    [86_400_000, 86_400],
  ] as const) {
    assert.equal(margin(ttl), expected, `${ttl}`);
  }
});
