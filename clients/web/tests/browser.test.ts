import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Page } from "playwright-core";
import { blank, closeBrowser, example, open, Site, suspend } from "./browser.js";
import type { TestPage } from "./page.js";
import { client, eventually, PATIENCE, Server } from "./server.js";

// What a blank page has.
declare const page: TestPage;

after(closeBrowser);

/** Waits until an element of a page shows a text. */
async function shows(page: Page, id: string, text: string | RegExp, timeout = PATIENCE): Promise<void> {
  await page.locator(`#${id}`).filter({ hasText: text }).waitFor({ timeout });
}

test("two tabs take turns, and each sees who holds the lock and where it stands", async (t) => {
  const site = await Site.start(t);
  const server = await Server.start(t, "--allow-origin", site.origin);
  const context = await open(t);
  const strangers: string[] = [];
  context.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol.startsWith("http") && origin !== site.origin && origin !== server.address) {
      strangers.push(request.url());
    }
  });
  const ann = await example(context, site, { server: server.address, owner: "ann" });
  const bob = await example(context, site, { server: server.address, owner: "bob" });
  await shows(ann, "holders", "nobody");
  await ann.click("#take");
  await shows(ann, "place", "I hold it");
  await shows(bob, "holders", "ann");
  await bob.click("#take");
  await shows(bob, "place", "number 1 in line");
  await ann.click("#give");
  await shows(bob, "place", "I hold it");
  await shows(ann, "place", "not in line");
  await shows(ann, "holders", "bob");
  await shows(ann, "history", /granted: bob.*released: ann.*granted: ann/);
  await ann.click("#take");
  await shows(ann, "place", "number 1 in line");
  await ann.click("#give");
  await shows(ann, "place", "not in line");
  await bob.click("#give");
  await shows(ann, "holders", "nobody");
  assert.deepEqual(strangers, [], "the page works without any other site");
});

test("the line moves on at once when a tab is closed that waits, or holds", async (t) => {
  const site = await Site.start(t);
  const server = await Server.start(t, "--allow-origin", site.origin);
  // Each has a window of its own, and so connections of its own.
  const [ann, bob, cid] = (await Promise.all(
    ["ann", "bob", "cid"].map(async (owner) =>
      example(await open(t), site, { server: server.address, owner, ttl: "600000" }),
    ),
  )) as [Page, Page, Page];
  await ann.click("#take");
  await shows(ann, "place", "I hold it");
  await bob.click("#take");
  await shows(bob, "place", "number 1 in line");
  await cid.click("#take");
  await shows(cid, "place", "number 2 in line");
  await bob.close();
  await shows(cid, "place", "number 1 in line");
  await ann.close();
  await shows(cid, "place", "I hold it");
});

test("the line moves on after the TTL when a tab crashes", async (t) => {
  const site = await Site.start(t);
  const server = await Server.start(t, "--allow-origin", site.origin);
  const ann = await example(await open(t), site, { server: server.address, owner: "ann", ttl: "2000" });
  const bob = await example(await open(t), site, { server: server.address, owner: "bob" });
  await ann.click("#take");
  await shows(ann, "place", "I hold it");
  await bob.click("#take");
  await shows(bob, "place", "number 1 in line");
  const session = await ann.context().newCDPSession(ann);
  session.send("Page.crash").catch(() => {});
  await shows(bob, "place", "I hold it");
});

test("a page that is left gives back what it holds, and one that is come back to starts anew", async (t) => {
  const site = await Site.start(t);
  const server = await Server.start(t, "--allow-origin", site.origin);
  const page = await example(await open(t), site, { server: server.address, owner: "ann", ttl: "600000" });
  await page.click("#take");
  await shows(page, "place", "I hold it");
  await page.goto("about:blank");
  const lock = client(t, server).lock("deploy");
  await eventually("the lock is free", async () => (await lock.get()).holderCount === 0);
  await page.goBack();
  await shows(page, "holders", "nobody");
});

