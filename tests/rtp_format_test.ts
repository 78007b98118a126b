/** RTP out of a mux: the same frames at the other end, at the same times, from any start. */

import { assert, assertEquals, assertMatch, assertStrictEquals, assertThrows } from "@std/assert";
import { concat, equalBytes } from "../src/bytes.ts";
import type { AudioConfig, VideoConfig } from "../src/codecs/config.ts";
import { alawConfig, ulawConfig } from "../src/codecs/g711.ts";
import { h264Config } from "../src/codecs/h264.ts";
import { joinLengthPrefixed } from "../src/codecs/nal.ts";
import { opusConfig, serializeOpusHead } from "../src/codecs/opus.ts";
import type { MediaFrame } from "../src/frame.ts";
import type { FormatTracks } from "../src/mux.ts";
import { depacketizerFor, packetizerFor } from "../src/rtp/codecs.ts";
import { unixUsFromNtp } from "../src/rtp/ntp.ts";
import { parseRtp, type RtpPacket } from "../src/rtp/packet.ts";
import { parseRtcp, type SenderReport } from "../src/rtp/rtcp.ts";
import {
  canContinue,
  firstOf,
  rtpDescription,
  rtpFormat,
  type RtpFormatOptions,
  rtpFormats,
  splitInterleaved,
} from "../src/rtp_format.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import { aac, h264, OTHER_ASC, PPS, slice, sps } from "./support/frames.ts";
import { writeFrame } from "./support/formats.ts";
import { fixtureNames, readRtpFixture } from "./support/rtp_fixtures.ts";
import { received, Receiving, tracksOf } from "./support/rtp_receiving.ts";

const CHANNELS: RtpFormatOptions = { video: { rtp: 0, rtcp: 1 }, audio: { rtp: 2, rtcp: 3 } };
const VIDEO_CHANNELS = { rtp: 0, rtcp: 1 };
const AUDIO_CHANNELS = { rtp: 2, rtcp: 3 };

/** A picture at `dtsMs`, shown `ctsMs` later. */
function picture(dtsMs: number, key = false, options: Partial<PictureOptions> = {}): MediaFrame {
  const { ctsMs = 0, config = VIDEO, bytes = 8 } = options;
  const dts = dtsMs * 1000;
  return {
    kind: "video",
    sequence: 0,
    dts,
    pts: dts + ctsMs * 1000,
    key,
    config,
    data: joinLengthPrefixed([slice(key, 1, bytes)]),
  };
}

interface PictureOptions {
  readonly ctsMs: number;
  readonly config: VideoConfig;
  readonly bytes: number;
}

function sound(dtsMs: number, config: AudioConfig = AUDIO, bytes = 3): MediaFrame {
  const dts = dtsMs * 1000;
  const data = new Uint8Array(bytes).fill(0x21);
  return { kind: "audio", sequence: 0, dts, pts: dts, key: true, config, data };
}

const VIDEO = h264();
const AUDIO = aac();
const TRACKS: FormatTracks = { video: VIDEO, audio: AUDIO };

interface Parsed {
  /** RTP packets by channel. */
  readonly rtp: Map<number, RtpPacket[]>;
  /** Sender reports by channel. */
  readonly reports: Map<number, SenderReport[]>;
  /** `report` and `packet` with their channels, in order. */
  readonly order: string[];
}

function parse(bytes: Uint8Array): Parsed {
  const parsed: Parsed = { rtp: new Map(), reports: new Map(), order: [] };
  for (const { channel, packet } of splitInterleaved(bytes)) {
    if (channel % 2 === 0) {
      parsed.rtp.set(channel, [...parsed.rtp.get(channel) ?? [], parseRtp(packet)]);
      parsed.order.push(`packet ${channel}`);
    } else {
      const [report, description, ...rest] = parseRtcp(packet);
      assert(report?.type === "sr" && description?.type === "sdes" && rest.length === 0);
      assertEquals(description.chunks[0]?.ssrc, report.ssrc);
      parsed.reports.set(channel, [...parsed.reports.get(channel) ?? [], report]);
      parsed.order.push(`report ${channel}`);
    }
  }
  return parsed;
}

/** The bytes of `frames`, and what tells their receiver of them. */
function mux(tracks: FormatTracks, frames: readonly MediaFrame[], options = CHANNELS): Uint8Array {
  const format = rtpFormat(options)();
  return concat([
    format.header(tracks, "start"),
    ...frames.map((frame) => writeFrame(format, frame)),
  ]);
}

