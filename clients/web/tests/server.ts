import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestContext } from "node:test";
import { type Client, type ConnectOptions, connect } from "../src/index.js";

/** How long a test waits for what must come, in milliseconds. */
export const PATIENCE = 30_000;

/** The program under test. */
export const HOLDFAST =
  process.env.HOLDFAST_BIN ?? resolve(import.meta.dirname, "../../../target/debug/holdfast");

/** A real server on loopback, with its data in a directory of the test's. */
export class Server {
  readonly port: number;
  readonly #dir = mkdtempSync(join(tmpdir(), "holdfast-web-"));
  readonly #arguments: string[];
  #process: ChildProcess | undefined;
  #log = "";

  private constructor(port: number, options: string[]) {
    this.port = port;
    this.#arguments = options;
  }

  /** Starts a server, which ends with the test. */
  static async start(t: TestContext, ...options: string[]): Promise<Server> {
    const server = new Server(await freePort(), options);
    t.after(() => server.end());
    await server.run();
    return server;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts the process and waits until it serves. */
  async run(): Promise<void> {
    const listen = `127.0.0.1:${this.port}`;
    this.#process = spawn(
      HOLDFAST,
      ["serve", "--listen", listen, "--data-dir", this.#dir, ...this.#arguments],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    this.#process.stderr?.on("data", (text: Buffer) => {
      this.#log += text.toString();
    });
    const died = once(this.#process, "exit").then(() => assert.fail(`the server ended:\n${this.#log}`));
    died.catch(() => {});
    await Promise.race([died, eventually("the server serves", () => reachable(this.port))]);
  }

  /** Ends the server as a power cut does. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (process && process.exitCode === null && process.signalCode === null) {
      const gone = once(process, "exit");
      process.kill("SIGKILL");
      await gone;
    }
  }

  signal(signal: NodeJS.Signals): void {
    assert.ok(this.#process?.kill(signal));
  }

  /** Makes an API token. */
  token(): string {
    const arguments_ = ["token", "create", "--namespace", "default", "--data-dir", this.#dir];
    return execFileSync(HOLDFAST, arguments_, { encoding: "utf8" }).trim();
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.#dir, { recursive: true });
  }
}

/** A client of the server, which is closed with the test. */
export function client(t: TestContext, server: Server, options: Partial<ConnectOptions> = {}): Client {
  const made = connect({ address: server.address, ...options });
  t.after(() => made.close());
  return made;
}

/** Waits until something is so. */
export async function eventually(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  patience = PATIENCE,
): Promise<void> {
  const until = performance.now() + patience;
  while (!(await isSo())) {
    assert.ok(performance.now() < until, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What comes of a promise in good time. */
export async function soon<T>(what: string, promise: Promise<T>, patience = PATIENCE): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain: ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  listener.close();
  await once(listener, "close");
  return typeof address === "object" && address ? address.port : 0;
}

function reachable(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dial(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
