/** The console in a real browser: what it says, who may use it, and that all of it can be used by everybody. */

import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import type { Page } from "playwright-core";
import type { ApiEvents } from "../../plugins/http/service.ts";
import { browserTest, Chromium, type Tab } from "../support/browser.ts";
import { ConsoleServer } from "../support/browser_server.ts";
import { Source } from "../support/browser_source.ts";
import { inspectImage } from "../support/browser_image.ts";
import { RtmpClient } from "../support/rtmp.ts";
import { type ClipOptions, makeClip, publish } from "../support/ffmpeg.ts";

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
  `100%41 #now`,
];

const ODD_STREAMS: Readonly<Record<string, ClipOptions>> = {
  "a-sound": { video: "none" },
  h265: { video: "hevc", audio: "none" },
};

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
  // Whoever comes to watch is not kept from that.
  await viewer.page.getByRole("button", { name: "Sign in" }).waitFor();
  assertEquals(await viewer.page.getByRole("dialog").count(), 0);
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

browserTest("An operator ends a stream once that is confirmed", async () => {
  await using server = await ConsoleServer.start();
  await using publisher = await RtmpClient.publish(server.rtmp, "a");
  await publisher.pushHeaders(0);
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open();
  const { page } = tab;
  await tab.visit(`${server.http}/watch/live/a`);
  const dialog = page.getByRole("dialog", { name: "End this stream?" });
  for (const answer of ["Cancel", "End it"]) {
    await page.getByRole("button", { name: "End stream" }).click();
    await dialog.getByRole("button", { name: answer }).click();
    await dialog.waitFor({ state: "detached" });
    const status = (await page.request.get(`${server.http}/api/streams/live/a`)).status();
    assertEquals(status, answer === "Cancel" ? 200 : 404);
  }
  await says(tab, /^The stream has ended/);
  await page.getByText("Nobody watches.").waitFor();
  await assertClean(tab, server, { allowed: /\b404\b/ });
});

browserTest("The page of a stream has its figures, and addresses to copy and to scan", async () => {
  await using server = await ConsoleServer.start();
  await using _source = await Source.publish(`${server.rtmp}/live/a`);
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open({ permissions: ["clipboard-read", "clipboard-write"] });
  const { page } = tab;
  await tab.visit(`${server.http}/watch/live/a?token=x`);
  await tab.shows();
  const { host } = new URL(server.http);
  const copied = {
    "WS-MP4": `ws://${host}/live/a.mp4?token=x`,
    "HLS, LL-HLS": `http://${host}/live/a.m3u8?token=x`,
    "This page": `http://${host}/watch/live/a?token=x`,
    "Stream key": "a",
  };
  for (const [label, address] of Object.entries(copied)) {
    await page.getByRole("button", { name: `Copy ${label}`, exact: true }).click();
    await page.getByText(`${label} copied`).waitFor({ state: "attached" });
    assertEquals(await page.evaluate("navigator.clipboard.readText()"), address);
  }
  await page.getByText(`${server.rtmp}/live/a`, { exact: true }).first().waitFor();
  // Bitrate, frames and keyframes of the video, and the first two of the audio.
  for (const plot of await page.locator(".plot").all()) await plot.locator("canvas").waitFor();
  assertEquals(await page.locator(".plot canvas").count(), 5);
  await page.getByText(/now [1-9][\d.]* [kM]bit\/s/).first().waitFor();
  await until(tab, PLOTTED);
  const plot = "document.querySelector('.plot canvas').toDataURL()";
  const before = await page.evaluate(plot);
  await until(tab, `${plot} !== ${JSON.stringify(before)}`);
  const dark = await page.evaluate<number>(DARKNESS);
  assert(dark > 0.2 && dark < 0.6, `${dark} of the QR code is dark`);
  // It is the test that reads canvases.
  await assertClean(tab, server, { allowed: /willReadFrequently/ });
});

