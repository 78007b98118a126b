/** What tests ask of a page of the console, and what they hold against every page. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Page } from "playwright-core";
import type { ApiEvents } from "../../plugins/http/service.ts";
import type { Tab } from "./browser.ts";
import type { ConsoleServer } from "./browser_server.ts";

/** Longest wait for what is to be. */
export const PATIENCE_MS = 10_000;

/** Whether a request is that of a card's preview. */
export function isPreview(url: string): boolean {
  return /^ws:.*[?&]audio=0/.test(url);
}

/** Tells the page what a server would by its events: to each connection of it one after the other. */
export async function tellEvents(page: Page, ...told: readonly Partial<Told>[]): Promise<void> {
  let connections = 0;
  await page.route("**/api/events*", async (route) => {
    const events = told[connections++];
    // What is told last stays so.
    if (events === undefined) return;
    const lines = Object.entries(events).map(([name, data]) =>
      `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`
    );
    const body = `retry: 10\n\n${lines.join("")}`;
    await route.fulfill({ contentType: "text/event-stream", body });
  });
}

type Told = Readonly<Record<keyof ApiEvents, unknown>>;

/** How much of the QR code is dark, of 1. */
export const DARKNESS: string = `(() => {
  const canvas = document.querySelector("canvas.qr");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return data.filter((value, at) => at % 4 === 0 && value < 128).length / (width * height);
})()`;

/** Whether all plots have a line, which is the only thing in them that is of a colour. */
export const PLOTTED: string = `[...document.querySelectorAll(".plot canvas")].every((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((blue, at) => at % 4 === 2 && blue > data[at - 2] + 100);
})`;

/**
 * Texts that are hard to read, by their contrast to what is behind them (WCAG 2.2, 1.4.3). The
 * player's own are upon a picture.
 */
export const FAINT: string = `(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const lightness = (color) => {
    const [r, g, b] = parse(color).map((value) =>
      value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const { backgroundColor } = getComputedStyle(element);
    const [, , , alpha = 1] = parse(backgroundColor);
    return alpha === 1 || !element.parentElement ? backgroundColor : behind(element.parentElement);
  };
  return [...document.querySelectorAll("body *")].filter((element) => {
    const isText = [...element.childNodes].some(({ nodeType, data }) => nodeType === 3 && data.trim());
    if (!isText || !element.checkVisibility() || element.closest(".overlay, :disabled")) return false;
    const both = [getComputedStyle(element).color, behind(element)].map(lightness);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05) < 4.5;
  }).map(({ outerHTML }) => outerHTML);
})()`;

/** Waits until `expression` is true in a page, whose policy keeps Playwright from doing that there. */
export async function until({ page }: Tab, expression: string): Promise<void> {
  for (const endMs = Date.now() + PATIENCE_MS; Date.now() < endMs;) {
    if (await page.evaluate<boolean>(expression)) return;
    await page.waitForTimeout(100);
  }
  throw new Error(`It does not come true: ${expression}`);
}

/** Waits until the player's message is like that. */
export async function says(tab: Tab, pattern: RegExp): Promise<void> {
  const message = tab.page.locator("#player-message");
  const endMs = Date.now() + PATIENCE_MS;
  let text = "";
  while (Date.now() < endMs) {
    text = await message.textContent() ?? "";
    if (pattern.test(text)) return;
    await tab.page.waitForTimeout(50);
  }
  assertMatch(text, pattern);
}

/** Fails if the page asked another host for something, or complained of anything not `allowed`. */
export async function assertClean(
  tab: Tab,
  server: ConsoleServer,
  { allowed }: { readonly allowed?: RegExp } = {},
): Promise<void> {
  const own = new URL(server.http).host;
  const isOwn = (url: string) => /^(blob|data):/.test(url) || URL.parse(url)?.host === own;
  assertEquals(tab.requests.filter((url) => !isOwn(url)), []);
  assertEquals(tab.faults.filter((fault) => !allowed?.test(fault)), []);
  assertEquals((await tab.showing()).violations, []);
}

/** Fails if the page is wider than its window. */
export async function assertFits(tab: Tab): Promise<void> {
  const { scrollWidth, clientWidth } = await tab.page.evaluate<Widths>(
    "(({ scrollWidth, clientWidth }) => ({ scrollWidth, clientWidth }))(document.documentElement)",
  );
  assert(scrollWidth <= clientWidth, `${scrollWidth} pixels in a window of ${clientWidth}`);
}

interface Widths {
  readonly scrollWidth: number;
  readonly clientWidth: number;
}

/** What has the focus: its name, its place among all elements, and whether one sees it. */
const FOCUSED = `(() => {
  const { activeElement: element } = document;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  return {
    index: [...document.querySelectorAll("*")].indexOf(element),
    name: element.innerText?.trim() || element.id || element.localName,
    isBody: element === document.body,
    isSeen: outlineStyle !== "none" && outlineWidth !== "0px",
  };
})()`;

interface Focused {
  readonly index: number;
  readonly name: string;
  readonly isBody: boolean;
  readonly isSeen: boolean;
}

/** More than there is to press in any page here: the controls of a player are many. */
const MAX_TABS = 80;

/** Names of all that the Tab key reaches, in order; fails if it is caught, or one does not see where it is. */
export async function reachable({ page }: Tab): Promise<string[]> {
  const found = new Map<number, Focused>();
  let last = -1;
  await page.evaluate("document.activeElement?.blur()");
  for (let press = 0; press < MAX_TABS; press++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate<Focused>(FOCUSED);
    const isRound = focused.isBody || (found.has(focused.index) && focused.index !== last);
    if (isRound) {
      const hidden = [...found.values()].filter(({ isSeen }) => !isSeen);
      assertEquals(hidden, [], "the focus is not seen");
      return [...found.values()].map(({ name }) => name);
    }
    last = focused.index;
    // Within a player's own controls one sees it there.
    if (!found.has(last)) found.set(last, focused);
  }
  throw new Error(`The focus does not come round: ${[...found.values()].map(({ name }) => name)}`);
}

/** Where screenshots go: they stay if `M7S_ARTEFACTS` names a folder. */
export async function artefactFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = Deno.env.get("M7S_ARTEFACTS");
  if (path !== undefined) {
    await Deno.mkdir(path, { recursive: true });
    return { path, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  const temporary = await Deno.makeTempDir();
  return {
    path: temporary,
    [Symbol.asyncDispose]: () => Deno.remove(temporary, { recursive: true }),
  };
}
