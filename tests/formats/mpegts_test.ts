import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { h264ConfigFromAvcC, parseAvcC, serializeAvcC } from "../../src/codecs/h264.ts";
import { parseHvcC } from "../../src/codecs/h265.ts";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import { videoConfigFrom } from "../../src/codecs/description.ts";
import { joinLengthPrefixed, splitAnnexB } from "../../src/codecs/nal.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  isTsConfig,
  TS_LEAD_US,
  TS_PACKET_BYTES,
  type TsFrame,
  TsMuxer,
} from "../../src/formats/mpegts.ts";
import { readFixture } from "../support/codec_fixtures.ts";
import { aac, h264, slice } from "../support/frames.ts";
import { type TsPes, walkTs } from "../support/ts_walker.ts";

const H264 = h264();
const H265 = videoConfigFrom("hvc1", readFixture("h265_main_854x480").record);
/** H.264 with alpha, whose parameter sets have an extension. */
const H264_ALPHA = h264ConfigFromAvcC(serializeAvcC({
  ...parseAvcC(readFixture("h264_high_854x480").record),
  spsExtension: [Uint8Array.of(0x6d, 0xb8, 0x80)],
}));
const AAC = aac();
const MP3: AudioConfig = {
  kind: "audio",
  fourcc: ".mp3",
  codec: "mp3",
  sampleRate: 44_100,
  numberOfChannels: 2,
};

function picture(dts: number, init: Partial<TsFrame> = {}): TsFrame {
  const data = joinLengthPrefixed([slice(init.key ?? false)]);
  return { kind: "video", config: H264, dts, pts: dts, key: false, data, ...init } as TsFrame;
}

/** A frame of MP3, whose bytes MPEG-TS carries as they are. */
function sound(dts: number, data: Uint8Array = Uint8Array.of(1, 2, 3)): TsFrame {
  return { kind: "audio", config: MP3, dts, pts: dts, key: true, data };
}

/** `length` bytes of which no two neighbours are alike. */
function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => index * 7 + (index >> 8));
}

function muxer(video: VideoConfig | undefined, audio: AudioConfig | undefined): TsMuxer {
  const made = new TsMuxer();
  assert(made.configure({ video, audio }));
  return made;
}

/** The PES packets of `frames`, behind the tables. */
function written(made: TsMuxer, ...frames: readonly TsFrame[]): readonly TsPes[] {
  return walkTs(concat([made.tables(), ...frames.map((frame) => made.writeFrame(frame))])).pes;
}

function only(pes: readonly TsPes[]): TsPes {
  const [first] = pes;
  assert(first !== undefined && pes.length === 1, `${pes.length} PES packets`);
  return first;
}

Deno.test("TsMuxer.tables() gives an association table byte for byte", () => {
  const tables = muxer(H264, AAC).tables();
  assertEquals(tables.length, 2 * TS_PACKET_BYTES);
  assertEquals(
    tables.subarray(0, 21).toHex(),
    "47400010" + "00" + "00b00d0001c100000001f0002ab104b2",
  );
});

const maps: readonly {
  readonly name: string;
  readonly video?: VideoConfig;
  readonly audio?: AudioConfig;
  readonly pcrPid: number;
  readonly streams: readonly string[];
}[] = [
  { name: "H.264 and AAC", video: H264, audio: AAC, pcrPid: 0x100, streams: ["100:1b", "101:0f"] },
  { name: "H.265 and MP3", video: H265, audio: MP3, pcrPid: 0x100, streams: ["100:24", "101:03"] },
  {
    name: "MP3 of MPEG-2",
    audio: { ...MP3, sampleRate: 24_000 },
    pcrPid: 0x101,
    streams: ["101:04"],
  },
  {
    name: "MP3 of an unknown rate",
    audio: { ...MP3, sampleRate: 0 },
    pcrPid: 0x101,
    streams: ["101:03"],
  },
  { name: "AV1 and AAC", video: other("av01"), audio: AAC, pcrPid: 0x101, streams: ["101:0f"] },
  { name: "VP9", video: other("vp09"), pcrPid: 0x1fff, streams: [] },
  { name: "H.264 and G.711", video: H264, audio: g711("alaw"), pcrPid: 0x100, streams: ["100:1b"] },
  { name: "G.711", audio: g711("ulaw"), pcrPid: 0x1fff, streams: [] },
  { name: "nothing", pcrPid: 0x1fff, streams: [] },
];