for (const name of fixtureNames()) {
  Deno.test(`rtpFormat() sends the frames of ${name} so that they come back`, async () => {
    const { frames } = await received(readRtpFixture(name));
    const tracks = tracksOf(frames[0]);
    const formats = rtpDescription(tracks).map(({ format }) => format);
    for (const maxPayloadBytes of [100, 1400, 60_000]) {
      await using receiving = await Receiving.start({ tracks: [formats] });
      const format = rtpFormat({ ...CHANNELS, maxPayloadBytes })();
      assertEquals(format.header(tracks, "start").length, 0);
      for (const frame of frames) {
        for (const { channel, packet } of splitInterleaved(writeFrame(format, frame))) {
          const at = 2000 + (frame.dts - (frames[0]?.dts ?? 0)) / 1000;
          receiving.push(packet, 0, at);
          if (channel % 2 === 1 || frame.config.fourcc === "Opus") continue;
          const { payload } = parseRtp(packet);
          const most = frame.kind === "video" || !/law/.test(frame.config.fourcc);
          assert(!most || payload.length <= maxPayloadBytes);
        }
      }
      const back = receiving.end();
      assertEquals(back.length, frames.length);
      const shiftUs = (back[0]?.pts ?? 0) - (frames[0]?.pts ?? 0);
      const tickUs = 1e6 / (formats[0]?.clockRate ?? 1);
      frames.forEach((frame, index) => {
        const other = back[index];
        assert(equalBytes(other?.data ?? new Uint8Array(), frame.data), `frame ${index}`);
        assertEquals(other?.key, frame.key);
        const offUs = (other?.pts ?? NaN) - shiftUs - frame.pts;
        assert(Math.abs(offUs) <= tickUs + 1, `frame ${index} is ${offUs} µs off`);
      });
      assertEquals(back[0]?.config.codec, frames[0]?.config.codec);
      assertEquals(back[0]?.config.description, frames[0]?.config.description);
    }
  });
}

Deno.test("rtpFormat() keeps pictures and sounds together", async () => {
  // Baseline has no B-frames, Main has.
  const main = sps();
  main[1] = 77;
  const config = h264Config({ sps: [main], pps: [PPS] });
  const tracks = { video: config, audio: AUDIO };
  const frames = Array.from({ length: 400 }, (_, index) => {
    const number = Math.floor(index / 2);
    const ms = number * 40;
    if (index % 2 === 1) return sound(ms + 7, AUDIO, 3 + index);
    // I P B B P B B …
    const ctsMs = number === 0 ? 40 : number % 3 === 1 ? 120 : 0;
    return picture(ms, number % 25 === 0, { ctsMs, config });
  });
  const format = rtpFormat(CHANNELS)();
  format.header(tracks, "start");
  const formats = rtpDescription(tracks).map(({ format }) => [format]);
  // The sound takes another, longer way, and its reports, too.
  await using receiving = await Receiving.start({ tracks: formats, reorder: false });
  const arrivals = frames.flatMap((frame) =>
    splitInterleaved(writeFrame(format, frame)).map(({ channel, packet }) => {
      const track = channel >> 1;
      return { at: 2000 + frame.dts / 1000 + 230 * track, track, packet };
    }).toArray()
  );
  for (const { at, track, packet } of arrivals.sort((a, b) => a.at - b.at)) {
    receiving.push(packet, track, at);
  }
  receiving.receiver.end();
  const sent = (kind: string) => frames.filter((frame) => frame.kind === kind);
  const video = receiving.frames("video");
  const audio = receiving.frames("audio");
  assertEquals([video.length, audio.length], [200, 200]);
  // Pictures that came before the first report of the sound lie where they came.
  const from = 10;
  const shiftUs = (video[from]?.pts ?? 0) - (sent("video")[from]?.pts ?? 0);
  for (const [back, expected] of [[video, sent("video")], [audio, sent("audio")]] as const) {
    expected.forEach(({ pts }, index) => {
      const offUs = (back[index]?.pts ?? NaN) - shiftUs - pts;
      assert(index < from || Math.abs(offUs) <= 100, `frame ${index} is ${offUs} µs off`);
    });
    for (const { dts, pts } of back) assert(dts <= pts);
  }
});

