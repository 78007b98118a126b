/** Headers made by hand, for syntax that no encoder at hand writes. */

import { BitWriter } from "../../src/bits.ts";
import { concat } from "../../src/bytes.ts";
import { joinAnnexB } from "../../src/codecs/nal.ts";

/** A header, and the packets that make a decoder look at it. */
export interface CraftedHeader {
  readonly name: string;
  /** FFmpeg's name of the codec. */
  readonly decoder: "h264" | "hevc" | "libdav1d" | "aac";
  readonly extradata: Uint8Array;
  readonly packets: readonly Uint8Array[];
}

/** Writes an unsigned Exp-Golomb code (H.264 9.1). */
export function ue(writer: BitWriter, ...values: number[]): BitWriter {
  for (const value of values) {
    const length = Math.floor(Math.log2(value + 1));
    writer.bits(0, length).bits(value + 1, length + 1);
  }
  return writer;
}

/** Writes a signed Exp-Golomb code (H.264 9.1.1). */
export function se(writer: BitWriter, ...values: number[]): BitWriter {
  return ue(writer, ...values.map((value) => value > 0 ? 2 * value - 1 : -2 * value));
}

/** A NAL unit of `header` and what `write` writes, stop bit and emulation prevention added. */
export function nalu(header: readonly number[], write: (writer: BitWriter) => void): Uint8Array {
  const writer = new BitWriter();
  for (const byte of header) writer.bits(byte, 8);
  write(writer);
  return escapeRbsp(writer.bit(1).finish());
}

/** `rbsp` with emulation prevention bytes (H.264 7.4.1). */
export function escapeRbsp(rbsp: Uint8Array): Uint8Array {
  const bytes: number[] = [];
  let zeros = 0;
  for (const byte of rbsp) {
    if (zeros === 2 && byte <= 3) {
      bytes.push(3);
      zeros = 0;
    }
    bytes.push(byte);
    zeros = byte === 0 ? zeros + 1 : 0;
  }
  return Uint8Array.from(bytes);
}

/** An H.264 SPS with every branch taken: 638x358 at 30000/1001, two frames reordered. */
export function fullH264Sps(): Uint8Array {
  return nalu([0x67, 100, 0, 31], (writer) => {
    ue(writer, 0, 1, 0, 0).bits(0, 1).bits(1, 1);
    for (let list = 0; list < 8; list++) {
      if (list === 2) {
        writer.bit(0);
        continue;
      }
      writer.bit(1);
      if (list === 1) se(writer, -8);
      else if (list === 3) se(writer, 4, -12);
      else for (let index = 0; index < (list < 6 ? 16 : 64); index++) se(writer, index % 3);
    }
    ue(writer, 0, 1).bit(1);
    se(writer, -2, 3);
    ue(writer, 3);
    se(writer, 1, -2, 3);
    ue(writer, 4).bit(0);
    ue(writer, 39, 22).bit(1).bit(1).bit(1);
    ue(writer, 0, 1, 2, 3).bit(1);
    writer.bit(1).bits(255, 8).bits(4, 16).bits(3, 16).bits(3, 2);
    writer.bit(1).bits(5, 3).bit(0).bit(1).bits(1, 8).bits(1, 8).bits(1, 8);
    ue(writer.bit(1), 2, 2);
    writer.bit(1).bits(1001, 32).bits(60000, 32).bit(1);
    for (let kind = 0; kind < 2; kind++) {
      ue(writer.bit(1), 1).bits(4, 4).bits(4, 4);
      for (let buffer = 0; buffer < 2; buffer++) ue(writer, 1000, 2000).bit(0);
      writer.bits(23, 5).bits(23, 5).bits(23, 5).bits(24, 5);
    }
    writer.bit(0).bit(1).bit(1).bit(1);
    ue(writer, 2, 1, 16, 16, 2, 4);
  });
}

const h264Pps = nalu([0x68], (writer) => {
  ue(writer, 0, 0).bits(0, 2);
  ue(writer, 0, 0, 0).bits(0, 3);
  se(writer, 0, 0, 0).bits(4, 3);
});

