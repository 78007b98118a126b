import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import {
  opusConfig,
  opusDuration,
  type OpusHead,
  parseDops,
  parseOpusHead,
  serializeDops,
  serializeOpusHead,
} from "../../src/codecs/opus.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { assertWithstands } from "../support/hostile.ts";

const fixtures = readFixtures("opus_");

for (const fixture of fixtures) {
  Deno.test(`parseOpusHead() and parseDops() agree with FFmpeg on ${fixture.name}`, () => {
    const head = parseOpusHead(fixture.extradata);
    assertEquals(head.channels, fixture.channels);
    assertEquals(parseDops(fixture.record), head);
    assertEquals(serializeOpusHead(head), fixture.extradata);
    assertEquals(serializeDops(head), fixture.record);
    assertEquals(fixture.extradata, fixture.flvRecord);
  });

  Deno.test(`opusConfig() has FFmpeg's rate and codec string for ${fixture.name}`, () => {
    const config = opusConfig(fixture.extradata);
    assertStrictEquals(config.description, fixture.extradata);
    assertEquals({ ...config, description: undefined }, {
      kind: "audio",
      fourcc: "Opus",
      codec: fixture.codec ?? "",
      description: undefined,
      sampleRate: fixture.sampleRate ?? 0,
      numberOfChannels: fixture.channels ?? 0,
    });
  });

  Deno.test(`opusDuration() agrees with the encoder on ${fixture.name}`, () => {
    // The last packet's duration is that of the samples in it, without its padding.
    const durations = fixture.packets.map(opusDuration);
    assertEquals(durations.slice(0, -1), fixture.durationsUs.slice(0, -1));
    assertEquals(durations.at(-1), durations[0]);
  });
}

const heads: readonly OpusHead[] = [
  { channels: 2, preSkip: 312, inputSampleRate: 44100, outputGain: -256, mappingFamily: 0 },
  {
    channels: 1,
    preSkip: 65535,
    inputSampleRate: 2 ** 32 - 1,
    outputGain: 32767,
    mappingFamily: 0,
  },
  {
    channels: 3,
    preSkip: 0,
    inputSampleRate: 0,
    outputGain: -32768,
    mappingFamily: 255,
    mapping: { streams: 2, coupled: 1, channels: Uint8Array.of(2, 255, 0) },
  },
];

for (const head of heads) {
  Deno.test(`parseOpusHead() and parseDops() read family ${head.mappingFamily}, preskip ${head.preSkip}`, () => {
    assertEquals(parseOpusHead(serializeOpusHead(head)), head);
    assertEquals(parseDops(serializeDops(head)), head);
  });
}

Deno.test("parseOpusHead() takes any minor version and bytes behind the header", () => {
  const { extradata } = readFixture("opus_48000_2");
  const later = Uint8Array.of(...extradata.with(8, 15), 1, 2);
  assertEquals(parseOpusHead(later), parseOpusHead(extradata));
});

Deno.test("parseOpusHead() and parseDops() throw when a value is outside its range", () => {
  const { extradata } = readFixture("opus_48000_6");
  // Magic, major version, channels, family, streams, coupled, mapping.
  const changes = [[0, 0x6f], [7, 0], [8, 16], [9, 0], [18, 3], [19, 0], [20, 5], [21, 6]] as const;
  for (const [at, byte] of changes) {
    const data = extradata.with(at, byte);
    assertThrows(() => parseOpusHead(data), InvalidDataError, "Cannot parse an Opus header");
  }
  const surround = extradata.with(18, 0);
  assertThrows(() => parseOpusHead(surround), InvalidDataError, "6 channels of family 0");
  const stereo = readFixture("opus_48000_2").extradata;
  assertThrows(() => parseOpusHead(stereo.with(9, 3)), InvalidDataError, "3 channels of family 0");
  const { record } = readFixture("opus_48000_6");
  assertThrows(() => parseDops(record.with(0, 1)), InvalidDataError, "version is 1");
  assertThrows(() => parseDops(record.with(1, 0)), InvalidDataError, "0 channels");
});

// RFC 6716 Table 2: configurations 0 to 31.
const frameMs = [
  ...[10, 20, 40, 60, 10, 20, 40, 60, 10, 20, 40, 60],
  ...[10, 20, 10, 20],
  ...[2.5, 5, 10, 20, 2.5, 5, 10, 20, 2.5, 5, 10, 20, 2.5, 5, 10, 20],
];

Deno.test("opusDuration() is that of RFC 6716 for all configurations and frame counts", () => {
  frameMs.forEach((ms, configuration) => {
    for (const stereo of [0, 4]) {
      const toc = (configuration << 3) | stereo;
      assertEquals(opusDuration(Uint8Array.of(toc)), ms * 1000);
      assertEquals(opusDuration(Uint8Array.of(toc | 1)), ms * 2000);
      assertEquals(opusDuration(Uint8Array.of(toc | 2)), ms * 2000);
      for (let count = 0; count < 64; count++) {
        const packet = Uint8Array.of(toc | 3, 0xc0 | count);
        if (count > 0 && count * ms <= 120) assertEquals(opusDuration(packet), count * ms * 1000);
        else assertThrows(() => opusDuration(packet), InvalidDataError, "duration is");
      }
    }
  });
});

Deno.test("opusDuration() throws when the packet is cut off", () => {
  assertThrows(() => opusDuration(new Uint8Array(0)), InvalidDataError);
  assertThrows(() => opusDuration(Uint8Array.of(3)), InvalidDataError);
});

Deno.test("parseOpusHead(), parseDops() and opusDuration() withstand damaged data", () => {
  assertWithstands(opusConfig, [...fixtures.map(({ extradata }) => extradata)]);
  assertWithstands(parseOpusHead, heads.map(serializeOpusHead));
  assertWithstands(parseDops, heads.map(serializeDops));
  assertWithstands(opusDuration, fixtures.flatMap(({ packets }) => packets));
});
