/// <reference lib="dom" />
/** One stream: its player, tracks, subscribers and addresses. */

import type { StreamDetail } from "../../http/service.ts";
import { AddressesPanel } from "./addresses_panel.ts";
import { endStream } from "./api.ts";
import { confirmThen } from "./dialogs.ts";
import { h, setText } from "./dom.ts";
import { formatSince } from "./format.ts";
import type { EventHandlers } from "./live_events.ts";
import { PlayerPanel } from "./player_panel.ts";
import { stateBadge } from "./state_badge.ts";
import { SubscribersPanel } from "./subscribers_panel.ts";
import { TracksPanel } from "./tracks_panel.ts";

/** The view of one stream. */
export class Watch {
  readonly title: string;
  readonly node: HTMLElement;
  /** What it shows of what the server tells. */
  readonly events: readonly EventHandlers[];
  /** Resolves when it has time for that. */
  readonly ready: Promise<void>;
  readonly #heading: HTMLElement;
  readonly #badge = stateBadge();
  readonly #about = h("p", { class: "muted" });
  readonly #end: HTMLButtonElement;
  readonly #player: PlayerPanel;
  readonly #tracks = new TracksPanel();
  readonly #subscribers = new SubscribersPanel();
  #addresses: AddressesPanel | undefined;
  readonly #details = h("div", { class: "details", hidden: true });

  /** The stream `path`, which plays at once. */
  constructor(path: string) {
    this.title = path;
    this.#heading = h("h1", { tabindex: -1, class: "path" }, path);
    this.#end = h("button", {
      class: "danger",
      hidden: true,
      onclick: () =>
        confirmThen({
          title: "End this stream?",
          text: `${path} ends for its publisher and everybody who watches.`,
          action: "End it",
        }, () => endStream(path)),
    }, "End stream");
    this.#player = new PlayerPanel(path);
    this.#details.append(this.#tracks.node, this.#subscribers.node);
    this.#badge.node.hidden = true;
    this.node = h(
      "div",
      { class: "view" },
      h("div", { class: "title" }, this.#heading, this.#badge.node, this.#about, this.#end),
      this.#player.node,
      this.#details,
    );
    this.ready = this.#player.begun.then(() => {
      this.#addresses = new AddressesPanel(path);
      this.node.append(this.#addresses.node);
    });
    this.events = [{
      stream: (detail) => this.#show(detail),
      history: (tracks) => this.#tracks.restore(tracks),
      plugins: (plugins) => {
        const running = plugins.filter(({ running }) => running).map(({ name }) => name);
        this.#player.playback.setPlugins(running);
        this.#addresses?.setPlugins(plugins);
      },
    }];
  }

  /** Puts the focus where reading begins. */
  focus(): void {
    this.#heading.focus();
  }

  /** Ends. */
  stop(): void {
    this.#player.stop();
    this.#tracks.stop();
  }

  #show(detail: StreamDetail): void {
    const { stream } = detail;
    this.#details.hidden = false;
    this.#badge.node.hidden = false;
    this.#badge.update(stream?.state ?? "not there");
    this.#end.hidden = stream === null;
    const from = stream?.publisher;
    const about = stream === null ? "" : [
      from ? `${from.type} from ${from.id}` : "no publisher",
      `for ${formatSince(stream.since, Date.now())}`,
    ].join(" · ");
    setText(this.#about, about);
    const tracks = stream?.tracks ?? [];
    this.#tracks.update(tracks);
    this.#subscribers.update(detail);
    const shown = tracks.filter(({ kind }) => kind !== "data");
    this.#player.playback.setStream(
      stream && {
        state: stream.state,
        codecs: shown.flatMap(({ codec }) => codec === undefined ? [] : [codec]),
        isEmpty: shown.length === 0,
      },
    );
  }
}
