/** Chromium, and what its pages show of streams. */

import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from "playwright-core";
import { PlainTab } from "./browser_plain_tab.ts";
import { type Shown, type Wanted, type Watched, watchScript } from "./browser_watch.ts";

/** Where Debian has it. */
const EXECUTABLE = "/usr/bin/chromium";
const ARGUMENTS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-dev-shm-usage",
  "--autoplay-policy=no-user-gesture-required",
];
/** Longest that any step in a page may take. */
const PATIENCE_MS = 15_000;
/** Counters of pictures are modulo this. */
const COUNTERS = 0x1_0000;

const isMissing = !exists(EXECUTABLE);

/** Defines a test that is left out, and says so, where Chromium is missing. */
export function browserTest(name: string, run: () => Promise<void>): void {
  const shown = isMissing ? `${name} (left out without chromium)` : name;
  Deno.test({ name: shown, ignore: isMissing, fn: run });
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A browser without a screen. */
export class Chromium implements AsyncDisposable {
  readonly #browser: Browser;

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  /** Starts it. */
  static async launch(): Promise<Chromium> {
    const options = { executablePath: EXECUTABLE, args: ARGUMENTS, timeout: PATIENCE_MS };
    return new Chromium(await chromium.launch(options));
  }

  /** Opens an empty tab in a window of its own, with nothing of other tabs, such as cookies. */
  async open(options: BrowserContextOptions = {}): Promise<Tab> {
    const context = await this.#browser.newContext(options);
    context.setDefaultTimeout(PATIENCE_MS);
    await context.addInitScript(watchScript());
    return await Tab.open(context);
  }

  /** Opens `url` in a tab that can be put into the background, in a window of its own. */
  async openPlain(url: string): Promise<PlainTab> {
    return await PlainTab.open(await this.#browser.newBrowserCDPSession(), url);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }
}

/** What a player has shown in a while. */
export interface Showing extends Watched {
  readonly medianMs: number;
  readonly worstMs: number;
  /** Longest time from one picture to the next. */
  readonly gapMs: number;
  /** How often the counter went back. */
  readonly backs: number;
  /** Pictures of the source that were not shown. */
  readonly skipped: number;
}

/** A tab, which is always in the foreground. */
export class Tab implements AsyncDisposable {
  readonly page: Page;
  /** Errors and warnings in the console, exceptions, and dialogs, of which a page should have none. */
  readonly faults: string[] = [];
  /** Addresses of all that it has asked for. */
  readonly requests: string[] = [];
  /** How many documents it has loaded. */
  documents = 0;

  private constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => {
      if (message.type() !== "error" && message.type() !== "warning") return;
      this.faults.push(`${message.type()}: ${message.text()} (${message.location().url})`);
    });
    page.on("pageerror", (error) => this.faults.push(`exception: ${error}`));
    page.on("dialog", (dialog) => {
      this.faults.push(`dialog: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("websocket", (socket) => this.requests.push(socket.url()));
    page.on("domcontentloaded", () => this.documents++);
  }

  /** Opens a tab of `context`, which it owns. */
  static async open(context: BrowserContext): Promise<Tab> {
    return new Tab(await context.newPage());
  }

  /** Goes to `url` and does not wait for it. */
  async visit(url: string): Promise<number> {
    const response = await this.page.goto(url, { waitUntil: "commit" });
    return response?.status() ?? 0;
  }

  /** Forgets what was shown until now. */
  async forget(): Promise<void> {
    await this.page.evaluate(() => globalThis.watcher.forget());
  }

  /** Waits for a picture. */
  async shows(wanted: Wanted = {}, timeoutMs = PATIENCE_MS): Promise<Shown> {
    const found = await this.page.evaluate(
      ({ wanted, timeoutMs }) => globalThis.watcher.find(wanted, timeoutMs),
      { wanted, timeoutMs },
    );
    if (found) return found;
    const said = await this.page.locator("#player-message").textContent({ timeout: 1000 })
      .catch(() => null);
    const { pictures } = await this.showing();
    throw new Error(
      `No picture ${JSON.stringify(wanted)} in ${timeoutMs} ms; the last one is ` +
        `${JSON.stringify(pictures.at(-1))}, the page says ${JSON.stringify(said)}, ` +
        `its console ${JSON.stringify(this.faults)}`,
    );
  }

  /** What was shown until now, since it was forgotten. */
  async showing(): Promise<Showing> {
    return summary(await this.page.evaluate(() => globalThis.watcher.look()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
  }
}

function summary(watched: Watched): Showing {
  const { pictures } = watched;
  const latencies = pictures.map(({ latencyMs }) => latencyMs).sort((a, b) => a - b);
  let [gapMs, backs, skipped] = [0, 0, 0];
  for (const [index, { atMs, counter }] of pictures.entries()) {
    const before = pictures[index - 1];
    if (!before) continue;
    gapMs = Math.max(gapMs, atMs - before.atMs);
    const step = (counter - before.counter + COUNTERS) % COUNTERS;
    if (step >= COUNTERS / 2) backs++;
    else if (step > 1) skipped += step - 1;
  }
  return {
    ...watched,
    medianMs: latencies[latencies.length >> 1] ?? NaN,
    worstMs: latencies.at(-1) ?? NaN,
    gapMs,
    backs,
    skipped,
  };
}