function other(fourcc: string): VideoConfig {
  return { kind: "video", fourcc, codec: fourcc };
}

function g711(fourcc: string): AudioConfig {
  return { kind: "audio", fourcc, codec: fourcc, sampleRate: 8000, numberOfChannels: 1 };
}

for (const { name, video, audio, pcrPid, streams } of maps) {
  Deno.test(`TsMuxer.tables() lists what is carried of ${name}`, () => {
    const made = new TsMuxer();
    made.configure({ video, audio });
    const { maps } = walkTs(made.tables());
    assertEquals(maps.map((map) => [map.pcrPid, map.streams]), [[pcrPid, streams]]);
    for (const config of [video, audio]) {
      if (config === undefined) continue;
      const carried = streams.some((stream) =>
        stream.startsWith(config.kind === "video" ? "100" : "101")
      );
      assertEquals(isTsConfig(config), carried);
      const data = joinLengthPrefixed([Uint8Array.of(0x26, 1, 2, 3)]);
      const frame = { kind: config.kind, config, dts: 0, pts: 0, key: true, data } as TsFrame;
      assertEquals(made.writeFrame(frame).length > 0, carried);
    }
  });
}

Deno.test("TsMuxer.configure() makes another version of the map of another configuration", () => {
  const made = new TsMuxer();
  const versions: (number | undefined)[] = [];
  const configure = (video: VideoConfig | undefined, audio: AudioConfig | undefined) => {
    const changed = made.configure({ video, audio });
    versions.push(walkTs(made.tables()).maps[0]?.version);
    return changed;
  };
  assertEquals(configure(H264, AAC), true);
  assertEquals(configure(H264, AAC), false);
  assertEquals(configure(h264(), AAC), true);
  assertEquals(configure(undefined, AAC), true);
  for (let count = 0; count < 30; count++) configure(undefined, aac());
  assertEquals(versions.slice(0, 4), [0, 0, 1, 2]);
  assertEquals(versions.slice(-3), [30, 31, 0]);
});

Deno.test("TsMuxer.configure() changes nothing when a description is malformed", () => {
  const made = muxer(H264, AAC);
  const bad = { ...AAC, description: Uint8Array.of(0xff) };
  assertThrows(() => made.configure({ video: undefined, audio: bad }), InvalidDataError);
  const { maps } = walkTs(made.tables());
  assertEquals(maps.map(({ version, streams }) => [version, ...streams]), [[
    0,
    "100:1b",
    "101:0f",
  ]]);
  assertEquals(made.configure({ video: H264, audio: AAC }), false);
});

Deno.test("TsMuxer.writeFrame() goes by the configuration of the frame", () => {
  const made = muxer(H264, undefined);
  const wide = h264(640, 480);
  const pes = only(written(made, picture(0, { key: true, config: wide } as Partial<TsFrame>)));
  assertEquals(
    splitAnnexB(pes.payload)[1]?.toHex(),
    parseAvcC(wide.description ?? new Uint8Array()).sps[0]?.toHex(),
  );
  assertEquals(walkTs(made.tables()).maps[0]?.version, 1);
  made.writeFrame(sound(0));
  const [map] = walkTs(made.tables()).maps;
  assertEquals([map?.version, map?.streams], [2, ["100:1b", "101:03"]]);
});

