/** Server-sent events: what there is, told about once a second to all who want to know. */

import { concat } from "../../src/bytes.ts";
import type { Source } from "../../src/cursor.ts";
import type { Logger } from "../../src/log.ts";
import { readableFrom } from "../../src/readable.ts";
import { Place, type Waiter, WakeList } from "../../src/wake_list.ts";
import type { SnapshotQuestion } from "./everywhere.ts";
import type { ApiEvents, LogInfo, StreamDetail, TrackHistory } from "./info.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What is told at one time. */
export interface EventsSnapshot extends Pick<ApiEvents, "server" | "streams" | "plugins"> {
  /** Of each path that was asked for. */
  readonly details: readonly StreamDetail[];
  /** Lines that are new or came again. */
  readonly log: readonly LogInfo[];
}

/** Where an {@linkcode EventFeed} has its events from. */
export interface EventFeedInit {
  /** What there is now. */
  readonly snapshot: (question: SnapshotQuestion) => Promise<EventsSnapshot>;
  /** Where it says that it got none. */
  readonly log: Logger;
}

/** One stream in detail, for a client that wants it. */
export interface WantedStream {
  readonly path: string;
  /** What it did before. */
  readonly history: readonly TrackHistory[];
}

const INTERVAL_MS = 1000;
/** Silence after which a comment shows proxies that the connection lives. */
const KEEP_ALIVE_MS = 15_000;
const COMMENT = encode(":\n\n");
/** What a client hears first: to come again soon where it is cut off, after so many ms. */
const GREETING = "retry: 1000\n\n";
/** Most lines of the log that are kept for clients. */
const MAX_LOG_LINES = 100;

/**
 * Tells its clients what changes. While there are any it takes a snapshot a second, one for all of
 * them; without, it does nothing and keeps nothing.
 *
 * A client that reads slowly gets the newest state when it comes to read again: nothing waits for it.
 */
export class EventFeed {
  readonly #init: EventFeedInit;
  #round: Round | undefined;

  /** A feed without clients. */
  constructor(init: EventFeedInit) {
    this.#init = init;
  }

  /** How many clients there are. */
  get clients(): number {
    return this.#round?.clients.size ?? 0;
  }

