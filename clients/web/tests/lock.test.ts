import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { connect, type Grant, HoldfastError, LostError } from "../src/index.js";
import { Network } from "./network.js";
import { client, eventually, freePort, HOLDFAST, Server, soon } from "./server.js";

/** What an error must be. */
function error(kind: string, reason: string) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof HoldfastError, `${thrown}`);
    assert.deepEqual([thrown.kind, thrown.reason], [kind, reason]);
    return true;
  };
}

test("who waits sees its place and has the lock when the holder gives it back", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  const first = await lock.acquire({ owner: "first" });
  const places: number[] = [];
  const others = [2, 3].map(() =>
    client(t, server)
      .lock("deploy")
      .acquire({ onPosition: (place) => places.push(place) }),
  );
  await eventually("two stand in line", () => places.includes(1) && places.includes(2));
  const state = await lock.get();
  assert.deepEqual([state.holders[0]?.owner, state.holderCount, state.waiterCount], ["first", 1, 2]);
  await first.release();
  assert.equal(first.held, false);
  const second = await soon("the second", Promise.race(others));
  assert.ok(second.held && second.fencingToken > first.fencingToken);
  await eventually("the third is the next", () => places.at(-1) === 1);
  await second.release();
  const all = await soon("all", Promise.all(others));
  assert.equal(new Set(all.map((grant) => grant.fencingToken)).size, 2);
});

test("who does not wait is told who holds the lock", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  await lock.acquire({ owner: "first" });
  await assert.rejects(lock.tryAcquire(), (thrown) => {
    assert.equal((thrown as HoldfastError).metadata.owner, "first");
    return error("held", "LOCK_HELD")(thrown);
  });
  await assert.rejects(lock.acquire({ wait: 100 }), error("waitTimedOut", "WAIT_TIMED_OUT"));
  await eventually("nobody waits", async () => (await lock.get()).waiterCount === 0);
});

test("an acquire that is aborted leaves the line", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  const first = await lock.acquire();
  const stop = new AbortController();
  const second = lock.acquire({ signal: stop.signal, onPosition: () => stop.abort("changed my mind") });
  await assert.rejects(second, (thrown) => thrown === "changed my mind");
  await eventually("nobody waits", async () => (await lock.get()).waiterCount === 0);
  await assert.rejects(lock.acquire({ signal: stop.signal }), (thrown) => thrown === "changed my mind");
  await first.release();
  await (await soon("the next", lock.acquire())).release();
});

test("an acquire that is aborted at any moment leaves nothing behind", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  const outcomes = { aborted: 0, granted: 0 };
  const attempts = Array.from({ length: 60 }, async (_, i) => {
    // Some are left alone, so that the line moves on.
    const grant = lock.acquire(i % 4 === 0 ? {} : { signal: AbortSignal.timeout(i * 10) });
    await grant.then(
      async (grant) => {
        outcomes.granted++;
        await grant.release();
      },
      (thrown: DOMException) => {
        assert.equal(thrown.name, "TimeoutError");
        outcomes.aborted++;
      },
    );
  });
  await soon("all", Promise.all(attempts));
  assert.ok(outcomes.aborted > 0 && outcomes.granted >= 15, JSON.stringify(outcomes));
  await eventually("the lock is free", async () => (await lock.get()).holderCount === 0);
  assert.equal((await lock.get()).waiterCount, 0);
});

test("what a callback throws ends the acquire and leaves the line", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  await lock.acquire();
  const broken = new TypeError("broken");
  const onPosition = () => {
    throw broken;
  };
  await assert.rejects(lock.acquire({ onPosition }), (thrown) => thrown === broken);
  await eventually("nobody waits", async () => (await lock.get()).waiterCount === 0);
});

test("readers share a lock, as many as they allow, and a writer waits for all of them", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("data");
  const readers = await Promise.all([1, 2].map(() => lock.acquire({ shared: true, maxShared: 2 })));
  await assert.rejects(lock.tryAcquire({ shared: true, maxShared: 2 }), error("held", "LOCK_HELD"));
  assert.equal((await lock.get()).holders[0]?.shared, true);
  const writer = lock.acquire();
  await eventually("the writer waits", async () => (await lock.get()).waiterCount === 1);
  await Promise.all(readers.map((reader) => reader.release()));
  await (await soon("the writer", writer)).release();
});

