/** RTP into a publisher: frames of real senders, losses, senders that change, reports. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import fc from "fast-check";
import { BitWriter } from "../src/bits.ts";
import { EndedError, InvalidDataError } from "../src/errors.ts";
import { staticFormat } from "../src/rtp/encodings.ts";
import type { RtpFormat } from "../src/rtp/format.ts";
import { ntpFromUnixUs, ntpMiddle } from "../src/rtp/ntp.ts";
import { parseRtp, serializeRtp } from "../src/rtp/packet.ts";
import { parseRtcp, type RtcpPacket, serializeRtcp } from "../src/rtp/rtcp.ts";
import { RtpReceiver } from "../src/rtp_receiver.ts";
import { PPS, slice, sps } from "./support/frames.ts";
import { fixtureNames, readRtpFixture } from "./support/rtp_fixtures.ts";
import {
  assertExpected,
  formatIn,
  hashOfFrame,
  received,
  Receiving,
} from "./support/rtp_receiving.ts";
import { aggregated, marks, PCMU, Source, SPROP, VIDEO } from "./support/rtp_source.ts";

/** How far packets are from their place in shuffled captures. */
const WINDOW = 6;

for (const name of fixtureNames()) {
  Deno.test(`RtpReceiver.push() gives the frames of ${name}`, async () => {
    const fixture = readRtpFixture(name);
    const { frames, receiver } = await received(fixture);
    assertExpected(fixture, frames);
    const { packets, bytes, lost, reordered, malformed, unknown, framesDropped } =
      receiver.counters[0] ?? {};
    assertEquals(packets, fixture.packets.length);
    assertEquals(bytes, fixture.packets.reduce((sum, packet) => sum + packet.length, 0));
    assertEquals([lost, reordered, malformed, unknown, framesDropped], [0, 0, 0, 0, 0]);
  });

  Deno.test(`RtpReceiver.push() gives the frames of ${name} when packets are shuffled`, async () => {
    const fixture = readRtpFixture(name);
    let state = 20_26;
    const random = () => state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const places = fixture.packets.map((packet, index) => ({
      packet,
      // The first one is where the order begins.
      place: index === 0 ? -1 : index + (random() >>> 8) % WINDOW,
    }));
    const shuffled = places.sort((a, b) => a.place - b.place).map(({ packet }) => packet);
    const { frames, receiver } = await received(fixture, shuffled);
    assertExpected(fixture, frames);
    const { lost, reordered, late, duplicates } = receiver.counters[0] ?? {};
    assert(reordered !== undefined && (reordered > 0 || shuffled.length < 10));
    assertEquals([lost, late, duplicates], [0, 0, 0]);
  });

  Deno.test(`RtpReceiver.push() gives no wrong frame of ${name} when a packet is lost`, async () => {
    const fixture = readRtpFixture(name);
    const { encoding, units } = fixture.expected;
    const whole = units.map(({ key, hash }) => `${key} ${hash}`);
    // Nobody can know that there was a packet before the first.
    for (const lost of fixture.packets.slice(1)) {
      const rest = fixture.packets.filter((packet) => packet !== lost);
      const { frames } = await received(fixture, rest);
      const found = frames.map((frame) => `${frame.key} ${hashOfFrame(encoding, frame)}`);
      const start = whole.findIndex((unit, index) => unit !== found[index]);
      if (start < 0) continue;
      const after = found.slice(start);
      assertEquals(after, after.length === 0 ? [] : whole.slice(-after.length));
      // What comes after the gap can be decoded without what is in it.
      assert(after[0]?.startsWith("true") ?? true);
    }
  });
}

Deno.test("RtpReceiver.push() drops pictures until the next key when one before them is lost", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP]], reorder: false });
  const source = new Source(7);
  const pictures = Array.from(
    { length: 12 },
    (_, index) => source.picture(index * 3000, index, index % 5 === 0),
  );
  pictures.forEach((packet, index) => {
    if (index !== 2 && index !== 6) receiving.push(packet, 0, 1000 + index * 33);
  });
  const frames = receiving.end();
  assertEquals(marks(frames), "K0 1 K5 K10 11");
  assertEquals(receiving.receiver.counters[0]?.lost, 2);
  // Baseline has no B-frames, as the session description says.
  for (const { dts, pts } of frames) assertEquals(dts, pts);
});