browserTest("What a viewer chooses is done at once, and is there when they come back", async () => {
  await using server = await ConsoleServer.start();
  await using _source = await Source.publish(`${server.rtmp}/live/a`);
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open({ colorScheme: "light" });
  const { page } = tab;
  await tab.visit(`${server.http}/watch/live/a`);
  await tab.shows();
  await page.locator('#player[data-delivery="ws-mp4"]').waitFor();
  await page.getByLabel("Delivery").selectOption("WebSocket FLV");
  await page.locator('#player[data-delivery="ws-flv"]').waitFor();
  await tab.shows({ afterMs: Date.now() });
  await page.getByRole("button", { name: "Unmute" }).click();
  assertEquals(await page.evaluate("document.querySelector('#player').muted"), false);
  const background = "getComputedStyle(document.body).backgroundColor";
  const light = await page.evaluate(background);
  await page.getByRole("button", { name: "Dark theme" }).click();
  const dark = await page.evaluate(background);
  assert(dark !== light, "the theme is the same");
  await page.reload();
  await page.locator('#player[data-delivery="ws-flv"]').waitFor();
  await tab.shows();
  assertEquals(await page.evaluate(background), dark);
  await page.getByRole("button", { name: "Light theme" }).click();
  assertEquals(await page.evaluate(background), light);
  await assertClean(tab, server);
});