test("a grant is renewed for as long as it is held", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  // Long enough for a machine that stands still for a moment.
  const grant = await lock.acquire({ ttl: 2_000 });
  const waiter = client(t, server).lock("deploy").acquire({ wait: 5_000 });
  await assert.rejects(waiter, error("waitTimedOut", "WAIT_TIMED_OUT"));
  assert.ok(grant.held && (await grant.check()));
  await grant.release();
  assert.equal(await grant.check(), false);
});

test("a grant and the order of the line outlive a server that is killed", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  const grant = await lock.acquire();
  const order: string[] = [];
  const waiters: Promise<Grant>[] = [];
  for (const name of ["second", "third"]) {
    const waiter = client(t, server).lock("deploy").acquire({ owner: name });
    waiters.push(
      waiter.then((grant) => {
        order.push(name);
        return grant;
      }),
    );
    await eventually("it waits", async () => (await lock.get()).waiterCount === waiters.length);
  }
  await server.kill();
  await server.run();
  assert.ok(grant.held && (await grant.check()));
  await grant.release();
  const second = await soon("the next", Promise.race(waiters));
  await second.release();
  await soon("all", Promise.all(waiters));
  assert.deepEqual(order, ["second", "third"]);
});

test("a grant is lost here before anyone else has the lock, while the server stands still and after", async (t) => {
  const server = await Server.start(t);
  const other = client(t, server);
  const ttl = 1_500;
  const before = performance.now();
  const grant = await client(t, server).lock("deploy").acquire({ ttl });
  const next = other.lock("deploy").acquire();
  await eventually("the other waits", async () => (await other.lock("deploy").get()).waiterCount === 1);
  server.signal("SIGSTOP");
  const stopped = performance.now();
  const lost = await soon("the loss", grant.lost);
  const lostAt = performance.now();
  assert.ok(lost instanceof LostError && lost.loss === "unconfirmed", `${lost}`);
  assert.equal(grant.signal.reason, lost);
  assert.equal(grant.held, false);
  assert.throws(() => grant.throwIfLost(), LostError);
  assert.ok(lostAt - before > ttl / 2, "it was kept for a while");
  // The last renewal was sent before the server stopped.
  assert.ok(lostAt - stopped < ttl, `lost after ${lostAt - stopped} ms`);
  server.signal("SIGCONT");
  await soon("the next holder", next);
  await assert.rejects(grant.release(), (thrown) => thrown === lost);
});

test("a page that stood still beyond the TTL knows at once that it has lost", async (t) => {
  const server = await Server.start(t);
  const grant = await client(t, server).lock("deploy").acquire({ ttl: 500 });
  // Nothing runs here meanwhile, timers included.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  assert.equal(grant.held, false);
  assert.ok(grant.signal.aborted);
  assert.equal((await grant.lost).loss, "unconfirmed");
});

test("a grant that an administrator ends is lost at the next renewal", async (t) => {
  const server = await Server.start(t);
  const grant = await client(t, server).lock("deploy").acquire({ ttl: 900 });
  execFileSync(HOLDFAST, ["lock", "force-release", "deploy", "--addr", server.address]);
  const lost = await soon("the loss", grant.lost);
  assert.equal(lost.loss, "ended");
  await assert.rejects(grant.release(), LostError);
});

test("a release that comes too late says that the lock was lost", async (t) => {
  const server = await Server.start(t);
  const grant = await client(t, server).lock("deploy").acquire();
  execFileSync(HOLDFAST, ["lock", "force-release", "deploy", "--addr", server.address]);
  await assert.rejects(grant.release(), LostError);
  assert.ok(grant.signal.aborted);
});