const h264Slice = nalu([0x65], (writer) => {
  ue(writer, 0, 7, 0).bits(0, 4);
  ue(writer, 0).bits(0, 2);
  se(writer, 0);
  ue(writer, 0).bits(0x5555, 16);
});

function profileTierLevel(writer: BitWriter, subLayers: boolean): BitWriter {
  const general = (level: boolean) => {
    writer.bits(0, 2).bit(0).bits(2, 5).bits(0x20000000, 32).bits(0x90, 8).bits(0, 32).bits(0, 8);
    if (level) writer.bits(120, 8);
  };
  general(true);
  if (!subLayers) return writer;
  // Two sub-layers below the highest: one with profile and level, one with its level only.
  writer.bits(0b11_01, 4).bits(0, 12);
  general(true);
  return writer.bits(90, 8);
}

/** An H.265 SPS with every branch taken: 1270x710 at 50, of three sub-layers, 10 bits. */
export function fullH265Sps(): Uint8Array {
  return nalu([0x42, 1], (writer) => {
    writer.bits(0, 4).bits(2, 3).bit(1);
    profileTierLevel(writer, true);
    ue(writer, 0, 1, 1280, 720).bit(1);
    ue(writer, 1, 4, 2, 3, 2, 2, 4).bit(1);
    ue(writer, 2, 0, 0, 3, 1, 0, 4, 2, 5);
    ue(writer, 0, 3, 0, 3, 1, 1).bit(1).bit(1);
    for (let size = 0; size < 4; size++) {
      for (let matrix = 0; matrix < 6; matrix += size === 3 ? 3 : 1) {
        if (matrix === 0) {
          writer.bit(1);
          if (size > 1) se(writer, 4);
          for (let index = 0; index < (size === 0 ? 16 : 64); index++) se(writer, index % 2);
        } else {
          ue(writer.bit(0), 1);
        }
      }
    }
    writer.bit(1).bit(1);
    writer.bit(1).bits(7, 4).bits(7, 4);
    ue(writer, 0, 2).bit(1);
    ue(writer, 5);
    // Distances -1, -3, +2.
    ue(writer, 2, 1);
    ue(writer, 0).bit(1);
    ue(writer, 1).bit(1);
    ue(writer, 1).bit(1);
    // All of them and the picture itself, one earlier: -2, -4, +1 and -1.
    ue(writer.bit(1).bit(1), 0);
    for (let picture = 0; picture < 4; picture++) writer.bit(1);
    // Of -1, -2, -4, +1 and the picture itself, two later, the second and last unused: +1, -2 and +3.
    ue(writer.bit(1).bit(0), 1);
    writer.bits(0b1_00_1_1_00, 7);
    // One earlier: -3, +2 and -1, its use said in two bits; without 0, which no set holds.
    ue(writer.bit(1).bit(1), 0);
    writer.bits(0b1_00_1_01, 6);
    // So there are three pictures and the picture itself.
    ue(writer.bit(1).bit(1), 0);
    writer.bits(0b1111, 4);
    ue(writer.bit(1), 2);
    for (let picture = 0; picture < 2; picture++) writer.bits(77, 8).bit(1);
    writer.bit(1).bit(1);
    writer.bit(1);
    writer.bit(1).bits(255, 8).bits(4, 16).bits(3, 16).bits(3, 2);
    writer.bit(1).bits(5, 3).bit(0).bit(1).bits(9, 8).bits(16, 8).bits(9, 8);
    ue(writer.bit(1), 2, 2).bits(0, 3);
    ue(writer.bit(1), 0, 0, 0, 0);
    writer.bit(1).bits(1, 32).bits(50, 32);
    ue(writer.bit(1), 0).bit(1);
    writeH265Hrd(writer);
    ue(writer.bit(1).bits(1, 3), 300, 2, 1, 15, 15).bit(0);
  });
}

function writeH265Hrd(writer: BitWriter): void {
  writer.bit(1).bit(1).bit(1);
  writer.bits(8, 8).bits(7, 5).bit(1).bits(7, 5).bits(0, 8).bits(2, 4).bits(0x5294, 15);
  // Sub-layers: fixed rate; fixed within the sequence; not fixed, of low delay.
  ue(writer.bit(1), 0, 1);
  writeH265Buffers(writer, 4);
  ue(writer.bit(0).bit(1), 3, 0);
  writeH265Buffers(writer, 2);
  writer.bit(0).bit(0).bit(1);
  writeH265Buffers(writer, 2);
}

