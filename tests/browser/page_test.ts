/** The console in a real browser: what it says, who may use it, and that all of it can be used by everybody. */

import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { browserTest, Chromium, type Tab } from "../support/browser.ts";
import { ConsoleServer } from "../support/browser_server.ts";
import { Source } from "../support/browser_source.ts";
import { inspectImage } from "../support/browser_image.ts";
import { RtmpClient } from "../support/rtmp.ts";
import { makeClip, publish } from "../support/ffmpeg.ts";

const PATIENCE_MS = 10_000;
const TOKEN = "open-sesame";
/** The narrowest screens that are in use. */
const NARROW = { width: 360, height: 640 };
const DESKTOP = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };
/** Names that become a script, an attribute or a tag wherever text is put into markup. */
const HOSTILE = [
  `<img src=x onerror=alert(1)>`,
  `"><script>alert(2)</script>`,
  `' onmouseover='alert(3)' x='`,
  `javascript:alert(4)`,
  `a&lt;b&quot;${"long".repeat(40)}`,
];

browserTest(
  "A page of an unknown stream says so with 404, and plays whenever it is published",
  async () => {
    await using server = await ConsoleServer.start();
    await using chromium = await Chromium.launch();
    await using tab = await chromium.open();
    assertEquals(await tab.visit(`${server.http}/watch/live/later`), 404);
    await says(tab, /no stream live\/later/);
    for (let publishing = 1; publishing <= 2; publishing++) {
      const afterMs = Date.now();
      await using source = await Source.publish(`${server.rtmp}/live/later`);
      await tab.shows({ afterMs });
      await says(tab, /^$/);
      await source.stop();
      await says(tab, /^The stream has ended/);
    }
    await assertClean(tab, server, { allowed: /\b404\b/ });
    assertEquals(tab.documents, 1);
  },
);

browserTest("The console shows streams to those who sign in, and plays for everybody", async () => {
  await using server = await ConsoleServer.start({ apiToken: TOKEN });
  await using _source = await Source.publish(`${server.rtmp}/live/a`);
  await using chromium = await Chromium.launch();
  await using viewer = await chromium.open();
  assertEquals(await viewer.visit(`${server.http}/watch/live/a`), 200);
  await viewer.shows();
  assertEquals(await viewer.page.locator("[data-subscriber]").count(), 0);

  await using tab = await chromium.open();
  const { page } = tab;
  await tab.visit(`${server.http}/`);
  const password = page.getByLabel("Password");
  for (const wrong of ["wrong-token", `${TOKEN}x`, TOKEN.toUpperCase()]) {
    await password.fill(wrong);
    await password.press("Enter");
    await page.getByRole("alert").getByText("not the password").waitFor();
    assertEquals(await page.locator("[data-stream]").count(), 0);
    // What it says goes with the next attempt only.
    await page.reload();
  }
  assertEquals((await page.request.get(`${server.http}/api/streams`)).status(), 401);
  await password.fill(TOKEN);
  await password.press("Enter");
  await page.locator('[data-stream="live/a"]').waitFor();
  assertEquals((await page.request.get(`${server.http}/api/streams`)).status(), 200);
  const [cookie, ...others] = await page.context().cookies();
  assertEquals([cookie?.httpOnly, cookie?.sameSite, others], [true, "Strict", []]);
  assert(!JSON.stringify([cookie, await page.context().storageState()]).includes(TOKEN));
  await page.reload();
  await page.locator('[data-stream="live/a"]').waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await password.waitFor();
  assertEquals((await page.request.get(`${server.http}/api/streams`)).status(), 401);
  for (const each of [viewer, tab]) await assertClean(each, server, { allowed: /\b401\b/ });
});

browserTest("An operator puts out a viewer, who is told, and who may come back", async () => {
  await using server = await ConsoleServer.start();
  await using _source = await Source.publish(`${server.rtmp}/live/a`);
  await using chromium = await Chromium.launch();
  await using operator = await chromium.open();
  await operator.visit(`${server.http}/watch/live/a?player=ws-flv`);
  await operator.shows();
  await using viewer = await chromium.open();
  await viewer.visit(`${server.http}/watch/live/a?player=ws-mp4`);
  await viewer.shows();

  const row = operator.page.locator("[data-subscriber]").filter({ hasText: "WS-MP4" });
  await row.getByRole("button", { name: "Kick" }).click();
  await operator.page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
  await row.waitFor({ state: "detached" });
  await says(viewer, /^Disconnected/);
  await viewer.page.getByRole("button", { name: "Watch again" }).click();
  await viewer.shows({ afterMs: Date.now() });
  await row.waitFor();
  for (const tab of [operator, viewer]) await assertClean(tab, server);
});