test("a block runs under the lock, which is released whatever it does", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  const held = await lock.run(async (grant) => [grant.held, (await lock.get()).holderCount]);
  assert.deepEqual(held, [true, 1]);
  const broken = new TypeError("broken");
  await assert.rejects(
    lock.run(() => {
      throw broken;
    }),
    (thrown) => thrown === broken,
  );
  assert.equal((await lock.get()).holderCount, 0);
});

for (const method of ["CreateLease", "SubscribeAndGrab", "ReleaseLock"]) {
  test(`an answer to ${method} that is lost on its way changes nothing`, async (t) => {
    const server = await Server.start(t);
    const network = await Network.start(t, server.port);
    const far = connect({ address: network.address });
    t.after(() => far.close());
    const lock = far.lock("deploy");
    network.loseAnswerOf(method);
    const grant = await soon("the grant", lock.acquire());
    assert.deepEqual((await lock.get()).holders[0]?.fencingToken, grant.fencingToken);
    await grant.release();
    assert.equal(network.lost, 1);
    assert.equal((await lock.get()).holderCount, 0);
  });
}

test("places in line and grants outlive connections that are cut", async (t) => {
  const server = await Server.start(t);
  const network = await Network.start(t, server.port);
  const far = connect({ address: network.address });
  t.after(() => far.close());
  const first = await far.lock("deploy").acquire();
  const places: number[] = [];
  const second = far.lock("deploy").acquire({ onPosition: (place) => places.push(place) });
  await eventually("it waits", () => places.length > 0);
  const third = client(t, server).lock("deploy").acquire();
  await eventually("both wait", async () => (await far.lock("deploy").get()).waiterCount === 2);
  for (let cuts = 1; cuts <= 3; cuts++) {
    network.cut();
    await eventually("it stands where it stood", () => places.length > cuts);
  }
  assert.ok(places.every((place) => place === 1));
  await first.release();
  await (await soon("the second", second)).release();
  await (await soon("the third", third)).release();
});

test("who has lost its place while it was away stands in line again", async (t) => {
  const server = await Server.start(t);
  const network = await Network.start(t, server.port);
  const near = client(t, server);
  const holder = await near.lock("deploy").acquire();
  const far = connect({ address: network.address });
  t.after(() => far.close());
  const waiting = far.lock("deploy").acquire({ ttl: 30_000 });
  await eventually("it waits", async () => (await near.lock("deploy").get()).waiterCount === 1);
  // Its lease is gone, as after a long sleep.
  const listed = execFileSync(HOLDFAST, ["lease", "list", "--json", "--addr", server.address]);
  for (const lease of leasesOf(listed.toString()).filter((lease) => lease.waiter_count === 1)) {
    execFileSync(HOLDFAST, ["lease", "revoke", lease.lease_id, "--addr", server.address]);
  }
  await eventually("it waits again", async () => (await near.lock("deploy").get()).waiterCount === 1);
  await holder.release();
  assert.ok((await soon("the grant", waiting)).held);
});

test("what is out of bounds is refused, and the field named", async (t) => {
  const server = await Server.start(t);
  const { address } = server;
  const lock = client(t, server).lock("deploy");
  for (const [field, options] of [
    ["ttl", { ttl: 1 }],
    ["ttl", { ttl: Number.NaN }],
    ["wait", { wait: -1 }],
    ["max_shared", { shared: true, maxShared: 0 }],
  ] as const) {
    await assert.rejects(lock.acquire(options), (thrown) => {
      assert.ok(thrown instanceof HoldfastError && thrown.kind === "invalid", `${field}: ${thrown}`);
      assert.equal(thrown.field, field);
      return true;
    });
  }
  for (const bad of ["", "127.0.0.1:4653", "ftp://127.0.0.1"]) {
    assert.throws(() => connect({ address: bad }), { kind: "invalid", field: "address" });
  }
  assert.equal(
    (
      await connect({ address: `${address}/` })
        .lock("deploy")
        .get()
    ).holderCount,
    0,
  );
});