test("watching, waiting and holding go on when the server is killed and started again", async (t) => {
  const site = await Site.start(t);
  const server = await Server.start(t, "--allow-origin", site.origin);
  const ann = await example(await open(t), site, { server: server.address, owner: "ann" });
  const bob = await example(await open(t), site, { server: server.address, owner: "bob" });
  await ann.click("#take");
  await shows(ann, "place", "I hold it");
  await bob.click("#take");
  await shows(bob, "place", "number 1 in line");
  await server.kill();
  await server.run();
  assert.match(`${await ann.textContent("#place")}`, /I hold it/);
  assert.match(`${await bob.textContent("#place")}`, /number 1 in line/);
  await ann.click("#give");
  await shows(bob, "place", "I hold it");
  await shows(ann, "holders", "bob");
});

test("a tab that was suspended beyond the TTL knows on waking that it has lost", async (t) => {
  const site = await Site.start(t);
  const server = await Server.start(t, "--allow-origin", site.origin);
  const context = await open(t);
  const ann = await example(context, site, { server: server.address, owner: "ann", ttl: "2000" });
  await ann.click("#take");
  await shows(ann, "place", "I hold it");
  const wake = await suspend(context);
  const next = await client(t, server).lock("deploy").acquire();
  wake();
  await shows(ann, "place", "is lost");
  assert.ok(next.held);
});

test("pages of an origin that is not listed get nothing, and change nothing", async (t) => {
  const [listed, stranger] = [await Site.start(t), await Site.start(t)];
  const server = await Server.start(t, "--allow-origin", listed.origin);
  const tab = await blank(await open(t), stranger);
  const outcome = await tab.evaluate((address) => page.outcome(address, 500), server.address);
  assert.equal(outcome, "unavailable");
  assert.equal((await client(t, server).lock("deploy").get()).holderCount, 0);
});

test("a page is told the server's reasons, and brings a token where one is asked for", async (t) => {
  const site = await Site.start(t);
  const server = await Server.start(t, "--allow-origin", site.origin);
  const token = server.token();
  const tab = await blank(await open(t), site);
  const told = (token: string) =>
    tab.evaluate(([address, token]) => page.refusal(address, token), [server.address, token] as const);
  await eventually("tokens count", async () => (await told("")).reason === "UNAUTHENTICATED");
  assert.equal((await told("")).kind, "unauthenticated");
  assert.deepEqual(await told(token), { kind: "held", reason: "LOCK_HELD", owner: "ann" });
});

for (const [policy, workers] of [
  ["default-src * blob:", 1],
  ["default-src *; worker-src 'none'", 0],
] as const) {
  test(`a grant is renewed in time with ${workers} worker, under the policy ${policy}`, async (t) => {
    const site = await Site.start(t, policy);
    const server = await Server.start(t, "--allow-origin", site.origin);
    const tab = await blank(await open(t), site);
    const renewals = new Set<string>();
    tab.on("requestfinished", (request) => {
      if (request.url().endsWith("/RenewLock") && request.method() === "POST") {
        renewals.add(`${renewals.size}`);
      }
    });
    await tab.evaluate((address) => page.hold(address), server.address);
    await eventually("it was renewed beyond its TTL", () => renewals.size >= 6);
    assert.equal(await tab.evaluate(() => page.held()), true);
    assert.equal(tab.workers().length, workers);
  });
}

test("over TLS more callers wait than a browser has connections for", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-web-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  execFileSync("openssl", [...made, ...name, "-keyout", key, "-out", cert], { stdio: "ignore" });
  const site = await Site.start(t);
  const tls = ["--tls-cert", cert, "--tls-key", key];
  const server = await Server.start(t, "--allow-origin", site.origin, ...tls);
  const tab = await blank(await open(t), site);
  const turns = await tab.evaluate((address) => page.crowd(address, 20), `https://127.0.0.1:${server.port}`);
  assert.equal(turns, 20);
});