Deno.test("RtpReceiver.push() drops pictures until the next key when one is malformed", async () => {
  const brokenSet = aggregated(Uint8Array.of(0x67, 66), slice(true, 2));
  for (const malformed of [Uint8Array.of(0x78, 0, 99, 1), brokenSet]) {
    let asked = 0;
    await using receiving = await Receiving.start({
      tracks: [[SPROP]],
      reorder: false,
      onKeyframeNeeded: () => asked++,
    });
    const source = new Source(7);
    receiving.push(source.picture(0, 0, true));
    receiving.push(source.picture(3000, 1));
    receiving.push(source.packet(6000, malformed));
    assertEquals(asked, 1);
    receiving.push(source.picture(9000, 3));
    receiving.push(source.picture(12_000, 4, true));
    receiving.push(source.picture(15_000, 5));
    assertEquals(marks(receiving.end()), "K0 1 K4 5");
    assert((receiving.receiver.counters[0]?.malformed ?? 0) > 0);
  }
});

Deno.test("RtpReceiver.end() hands over a picture that nothing has ended", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP]] });
  receiving.push(new Source(7).picture(0, 5, true));
  assertEquals(receiving.frames().length, 0);
  assertEquals(marks(receiving.end()), "K5");
});

const SWITCHES = [
  ["gstreamer_h264", "gstreamer_vp9"],
  ["gstreamer_vp9", "gstreamer_h265"],
  ["ffmpeg_pcmu", "ffmpeg_opus"],
  ["ffmpeg_opus", "ffmpeg_mp3"],
] as const;

for (const names of SWITCHES) {
  Deno.test(`RtpReceiver.push() follows a sender from ${names.join(" to ")}`, async () => {
    const fixtures = names.map(readRtpFixture);
    const formats = fixtures.map((fixture, index) => ({
      ...formatIn(fixture),
      payloadType: 96 + index,
      // Parameter sets come in band, too.
      parameters: new Map<string, string>(),
    }));
    await using receiving = await Receiving.start({ tracks: [formats] });
    let sequence = 0;
    let ms = 1000;
    const expected = fixtures.flatMap((fixture, index) => {
      const { clockRate = 1, payloadType = 0 } = formats[index] ?? {};
      const packets = fixture.packets.map(parseRtp);
      const [{ timestamp: origin } = { timestamp: 0 }] = packets;
      const startMs = ms;
      for (const packet of packets) {
        ms = startMs + ((packet.timestamp - origin) | 0) * 1000 / clockRate;
        const timestamp = (packet.timestamp - origin + startMs * clockRate / 1000) >>> 0;
        const bytes = serializeRtp({ ...packet, ssrc: 7, payloadType, timestamp, sequence });
        receiving.push(bytes, 0, ms);
        sequence++;
      }
      ms += 40;
      return fixture.expected.units.map(({ hash }) => hash);
    });
    const frames = receiving.end();
    const encodings = fixtures.map((fixture) => fixture.expected.encoding);
    const second = fixtures[1]?.expected.units.length ?? 0;
    assertEquals(
      frames.map((frame, index) =>
        hashOfFrame(encodings[index < frames.length - second ? 0 : 1] ?? "", frame)
      ),
      expected,
    );
    const at = frames.findIndex(({ config }) => config !== frames[0]?.config);
    assertEquals(at, frames.length - second);
    const [before, after] = [frames[at - 1], frames[at]].map((frame) => frame?.pts ?? NaN);
    assert(Math.abs((after ?? 0) - (before ?? 0)) < 200_000, `${before} ${after}`);
    const lastUs = (frames.at(-1)?.pts ?? 0) - (frames[at]?.pts ?? 0);
    const { units, clockRate } = fixtures[1]?.expected ?? { units: [], clockRate: 1 };
    assert(Math.abs(lastUs - (units.at(-1)?.timestamp ?? 0) * 1e6 / clockRate) < 1000);
  });
}

Deno.test("RtpReceiver.push() takes the configuration of LATM out of the stream", async () => {
  const format = { ...VIDEO, encoding: "MP4A-LATM", clockRate: 48_000 };
  await using receiving = await Receiving.start({ tracks: [[format]] });
  assertEquals(receiving.publisher.complete, false);
  const element = new BitWriter().bits(0, 1).bits(0, 1).bits(1, 1).bits(0, 13).bits(0x1190, 16)
    .bits(0, 3).bits(0xff, 8).bits(0, 2).bits(3, 8).bits(0x21aa55, 24).finish();
  const source = new Source(7);
  receiving.push(source.packet(0, element));
  receiving.push(source.packet(1024, element));
  const frames = receiving.end();
  assertEquals(frames.map(({ data }) => [...data]), [[0x21, 0xaa, 0x55], [0x21, 0xaa, 0x55]]);
  assertEquals(frames[0]?.config.description, Uint8Array.of(0x11, 0x90));
  assertEquals(receiving.publisher.complete, true);
});

