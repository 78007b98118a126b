/// <reference lib="dom" />
/** The console: what the address names, between a header and what the server says of itself. */

import type { ServerInfo } from "../../http/service.ts";
import { logout } from "./api.ts";
import { askPassword } from "./dialogs.ts";
import { h, setText } from "./dom.ts";
import { formatBytes, formatCount, formatDuration } from "./format.ts";
import { type Access, type EventHandlers, LiveEvents } from "./live_events.ts";
import { Overview } from "./overview.ts";
import { routeOf } from "./route.ts";
import { themeButton } from "./theme.ts";
import { Watch } from "./watch.ts";

/** A view of the page. */
interface View {
  readonly title: string;
  readonly node: HTMLElement;
  readonly events: readonly EventHandlers[];
  /** Resolves when it has time for what the server tells. */
  readonly ready: Promise<void>;
  focus(): void;
  stop(): void;
}

const NAME = "m7s console";
const SIGNED_IN = "console-signed-in";
/** A connection that is back so soon was not worth a word. */
const LOST_MS = 1500;

/** The page as a whole. */
class App {
  readonly #server = h("p", { class: "muted server" });
  readonly #banner = h("p", { class: "banner", role: "status" });
  readonly #notice = h("div", { class: "notice", hidden: true });
  readonly #main = h("main", { id: "main", tabindex: -1 });
  readonly #signOut = h("button", { class: "quiet", onclick: () => this.#leave() }, "Sign out");
  readonly #home = h("a", { href: "/" }, "Streams");
  #view: View | undefined;
  #events: LiveEvents | undefined;
  #lost: ReturnType<typeof setTimeout> | undefined;

  /** Shows what the address names, now and later. */
  start(): void {
    const theme = themeButton();
    const skip = h("a", { class: "skip", href: "#main" }, "Skip to the content");
    const nav = h(
      "nav",
      { "aria-label": "Console" },
      h("span", { class: "brand" }, NAME),
      this.#home,
    );
    this.#signOut.hidden = localStorage.getItem(SIGNED_IN) === null;
    const tools = h("div", { class: "tools" }, this.#signOut, theme);
    document.body.append(
      skip,
      h("header", {}, nav, this.#server, tools),
      this.#banner,
      this.#notice,
      this.#main,
    );
    document.addEventListener("click", (event) => this.#onClick(event));
    addEventListener("popstate", () => this.#show());
    this.#show();
  }

  /** Goes where links within the page lead, without loading it anew. */
  #onClick(event: MouseEvent): void {
    const { button, ctrlKey, metaKey, shiftKey, altKey, target } = event;
    if (button !== 0 || ctrlKey || metaKey || shiftKey || altKey) return;
    const link = target instanceof Element ? target.closest("a") : null;
    if (link === null || link.origin !== location.origin || link.hash !== "") return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    this.#show();
    this.#view?.focus();
    scrollTo(0, 0);
  }

  #show(): void {
    this.#view?.stop();
    this.#events?.stop();
    this.#events = undefined;
    this.#sayLost(false);
    const route = routeOf(location.pathname);
    const view = route.view === "watch" ? new Watch(route.path) : new Overview();
    this.#view = view;
    if (route.view === "streams") this.#home.setAttribute("aria-current", "page");
    else this.#home.removeAttribute("aria-current");
    document.title = `${view.title} · ${NAME}`;
    this.#main.replaceChildren(view.node);
    view.ready.then(() => {
      if (this.#view !== view) return;
      this.#events = new LiveEvents(route.view === "watch" ? route.path : undefined, {
        access: (access) => this.#onAccess(access),
        events: [...view.events, { server: (server) => this.#showServer(server) }],
      });
    });
  }

  #onAccess(access: Access): void {
    this.#sayLost(access.state === "lost");
    const { state } = access;
    this.#notice.hidden = state !== "password" && state !== "refused";
    if (access.state === "refused") {
      this.#notice.replaceChildren(
        h("p", {}, `What the server does is not shown here. ${access.reason}.`),
      );
    } else if (state === "password") {
      const signIn = h("button", { class: "primary", onclick: () => this.#signIn() }, "Sign in");
      this.#notice.replaceChildren(
        h("p", {}, "What the server does is shown to those who have its password."),
        signIn,
      );
      // Whoever comes to watch is not kept from that.
      if (routeOf(location.pathname).view === "streams") this.#signIn();
    }
  }

  #signIn(): void {
    askPassword(() => {
      localStorage.setItem(SIGNED_IN, "yes");
      this.#signOut.hidden = false;
      this.#events?.retry();
    });
  }

  async #leave(): Promise<void> {
    await logout();
    localStorage.removeItem(SIGNED_IN);
    location.reload();
  }

  #sayLost(isLost: boolean): void {
    if (!isLost) {
      clearTimeout(this.#lost);
      this.#lost = undefined;
      return setText(this.#banner, "");
    }
    this.#lost ??= setTimeout(() => {
      setText(this.#banner, "The connection to the server is lost. Trying again…");
    }, LOST_MS);
  }

  #showServer({ version, uptimeSeconds, streams, subscribers, memoryBytes }: ServerInfo): void {
    const parts = [
      version,
      `up ${formatDuration(uptimeSeconds)}`,
      formatCount(streams, "stream"),
      formatCount(subscribers, "viewer"),
      formatBytes(memoryBytes.rss),
    ];
    setText(this.#server, parts.join(" · "));
  }
}

new App().start();
