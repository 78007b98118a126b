/** One isolate of a server, as its engine sees the others. */

import type { Engine } from "./engine.ts";
import { type End, StreamTakenError } from "./errors.ts";
import type { HubMessage, MemberMessage, Result } from "./isolate_messages.ts";
import type { Holder, Isolates, Whereabouts } from "./isolates.ts";
import { Feed, refuseFeed, Replica } from "./replica.ts";

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

/** Repeats streams of other isolates here, and feeds theirs, as the hub tells. */
export class IsolateMember implements Isolates {
  readonly index: number;
  readonly count: number;
  readonly #port: MessagePort;
  readonly #calls = new Map<number, (reply: unknown) => void>();
  readonly #handlers = new Map<string, (argument: unknown) => unknown>();
  readonly #feeds = new Set<Feed>();
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
      for (const feed of this.#feeds) if (feed.stream === detail.stream) feed.addTracks();
    });
    this.#port.onmessage = ({ data }: MessageEvent<HubMessage>) => this.#take(data);
  }

  async claim(path: string, holder: Holder, takeOver: boolean): Promise<void> {
    const taken = await this.#call((call) => ({ type: "claim", call, path, holder, takeOver }));
    if (taken !== undefined) throw new StreamTakenError(path, taken as Holder);
  }

  release(path: string, state: "waiting" | "ended"): void {
    this.#post({ type: "release", path, state });
  }

  async demand(path: string): Promise<Whereabouts> {
    return await this.#call((call) => ({ type: "demand", call, path })) as Whereabouts;
  }

  forget(path: string): void {
    this.#post({ type: "forget", path });
  }

  async ask(name: string, argument?: unknown): Promise<unknown[]> {
    const results = await this.#call((call) => ({ type: "ask", call, name, argument })) as Result[];
    return results.flatMap((result) => {
      if (result.type === "error") throw new Error(result.message);
      return result.type === "value" ? [result.value] : [];
    });
  }

  answer(name: string, handler: (argument: unknown) => unknown): () => void {
    this.#handlers.set(name, handler);
    return () => void this.#handlers.delete(name);
  }

  #take(message: HubMessage): void {
    switch (message.type) {
      case "reply":
        this.#calls.get(message.call)?.(message.reply);
        this.#calls.delete(message.call);
        return;
      case "feed":
        this.#feed(message).catch(() => message.port.close());
        return;
      case "replica":
        this.#repeat(message).catch(() => this.#decline(message));
        return;
      case "query":
        this.#answer(message);
        return;
      case "lost":
        for (const { replica, from } of this.#repeated.values()) {
          if (from === message.index) replica.lose();
        }
    }
  }

  async #feed(message: HubMessage & { readonly type: "feed" }): Promise<void> {
    const { path, to, fresh, port } = message;
    const engine = this.#engine;
    const stream = engine?.getStream(path);
    // A stream that has just ended is told of by the hub, or comes back with its next publisher.
    if (engine === undefined || stream === undefined || stream.replica) return port.close();
    const id = `isolate ${to}`;
    const subscriber = await engine.subscribe(path, { type: "Replica", id, replica: true });
    const feed = new Feed(subscriber, port, fresh);
    this.#feeds.add(feed);
    subscriber.closed.then(() => this.#feeds.delete(feed));
  }

  async #repeat(message: HubMessage & { readonly type: "replica" }): Promise<void> {
    const { path, from, holder, port } = message;
    const engine = this.#engine;
    if (!engine?.wants(path)) {
      // A publisher that has been replaced from elsewhere has nobody who watches.
      const { type, id } = holder;
      const replaced: End = { code: "replaced", detail: `replaced by ${type} ${id}` };
      engine?.getStream(path)?.publisher?.finish(replaced);
      return this.#decline(message);
    }
    const publisher = await engine.publish(path, {
      type: holder.type,
      id: holder.id,
      replica: true,
      takeOver: true,
      // It ends where it is published, or when nobody here watches.
      publishTimeout: Infinity,
      autoCloseDelay: 0,
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
    let result: Result;
    try {
      result = handler ? { type: "value", value: await handler(argument) } : { type: "none" };
    } catch (error) {
      result = { type: "error", message: error instanceof Error ? error.message : String(error) };
    }
    this.#post({ type: "answer", call, result });
  }

  #call(message: (call: number) => MemberMessage): Promise<unknown> {
    const call = this.#nextCall++;
    this.#post(message(call));
    return new Promise((resolve) => this.#calls.set(call, resolve));
  }

  #post(message: MemberMessage): void {
    this.#port.postMessage(message);
  }
}
