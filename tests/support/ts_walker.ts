/** MPEG-TS taken apart with every rule checked that a strict player relies on. */

import { assert, assertEquals } from "@std/assert";
import { concat } from "../../src/bytes.ts";

/** A PES packet, or what a program map says. */
export interface TsPes {
  readonly pid: number;
  readonly streamId: number;
  /** In ticks of 90 kHz. */
  readonly pts: number;
  /** That of the PTS where there is none. */
  readonly dts: number;
  readonly hasDts: boolean;
  readonly randomAccess: boolean;
  /** In ticks of 27 MHz. */
  readonly pcr: number | undefined;
  /** PES_packet_length. */
  readonly length: number;
  readonly payload: Uint8Array;
  /** Transport packets that it takes. */
  readonly packets: number;
}

/** A program map table. */
export interface TsMap {
  readonly version: number;
  readonly pcrPid: number;
  /** In the form `100:1b`, with the descriptors in hex behind it if there are any. */
  readonly streams: readonly string[];
}

/** What a transport stream holds. */
export interface Walked {
  readonly pes: readonly TsPes[];
  readonly maps: readonly TsMap[];
  /** In the form `pmt`, or `video`, `video key`, `audio`, `clock` in the order of their packets. */
  readonly order: readonly string[];
  /** In ticks of 27 MHz. */
  readonly pcrs: readonly number[];
}

interface OpenPes {
  readonly head: Omit<TsPes, "streamId" | "pts" | "dts" | "hasDts" | "length" | "payload">;
  readonly parts: Uint8Array[];
}

/** How strict to be. */
export interface WalkOptions {
  /** PIDs whose counters may jump. */
  readonly jumps?: readonly number[];
}

/** Takes `bytes` apart; asserts sync bytes, counters, stuffing, checksums and lengths. */
export function walkTs(bytes: Uint8Array, { jumps = [] }: WalkOptions = {}): Walked {
  assertEquals(bytes.length % 188, 0, "packets are whole");
  const counters = new Map<number, number>();
  const open = new Map<number, OpenPes>();
  const pes: TsPes[] = [];
  const maps: TsMap[] = [];
  const order: string[] = [];
  const pcrs: number[] = [];
  let pmtPid = -1;
  for (let at = 0; at < bytes.length; at += 188) {
    const packet = bytes.subarray(at, at + 188);
    const byte = (index: number) => packet[index] ?? -1;
    assertEquals(byte(0), 0x47, `sync byte at ${at}`);
    assertEquals(byte(1) & 0xa0, 0, "no error, no priority");
    assertEquals(byte(3) & 0xc0, 0, "not scrambled");
    const starts = (byte(1) & 0x40) !== 0;
    const pid = (byte(1) & 31) << 8 | byte(2);
    const hasField = (byte(3) & 0x20) !== 0;
    const hasPayload = (byte(3) & 0x10) !== 0;
    const known = counters.get(pid);
    const counter = byte(3) & 15;
    if (known !== undefined && !(jumps.includes(pid) && counters.get(pid) !== counter)) {
      assertEquals(counter, hasPayload ? (known + 1) & 15 : known, `counter of ${pid} at ${at}`);
    }
    counters.set(pid, counter);
    let start = 4;
    let flags = 0;
    let pcr: number | undefined;
    if (hasField) {
      const length = byte(4);
      assert(hasPayload ? length <= 182 : length === 183, `field of ${length} bytes at ${at}`);
      start = 5 + length;
      if (length > 0) flags = byte(5);
      assertEquals(flags & ~0x50, 0, "flags known");
      let stuffing = 6;
      if ((flags & 0x10) !== 0) {
        const base = byte(6) * 2 ** 25 + (byte(7) << 17) + (byte(8) << 9) + (byte(9) << 1) +
          (byte(10) >> 7);
        assertEquals(byte(10) & 0x7e, 0x7e, "reserved bits");
        const extension = (byte(10) & 1) << 8 | byte(11);
        assert(extension < 300, "PCR extension");
        pcr = base * 300 + extension;
        pcrs.push(pcr);
        stuffing = 12;
      }
      for (let index = stuffing; index < start; index++) {
        assertEquals(byte(index), 0xff, `stuffing at ${at}`);
      }
    }
    if (!hasPayload) {
      order.push("clock");
      continue;
    }
    assert(start < 188, `payload at ${at}`);
    const payload = packet.subarray(start);
    if (pid === 0 || pid === pmtPid) {
      assert(starts, "a table is whole in its packet");
      const section = checkedSection(payload);
      if (pid === 0) {
        assertEquals(section[0], 0);
        assertEquals(section.length, 16);
        pmtPid = u16(section, 10) & 0x1fff;
      } else {
        maps.push(mapOf(section));
        order.push("pmt");
      }
      continue;
    }
    if (starts) {
      finish(pid);
      const head = { pid, randomAccess: (flags & 0x40) !== 0, pcr, packets: 1 };
      order.push((pid === 0x100 ? "video" : "audio") + (head.randomAccess ? " key" : ""));
      open.set(pid, { head, parts: [payload] });
    } else {
      const current = open.get(pid);
      assert(current, `PID ${pid} begins with a PES header`);
      current.parts.push(payload);
    }
  }
  for (const pid of [...open.keys()]) finish(pid);
  return { pes, maps, order, pcrs };

  function finish(pid: number): void {
    const current = open.get(pid);
    if (current === undefined) return;
    open.delete(pid);
    pes.push(pesOf(concat(current.parts), { ...current.head, packets: current.parts.length }));
  }
}

