import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { BitWriter } from "../../src/bits.ts";
import { concat } from "../../src/bytes.ts";
import {
  aacConfig,
  type AudioSpecificConfig,
  parseAdts,
  parseAudioSpecificConfig,
  serializeAudioSpecificConfig,
  splitAdts,
} from "../../src/codecs/aac.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { CRAFTED_ASC } from "../support/crafted_headers.ts";
import { assertWithstands } from "../support/hostile.ts";

const fixtures = readFixtures("aac_");
const adts = readFixtures("adts_");
const ascs = [...fixtures.map(({ extradata }) => extradata), ...Object.values(CRAFTED_ASC)];

for (const fixture of fixtures) {
  Deno.test(`parseAudioSpecificConfig() agrees with FFmpeg's decoder on ${fixture.name}`, () => {
    const config = parseAudioSpecificConfig(fixture.extradata);
    assertEquals(
      [config.sampleRate, config.outputSampleRate, config.channels, config.outputChannels],
      [fixture.sampleRate, fixture.sampleRate, fixture.channels, fixture.channels],
    );
    // Both count frames in whole microseconds.
    const durationUs = Math.round(config.frameLength * 1e6 / config.sampleRate);
    assertEquals(durationUs, fixture.durationsUs[0]);
    // The encoder denies SBR in the compatible way.
    assertEquals([config.extension, config.signalling], ["none", "compatible"]);
    assertEquals(fixture.extradata, fixture.flvRecord);
  });

  Deno.test(`serializeAudioSpecificConfig() writes FFmpeg's bytes of ${fixture.name}`, () => {
    const config = parseAudioSpecificConfig(fixture.extradata);
    assertEquals(serializeAudioSpecificConfig(config), fixture.extradata);
  });

  Deno.test(`aacConfig() has FFmpeg's codec string for ${fixture.name}`, () => {
    const config = aacConfig(fixture.extradata);
    assertStrictEquals(config.description, fixture.extradata);
    assertEquals({ ...config, description: undefined }, {
      kind: "audio",
      fourcc: "mp4a",
      codec: fixture.codec ?? "",
      description: undefined,
      sampleRate: fixture.sampleRate ?? 0,
      numberOfChannels: fixture.channels ?? 0,
    });
  });
}

const core = {
  objectType: 2,
  channelConfiguration: 2,
  channels: 2,
  outputChannels: 2,
  frameLength: 1024,
} as const;

const behind = {
  sampleRate: 24000,
  outputSampleRate: 48000,
  extension: "sbr",
  signalling: "compatible",
} as const;

const crafted: Record<
  keyof typeof CRAFTED_ASC,
  Partial<AudioSpecificConfig> & { readonly codec: string }
