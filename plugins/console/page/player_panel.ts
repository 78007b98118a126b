/// <reference lib="dom" />
/** The player with its choices and figures. */

import { DELIVERIES, type Delivery, deliveryOf } from "./delivery.ts";
import { h, setText } from "./dom.ts";
import { formatMs } from "./format.ts";
import { Playback } from "./playback.ts";
import { chosenPlayer, withPlayer } from "./route.ts";

const INTERVAL_MS = 1000;
const BEGIN_MS = 600;
const AUTOMATIC = "";

/** A player of one stream. */
export class PlayerPanel {
  /** What it shows. */
  readonly node: HTMLElement;
  /** What plays. */
  readonly playback: Playback;
  readonly #video = h("video", {
    id: "player",
    controls: true,
    playsinline: true,
    "aria-label": "Live picture",
  });
  readonly #message = h("p", { id: "player-message", role: "status" });
  readonly #again = h("button", { hidden: true, onclick: () => this.#onAgain() }, "Watch again");
  readonly #select = h("select", { id: "delivery", onchange: () => this.#onChoose() });
  readonly #unmute = h("button", {
    class: "primary unmute",
    onclick: () => {
      this.#video.muted = false;
      this.#video.volume ||= 1;
    },
  }, "Unmute");
  /** Resolves once there is a picture, or after a while without one: what else there is can wait. */
  readonly begun: Promise<void> = new Promise((resolve) => {
    this.#video.requestVideoFrameCallback?.(() => resolve());
    setTimeout(resolve, BEGIN_MS);
  });
  readonly #figures = new Map<string, HTMLElement>();
  readonly #means = h("p", { class: "hint" });
  readonly #timer: ReturnType<typeof setInterval>;

  /** A player of the stream `path`, which begins at once. */
  constructor(path: string) {
    this.#video.muted = true;
    this.#video.addEventListener("volumechange", () => this.#showSound());
    const stats = h("dl", { class: "figures" });
    for (const name of ["Latency", "Buffer", "Dropped", "Stalls", "Picture"]) {
      const value = h("dd", {}, "–");
      this.#figures.set(name, value);
      stats.append(h("div", {}, h("dt", {}, name), value));
    }
    this.node = h(
      "section",
      { class: "player", "aria-label": "Player" },
      h(
        "div",
        { class: "stage" },
        this.#video,
        h("div", { class: "overlay" }, this.#message, this.#again),
      ),
      h(
        "div",
        { class: "toolbar" },
        h("label", { for: "delivery" }, "Delivery"),
        this.#select,
        this.#unmute,
      ),
      stats,
      this.#means,
    );
    const chosen = chosenPlayer(location.search);
    this.playback = new Playback(this.#video, { path, chosen }, {
      message: (text, options) => {
        setText(this.#message, text);
        this.#again.hidden = options?.again !== true;
      },
      changed: () => this.#showChoice(),
    });
    this.#showChoice();
    this.#showSound();
    this.#showStats();
    this.#timer = setInterval(() => this.#showStats(), INTERVAL_MS);
  }

  /** Ends. */
  stop(): void {
    clearInterval(this.#timer);
    this.playback.stop();
  }

  #onAgain(): void {
    this.#again.hidden = true;
    this.playback.again();
    this.#video.focus();
  }

  #onChoose(): void {
    const { value } = this.#select;
    const { pathname, search } = location;
    history.replaceState(history.state, "", pathname + withPlayer(search, value));
    this.playback.choose(deliveryOf(value)?.id);
  }

  #showChoice(): void {
    // It is called first while the playback is being made.
    const playback: Playback | undefined = this.playback;
    if (playback === undefined) return;
    const { able, delivery, chosen } = playback;
    this.#video.dataset["delivery"] = delivery ?? "";
    const label = delivery && deliveryOf(delivery)?.label;
    const automatic = chosen === undefined && label ? `Automatic (${label})` : "Automatic";
    const options = [
      { value: AUTOMATIC, text: automatic, disabled: false },
      ...DELIVERIES.map(({ id, label }) => optionFor(id, label, able)),
    ];
    if (this.#select.options.length === 0) {
      this.#select.append(...options.map(({ value }) => h("option", { value })));
    }
    options.forEach(({ text, disabled }, index) => {
      const option = this.#select.options[index];
      if (option === undefined) return;
      setText(option, text);
      option.disabled = disabled;
    });
    this.#select.value = chosen ?? AUTOMATIC;
    const means = delivery && deliveryOf(delivery)?.latencyMeans;
    setText(
      this.#means,
      means
        ? `Latency is how far the picture is ${means}; what encoder and network take comes on top.`
        : "",
    );
  }

  #showSound(): void {
    this.#unmute.hidden = !this.#video.muted && this.#video.volume > 0;
  }

  #showStats(): void {
    const { latencyMs, bufferMs, dropped, frames, stalls } = this.playback.stats();
    const { dataset, videoWidth, videoHeight } = this.#video;
    dataset["latencyMs"] = latencyMs === undefined ? "" : String(Math.round(latencyMs));
    dataset["bufferMs"] = bufferMs === undefined ? "" : String(Math.round(bufferMs));
    dataset["dropped"] = String(dropped);
    dataset["stalls"] = String(stalls);
    this.#show("Latency", latencyMs === undefined ? "–" : formatMs(latencyMs));
    this.#show("Buffer", bufferMs === undefined ? "–" : formatMs(bufferMs));
    this.#show("Dropped", frames === 0 ? "–" : `${dropped} of ${frames}`);
    this.#show("Stalls", String(stalls));
    this.#show("Picture", videoWidth === 0 ? "–" : `${videoWidth}×${videoHeight}`);
  }

  #show(name: string, text: string): void {
    const figure = this.#figures.get(name);
    if (figure !== undefined) setText(figure, text);
  }
}

function optionFor(id: Delivery, label: string, able: readonly Delivery[]) {
  const isAble = able.includes(id);
  return { value: id, text: isAble ? label : `${label} – not in this browser`, disabled: !isAble };
}
