/** The hub between the isolates of a server: it knows who publishes what, and brings them together. */

import type { HubMessage, MemberMessage, Result } from "./isolate_messages.ts";
import type { Holder } from "./isolates.ts";

/** A stream of one of the isolates. */
interface Entry {
  /** The isolate that publishes it. */
  readonly home: number;
  /** Number of its claim. */
  readonly call: number;
  readonly holder: Holder;
  live: boolean;
}

/** A question to all isolates. */
interface Query {
  readonly asker: number;
  readonly call: number;
  readonly results: Map<number, Result>;
  /** Isolates that have not answered. */
  readonly open: Set<number>;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** Longest wait for answers, in ms: an isolate that is stuck must not hold up those who ask. */
export const ANSWER_MS = 3000;

/**
 * Sees to it that a path is published by one isolate at a time, and that others get it while they
 * watch. No frame passes through it.
 *
 * Every isolate has a message port to it, through which an `IsolateMember` speaks.
 */
export class IsolateHub {
  readonly #ports = new Map<number, MessagePort>();
  readonly #entries = new Map<string, Entry>();
  /** The isolates that wait for a path or repeat it. */
  readonly #watchers = new Map<string, Set<number>>();
  readonly #queries = new Map<number, Query>();
  #nextQuery = 0;

  /** Serves isolate `index` through `port`. */
  connect(index: number, port: MessagePort): void {
    this.#ports.set(index, port);
    port.onmessage = ({ data }: MessageEvent<MemberMessage>) => {
      // What comes after its loss is of no use.
      if (this.#ports.get(index) === port) this.#take(index, data);
    };
  }

  /** Says that isolate `index` has failed, and with it what it published. */
  lose(index: number): void {
    const port = this.#ports.get(index);
    if (port === undefined) return;
    // Closing hands out what is left in it.
    this.#ports.delete(index);
    port.close();
    for (const [path, { home }] of this.#entries) if (home === index) this.#entries.delete(path);
    for (const path of this.#watchers.keys()) this.#unwatch(index, path);
    for (const [number, query] of this.#queries) {
      // The isolate that takes its number would take the reply for that to a call of its own.
      if (query.asker === index) {
        this.#drop(number, query);
        continue;
      }
      query.open.delete(index);
      this.#settle(number, query);
    }
    for (const other of this.#ports.keys()) this.#tell(other, { type: "lost", index });
  }

  /** Closes all ports. */
  close(): void {
    const ports = [...this.#ports.values()];
    this.#ports.clear();
    for (const [number, query] of this.#queries) this.#drop(number, query);
    for (const port of ports) port.close();
  }

  #take(index: number, message: MemberMessage): void {
    switch (message.type) {
      case "claim":
        return this.#claim(index, message);
      case "release": {
        const entry = this.#entries.get(message.path);
        if (entry?.home !== index || entry.call !== message.call) return;
        if (message.state === "waiting") entry.live = false;
        else this.#entries.delete(message.path);
        return;
      }
      case "demand":
        return this.#demand(index, message);
      case "forget":
        return this.#unwatch(index, message.path);
      case "ask":
        return this.#ask(index, message);
      case "answer": {
        const query = this.#queries.get(message.call);
        if (!query?.open.delete(index)) return;
        query.results.set(index, message.result);
        return this.#settle(message.call, query);
      }
    }
  }

  #claim(index: number, message: MemberMessage & { readonly type: "claim" }): void {
    const { call, path, holder, takeOver } = message;
    const entry = this.#entries.get(path);
    if (entry?.live && !takeOver) {
      return this.#tell(index, { type: "reply", call, reply: entry.holder });
    }
    this.#entries.set(path, { home: index, call, holder, live: true });
    this.#tell(index, { type: "reply", call, reply: undefined });
    // Where a publisher comes back to its isolate, the others are still joined to that.
    if (entry?.home === index) return;
    this.#unwatch(index, path);
    const viewers = new Set(this.#watchers.get(path));
    // Those of the isolate that had it stay with the stream.
    if (entry !== undefined) viewers.add(entry.home);
    for (const viewer of viewers) this.#join(viewer, path, true);
  }

  #demand(index: number, { call, path }: MemberMessage & { readonly type: "demand" }): void {
    const entry = this.#entries.get(path);
    const asked = (this.#watchers.get(path)?.size ?? 0) > 0;
    const reply = entry !== undefined ? "published" : asked ? "asked" : "unknown";
    this.#tell(index, { type: "reply", call, reply });
    // Its own publisher has not begun yet.
    if (entry?.home === index) return;
    this.#watch(index, path);
    this.#join(index, path, false);
  }

  /**
   * Brings the isolate that publishes `path` and one that wants it together, with all that is there
   * or only with what is `fresh`: of the publisher of now.
   */
  #join(viewer: number, path: string, fresh: boolean): void {
    const entry = this.#entries.get(path);
    if (entry === undefined) return;
    this.#watch(viewer, path);
    const { port1, port2 } = new MessageChannel();
    const { home, holder } = entry;
    this.#tell(home, { type: "feed", path, to: viewer, fresh, port: port1 }, [port1]);
    this.#tell(viewer, { type: "replica", path, from: home, fresh, holder, port: port2 }, [port2]);
  }

  #ask(asker: number, message: MemberMessage & { readonly type: "ask" }): void {
    const { call, name, argument } = message;
    const number = this.#nextQuery++;
    const open = new Set(this.#ports.keys());
    const timer = setTimeout(() => {
      open.clear();
      this.#settle(number, query);
    }, ANSWER_MS);
    const query: Query = { asker, call, results: new Map(), open, timer };
    this.#queries.set(number, query);
    for (const index of query.open) {
      this.#tell(index, { type: "query", call: number, name, argument });
    }
  }

  #settle(number: number, query: Query): void {
    const { asker, call, results, open } = query;
    if (open.size > 0) return;
    this.#drop(number, query);
    const ordered = [...results].sort(([a], [b]) => a - b).map(([, result]) => result);
    this.#tell(asker, { type: "reply", call, reply: ordered });
  }

  #drop(number: number, { timer }: Query): void {
    clearTimeout(timer);
    this.#queries.delete(number);
  }

  #watch(index: number, path: string): void {
    const watchers = this.#watchers.get(path) ?? new Set();
    this.#watchers.set(path, watchers.add(index));
  }

  #unwatch(index: number, path: string): void {
    const watchers = this.#watchers.get(path);
    if (watchers?.delete(index) && watchers.size === 0) this.#watchers.delete(path);
  }

  #tell(index: number, message: HubMessage, transfer: Transferable[] = []): void {
    this.#ports.get(index)?.postMessage(message, transfer);
  }
}
