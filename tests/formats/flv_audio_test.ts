import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  audioConfigBody,
  type AudioFormat,
  audioFramePrefix,
  type AudioPacket,
  parseAudioBody,
} from "../../src/formats/flv_audio.ts";

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

const fourccs = { "Opus": "4f707573", "mp4a": "6d703461", "fLaC": "664c6143" };

const data = hex("0000000165");
const dataHex = data.toHex();

function audio(packet: Partial<AudioPacket> & Pick<AudioPacket, "fourcc" | "type">): AudioPacket {
  return { nanoOffset: 0, trackId: 0, data, ...packet };
}

interface AudioCase {
  readonly name: string;
  readonly bytes: string;
  readonly packets: readonly AudioPacket[];
  /** The format for which the writers give this frame or configuration. */
  readonly format?: AudioFormat;
}

function format(fourcc: string, sampleRate: number, numberOfChannels: number): AudioFormat {
  return { fourcc, sampleRate, numberOfChannels };
}

const audioCases: readonly AudioCase[] = [
  { name: "silence", bytes: "", packets: [] },
  {
    name: "an AAC configuration",
    bytes: `af 00 ${dataHex}`,
    packets: [audio({ fourcc: "mp4a", type: "config" })],
    format: { ...format("mp4a", 48_000, 2), description: data },
  },
  {
    name: "an AAC frame",
    bytes: `af 01 ${dataHex}`,
    packets: [audio({ fourcc: "mp4a", type: "frame" })],
    format: format("mp4a", 48_000, 2),
  },
  {
    name: "an AAC frame with other header bits",
    bytes: `a2 01 ${dataHex}`,
    packets: [audio({ fourcc: "mp4a", type: "frame" })],
  },
  { name: "an empty AAC frame", bytes: "af 01", packets: [] },
  { name: "an empty AAC configuration", bytes: "af 00", packets: [] },
  {
    name: "an MP3 frame",
    bytes: `2f ${dataHex}`,
    packets: [audio({ fourcc: ".mp3", type: "frame", sampleRate: 44_100, channels: 2 })],
    format: format(".mp3", 44_100, 2),
  },
  {
    name: "an MP3 frame of 22 kHz",
    bytes: `2a ${dataHex}`,
    packets: [audio({ fourcc: ".mp3", type: "frame", sampleRate: 22_050, channels: 1 })],
    format: format(".mp3", 22_050, 1),
  },
  {
    name: "an MP3 frame of 8 kHz",
    bytes: `e2 ${dataHex}`,
    packets: [audio({ fourcc: ".mp3", type: "frame", sampleRate: 8_000, channels: 1 })],
    format: format(".mp3", 8_000, 1),
  },
  {
    name: "an MP3 frame of a rate that FLV lacks",
    bytes: `91 2e6d7033 ${dataHex}`,
    packets: [audio({ fourcc: ".mp3", type: "frame" })],
    format: format(".mp3", 32_000, 2),
  },
  {
    name: "an A-law frame",
    bytes: `72 ${dataHex}`,
    packets: [audio({ fourcc: "alaw", type: "frame", sampleRate: 8_000, channels: 1 })],
    format: format("alaw", 8_000, 1),
  },
  {
    name: "a µ-law frame",
    bytes: `83 ${dataHex}`,
    packets: [audio({ fourcc: "ulaw", type: "frame", sampleRate: 8_000, channels: 2 })],
    format: format("ulaw", 8_000, 2),
  },
  {
    name: "an A-law frame that claims another rate",
    bytes: `7e ${dataHex}`,
    packets: [audio({ fourcc: "alaw", type: "frame", sampleRate: 8_000, channels: 1 })],
  },
  { name: "an empty µ-law frame", bytes: "82", packets: [] },
  {
    name: "a Speex frame",
    bytes: `b2 ${dataHex}`,
    packets: [audio({ fourcc: "spex", type: "frame", sampleRate: 16_000, channels: 1 })],
    format: format("spex", 16_000, 1),
  },
  {
    name: "a PCM frame",
    bytes: `3b ${dataHex}`,
    packets: [audio({ fourcc: "sowt", type: "frame", sampleRate: 22_050, channels: 2 })],
    format: format("sowt", 22_050, 2),
  },
  {
    name: "an Opus configuration",
    bytes: `90 ${fourccs.Opus} ${dataHex}`,
    packets: [audio({ fourcc: "Opus", type: "config" })],
    format: { ...format("Opus", 48_000, 2), description: data },
  },
  {
    name: "an empty Opus configuration",
    bytes: `90 ${fourccs.Opus}`,
    packets: [audio({ fourcc: "Opus", type: "config", data: hex("") })],
  },
  {
    name: "an Opus frame",
    bytes: `91 ${fourccs.Opus} ${dataHex}`,
    packets: [audio({ fourcc: "Opus", type: "frame" })],
    format: format("Opus", 48_000, 2),
  },
  {
    name: "an enhanced AAC frame",
    bytes: `91 ${fourccs.mp4a} ${dataHex}`,
    packets: [audio({ fourcc: "mp4a", type: "frame" })],
  },
  {
    name: "a FLAC configuration",
    bytes: `90 ${fourccs.fLaC} ${dataHex}`,
    packets: [audio({ fourcc: "fLaC", type: "config" })],
    format: { ...format("fLaC", 96_000, 2), description: data },
  },
  { name: "an empty Opus frame", bytes: `91 ${fourccs.Opus}`, packets: [] },
  {
    name: "an Opus end",
    bytes: `92 ${fourccs.Opus}`,
    packets: [audio({ fourcc: "Opus", type: "end", data: hex("") })],
  },
  {
    name: "a native channel order",
    bytes: `94 ${fourccs.Opus} 01 06 0000003f`,
    packets: [audio({ fourcc: "Opus", type: "channels", channels: 6, data: hex("01060000003f") })],
  },
  {
    name: "a custom channel order",
    bytes: `94 ${fourccs.Opus} 02 02 0001`,
    packets: [audio({ fourcc: "Opus", type: "channels", channels: 2, data: hex("02020001") })],
  },
  {
    name: "a nanosecond offset",
    bytes: `97 02 000001 01 ${fourccs.Opus} ${dataHex}`,
    packets: [audio({ fourcc: "Opus", type: "frame", nanoOffset: 1 })],
  },
  {
    name: "one track",
    bytes: `95 01 ${fourccs.Opus} 07 ${dataHex}`,
    packets: [audio({ fourcc: "Opus", type: "frame", trackId: 7 })],
  },
  {
    name: "many tracks of many codecs",
    bytes: `95 21 ${fourccs.Opus} 00 000001 aa ${fourccs.mp4a} 01 000001 bb`,
    packets: [
      audio({ fourcc: "Opus", type: "frame", data: hex("aa") }),
      audio({ fourcc: "mp4a", type: "frame", trackId: 1, data: hex("bb") }),
    ],
  },
];

