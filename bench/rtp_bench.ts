/**
 * RTP: frames of every codec put into packets, and taken out again.
 *
 * `deno run bench/rtp_bench.ts table` prints MB/s of media and packets a second instead, the best of
 * several runs.
 */

import { aacConfig } from "../src/codecs/aac.ts";
import type { AudioConfig, VideoConfig } from "../src/codecs/config.ts";
import { alawConfig } from "../src/codecs/g711.ts";
import { mp3Config } from "../src/codecs/mp3.ts";
import { joinLengthPrefixed } from "../src/codecs/nal.ts";
import { opusConfig, serializeOpusHead } from "../src/codecs/opus.ts";
import { Engine } from "../src/engine.ts";
import type { MediaFrame } from "../src/frame.ts";
import { RtpSource } from "../src/rtp/source.ts";
import { rtpDescription, rtpFormat, splitInterleaved } from "../src/rtp_format.ts";
import { RtpReceiver } from "../src/rtp_receiver.ts";
import { FRAME_BYTES, randomBytes } from "./frames.ts";

const CHANNELS = { video: { rtp: 0, rtcp: 1 }, audio: { rtp: 0, rtcp: 1 } };

/** Seconds of media in an iteration. */
const SECONDS = 2;

/** Sizes of payloads: that of datagrams, and what TCP alone could carry. */
const PAYLOAD_BYTES = [1_200, 1_400, 8_000, 60_000];

interface Media {
  readonly name: string;
  readonly config: VideoConfig | AudioConfig;
  readonly frames: readonly MediaFrame[];
}

/** Video of 30 frames a second; `begin` is how a frame of the codec begins. */
function video(name: string, fourcc: string, begin: (key: boolean) => readonly number[]): Media {
  const config: VideoConfig = { kind: "video", fourcc, codec: fourcc };
  const frames = Array.from({ length: 30 * SECONDS }, (_, sequence): MediaFrame => {
    const key = sequence === 0;
    const bytes = randomBytes(key ? FRAME_BYTES.key : FRAME_BYTES.inter);
    bytes.set(begin(key));
    const data = fourcc === "avc1" || fourcc === "hvc1" ? joinLengthPrefixed([bytes]) : bytes;
    const dts = sequence * 33_333;
    return { kind: "video", sequence, dts, pts: dts, key, config, data };
  });
  return { name, config, frames };
}

function audio(name: string, config: AudioConfig, frame: Frame): Media {
  const { bytes, frameUs, begin = [] } = frame;
  const data = randomBytes(bytes);
  data.set(begin);
  const frames = Array.from({ length: Math.ceil(SECONDS * 1e6 / frameUs) }, (_, sequence) => {
    const dts = Math.round(sequence * frameUs);
    return { kind: "audio", sequence, dts, pts: dts, key: true, config, data } as const;
  });
  return { name, config, frames };
}

interface Frame {
  readonly bytes: number;
  readonly frameUs: number;
  readonly begin?: readonly number[];
}

/** Header and size of an OBU of a frame that fills `bytes`. */
function obu(bytes: number): readonly number[] {
  const size = bytes - 4;
  return [0x32, (size & 0x7f) | 0x80, (size >> 7 & 0x7f) | 0x80, size >> 14];
}

const MP3_BEGIN = [0xff, 0xfb, 0x94, 0];
const OPUS_HEAD = serializeOpusHead({
  channels: 2,
  preSkip: 0,
  inputSampleRate: 48_000,
  outputGain: 0,
  mappingFamily: 0,
});

const ALL: readonly Media[] = [
  video("H.264", "avc1", (key) => [key ? 0x65 : 0x41, 0x88]),
  video("H.265", "hvc1", (key) => [key ? 0x26 : 0x02, 1, 0x80]),
  video("AV1", "av01", (key) => obu(key ? FRAME_BYTES.key : FRAME_BYTES.inter)),
  video("VP9", "vp09", () => []),
  audio("AAC", aacConfig(Uint8Array.of(0x11, 0x90)), { bytes: 400, frameUs: 1024e6 / 48e3 }),
  audio("Opus", opusConfig(OPUS_HEAD), { bytes: 240, frameUs: 20_000, begin: [0xfc] }),
  audio("G.711", alawConfig(), { bytes: 160, frameUs: 20_000 }),
  audio("MP3", mp3Config(Uint8Array.from(MP3_BEGIN)), {
    bytes: 384,
    frameUs: 24_000,
    begin: MP3_BEGIN,
  }),
];

function tracksOf({ config }: Media) {
  return config.kind === "video"
    ? { video: config, audio: undefined }
    : { video: undefined, audio: config };
}

function writer(media: Media, maxPayloadBytes = 1400) {
  const format = rtpFormat({ ...CHANNELS, maxPayloadBytes })();
  format.header(tracksOf(media), "start");
  return format;
}