Deno.test("TsMuxer.writeFrame() stuffs packets to their size with a frame of any length", () => {
  const ways = {
    clock: { made: muxer(undefined, MP3), field: 8 },
    plain: { made: muxer(H264, MP3), field: 0 },
  };
  // A clock for the audio beside the video, so that it needs none of its own.
  ways.plain.made.writeFrame(picture(0));
  for (const [name, { made, field }] of Object.entries(ways)) {
    for (let length = 1; length <= 3 * 184; length++) {
      const data = counting(length);
      const bytes = made.writeFrame(sound(1000, data));
      const packets = Math.ceil((field + 14 + length) / 184);
      assertEquals(bytes.length, packets * 188, `${name} ${length}`);
      const pes = only(walkTs(bytes).pes);
      assertEquals(pes.payload.toHex(), data.toHex(), `${name} ${length}`);
      assertEquals([pes.packets, pes.pcr !== undefined], [packets, field > 0]);
    }
  }
});

Deno.test("TsMuxer.writeFrame() keeps the bytes of any frames in any order", () => {
  const nalu = fc.uint8Array({ minLength: 1, maxLength: 800 }).map((bytes) =>
    concat([Uint8Array.of(0x41), bytes.map((byte) => byte | 0x10)])
  );
  const frame = fc.record({
    video: fc.boolean(),
    key: fc.boolean(),
    nalus: fc.array(nalu, { minLength: 1, maxLength: 4 }),
    ctsUs: fc.constantFrom(0, 40_000, -40_000),
    gapUs: fc.nat(150_000),
  });
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 30 }),
      fc.integer({ min: -1e9, max: 2 ** 45 }),
      (frames, startUs) => {
        const made = muxer(H264, MP3);
        const chunks: Uint8Array[] = [made.tables()];
        const expected: Record<string, string[]> = { 256: [], 257: [] };
        let dts = startUs;
        for (const { video, key, nalus, ctsUs, gapUs } of frames) {
          const data = video ? joinLengthPrefixed(nalus) : concat(nalus);
          const times = { dts, pts: dts + ctsUs, key, data };
          const base = video ? picture(dts) : sound(dts);
          chunks.push(made.writeFrame({ ...base, ...times }));
          const shown = (us: number) => modulo(Math.round(us * 0.09) + 45_000, 2 ** 33);
          const parts = video ? nalus.map((nalu) => nalu.toHex()).join(" ") : data.toHex();
          expected[video ? 256 : 257]?.push(
            `${shown(dts + ctsUs)} ${shown(Math.min(dts, dts + ctsUs))} ${parts}`,
          );
          dts += gapUs;
        }
        const { pes, pcrs } = walkTs(concat(chunks));
        for (const pid of [256, 257]) {
          const found = pes.filter((one) => one.pid === pid).map(({ pts, dts, payload }) => {
            const nalus = pid === 257 ? [payload] : splitAnnexB(payload);
            const slices = nalus.filter((nalu) =>
              pid === 257 || [1, 5].includes((nalu[0] ?? 0) & 31)
            );
            return `${pts} ${dts} ${slices.map((nalu) => nalu.toHex()).join(" ")}`;
          });
          assertEquals(found, expected[pid]);
        }
        const clockWrap = 2 ** 33 * 300;
        for (const [index, pcr] of pcrs.entries()) {
          const stepTicks = modulo(pcr - (pcrs[index - 1] ?? pcr), clockWrap);
          assert(stepTicks < clockWrap / 2, "the clock never goes back");
        }
      },
    ),
    { seed: 13818, numRuns: 300 },
  );
});

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}

