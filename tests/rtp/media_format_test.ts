import { assert, assertEquals, assertExists, assertThrows } from "@std/assert";
import { aacConfig } from "../../src/codecs/aac.ts";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import { audioConfigFrom, videoConfigFrom } from "../../src/codecs/description.ts";
import { alawConfig, ulawConfig } from "../../src/codecs/g711.ts";
import { opusConfig, parseDops, serializeOpusHead } from "../../src/codecs/opus.ts";
import { InvalidDataError } from "../../src/errors.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import {
  configOf,
  formatOf,
  fourccOf,
  staticFormat,
  staticTypeOf,
} from "../../src/rtp/media_format.ts";
import { parseSdp, serializeSdp } from "../../src/rtp/sdp.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { assertWithstands } from "../support/hostile.ts";
import { readRtpFixture } from "../support/rtp_fixtures.ts";

const mp3: AudioConfig = {
  kind: "audio",
  fourcc: ".mp3",
  codec: "mp3",
  sampleRate: 44_100,
  numberOfChannels: 2,
};

function format(
  encoding: string,
  clockRate: number,
  parameters: Readonly<Record<string, string>> = {},
): RtpFormat {
  return { payloadType: 96, encoding, clockRate, parameters: new Map(Object.entries(parameters)) };
}

function parametersOf(config: VideoConfig | AudioConfig): Record<string, string> {
  return Object.fromEntries(formatOf(config, 96)?.parameters ?? []);
}

/** `format` as the other end reads it from a session description. */
function throughSdp(format: RtpFormat): RtpFormat {
  const text = serializeSdp({
    name: "",
    attributes: [],
    media: [{ kind: "video", port: 0, protocol: "RTP/AVP", formats: [format], attributes: [] }],
  });
  const found = parseSdp(text).media[0]?.formats[0];
  assertExists(found);
  return found;
}

/** The format in a description that FFmpeg or GStreamer made. */
function formatIn(name: string): RtpFormat {
  const found = parseSdp(readRtpFixture(name).sdp).media[0]?.formats[0];
  assertExists(found);
  return found;
}

/** Configurations whose formats hold all of them. */
const whole: readonly (readonly [string, VideoConfig | AudioConfig])[] = [
  ...readFixtures("h264_").map(({ name, record }) =>
    [name, videoConfigFrom("avc1", record)] as const
  ),
  ...readFixtures("h265_").map(({ name, record }) =>
    [name, videoConfigFrom("hvc1", record)] as const
  ),
  ...readFixtures("aac_").map(({ name, extradata }) => [name, aacConfig(extradata)] as const),
  ...readFixtures("crafted_aac_").map(({ name, extradata }) =>
    [name, aacConfig(extradata)] as const
  ),
  ["alaw_8000_1", alawConfig()],
  ["ulaw_16000_2", ulawConfig(16_000, 2)],
];

Deno.test("configOf() is what formatOf() was given, through a session description", () => {
  for (const [name, config] of whole) {
    const made = formatOf(config, 96);
    assertExists(made);
    const read = throughSdp(made);
    assertEquals(read, made, name);
    const back = configOf(read);
    assertExists(back, name);
    const { description, ...rest } = config;
    const { description: found, ...others } = back;
    assertEquals(others, rest, name);
    // FFmpeg's avcC has no parameter set extension and its hvcC other flags: the sets are what counts.
    if (config.kind === "audio") assertEquals(found, description, name);
    assertEquals(formatOf(back, 96), made, name);
  }
});

Deno.test("formatOf() names encodings, rates and parameters as the payload formats have them", () => {
  const video = (name: string, fourcc: string) => videoConfigFrom(fourcc, readFixture(name).record);
  const cases: readonly (readonly [VideoConfig | AudioConfig, string, Record<string, string>])[] = [
    [video("av1_main10_322x242", "av01"), "AV1/90000", {
      profile: "0",
      "level-idx": "0",
      tier: "0",
    }],
    [video("vp9_p2_10_1280x718", "vp09"), "VP9/90000", { "profile-id": "2" }],
    [
      aacConfig(Uint8Array.of(0x12, 0x10)),
      "mpeg4-generic/44100/2",
      {
        streamtype: "5",
        "profile-level-id": "41",
        mode: "AAC-hbr",
        sizelength: "13",
        indexlength: "3",
        indexdeltalength: "3",
        config: "1210",
      },
    ],
    [audioConfigFrom("Opus", readFixture("opus_48000_2").extradata), "opus/48000/2", {
      "sprop-stereo": "1",
    }],
    [audioConfigFrom("Opus", readFixture("opus_48000_1").extradata), "opus/48000/2", {
      "sprop-stereo": "0",
    }],
    [alawConfig(), "PCMA/8000", {}],
    [ulawConfig(16_000, 2), "PCMU/16000/2", {}],
    [mp3, "MPA/90000", {}],
    [{ kind: "video", fourcc: "avc1", codec: "avc1" }, "H264/90000", { "packetization-mode": "1" }],
    [{ kind: "video", fourcc: "hvc1", codec: "hvc1" }, "H265/90000", {}],
    [{ kind: "video", fourcc: "av01", codec: "av01" }, "AV1/90000", {}],
    [{ kind: "video", fourcc: "vp09", codec: "vp09" }, "VP9/90000", {}],
  ];
  for (const [config, rtpmap, parameters] of cases) {
    const made = formatOf(config, 101);
    const { encoding, clockRate, channels } = made ?? {};
    const written = [encoding, clockRate, ...(channels === undefined ? [] : [channels])].join("/");
    assertEquals([made?.payloadType, written], [101, rtpmap]);
    assertEquals(parametersOf(config), parameters);
  }
});