function packetsOf(media: Media): Uint8Array[] {
  const format = writer(media);
  return media.frames.flatMap((frame) => {
    const bytes = format.write(frame);
    const packets = bytes instanceof Uint8Array ? splitInterleaved(bytes).toArray() : [];
    // Each in a buffer of its own, as it comes out of a socket.
    return packets.filter(({ channel }) => channel === 0).map(({ packet }) => packet.slice());
  });
}

/** One thing that is measured, and how much of it. */
interface Measured {
  readonly group: string;
  readonly name: string;
  readonly bytes: number;
  readonly packets: number;
  readonly fn: () => void;
}

function measured(media: Media): Measured[] {
  const packets = packetsOf(media);
  const bytes = media.frames.reduce((sum, { data }) => sum + data.length, 0);
  const size = { bytes, packets: packets.length };
  const formats = rtpDescription(tracksOf(media)).map(({ format }) => format);
  const format = writer(media);
  const read = (reorder: boolean) => () => {
    let units = 0;
    const onUnit = () => void units++;
    const source = new RtpSource({ formats, reorder, onLoss: () => {}, onUnit });
    for (const packet of packets) source.push(packet, 0);
    source.flush(0);
    if (units !== media.frames.length) throw new Error(`Cannot measure: ${units} frames came back`);
  };
  return [
    {
      group: "into packets",
      name: media.name,
      ...size,
      fn: () => {
        for (const frame of media.frames) format.write(frame);
      },
    },
    { group: "out of packets", name: media.name, ...size, fn: read(false) },
    { group: "out of packets, reordering", name: media.name, ...size, fn: read(true) },
  ];
}

const [H264] = ALL as [Media];
const engine = new Engine();

/** All the way into a track. */
async function received(): Promise<Measured> {
  const media = H264;
  const packets = packetsOf(media);
  const publisher = await engine.publish("live/a", { type: "Bench", publishTimeout: 1e6 });
  publisher.video.configure({ kind: "video", fourcc: "avc1", codec: "avc1.64001f" });
  const formats = rtpDescription(tracksOf(media)).map(({ format }) => format);
  const bytes = media.frames.reduce((sum, { data }) => sum + data.length, 0);
  let round = 0;
  return {
    group: "out of packets into a track",
    name: media.name,
    bytes,
    packets: packets.length,
    fn() {
      round += SECONDS;
      const nowMs = () => round * 1000;
      const receiver = new RtpReceiver(publisher, { tracks: [formats], reorder: false, nowMs });
      for (const packet of packets) receiver.push(0, packet);
      receiver.end();
    },
  };
}

function sized(maxPayloadBytes: number): Measured {
  const format = writer(H264, maxPayloadBytes);
  const bytes = H264.frames.reduce((sum, { data }) => sum + data.length, 0);
  const packets = H264.frames.reduce(
    (sum, { data }) => sum + Math.ceil((data.length - 4) / maxPayloadBytes),
    0,
  );
  return {
    group: "H.264 into packets by payload size",
    name: `${maxPayloadBytes} B`,
    bytes,
    packets,
    fn: () => {
      for (const frame of H264.frames) format.write(frame);
    },
  };
}

const everything = [...ALL.flatMap(measured), await received(), ...PAYLOAD_BYTES.map(sized)];

for (const { group, name, bytes, packets, fn } of everything) {
  Deno.bench({
    group: `RTP ${group}`,
    name: `RTP ${group}: ${name}, ${(bytes / 1e6).toFixed(3)} MB in ${packets} packets`,
    fn,
  });
}

if (Deno.args[0] === "table") {
  for (const [group, entries] of Map.groupBy(everything, ({ group }) => group)) {
    print(`\n| ${group} | MB/s | packets/s | µs a packet |`);
    print("| --- | ---: | ---: | ---: |");
    for (const { name, bytes, packets, fn } of entries) {
      const us = best(fn) * 1e6;
      const thousands = Math.round(packets / us * 1000).toLocaleString("en");
      const each = (us / packets).toFixed(2);
      print(`| ${name} | ${Math.round(bytes / us)} | ${thousands},000 | ${each} |`);
    }
  }
  await engine.close();
}

function print(line: string): void {
  // deno-lint-ignore no-console -- the table is what was asked for
  console.log(line);
}

/** Seconds of one call: the best of ten times a tenth of a second, behind as many to warm up. */
function best(fn: () => void): number {
  const times: number[] = [];
  for (let round = 0; round < 20; round++) {
    const start = performance.now();
    let calls = 0;
    while (performance.now() - start < 100) {
      fn();
      calls++;
    }
    if (round >= 10) times.push((performance.now() - start) / calls);
  }
  return Math.min(...times) / 1000;
}
