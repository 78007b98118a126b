/// <reference lib="dom" />
/** Who watches a stream. */

import type { StreamDetail, SubscriberInfo } from "../../http/service.ts";
import { kick } from "./api.ts";
import { confirmThen } from "./dialogs.ts";
import { h, KeyedList, panel, type Part, setText } from "./dom.ts";
import { formatBytes, formatCount, formatMs, formatSince } from "./format.ts";

/** How many are listed; there may be thousands. */
const MAX_ROWS = 100;
const COLUMNS = ["Protocol", "Address", "For", "Sent", "Lag", "Dropped"] as const;

/** The subscribers of a stream. */
export class SubscribersPanel {
  readonly #total = h("p", { class: "muted" });
  readonly #body = h("tbody");
  readonly #table = h(
    "table",
    {},
    h("caption", { class: "hidden" }, "Subscribers"),
    h(
      "thead",
      {},
      h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col" }, name)), actionHeading()),
    ),
    this.#body,
  );
  readonly node: HTMLElement = panel("Subscribers", this.#total, this.#table);
  readonly #rows = new KeyedList<SubscriberInfo>(
    this.#body,
    ({ number }) => String(number),
    row,
  );

  /** Shows those of `detail`. */
  update({ stream, subscribers }: StreamDetail): void {
    const total = stream?.viewers ?? 0;
    const shown = subscribers.toSorted((a, b) => b.number - a.number).slice(0, MAX_ROWS);
    const text = total > shown.length
      ? `The newest ${shown.length} of ${formatCount(total, "subscriber")}`
      : total === 0
      ? "Nobody watches."
      : formatCount(total, "subscriber");
    setText(this.#total, text);
    this.#table.hidden = shown.length === 0;
    this.#rows.update(shown);
  }
}

function row({ number, type, id, since }: SubscriberInfo): Part<SubscriberInfo> {
  const name = `subscriber-${number}`;
  const cells = COLUMNS.map((column) => h("td", { "data-label": column }));
  const [protocol, address] = cells;
  if (address !== undefined) address.id = name;
  protocol?.append(type);
  const button = h("button", {
    class: "danger small",
    "aria-describedby": name,
    onclick: () =>
      confirmThen({
        title: "Kick this subscriber?",
        text: `${type} from ${id} is disconnected. It may come back.`,
        action: "Disconnect",
      }, () => kick(number)),
  }, "Kick");
  return {
    node: h("tr", { "data-subscriber": number }, ...cells, h("td", { class: "action" }, button)),
    update({ bytes, lagMs, dropped }) {
      const texts = [
        type,
        id,
        formatSince(since, Date.now()),
        formatBytes(bytes),
        formatMs(lagMs),
        String(dropped),
      ];
      cells.forEach((cell, index) => setText(cell, texts[index] ?? ""));
    },
  };
}

function actionHeading(): HTMLElement {
  return h("th", { scope: "col" }, h("span", { class: "hidden" }, "Action"));
}
