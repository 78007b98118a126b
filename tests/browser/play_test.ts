/** Streams in the page of a real browser, by each delivery: how soon, how late, how steadily. */

import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { browserTest, Chromium, type Tab } from "../support/browser.ts";
import { ConsoleServer } from "../support/browser_server.ts";
import { FPS, Source } from "../support/browser_source.ts";
import { makeClip, publish } from "../support/ffmpeg.ts";

/** What a delivery is held to. */
interface Delivery {
  readonly player: string;
  /** The longest time from drawing a picture to showing it, glass to glass. */
  readonly latencyMs: number;
  /** Whether it joins in time also from the page's first byte on, as it needs no library. */
  readonly opensInTime?: boolean;
}

const DELIVERIES: readonly Delivery[] = [
  { player: "ws-mp4", latencyMs: 500, opensInTime: true },
  { player: "ws-flv", latencyMs: 1000 },
  { player: "ll-hls", latencyMs: 3000 },
  // Three segments of 2 s, as the specification has it, and the one that is being made.
  { player: "hls", latencyMs: 8000 },
];
/** The longest time from asking for a stream to its first picture. */
const JOIN_MS = 500;
/** Joins by each delivery, of which the median counts. */
const JOINS = 5;
const WATCH_SECONDS = 120;
/** Players find their place in that time. */
const SETTLE_MS = 3000;
/** A picture that stands still for so long is a stall. */
const STALL_MS = 1000;
/** How soon the picture is to be back after a publisher is. */
const RETURN_MS = 10_000;
const FROZEN_MS = 20_000;
/** How soon it is to be live again after that. */
const THAW_MS = 5000;
/** How long hls.js is watched that forgets: ten segments, of which it has lost four to wait for. */
const FORGETFUL_MS = 20_000;
/** It asks for the next part all the time, and where it waits for a whole segment that takes 5 s. */
const LOAD_MS = 2500;
/** Small, since there is no graphics card to help. */
const VIEWPORT = { width: 800, height: 600 };

browserTest(
  "Each delivery plays in the page for two minutes, and on when the publisher reconnects",
  async () => {
    await using server = await ConsoleServer.start();
    await using source = await Source.publish(`${server.rtmp}/live/a`);
    await using chromium = await Chromium.launch();
    await using tabs = new AsyncDisposableStack();
    const open = () => chromium.open({ viewport: VIEWPORT });
    const problems: string[] = [];
    const expect = (holds: boolean, problem: string) => void (holds || problems.push(problem));

    const watching: [Delivery, Tab][] = [];
    for (const delivery of DELIVERIES) {
      const url = `${server.http}/watch/live/a?player=${delivery.player}`;
      const loadMs: number[] = [];
      const joinMs: number[] = [];
      // The first one is for caches to be filled, and for HLS to begin.
      for (let join = 0; join <= JOINS; join++) {
        await using tab = await open();
        await tab.visit(url);
        const { atMs } = await tab.shows();
        const { originMs, askedMs } = await tab.showing();
        if (join === 0) continue;
        loadMs.push(atMs - originMs);
        joinMs.push(atMs - (askedMs ?? NaN));
      }
      print(`${delivery.player}: first picture after`, joinMs);
      print(`${delivery.player}: the same from the page's first byte on`, loadMs);
      expect(median(joinMs) <= JOIN_MS, `${delivery.player}: a join takes ${median(joinMs)} ms`);
      expect(
        !delivery.opensInTime || median(loadMs) <= JOIN_MS,
        `${delivery.player}: from the page's first byte on a join takes ${median(loadMs)} ms`,
      );
      const tab = tabs.use(await open());
      await tab.visit(url);
      await tab.shows();
      watching.push([delivery, tab]);
    }

    await delay(SETTLE_MS);
    for (const [, tab] of watching) await tab.forget();
    await delay(WATCH_SECONDS * 1000);
    say(`load of the machine: ${Deno.loadavg()[0]?.toFixed(1)}`);
    const usualMs: number[] = [];
    for (const [{ player, latencyMs }, tab] of watching) {
      const seen = await tab.showing();
      const { pictures, medianMs, gapMs, waits, backs, skipped, unread } = seen;
      usualMs.push(medianMs);
      print(`${player}: latency`, pictures.map(({ latencyMs }) => latencyMs));
      say(`${player}: longest still ${gapMs} ms, dry ${waits.length}, skipped ${skipped} pictures`);
      const played = (pictures.at(-1)?.time ?? NaN) - (pictures[0]?.time ?? NaN);
      expect(
        Math.abs(played - WATCH_SECONDS) < 3,
        `${player}: currentTime advanced by ${played} s`,
      );
      expect(medianMs <= latencyMs, `${player}: latency is ${medianMs} ms`);
      expect(gapMs < STALL_MS, `${player}: its picture stood still for ${gapMs} ms`);
      expect(backs === 0 && unread === 0, `${player}: ${backs} times back, ${unread} damaged`);
    }

    await source.reconnect();
    const backMs = Date.now();
    await Promise.all(watching.map(async ([delivery, tab], index) => {
      const { player } = delivery;
      const latencyMs = liveMs(delivery, usualMs[index]);
      const { atMs } = await tab.shows({ drawnAfterMs: backMs, latencyMs }, RETURN_MS);
      say(`${player}: live ${atMs - backMs} ms after its publisher`);
      assertEquals(tab.documents, 1, `${player}: the page has loaded anew`);
      assertEquals(tab.faults, []);
      assertEquals((await tab.showing()).violations, []);
    }));
    assertEquals(problems, []);
  },
);