for (const { name, bytes, packets } of audioCases) {
  Deno.test(`parseAudioBody() reads ${name}`, () => {
    assertEquals(parseAudioBody(hex(bytes)), packets);
  });
}

for (const { name, bytes, format } of audioCases) {
  if (!format) continue;
  Deno.test(`audio writers write ${name}`, () => {
    const body = format.description
      ? audioConfigBody(format) ?? hex("")
      : concat([audioFramePrefix(format), data]);
    assertEquals(body.toHex(), hex(bytes).toHex());
  });
}

const malformed: readonly { name: string; bytes: string; message: string }[] = [
  { name: "an unknown sound format", bytes: "c0 00", message: "sound format is 12" },
  { name: "a cut AAC header", bytes: "af", message: "Cannot read 1 bytes" },
  { name: "an unknown AACPacketType", bytes: "af 02", message: "AACPacketType is 2" },
  { name: "a cut FourCC", bytes: "91 4f70", message: "Cannot read 4 bytes" },
  { name: "an unknown PacketType", bytes: `93 ${fourccs.Opus}`, message: "PacketType is 3" },
  { name: "multitrack in itself", bytes: `95 05 ${fourccs.Opus} 00`, message: "PacketType is 5" },
  { name: "a cut channel mask", bytes: `94 ${fourccs.Opus} 01 06 00`, message: "Cannot read 4" },
  { name: "a cut channel map", bytes: `94 ${fourccs.Opus} 02 06 00`, message: "Cannot read 6" },
];

for (const { name, bytes, message } of malformed) {
  Deno.test(`parseAudioBody() refuses ${name}`, () => {
    assertThrows(() => parseAudioBody(hex(bytes)), InvalidDataError, message);
  });
}

Deno.test("audioConfigBody() gives nothing for codecs without configuration", () => {
  for (const fourcc of ["alaw", "ulaw", ".mp3", "mp4a", "ac-3"]) {
    assertEquals(audioConfigBody(format(fourcc, 44_100, 1)), undefined);
  }
  assertEquals(audioConfigBody({ ...format("alaw", 8_000, 1), description: data }), undefined);
  assertEquals(audioConfigBody(format("Opus", 48_000, 6)), undefined);
});

Deno.test("audioConfigBody() makes an OpusHead when Opus has no description", () => {
  const body = audioConfigBody(format("Opus", 48_000, 2));
  const expected = hex(`90 ${fourccs.Opus} 4f70757348656164 01 02 000f 80bb0000 0000 00`);
  assertEquals(body?.toHex(), expected.toHex());
});

const damaged = fc.tuple(
  fc.constantFrom(...[...audioCases, ...malformed].map(({ bytes }) => bytes)),
  fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 3 }),
  fc.nat(80),
).map(([text, changes, length]) => {
  const bytes = hex(text);
  for (const [index, byte] of changes) if (index < bytes.length) bytes[index] = byte;
  return bytes.subarray(0, length);
});

Deno.test("parseAudioBody() throws nothing but InvalidDataError for any bytes", () => {
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 60 })), (body) => {
      try {
        parseAudioBody(body);
      } catch (error) {
        assert(error instanceof InvalidDataError, `${error}`);
      }
    }),
    { seed: 20243, numRuns: 5_000 },
  );
});
