/// <reference lib="dom" />
/** The tracks of a stream: what they are, and what they did in the last minutes. */

import type { TrackHistory, TrackInfo } from "../../http/service.ts";
import { h, KeyedList, panel, type Part, setText } from "./dom.ts";
import { describeTrack, formatBitrate, formatCount, formatFps, formatMs } from "./format.ts";
import { type Measure, TrackSeries } from "./history.ts";
import { Plot } from "./plot.ts";

interface Plotted {
  readonly measure: Measure;
  readonly title: string;
  readonly format: (value: number) => string;
}

const BITRATE: Plotted = { measure: "bitrate", title: "Bitrate", format: formatBitrate };
const FPS: Plotted = { measure: "fps", title: "Frames a second", format: formatFps };
const GOP: Plotted = { measure: "gopMs", title: "Keyframe distance", format: formatMs };

/** All tracks of a stream. */
export class TracksPanel {
  readonly #list = h("div", { class: "tracks-list" });
  readonly #none = h("p", { class: "muted" }, "No tracks now.");
  readonly node: HTMLElement = panel("Tracks", this.#none, this.#list);
  readonly #series = new Map<string, TrackSeries>();
  readonly #parts = new KeyedList<TrackInfo>(this.#list, keyOf, (track) => this.#part(track));

  /** Takes what the tracks did before. */
  restore(tracks: readonly TrackHistory[]): void {
    for (const track of tracks) this.#seriesOf(track).restore(track.points, Date.now());
  }

  /** Shows what the tracks do now. */
  update(tracks: readonly TrackInfo[]): void {
    const atMs = Date.now();
    for (const track of tracks) {
      const { bitrate, fps, gopMs } = track;
      this.#seriesOf(track).add({ atMs, bitrate, fps, gopMs });
    }
    this.#none.hidden = tracks.length > 0;
    this.#parts.update(tracks);
  }

  /** Ends. */
  stop(): void {
    this.#parts.clear();
  }

  #seriesOf(track: Pick<TrackInfo, "kind" | "name">): TrackSeries {
    const key = keyOf(track);
    const series = this.#series.get(key) ?? new TrackSeries();
    this.#series.set(key, series);
    return series;
  }

  #part(track: TrackInfo): Part<TrackInfo> {
    const series = this.#seriesOf(track);
    const plotted = PLOTTED[track.kind];
    const plots = plotted.map(({ measure, ...init }) => ({ measure, plot: new Plot(init) }));
    const title = h("h3", {});
    const figures = h("p", { class: "muted" });
    return {
      node: h(
        "article",
        { class: "track" },
        title,
        figures,
        h("div", { class: "plots" }, ...plots.map(({ plot }) => plot.node)),
      ),
      update(track) {
        const kind = KINDS[track.kind];
        setText(title, `${kind}: ${track.kind === "data" ? track.name : describeTrack(track)}`);
        setText(figures, figuresOf(track));
        for (const { measure, plot } of plots) plot.update(series.columns(measure));
      },
      remove() {
        for (const { plot } of plots) plot.stop();
      },
    };
  }
}

const PLOTTED: Readonly<Record<TrackInfo["kind"], readonly Plotted[]>> = {
  video: [BITRATE, FPS, GOP],
  audio: [BITRATE, FPS],
  data: [],
};

const KINDS: Readonly<Record<TrackInfo["kind"], string>> = {
  video: "Video",
  audio: "Audio",
  data: "Data",
};

function keyOf({ kind, name }: Pick<TrackInfo, "kind" | "name">): string {
  return `${kind} ${name}`;
}

function figuresOf(track: TrackInfo): string {
  if (track.kind === "data") return formatCount(track.frames, "value");
  const parts = [formatBitrate(track.bitrate), `${formatFps(track.fps)} frames/s`];
  if (track.kind === "video" && track.gopMs > 0) {
    parts.push(`keyframe every ${track.gopFrames} frames`);
  }
  if (track.codec !== undefined) parts.push(track.codec);
  if (track.discarded > 0) parts.push(`${track.discarded} discarded`);
  return parts.join(" · ");
}