browserTest("Of many streams one is found by a part of its name", async () => {
  await using server = await ConsoleServer.start();
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open();
  const { page } = tab;
  const streams = ["a", "b", "c", "d", "e", "Camera-1", "camera-2"].map((name) => ({
    path: `live/${name}`,
    state: "waiting",
    since: new Date().toISOString(),
    publisher: null,
    tracks: [],
    dropped: 0,
    viewers: 0,
  }));
  await tellEvents(page, { streams });
  await tab.visit(`${server.http}/`);
  const cards = page.locator("[data-stream]");
  await page.getByText("7 streams", { exact: true }).waitFor();
  assertEquals(await cards.count(), 7);
  await page.getByLabel("Filter").fill(" cAMera");
  await page.getByText("2 of 7 streams").waitFor();
  const found = (await cards.all()).map((card) => card.getAttribute("data-stream"));
  assertEquals(await Promise.all(found), ["live/Camera-1", "live/camera-2"]);
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

browserTest("A page says what there is neither to see nor to hear of a stream", async () => {
  await using server = await ConsoleServer.start();
  await using publishers = new AsyncDisposableStack();
  for (const [name, options] of Object.entries(ODD_STREAMS)) {
    const clip = await makeClip({ width: 160, height: 90, fps: 15, seconds: 2, ...options });
    const publisher = publish(`${server.rtmp}/live/${name}`, clip, { loops: Infinity });
    await publishers.use(publisher).started;
  }
  publishers.use(await RtmpClient.publish(server.rtmp, "silent"));
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open();
  const { page } = tab;
  await tab.visit(`${server.http}/watch/live/a-sound`);
  await says(tab, /^Sound only$/);
  await tab.visit(`${server.http}/watch/live/silent`);
  await says(tab, /^Its publisher sends neither picture nor sound yet/);
  await tab.visit(`${server.http}/watch/live/h265`);
  const knowsH265 = await page.evaluate<boolean>(
    `MediaSource.isTypeSupported('video/mp4; codecs="hvc1.1.6.L93.B0"')`,
  );
  await says(tab, knowsH265 ? /^$/ : /^This browser cannot play .* decode H\.265\.$/);
  await tab.visit(`${server.http}/`);
  await page.locator('[data-stream="live/a-sound"]').getByText("Sound only").waitFor();
  await page.locator('[data-stream="live/silent"]').getByText("neither picture").waitFor();
  // Previews begin in the order of names: that of a sound, which is none, would have.
  for (const endMs = Date.now() + PATIENCE_MS; !tab.requests.some(isPreview);) {
    assert(Date.now() < endMs, "there are no previews");
    await page.waitForTimeout(50);
  }
  assertMatch(tab.requests.find(isPreview) ?? "", /live\/h265/);
  await assertClean(tab, server);
});

browserTest("All that the server tells is text", async () => {
  await using server = await ConsoleServer.start();
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open();
  const { page } = tab;
  const [evil = ""] = HOSTILE;
  const now = new Date().toISOString();
  const peer = { type: `${evil}1`, id: `${evil}2`, since: now };
  const figures = { frames: 1, bitrate: 1, fps: 1, gopMs: 0, gopFrames: 0, discarded: 0 };
  const stream = {
    path: `live/${evil}3`,
    state: "live",
    since: now,
    publisher: peer,
    tracks: [
      { kind: "audio", name: "", codec: `${evil}4`, ...figures },
      { kind: "data", name: `${evil}5`, ...figures },
    ],
    dropped: 0,
    viewers: 1,
  };
  const subscriber = { ...peer, number: 1, bytes: 0, lagMs: 0, dropped: 0 };
  const url = "rtmp://127.0.0.1/";
  await tellEvents(page, {
    streams: [stream],
    plugins: [{ name: `${evil}6`, running: false, error: `${evil}7`, urls: [url] }],
    log: [{
      sequence: 1,
      at: now,
      level: "error",
      source: `${evil}8`,
      message: `${evil}9`,
      count: 1,
      isolate: 0,
    }],
  });
  await tab.visit(`${server.http}/`);
  for (const sign of "146789") await page.getByText(`${evil}${sign}`).first().waitFor();
  await tellEvents(page, {
    stream: { path: stream.path, stream, subscribers: [subscriber] },
  });
  await page.locator("[data-stream]").click();
  for (const sign of "1245") await page.getByText(`${evil}${sign}`).first().waitFor();
  await says(tab, /does not decode <img .*4\.$/);
  assertEquals(await page.locator("img, [onerror]").count(), 0);
  await tab.visit(`${server.http}/watch/live/${encodeURIComponent(evil)}`);
  await says(tab, /^There is no stream live\/<img .* now/);
  assertEquals(await page.locator("img, [onerror]").count(), 0);
  await assertClean(tab, server, { allowed: /\b404\b/ });
});

browserTest("The log has each warning once, with how often it came", async () => {
  await using server = await ConsoleServer.start();
  await using chromium = await Chromium.launch();
  await using tab = await chromium.open();
  const { page } = tab;
  const at = "2026-01-02T03:04:05.678Z";
  const same = { at, isolate: 0, level: "warning", source: "rtmp", message: "<b>it</b> failed" };
  const line = (sequence: number, count: number, other: Partial<typeof same> = {}) => ({
    ...same,
    ...other,
    sequence,
    count,
  });
  const others = [{ isolate: 1 }, { level: "error" }, { source: "rtsp" }, { message: "it" }];
  const told = [
    [line(1, 1), ...others.map((other, index) => line(2 + index, 1, other))],
    // After a lost connection the server begins with what it has told before.
    [line(2, 1, others[0]), line(9, 3, { at: "2026-01-02T03:05:00.000Z" })],
  ];
  await tellEvents(page, ...told.map((log) => ({ streams: [], log })));
  await tab.visit(`${server.http}/`);
  const lines = page.locator(".log li");
  await lines.getByText("×3").waitFor();
  const texts = (await lines.allInnerTexts()).map((text) => text.split("\n").slice(1).join(" "));
  assertEquals(texts, [
    "warning rtmp ×3 <b>it</b> failed",
    "warning rtmp <b>it</b> failed",
    "warning rtmp it",
    "warning rtsp <b>it</b> failed",
    "error rtmp <b>it</b> failed",
  ]);
  assertEquals(await lines.first().locator("time").getAttribute("datetime"), told[1]?.[1]?.at);
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
  await page.waitForURL(/player=http-mp4/);
  await page.locator('#player[data-delivery="http-mp4"]').waitFor();
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
        assertEquals(await tab.page.evaluate(FAINT), [], `${view} at ${size}, ${colorScheme}`);
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

function isPreview(url: string): boolean {
  return /^ws:.*[?&]audio=0/.test(url);
}

/** Tells the page what a server would by its events: to each connection of it one after the other. */
async function tellEvents(page: Page, ...told: readonly Partial<Told>[]): Promise<void> {
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
const DARKNESS = `(() => {
  const canvas = document.querySelector("canvas.qr");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return data.filter((value, at) => at % 4 === 0 && value < 128).length / (width * height);
})()`;

/** Whether all plots have a line, which is the only thing in them that is of a colour. */
const PLOTTED = `[...document.querySelectorAll(".plot canvas")].every((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((blue, at) => at % 4 === 2 && blue > data[at - 2] + 100);
})`;

/**
 * Texts that are hard to read, by their contrast to what is behind them (WCAG 2.2, 1.4.3). The
 * player's own are upon a picture.
 */
const FAINT = `(() => {
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
async function until({ page }: Tab, expression: string): Promise<void> {
  for (const endMs = Date.now() + PATIENCE_MS; Date.now() < endMs;) {
    if (await page.evaluate<boolean>(expression)) return;
    await page.waitForTimeout(100);
  }
  throw new Error(`It does not come true: ${expression}`);
}

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
