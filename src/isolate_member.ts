/** One isolate of a server, as its engine sees the others. */

import type { Engine } from "./engine.ts";
import { type End, StreamTakenError } from "./errors.ts";
import type { HubMessage, MemberMessage, Result } from "./isolate_messages.ts";
import type { Claim, Holder, Isolates, Whereabouts } from "./isolates.ts";
import { endFeed, Feed, refuseFeed, Replica } from "./replica.ts";

/** Which isolate it is, and its way to the hub. */
export interface MemberInit {
  /** Number of the isolate, from 0. */
  readonly index: number;
  /** How many there are. */
  readonly count: number;
  /** Where an `IsolateHub` listens. */
  readonly port: MessagePort;
}

/** A stream repeated here, and the isolate that it comes from. */
interface Repeated {
  readonly replica: Replica;
  readonly from: number;
}

/** A stream on its way to another isolate. */
interface Fed {
  readonly feed: Feed;
  readonly to: number;
}

/**
 * Seconds for which a stream is kept that is published elsewhere from now on, as has been heard of
 * the isolate that did before: the news of the hub may come later than that.
 */
const SUCCESSOR_SECONDS = 2;

/** Repeats streams of other isolates here, and feeds theirs, as the hub tells. */
export class IsolateMember implements Isolates {
  readonly index: number;
  readonly count: number;
  readonly #port: MessagePort;
  readonly #calls = new Map<number, (reply: unknown) => void>();
  /** The newest claims that were granted, by path. */
  readonly #claims = new Map<string, number>();
  readonly #handlers = new Map<string, (argument: unknown) => unknown>();
  readonly #feeds = new Set<Fed>();
  readonly #repeated = new Map<string, Repeated>();
  #engine: Engine | undefined;
  #nextCall = 0;

  /** A member whose engine is not there yet. */
  constructor({ index, count, port }: MemberInit) {
    this.index = index;
    this.count = count;
    this.#port = port;
  }

  /** Begins to serve `engine`, which has been made with it. */
  serve(engine: Engine): void {
    this.#engine = engine;
    engine.addEventListener("track", ({ detail }) => {
      for (const { feed } of this.#feeds) if (feed.stream === detail.stream) feed.addTracks();
    });
    this.#port.onmessage = ({ data }: MessageEvent<HubMessage>) => this.#take(data);
  }

  claim<T>(path: string, { holder, takeOver }: Claim, begin: () => T): Promise<T> {
    return this.#call(
      (call) => ({ type: "claim", call, path, holder, takeOver }),
      (taken, call) => {
        if (taken !== undefined) throw new StreamTakenError(path, taken as Holder);
        this.#claims.set(path, call);
        return begin();
      },
    );
  }

  release(path: string, state: "waiting" | "ended"): void {
    const call = this.#claims.get(path);
    if (call === undefined) return;
    if (state === "ended") this.#claims.delete(path);
    this.#post({ type: "release", call, path, state });
  }

  demand(path: string): Promise<Whereabouts> {
    return this.#call((call) => ({ type: "demand", call, path }), (reply) => reply as Whereabouts);
  }

  forget(path: string): void {
    this.#post({ type: "forget", path });
  }

  ask(name: string, argument?: unknown): Promise<unknown[]> {
    return this.#call(
      (call) => ({ type: "ask", call, name, argument }),
      (results) =>
        (results as Result[]).flatMap((result) => {
          if (result.type === "error") throw new Error(result.message);
          return result.type === "value" ? [result.value] : [];
        }),
    );
  }

  answer(name: string, handler: (argument: unknown) => unknown): () => void {
    this.#handlers.set(name, handler);
    return () => void this.#handlers.delete(name);
  }

  /** Acts on `message` at once: the next one may come before any promise is heard. */
  #take(message: HubMessage): void {
    switch (message.type) {
      case "reply":
        this.#calls.get(message.call)?.(message.reply);
        this.#calls.delete(message.call);
        return;
      case "feed":
        return this.#feed(message);
      case "replica":
        return this.#repeat(message);
      case "query":
        this.#answer(message);
        return;
      case "lost":
        for (const { feed, to } of this.#feeds) if (to === message.index) feed.close();
        for (const { replica, from } of this.#repeated.values()) {
          if (from === message.index) replica.lose();
        }
    }
  }

  #feed({ path, to, fresh, port }: HubMessage & { readonly type: "feed" }): void {
    const engine = this.#engine;
    const stream = engine?.getStream(path);
    // It has just ended, or another isolate has it now.
    if (engine === undefined || stream === undefined || stream.replica) return endFeed(port);
    const subscriber = engine.feed(stream, { type: "Replica", id: `isolate ${to}` });
    const fed = { feed: new Feed(subscriber, port, fresh), to };
    this.#feeds.add(fed);
    fed.feed.closed.then(() => this.#feeds.delete(fed));
  }

  #repeat(message: HubMessage & { readonly type: "replica" }): void {
    const { path, from, fresh, holder, port } = message;
    this.#claims.delete(path);
    const engine = this.#engine;
    const stream = engine?.getStream(path);
    const { type, id, flushMs } = holder;
    const replaced: End = { code: "replaced", detail: `replaced by ${type} ${id}` };
    // What comes now gets where it is wanted by other ways.
    for (const { feed } of this.#feeds) if (feed.stream === stream) feed.close(replaced);
    if (!engine?.wants(path)) {
      stream?.close(replaced.detail, replaced.code);
      return this.#decline(message);
    }
    const known = this.#repeated.get(path);
    // It was asked for twice.
    if (!fresh && known?.from === from && known.replica.live) return refuseFeed(port);
    const { ReconnectTimeout } = engine.options;
    const publisher = engine.repeat(path, {
      type,
      id,
      flushMs,
      // It ends where it is published, or when nobody here watches.
      publishTimeout: Infinity,
      autoCloseDelay: 0,
      reconnectTimeout: Math.max(ReconnectTimeout, SUCCESSOR_SECONDS),
    });
    const repeated = { replica: new Replica(publisher, port), from };
    this.#repeated.set(path, repeated);
    publisher.closed.then(() => {
      if (this.#repeated.get(path) === repeated) this.#repeated.delete(path);
    });
  }

  #decline({ path, port }: HubMessage & { readonly type: "replica" }): void {
    refuseFeed(port);
    this.forget(path);
  }

  async #answer({ call, name, argument }: HubMessage & { readonly type: "query" }): Promise<void> {
    const handler = this.#handlers.get(name);
    try {
      const result: Result = handler
        ? { type: "value", value: await handler(argument) }
        : { type: "none" };
      // Throws where the value cannot be copied.
      this.#post({ type: "answer", call, result });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#post({ type: "answer", call, result: { type: "error", message } });
    }
  }

  /** What `take` makes of the reply as soon as that is there. */
  #call<T>(
    message: (call: number) => MemberMessage,
    take: (reply: unknown, call: number) => T,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const call = this.#nextCall++;
      this.#post(message(call));
      this.#calls.set(call, (reply) => {
        try {
          resolve(take(reply, call));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #post(message: MemberMessage): void {
    this.#port.postMessage(message);
  }
}
