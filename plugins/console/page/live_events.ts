/// <reference lib="dom" />
/** What the server tells as it happens. */

import type { ApiEvents } from "../../http/service.ts";
import { checkAccess } from "./api.ts";
import { retryDelayMs } from "./delivery.ts";

/** How the page stands with the server. */
export type Access =
  | { readonly state: "connecting" | "open" | "lost" | "password" }
  /** It is not for this page, for that reason. */
  | { readonly state: "refused"; readonly reason: string };

/** What is done with each event. */
export type EventHandlers = { readonly [K in keyof ApiEvents]?: (data: ApiEvents[K]) => void };

/** Who hears of it. */
export interface LiveListener {
  access(access: Access): void;
  readonly events: readonly EventHandlers[];
}

const NAMES: readonly (keyof ApiEvents)[] = [
  "server",
  "streams",
  "plugins",
  "stream",
  "history",
  "log",
];
/** Browsers try again by themselves; what they give up is tried again here. */
const PROBE_MS = 2000;

/** The events of the server, or of one stream, for as long as the page shows it. */
export class LiveEvents {
  readonly #url: string;
  readonly #listener: LiveListener;
  #source: EventSource | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #over = false;

  /** Begins to listen, to the stream `path` as well if there is one. */
  constructor(path: string | undefined, listener: LiveListener) {
    this.#url = "/api/events" + (path === undefined ? "" : `?stream=${encodeURIComponent(path)}`);
    this.#listener = listener;
    this.retry();
  }

  /** Connects anew, as after signing in. */
  retry(): void {
    this.#close();
    const source = new EventSource(this.#url);
    this.#source = source;
    source.onopen = () => {
      this.#attempt = 0;
      this.#listener.access({ state: "open" });
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.#explain();
      else this.#listener.access({ state: "lost" });
    };
    for (const name of NAMES) this.#listen(source, name);
  }

  /** Hears no more. */
  stop(): void {
    this.#over = true;
    this.#close();
  }

  #listen<K extends keyof ApiEvents>(source: EventSource, name: K): void {
    const handlers = this.#listener.events.map((events) => events[name]);
    source.addEventListener(name, (event) => {
      const data: ApiEvents[K] = JSON.parse(event.data);
      for (const handle of handlers) handle?.(data);
    });
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = undefined;
  }

  /** Finds out why there are no events: an `EventSource` does not tell. */
  async #explain(): Promise<void> {
    this.#close();
    const answer = await checkAccess();
    if (this.#over || this.#source !== undefined) return;
    if (!answer.ok && answer.status === 401) return this.#listener.access({ state: "password" });
    if (!answer.ok && answer.status === 403) {
      return this.#listener.access({ state: "refused", reason: answer.error });
    }
    this.#listener.access({ state: "lost" });
    const delayMs = Math.max(PROBE_MS, retryDelayMs(this.#attempt++));
    this.#timer = setTimeout(() => this.retry(), delayMs);
  }
}