const times: readonly {
  readonly name: string;
  readonly dts: number;
  readonly pts: number;
  /** In ticks: PTS, DTS where there is one, base and extension of the PCR. */
  readonly ticks: readonly [number, number | undefined, number, number];
}[] = [
  { name: "0", dts: 0, pts: 0, ticks: [45_000, undefined, 0, 0] },
  { name: "one B-frame", dts: 0, pts: 40_000, ticks: [48_600, 45_000, 0, 0] },
  { name: "a rounded time", dts: 33_333, pts: 33_333, ticks: [48_000, undefined, 2999, 291] },
  { name: "a rounded offset", dts: 33_333, pts: 66_667, ticks: [51_000, 48_000, 2999, 291] },
  {
    name: "decode after presentation",
    dts: 80_000,
    pts: 40_000,
    ticks: [48_600, undefined, 7200, 0],
  },
  {
    name: "the wrap of PTS",
    dts: 95_443_217_677,
    pts: 95_443_217_689,
    ticks: [0, 2 ** 33 - 1, 2 ** 33 - 45_002, 279],
  },
  {
    name: "the wrap of the PCR",
    dts: 95_443_717_689,
    pts: 95_443_717_689,
    ticks: [45_000, undefined, 0, 3],
  },
  {
    name: "a time before 0",
    dts: -1_000_000,
    pts: -960_000,
    ticks: [2 ** 33 - 41_400, 2 ** 33 - 45_000, 2 ** 33 - 90_000, 0],
  },
  {
    name: "the time since 1970",
    dts: 1_800_000_000_000_000,
    pts: 1_800_000_000_040_000,
    ticks: [
      (162_000_000_000_000 + 48_600) % 2 ** 33,
      (162_000_000_000_000 + 45_000) % 2 ** 33,
      162_000_000_000_000 % 2 ** 33,
      0,
    ],
  },
];

for (const { name, dts, pts, ticks } of times) {
  Deno.test(`TsMuxer.writeFrame() tells ${name} in 33 bits`, () => {
    const pes = only(written(muxer(H264, undefined), picture(dts, { pts })));
    const pcr = pes.pcr ?? NaN;
    assertEquals(
      [pes.pts, pes.hasDts ? pes.dts : undefined, Math.floor(pcr / 300), pcr % 300],
      [...ticks],
    );
  });
}

Deno.test("TsMuxer.writeFrame() has the clock half a second behind decoding", () => {
  assertEquals(TS_LEAD_US, 500_000);
  for (let dts = 0; dts < 3_000_000; dts += 33_367) {
    const pes = only(written(muxer(H264, undefined), picture(dts, { pts: dts + 1 })));
    const lead = pes.dts - (pes.pcr ?? NaN) / 300;
    assert(Math.abs(lead - 45_000) <= 0.51, `${lead}`);
  }
});

Deno.test("TsMuxer.writeFrame() gives a PES length unless video is too long for it", () => {
  const length = (bytes: number) => {
    const data = joinLengthPrefixed([slice(false, 0, bytes)]);
    const pes = only(written(muxer(H264, undefined), picture(0, { data })));
    assertEquals(pes.payload.length, bytes + 10);
    return pes.length;
  };
  // 8 bytes of header, 6 of the delimiter and 4 of the start code.
  assertEquals(length(100), 118);
  assertEquals(length(0xffff - 18), 0xffff);
  assertEquals(length(0xffff - 17), 0);
  assertEquals(length(500_000), 0);
  const made = muxer(H264, MP3);
  assertEquals(made.writeFrame(sound(0, new Uint8Array(0xffff - 12))).length, 0);
  assert(made.writeFrame(sound(0, new Uint8Array(0xffff - 13))).length > 0);
  const late = { ...sound(0, new Uint8Array(0xffff - 13)), pts: 1 };
  assertEquals(only(walkTs(made.writeFrame(late)).pes).length, 0xffff);
});