> = {
  lc: {
    sampleRate: 44100,
    outputSampleRate: 44100,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.2",
  },
  he: {
    sampleRate: 24000,
    outputSampleRate: 48000,
    extension: "sbr",
    signalling: "hierarchical",
    codec: "mp4a.40.5",
  },
  heV2: {
    sampleRate: 22050,
    outputSampleRate: 44100,
    channelConfiguration: 1,
    channels: 1,
    extension: "ps",
    signalling: "hierarchical",
    codec: "mp4a.40.29",
  },
  heBehind: {
    sampleRate: 24000,
    outputSampleRate: 48000,
    extension: "sbr",
    signalling: "compatible",
    codec: "mp4a.40.5",
  },
  heV2Behind: {
    sampleRate: 24000,
    outputSampleRate: 48000,
    channelConfiguration: 1,
    channels: 1,
    extension: "ps",
    signalling: "compatible",
    codec: "mp4a.40.29",
  },
  heDenied: {
    sampleRate: 48000,
    outputSampleRate: 48000,
    extension: "none",
    signalling: "compatible",
    codec: "mp4a.40.2",
  },
  oddRate: {
    sampleRate: 47250,
    outputSampleRate: 47250,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.2",
  },
  frames960: {
    sampleRate: 48000,
    outputSampleRate: 48000,
    channelConfiguration: 6,
    channels: 6,
    outputChannels: 6,
    frameLength: 960,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.2",
  },
  lowDelay: {
    objectType: 23,
    sampleRate: 48000,
    outputSampleRate: 48000,
    frameLength: 512,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.23",
  },
  usac: {
    objectType: 42,
    sampleRate: 48000,
    outputSampleRate: 48000,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.42",
  },
  coreCoder: { ...behind, codec: "mp4a.40.5" },
  resilient: { ...behind, objectType: 17, codec: "mp4a.40.5" },
  scalable: {
    ...behind,
    objectType: 20,
    channelConfiguration: 1,
    channels: 1,
    outputChannels: 1,
    codec: "mp4a.40.5",
  },
  bitSliced: { ...behind, objectType: 22, codec: "mp4a.40.5" },
  protected: {
    ...behind,
    objectType: 17,
    outputSampleRate: 24000,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.17",
  },
  enhancedLowDelay: {
    objectType: 39,
    sampleRate: 48000,
    outputSampleRate: 48000,
    frameLength: 480,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.39",
  },
  program: {
    sampleRate: 48000,
    outputSampleRate: 48000,
    channelConfiguration: 0,
    channels: 5,
    outputChannels: 5,
    extension: "none",
    signalling: "implicit",
    codec: "mp4a.40.2",
    program: {
      tag: 0,
      objectType: 1,
      rateIndex: 3,
      front: [{ pair: true, tag: 0 }],
      side: [],
      back: [{ pair: true, tag: 1 }],
      lfe: [0],
      data: [3],
      coupling: [],
      monoMixdown: 0,
      matrixMixdown: 5,
      comment: Uint8Array.of(0x68, 0x69),
    },
  },
};

for (const name of Object.keys(CRAFTED_ASC) as (keyof typeof CRAFTED_ASC)[]) {
  const asc = CRAFTED_ASC[name];
  const { codec, ...expected } = crafted[name];

  Deno.test(`parseAudioSpecificConfig() agrees with FFmpeg's demuxer on ${name}`, () => {
    const config = parseAudioSpecificConfig(asc);
    assertEquals(config, { ...core, ...expected } as AudioSpecificConfig);
    const { sampleRate, channels } = readFixture(`crafted_aac_${name}`);
    // FFmpeg says the extension's rate, but the core's channels, and leaves programs to its decoder.
    // It looks for an extension at any bit, also where error protection comes first.
    if (name !== "protected") assertEquals(config.outputSampleRate, sampleRate);
    assertEquals(config.program === undefined ? config.channels : 0, channels);
  });

  Deno.test(`aacConfig() describes the output of ${name}`, () => {
    const config = aacConfig(asc);
    assertEquals([config.codec, config.sampleRate, config.numberOfChannels], [
      codec,
      expected.outputSampleRate,
      expected.outputChannels ?? 2,
    ]);
  });

  if ((expected.objectType ?? 2) > 4 || name === "coreCoder") continue;
  Deno.test(`serializeAudioSpecificConfig() writes the bytes of ${name}`, () => {
    assertEquals(serializeAudioSpecificConfig(parseAudioSpecificConfig(asc)), asc);
  });
}

Deno.test("serializeAudioSpecificConfig() fills in what is missing", () => {
  const init = { objectType: 2, sampleRate: 22050, channelConfiguration: 1 };
  assertEquals(Array.from(serializeAudioSpecificConfig(init)), [0x13, 0x88]);
  assertEquals(serializeAudioSpecificConfig({ ...init, extension: "ps" }), CRAFTED_ASC.heV2);
});

Deno.test("serializeAudioSpecificConfig() throws when a value has no place in it", () => {
  const init = { objectType: 2, sampleRate: 48000, channelConfiguration: 2 };
  const { program } = crafted.program;
  const cases = [
    { ...init, objectType: 0 },
    { ...init, objectType: 5 },
    { ...init, objectType: 42 },
    { ...init, sampleRate: 0 },
    { ...init, sampleRate: 2 ** 24 },
    { ...init, sampleRate: 44100.5 },
    { ...init, channelConfiguration: 0 },
    ...(program === undefined ? [] : [{ ...init, program }]),
  ];
  for (const wrong of cases) {
    assertThrows(() => serializeAudioSpecificConfig(wrong), InvalidDataError, "Cannot");
  }
});

