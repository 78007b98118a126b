/** Bitstreams made once by FFmpeg's encoders, with what FFmpeg says of them. */

const folder = new URL("../fixtures/codecs/", import.meta.url);

/** What FFmpeg said of one fixture; absent where it does not apply. */
export interface FixtureFacts {
  /** The FFmpeg encoder. */
  readonly encoder: string;
  /** RFC 6381 codec string (av_mime_codec_str). */
  readonly codec?: string;
  readonly width?: number;
  readonly height?: number;
  readonly profile?: number;
  readonly level?: number;
  readonly pixelFormat?: string;
  /** As a fraction, from the decoder's reading of the bitstream; 0 where it says none. */
  readonly frameRate?: readonly [number, number];
  /** Frames that the decoder holds back (has_b_frames). */
  readonly delay?: number;
  readonly sampleRate?: number;
  readonly channels?: number;
  /** Of each packet, as the encoder flagged it. */
  readonly keys: readonly boolean[];
  /** Of each packet in microseconds; 0 where unknown. */
  readonly durationsUs: readonly number[];
}

/** One fixture. */
export interface CodecFixture extends FixtureFacts {
  readonly name: string;
  /** What the encoder put out as its global header. */
  readonly extradata: Uint8Array;
  /** The record that FFmpeg's MP4 muxer wrote: the payload of avcC, hvcC, av1C, vpcC, dOps. */
  readonly record: Uint8Array;
  /** The record that FFmpeg's FLV muxer wrote after the FourCC; empty for codecs not in FLV. */
  readonly flvRecord: Uint8Array;
  /** Packets as the encoder put them out. */
  readonly packets: readonly Uint8Array[];
}

/** The form of a fixture on disk: facts, and the lengths of what lies in the file of bytes. */
interface StoredFixture extends FixtureFacts {
  readonly extradataLength: number;
  readonly recordLength: number;
  readonly flvRecordLength: number;
  readonly packetLengths: readonly number[];
}

/** The fixtures whose names begin with `prefix`, by name. */
export function readFixtures(prefix: string): CodecFixture[] {
  const names: string[] = [];
  for (const { name } of Deno.readDirSync(folder)) {
    if (name.startsWith(prefix) && name.endsWith(".json")) names.push(name.slice(0, -5));
  }
  if (names.length === 0) throw new Error(`Cannot find fixtures: their prefix is ${prefix}`);
  return names.sort().map(readFixture);
}

/** The fixture called `name`. */
export function readFixture(name: string): CodecFixture {
  const text = Deno.readTextFileSync(new URL(`${name}.json`, folder));
  const stored = JSON.parse(text) as StoredFixture;
  const bytes = Deno.readFileSync(new URL(`${name}.bin`, folder));
  let at = 0;
  const take = (length: number) => bytes.slice(at, at += length);
  const { extradataLength, recordLength, flvRecordLength, packetLengths, ...facts } = stored;
  return {
    ...facts,
    name,
    extradata: take(extradataLength),
    record: take(recordLength),
    flvRecord: take(flvRecordLength),
    packets: packetLengths.map(take),
  };
}

/** Writes `fixture` where {@linkcode readFixture} finds it. */
export function writeFixture(fixture: CodecFixture): void {
  const { name, extradata, record, flvRecord, packets, ...facts } = fixture;
  const stored: StoredFixture = {
    ...facts,
    extradataLength: extradata.length,
    recordLength: record.length,
    flvRecordLength: flvRecord.length,
    packetLengths: packets.map((packet) => packet.length),
  };
  Deno.mkdirSync(folder, { recursive: true });
  const text = JSON.stringify(stored, undefined, 2);
  Deno.writeTextFileSync(new URL(`${name}.json`, folder), `${text}\n`);
  const parts = [extradata, record, flvRecord, ...packets];
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  Deno.writeFileSync(new URL(`${name}.bin`, folder), bytes);
}