function writeH265Buffers(writer: BitWriter, count: number): void {
  // Codes of 31 zeros, a one and 31 zeros: a reader out of step finds too many zeros.
  const value = 2 ** 31 - 1;
  for (let buffer = 0; buffer < count; buffer++) {
    ue(writer, value, value, value, value).bit(buffer & 1);
  }
}

const h265Vps = nalu([0x40, 1], (writer) => {
  writer.bits(0, 4).bits(3, 2).bits(0, 6).bits(2, 3).bit(1).bits(0xffff, 16);
  profileTierLevel(writer, true).bit(0);
  ue(writer, 4, 2, 0).bits(0, 6);
  ue(writer, 0).bits(0, 2);
});

const h265Pps = nalu([0x44, 1], (writer) => {
  ue(writer, 0, 0).bits(0, 7);
  ue(writer, 0, 0);
  se(writer, 0).bits(0, 3);
  se(writer, 0, 0).bits(0, 6).bits(0, 4);
  ue(writer, 0).bits(0, 2);
});

const h265Slice = nalu([0x28, 1], (writer) => {
  ue(writer.bits(3, 2), 0, 2).bits(0, 2);
  se(writer, 0).bit(1).bits(0x5555, 16);
});

/** An AV1 sequence header OBU with every branch taken: 1918x1078 at 30, High tier, 12 bits 4:2:2. */
export function fullAv1SequenceHeader(): Uint8Array {
  const writer = new BitWriter().bits(2, 3).bits(0, 2);
  writer.bit(1).bits(1001, 32).bits(60060, 32).bit(1).bits(0b010, 3);
  writer.bit(1).bits(9, 5).bits(1001, 32).bits(9, 5).bits(9, 5);
  writer.bit(1).bits(2, 5);
  writer.bits(0x103, 12).bits(9, 5).bit(1).bit(1).bits(0, 10).bits(0, 10).bit(0).bit(1).bits(3, 4);
  writer.bits(0x101, 12).bits(5, 5).bit(0).bit(0);
  writer.bits(0x101, 12).bits(8, 5).bit(0).bit(0).bit(1).bits(4, 4);
  writer.bits(10, 4).bits(10, 4).bits(1917, 11).bits(1077, 11);
  writer.bit(1).bits(3, 4).bits(2, 3);
  writer.bits(0, 3).bits(0, 4).bit(1).bits(0, 2).bit(0).bit(1).bit(0).bit(1).bits(6, 3);
  writer.bits(0, 3);
  writer.bit(1).bit(1).bit(0).bit(1).bits(9, 8).bits(16, 8).bits(9, 8);
  writer.bit(0).bit(1).bit(0).bit(0).bit(0);
  const payload = writer.bit(1).finish();
  return concat([Uint8Array.of(0x0a, payload.length), payload]);
}

function av1CWith(obu: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(0x81, 0x49, 0xe8, 0), obu]);
}

function ascOf(write: (writer: BitWriter) => void): Uint8Array {
  const writer = new BitWriter();
  write(writer);
  return writer.finish();
}