Deno.test("parseAudioSpecificConfig() knows the sample rate of every index", () => {
  // ISO/IEC 14496-3 Table 1.18.
  const rates = [96, 88.2, 64, 48, 44.1, 32, 24, 22.05, 16, 12, 11.025, 8, 7.35];
  rates.forEach((rate, index) => {
    const asc = new BitWriter().bits(2, 5).bits(index, 4).bits(2, 4).bits(0, 3).finish();
    const config = parseAudioSpecificConfig(asc);
    assertEquals(config.sampleRate, rate * 1000);
    assertEquals(serializeAudioSpecificConfig(config), asc);
  });
});

Deno.test("parseAudioSpecificConfig() knows the channels of every configuration", () => {
  // ISO/IEC 14496-3 Table 1.19 and ISO/IEC 23001-8 Table 8.
  const channels = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8];
  channels.forEach((count, channelConfiguration) => {
    if (count === 0) return;
    const init = { objectType: 2, sampleRate: 48000, channelConfiguration };
    const config = parseAudioSpecificConfig(serializeAudioSpecificConfig(init));
    assertEquals([config.channels, config.outputChannels], [count, count]);
  });
});

Deno.test("parseAudioSpecificConfig() knows what each object type's configuration looks like", () => {
  // Those with a GASpecificConfig (ISO/IEC 14496-3 1.6.2.1) tell frames of 960 samples, or 480.
  const general = [1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23];
  for (let objectType = 1; objectType < 31; objectType++) {
    if (objectType === 5 || objectType === 29) continue;
    const asc = new BitWriter().bits(objectType, 5).bits(3, 4).bits(2, 4).bit(1).bits(0, 32);
    const short = objectType === 23 ? 480 : 960;
    const frameLength = general.includes(objectType) ? short : 1024;
    const config = parseAudioSpecificConfig(asc.finish());
    assertEquals([objectType, config.frameLength], [objectType, frameLength]);
  }
});

Deno.test("parseAudioSpecificConfig() takes the channels of BSAC behind SBR", () => {
  const asc = new BitWriter().bits(5, 5).bits(6, 4).bits(1, 4).bits(3, 4).bits(22, 5).bits(2, 4);
  const config = parseAudioSpecificConfig(asc.bits(0, 5).finish());
  assertEquals([config.objectType, config.channels, config.extension], [22, 2, "sbr"]);
});

Deno.test("parseAudioSpecificConfig() throws when a value is reserved", () => {
  const ascOf = (...fields: (readonly [number, number])[]) => {
    const writer = new BitWriter();
    for (const [value, count] of fields) writer.bits(value, count);
    return writer.bits(0, 16).finish();
  };
  const cases = [
    ascOf([2, 5], [13, 4], [2, 4]),
    ascOf([2, 5], [14, 4], [2, 4]),
    ascOf([2, 5], [15, 4], [0, 24], [2, 4]),
    ascOf([2, 5], [3, 4], [8, 4]),
    ascOf([2, 5], [3, 4], [0, 4], [0, 3]),
    ascOf([42, 5], [3, 4], [15, 4]),
    Uint8Array.of(0x12),
    new Uint8Array(0),
  ];
  for (const asc of cases) {
    assertThrows(() => parseAudioSpecificConfig(asc), InvalidDataError, "Cannot");
  }
});

for (const fixture of adts) {
  Deno.test(`splitAdts() takes apart what FFmpeg's muxer put together in ${fixture.name}`, () => {
    const aac = readFixture(fixture.name.replace("adts", "aac"));
    const [file = new Uint8Array(0)] = fixture.packets;
    const { config, frames } = splitAdts(file);
    const parsed = parseAudioSpecificConfig(config);
    const expected = parseAudioSpecificConfig(aac.extradata);
    assertEquals(
      { ...parsed, signalling: expected.signalling, program: undefined },
      { ...expected, program: undefined },
    );
    assertEquals(frames.length, aac.packets.length);
    frames.forEach((frame, index) => {
      const packet = aac.packets[index] ?? new Uint8Array(0);
      // The muxer puts the program config element before the first frame's data.
      assertEquals(frame.slice(-packet.length + 1), packet.slice(1));
      if (parsed.program === undefined || index > 0) assertEquals(frame, packet);
    });
    const header = parseAdts(file);
    assertEquals([header.headerLength, header.blocks], [7, 1]);
    assertEquals(header.frameLength, (frames[0]?.length ?? 0) + 7);
  });
}