Deno.test("rtpFormat() reports both tracks of one moment before each video keyframe, and behind it again", () => {
  const frames = [
    sound(0),
    picture(10, true, { ctsMs: 80 }),
    sound(23),
    picture(50, false),
    picture(1010, true, { ctsMs: 80 }),
  ];
  const before = Date.now();
  const { order, rtp, reports } = parse(mux(TRACKS, frames));
  const both = ["report 1", "report 3"];
  const tail = ["packet 2", "packet 0"];
  assertEquals(
    order.filter((item) => item !== "packet 0").join(),
    [
      ...both,
      "packet 2",
      ...both,
      "packet 2",
      // Again, for players that pass over reports of a track that they have no packet of.
      ...both,
      ...both,
    ].join(),
  );
  assertEquals(order.slice(2, 3), tail.slice(0, 1));
  assertEquals(order.slice(-4).slice(0, 2), both);
  const [video = [], audio = []] = [reports.get(1), reports.get(3)];
  assertEquals(video.map(({ ntp }) => ntp), audio.map(({ ntp }) => ntp));
  const wallUs = video.map(({ ntp }) => unixUsFromNtp(ntp));
  assert(Math.abs((wallUs[0] ?? 0) / 1000 - before) < 1000);
  assertEquals(wallUs.map((us) => us - (wallUs[0] ?? 0)), [0, 10_000, 50_000, 1_010_000]);
  // The moment of the report is the decode time of its frame; pictures are shown 80 ms later.
  const firsts = rtp.get(0)?.filter(({ payload }) => (payload[0] ?? 0) === 0x78) ?? [];
  assertEquals(
    firsts.map(({ timestamp }, index) =>
      (timestamp - (video[[1, 3][index] ?? 0]?.rtpTimestamp ?? 0)) | 0
    ),
    [
      7200,
      7200,
    ],
  );
  const sounds = rtp.get(2) ?? [];
  assertEquals(sounds.map(({ timestamp }) => (timestamp - (audio[0]?.rtpTimestamp ?? 0)) | 0), [
    0,
    1104,
  ]);
  assertEquals(audio.map(({ rtpTimestamp }) => (rtpTimestamp - (sounds[0]?.timestamp ?? 0)) | 0), [
    0,
    480,
    2400,
    48_480,
  ]);
  assertEquals(
    audio.map(({ packets, octets }) => [packets, octets]),
    [[0, 0], [1, 7], [2, 14], [2, 14]],
  );
  const sentBytes = rtp.get(0)?.slice(0, -2).reduce((sum, { payload }) => sum + payload.length, 0);
  assertEquals(video.at(-1)?.octets, sentBytes);
  assertEquals(video.at(-1)?.packets, (rtp.get(0)?.length ?? 0) - 2);
  assert(video[0]?.ssrc !== audio[0]?.ssrc);
  assertEquals(video[0]?.ssrc, rtp.get(0)?.[0]?.ssrc);
});

Deno.test("rtpFormat() reports every 5 s where there are no keyframes", () => {
  const frames = Array.from({ length: 1200 }, (_, index) => sound(index * 10));
  const { order } = parse(mux({ video: undefined, audio: AUDIO }, frames));
  const at = order.flatMap((item, index) => item.startsWith("report") ? [index] : []);
  assertEquals(at, [0, 501, 1002]);
});

Deno.test("rtpFormat() counts packets on, over the wraps of sequence numbers and timestamps", () => {
  const hours = 3_600_000;
  const format = rtpFormat(CHANNELS)();
  format.header(TRACKS, "start");
  const first = parse(writeFrame(format, sound(0))).rtp.get(2)?.[0];
  assert(first);
  let last = first;
  for (let index = 1; index <= 70_000; index++) {
    const [packet] = parse(writeFrame(format, sound(index * 20))).rtp.get(2) ?? [];
    assertEquals(packet?.sequence, (last.sequence + 1) & 0xffff);
    last = packet ?? last;
  }
  // No drift: 1024 samples at 44,1 kHz are no whole number of µs.
  for (const ms of [1, 24 * hours, 1000 * hours + 0.265, 24 * 365 * hours, 1.7e12 + 0.515]) {
    const [packet] = parse(writeFrame(format, sound(ms))).rtp.get(2) ?? [];
    const ticks = Math.round(ms * 48) % 2 ** 32;
    assertEquals(packet?.timestamp, (first.timestamp + ticks) % 2 ** 32, `${ms}`);
  }
  const other = rtpFormat(CHANNELS)();
  other.header(TRACKS, "start");
  const [packet] = parse(writeFrame(other, sound(0))).rtp.get(2) ?? [];
  assert(packet?.ssrc !== first.ssrc && packet?.timestamp !== first.timestamp);
});