/** AudioSpecificConfigs by what they have. */
export const CRAFTED_ASC = {
  lc: ascOf((writer) => writer.bits(2, 5).bits(4, 4).bits(2, 4).bits(0, 3)),
  he: ascOf((w) => w.bits(5, 5).bits(6, 4).bits(2, 4).bits(3, 4).bits(2, 5).bits(0, 3)),
  heV2: ascOf((w) => w.bits(29, 5).bits(7, 4).bits(1, 4).bits(4, 4).bits(2, 5).bits(0, 3)),
  heBehind: ascOf((w) =>
    w.bits(2, 5).bits(6, 4).bits(2, 4).bits(0, 3).bits(0x2b7, 11).bits(5, 5).bit(1).bits(3, 4)
  ),
  heV2Behind: ascOf((w) =>
    w.bits(2, 5).bits(6, 4).bits(1, 4).bits(0, 3).bits(0x2b7, 11).bits(5, 5).bit(1).bits(3, 4)
      .bits(0x548, 11).bit(1)
  ),
  heDenied: ascOf((w) =>
    w.bits(2, 5).bits(3, 4).bits(2, 4).bits(0, 3).bits(0x2b7, 11).bits(5, 5).bit(0)
  ),
  oddRate: ascOf((w) => w.bits(2, 5).bits(15, 4).bits(47250, 24).bits(2, 4).bits(0, 3)),
  frames960: ascOf((w) => w.bits(2, 5).bits(3, 4).bits(6, 4).bit(1).bits(0, 2)),
  lowDelay: ascOf((w) =>
    w.bits(23, 5).bits(3, 4).bits(2, 4).bits(0, 2).bit(1).bits(0, 3).bits(0, 3)
  ),
  usac: ascOf((w) => w.bits(31, 5).bits(10, 6).bits(3, 4).bits(2, 4).bits(0, 16)),
  coreCoder: ascOf((w) =>
    w.bits(2, 5).bits(6, 4).bits(2, 4).bit(0).bit(1).bits(99, 14).bit(0)
      .bits(0x2b7, 11).bits(5, 5).bit(1).bits(3, 4)
  ),
  resilient: ascOf((w) =>
    w.bits(17, 5).bits(6, 4).bits(2, 4).bits(1, 3).bits(0b101, 3).bit(0).bits(1, 2)
      .bits(0x2b7, 11).bits(5, 5).bit(1).bits(3, 4)
  ),
  scalable: ascOf((w) =>
    w.bits(20, 5).bits(6, 4).bits(1, 4).bits(1, 3).bits(3, 3).bits(0b101, 3).bit(0).bits(0, 2)
      .bits(0x2b7, 11).bits(5, 5).bit(1).bits(3, 4)
  ),
  bitSliced: ascOf((w) =>
    w.bits(22, 5).bits(6, 4).bits(2, 4).bits(1, 3).bits(9, 5).bits(99, 11).bit(0).bits(0, 2)
      .bits(0x2b7, 11).bits(5, 5).bit(1).bits(3, 4)
  ),
  protected: ascOf((w) =>
    w.bits(17, 5).bits(6, 4).bits(2, 4).bits(0, 3).bits(2, 2)
      .bits(0x2b7, 11).bits(5, 5).bit(1).bits(3, 4)
  ),
  enhancedLowDelay: ascOf((w) => w.bits(31, 5).bits(7, 6).bits(3, 4).bits(2, 4).bit(1).bits(0, 16)),
  program: ascOf((w) => {
    w.bits(2, 5).bits(3, 4).bits(0, 4).bits(0, 3);
    w.bits(0, 4).bits(1, 2).bits(3, 4).bits(1, 4).bits(0, 4).bits(1, 4).bits(1, 2).bits(1, 3);
    w.bits(0, 4).bit(1).bits(0, 4).bit(0).bit(1).bits(5, 3);
    w.bit(1).bits(0, 4).bit(1).bits(1, 4).bits(0, 4).bits(3, 4);
    w.align().bits(2, 8).bits(0x6869, 16);
  }),
} as const;

/** Everything above that a decoder of FFmpeg looks at. */
export const CRAFTED: readonly CraftedHeader[] = [
  {
    name: "crafted_h264",
    decoder: "h264",
    extradata: joinAnnexB([fullH264Sps(), h264Pps]),
    packets: [joinAnnexB([fullH264Sps(), h264Pps, h264Slice])],
  },
  {
    name: "crafted_h265",
    decoder: "hevc",
    extradata: joinAnnexB([h265Vps, fullH265Sps(), h265Pps]),
    packets: [joinAnnexB([h265Vps, fullH265Sps(), h265Pps, h265Slice])],
  },
  {
    name: "crafted_av1",
    decoder: "libdav1d",
    extradata: av1CWith(fullAv1SequenceHeader()),
    packets: [concat([Uint8Array.of(0x12, 0), fullAv1SequenceHeader()])],
  },
  ...Object.entries(CRAFTED_ASC).map(([name, extradata]): CraftedHeader => ({
    name: `crafted_aac_${name}`,
    decoder: "aac",
    extradata,
    packets: [],
  })),
];