Deno.test("RtpReceiver.push() keeps no more in memory than its frames", async () => {
  await using receiving = await Receiving.start({ tracks: [[PCMU]] });
  const packet = new Source(8, 0).packet(0, new Uint8Array(160).fill(7));
  const chunk = new Uint8Array(65_536);
  chunk.set(packet, 1000);
  receiving.push(chunk.subarray(1000, 1000 + packet.length));
  const [frame] = receiving.end();
  assertEquals(frame?.data, new Uint8Array(160).fill(7));
  assertEquals(frame?.data.buffer.byteLength, 160);
});

Deno.test("RtpReceiver asks for a keyframe at a loss and once a second as long as none comes", async () => {
  const asked: string[] = [];
  await using receiving = await Receiving.start({
    tracks: [[PCMU], [SPROP]],
    reorder: false,
    onKeyframeNeeded: (track) => asked.push(`${track} ${receiving.nowMs}`),
  });
  const source = new Source(7);
  const push = (ms: number, key = false) => receiving.push(source.picture(ms * 90, 0, key), 1, ms);
  // That it is whole is known with the next one only.
  push(1000);
  push(1040, true);
  push(1080);
  push(1120);
  source.sequence++;
  for (let ms = 1160; ms < 3600; ms += 40) push(ms);
  push(3600, true);
  push(3640);
  push(5000);
  assertEquals(asked, ["1 1040", "1 2040", "1 3040"]);
  source.sequence++;
  push(5040);
  assertEquals(asked.slice(3), ["1 5040"]);
});

Deno.test("RtpReceiver gives up a missing packet by a timer of its own, which does not stay", async () => {
  await using receiving = await Receiving.start({
    tracks: [[SPROP], [PCMU]],
    nowMs: () => Date.now(),
  });
  // Timers of the engine are none of it.
  using time = new FakeTime();
  const isTimed = () => time.next();
  const samples = new Uint8Array(160);
  const source = new Source(7);
  const sound = new Source(8, 0);
  receiving.push(source.picture(0, 0, true));
  receiving.push(sound.packet(0, samples), 1);
  source.sequence++;
  receiving.push(source.picture(6000, 2, true));
  time.tick(100);
  sound.sequence++;
  receiving.push(sound.packet(320, samples), 1);
  time.tick(99);
  assertEquals(receiving.receiver.counters.map(({ lost }) => lost), [0, 0]);
  time.tick(1);
  assertEquals(receiving.receiver.counters.map(({ lost }) => lost), [1, 0]);
  assertEquals(receiving.frames("audio").length, 1);
  time.tick(100);
  assertEquals(receiving.receiver.counters.map(({ lost }) => lost), [1, 1]);
  assertEquals(receiving.frames("audio").length, 2);
  assertEquals(isTimed(), false);
  // What is put in order takes the timer away again, as does the end.
  const [early, late] = [sound.packet(480, samples), sound.packet(640, samples)];
  receiving.push(late, 1);
  receiving.push(early, 1);
  assertEquals(receiving.frames("audio").length, 4);
  assertEquals(isTimed(), false);
  sound.sequence++;
  receiving.push(sound.packet(960, samples), 1);
  receiving.receiver.end();
  assertEquals(receiving.frames("audio").length, 5);
  assertEquals(isTimed(), false);
});

Deno.test("RtpReceiver waits again when a timer is earlier than its clock", async () => {
  await using receiving = await Receiving.start({
    tracks: [[PCMU]],
    nowMs: () => Date.now() * 0.99,
  });
  using time = new FakeTime(1e9);
  const source = new Source(8, 0);
  receiving.push(source.packet(0, new Uint8Array(160)));
  source.sequence++;
  receiving.push(source.packet(320, new Uint8Array(160)));
  time.tick(201);
  assertEquals(receiving.frames().length, 1);
  time.tick(5);
  assertEquals(receiving.frames().length, 2);
});