Deno.test("rtpFormat() sends what it has channels for, and what RTP carries", () => {
  const frames = [picture(0, true), sound(0), picture(40), sound(20)];
  assertEquals(parse(mux(TRACKS, frames, { audio: AUDIO_CHANNELS })).order, [
    "report 3",
    "packet 2",
    "packet 2",
  ]);
  const { order } = parse(mux(TRACKS, frames, { video: { rtp: 6, rtcp: 9 } }));
  assertEquals([...new Set(order)], ["report 9", "packet 6"]);
  assertEquals(mux(TRACKS, frames, {}).length, 0);
  const foreign: VideoConfig = { kind: "video", fourcc: "vp08", codec: "vp8" };
  const vp8 = { ...picture(0, true), config: foreign } as MediaFrame;
  assertEquals(mux({ video: foreign, audio: undefined }, [vp8]).length, 0);
  // A frame that is too large for AAC-hbr is left out, and no other.
  const large = [sound(0), sound(20, AUDIO, 8192), sound(40)];
  assertEquals(parse(mux(TRACKS, large)).rtp.get(2)?.length, 2);
});

Deno.test("rtpFormat() sends another resolution in band", async () => {
  const format = rtpFormat(CHANNELS)();
  const other = h264(640, 480);
  const formats = rtpDescription(TRACKS).map(({ format }) => [format]);
  await using receiving = await Receiving.start({ tracks: formats, reorder: false });
  const push = (bytes: Uint8Array) => {
    for (const { channel, packet } of splitInterleaved(bytes)) receiving.push(packet, channel >> 1);
  };
  push(format.header(TRACKS, "start"));
  push(writeFrame(format, picture(0, true)));
  push(format.header({ ...TRACKS, video: other }, "change"));
  push(writeFrame(format, picture(40, true, { config: other })));
  push(writeFrame(format, picture(80, false, { config: other })));
  receiving.receiver.end();
  const widths = receiving.frames("video").map(({ config }) =>
    config.kind === "video" ? config.codedWidth : 0
  );
  assertEquals(widths, [320, 640, 640]);
});

const OPUS = (channels: number) =>
  opusConfig(serializeOpusHead({
    channels,
    preSkip: 0,
    inputSampleRate: 48_000,
    outputGain: 0,
    mappingFamily: 0,
  }));

const CHANGES: readonly (readonly [FormatTracks, FormatTracks, boolean])[] = [
  [TRACKS, TRACKS, true],
  [TRACKS, { video: h264(640, 480), audio: aac() }, true],
  [TRACKS, { video: undefined, audio: AUDIO }, true],
  [{ video: VIDEO, audio: undefined }, TRACKS, true],
  [{ video: undefined, audio: OPUS(1) }, { video: undefined, audio: OPUS(2) }, true],
  [TRACKS, { video: VIDEO, audio: aac(OTHER_ASC) }, false],
  // The same rate and channels, said in another way.
  [TRACKS, { video: VIDEO, audio: aac(Uint8Array.of(0x11, 0x90, 0x56, 0xe5, 0)) }, false],
  [TRACKS, { video: VIDEO, audio: OPUS(2) }, false],
  [TRACKS, { video: VIDEO, audio: ulawConfig() }, false],
  [
    { video: undefined, audio: alawConfig() },
    { video: undefined, audio: alawConfig(8000, 2) },
    false,
  ],
  [
    { video: undefined, audio: alawConfig(16_000) },
    { video: undefined, audio: alawConfig(16_000, 2) },
    false,
  ],
  [TRACKS, { video: { kind: "video", fourcc: "av01", codec: "av01" }, audio: AUDIO }, false],
  [TRACKS, { video: { kind: "video", fourcc: "vp08", codec: "vp8" }, audio: AUDIO }, false],
];

Deno.test("rtpFormat() marks the ends of pictures and nothing before", () => {
  const { rtp } = parse(mux(TRACKS, [picture(0, true, { ctsMs: 0, bytes: 4000 }), picture(40)]));
  const packets = rtp.get(0) ?? [];
  assertEquals(packets.map(({ marker }) => marker), [false, false, false, true, true]);
  const lengths = packets.map(({ payload }) => payload.length);
  assertEquals(lengths.slice(1, 3), [1400, 1400]);
});

