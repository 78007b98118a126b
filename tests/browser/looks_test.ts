/** The console in a real browser: that all of it can be read and used, whatever it is told. */

import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { browserTest, Chromium } from "../support/browser.ts";
import { inspectImage } from "../support/browser_image.ts";
import {
  artefactFolder,
  assertClean,
  assertFits,
  FAINT,
  isPreview,
  PATIENCE_MS,
  reachable,
  says,
  tellEvents,
} from "../support/browser_page.ts";
import { ConsoleServer } from "../support/browser_server.ts";
import { Source } from "../support/browser_source.ts";
import { type ClipOptions, makeClip, publish } from "../support/ffmpeg.ts";
import { RtmpClient } from "../support/rtmp.ts";

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
