import { once } from "node:events";
import { createServer, connect as dial, type Socket } from "node:net";
import type { TestContext } from "node:test";

/** A stretch of network between a client and a server, which loses what it is told to. */
export class Network {
  readonly address: string;
  readonly #open = new Set<Socket>();
  #lose: string | undefined;
  /** How long an answer is under way, in milliseconds. */
  delay = 0;
  /** How many answers were lost. */
  lost = 0;

  private constructor(port: number) {
    this.address = `http://127.0.0.1:${port}`;
  }

  static async start(t: TestContext, to: number): Promise<Network> {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const address = listener.address();
    const network = new Network(typeof address === "object" && address ? address.port : 0);
    listener.on("connection", (near) => network.#carry(near, dial(to, "127.0.0.1")));
    t.after(() => {
      listener.close();
      network.cut();
    });
    return network;
  }

  /** Cuts the connection of the next call of this method, in place of its answer. */
  loseAnswerOf(method: string): void {
    this.#lose = method;
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#open) {
      socket.destroy();
    }
  }

  #carry(near: Socket, far: Socket): void {
    let lose = false;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#open.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        this.#open.delete(from);
        to.destroy();
      });
      from.on("data", (data: Buffer) => {
        if (from === near && this.#lose && data.includes(`/${this.#lose} `)) {
          this.#lose = undefined;
          lose = true;
        }
        if (from === far && lose) {
          this.lost++;
          near.destroy();
          return;
        }
        // Those of a connection stay in order: timers of one length do.
        setTimeout(() => to.write(data), from === far ? this.delay : 0);
      });
    }
  }
}
