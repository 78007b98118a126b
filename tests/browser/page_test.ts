/** The console in a real browser: what it says of streams, and who may use it for what. */

import { assert, assertEquals } from "@std/assert";
import { browserTest, Chromium } from "../support/browser.ts";
import {
  assertClean,
  DARKNESS,
  PLOTTED,
  says,
  tellEvents,
  until,
} from "../support/browser_page.ts";
import { ConsoleServer } from "../support/browser_server.ts";
import { Source } from "../support/browser_source.ts";
import { RtmpClient } from "../support/rtmp.ts";

const TOKEN = "open-sesame";

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
