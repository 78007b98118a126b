/// <reference lib="dom" />
/** Where a stream is published and watched, to copy and to scan. */

import type { PluginInfo } from "../../http/service.ts";
import {
  type Address,
  commands,
  isLocalOnly,
  obsSettings,
  pageAddress,
  type Ports,
  portsOf,
  publishAddresses,
  watchAddresses,
} from "./addresses.ts";
import { isAmong } from "./delivery.ts";
import { h, panel } from "./dom.ts";
import { loadQr } from "./libraries.ts";

/** How long it says that something is copied. */
const COPIED_MS = 2000;
/** White around a QR code, in modules, as the standard wants it. */
const QUIET_ZONE = 4;

/** The addresses of one stream. */
export class AddressesPanel {
  readonly node: HTMLElement;
  readonly #path: string;
  readonly #watch = h("div", {});
  readonly #publish = h("div", {});

  /** The addresses of the stream `path`. */
  constructor(path: string) {
    this.#path = path;
    this.node = panel(
      "Addresses",
      h("div", { class: "address-columns" }, this.#watch, this.#publish, phone(path)),
    );
    this.#show({});
  }

  /** Takes the ports from the plugins, and says which addresses need one that does not run. */
  setPlugins(plugins: readonly PluginInfo[]): void {
    const running = plugins.filter(({ running }) => running);
    const names = running.map(({ name }) => name);
    for (const { plugin, note } of this.#show(portsOf(running))) {
      note.hidden = isAmong(plugin, names);
    }
  }

  #show(ports: Ports): readonly AddressRow[] {
    const { protocol, host, hostname, search } = location;
    const place = { protocol, host, hostname, search, ports };
    const publish = publishAddresses(this.#path, place).map(addressRow);
    const watch = watchAddresses(this.#path, place).map(addressRow);
    const { server, key } = obsSettings(this.#path, place);
    const command = commands(this.#path, place);
    this.#watch.replaceChildren(h("h3", {}, "Watch"), ...watch.map(({ node }) => node));
    this.#publish.replaceChildren(
      h("h3", {}, "Publish"),
      ...publish.map(({ node }) => node),
      h("h3", {}, "OBS: Settings → Stream → Custom"),
      copyRow("Server", server).node,
      copyRow("Stream key", key).node,
      h("h3", {}, "FFmpeg"),
      copyRow("Publish", command.publish).node,
      copyRow("Watch", command.watch).node,
    );
    return [...publish, ...watch];
  }
}

interface AddressRow {
  readonly node: HTMLElement;
  /** Hidden while the plugin of that name runs. */
  readonly note: HTMLElement;
  readonly plugin: string;
}

function addressRow({ label, url, plugin }: Address): AddressRow {
  return { ...copyRow(label, url), plugin };
}

/** A text with a button that copies it, and a note that is hidden. */
function copyRow(label: string, text: string): { node: HTMLElement; note: HTMLElement } {
  const note = h("span", { class: "hint", hidden: true }, "plugin not running");
  const code = h("code", {}, text);
  const status = h("span", { class: "hidden", role: "status" });
  const button = h("button", {
    class: "small",
    "aria-label": `Copy ${label}`,
    onclick: async () => {
      const isCopied = await copy(text, code);
      button.textContent = isCopied ? "Copied" : "Ctrl+C";
      status.textContent = isCopied ? `${label} copied` : `${label} is selected: press Ctrl+C`;
      setTimeout(() => {
        button.textContent = "Copy";
        status.textContent = "";
      }, COPIED_MS);
    },
  }, "Copy");
  const node = h(
    "div",
    { class: "copy-row" },
    h("span", { class: "label" }, label, " ", note),
    code,
    button,
    status,
  );
  return { node, note };
}

/** Copies `text`; where the browser doesn't let pages do that, as without HTTPS, selects it. */
async function copy(text: string, element: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}

/** The page of the stream for a phone. */
function phone(path: string): HTMLElement {
  const url = pageAddress(path, location);
  const canvas = h("canvas", { class: "qr", role: "img", "aria-label": `QR code of ${url}` });
  loadQr().then((generate) => {
    generate(url).toCanvas(canvas, {
      on: [0, 0, 0],
      off: [255, 255, 255],
      pad: QUIET_ZONE,
    });
  }).catch(() => canvas.remove());
  const warning = h(
    "p",
    { class: "warning" },
    `A phone cannot reach ${location.hostname}: open this page by the machine's name or address ` +
      "in the network first.",
  );
  warning.hidden = !isLocalOnly(location.hostname);
  return h(
    "div",
    { class: "phone" },
    h("h3", {}, "On the phone"),
    canvas,
    copyRow("This page", url).node,
    warning,
  );
}