browserTest("Names of streams are text, whatever they look like", async () => {
  await using server = await ConsoleServer.start();
  await using publishers = new AsyncDisposableStack();
  for (const name of HOSTILE) {
    const client = publishers.use(await RtmpClient.publish(server.rtmp, name));
    await client.pushHeaders(0);
  }
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open({ viewport: NARROW });
  const { page } = tab;
  await tab.visit(`${server.http}/`);
  for (const name of HOSTILE) {
    const path = `live/${name}`;
    const card = page.locator("[data-stream]").filter({ hasText: path });
    await card.waitFor();
    assertEquals(await card.getAttribute("data-stream"), path);
  }
  await assertFits(tab);
  assertEquals(await page.locator("img, [onerror], [onmouseover]").count(), 0);
  for (const name of HOSTILE) {
    await tab.visit(`${server.http}/`);
    await page.locator("[data-stream]").filter({ hasText: name }).click();
    await page.getByRole("heading", { level: 1, name: `live/${name}`, exact: true }).waitFor();
    await page.getByText("RTMP from").waitFor();
    await assertFits(tab);
    assertEquals(await page.locator("img, [onerror], [onmouseover]").count(), 0);
    const opened = await tab.page.reload({ waitUntil: "commit" });
    assertEquals(opened?.status(), 200, name);
    await page.getByText("RTMP from").waitFor();
  }
  await assertClean(tab, server);
});

browserTest("The console can be used by the keyboard alone", async () => {
  await using server = await ConsoleServer.start();
  await using _source = await Source.publish(`${server.rtmp}/live/a`);
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open();
  const { page } = tab;
  await tab.visit(`${server.http}/`);
  const card = page.locator('[data-stream="live/a"]');
  await card.waitFor();
  const all = await reachable(tab);
  assertEquals(all[0], "Skip to the content");
  assert(all.some((name) => name.includes("live/a")), `no stream: ${all}`);
  await card.focus();
  await page.keyboard.press("Enter");
  await tab.shows();
  await page.locator("[data-subscriber]").waitFor();
  const names = await reachable(tab);
  for (const name of ["player", "Automatic", "Unmute", "Kick", "End stream"]) {
    assert(names.some((one) => one.includes(name)), `${name} is not reached: ${names}`);
  }
  const kick = page.getByRole("button", { name: "Kick" });
  await kick.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.locator("#delivery").focus();
  await page.keyboard.press("End");
  await page.waitForURL(/player=/);
  await assertClean(tab, server);
});

browserTest("The console fits screens from 360 pixels on, by day and by night", async () => {
  await using server = await ConsoleServer.start();
  await using _source = await Source.publish(`${server.rtmp}/live/a`);
  const clip = await makeClip();
  await using second = publish(`${server.rtmp}/live/camera-with-a-rather-long-name`, clip, {
    loops: Infinity,
  });
  await second.started;
  await using chromium = await Chromium.launch();
  await using blank = await chromium.open();
  await using artefacts = await artefactFolder();
  for (
    const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE, narrow: NARROW })
  ) {
    for (const colorScheme of ["light", "dark"] as const) {
      await using tab = await chromium.open({ viewport, colorScheme });
      for (const [view, path] of [["streams", "/"], ["watch", "/watch/live/a"]] as const) {
        await tab.visit(server.http + path);
        await (view === "watch" ? tab.shows() : tab.page.locator("[data-stream] video").first()
          .waitFor());
        await (view === "watch"
          ? tab.page.locator("[data-subscriber]").waitFor()
          : tab.page.getByText("1 viewer").or(tab.page.getByText("0 viewers")).first().waitFor());
        await assertFits(tab);
        const image = await tab.page.screenshot({ fullPage: true });
        await Deno.writeFile(`${artefacts.path}/${view}-${size}-${colorScheme}.png`, image);
        const { colors, lightness } = await inspectImage(blank.page, image);
        assertGreater(colors, 50, `${view} at ${size}: ${colors} colours`);
        assertEquals(
          lightness > 0.5,
          colorScheme === "light",
          `${view}: ${lightness} is ${colorScheme}`,
        );
      }
      await assertClean(tab, server);
    }
  }
});

/** Waits until the player's message is like that. */
async function says(tab: Tab, pattern: RegExp): Promise<void> {
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
async function assertClean(
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
async function assertFits(tab: Tab): Promise<void> {
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
async function reachable({ page }: Tab): Promise<string[]> {
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

async function artefactFolder(): Promise<AsyncDisposable & { readonly path: string }> {
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
