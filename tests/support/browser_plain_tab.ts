/**
 * A tab that goes to the background and is frozen there, as browsers do. Those of Playwright believe
 * to be in the foreground whatever happens, and what is in the foreground is not frozen.
 */

import type { CDPSession } from "playwright-core";
import { type Shown, type Wanted, type Watched, watchScript } from "./browser_watch.ts";

/** Longest that an answer of the browser may take, beside what is waited for. */
const PATIENCE_MS = 15_000;

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

interface Evaluated {
  readonly result: { readonly value?: unknown };
  readonly exceptionDetails?: { readonly text: string };
}

/** A tab spoken to by the DevTools protocol. */
export class PlainTab implements AsyncDisposable {
  readonly #browser: CDPSession;
  readonly #contextId: string;
  readonly #answers = new Map<number, (answer: Answer) => void>();
  #sessionId = "";
  #front: string | undefined;
  #calls = 0;

  private constructor(browser: CDPSession, contextId: string) {
    this.#browser = browser;
    this.#contextId = contextId;
    browser.on("Target.receivedMessageFromTarget", ({ message }) => {
      const answer: Answer = JSON.parse(message);
      this.#answers.get(answer.id)?.(answer);
    });
  }

  /** Opens `url` in a new window; it owns the session of the `browser`. */
  static async open(browser: CDPSession, url: string): Promise<PlainTab> {
    const { browserContextId } = await browser.send("Target.createBrowserContext");
    const tab = new PlainTab(browser, browserContextId);
    try {
      const targetId = await tab.#create({ width: 800, height: 600 });
      const { sessionId } = await browser.send("Target.attachToTarget", { targetId });
      tab.#sessionId = sessionId;
      await tab.#call("Page.enable");
      await tab.#call("Page.addScriptToEvaluateOnNewDocument", { source: watchScript() });
      await tab.#call("Page.navigate", { url });
      return tab;
    } catch (error) {
      await tab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Puts another tab of the window to the front, and freezes this one. */
  async freeze(): Promise<void> {
    this.#front = await this.#create();
    await this.#call("Page.setWebLifecycleState", { state: "frozen" });
  }

  /** Undoes that. */
  async thaw(): Promise<void> {
    await this.#call("Page.setWebLifecycleState", { state: "active" });
    await this.#call("Page.bringToFront");
    if (this.#front) await this.#browser.send("Target.closeTarget", { targetId: this.#front });
  }

  /** Waits for a picture; undefined if there is none in that time. */
  async find(wanted: Wanted, timeoutMs: number): Promise<Shown | undefined> {
    const expression = `watcher.find(${JSON.stringify(wanted)}, ${timeoutMs})`;
    return await this.evaluate(expression, timeoutMs) as Shown | null ?? undefined;
  }

  /** What was shown until now. */
  async look(): Promise<Watched> {
    return await this.evaluate("watcher.look()") as Watched;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const browserContextId = this.#contextId;
    await this.#browser.send("Target.disposeBrowserContext", { browserContextId });
    await this.#browser.detach();
  }

  /** Opens an empty tab: the first one, which has a size, in a window of its own. */
  async #create(size: { width?: number; height?: number } = {}): Promise<string> {
    const browserContextId = this.#contextId;
    const init = { url: "about:blank", browserContextId, ...size };
    const { targetId } = await this.#browser.send("Target.createTarget", init);
    return targetId;
  }

  /** The value of an expression, once it is there. */
  async evaluate(expression: string, extraMs = 0): Promise<unknown> {
    const params = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.#call(
      "Runtime.evaluate",
      params,
      extraMs,
    ) as Evaluated;
    if (exceptionDetails) {
      throw new Error(`Cannot evaluate ${expression}: ${exceptionDetails.text}`);
    }
    return result.value;
  }

  async #call(method: string, params: object = {}, extraMs = 0): Promise<unknown> {
    const id = ++this.#calls;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#answers.set(id, resolve);
    const timer = setTimeout(
      () => reject(new Error(`Too long a wait for ${method}`)),
      PATIENCE_MS + extraMs,
    );
    try {
      const message = JSON.stringify({ id, method, params });
      // Sessions within sessions are none that Playwright gives.
      await this.#browser.send("Target.sendMessageToTarget", {
        sessionId: this.#sessionId,
        message,
      });
      const { result, error } = await promise;
      if (error) throw new Error(`Cannot ${method}: ${error.message}`);
      return result;
    } finally {
      clearTimeout(timer);
      this.#answers.delete(id);
    }
  }
}
