import { assert, assertEquals } from "@std/assert";
import { concat } from "../../src/bytes.ts";
import { aacConfig, parseAdts, parseAudioSpecificConfig, splitAdts } from "../../src/codecs/aac.ts";
import type { AudioConfig } from "../../src/codecs/config.ts";
import { opusConfig, type OpusHead, serializeOpusHead } from "../../src/codecs/opus.ts";
import { isTsConfig, type TsFrame, TsMuxer } from "../../src/formats/mpegts.ts";
import { readFixtures } from "../support/codec_fixtures.ts";
import { walkTs } from "../support/ts_walker.ts";

/** What the PES packets of `datas` carry. */
function payloads(config: AudioConfig, datas: readonly Uint8Array[]): Uint8Array[] {
  const made = new TsMuxer();
  made.configure({ video: undefined, audio: config });
  const chunks = datas.map((data, index) => {
    const dts = index * 20_000;
    const frame: TsFrame = { kind: "audio", config, dts, pts: dts, key: true, data };
    return made.writeFrame(frame);
  });
  return walkTs(concat([made.tables(), ...chunks])).pes.map(({ payload }) => payload);
}

for (const { name, extradata, packets } of readFixtures("aac_")) {
  const asc = parseAudioSpecificConfig(extradata);
  // ADTS has three bits for the channels.
  if (asc.channelConfiguration > 7) continue;
  Deno.test(`TsMuxer.writeFrame() puts ${name} into ADTS frames`, () => {
    const found = payloads(aacConfig(extradata), packets);
    assertEquals(found.length, packets.length);
    for (const [index, payload] of found.entries()) {
      const packet = packets[index] ?? new Uint8Array();
      const { config, frames } = splitAdts(payload);
      assertEquals(frames.length, 1);
      assert(frames[0]?.toHex().endsWith(packet.toHex()));
      const { objectType, sampleRate, channelConfiguration, channels, program } =
        parseAudioSpecificConfig(config);
      assertEquals(
        { objectType, sampleRate, channelConfiguration, channels, program },
        {
          objectType: asc.objectType,
          sampleRate: asc.sampleRate,
          channelConfiguration: asc.channelConfiguration,
          channels: asc.channels,
          program: asc.program,
        },
      );
      assertEquals(frames[0]?.length === packet.length, asc.program === undefined);
      // A frame that lists its channels itself is left as it is.
      const [again] = payloads(aacConfig(extradata), frames);
      assertEquals(again, payload);
    }
  });
}

const configs: readonly { readonly name: string; readonly asc: string; readonly adts?: string }[] =
  [
    { name: "LC", asc: "1210", adts: "fff150800" },
    { name: "Main", asc: "0a10", adts: "fff110800" },
    { name: "LTP", asc: "2210", adts: "fff1d0800" },
    { name: "HE-AAC told in front", asc: "2b118800", adts: "fff158800" },
    { name: "HE-AAC told behind", asc: "131056e598", adts: "fff158800" },
    { name: "HE-AAC v2", asc: "eb8a0800", adts: "fff15c400" },
    { name: "7.1", asc: "11b8", adts: "fff14dc00" },
    { name: "7.1 with two in the top", asc: "11f0" },
    { name: "frames of 960", asc: "11b4" },
    { name: "a rate of its own", asc: "17805c4910" },
    { name: "low delay", asc: "b99100" },
    { name: "enhanced low delay", asc: "f8e6500000" },
    { name: "BSAC", asc: "b31148630adcb3" },
    { name: "scalable", asc: "a309742b72cc" },
    { name: "USAC", asc: "f946400000" },
  ];

for (const { name, asc, adts } of configs) {
  Deno.test(`TsMuxer ${adts ? "carries" : "leaves out"} AAC of ${name}`, () => {
    const config = aacConfig(Uint8Array.fromHex(asc));
    assertEquals(isTsConfig(config), adts !== undefined);
    const found = payloads(config, [new Uint8Array(20)]);
    assertEquals(found.map((payload) => payload.toHex().slice(0, 9)), adts ? [adts] : []);
  });
}