Deno.test("depacketizerFor() and packetizerFor() know nothing of other codecs", () => {
  const format = (encoding: string, mode = "AAC-hbr") => ({
    payloadType: 96,
    encoding,
    clockRate: 90_000,
    parameters: new Map([["mode", mode], ["sizelength", "13"]]),
  });
  const options = { maxPayloadBytes: 1400 };
  const av1: VideoConfig = { kind: "video", fourcc: "av01", codec: "av01" };
  for (const encoding of ["h264", "H265", "AV1", "VP9", "opus", "PCMA", "pcmu", "MPA"]) {
    assert(depacketizerFor(format(encoding)) !== undefined, encoding);
  }
  assert(depacketizerFor(format("MPEG4-generic")) !== undefined);
  assertEquals(depacketizerFor(format("mpeg4-generic", "CELP-cbr")), undefined);
  assertEquals(depacketizerFor(format("JPEG")), undefined);
  assert(packetizerFor(av1, options) !== undefined);
  assertEquals(packetizerFor({ ...av1, fourcc: "vp08" }, options), undefined);
  assertEquals(packetizerFor(OPUS(2), options)?.packetize(sound(0)).length, 1);
});

Deno.test("rtpFormat() fails when players can't follow a change, as canContinue() says", () => {
  for (const [before, after, goesOn] of CHANGES) {
    const format = rtpFormat(CHANNELS)();
    format.header(before, "start");
    format.header(before, "change");
    if (goesOn) format.header(after, "change");
    else assertThrows(() => format.header(after, "change"), Error, "Cannot go on in RTP: the ");
    const told = rtpDescription(before);
    const now = rtpDescription(after);
    const same = told.every(({ kind, format }) => {
      const found = now.find((other) => other.kind === kind);
      return after[kind] === undefined ||
        (found !== undefined && canContinue(format, found.format));
    });
    assertEquals(same, goesOn);
  }
});

Deno.test("rtpDescription() gives static payload types where there are some", () => {
  const types = (video: VideoConfig | undefined, audio: AudioConfig | undefined) =>
    rtpDescription({ video, audio }).map(({ kind, format }) =>
      `${kind} ${format.payloadType} ${format.encoding}/${format.clockRate}`
    );
  const mp3: AudioConfig = {
    kind: "audio",
    fourcc: ".mp3",
    codec: "mp3",
    sampleRate: 44_100,
    numberOfChannels: 2,
  };
  const av1: VideoConfig = { kind: "video", fourcc: "av01", codec: "av01" };
  assertEquals(types(VIDEO, AUDIO), ["video 96 H264/90000", "audio 97 mpeg4-generic/48000"]);
  assertEquals(types(av1, OPUS(2)), ["video 96 AV1/90000", "audio 97 opus/48000"]);
  assertEquals(types(undefined, ulawConfig()), ["audio 0 PCMU/8000"]);
  assertEquals(types(undefined, alawConfig()), ["audio 8 PCMA/8000"]);
  assertEquals(types(undefined, alawConfig(16_000)), ["audio 97 PCMA/16000"]);
  assertEquals(types(undefined, mp3), ["audio 14 MPA/90000"]);
  assertEquals(types({ ...av1, fourcc: "vp08" }, undefined), []);
  const broken = { ...h264Config({ sps: [sps()], pps: [PPS] }), description: new Uint8Array(3) };
  assertEquals(types(broken, AUDIO), ["audio 97 mpeg4-generic/48000"]);
});

Deno.test("rtpFormats() gives the same format for the same options", () => {
  const formats = rtpFormats();
  const one = formats(CHANNELS);
  assertStrictEquals(formats({ audio: AUDIO_CHANNELS, video: VIDEO_CHANNELS }), one);
  assertStrictEquals(formats({ ...CHANNELS, maxPayloadBytes: 1400 }), one);
  const others = [
    formats({ ...CHANNELS, maxPayloadBytes: 1200 }),
    formats({ video: VIDEO_CHANNELS }),
    formats({ audio: VIDEO_CHANNELS }),
    formats({ video: AUDIO_CHANNELS, audio: VIDEO_CHANNELS }),
    rtpFormats()(CHANNELS),
  ];
  assertEquals(new Set([one, ...others]).size, 6);
});