Deno.test("RtpReceiver.push() leaves out another sender as long as the first one sends", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP]], reorder: false });
  const source = new Source(7);
  const other = new Source(9);
  for (let index = 0; index < 6; index++) {
    const ms = 1000 + index * 40;
    receiving.push(source.picture(ms * 90, index, index === 0), 0, ms);
    receiving.push(other.picture(index * 3600, 64 + index, true), 0, ms + 10);
    receiving.push(other.picture(index * 3600, 64 + index, true), 0, ms + 20);
  }
  assertEquals(marks(receiving.frames()), "K0 1 2 3 4 5");
  assertEquals(receiving.receiver.counters[0]?.foreign, 12);
  assertEquals(receiving.receiver.counters[0]?.lost, 0);
});

Deno.test("RtpReceiver.push() follows another sender when the first one is silent or has left", async () => {
  for (const leaves of [false, true]) {
    const asked: number[] = [];
    await using receiving: Receiving = await Receiving.start({
      tracks: [[SPROP]],
      reorder: false,
      onKeyframeNeeded: () => {
        const packets = parseRtcp(receiving.receiver.keyframeRequest(0) ?? new Uint8Array());
        asked.push(...packets.flatMap((packet) => packet.type === "pli" ? packet.mediaSsrc : []));
      },
    });
    const source = new Source(7);
    receiving.push(source.picture(0, 0, true), 0, 1000);
    receiving.push(source.picture(3600, 1), 0, 1040);
    receiving.receiver.pushRtcp(0, new Source(99).goodbye());
    assertEquals(receiving.receiver.goodbye, false);
    if (leaves) receiving.receiver.pushRtcp(0, source.goodbye());
    assertEquals(receiving.receiver.goodbye, leaves);
    const other = new Source(9);
    const at = leaves ? 1080 : 1540;
    const pictures = [other.picture(7e8, 10), other.picture(7e8 + 3600, 11, true)];
    if (!leaves) {
      receiving.push(pictures[0] ?? new Uint8Array(), 0, at - 10);
      assertEquals(receiving.receiver.counters[0]?.foreign, 1);
    }
    pictures.forEach((packet, index) => receiving.push(packet, 0, at + index * 40));
    receiving.push(other.picture(7e8 + 7200, 12), 0, at + 80);
    assertEquals(receiving.receiver.goodbye, false);
    const frames = receiving.end();
    // The first picture of the new sender can't be decoded, and it is the one that is asked.
    assertEquals(marks(frames), "K0 1 K11 12");
    assertEquals(asked, [9]);
    const [, last, first] = frames.map(({ pts }) => pts / 1000);
    assert(Math.abs((first ?? 0) - (last ?? 0) - (at - 1000)) < 60, `${last} ${first}`);
    const [report] = parseRtcp(receiving.receiver.report(0) ?? new Uint8Array());
    assertEquals(report?.type === "rr" && report.reports.map(({ ssrc, lost }) => [ssrc, lost]), [
      [9, 0],
    ]);
  }
});

Deno.test("RtpReceiver.push() counts payload types that nothing is known of and goes on", async () => {
  const comfort = staticFormat(13) ?? VIDEO;
  await using receiving = await Receiving.start({
    tracks: [[PCMU, comfort], [{ ...VIDEO, encoding: "JPEG", payloadType: 26 }]],
    reorder: false,
  });
  const sound = new Source(8, 0);
  receiving.push(sound.packet(0, new Uint8Array(160)));
  const noise = new Source(8, 13);
  noise.sequence = sound.sequence++;
  receiving.push(noise.packet(160, new Uint8Array(1)));
  receiving.push(sound.packet(320, new Uint8Array(160)));
  receiving.push(new Source(5, 100).packet(0, new Uint8Array(160)));
  receiving.push(new Source(5, 26).packet(0, new Uint8Array(160)), 1);
  receiving.push(new Source(5, 26).packet(0, new Uint8Array(160)), 2);
  assertEquals(receiving.frames().length, 2);
  const [counters, jpeg] = receiving.receiver.counters;
  assertEquals([counters?.unknown, counters?.lost, counters?.packets], [2, 0, 3]);
  assertEquals(jpeg?.packets, 0);
});

