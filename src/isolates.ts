/** Engines of several isolates that are one server: what each of them sees of the others. */

/** Who publishes a stream. */
export interface Holder {
  /** Protocol or kind of the publisher. */
  readonly type: string;
  /** Who it is, such as its remote address. */
  readonly id: string;
  /** When it began. */
  readonly since: Date;
  /** How long frames of its stream are gathered, in ms, if it says. */
  readonly flushMs?: number | undefined;
}

/** What one who wants to publish says of that. */
export interface Claim {
  /** Who it is. */
  readonly holder: Holder;
  /** Whether it takes the place of a live publisher. */
  readonly takeOver: boolean;
}

/**
 * What is known in all isolates of a path that nobody publishes here.
 *
 * - `published`: another isolate has the stream, which is on its way.
 * - `asked`: somebody in another isolate waits for it too and has asked for it.
 * - `unknown`: nobody has asked for it yet.
 */
export type Whereabouts = "published" | "asked" | "unknown";

/**
 * The isolates of a server, as the engine of one of them sees them. A stream is published in one
 * isolate and is repeated in others while somebody there watches it.
 */
export interface Isolates {
  /** Number of this isolate, from 0. */
  readonly index: number;
  /** How many there are. */
  readonly count: number;
  /**
   * Asks to be the one isolate that publishes `path`, and calls `begin` when it is: before anything
   * else is heard of other isolates. It is that one until it says {@linkcode Isolates.release}, also
   * if `begin` throws.
   *
   * @throws {StreamTakenError} If it has a live publisher, and `takeOver` is not set.
   * @throws {unknown} What `begin` throws.
   */
  claim<T>(path: string, claim: Claim, begin: () => T): Promise<T>;
  /** Says that the stream at `path`, published here, waits for its publisher or is over. */
  release(path: string, state: "waiting" | "ended"): void;
  /** Asks for a stream that is not here; if there is one it will be published as a replica. */
  demand(path: string): Promise<Whereabouts>;
  /** Says that nobody here waits for `path` any more. */
  forget(path: string): void;
  /**
   * Gives `argument` to the handlers of `name` in all isolates; what they return. An isolate that does
   * not answer within a few seconds is left out.
   */
  ask(name: string, argument?: unknown): Promise<unknown[]>;
  /** Answers what others {@linkcode Isolates.ask}; returns how to stop that. */
  answer(name: string, handler: (argument: unknown) => unknown): () => void;
}

/** The only isolate of a server. */
export class SoleIsolate implements Isolates {
  readonly index = 0;
  readonly count = 1;
  readonly #handlers = new Map<string, (argument: unknown) => unknown>();

  claim<T>(_path: string, _claim: Claim, begin: () => T): Promise<T> {
    return new Promise((resolve) => resolve(begin()));
  }

  release(): void {}

  demand(): Promise<Whereabouts> {
    return Promise.resolve("unknown");
  }

  forget(): void {}

  async ask(name: string, argument?: unknown): Promise<unknown[]> {
    const handler = this.#handlers.get(name);
    return handler === undefined ? [] : [await handler(argument)];
  }

  answer(name: string, handler: (argument: unknown) => unknown): () => void {
    this.#handlers.set(name, handler);
    return () => void this.#handlers.delete(name);
  }
}
