// What a blank page of the tests has: the client, and what the tests have it do.
import { connect, HoldfastError } from "../src/index.js";

/** Acquires a lock: what comes of it. */
async function outcome(address: string, patience: number): Promise<string> {
  try {
    await connect({ address, patience }).lock("deploy").acquire();
    return "granted";
  } catch (error) {
    return error instanceof HoldfastError ? error.kind : `${error}`;
  }
}

/** What the server tells of a lock that is held: of the first call that fails. */
async function refusal(address: string, token: string): Promise<Record<string, string | undefined>> {
  const client = connect({ address, ...(token && { token }) });
  try {
    await client.lock("deploy").acquire({ owner: "ann" });
    await client.lock("deploy").tryAcquire();
  } catch (error) {
    const { kind, reason, metadata } = error as HoldfastError;
    return { kind, reason, owner: metadata.owner };
  } finally {
    client.close();
  }
  return {};
}

/** Holds a lock, renewing it often; whether it is still held is asked with `held`. */
async function hold(address: string): Promise<void> {
  const grant = await connect({ address }).lock("deploy").acquire({ ttl: 1_000 });
  page.held = () => grant.held;
}

/** Has so many callers take turns, all of which wait at once: how many had theirs. */
async function crowd(address: string, size: number): Promise<number> {
  const lock = connect({ address }).lock("deploy");
  const first = await lock.acquire();
  const places = new Set<number>();
  let turns = 0;
  const others = Array.from({ length: size }, () =>
    lock.run(() => turns++, {
      ttl: 3_000,
      onPosition: (place) => {
        places.add(place);
        if (places.size === size) {
          void first.release();
        }
      },
    }),
  );
  await Promise.all(others);
  return turns;
}

const page = { outcome, refusal, hold, crowd, held: () => false };

export type TestPage = typeof page;

Object.assign(globalThis, { page });
