/// <reference lib="dom" />
/** The plugins with their state. */

import type { PluginInfo } from "../../http/service.ts";
import { h, KeyedList, panel, type Part, setText } from "./dom.ts";
import type { EventHandlers } from "./live_events.ts";
import { stateBadge } from "./state_badge.ts";

/** All plugins. */
export class PluginsPanel {
  readonly #list = h("ul", { class: "plugins" });
  readonly #parts = new KeyedList<PluginInfo>(this.#list, ({ name }) => name, item);
  readonly node: HTMLElement = panel("Plugins", this.#list);
  /** What it shows of what the server tells. */
  readonly events: EventHandlers = { plugins: (plugins) => this.#parts.update(plugins) };
}

function item({ name }: PluginInfo): Part<PluginInfo> {
  const badge = stateBadge();
  const error = h("p", { class: "error" });
  return {
    node: h("li", {}, h("span", {}, name), badge.node, error),
    update(plugin) {
      badge.update(plugin.running ? "running" : "not running");
      setText(error, plugin.error ?? "");
    },
  };
}
