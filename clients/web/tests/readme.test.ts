import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { build } from "esbuild";
import { closeBrowser, open, ROOT, Site } from "./browser.js";
import { eventually, Server } from "./server.js";

after(closeBrowser);

/** A program of the README, and what it prints. */
const PROGRAM = /```ts\n(.*?)```\n\n```text\n(.*?)```/gs;

test("the programs of the README compile, and print in a browser what it says", async (t) => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const programs = [...readme.matchAll(PROGRAM)];
  assert.equal(programs.length, readme.split("```ts\n").length - 1, "each program has an output");
  assert.ok(programs.length > 0);

  const dir = join(ROOT, "tests/readme");
  mkdirSync(dir, { recursive: true });
  t.after(() => rmSync(dir, { recursive: true }));
  programs.forEach(([, source], i) => {
    writeFileSync(join(dir, `${i}.ts`), source ?? "");
  });
  const config = { extends: "../../tsconfig.json", include: ["*.ts"], exclude: [] };
  writeFileSync(join(dir, "tsconfig.json"), JSON.stringify(config));
  execFileSync(join(ROOT, "node_modules/.bin/tsc"), ["-p", dir], { stdio: "inherit" });

  const site = await Site.start(t, "default-src * blob: data: 'unsafe-inline'");
  const server = await Server.start(t, "--allow-origin", site.origin);
  const context = await open(t);
  for (const [i, [, , expected]] of programs.entries()) {
    const made = await build({
      entryPoints: [join(dir, `${i}.ts`)],
      alias: { "@holdfast/web": join(ROOT, "src/index.ts") },
      bundle: true,
      write: false,
      format: "esm",
      target: "es2022",
    });
    const script = (made.outputFiles[0]?.text ?? "").replaceAll("http://127.0.0.1:4653", server.address);
    const page = await context.newPage();
    const printed: string[] = [];
    page.on("console", (message) => printed.push(message.text()));
    page.on("pageerror", (error) => printed.push(`${error}`));
    await page.goto(`${site.origin}/blank`);
    await page.addScriptTag({ type: "module", content: script });
    const lines = (expected ?? "").trimEnd().split("\n");
    await eventually(`program ${i} prints`, () => printed.length >= lines.length, 10_000).catch(() => {});
    assert.deepEqual(printed, lines, `program ${i}`);
    await page.close();
  }
});