  /** The events of a client, who stays until it cancels. */
  open(wanted?: WantedStream): ReadableStream<Bytes> {
    const round = this.#round ??= new Round(this.#init);
    const client = new Client(round, wanted, () => {
      if (round.leave(client) && this.#round === round) this.#round = undefined;
    });
    round.join(client);
    return readableFrom(client);
  }

  /** Ends the events of all clients. */
  close(): void {
    for (const client of this.#round?.clients ?? []) client.end();
  }
}

/** An event of now, as bytes for all who get it. */
interface Topic {
  readonly version: number;
  readonly json: string;
  readonly bytes: Bytes;
}

/** A line of the log, and the snapshot that it came with. */
interface Line {
  readonly version: number;
  readonly info: LogInfo;
}

/** What is told from the first client's coming to the last one's leave. */
class Round {
  readonly clients = new Set<Client>();
  readonly wakeList = new WakeList();
  /** Number of the newest snapshot, from 1. */
  version = 0;
  readonly #init: EventFeedInit;
  readonly #topics = new Map<string, Topic>();
  readonly #lines = new Map<string, Line>();
  readonly #logAfter: number[] = [];
  #timer: ReturnType<typeof setInterval> | undefined;
  #isBusy = false;
  /** Whether somebody has come who does not wait for the next second. */
  #isDue = false;
  #hasFailed = false;

  constructor(init: EventFeedInit) {
    this.#init = init;
  }

  join(client: Client): void {
    const { path } = client;
    this.clients.add(client);
    this.#timer ??= setInterval(() => this.#look(), INTERVAL_MS);
    // Whoever wants no more than is known gets that.
    const isKnown = path === undefined || this.#topics.has(topicOf(path));
    if (this.version > 0 && isKnown) return;
    this.#isDue = true;
    this.#look();
  }

  /** Lets a client go; whether it was the last one. */
  leave(client: Client): boolean {
    this.clients.delete(client);
    const { path } = client;
    if (path !== undefined && !this.#paths().includes(path)) this.#topics.delete(topicOf(path));
    if (this.clients.size > 0) return false;
    clearInterval(this.#timer);
    return true;
  }

  /** What is newer than `version` for a client that wants `path` in detail. */
  since(version: number, path: string | undefined): Bytes[] {
    const names = ["server", "streams", ...(path === undefined ? [] : [topicOf(path)]), "plugins"];
    const topics = names.map((name) => this.#topics.get(name));
    const lines = [...this.#lines.values()].filter((line) => line.version > version);
    return [
      ...topics.flatMap((topic) => topic && topic.version > version ? [topic.bytes] : []),
      // At first it is also told that there are none.
      ...(lines.length > 0 || (version === 0 && this.version > 0)
        ? [encode(eventText("log", JSON.stringify(lines.map(({ info }) => info))))]
        : []),
    ];
  }

  #paths(): string[] {
    const paths = [...this.clients].map(({ path }) => path);
    return [...new Set(paths.filter((path) => path !== undefined))];
  }

  async #look(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#isDue = false;
    try {
      const paths = this.#paths();
      this.#take(await this.#init.snapshot({ paths, logAfter: [...this.#logAfter] }));
      this.#hasFailed = false;
    } catch (error) {
      if (!this.#hasFailed) this.#init.log.warn("cannot tell what there is: {error}", { error });
      this.#hasFailed = true;
    } finally {
      this.#isBusy = false;
    }
    // Also those for whom there is nothing: a comment may be due.
    this.wakeList.wake();
    if (this.#isDue) this.#look();
  }

  #take({ details, log, ...events }: EventsSnapshot): void {
    this.version++;
    for (const [name, data] of Object.entries(events)) this.#set(name, name, data);
    const paths = this.#paths();
    for (const detail of details) {
      if (paths.includes(detail.path)) this.#set(topicOf(detail.path), "stream", detail);
    }
    for (const info of log) this.#log(info);
  }

  #set(name: string, event: string, data: unknown): void {
    const json = JSON.stringify(data);
    if (this.#topics.get(name)?.json === json) return;
    this.#topics.set(name, { version: this.version, json, bytes: encode(eventText(event, json)) });
  }

  #log(info: LogInfo): void {
    const { isolate, sequence, level, source, message } = info;
    this.#logAfter[isolate] = Math.max(this.#logAfter[isolate] ?? 0, sequence);
    const key = JSON.stringify([isolate, level, source, message]);
    this.#lines.delete(key);
    this.#lines.set(key, { version: this.version, info });
    const [oldest] = this.#lines.keys();
    if (this.#lines.size > MAX_LOG_LINES && oldest !== undefined) this.#lines.delete(oldest);
  }
}

/** One client's place in what is told: the number of the snapshot that it knows. */
class Client implements Source<Bytes> {
  /** The stream that it wants in detail. */
  readonly path: string | undefined;
  readonly #round: Round;
  readonly #onLeave: () => void;
  readonly #place: Place;
  #greeting: string | undefined;
  #version = 0;
  #heardMs = Date.now();
  #isOver = false;

  constructor(round: Round, wanted: WantedStream | undefined, onLeave: () => void) {
    this.#round = round;
    this.#place = new Place(round.wakeList);
    this.path = wanted?.path;
    this.#onLeave = onLeave;
    const history = wanted && eventText("history", JSON.stringify(wanted.history));
    this.#greeting = GREETING + (history ?? "");
  }

  get done(): boolean {
    return this.#isOver;
  }

  next(): Bytes | undefined {
    if (this.#isOver) return undefined;
    const news = this.#round.since(this.#version, this.path);
    this.#version = this.#round.version;
    if (this.#greeting !== undefined) news.unshift(encode(this.#greeting));
    this.#greeting = undefined;
    const nowMs = Date.now();
    if (news.length === 0 && nowMs - this.#heardMs < KEEP_ALIVE_MS) return undefined;
    this.#heardMs = nowMs;
    return news.length === 0 ? COMMENT : concat(news);
  }

  wait(waiter: Waiter): void {
    this.#place.wait(waiter);
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#place.leave();
    this.#onLeave();
  }

  /** Ends what it hears. */
  end(): void {
    const { waiter } = this.#place;
    this.close();
    // Whoever doesn't wait finds out when it reads on.
    waiter?.wake();
  }
}

function topicOf(path: string): string {
  return `stream ${path}`;
}

/** An event (HTML 9.2.6): JSON has no line ends, so that its data is one line. */
function eventText(name: string, json: string): string {
  return `event: ${name}\ndata: ${json}\n\n`;
}

function encode(text: string): Bytes {
  return new TextEncoder().encode(text);
}
