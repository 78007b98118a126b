/// <reference lib="dom" />
/** A word for the state of something, with a colour. */

import { h, type Part, setText } from "./dom.ts";

/** States by what they look like. */
const LOOKS: Readonly<Record<string, string>> = {
  live: "good",
  running: "good",
  waiting: "warn",
  warning: "warn",
  "not running": "bad",
  error: "bad",
  fatal: "bad",
};

/** A badge that says a state, at first `state`. */
export function stateBadge(state = ""): Part<string> {
  const node = h("span", { class: "badge" });
  const update = (state: string) => {
    setText(node, state);
    node.dataset["look"] = LOOKS[state] ?? "plain";
  };
  update(state);
  return { node, update };
}
