// A program that takes the lock again and again, and prints each grant: its fencing token, and when it had it.
import { connect } from "../src/index.js";

const lock = connect({ address: process.argv[2] ?? "", ttl: 10_000 }).lock("deploy");
for (;;) {
  const grant = await lock.acquire();
  console.log(`${grant.fencingToken} ${Date.now()}`);
  await grant.release();
}
