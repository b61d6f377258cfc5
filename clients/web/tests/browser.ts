import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { build } from "esbuild";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

/** Where the client lies. */
export const ROOT = join(import.meta.dirname, "..");

/** A script of the client's, with all that it imports. */
async function bundled(entry: string): Promise<string> {
  const made = await build({
    entryPoints: [join(ROOT, entry)],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
  });
  return made.outputFiles[0]?.text ?? "";
}

/** A web server with the example at `/` and a blank page that has the client at `/blank`. */
export class Site {
  readonly origin: string;

  private constructor(port: number) {
    this.origin = `http://127.0.0.1:${port}`;
  }

  /** Starts one, with a Content-Security-Policy for its blank page. */
  static async start(t: TestContext, policy = "default-src * blob:"): Promise<Site> {
    const [example, blank] = await Promise.all([bundled("example/main.ts"), bundled("tests/page.ts")]);
    const files: Record<string, [type: string, text: string]> = {
      "/": ["text/html", readFileSync(join(ROOT, "example/index.html"), "utf8")],
      "/main.js": ["text/javascript", example],
      "/blank": [
        "text/html",
        '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>',
      ],
      "/page.js": ["text/javascript", blank],
    };
    const listener = createServer((request, response) => {
      const path = new URL(request.url ?? "/", "http://localhost").pathname;
      const [type, text] = files[path] ?? ["text/plain", ""];
      const headers: Record<string, string> = { "content-type": type };
      if (path === "/blank") {
        headers["content-security-policy"] = policy;
      }
      response.writeHead(files[path] ? 200 : 404, headers).end(text);
    });
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    t.after(() => listener.close().closeAllConnections());
    const address = listener.address();
    return new Site(typeof address === "object" && address ? address.port : 0);
  }
}

let browser: Promise<Browser> | undefined;

/** Ends the browser. */
export async function closeBrowser(): Promise<void> {
  await (await browser)?.close();
}

/** A browser's window, with tabs of one profile, which ends with the test. */
export async function open(t: TestContext): Promise<BrowserContext> {
  browser ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Chromium refuses to make a sandbox for root.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  const context = await (await browser).newContext({ ignoreHTTPSErrors: true });
  t.after(() => context.close());
  return context;
}

/** A tab with the example. */
export async function example(
  context: BrowserContext,
  site: Site,
  query: Record<string, string>,
): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${site.origin}/?${new URLSearchParams(query)}`);
  return page;
}

/** A blank tab that has what `page.ts` gives it, as `page`. */
export async function blank(context: BrowserContext, site: Site): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${site.origin}/blank`);
  await page.waitForFunction("globalThis.page");
  return page;
}

/** Suspends every tab of the browser, as a machine that sleeps does, until what comes back is called. */
export async function suspend(context: BrowserContext): Promise<() => void> {
  const session = await context.browser()?.newBrowserCDPSession();
  const told = await session?.send("SystemInfo.getProcessInfo");
  const tabs = (told?.processInfo ?? []).filter(({ type }) => type === "renderer").map(({ id }) => id);
  const signal = (signal: NodeJS.Signals) => {
    for (const id of tabs) {
      process.kill(id, signal);
    }
  };
  signal("SIGSTOP");
  return () => signal("SIGCONT");
}