Deno.test("formatOf() writes the parameter sets that FFmpeg and GStreamer write", () => {
  for (const name of ["ffmpeg_h264", "gstreamer_h264", "ffmpeg_h265", "gstreamer_h265"]) {
    const theirs = formatIn(name);
    const config = configOf(theirs);
    assertExists(config, name);
    const ours = parametersOf(config);
    for (const [key, value] of theirs.parameters) {
      assertEquals([key, ours[key]], [key, value], name);
    }
  }
  assertEquals(
    parametersOf(configOf(formatIn("ffmpeg_h264")) ?? mp3)["profile-level-id"],
    "64000D",
  );
  const { "profile-id": profile, "tier-flag": tier, "level-id": level } = parametersOf(
    configOf(formatIn("ffmpeg_h265")) ?? mp3,
  );
  assertEquals([profile, tier, level], ["1", "0", "60"]);
});

Deno.test("configOf() reads what FFmpeg and GStreamer announce", () => {
  const cases:
    readonly (readonly [string, Partial<VideoConfig> | Partial<AudioConfig> | undefined])[] = [
      ["ffmpeg_h264", { fourcc: "avc1", codec: "avc1.64000d" }],
      ["gstreamer_h264", { fourcc: "avc1", codec: "avc1.4d400c" }],
      ["ffmpeg_h265", { fourcc: "hvc1", codec: "hvc1.1.6.L60.90" }],
      ["gstreamer_h265", { fourcc: "hvc1", codec: "hvc1.1.6.L60.90" }],
      ["ffmpeg_aac", { codec: "mp4a.40.2", sampleRate: 48_000, numberOfChannels: 1 }],
      ["ffmpeg_aac_aggregated", { codec: "mp4a.40.2", sampleRate: 44_100, numberOfChannels: 2 }],
      ["ffmpeg_aac_latm", {
        codec: "mp4a.40.2",
        sampleRate: 48_000,
        numberOfChannels: 1,
        description: Uint8Array.of(0x11, 0x88),
      }],
      ["ffmpeg_aac_latm_fragmented", {
        codec: "mp4a.40.2",
        sampleRate: 44_100,
        numberOfChannels: 2,
        description: Uint8Array.of(0x12, 0x10),
      }],
      ["ffmpeg_opus", { codec: "opus", sampleRate: 48_000, numberOfChannels: 2 }],
      ["ffmpeg_pcma", { codec: "alaw", sampleRate: 8_000, numberOfChannels: 1 }],
      ["ffmpeg_pcmu", { codec: "ulaw", sampleRate: 8_000, numberOfChannels: 1 }],
      ["ffmpeg_mp3", undefined],
      ["ffmpeg_av1", undefined],
      ["ffmpeg_vp9", undefined],
    ];
  for (const [name, expected] of cases) {
    const config = configOf(formatIn(name));
    assertEquals(config === undefined, expected === undefined, name);
    assertEquals({ ...config, ...expected }, { ...config }, name);
  }
});

