import { Calls } from "./calls.js";
import { HoldfastError } from "./errors.js";
import { Fifo } from "./fifo.js";
import { Leases } from "./leases.js";
import { type AcquireOptions, Lock } from "./lock.js";
import { Value } from "./value.js";

/** How long a call is tried again unless said, in milliseconds. */
const PATIENCE_MS = 30_000;

/** Where the server is, and what holds for all that is asked of it. */
export interface ConnectOptions {
  /** The server's address, such as `https://holdfast.example` or `http://127.0.0.1:4653`. */
  address: string;
  /** An API token; absent: the server asks for none. */
  token?: string;
  /** Who asks, for people to read: at most 512 bytes. */
  owner?: string;
  /** How long a grant outlives a page that is gone, 100 ms to 30 d, in milliseconds; 30 s unless said. */
  ttl?: number;
  /**
   * How long a call is tried again while the server is unavailable, in milliseconds; 30 s unless said. It
   * does not bound waits in line.
   */
  patience?: number;
}

/** A server, as a page uses it. */
export class Client {
  readonly #calls: Calls;
  readonly #leases: Leases;
  readonly #defaults: AcquireOptions;
  readonly #closing = new AbortController();

  /** @internal */
  constructor(options: ConnectOptions) {
    this.#calls = new Calls(
      {
        address: checked(options.address),
        token: options.token,
        patience: options.patience ?? PATIENCE_MS,
      },
      this.#closing.signal,
    );
    this.#leases = new Leases(this.#calls);
    this.#defaults = {
      ...(options.ttl !== undefined && { ttl: options.ttl }),
      ...(options.owner !== undefined && { owner: options.owner }),
    };
  }

  /** The lock of this name, 1 to 512 bytes of UTF-8 without control characters. */
  lock(name: string): Lock {
    return new Lock(this.#calls, this.#leases, name, this.#defaults);
  }

  /** The FIFO of this id, 1 to 512 bytes of UTF-8 without control characters. */
  fifo(id: string): Fifo {
    return new Fifo(this.#calls, id, this.#defaults.owner ?? "");
  }

  /** The value under this key, 1 to 512 bytes of UTF-8 without control characters. */
  value(key: string): Value {
    return new Value(this.#calls, key);
  }

  /** Gives every grant and place in line back, and ends every call and stream with the error `closed`. */
  close(): void {
    this.#leases.close();
    this.#closing.abort(new HoldfastError("closed", "the client is closed"));
    this.#calls.timers.close();
  }
}

/** A client of the server at this address. Nothing is sent before the first call. Errors: `invalid`. */
export function connect(options: ConnectOptions): Client {
  return new Client(options);
}

function checked(address: string): string {
  const { protocol } = URL.canParse(address) ? new URL(address) : { protocol: "" };
  if (protocol !== "http:" && protocol !== "https:") {
    const message = `address must begin with http:// or https://; is ${JSON.stringify(address)}`;
    throw new HoldfastError("invalid", message, { field: "address" });
  }
  return address.replace(/\/+$/, "");
}
