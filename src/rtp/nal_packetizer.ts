/** From access units to the payloads of H.264 and H.265 packets: what both formats share. */

import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import { splitLengthPrefixed } from "../codecs/nal.ts";
import type { PacketizedFrame, RtpPayload } from "./payload.ts";
import { type PacketizerOptions, payloadBytes } from "./payload_size.ts";

/** Least bytes of a payload: the headers of a fragment and one byte of each NAL unit, with room. */
export const MIN_PAYLOAD_BYTES = 16;

/** Most bytes of a NAL unit in an aggregation packet, where its length has 16 bits. */
const MAX_AGGREGATED_BYTES = 0xffff;

/** What a NAL unit is to a packetizer. */
export type NalRole =
  /** Nothing that the payload format can carry. */
  | "unsendable"
  /** Access unit delimiter, which comes first. */
  | "delimiter"
  /** Parameter set. */
  | "set"
  /** Supplemental enhancement information. */
  | "sei"
  /** All else. */
  | "other";

/** How NAL units lie in the payloads of a codec. */
export interface NalPacketFormat {
  /** Bytes of a NAL unit's header, which fragments do without. */
  readonly headerLength: 1 | 2;
  /** What a NAL unit is. */
  role(nalu: Uint8Array): NalRole;
  /** The parameter sets of a decoder configuration; none if it is another codec's. */
  sets(config: VideoConfig): readonly Uint8Array[];
  /** The payload header of an aggregation packet of `nalus`. */
  aggregationHeader(nalus: readonly Uint8Array[]): Uint8Array;
  /** The payload header of a fragment of `nalu`; `flags` are S (0x80) and E (0x40). */
  fragmentHeader(nalu: Uint8Array, flags: number): Uint8Array;
}

/**
 * Cuts access units into payloads.
 *
 * Delimiters, parameter sets and SEI that follow one another share aggregation packets; each other
 * NAL unit has its own packets, as slices are large and one that is lost should take no other along.
 */
export class NalPacketizer {
  readonly #format: NalPacketFormat;
  readonly #maxBytes: number;
  #config: VideoConfig | AudioConfig | undefined;
  #sets: readonly Uint8Array[] = [];

  /**
   * For payloads of at most `maxPayloadBytes`.
   *
   * @throws {RangeError} If that is no integer from {@linkcode MIN_PAYLOAD_BYTES} on.
   */
  constructor(format: NalPacketFormat, options: PacketizerOptions) {
    this.#maxBytes = payloadBytes(options, MIN_PAYLOAD_BYTES);
    this.#format = format;
  }

  /**
   * The payloads of `frame`; the last one has the marker.
   *
   * @throws {InvalidDataError} If its data or its configuration's description is malformed.
   */
  packetize(frame: PacketizedFrame): RtpPayload[] {
    const nalus = this.#sent(frame);
    const payloads: { parts: readonly Uint8Array[]; marker: boolean }[] = [];
    const add = (...parts: Uint8Array[]) => payloads.push({ parts, marker: false });
    let group: Uint8Array[] = [];
    let groupBytes = 0;
    const addGroup = () => {
      if (group.length === 1) add(...group);
      else if (group.length > 1) add(this.#format.aggregationHeader(group), ...withLengths(group));
      group = [];
    };
    for (const nalu of nalus) {
      const bytes = 2 + nalu.length;
      const small = this.#format.role(nalu) !== "other" && nalu.length <= MAX_AGGREGATED_BYTES;
      if (!small || groupBytes + bytes > this.#maxBytes) addGroup();
      if (small && this.#format.headerLength + bytes <= this.#maxBytes) {
        if (group.length === 0) groupBytes = this.#format.headerLength;
        group.push(nalu);
        groupBytes += bytes;
      } else if (nalu.length <= this.#maxBytes) {
        addGroup();
        add(nalu);
      } else {
        addGroup();
        for (const parts of this.#fragments(nalu)) add(...parts);
      }
    }
    addGroup();
    const last = payloads.at(-1);
    if (last !== undefined) last.marker = true;
    return payloads;
  }

  /** The NAL units to send: those of the frame, and before a keyframe its parameter sets. */
  #sent({ key, config, data }: PacketizedFrame): readonly Uint8Array[] {
    const nalus = splitLengthPrefixed(data)
      .filter((nalu) => this.#format.role(nalu) !== "unsendable");
    if (!key || nalus.some((nalu) => this.#format.role(nalu) === "set")) return nalus;
    if (config !== this.#config) {
      this.#sets = config.kind === "video" ? this.#format.sets(config) : [];
      this.#config = config;
    }
    const first = nalus[0];
    const delimited = first !== undefined && this.#format.role(first) === "delimiter";
    nalus.splice(delimited ? 1 : 0, 0, ...this.#sets);
    return nalus;
  }

  *#fragments(nalu: Uint8Array): Generator<Uint8Array[]> {
    const format = this.#format;
    const middle = format.fragmentHeader(nalu, 0);
    const size = this.#maxBytes - middle.length;
    for (let at = format.headerLength; at < nalu.length; at += size) {
      const flags = (at === format.headerLength ? 0x80 : 0) | (at + size >= nalu.length ? 0x40 : 0);
      const header = flags === 0 ? middle : format.fragmentHeader(nalu, flags);
      yield [header, nalu.subarray(at, at + size)];
    }
  }
}

/** Each of `nalus` behind its 16-bit length. */
function withLengths(nalus: readonly Uint8Array[]): Uint8Array[] {
  return nalus.flatMap((nalu) => [Uint8Array.of(nalu.length >> 8, nalu.length), nalu]);
}