Deno.test("configOf() makes sense of parameter sets as cameras write them", () => {
  const { parameters } = formatIn("ffmpeg_h264");
  const sets = parameters.get("sprop-parameter-sets") ?? "";
  const [sps = "", pps = ""] = sets.split(",");
  const expected = configOf(format("H264", 90_000, { "sprop-parameter-sets": sets }));
  assertExists(expected);
  const bytes = (text: string) => atob(text);
  const same = [
    `${pps},${sps}`,
    ` ${sps} , ${pps} `,
    `${sps},,${pps},`,
    [sps, pps].map((set) => btoa(`\0\0\0\x01${bytes(set)}`)).join(","),
    btoa(`\0\0\0\x01${bytes(sps)}\0\0\x01${bytes(pps)}`),
    `${sps},${pps},${btoa("\x06\x05\x01\x00")}`,
    sets.replaceAll("=", ""),
  ];
  for (const text of same) {
    assertEquals(
      configOf(format("h264", 90_000, { "sprop-parameter-sets": text })),
      expected,
      text,
    );
  }
  for (const text of ["", ",", sps, `${sps},`, "!!!!", `${sps},x`, `Z00=,${pps}`, "AAAA,AAAA"]) {
    const config = configOf(format("H264", 90_000, { "sprop-parameter-sets": text }));
    assertEquals(config, undefined, text);
  }
  assertEquals(configOf(format("H264", 90_000)), undefined);
  assertEquals(
    configOf(format("H265", 90_000, { "sprop-vps": "QAEMAf//AWAAAAMAkAAAAw==" })),
    undefined,
  );
});

Deno.test("configOf() takes the sets of H.265 from any of their parameters, several in each", () => {
  const { parameters } = formatIn("ffmpeg_h265");
  const all = ["vps", "sps", "pps"].map((kind) => parameters.get(`sprop-${kind}`)).join(",");
  assertEquals(
    configOf(format("h265", 90_000, { "sprop-sps": all })),
    configOf(formatIn("ffmpeg_h265")),
  );
});

Deno.test("configOf() takes AAC for LC of the format's rate and channels when nothing says more", () => {
  for (const config of ["", "zz", "1", "fff8", undefined]) {
    const parameters = { mode: "AAC-hbr", ...(config !== undefined && { config }) };
    const found = configOf({ ...format("MPEG4-GENERIC", 16_000, parameters), channels: 2 });
    assertEquals(found, aacConfig(Uint8Array.of(0x14, 0x10)), config);
  }
  const channelsOf = (channels: number) => {
    const config = configOf({ ...format("mpeg4-generic", 48_000), channels });
    return config?.kind === "audio" ? config.numberOfChannels : undefined;
  };
  assertEquals([1, 2, 6, 7, 8, 9].map(channelsOf), [1, 2, 6, undefined, 8, undefined]);
});

Deno.test("configOf() reads StreamMuxConfigs of both versions, and none of several programs", () => {
  const stereo = aacConfig(Uint8Array.of(0x12, 0x10));
  const latm = (config: string) => configOf(format("MP4A-LATM", 44_100, { config }));
  assertEquals(latm("400024203fc0"), stereo);
  // audioMuxVersion 1 and A 0, taraBufferFullness 0; one program of one layer; ascLen 16.
  const version1 = ["1", "0", "00", "00000000", "1", "000000", "0000", "000", "00", "00010000"];
  assertEquals(latm(bitsToHex([...version1, "0001001000010000"].join(""))), stereo);
  // What follows would declare SBR if it were of the AudioSpecificConfig.
  const behind = "01010110111" + "00101" + "1" + "0100";
  assertEquals(latm(bitsToHex([...version1, "0001001000010000", behind].join(""))), stereo);
  assertEquals(latm(bitsToHex("11" + "0".repeat(62))), undefined);
  assertEquals(latm(bitsToHex("01000000" + "0001" + "000" + "0001001000010000")), undefined);
  assertEquals(latm(bitsToHex("01000000" + "0000" + "001" + "0001001000010000")), undefined);
  assertEquals(latm("40"), undefined);
  assertEquals(configOf(format("MP4A-LATM", 44_100)), undefined);
});

function bitsToHex(bits: string): string {
  const bytes = bits.match(/.{1,8}/g) ?? [];
  return bytes.map((byte) => parseInt(byte.padEnd(8, "0"), 2).toString(16).padStart(2, "0")).join(
    "",
  );
}

Deno.test("configOf() takes Opus for stereo unless its sender says mono", () => {
  for (const [stereo, channels] of [["0", 1], ["1", 2], [undefined, 2]] as const) {
    const parameters: Record<string, string> = stereo === undefined
      ? {}
      : { "sprop-stereo": stereo };
    const head = { channels, preSkip: 0, inputSampleRate: 48_000, outputGain: 0, mappingFamily: 0 };
    assertEquals(configOf(format("OPUS", 48_000, parameters)), opusConfig(serializeOpusHead(head)));
  }
});

