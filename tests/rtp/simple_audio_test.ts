import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { alawConfig } from "../../src/codecs/g711.ts";
import { InvalidDataError } from "../../src/errors.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import {
  G711Depacketizer,
  OpusDepacketizer,
  SimpleAudioPacketizer,
} from "../../src/rtp/simple_audio.ts";
import {
  assertAsExpected,
  assertNeverWrong,
  assertWithstandsPackets,
  formatWith,
  packetize,
  packetsOf,
  plain,
  run,
} from "../support/frame_packets.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const kinds = [
  { name: "OpusDepacketizer", pattern: /opus/, make: () => new OpusDepacketizer() },
  {
    name: "G711Depacketizer",
    pattern: /pcm/,
    make: (format: RtpFormat) => new G711Depacketizer(format),
  },
];
const config = alawConfig();

for (const { name, pattern, make } of kinds) {
  for (const fixture of fixtureNames().filter((one) => pattern.test(one)).map(readRtpFixture)) {
    Deno.test(`${name}.push() gives the frames of ${fixture.name}`, () => {
      assertAsExpected(fixture, make);
    });

    Deno.test(`${name}.push() gives no wrong frame of ${fixture.name} when it is damaged`, () => {
      assertNeverWrong(fixture, make);
    });
  }

  Deno.test(`${name}.push() gives each packet's payload once, as it is, and none of empty ones`, () => {
    const depacketizer = make(formatWith("any"));
    const packets = packetsOf([
      { payload: [0xfc, 1], timestamp: 9 },
      { payload: [] },
      { payload: [0xfc, 2], timestamp: 2 ** 32 - 1, marker: true, sequence: 7 },
      { payload: [0xfc, 2], timestamp: 2 ** 32 - 1, marker: true, sequence: 7 },
      { payload: [0xfc, 3], timestamp: 3 },
    ]);
    const units = run(depacketizer, [...packets.slice(0, 2), undefined, ...packets.slice(2)]);
    assertEquals(plain(units), [[9, 0xfc, 1], [2 ** 32 - 1, 0xfc, 2], [3, 0xfc, 3]]);
    assertStrictEquals(units[0]?.parts[0], packets[0]?.payload);
    assertEquals(depacketizer.dropped, 0);
  });

  Deno.test(`${name}.push() withstands damaged payloads`, () => {
    assertWithstandsPackets(() => make(formatWith("any")), [Uint8Array.of(0xff, 3, 1, 2)]);
  });
}

Deno.test("OpusDepacketizer.push() throws when a payload is no Opus packet", () => {
  for (const payload of [[0xff], [0xff, 0], [0xff, 7]]) {
    const depacketizer = new OpusDepacketizer();
    assertThrows(() => run(depacketizer, packetsOf([{ payload }])), InvalidDataError, "Cannot");
    assertEquals(depacketizer.dropped, 1);
  }
});

Deno.test("G711Depacketizer.push() throws when samples are missing of a channel", () => {
  const depacketizer = new G711Depacketizer({ ...formatWith("PCMA"), channels: 2 });
  const [even, odd] = packetsOf([{ payload: [1, 2] }, { payload: [1, 2, 3] }]);
  if (!even || !odd) throw new Error("Cannot test: a packet is missing");
  assertEquals(plain(depacketizer.push(even)), [[0, 1, 2]]);
  assertThrows(() => depacketizer.push(odd), InvalidDataError, "3 are for 2 channels");
  assertEquals(depacketizer.dropped, 1);
});

Deno.test("SimpleAudioPacketizer.packetize() gives what the depacketizers take out again", () => {
  const frames = [1, 160, 7650].map((length) => new Uint8Array(length).fill(0xfc));
  const packets = packetize(new SimpleAudioPacketizer(), config, frames);
  const expected = frames.map((frame, index) => ({ timestamp: 1000 * index, parts: [frame] }));
  for (const { make } of kinds) {
    assertEquals(plain(run(make(formatWith("any")), packets)), plain(expected));
  }
  const [data = new Uint8Array(0)] = frames;
  const payloads = new SimpleAudioPacketizer().packetize({ key: true, config, data });
  assertEquals(payloads, [{ parts: [data], marker: false }]);
  assertStrictEquals(payloads[0]?.parts[0], data);
});