Deno.test("splitInterleaved() refuses what does not end with a whole packet", () => {
  const bytes = mux(TRACKS, [sound(0)]);
  const ends = new Set([0]);
  let end = 0;
  for (const { packet } of splitInterleaved(bytes)) ends.add(end += 4 + packet.length);
  assertEquals(end, bytes.length);
  for (let length = 0; length <= bytes.length; length++) {
    const cut = () => [...splitInterleaved(bytes.subarray(0, length))];
    if (ends.has(length)) cut();
    else assertThrows(cut, RangeError);
  }
  assertThrows(() => [...splitInterleaved(Uint8Array.of(0x25, 0, 0, 0))], RangeError);
});

Deno.test("firstOf() gives timestamps of one moment, and sequence numbers also of what is to come", () => {
  const format = rtpFormat(CHANNELS)();
  format.header(TRACKS, "start");
  writeFrame(format, picture(0, true));
  writeFrame(format, sound(0));
  const key = writeFrame(format, picture(2000, true, { ctsMs: 80 }));
  const picture2 = writeFrame(format, picture(2040));
  const sound2 = writeFrame(format, sound(2013));
  const packets = parse(concat([key, sound2])).rtp;
  const [video, audio] = [packets.get(0)?.[0], packets.get(2)?.[0]];
  assert(video !== undefined && audio !== undefined);
  const cname = firstOf(key, VIDEO_CHANNELS)?.cname;
  assertMatch(cname ?? "", /^\S{8,}$/);
  assertEquals(firstOf(key, VIDEO_CHANNELS), {
    ssrc: video.ssrc,
    sequence: video.sequence,
    timestamp: (video.timestamp - 7200) >>> 0,
    cname,
  });
  const audioStart = {
    ssrc: audio.ssrc,
    sequence: audio.sequence,
    timestamp: (audio.timestamp - 13 * 48) >>> 0,
    cname,
  };
  assertEquals(firstOf(key, AUDIO_CHANNELS), audioStart);
  assertEquals(firstOf(concat([key, picture2, sound2]), AUDIO_CHANNELS), audioStart);
  assertEquals(firstOf(picture2, AUDIO_CHANNELS), undefined);
  assertEquals(firstOf(sound2, AUDIO_CHANNELS), {
    ssrc: audio.ssrc,
    sequence: audio.sequence,
    timestamp: audio.timestamp,
    cname: undefined,
  });
});

Deno.test("firstOf() knows the next sequence number when numbers have wrapped around", () => {
  const format = rtpFormat(CHANNELS)();
  format.header(TRACKS, "start");
  for (let ms = 0; ms < 70_000; ms++) writeFrame(format, sound(ms));
  const key = writeFrame(format, picture(70_000, true));
  const next = parse(writeFrame(format, sound(70_000))).rtp.get(2)?.[0];
  assertEquals(firstOf(key, AUDIO_CHANNELS)?.sequence, next?.sequence);
});

Deno.test("Subscriber.mux() gives RTP that viewers share, and that starts with reports and sets", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  const formats = rtpFormats();
  const play = async () => {
    const subscriber = await rig.engine.subscribe("live/a", { type: "RTSP" });
    return (await subscriber.mux(formats(CHANNELS))).getReader();
  };
  const first = await play();
  pushFrames(publisher, "V1000 a1000 a1020 v1040 a1040");
  const start = (await first.read()).value ?? new Uint8Array();
  const second = await play();
  const joined = (await second.read()).value ?? new Uint8Array();
  for (const bytes of [start, joined]) {
    const { order, rtp } = parse(bytes);
    assertEquals(order.slice(0, 3), ["report 1", "report 3", "packet 0"]);
    assertEquals(rtp.get(0)?.[0]?.payload[0], 0x78);
    assertEquals(firstOf(bytes, VIDEO_CHANNELS), firstOf(start, VIDEO_CHANNELS));
  }
  await rig.pass(0.04);
  const reads = [first.read(), second.read()];
  pushFrames(publisher, "v1080 a1060");
  const [one, two] = await Promise.all(reads);
  assert(one?.value !== undefined && one.value.length > 0);
  assertStrictEquals(one.value, two?.value);
  // Players whose description is wrong now are sent away.
  const failing = first.read();
  publisher.audio.setASC(OTHER_ASC);
  pushFrames(publisher, "v1120 a1080 v1160 a1100");
  let error: unknown;
  try {
    await failing;
    for (let done = false; !done;) ({ done } = await first.read());
  } catch (cause) {
    error = cause;
  }
  assert(error instanceof Error && error.message.startsWith("Cannot go on in RTP"), `${error}`);
});
