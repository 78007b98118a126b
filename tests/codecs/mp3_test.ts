import { assertEquals, assertThrows } from "@std/assert";
import { mp3Config, parseMp3Header } from "../../src/codecs/mp3.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { assertWithstands } from "../support/hostile.ts";

const fixtures = [...readFixtures("mp3_"), ...readFixtures("mp2_")];

for (const fixture of fixtures) {
  Deno.test(`parseMp3Header() agrees with FFmpeg's encoder on ${fixture.name}`, () => {
    fixture.packets.forEach((packet, index) => {
      const header = parseMp3Header(packet);
      assertEquals(header.layer, fixture.encoder === "mp2" ? 2 : 3);
      assertEquals([header.sampleRate, header.channels], [fixture.sampleRate, fixture.channels]);
      assertEquals(header.frameLength, packet.length);
      // The last packet's duration is that of the samples in it, without its padding.
      if (index === fixture.packets.length - 1) return;
      const durationUs = Math.round(header.samplesPerFrame * 1e6 / header.sampleRate);
      assertEquals(durationUs, fixture.durationsUs[index]);
    });
  });
}

// ISO/IEC 11172-3 2.4.1.3, 2.4.2.3 and 13818-3: header bytes and what they say.
const headers = [
  {
    data: [0xff, 0xfb, 0x90, 0x64],
    header: { version: 1, layer: 3, bitrate: 128_000, sampleRate: 44_100, channels: 2 },
    frame: { frameLength: 417, samplesPerFrame: 1152 },
  },
  {
    data: [0xff, 0xfb, 0x92, 0xc4],
    header: { version: 1, layer: 3, bitrate: 128_000, sampleRate: 44_100, channels: 1 },
    frame: { frameLength: 418, samplesPerFrame: 1152 },
  },
  {
    data: [0xff, 0xff, 0xe4, 0x00],
    header: { version: 1, layer: 1, bitrate: 448_000, sampleRate: 48_000, channels: 2 },
    frame: { frameLength: 448, samplesPerFrame: 384 },
  },
  {
    data: [0xff, 0xff, 0x12, 0x00],
    header: { version: 1, layer: 1, bitrate: 32_000, sampleRate: 44_100, channels: 2 },
    frame: { frameLength: 36, samplesPerFrame: 384 },
  },
  {
    data: [0xff, 0xfd, 0xe8, 0x00],
    header: { version: 1, layer: 2, bitrate: 384_000, sampleRate: 32_000, channels: 2 },
    frame: { frameLength: 1728, samplesPerFrame: 1152 },
  },
  {
    data: [0xff, 0xf7, 0x90, 0x00],
    header: { version: 2, layer: 1, bitrate: 144_000, sampleRate: 22_050, channels: 2 },
    frame: { frameLength: 312, samplesPerFrame: 384 },
  },
  {
    data: [0xff, 0xf3, 0xe4, 0xc0],
    header: { version: 2, layer: 3, bitrate: 160_000, sampleRate: 24_000, channels: 1 },
    frame: { frameLength: 480, samplesPerFrame: 576 },
  },
  {
    data: [0xff, 0xe3, 0x18, 0xc0],
    header: { version: 2.5, layer: 3, bitrate: 8_000, sampleRate: 8_000, channels: 1 },
    frame: { frameLength: 72, samplesPerFrame: 576 },
  },
] as const;

for (const { data, header, frame } of headers) {
  Deno.test(`parseMp3Header() reads ${data.map((byte) => byte.toString(16)).join(" ")}`, () => {
    assertEquals(parseMp3Header(Uint8Array.from(data)), { ...header, ...frame });
  });
}

// ISO/IEC 11172-3 2.4.2.3 and 13818-3 2.4.2.3: kilobits per second of the indices 1 to 14, for
// layers I, II and III of MPEG-1, layer I of MPEG-2, and its layers II and III.
const bitrates = [
  [32, 32, 32, 32, 8],
  [64, 48, 40, 48, 16],
  [96, 56, 48, 56, 24],
  [128, 64, 56, 64, 32],
  [160, 80, 64, 80, 40],
  [192, 96, 80, 96, 48],
  [224, 112, 96, 112, 56],
  [256, 128, 112, 128, 64],
  [288, 160, 128, 144, 80],
  [320, 192, 160, 160, 96],
  [352, 224, 192, 176, 112],
  [384, 256, 224, 192, 128],
  [416, 320, 256, 224, 144],
  [448, 384, 320, 256, 160],
] as const;
// The header's second byte by column above.
const columns = [[0xff], [0xfd], [0xfb], [0xf7, 0xe7], [0xf5, 0xf3, 0xe5, 0xe3]] as const;

Deno.test("parseMp3Header() knows the bit rates of all versions and layers", () => {
  bitrates.forEach((row, index) => {
    row.forEach((kbps, column) => {
      for (const byte of columns[column] ?? []) {
        const header = parseMp3Header(Uint8Array.of(0xff, byte, (index + 1) << 4, 0));
        assertEquals([byte, header.bitrate], [byte, kbps * 1000]);
      }
    });
  });
});

Deno.test("parseMp3Header() throws when a value is reserved or the bit rate is free", () => {
  const cases = [
    [0xff, 0xdb, 0x90, 0x64],
    [0xfe, 0xfb, 0x90, 0x64],
    [0xff, 0xeb, 0x90, 0x64],
    [0xff, 0xf9, 0x90, 0x64],
    [0xff, 0xfb, 0x00, 0x64],
    [0xff, 0xfb, 0xf0, 0x64],
    [0xff, 0xfb, 0x9c, 0x64],
    [0xff, 0xfb, 0x90],
    [0xff, 0xe9, 0x90, 0x64],
    [0xff, 0xf1, 0x90, 0x64],
    [],
  ];
  for (const data of cases) {
    assertThrows(() => parseMp3Header(Uint8Array.from(data)), InvalidDataError, "Cannot");
  }
});

Deno.test("mp3Config() takes a frame or its header", () => {
  const { packets: [frame = new Uint8Array(0)] } = readFixture("mp3_22050_2");
  const config = mp3Config(frame);
  assertEquals(config, {
    kind: "audio",
    fourcc: ".mp3",
    codec: "mp3",
    sampleRate: 22050,
    numberOfChannels: 2,
  });
  assertEquals(mp3Config(parseMp3Header(frame)), config);
});

Deno.test("mp3Config() throws when the layer is not III", () => {
  const { packets: [frame = new Uint8Array(0)] } = readFixture("mp2_44100_2");
  assertThrows(() => mp3Config(frame), InvalidDataError, "layer is 2");
});

Deno.test("parseMp3Header() and mp3Config() withstand damaged data", () => {
  const starts = fixtures.flatMap(({ packets }) => packets.map((packet) => packet.subarray(0, 6)));
  assertWithstands(parseMp3Header, starts);
  assertWithstands(mp3Config, starts);
});
