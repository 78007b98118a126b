/** Parameter sets inside H.264 and H.265 access units. */

import { equalBytes } from "../bytes.ts";
import type { VideoConfig } from "./config.ts";
import { h264Config, isH264Key } from "./h264.ts";
import { h265Config, isH265Key } from "./h265.ts";

/** Which NAL units of a codec are what (ITU-T H.264 table 7-1, H.265 table 7-1). */
interface NalKinds {
  type(nalu: Uint8Array): number;
  /** Parameter sets in the order in which the configuration needs them, SPS last but one. */
  readonly sets: readonly number[];
  /** Units that mean nothing outside a byte stream: delimiters, ends and filler. */
  readonly framing: readonly number[];
  /** Whether a unit holds a slice. */
  slice(type: number): boolean;
  key(nalus: readonly Uint8Array[]): boolean;
  config(sets: readonly (readonly Uint8Array[])[]): VideoConfig;
}

const H264: NalKinds = {
  type: (nalu) => (nalu[0] ?? 0) & 0x1f,
  sets: [7, 8],
  framing: [9, 10, 11, 12],
  slice: (type) => type >= 1 && type <= 5,
  key: isH264Key,
  config: ([sps = [], pps = []]) => h264Config({ sps, pps }),
};

const H265: NalKinds = {
  type: (nalu) => ((nalu[0] ?? 0) >> 1) & 0x3f,
  sets: [32, 33, 34],
  framing: [35, 36, 37, 38],
  slice: (type) => type < 32,
  key: isH265Key,
  config: ([vps = [], sps = [], pps = []]) => h265Config({ vps, sps, pps }),
};

/** Most parameter sets of one kind kept: H.264 allows 32 SPS, real streams have a few. */
const MAX_SETS = 16;

/** What {@linkcode ParameterSets.push} finds in an access unit. */
export interface AccessUnitParts {
  /** The NAL units without parameter sets, delimiters and filler. */
  readonly nalus: readonly Uint8Array[];
  /** Whether a decoder can start here. */
  readonly key: boolean;
  /** Whether there is a picture in it. */
  readonly picture: boolean;
  /** The configuration, if this unit made or changed it. */
  readonly config: VideoConfig | undefined;
}

/**
 * Takes the parameter sets out of access units and builds decoder configurations of them.
 *
 * The sets may come in any unit before the first picture, one by one or together. Those of a kind
 * that a unit brings replace the ones of units before.
 */
export class ParameterSets {
  readonly #kinds: NalKinds;
  #sets: Uint8Array[][];
  #changed = false;

  /** For H.264 (`avc1`) or H.265 (`hvc1`). */
  constructor(fourcc: "avc1" | "hvc1") {
    this.#kinds = fourcc === "avc1" ? H264 : H265;
    this.#sets = this.#kinds.sets.map(() => []);
  }

  /**
   * Takes the NAL units of one access unit, or of a part of one.
   *
   * @throws {InvalidDataError} If a parameter set is malformed.
   */
  push(nalus: readonly Uint8Array[]): AccessUnitParts {
    const kinds = this.#kinds;
    const kept: Uint8Array[] = [];
    let found: Uint8Array[][] | undefined;
    let picture = false;
    for (const nalu of nalus) {
      const type = kinds.type(nalu);
      const set = kinds.sets.indexOf(type);
      if (set >= 0) {
        found ??= kinds.sets.map(() => []);
        found[set]?.push(nalu);
      } else if (nalu.length > 0 && !kinds.framing.includes(type)) {
        picture ||= kinds.slice(type);
        kept.push(nalu);
      }
    }
    if (found !== undefined) this.#merge(found);
    const complete = this.#sets.every((sets) => sets.length > 0);
    let config: VideoConfig | undefined;
    if (this.#changed && complete) {
      config = kinds.config(this.#sets);
      this.#changed = false;
    }
    return { nalus: kept, key: kinds.key(kept), picture, config };
  }

  #merge(found: readonly Uint8Array[][]): void {
    found.forEach((sets, kind) => {
      if (sets.length === 0) return;
      const old = this.#sets[kind] ?? [];
      const same = sets.every((set) => old.some((other) => equalBytes(set, other)));
      if (same) return;
      this.#sets[kind] = sets.slice(0, MAX_SETS).map((set) => set.slice());
      this.#changed = true;
    });
  }
}
