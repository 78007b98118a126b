/** Which way the page takes a stream. */

import { assertEquals } from "@std/assert";
import {
  type Abilities,
  bestDelivery,
  canPlay,
  DELIVERIES,
  type Delivery,
  deliveryOf,
  isAmong,
  retryDelayMs,
} from "../../../plugins/console/page/delivery.ts";

const desktop: Abilities = {
  mediaSource: true,
  supportsType: (type) => !/hvc1|vp09/.test(type),
  playsType: (type) => /^video\/mp4/.test(type) && !/hvc1/.test(type),
};
const oldPhone: Abilities = {
  mediaSource: false,
  supportsType: () => false,
  playsType: (type) => !/vp09/.test(type),
};
const nothing: Abilities = { ...oldPhone, playsType: (type) => /^video\/mp4/.test(type) };

function able(codecs: readonly string[], abilities: Abilities): Delivery[] {
  return DELIVERIES.map(({ id }) => id).filter((id) => canPlay(id, { codecs }, abilities));
}

function best(codecs: readonly string[], abilities: Abilities): Delivery | undefined {
  return bestDelivery(able(codecs, abilities));
}

Deno.test("bestDelivery() takes MP4 by WebSocket where there are Media Source Extensions", () => {
  assertEquals(best([], desktop), "ws-mp4");
  assertEquals(best(["avc1.64001f", "mp4a.40.2"], desktop), "ws-mp4");
});

Deno.test("bestDelivery() takes the browser's own HLS where that is all", () => {
  assertEquals(best(["avc1.64001f"], oldPhone), "native-hls");
});

Deno.test("bestDelivery() takes plain MP4 as the last resort", () => {
  assertEquals(best(["avc1.64001f"], nothing), "http-mp4");
  assertEquals(best(["vp09.00.10.08"], desktop), "http-mp4");
});

Deno.test("bestDelivery() takes none where the browser does not decode the stream", () => {
  assertEquals(best(["hvc1.1.6.L93.B0", "mp4a.40.2"], desktop), undefined);
  assertEquals(best(["vp09.00.10.08"], oldPhone), undefined);
});

Deno.test("bestDelivery() goes on in order when one after the other fails", () => {
  const failed = new Set<Delivery>();
  const order: Delivery[] = [];
  for (let next = bestDelivery(able([], desktop)); next !== undefined;) {
    order.push(next);
    failed.add(next);
    next = bestDelivery(able([], desktop), { failed });
  }
  assertEquals(order, ["ws-mp4", "ll-hls", "hls", "ws-flv", "http-flv", "http-mp4"]);
});

Deno.test("bestDelivery() passes over plugins that do not run", () => {
  const plugins = ["HTTP", "HTTP_FLV"];
  assertEquals(bestDelivery(able([], desktop), { plugins }), "http-flv");
  assertEquals(bestDelivery(able([], desktop), { plugins: [] }), undefined);
});

Deno.test("canPlay() knows what FLV cannot carry", () => {
  const all: Abilities = { ...desktop, supportsType: () => true };
  assertEquals(canPlay("ws-flv", { codecs: ["avc1.64001f", "mp4a.40.2"] }, all), true);
  assertEquals(canPlay("ws-flv", { codecs: ["vp09.00.10.08"] }, all), false);
  assertEquals(canPlay("ws-mp4", { codecs: ["vp09.00.10.08"] }, all), true);
});

Deno.test("canPlay() asks for all codecs at once, as one MIME type", () => {
  const asked: string[] = [];
  const abilities: Abilities = { ...desktop, supportsType: (type) => asked.push(type) > 0 };
  canPlay("ws-mp4", { codecs: ["avc1.64001f", "opus"] }, abilities);
  assertEquals(asked, ['video/mp4; codecs="avc1.64001f,opus"']);
});

Deno.test("deliveryOf() knows only deliveries", () => {
  assertEquals(deliveryOf("ll-hls")?.extension, "m3u8");
  assertEquals(deliveryOf("ws-flv")?.webSocket, true);
  assertEquals(deliveryOf("http-flv")?.webSocket, false);
  assertEquals(deliveryOf("constructor"), undefined);
});

Deno.test("isAmong() finds a plugin however its name is written", () => {
  assertEquals(isAmong("http_flv", ["HTTP-FLV"]), true);
  assertEquals(isAmong("ws", ["HTTP", "WSS"]), false);
});

Deno.test("retryDelayMs() grows up to five seconds", () => {
  assertEquals([0, 1, 4, 5, 50].map(retryDelayMs), [250, 500, 4000, 5000, 5000]);
});