test("a server that asks for a token is told one", async (t) => {
  const server = await Server.start(t);
  const token = server.token();
  await eventually("tokens count", () =>
    client(t, server)
      .lock("deploy")
      .get()
      .then(() => false)
      .catch(error("unauthenticated", "UNAUTHENTICATED")),
  );
  const grant = await client(t, server, { token }).lock("deploy").acquire();
  await grant.release();
});

test("a server that is not there is unavailable once patience is at its end", async () => {
  const address = `http://127.0.0.1:${await freePort()}`;
  const far = connect({ address, patience: 300 });
  await assert.rejects(far.lock("deploy").acquire(), { kind: "unavailable" });
  far.close();
});

test("a client that is closed gives everything back and says so", async (t) => {
  const server = await Server.start(t);
  const near = client(t, server);
  const far = connect({ address: server.address });
  const grant = await far.lock("deploy").acquire();
  const waiting = far.lock("deploy").acquire();
  const watching = far.lock("deploy").watch().next();
  await eventually("it waits", async () => (await near.lock("deploy").get()).waiterCount === 1);
  await watching;
  far.close();
  assert.equal((await grant.lost).loss, "closed");
  await assert.rejects(waiting, { kind: "closed" });
  await eventually("the lock is free", async () => (await near.lock("deploy").get()).holderCount === 0);
  await assert.rejects(far.lock("deploy").get(), { kind: "closed" });
});

test("a grant is kept over a network whose answers come late but in time", async (t) => {
  const server = await Server.start(t);
  const network = await Network.start(t, server.port);
  const far = connect({ address: network.address });
  t.after(() => far.close());
  const grant = await far.lock("deploy").acquire({ ttl: 3_000 });
  let lost: string | undefined;
  void grant.lost.then(({ loss }) => {
    lost = loss;
  });
  // A renewal is sent after a second, and has 1.7 s for its answer.
  network.delay = 1_200;
  const waiter = client(t, server).lock("deploy").acquire({ wait: 9_000 });
  await assert.rejects(waiter, error("waitTimedOut", "WAIT_TIMED_OUT"));
  assert.deepEqual([grant.held, lost], [true, undefined]);
});

test("a watch tells every change, over a server that is killed", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  const stop = new AbortController();
  const watch = lock.watch({ signal: stop.signal });
  const next = async () => {
    const news = await soon("news", watch.next());
    assert.ok(!news.done);
    const { state, change } = news.value;
    return [change?.kind, change?.holder.owner, state.holders.map((holder) => holder.owner)];
  };
  assert.deepEqual(await next(), [undefined, undefined, []]);
  const grant = await lock.acquire({ owner: "first" });
  assert.deepEqual(await next(), ["granted", "first", ["first"]]);
  await server.kill();
  const later = next();
  await server.run();
  assert.deepEqual(await later, [undefined, undefined, ["first"]]);
  await grant.release();
  assert.deepEqual(await next(), ["released", "first", []]);
  const last = watch.next();
  stop.abort();
  assert.deepEqual(await soon("the end", last), { done: true, value: undefined });
});

test("a watch tells how long a lock is held back and when that is over", async (t) => {
  const server = await Server.start(t);
  const lock = client(t, server).lock("deploy");
  await lock.acquire({ releaseDelay: 3_600_000 });
  const watch = lock.watch();
  const next = async () => {
    const news = await soon("news", watch.next());
    assert.ok(!news.done);
    return [news.value.change?.kind, news.value.state.holderCount, news.value.state.heldBackFor];
  };
  assert.deepEqual(await next(), [undefined, 1, undefined]);
  execFileSync(HOLDFAST, ["lock", "force-release", "deploy", "--addr", server.address]);
  assert.deepEqual(await next(), ["forced", 0, 3_600_000]);
  execFileSync(HOLDFAST, ["lock", "force-release", "deploy", "--addr", server.address]);
  assert.deepEqual(await next(), [undefined, 0, undefined]);
  await watch.return();
});

/** The leases that the command line lists. */
function leasesOf(json: string): { lease_id: string; waiter_count: number }[] {
  const parsed = JSON.parse(json);
  return Array.isArray(parsed) ? parsed : parsed.leases;
}
