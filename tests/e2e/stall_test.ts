import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  assertSamePackets,
  type Clip,
  comparePackets,
  makeClip,
  play,
  type PlayedPacket,
  publish,
} from "../support/ffmpeg.ts";
import { PROTOCOLS, startServer } from "../support/server.ts";
import { assertRising, streamOf } from "./viewing.ts";

const PATH = "live/a";
/** What a frame of video has at least. */
const FRAME_BYTES = 200_000;
/** The ring's two seconds then last half a second, by which a viewer on a busy machine may be late. */
const SPEED = 4;
/** How often the clip is played until rings and sockets are full. */
const WARM_LOOPS = 3;
/** The longest time from one packet to the next one of either kind: a few frames. */
const MAX_STEP_MS = 150;
/** What is published while a viewer stands still: far more than sockets and the ring take. */
const STALLED_BYTES = 60e6;
/** A second of the ring, in frames and in both formats, and some play. */
const MAX_GROWTH_BYTES = 30e6;
/** What a viewer may be given that it has not taken: sockets at both ends, and a batch. */
const MAX_UNTAKEN_BYTES = 20e6;

for (const protocol of PROTOCOLS) {
  Deno.test(`A viewer by ${protocol} that stands still costs no memory and harms no other`, async () => {
    const clip = padded(await makeClip({ seconds: 1 }));
    await using server = await startServer();
    const url = server.url(protocol, PATH);
    await using publisher = publish(server.url("rtmp", PATH), clip, {
      speed: SPEED,
      loops: Infinity,
    });
    await publisher.started;
    const stream = await streamOf(server, PATH);
    await using stalled = await play(url);
    const before = [await stalled.read()];
    const subscriber = [...server.engine.subscribers.values()][0];
    assert(subscriber);

    // Another one plays on, whose every packet is compared.
    await using live = await play(server.url("http", PATH));
    const loops = Math.ceil(STALLED_BYTES / (FRAME_BYTES * 25));
    let compared = 0;
    let startBytes = NaN;
    for (let loop = 0; loop < WARM_LOOPS + loops; loop++) {
      if (loop === WARM_LOOPS) startBytes = usedBytes();
      const received = await live.take({ videoPackets: 25 });
      const key = received.findIndex((packet) => packet.kind === "video" && packet.key);
      const outcome = comparePackets(clip, received.slice(key), { loops: 2 });
      assertEquals(outcome.differences, []);
      compared += outcome.compared.video;
    }
    assertLess(usedBytes() - startBytes, MAX_GROWTH_BYTES);
    assertGreater(compared * FRAME_BYTES, 0.9 * STALLED_BYTES);
    assertLess(subscriber.stats().bytes, MAX_UNTAKEN_BYTES);
    const liveStats = [...server.engine.subscribers.values()]
      .find((other) => other !== subscriber)?.stats();
    assertEquals(liveStats?.dropped, 0);
    assertEquals(server.engine.getStream(PATH), stream);

    // What was on its way comes first, then the newest keyframe.
    const after = await stalled.take({ videoPackets: 150 });
    const received = [...before, ...after].filter((packet) => packet !== undefined);
    assertRising(received);
    const parts = splitAtGaps(received);
    assertGreater(parts.length, 1);
    for (const part of parts) {
      assert(part[0]?.key && part[0].kind === "video", "it resumes at a keyframe of video");
      assertSamePackets(clip, part, { loops: 100 });
    }
    assertGreater(subscriber.stats().dropped, 0);
  });
}

/** Memory of this isolate in use, in which the server is; RSS has garbage and other tests in it. */
function usedBytes(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** What is without a gap each; the clip itself would not tell, since every loop of it is alike. */
function splitAtGaps(received: readonly PlayedPacket[]): PlayedPacket[][] {
  const parts: PlayedPacket[][] = [];
  let lastMs = -Infinity;
  for (const packet of received) {
    if (packet.kind === "data") continue;
    if (packet.dtsMs > lastMs + MAX_STEP_MS) parts.push([]);
    parts.at(-1)?.push(packet);
    lastMs = packet.dtsMs;
  }
  return parts;
}

/** A clip whose frames are large: each has a NAL unit of filler data (H.264 7.3.2.7). */
function padded(clip: Clip): Clip {
  const filler = new Uint8Array(4 + FRAME_BYTES).fill(0xff);
  new DataView(filler.buffer).setUint32(0, FRAME_BYTES);
  filler[4] = 12;
  filler[filler.length - 1] = 0x80;
  const packets = clip.packets.map((packet) => {
    if (packet.kind === "audio") return packet;
    const data = new Uint8Array(packet.data.length + filler.length);
    data.set(packet.data);
    data.set(filler, packet.data.length);
    return { ...packet, data };
  });
  // Whole milliseconds, so that every loop has the times of the first one.
  return { ...clip, packets, durationUs: Math.ceil(clip.durationUs / 1000) * 1000 };
}