Deno.test("TsMuxer.writeFrame() leaves out AAC frames longer than ADTS can tell", () => {
  const config = aacConfig(Uint8Array.of(0x12, 0x10));
  const [longest, ...rest] = payloads(config, [
    new Uint8Array(8184),
    new Uint8Array(8185),
    new Uint8Array(0),
  ]);
  assert(longest !== undefined);
  assertEquals(parseAdts(longest).frameLength, 8191);
  assertEquals(rest, []);
  assertEquals(isTsConfig({ ...config, description: undefined } as never), false);
});

const opusCases: readonly {
  readonly name: string;
  readonly head: Partial<OpusHead> & Pick<OpusHead, "channels">;
  /** Undefined if it is not carried. */
  readonly code?: string;
}[] = [
  { name: "mono", head: { channels: 1 }, code: "01" },
  { name: "stereo", head: { channels: 2 }, code: "02" },
  { name: "surround 3.0", head: surround([2, 1, 0, 2, 1]), code: "03" },
  { name: "surround 5.1", head: surround([4, 2, 0, 4, 1, 2, 3, 5]), code: "06" },
  { name: "surround 7.1", head: surround([5, 3, 0, 6, 1, 2, 3, 4, 5, 7]), code: "08" },
  { name: "surround in another order", head: surround([4, 2, 0, 1, 4, 2, 3, 5]) },
  { name: "surround of more pairs", head: surround([2, 2, 0, 2, 1]) },
  { name: "surround of single streams", head: surround([3, 0, 0, 1, 2]) },
  {
    name: "discrete channels",
    head: { ...surround([1, 1, 0, 1]), mappingFamily: 255 },
  },
  { name: "nine channels", head: surround([9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]) },
];

function surround(
  [streams = 0, coupled = 0, ...channels]: readonly number[],
): Partial<OpusHead> & Pick<OpusHead, "channels"> {
  const mapping = { streams, coupled, channels: Uint8Array.from(channels) };
  return { channels: channels.length, mappingFamily: 1, mapping };
}

for (const { name, head, code } of opusCases) {
  Deno.test(`TsMuxer.tables() ${code ? "describe" : "leave out"} Opus in ${name}`, () => {
    const config = opusConfig(serializeOpusHead({
      preSkip: 312,
      inputSampleRate: 48_000,
      outputGain: 0,
      mappingFamily: 0,
      ...head,
    }));
    const made = new TsMuxer();
    made.configure({ video: undefined, audio: config });
    const { maps } = walkTs(made.tables());
    const told = `101:06:05044f7075737f0280${code}`;
    assertEquals(maps[0]?.streams, code ? [told] : []);
  });
}

Deno.test("TsMuxer.tables() describe Opus without a header by its channels", () => {
  const config = { kind: "audio", fourcc: "Opus", codec: "opus", sampleRate: 48_000 } as const;
  for (const numberOfChannels of [0, 1, 2, 3]) {
    const made = new TsMuxer();
    made.configure({ video: undefined, audio: { ...config, numberOfChannels } });
    const told = [1, 2].includes(numberOfChannels)
      ? [`101:06:05044f7075737f02800${numberOfChannels}`]
      : [];
    assertEquals(walkTs(made.tables()).maps[0]?.streams, told);
  }
});

Deno.test("TsMuxer.writeFrame() tells the length of Opus packets", () => {
  const config = opusConfig(serializeOpusHead({
    channels: 2,
    preSkip: 0,
    inputSampleRate: 0,
    outputGain: 0,
    mappingFamily: 0,
  }));
  const headers = [
    [1, "7fe001"],
    [254, "7fe0fe"],
    [255, "7fe0ff00"],
    [256, "7fe0ff01"],
    [1275, "7fe0ffffffffff00"],
  ] as const;
  for (const [length, header] of headers) {
    const data = new Uint8Array(length).fill(0x48);
    const [payload] = payloads(config, [data]);
    assertEquals(payload?.toHex(), header + data.toHex());
  }
  assertEquals(payloads(config, [new Uint8Array(65_400), new Uint8Array(0)]), []);
});