browserTest("A tab that was frozen for 20 s comes back to live by each delivery", async () => {
  await using server = await ConsoleServer.start();
  await using _source = await Source.publish(`${server.rtmp}/live/a`);
  await using chromium = await Chromium.launch();
  await using tabs = new AsyncDisposableStack();
  const opened = await Promise.all(DELIVERIES.map(async (delivery) => {
    const { player } = delivery;
    const tab = tabs.use(await chromium.openPlain(`${server.http}/watch/live/a?player=${player}`));
    assert(await tab.find({}, RETURN_MS), `${player} shows nothing`);
    return { delivery, tab };
  }));
  await delay(SETTLE_MS);
  const frozen = await Promise.all(opened.map(async ({ delivery, tab }) => {
    const { pictures } = await tab.look();
    const usualMs = median(pictures.slice(-FPS).map(({ latencyMs }) => latencyMs));
    return { player: delivery.player, tab, latencyMs: liveMs(delivery, usualMs) };
  }));
  for (const { tab } of frozen) await tab.freeze();
  const frozenMs = Date.now();
  await delay(FROZEN_MS);
  const thawMs = Date.now();
  for (const { tab } of frozen) await tab.thaw();
  await Promise.all(frozen.map(async ({ player, tab, latencyMs }) => {
    const found = await tab.find({ afterMs: thawMs, latencyMs }, THAW_MS);
    const { pictures } = await tab.look();
    const meanwhile = pictures.filter(({ atMs }) => atMs > frozenMs && atMs < thawMs);
    assertEquals(meanwhile, [], `${player} was not frozen`);
    assert(found, `${player}: ${JSON.stringify(pictures.at(-1))} is the last after ${THAW_MS} ms`);
    say(`${player}: live ${found.atMs - thawMs} ms after its tab came back`);
  }));
});

/**
 * A page with nothing but hls.js, which is made to forget that it has loaded some parts. So it does by
 * itself where the playlist changes while it loads, under load. It then goes by what is buffered: if
 * that ends before the segment does, it waits for a part that it has.
 */
const FORGETFUL_PAGE = `<!doctype html><video id="player" muted autoplay></video>
<script type="module">
import Hls from "/console/lib/hls.mjs";
const video = document.querySelector("video");
const hls = new Hls({ lowLatencyMode: true, enableWorker: false });
const end = () => video.buffered.length > 0 ? video.buffered.end(video.buffered.length - 1) : 0;
const seen = globalThis.seen = { end: 0, forgotten: 0, stillMs: 0 };
hls.on(Hls.Events.LEVEL_UPDATED, (_, { details }) => {
  for (const part of details.partList ?? []) {
    if (part.index < 4 || part.index > 7 || part.end > end() - 0.15 || !part.loaded) continue;
    part.elementaryStreams = { audio: null, video: null, audiovideo: null };
    seen.forgotten++;
  }
});
let grownMs = 0;
setInterval(() => {
  const nowMs = performance.now();
  if (end() > seen.end) grownMs = nowMs;
  seen.end = end();
  if (seen.end > 0) seen.stillMs = Math.max(seen.stillMs, nowMs - grownMs);
}, 50);
hls.loadSource("/live/a.m3u8");
hls.attachMedia(video);
video.addEventListener("loadedmetadata", () => video.play());
</script>`;

/** Sound and pictures whose frames end at different times, shown as they come or later than that. */
const SHAPES = [{ sampleRate: 48_000 }, { fps: 30, gop: 60, bFrames: 2, sampleRate: 44_100 }];

browserTest(
  "hls.js goes on from segment to segment by low latency, whatever it remembers",
  async () => {
    await using server = await ConsoleServer.start();
    await using chromium = await Chromium.launch();
    await Promise.all(SHAPES.map(async (shape, index) => {
      const clip = await makeClip({ seconds: 8, ...shape });
      const durationUs = 8_000_000;
      // Its end is cut off, so that there is no hole from loop to loop.
      const packets = clip.packets.filter(({ dtsUs }) => dtsUs < durationUs);
      const path = `live/${index}`;
      const loops = Infinity;
      const loop = { ...clip, packets, durationUs };
      await using publisher = publish(`${server.rtmp}/${path}`, loop, { loops });
      await publisher.started;
      await using tab = await chromium.open({ viewport: VIEWPORT });
      const body = FORGETFUL_PAGE.replace("live/a", path);
      const page = `${server.http}/forgetful.html`;
      await tab.page.route(page, (route) => route.fulfill({ contentType: "text/html", body }));
      await tab.visit(page);
      await delay(FORGETFUL_MS);
      const seen = await tab.page.evaluate<{ forgotten: number; stillMs: number }>("seen");
      const { forgotten, stillMs } = seen;
      say(
        `hls.js: ${
          JSON.stringify(shape)
        }: forgot ${forgotten} parts, nothing new for ${stillMs} ms`,
      );
      assert(forgotten > 10, `it has forgotten ${forgotten} parts only`);
      assert(
        stillMs < LOAD_MS,
        `${JSON.stringify(shape)}: it has loaded nothing for ${stillMs} ms`,
      );
    }));
  },
);

/** The latency of a player that is live again, where it was `usualMs` before. */
function liveMs({ latencyMs }: Delivery, usualMs = NaN): number {
  return Math.max(latencyMs, usualMs + 500);
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

function print(what: string, timesMs: readonly number[]): void {
  say(`${what} ${Math.round(median(timesMs))} ms, at most ${Math.round(Math.max(...timesMs))} ms`);
}

/** `BROWSER_TIMES=1 deno task test` shows what was measured. */
function say(text: string): void {
  if (Deno.env.has("BROWSER_TIMES")) {
    Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  }
}
