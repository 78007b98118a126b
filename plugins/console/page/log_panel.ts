/// <reference lib="dom" />
/** The newest warnings and errors of the log. */

import type { LogInfo } from "../../http/service.ts";
import { h, KeyedList, panel, type Part, setText } from "./dom.ts";
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
  readonly #items = new KeyedList<LogInfo>(this.#list, identity, item);
  #lines = new Map<string, LogInfo>();

  constructor() {
    this.#list.hidden = true;
  }

  /** Takes lines that are new, or that came again: those take the place of the ones before. */
  #add(lines: readonly LogInfo[]): void {
    for (const line of lines) {
      this.#lines.delete(identity(line));
      this.#lines.set(identity(line), line);
    }
    this.#lines = new Map([...this.#lines].slice(-MAX_LINES));
    this.#items.update([...this.#lines.values()].reverse());
    this.#list.hidden = this.#lines.size === 0;
    this.#none.hidden = this.#lines.size > 0;
  }
}

function identity({ isolate, level, source, message }: LogInfo): string {
  return JSON.stringify([isolate, level, source, message]);
}

function item({ level, source, message }: LogInfo): Part<LogInfo> {
  const time = h("time");
  const count = h("span", { class: "count" });
  return {
    node: h(
      "li",
      {},
      time,
      stateBadge(level).node,
      h("span", { class: "source" }, source),
      count,
      h("span", { class: "text" }, message),
    ),
    update(line) {
      const at = new Date(line.at);
      time.dateTime = line.at;
      time.title = at.toLocaleString();
      setText(time, at.toLocaleTimeString());
      setText(count, line.count > 1 ? `×${line.count}` : "");
    },
  };
}
