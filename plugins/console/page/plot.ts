/// <reference lib="dom" />
/** A small plot of the last minutes. */

import type UPlot from "uplot";
import { h, setText } from "./dom.ts";
import { HISTORY_MS, summarize } from "./history.ts";
import { loadPlot } from "./libraries.ts";
import { onThemeChange } from "./theme.ts";

const HEIGHT = 96;
const AXIS_SIZE = 72;
const MINUTES = [4, 3, 2, 1];
const FONT = "11px system-ui, sans-serif";

/** What is plotted. */
export interface PlotInit {
  readonly title: string;
  readonly format: (value: number) => string;
}

/** A line over time, with its figures as text. */
export class Plot {
  /** What it shows. */
  readonly node: HTMLElement;
  readonly #init: PlotInit;
  readonly #summary = h("span", { class: "muted" });
  readonly #box = h("div", { class: "plot", "aria-hidden": "true" });
  readonly #abort = new AbortController();
  readonly #resize = new ResizeObserver(() => this.#fit());
  #plot: UPlot | undefined;
  #columns: [number[], number[]] = [[], []];

  constructor(init: PlotInit) {
    this.#init = init;
    const caption = h("figcaption", {}, h("strong", {}, init.title), " ", this.#summary);
    this.node = h("figure", {}, caption, this.#box);
    this.#draw();
  }

  /** Plots `values` at `times`, in seconds since 1970. */
  update(columns: [times: number[], values: number[]]): void {
    this.#columns = columns;
    setText(this.#summary, summarize(columns[1], this.#init.format));
    if (!document.hidden) this.#plot?.setData(columns);
  }

  /** Ends. */
  stop(): void {
    this.#abort.abort();
    this.#resize.disconnect();
    this.#plot?.destroy();
  }

  async #draw(): Promise<void> {
    const Library = await loadPlot();
    const { signal } = this.#abort;
    if (signal.aborted) return;
    this.#plot = new Library(this.#options(), this.#columns, this.#box);
    this.#resize.observe(this.#box);
    onThemeChange(() => this.#plot?.redraw(), signal);
  }

  #options(): UPlot.Options {
    const { format } = this.#init;
    const axis = { stroke: color("--muted"), font: FONT, ticks: { show: false } };
    const grid = { stroke: color("--line"), width: 1 };
    return {
      width: Math.max(this.#box.clientWidth, 1),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 8, 0, 0],
      scales: {
        x: { range: () => [Date.now() / 1000 - HISTORY_MS / 1000, Date.now() / 1000] },
        y: { range: (_, __, max) => [0, max > 0 ? max * 1.15 : 1] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 20,
          gap: 2,
          space: 70,
          splits: () => MINUTES.map((minutes) => Date.now() / 1000 - minutes * 60),
          values: () => MINUTES.map((minutes) => `−${minutes} min`),
        },
        {
          ...axis,
          grid,
          size: AXIS_SIZE,
          gap: 4,
          splits: (_, __, ___, max) => [0, max / 2.3, max / 1.15],
          values: (_, splits) => splits.map(format),
        },
      ],
      series: [{}, {
        stroke: color("--accent"),
        fill: color("--accent-soft"),
        width: 1.5,
        points: { show: false },
      }],
    };
  }

  #fit(): void {
    const width = this.#box.clientWidth;
    if (width > 0 && width !== this.#plot?.width) this.#plot?.setSize({ width, height: HEIGHT });
  }
}

/** A colour of the theme, as it is when it is drawn. */
function color(name: string): () => string {
  return () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