Deno.test("formatOf() is undefined for what has no payload format here", () => {
  const unknown = [
    { kind: "video", fourcc: "VP80", codec: "vp8" },
    { kind: "audio", fourcc: "ac-3", codec: "ac-3", sampleRate: 48_000, numberOfChannels: 2 },
    { kind: "audio", fourcc: "mp4a", codec: "mp4a.40.2", sampleRate: 48_000, numberOfChannels: 2 },
  ] as const;
  for (const config of unknown) assertEquals(formatOf(config, 96), undefined);
  const { record } = readFixture("opus_48000_6");
  const surround = opusConfig(serializeOpusHead(parseDops(record)));
  assertEquals([surround.numberOfChannels, formatOf(surround, 96)], [6, undefined]);
});

Deno.test("formatOf() throws when the description is malformed", () => {
  const description = Uint8Array.of(1);
  for (const fourcc of ["avc1", "hvc1", "av01", "vp09"]) {
    const config = { kind: "video", fourcc, codec: fourcc, description } as const;
    assertThrows(() => formatOf(config, 96), InvalidDataError);
  }
});

Deno.test("formatOf() says the lowest level of AAC that allows the stream", () => {
  const levels: readonly (readonly [string, number])[] = [
    ["aac_24000_3", 0x2a],
    ["aac_48000_1", 0x29],
    ["aac_16000_4", 0x2a],
    ["aac_96000_2", 0x2b],
    ["aac_32000_6", 0x2a],
    ["aac_48000_8_71", 0xfe],
    ["crafted_aac_he", 0x2c],
    ["crafted_aac_heV2", 0x30],
    ["crafted_aac_usac", 0xfe],
  ];
  for (const [name, level] of levels) {
    const config = aacConfig(readFixture(name).extradata);
    assertEquals([name, parametersOf(config)["profile-level-id"]], [name, `${level}`]);
  }
  assertEquals(parametersOf(aacConfig(Uint8Array.of(0x14, 0x08)))["profile-level-id"], "40");
});

Deno.test("fourccOf() tells our codecs by their encodings, in any case", () => {
  const cases: readonly (readonly [string, string | undefined, Record<string, string>?])[] = [
    ["h264", "avc1"],
    ["H265", "hvc1"],
    ["av1", "av01"],
    ["Vp9", "vp09"],
    ["MPEG4-GENERIC", "mp4a"],
    ["mpeg4-generic", "mp4a", { mode: "AAC-lbr", streamtype: "5" }],
    ["mpeg4-generic", undefined, { mode: "CELP-cbr", streamtype: "5" }],
    ["mpeg4-generic", undefined, { mode: "AAC-hbr", streamtype: "4" }],
    ["mp4a-latm", "mp4a"],
    ["OPUS", "Opus"],
    ["pcma", "alaw"],
    ["PCMU", "ulaw"],
    ["mpa", ".mp3"],
    ["VP8", undefined],
    ["H264-SVC", undefined],
    ["", undefined],
    ["constructor", undefined],
  ];
  for (const [encoding, fourcc, parameters] of cases) {
    assertEquals([encoding, fourccOf(format(encoding, 90_000, parameters))], [encoding, fourcc]);
  }
});

Deno.test("staticTypeOf() is the type of which staticFormat() tells", () => {
  for (let payloadType = 0; payloadType < 128; payloadType++) {
    const known = staticFormat(payloadType);
    if (known !== undefined) assertEquals(staticTypeOf(known), payloadType);
  }
  assertEquals(staticFormat(8), { ...format("PCMA", 8_000), payloadType: 8 });
  assertEquals([1, 96, 127].map(staticFormat), [undefined, undefined, undefined]);
  const typeOf = (config: AudioConfig) => staticTypeOf(formatOf(config, 96) ?? format("", 1));
  assertEquals(
    [alawConfig(), ulawConfig(), mp3, alawConfig(16_000), ulawConfig(8_000, 2)].map(typeOf),
    [8, 0, 14, undefined, undefined],
  );
});

Deno.test("configOf() withstands cut, changed and random parameters", () => {
  const text = new TextDecoder("latin1");
  const names = ["config", "sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps"];
  const seeds = ["ffmpeg_h264", "ffmpeg_h265", "ffmpeg_aac", "ffmpeg_aac_latm"]
    .flatMap((name) => [...formatIn(name).parameters.values()])
    .map((value) => new TextEncoder().encode(value));
  assert(seeds.length > 8);
  assertWithstands((data) => {
    const parameters = Object.fromEntries(names.map((name) => [name, text.decode(data)]));
    for (const encoding of ["H264", "H265", "mpeg4-generic", "MP4A-LATM", "opus"]) {
      configOf(format(encoding, 48_000, parameters));
    }
  }, seeds);
});