Deno.test("RtpReceiver.report() says what came and who says so", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP]], reorder: false });
  const { receiver } = receiving;
  assertEquals([receiver.report(0), receiver.keyframeRequest(0)], [undefined, undefined]);
  assertEquals(receiver.report(3), undefined);
  const source = new Source(7);
  receiving.push(source.picture(0, 0, true), 0, 1000);
  receiving.push(source.picture(3600, 1), 0, 1040);
  source.sequence += 2;
  receiving.push(source.picture(14_400, 4), 0, 1200);
  const wallUs = Date.UTC(2026, 1, 1) * 1000;
  receiver.pushRtcp(0, source.report(14_400, wallUs));
  receiving.nowMs = 1700;
  const packets = parseRtcp(receiver.report(0) ?? new Uint8Array());
  const [report, description] = packets;
  assert(report?.type === "rr" && description?.type === "sdes" && packets.length === 2);
  const [block] = report.reports;
  assertEquals(block && { ...block, jitter: 0 }, {
    ssrc: 7,
    fractionLost: Math.floor(2 * 256 / 5),
    lost: 2,
    highestSequence: 65_535,
    jitter: 0,
    lastReport: ntpMiddle(ntpFromUnixUs(wallUs)),
    sinceLastReport: 32_768,
  });
  const [chunk] = description.chunks;
  assertEquals([chunk?.ssrc, chunk?.items[0]?.type], [report.ssrc, 1]);
  assert((chunk?.items[0]?.text.length ?? 0) >= 16);
  assert((receiver.counters[0]?.jitterMs ?? 0) > 1);
  // Nothing has come since.
  const [again] = parseRtcp(receiver.report(0) ?? new Uint8Array());
  assertEquals(again?.type === "rr" && again.reports, []);
  const request = parseRtcp(receiver.keyframeRequest(0) ?? new Uint8Array()).at(-1);
  assertEquals(request, { type: "pli", senderSsrc: report.ssrc, mediaSsrc: 7 });
});

Deno.test("RtpReceiver completes the tracks once all have a configuration", async () => {
  const cases: [RtpFormat[][], number, object][] = [
    // All is in the session description.
    [[[SPROP], [PCMU]], 0, {}],
    // The first keyframe has the parameter sets.
    [[[VIDEO], [PCMU]], 1, {}],
    // Which of its formats a track has is seen then.
    [[[{ ...SPROP, payloadType: 98 }, SPROP], [PCMU]], 1, {}],
    // Nobody waits for what can't be taken.
    [[[{ ...VIDEO, encoding: "JPEG" }], [PCMU]], 0, {}],
    [[[VIDEO], [PCMU]], 0, { EnableVideo: false }],
  ];
  for (const [tracks, pictures, config] of cases) {
    await using receiving = await Receiving.start({ tracks }, config);
    assertEquals(receiving.publisher.complete, pictures === 0);
    const source = new Source(7);
    receiving.push(source.picture(0, 0, true), 0, 1000);
    receiving.push(source.picture(3000, 1), 0, 1040);
    assertEquals(receiving.publisher.complete, true);
  }
  await using receiving = await Receiving.start({ tracks: [[{ ...VIDEO, encoding: "JPEG" }]] });
  assertEquals(receiving.publisher.complete, false);
});

Deno.test("RtpReceiver names further tracks and takes several formats of one", async () => {
  const other: RtpFormat = { ...VIDEO, payloadType: 98, encoding: "H265" };
  await using receiving = await Receiving.start({
    tracks: [[other, SPROP], [PCMU], [{ ...PCMU, payloadType: 8, encoding: "PCMA" }], [SPROP]],
    reorder: false,
  });
  const { stream } = receiving.publisher;
  assertEquals(stream.tracks.map(({ name }) => name), ["video", "audio", "audio1", "video1"]);
  assertEquals(stream.videoTracks[0]?.config, undefined);
  assertEquals(stream.audioTracks[1]?.config?.fourcc, "alaw");
  const source = new Source(7);
  receiving.push(source.picture(0, 0, true), 0, 1000);
  receiving.push(source.picture(3000, 1), 0, 1033);
  receiving.push(new Source(9, 8).packet(0, new Uint8Array(160)), 2, 1040);
  assertEquals(stream.videoTracks[0]?.config?.fourcc, "avc1");
  receiving.receiver.end();
  assertEquals(marks(receiving.frames("video")), "K0 1");
  assertEquals(receiving.frames("audio1").length, 1);
});

Deno.test("RtpReceiver.push() waits for parameter sets of its own when another publisher was before", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP]] });
  const { engine } = receiving;
  const publisher = await engine.publish("live/a", { type: "Second", takeOver: true });
  const receiver = new RtpReceiver(publisher, {
    tracks: [[VIDEO]],
    reorder: false,
    nowMs: () => receiving.nowMs,
  });
  const source = new Source(7);
  receiver.push(0, source.packet(0, slice(true, 1)));
  receiver.push(0, source.packet(3000, slice(false, 2)));
  receiver.push(0, source.picture(6000, 3, true));
  receiver.push(0, source.picture(9000, 4));
  receiver.end();
  assertEquals(marks(receiving.frames("video")), "K3 4");
});

