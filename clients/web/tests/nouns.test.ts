import assert from "node:assert/strict";
import { test } from "node:test";
import type { HoldfastError } from "../src/index.js";
import { client, eventually, Server, soon } from "./server.js";

test("tickets have their turns in order, with their places told, over a server that is killed", async (t) => {
  const server = await Server.start(t);
  const line = client(t, server, { owner: "page" }).fifo("deploys");
  await assert.rejects(line.ticket(), { kind: "notFound", reason: "FIFO_NOT_FOUND" });
  await line.create({ doneTimeout: 60_000 });
  await assert.rejects(line.create(), { kind: "exists", reason: "FIFO_EXISTS" });
  const first = await line.ticket();
  const lapses = await soon("its turn", first.wait());
  assert.ok(lapses && lapses > 50_000 && lapses <= 60_000, `${lapses}`);
  const second = await line.ticket();
  const third = await line.ticket();
  const places: number[] = [];
  const turn = third.wait({ onPosition: ({ position }) => places.push(position) });
  await eventually("it hears its place", () => places.at(-1) === 2);
  const told = places.length;
  await server.kill();
  await server.run();
  await eventually("it hears its place again", () => places.length > told);
  await assert.rejects(second.wait({ wait: 50 }), { kind: "waitTimedOut", reason: "TURN_TIMED_OUT" });
  await second.cancel();
  await eventually("it is the next", () => places.at(-1) === 1);
  await first.extend(30_000);
  await first.done();
  await soon("the turn", turn);
  await line.resume(third.id).done();
  await assert.rejects(third.wait(), (thrown) =>
    ["ticketEnded", "notFound"].includes((thrown as HoldfastError).kind),
  );
});

test("a wait for a ticket can be ended and gone on with", async (t) => {
  const server = await Server.start(t);
  const line = client(t, server).fifo("deploys");
  await line.create({});
  const first = await line.ticket();
  await first.wait();
  const second = await line.ticket();
  const stop = new AbortController();
  const wait = second.wait({ signal: stop.signal, onPosition: () => stop.abort("later") });
  await assert.rejects(wait, (thrown) => thrown === "later");
  await first.done();
  await soon("the turn", second.wait());
});

test("a value is put, read, changed under its revision, and deleted", async (t) => {
  const server = await Server.start(t);
  const value = client(t, server).value("release");
  assert.equal(await value.get(), undefined);
  const revision = await value.put("1.0");
  const stored = await value.get();
  assert.deepEqual([stored?.text(), stored?.revision, stored?.expiresIn], ["1.0", revision, undefined]);
  const next = await value.compareAndSet(revision, new Uint8Array([0, 255]), { ttl: 60_000 });
  assert.ok(next > revision);
  await assert.rejects(value.compareAndSet(revision, "2.0"), (thrown) => {
    const conflict = thrown as HoldfastError;
    assert.deepEqual([conflict.kind, conflict.metadata.revision], ["conflict", `${next}`]);
    return true;
  });
  const changed = await value.get();
  assert.deepEqual([...(changed?.data ?? [])], [0, 255]);
  assert.ok(changed?.expiresIn && changed.expiresIn <= 60_000);
  await value.delete();
  await assert.rejects(value.delete(), { kind: "notFound", reason: "VALUE_NOT_FOUND" });
});

test("a watched value is told when it changes, over a server that is killed", async (t) => {
  const server = await Server.start(t);
  const value = client(t, server).value("release");
  const stop = new AbortController();
  const watch = value.watch({ signal: stop.signal });
  const next = async () => {
    const news = await soon("news", watch.next());
    return news.done ? "the end" : news.value?.text();
  };
  assert.equal(await next(), undefined);
  await value.put("1.0");
  assert.equal(await next(), "1.0");
  await server.kill();
  const later = next();
  await server.run();
  assert.equal(await later, "1.0");
  await value.delete();
  assert.equal(await next(), undefined);
  stop.abort();
  assert.equal(await next(), "the end");
});
