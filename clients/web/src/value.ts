import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Calls, newRequestId, spanOf } from "./calls.js";
import { isKind } from "./errors.js";
import { ValueEventKind, type Value as ValueTold } from "./stubs/holdfast/v1/value_service_pb.js";

/** What is kept under a key. */
export interface Stored {
  /** The value's bytes. */
  readonly data: Uint8Array;
  /** The revision that it got when it was put: greater than that of anything put earlier. */
  readonly revision: bigint;
  /** The time until it ends, in milliseconds; absent: it has no expiry. */
  readonly expiresIn?: number;
  /** The value as text in UTF-8. */
  text(): string;
}

/** How to put a value. */
export interface PutOptions {
  /** How long it stays, 100 ms to 30 d, in milliseconds; until it is deleted unless said. */
  ttl?: number;
}

/** A small value under a key. */
export class Value {
  /** The key. */
  readonly key: string;
  readonly #calls: Calls;

  /** @internal */
  constructor(calls: Calls, key: string) {
    this.#calls = calls;
    this.key = key;
  }

  /** Reads the value; undefined: there is none. */
  async get(options: { signal?: AbortSignal } = {}): Promise<Stored | undefined> {
    try {
      const answer = await this.#calls.retried(
        (call) => this.#calls.values.getValue({ key: this.key }, call),
        options.signal,
      );
      return storedOf(answer.value);
    } catch (error) {
      if (isKind(error, "notFound")) {
        return undefined;
      }
      throw error;
    }
  }

  /** Keeps a value, text or at most 64 KiB of any kind, in place of what is there. Its revision comes back. */
  async put(data: string | Uint8Array, options: PutOptions = {}): Promise<bigint> {
    const request = this.#change(data, options);
    const answer = await this.#calls.retried((call) => this.#calls.values.putValue(request, call));
    return answer.revision;
  }

  /**
   * Does as `put` does, but only where the value has the revision that is expected; 0n: where there is
   * none. Errors: `conflict`.
   */
  async compareAndSet(
    expectedRevision: bigint,
    data: string | Uint8Array,
    options: PutOptions = {},
  ): Promise<bigint> {
    const request = { ...this.#change(data, options), expectedRevision };
    const answer = await this.#calls.retried((call) => this.#calls.values.compareAndSetValue(request, call));
    return answer.revision;
  }

  /** Takes the value away. Errors: `notFound`. */
  async delete(): Promise<void> {
    const request = { key: this.key, requestId: newRequestId() };
    await this.#calls.retried((call) => this.#calls.values.deleteValue(request, call));
  }

  /**
   * Tells what is under the key, undefined for nothing, and then again whenever it changes. It goes on
   * over broken connections and restarts of the server, and then tells what is there. It waits for a
   * server that can't be reached. The loop ends when `signal` is aborted.
   */
  async *watch(options: { signal?: AbortSignal } = {}): AsyncGenerator<Stored | undefined, void, undefined> {
    const { signal } = options;
    try {
      const open = this.#calls.followed(
        (call) => this.#calls.values.watchValue({ key: this.key }, call),
        signal,
      );
      for await (const { event } of open) {
        if (event.case === "state") {
          yield storedOf(event.value.value);
        } else if (event.case === "change") {
          yield event.value.kind === ValueEventKind.PUT ? storedOf(event.value.value) : undefined;
        }
      }
    } catch (error) {
      if (!signal?.aborted) {
        throw error;
      }
    }
  }

  #change(data: string | Uint8Array, options: PutOptions) {
    return {
      key: this.key,
      value: typeof data === "string" ? new TextEncoder().encode(data) : data,
      ...spanOf("ttl", options.ttl),
      requestId: newRequestId(),
    };
  }
}

function storedOf(told: ValueTold | undefined): Stored | undefined {
  return (
    told && {
      data: told.value,
      revision: told.revision,
      ...(told.expiresIn && { expiresIn: durationMs(told.expiresIn) }),
      text: () => new TextDecoder().decode(told.value),
    }
  );
}