Deno.test("RtpReceiver.push() follows a configuration that changes in the middle", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP]], reorder: false });
  const source = new Source(7);
  receiving.push(source.picture(0, 0, true));
  receiving.push(source.packet(3000, aggregated(sps(640, 480), PPS, slice(true, 1))));
  receiving.push(source.packet(6000, slice(false, 2)));
  const frames = receiving.end();
  const widths = frames.map(({ config }) => config.kind === "video" ? config.codedWidth : 0);
  assertEquals(widths, [320, 640, 640]);
});

Deno.test("RtpReceiver does nothing more once its publisher has ended", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP]], nowMs: () => Date.now() });
  using time = new FakeTime();
  const source = new Source(7);
  receiving.push(source.picture(0, 0, true));
  source.sequence++;
  receiving.push(source.picture(6000, 2));
  receiving.publisher.close();
  assertEquals(time.next(), false);
  receiving.push(source.picture(9000, 3));
  receiving.receiver.pushRtcp(0, source.goodbye());
  receiving.receiver.end();
  receiving.receiver.end();
  assertEquals(receiving.receiver.counters[0]?.packets, 2);
  assertEquals(receiving.receiver.goodbye, false);
  const { publisher } = receiving;
  assertThrows(() => new RtpReceiver(publisher, { ...OPTIONS, tracks: [[VIDEO]] }), EndedError);
});

Deno.test("RtpReceiver.push() withstands a listener that ends the publisher at its first track", async () => {
  await using receiving = await Receiving.start({ tracks: [[VIDEO]], reorder: false });
  receiving.engine.addEventListener("track", () => receiving.publisher.close());
  const source = new Source(7);
  receiving.push(source.picture(0, 0, true));
  receiving.push(source.picture(3000, 1));
  assertEquals(receiving.publisher.end?.code, "ended");
});

const OPTIONS = { reorder: false, nowMs: () => 0 };

Deno.test("RtpReceiver refuses formats whose parameters are malformed", async () => {
  const latm = { ...VIDEO, encoding: "MP4A-LATM", parameters: new Map([["cpresent", "0"]]) };
  await using receiving = await Receiving.start({});
  const { publisher } = receiving;
  assertThrows(
    () => new RtpReceiver(publisher, { ...OPTIONS, tracks: [[latm]] }),
    InvalidDataError,
  );
  assertEquals(RtpReceiver.supports(latm), true);
  assertEquals(RtpReceiver.supports({ ...VIDEO, encoding: "JPEG" }), false);
});

Deno.test("RtpReceiver never fails for what a peer sends", async () => {
  const fixtures = ["ffmpeg_h264", "ffmpeg_h265", "ffmpeg_av1", "gstreamer_vp9", "ffmpeg_aac"]
    .concat(["ffmpeg_aac_latm", "ffmpeg_mp3", "ffmpeg_opus", "ffmpeg_pcma"]).map(readRtpFixture);
  const reports = serializeRtcp([
    ...parseRtcp(new Source(7).report(0, 1e15)) as RtcpPacket[],
    { type: "bye", ssrcs: [7], reason: "gone" },
  ]);
  for (const fixture of fixtures) {
    const packets = [...fixture.packets.slice(0, 40), reports];
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    const packet = fc.tuple(fc.constantFrom(...packets), fc.array(change, { maxLength: 3 }));
    const property = fc.asyncProperty(
      fc.array(packet, { maxLength: 60 }),
      fc.boolean(),
      async (list, reorder) => {
        await using receiving = await Receiving.start({ tracks: [[formatIn(fixture)]], reorder });
        list.forEach(([seed, changes], index) => {
          const bytes = seed.slice(0, index % 7 === 0 ? index : seed.length);
          for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
          receiving.push(bytes, 0, 1000 + 20 * index);
          receiving.receiver.pushRtcp(0, bytes);
        });
        receiving.receiver.report(0);
        let last = -Infinity;
        for (const { dts } of receiving.end()) {
          assert(dts >= last);
          last = dts;
        }
      },
    );
    await fc.assert(property, { seed: 3550, numRuns: 40 });
  }
});
