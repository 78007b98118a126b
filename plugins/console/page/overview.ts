/// <reference lib="dom" />
/** All streams, as cards. */

import type { StreamOverview } from "../../http/service.ts";
import { commands, obsSettings, type Ports, portsOf } from "./addresses.ts";
import { h, KeyedList, type Part, setText } from "./dom.ts";
import { describeTrack, formatBitrate, formatCount, formatFps, formatSince } from "./format.ts";
import type { EventHandlers } from "./live_events.ts";
import { LogPanel } from "./log_panel.ts";
import { PluginsPanel } from "./plugins_panel.ts";
import { Previews } from "./preview.ts";
import { watchAddress } from "./route.ts";
import { stateBadge } from "./state_badge.ts";

/** With so many streams there is a box to find one. */
const FILTER_FROM = 7;
/** The stream that the page tells how to publish when there is none. */
const EXAMPLE = "live/a";

/** The view of all streams. */
export class Overview {
  readonly title = "Streams";
  readonly node: HTMLElement;
  /** What it shows of what the server tells. */
  readonly events: readonly EventHandlers[];
  /** It has nothing to do before. */
  readonly ready: Promise<void> = Promise.resolve();
  readonly #previews = new Previews();
  readonly #heading = h("h1", { tabindex: -1 }, "Streams");
  readonly #count = h("p", { class: "muted", role: "status" });
  readonly #filter = h("input", {
    type: "search",
    id: "filter",
    autocomplete: "off",
    placeholder: "live/…",
    oninput: () => this.#show(),
  });
  readonly #filterBox = h(
    "p",
    { class: "filter", hidden: true },
    h("label", { for: "filter" }, "Filter"),
    this.#filter,
  );
  readonly #list = h("ul", { class: "cards" });
  readonly #empty = h("div", { class: "empty", hidden: true });
  readonly #columns = h("div", { class: "columns", hidden: true });
  readonly #cards: KeyedList<StreamOverview>;
  #streams: readonly StreamOverview[] = [];

  /** Nothing is shown before the server tells. */
  constructor() {
    const log = new LogPanel();
    const plugins = new PluginsPanel();
    this.#cards = new KeyedList(this.#list, ({ path }) => path, (stream) => this.#card(stream));
    this.#empty.replaceChildren(...howToPublish({}));
    this.#columns.append(log.node, plugins.node);
    this.node = h(
      "div",
      { class: "view" },
      h("div", { class: "title" }, this.#heading, this.#count, this.#filterBox),
      this.#list,
      this.#empty,
      this.#columns,
    );
    this.events = [log.events, plugins.events, {
      plugins: (plugins) => this.#empty.replaceChildren(...howToPublish(portsOf(plugins))),
      streams: (streams) => {
        this.#streams = streams.toSorted((a, b) => a.path.localeCompare(b.path));
        this.#columns.hidden = false;
        this.#show();
      },
    }];
  }

  /** Puts the focus where reading begins. */
  focus(): void {
    this.#heading.focus();
  }

  /** Ends. */
  stop(): void {
    this.#previews.stop();
  }

  #show(): void {
    const all = this.#streams;
    this.#filterBox.hidden = all.length < FILTER_FROM && this.#filter.value === "";
    const wanted = this.#filterBox.hidden ? "" : this.#filter.value.trim().toLowerCase();
    const shown = all.filter(({ path }) => path.toLowerCase().includes(wanted));
    this.#cards.update(shown);
    this.#empty.hidden = all.length > 0;
    const count = formatCount(all.length, "stream");
    setText(this.#count, shown.length === all.length ? count : `${shown.length} of ${count}`);
  }

  #card(stream: StreamOverview): Part<StreamOverview> {
    const { path } = stream;
    const video = h("video", {
      class: "preview",
      playsinline: true,
      tabindex: -1,
      "aria-hidden": "true",
      disablepictureinpicture: true,
    });
    const badge = stateBadge();
    const note = h("span", { class: "note" });
    const tracks = h("p", { class: "muted tracks" });
    const figures = h("p", { class: "muted" });
    const link = h(
      "a",
      { class: "card", href: watchAddress(path, location.search), "data-stream": path },
      h("span", { class: "picture" }, note, video),
      h("span", { class: "card-title" }, h("span", { class: "path" }, path), badge.node),
      tracks,
      figures,
    );
    return {
      node: h("li", {}, link),
      update: (stream) => {
        badge.update(stream.state);
        const shown = stream.tracks.filter(({ kind }) => kind !== "data");
        // A request for what is not known yet is held, and browsers open one WebSocket after the other.
        const hasPicture = shown.some(({ kind, codec }) => kind === "video" && codec !== undefined);
        if (hasPicture) this.#previews.add(video, path);
        else this.#previews.remove(video);
        const isSound = shown.length > 0 && shown.every(({ kind }) => kind === "audio");
        setText(note, isSound ? "Sound only" : "");
        setText(tracks, shown.map(trackText).join(" · ") || "neither picture nor sound yet");
        setText(figures, figuresText(stream));
      },
      remove: () => this.#previews.remove(video),
    };
  }
}

function trackText(track: StreamOverview["tracks"][number]): string {
  const fps = track.kind === "video" && track.fps > 0 ? ` ${formatFps(track.fps)} fps` : "";
  return describeTrack(track) + fps;
}

function figuresText({ tracks, viewers, publisher, since }: StreamOverview): string {
  const bitrate = tracks.reduce((sum, track) => sum + track.bitrate, 0);
  const parts = [formatBitrate(bitrate), formatCount(viewers, "viewer")];
  if (publisher !== null) parts.push(publisher.type);
  parts.push(formatSince(since, Date.now()));
  return parts.join(" · ");
}

function howToPublish(ports: Ports): HTMLElement[] {
  const { protocol, host, hostname, search } = location;
  const place = { protocol, host, hostname, search, ports };
  const { server, key } = obsSettings(EXAMPLE, place);
  return [
    h("h2", {}, "Nothing is published yet"),
    h("p", {}, "Publish a stream, and it shows here at once."),
    h(
      "dl",
      {},
      h("dt", {}, "OBS"),
      h(
        "dd",
        {},
        "Settings → Stream → Custom: server ",
        h("code", {}, server),
        ", stream key ",
        h("code", {}, key),
      ),
      h("dt", {}, "FFmpeg"),
      h("dd", {}, h("code", {}, commands(EXAMPLE, place).publish)),
      h("dt", {}, "No camera"),
      h("dd", {}, "Start the server with ", h("code", {}, "--demo"), "."),
    ),
  ];
}
