/// <reference lib="dom" />
/** The newest warnings and errors of the log. */

import type { LogInfo } from "../../http/service.ts";
import { h, panel } from "./dom.ts";
import type { EventHandlers } from "./live_events.ts";
import { stateBadge } from "./state_badge.ts";

/** How many are kept. */
const MAX_LINES = 100;

/** Warnings and errors, the newest first. */
export class LogPanel {
  readonly #list = h("ol", { class: "log", tabindex: 0, "aria-label": "Warnings and errors" });
  readonly #none = h("p", { class: "muted" }, "None: all is well.");
  readonly node: HTMLElement = panel("Recent warnings", this.#none, this.#list);
  /** What it shows of what the server tells. */
  readonly events: EventHandlers = { log: (lines) => this.#add(lines) };
  #lines: readonly LogInfo[] = [];

  constructor() {
    this.#list.hidden = true;
  }

  #add(lines: readonly LogInfo[]): void {
    // After a lost connection the server begins with what it has told before.
    const known = new Set(this.#lines.map(identity));
    const fresh = lines.filter((line) => !known.has(identity(line)));
    this.#lines = [...this.#lines, ...fresh].slice(-MAX_LINES);
    this.#list.prepend(...fresh.map(item).reverse());
    while (this.#list.childElementCount > MAX_LINES) this.#list.lastElementChild?.remove();
    this.#list.hidden = this.#lines.length === 0;
    this.#none.hidden = this.#lines.length > 0;
  }
}

function identity({ at, isolate, source, message }: LogInfo): string {
  return JSON.stringify([at, isolate, source, message]);
}

function item({ at, level, source, message }: LogInfo): HTMLElement {
  const time = new Date(at);
  return h(
    "li",
    {},
    h("time", { datetime: at, title: time.toLocaleString() }, time.toLocaleTimeString()),
    stateBadge(level).node,
    h("span", { class: "source" }, source),
    h("span", { class: "text" }, message),
  );
}