/** An ADTS frame (ISO/IEC 14496-3 1.A.2.2.1) with `body` behind its first seven bytes. */
function frameOf(
  body: readonly number[],
  fields: { readonly rate?: number; readonly blocks?: number; readonly checked?: boolean } = {},
): Uint8Array {
  const { rate = 3, blocks = 1, checked = false } = fields;
  const header = new BitWriter().bits(0xfff, 12).bits(0, 3).bit(checked ? 0 : 1);
  header.bits(1, 2).bits(rate, 4).bit(0).bits(2, 3).bits(0, 4).bits(7 + body.length, 13);
  header.bits(0x7ff, 11).bits(blocks - 1, 2);
  return concat([header.finish(), Uint8Array.from(body)]);
}

Deno.test("splitAdts() leaves checksums out", () => {
  const data = concat([frameOf([0xaa, 0xbb, 1, 2], { checked: true }), frameOf([3])]);
  const { config, frames } = splitAdts(data);
  assertEquals(frames.map((frame) => Array.from(frame)), [[1, 2], [3]]);
  assertEquals(Array.from(config), [0x11, 0x90]);
  assertStrictEquals(frames[0]?.buffer, data.buffer);
});

Deno.test("splitAdts() splits raw data blocks by their positions", () => {
  const body = [0, 4, 0, 7, 0xaa, 0xbb, 1, 2, 9, 9, 3, 9, 9, 4, 5, 6, 9, 9];
  const { frames } = splitAdts(frameOf(body, { checked: true, blocks: 3 }));
  assertEquals(frames.map((frame) => Array.from(frame)), [[1, 2], [3], [4, 5, 6]]);
  for (const [at, byte] of [[1, 1], [1, 9], [3, 99], [3, 4]] as const) {
    const wrong = frameOf(body.with(at, byte), { checked: true, blocks: 3 });
    assertThrows(() => splitAdts(wrong), InvalidDataError, "raw data block");
  }
});

Deno.test("splitAdts() throws when the data is no sequence of whole frames alike", () => {
  const frame = frameOf([1, 2, 3]);
  const cases = [
    new Uint8Array(0),
    frame.subarray(0, 9),
    concat([frame, frame.subarray(0, 8)]),
    concat([frame, Uint8Array.of(0)]),
    concat([frame, frameOf([1], { rate: 4 })]),
    frameOf([1, 2, 3], { blocks: 2 }),
    frameOf([]),
    frameOf([1], { rate: 13 }),
    frame.with(0, 0xfe),
    frame.with(1, 0xf3),
    frame.with(3, (frame[3] ?? 0) & 0x3f).with(2, (frame[2] ?? 0) & 0xfe),
  ];
  for (const data of cases) assertThrows(() => splitAdts(data), InvalidDataError, "Cannot");
});

Deno.test("parseAdts() reads a header whose frame is cut off", () => {
  assertEquals(parseAdts(frameOf([1, 2, 3]).subarray(0, 7)), {
    objectType: 2,
    sampleRate: 48000,
    channelConfiguration: 2,
    frameLength: 10,
    headerLength: 7,
    blocks: 1,
  });
});

Deno.test("parseAudioSpecificConfig(), parseAdts() and splitAdts() withstand damaged data", () => {
  const files = adts.flatMap(({ packets }) => packets);
  assertWithstands(parseAudioSpecificConfig, ascs);
  assertWithstands(aacConfig, ascs);
  assertWithstands(parseAdts, files.map((file) => file.subarray(0, 12)));
  assertWithstands(splitAdts, files);
});
