/**
 * RTP that FFmpeg's and GStreamer's payloaders sent, with what must come out of it.
 *
 * A fixture is three files in `tests/fixtures/rtp/`: `.rtp` has the RTP and RTCP packets in the order in which
 * they were sent, each behind its length (RFC 4571 2), `.sdp` the sender's session description, `.json` the
 * {@linkcode RtpExpectation}. What is expected was taken from the encoder, before the payloader saw it.
 */
import { crc32 } from "node:zlib";
import { canonical } from "./ffmpeg/canonical.ts";

const folder = new URL("../fixtures/rtp/", import.meta.url);

/** One frame that must come out. */
export interface ExpectedUnit {
  /** RTP timestamp in ticks after that of the first unit: negative where it is presented before it. */
  readonly timestamp: number;
  /** Whether the encoder said that a decoder can start here. */
  readonly key: boolean;
  /** Length of the canonical frame in bytes. */
  readonly bytes: number;
  /** CRC-32 of the canonical frame: 8 hexadecimal digits. */
  readonly hash: string;
}

/** What must come out of a fixture. */
export interface RtpExpectation {
  /** Encoding name as the rtpmap has it. */
  readonly encoding: string;
  /** Ticks of the RTP timestamp per second. */
  readonly clockRate: number;
  /**
   * By how many ticks a timestamp may differ: 0, or 1 where packets carry several frames whose duration is no
   * whole number of ticks.
   */
  readonly tolerance: number;
  /** In the order of decoding. */
  readonly units: readonly ExpectedUnit[];
}

/** One fixture. */
export interface RtpFixture {
  readonly name: string;
  /** Session description of the sender. */
  readonly sdp: string;
  /** All packets in the order of their arrival. */
  readonly arrivals: readonly Uint8Array<ArrayBuffer>[];
  /** The RTP packets among them. */
  readonly packets: readonly Uint8Array<ArrayBuffer>[];
  /** The compound RTCP packets among them. */
  readonly rtcp: readonly Uint8Array<ArrayBuffer>[];
  readonly expected: RtpExpectation;
}

/** The names of the fixtures that begin with `prefix`, such as `ffmpeg_` or `gstreamer_h264`. */
export function fixtureNames(prefix = ""): string[] {
  const names: string[] = [];
  for (const { name } of Deno.readDirSync(folder)) {
    if (name.startsWith(prefix) && name.endsWith(".rtp")) names.push(name.slice(0, -4));
  }
  if (names.length === 0) throw new Error(`Cannot find fixtures: their prefix is ${prefix}`);
  return names.sort();
}

/** The fixture called `name`. */
export function readRtpFixture(name: string): RtpFixture {
  const arrivals = [...splitFramed(Deno.readFileSync(new URL(`${name}.rtp`, folder)))];
  return {
    name,
    sdp: Deno.readTextFileSync(new URL(`${name}.sdp`, folder)),
    arrivals,
    packets: arrivals.filter((packet) => !isRtcp(packet)),
    rtcp: arrivals.filter(isRtcp),
    expected: JSON.parse(Deno.readTextFileSync(new URL(`${name}.json`, folder))),
  };
}

/** Writes a fixture where {@linkcode readRtpFixture} finds it. */
export function writeRtpFixture(
  { name, sdp, arrivals, expected }: Omit<RtpFixture, "packets" | "rtcp">,
): void {
  Deno.mkdirSync(folder, { recursive: true });
  const { units, ...media } = expected;
  const lines = units.map((unit) => `\n    ${JSON.stringify(unit)}`);
  const head = JSON.stringify(media, undefined, 2).slice(0, -2);
  Deno.writeTextFileSync(
    new URL(`${name}.json`, folder),
    `${head},\n  "units": [${lines.join(",")}\n  ]\n}\n`,
  );
  Deno.writeTextFileSync(new URL(`${name}.sdp`, folder), sdp);
  const framed = arrivals.flatMap((packet) => [
    Uint8Array.of(packet.length >> 8, packet.length & 0xff),
    packet,
  ]);
  Deno.writeFileSync(new URL(`${name}.rtp`, folder), concat(framed));
}