function pesOf(data: Uint8Array, head: OpenPes["head"]): TsPes {
  assertEquals([data[0], data[1], data[2]], [0, 0, 1], "start code prefix");
  const length = u16(data, 4);
  const streamId = data[3] ?? 0;
  if (length === 0) assertEquals(streamId, 0xe0, "only video may be without a length");
  else assertEquals(length, data.length - 6, "PES_packet_length");
  assertEquals(data[6], 0x84);
  const hasDts = data[7] === 0xc0;
  if (!hasDts) assertEquals(data[7], 0x80);
  assertEquals(data[8], hasDts ? 10 : 5);
  const pts = timestamp(data, 9, hasDts ? 3 : 2);
  const dts = hasDts ? timestamp(data, 14, 1) : pts;
  return { ...head, streamId, length, hasDts, pts, dts, payload: data.subarray(hasDts ? 19 : 14) };
}

function timestamp(data: Uint8Array, at: number, prefix: number): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = data.subarray(at, at + 5);
  assertEquals([a >> 4, a & 1, c & 1, e & 1], [prefix, 1, 1, 1], "timestamp markers");
  return (a >> 1 & 7) * 2 ** 30 + ((b << 7 | c >> 1) * 2 ** 15) + (d << 7 | e >> 1);
}

function checkedSection(payload: Uint8Array): Uint8Array {
  assertEquals(payload[0], 0, "pointer_field");
  const length = u16(payload, 2) & 0xfff;
  const section = payload.subarray(1, 4 + length);
  assertEquals(section.length, 3 + length);
  assertEquals(u16(section, 1) & 0xf000, 0xb000);
  assertEquals((section[5] ?? 0) & 0xc1, 0xc1, "current");
  assertEquals([section[6], section[7]], [0, 0], "the only section");
  assertEquals(crc32Mpeg(section), 0, "CRC_32");
  assert(payload.subarray(4 + length).every((byte) => byte === 0xff), "stuffing behind it");
  return section;
}

function mapOf(section: Uint8Array): TsMap {
  assertEquals(section[0], 2);
  const version = ((section[5] ?? 0) >> 1) & 31;
  const pcrPid = u16(section, 8) & 0x1fff;
  const streams: string[] = [];
  let at = 12 + (u16(section, 10) & 0xfff);
  while (at < section.length - 4) {
    const length = u16(section, at + 3) & 0xfff;
    const pid = (u16(section, at + 1) & 0x1fff).toString(16);
    const descriptors = section.subarray(at + 5, at + 5 + length).toHex();
    const type = (section[at] ?? 0).toString(16).padStart(2, "0");
    streams.push([pid, type, descriptors].filter((text) => text !== "").join(":"));
    at += 5 + length;
  }
  assertEquals(at, section.length - 4, "descriptor lengths");
  return { version, pcrPid, streams };
}

/** Bit by bit (ISO/IEC 13818-1 annex A); 0 over a section with its checksum. */
function crc32Mpeg(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const out = (crc >>> 31) ^ (byte >> bit & 1);
      crc = (crc << 1) ^ (out === 1 ? 0x04c1_1db7 : 0);
    }
  }
  return crc >>> 0;
}

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0);
}
