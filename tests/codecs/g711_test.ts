import { assertEquals, assertThrows } from "@std/assert";
import { alawConfig, g711Duration, ulawConfig } from "../../src/codecs/g711.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { readFixture } from "../support/codec_fixtures.ts";

for (const [fourcc, configOf] of [["alaw", alawConfig], ["ulaw", ulawConfig]] as const) {
  Deno.test(`${fourcc}Config() is 8 kHz mono unless told otherwise`, () => {
    const fields = { kind: "audio", fourcc, codec: fourcc } as const;
    assertEquals(configOf(), { ...fields, sampleRate: 8000, numberOfChannels: 1 });
    assertEquals(configOf(16000, 2), { ...fields, sampleRate: 16000, numberOfChannels: 2 });
  });

  Deno.test(`${fourcc}Config() throws when the format is none`, () => {
    for (const [rate, channels] of [[0, 1], [8000, 0], [8000, 9], [1.5, 1], [1e6, 1], [NaN, 1]]) {
      assertThrows(() => configOf(rate, channels), InvalidDataError, "Cannot configure G.711");
    }
  });
}

Deno.test("g711Duration() agrees with FFmpeg's encoders", () => {
  const cases = [
    { fixture: readFixture("alaw_8000_1"), config: alawConfig(8000, 1) },
    { fixture: readFixture("ulaw_16000_2"), config: ulawConfig(16000, 2) },
  ];
  for (const { fixture, config } of cases) {
    assertEquals(fixture.packets.map((packet) => g711Duration(packet, config)), [
      ...fixture.durationsUs,
    ]);
    assertEquals([config.sampleRate, config.numberOfChannels], [
      fixture.sampleRate,
      fixture.channels,
    ]);
  }
});