Deno.test("TsMuxer.writeFrame() begins access units with a delimiter, keys with parameter sets", () => {
  const avc = parseAvcC(H264.description ?? new Uint8Array());
  const alpha = parseAvcC(H264_ALPHA.description ?? new Uint8Array());
  const hevc = parseHvcC(H265.description ?? new Uint8Array());
  const cases = [
    {
      config: H264,
      delimiter: "09f0",
      sets: [...avc.sps, ...avc.pps],
      foreign: Uint8Array.of(0x09, 0x10),
      units: [Uint8Array.of(0x06, 5, 1, 0x80), slice(true, 1), slice(true, 2)],
    },
    {
      config: H264_ALPHA,
      delimiter: "09f0",
      sets: [...alpha.sps, Uint8Array.of(0x6d, 0xb8, 0x80), ...alpha.pps],
      foreign: Uint8Array.of(0x09, 0x10),
      units: [slice(true)],
    },
    {
      config: H265,
      delimiter: "460150",
      sets: [...hevc.vps, ...hevc.sps, ...hevc.pps, ...hevc.sei ?? []],
      foreign: Uint8Array.of(0x46, 0x01, 0x10),
      units: [Uint8Array.of(0x4e, 1, 5, 0x80), Uint8Array.of(0x26, 1, 0xaf, 9)],
    },
  ];
  for (const { config, delimiter, sets, foreign, units } of cases) {
    const made = muxer(config, undefined);
    const hex = (nalus: readonly Uint8Array[]) => nalus.map((nalu) => nalu.toHex());
    for (const key of [true, false]) {
      const data = joinLengthPrefixed([foreign, ...units]);
      const pes = only(written(made, picture(0, { key, data, config } as Partial<TsFrame>)));
      assertEquals(pes.randomAccess, key);
      assertEquals(pes.payload.subarray(0, 4).toHex(), "00000001");
      assertEquals(hex(splitAnnexB(pes.payload)), [
        delimiter,
        ...(key ? hex(sets) : []),
        ...hex(units),
      ]);
    }
    assert(sets.length >= 2);
    const empty = picture(0, { data: joinLengthPrefixed([foreign]), config } as Partial<TsFrame>);
    assertEquals(made.writeFrame(empty).length, 0);
  }
});

Deno.test("TsMuxer.writeFrame() carries H.264 whose configuration has no record", () => {
  const pes = only(written(
    new TsMuxer(),
    picture(0, { key: true, config: other("avc1") } as Partial<TsFrame>),
  ));
  assertEquals(splitAnnexB(pes.payload).map((nalu) => nalu[0]), [0x09, 0x65]);
});

Deno.test("TsMuxer.writeFrame() refuses NAL units cut off anywhere, and goes on", () => {
  const made = muxer(H264, undefined);
  const chunks = [made.tables(), made.writeFrame(picture(0, { key: true }))];
  const data = joinLengthPrefixed([slice(false, 1), slice(false, 2)]);
  for (let length = 1; length < data.length; length++) {
    const cut = picture(40_000, { data: data.subarray(0, length) });
    if (length === 12) continue;
    assertThrows(() => made.writeFrame(cut), InvalidDataError);
  }
  chunks.push(made.writeFrame(picture(80_000)));
  assertEquals(walkTs(concat(chunks)).pes.length, 2);
});

Deno.test("TsMuxer.writeFrame() marks where decoding can start on the stream with the clock", () => {
  const both = written(muxer(H264, MP3), picture(0, { key: true }), picture(1, {}), sound(1));
  assertEquals(
    both.toSorted((a, b) => a.dts - b.dts || a.pid - b.pid).map(({ randomAccess }) => randomAccess),
    [true, false, false],
  );
  assertEquals(only(written(muxer(undefined, MP3), sound(0))).randomAccess, true);
});

Deno.test("TsMuxer.writeFrame() brings the clock with audio while there is no picture", () => {
  const made = muxer(H264, MP3);
  const frames = [
    picture(0, { key: true }),
    ...[0, 24_000, 48_000, 72_000, 96_000, 120_000].map((dts) => sound(dts)),
    // Late, so without a clock that would go back.
    picture(90_000),
    picture(100_000),
    sound(174_999),
    sound(175_000),
    picture(200_000),
    sound(200_000),
  ];
  const { order, pcrs } = walkTs(concat([
    made.tables(),
    ...frames.map((frame) => made.writeFrame(frame)),
  ]));
  assertEquals(
    order.join(" "),
    [
      "pmt video key audio audio audio audio",
      "clock audio audio",
      "video video",
      "audio clock audio video audio",
    ].join(" "),
  );
  assertEquals(pcrs.map((pcr) => pcr / 27), [0, 96_000, 100_000, 175_000, 200_000]);
});

Deno.test("TsMuxer.writeFrame() takes a timeline that begins anew", () => {
  const made = muxer(H264, undefined);
  const pes = written(made, picture(10_000_000), picture(9_600_000), picture(0), picture(40_000));
  assertEquals(pes.map(({ pcr }) => pcr === undefined ? undefined : pcr / 27), [
    10_000_000,
    undefined,
    0,
    40_000,
  ]);
});
