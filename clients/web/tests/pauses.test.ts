import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { client, eventually, Server } from "./server.js";

/** How often the holder is paused. */
const PAUSES = Number(process.env.HOLDFAST_PAUSES ?? 20);
const TTL = 400;

test("a holder that is paused past its TTL never believes in its grant when another has the lock", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  const rival = spawn(
    process.execPath,
    ["--import", "tsx", join(import.meta.dirname, "rival.ts"), server.address],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  t.after(() => rival.kill());
  /** When the rival had the lock, by fencing token. */
  const others: { token: bigint; time: number }[] = [];
  createInterface({ input: rival.stdout }).on("line", (line) => {
    const [token, time] = line.split(" ");
    others.push({ token: BigInt(token ?? 0), time: Number(time) });
  });
  await eventually("the rival takes turns", () => others.length > 0);

  /** What the holder believed last, of each grant. */
  const beliefs: { token: bigint; time: number }[] = [];
  let lost = 0;
  for (let i = 0; i < PAUSES; i++) {
    const grant = await lock.acquire({ ttl: TTL });
    const paused = TTL * (0.6 + (i % 10) / 10);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, paused);
    if (grant.held) {
      beliefs.push({ token: grant.fencingToken, time: Date.now() });
      await grant.release().catch(() => {});
    } else {
      beliefs.push({ token: grant.fencingToken, time: Date.now() - paused });
      lost++;
      assert.ok(grant.signal.aborted);
    }
    const next = () => others.find(({ token }) => token > grant.fencingToken);
    await eventually("the rival has the lock", () => next() !== undefined);
  }
  for (const belief of beliefs) {
    const next = others.find(({ token }) => token > belief.token);
    assert.ok(next && next.time >= belief.time, `${belief.token}: ${belief.time - (next?.time ?? 0)} ms`);
  }
  t.diagnostic(`${PAUSES} pauses, ${lost} losses`);
  assert.ok(lost >= PAUSES / 2, `${lost} of ${PAUSES} pauses were past the TTL`);
});