/**
 * The expectation for a frame that came out as `parts`, those of an `RtpUnit` of `src/rtp/`.
 *
 * `origin` is the RTP timestamp of the first unit; both timestamps have 32 bits.
 */
export function describeUnit(
  encoding: string,
  unit: { readonly timestamp: number; readonly parts: readonly Uint8Array[] },
  origin: number,
): Omit<ExpectedUnit, "key"> {
  const frame = canonicalFrame(encoding, unit.parts);
  return { timestamp: (unit.timestamp - origin) | 0, bytes: frame.length, hash: hashOf(frame) };
}

/**
 * The canonical form of a frame, which does not depend on how it was sent.
 *
 * - H264, H265: the NAL units with 4-byte lengths, in their order, but for access unit delimiters and parameter
 *   sets (H.264 types 7 to 9, H.265 types 32 to 35). SEI stays. `parts` are the NAL units without lengths.
 * - AV1: the OBUs of the temporal unit, each with a size in the fewest bytes, but for temporal delimiters.
 *   `parts` are OBUs that have sizes.
 * - all else: the bytes as they are: a VP9 frame (a superframe stays one), a raw AAC frame without ADTS or LATM,
 *   an Opus packet, an MPEG audio frame with its header, the samples of a G.711 packet.
 */
export function canonicalFrame(
  encoding: string,
  parts: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  switch (encoding.toUpperCase()) {
    case "H264":
      return canonical("h264", withLengths(parts), LENGTH_PREFIXED);
    case "H265":
      return canonical("hevc", withLengths(parts), LENGTH_PREFIXED);
    case "AV1":
      return concat([...splitObus(concat(parts))]);
    default:
      return concat(parts);
  }
}

/** The hash of a canonical frame. */
export function hashOf(frame: Uint8Array): string {
  return crc32(frame).toString(16).padStart(8, "0");
}

/** Whether a packet of a shared port is RTCP (RFC 5761 4). */
export function isRtcp(packet: Uint8Array): boolean {
  const type = packet[1] ?? 0;
  return type >= 192 && type <= 223;
}

/** The packets of a byte stream in which each is behind its 16-bit length. */
export function* splitFramed(
  bytes: Uint8Array<ArrayBuffer>,
): Generator<Uint8Array<ArrayBuffer>> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length;) {
    const end = at + 2 + view.getUint16(at);
    if (end > bytes.length) throw new RangeError(`Cannot read a packet: its end is ${end}`);
    yield bytes.slice(at + 2, end);
    at = end;
  }
}

/** Makes {@linkcode canonical} read 4-byte lengths and take parameter sets away. */
const LENGTH_PREFIXED = { extradata: Uint8Array.of(1), strip: true };

function withLengths(units: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concat(units.flatMap((unit) => {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, unit.length);
    return [length, unit];
  }));
}

/** OBUs in the canonical form (AV1 clauses 5.3.1 and 5.3.2); type 2 is the temporal delimiter. */
function* splitObus(data: Uint8Array): Generator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < data.length;) {
    const header = data[at] ?? 0;
    const headerLength = header & 4 ? 2 : 1;
    if (!(header & 2)) throw new Error(`Cannot read an OBU: the one at ${at} is without a size`);
    let next = at + headerLength;
    let size = 0;
    for (let shift = 0;; shift += 7) {
      const byte = data[next++] ?? 0;
      size += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    const end = next + size;
    if (end > data.length) throw new Error(`Cannot read an OBU: its end is ${end}`);
    if (((header >> 3) & 0xf) !== 2) {
      yield concat([data.subarray(at, at + headerLength), leb128(size), data.subarray(next, end)]);
    }
    at = end;
  }
}

function leb128(value: number): Uint8Array {
  const bytes: number[] = [];
  do {
    bytes.push(value & 0x7f | (value > 0x7f ? 0x80 : 0));
    value >>>= 7;
  } while (value > 0);
  return Uint8Array.from(bytes);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
