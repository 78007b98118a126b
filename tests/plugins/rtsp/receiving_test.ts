import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Links } from "../../../plugins/rtsp/links.ts";
import { Receiving } from "../../../plugins/rtsp/receiving.ts";
import type { Connection } from "../../../plugins/connection.ts";
import { Engine } from "../../../src/engine.ts";
import { parseRtcp } from "../../../src/rtp/rtcp.ts";
import { descriptionOf, RtpFrames } from "../../support/rtsp.ts";

/** Links over a connection that keeps what is sent. */
function fakeLinks(sent: Uint8Array[]): Links {
  const connection = { send: (bytes: Uint8Array) => void sent.push(bytes) };
  const links = new Links({ connection: connection as unknown as Connection, onPacket: () => {} });
  links.interleave(0, { rtp: 0, rtcp: 1 });
  return links;
}

Deno.test("Receiving reports every 5 s on what has come, until it ends", async () => {
  using time = new FakeTime();
  await using engine = new Engine({}, { nowMs: () => Date.now() });
  const sent: Uint8Array[] = [];
  const links = fakeLinks(sent);
  const { media } = descriptionOf();
  const publisher = await engine.publish("live/a", { type: "Test" });
  const receiving = new Receiving(publisher, { media, links, reorder: false });
  await time.tickAsync(5000);
  assertEquals(sent.length, 0);
  const frames = new RtpFrames();
  const push = (kinds: string) =>
    frames.packets(kinds).forEach(({ track, bytes }) => receiving.push(track, "rtp", bytes));
  push("Kvv");
  await time.tickAsync(4999);
  assertEquals(sent.length, 0);
  await time.tickAsync(1);
  const [frame] = sent;
  assertEquals([...frame?.subarray(0, 2) ?? []], [0x24, 1]);
  const [report] = parseRtcp(frame?.subarray(4) ?? new Uint8Array());
  assertEquals(report?.type === "rr" && report.reports[0]?.ssrc, 7);
  push("v");
  await time.tickAsync(5000);
  assertEquals(sent.length, 2);
  receiving.end();
  await time.tickAsync(10_000);
  assertEquals(sent.length, 2);
});

for (const protocol of ["RTP/AVP", "RTP/AVPF"]) {
  Deno.test(`Receiving asks a sender of ${protocol} for a keyframe where it takes that`, async () => {
    await using engine = new Engine({}, { nowMs: () => Date.now() });
    const sent: Uint8Array[] = [];
    const links = fakeLinks(sent);
    const media = descriptionOf().media.map((section) => ({ ...section, protocol }));
    const publisher = await engine.publish("live/a", { type: "Test" });
    let ms = 0;
    const nowMs = () => ms;
    const receiving = new Receiving(publisher, { media, links, reorder: false, nowMs });
    const [key, _lost, ...others] = new RtpFrames().packets("Kvvvv");
    if (key) receiving.push(key.track, "rtp", key.bytes);
    ms = 2000;
    for (const { track, bytes } of others) receiving.push(track, "rtp", bytes);
    const types = sent.flatMap((frame) => parseRtcp(frame.subarray(4)).map(({ type }) => type));
    assertEquals(types.includes("pli"), protocol === "RTP/AVPF");
    receiving.end();
  });
}
