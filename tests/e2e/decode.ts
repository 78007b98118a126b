/** FFmpeg's decoders on what was played, as a player has them. */

import {
  AV_PKT_DATA_NEW_EXTRADATA,
  AVERROR_EAGAIN,
  AVERROR_EOF,
  type FFDecoderCodec,
} from "node-av/constants";
import { Codec, CodecContext, Dictionary, Frame, Packet } from "node-av/lib";
import type { PlayedPacket } from "../support/ffmpeg.ts";
import { check } from "../support/ffmpeg/native.ts";

/** A decoded picture's size, such as `160x120`, or the samples of a piece of sound. */
export type Decoded = string;

/**
 * Decodes packets of one kind in their order: with one decoder as long as the codec stays, which is
 * told of new configurations as FFmpeg's demuxer does it.
 *
 * @throws {Error} If anything in them is damaged or missing.
 */
export async function decode(packets: readonly PlayedPacket[]): Promise<Decoded[]> {
  const decoded: Decoded[] = [];
  let from = 0;
  for (let to = 1; to <= packets.length; to++) {
    if (packets[to]?.codec === packets[from]?.codec) continue;
    decoded.push(...await decodeSame(packets.slice(from, to)));
    from = to;
  }
  return decoded;
}

async function decodeSame(packets: readonly PlayedPacket[]): Promise<Decoded[]> {
  const [first] = packets;
  if (!first) return [];
  const codec = Codec.findDecoderByName(first.codec as FFDecoderCodec);
  if (!codec) throw new Error(`Cannot decode ${first.codec}: there is no decoder`);
  using context = new CodecContext();
  context.allocContext3(codec);
  context.threadCount = 1;
  const record = first.extradata;
  // After a change of codec FFmpeg's demuxer still has the record of AAC; Opus does without.
  const isForeign = first.codec === "opus" && record?.[0] !== "O".charCodeAt(0);
  if (record && !isForeign) context.extraData = Buffer.from(record);
  using options = Dictionary.fromObject({ err_detect: "explode" });
  check(await context.open2(codec, options), `open the decoder ${first.codec}`);
  using packet = new Packet();
  using frame = new Frame();
  packet.alloc();
  frame.alloc();
  const decoded: Decoded[] = [];
  const drain = () => {
    while (true) {
      const code = context.receiveFrameSync(frame);
      if (code === AVERROR_EAGAIN || code === AVERROR_EOF) return;
      check(code, `decode ${first.codec}`);
      if (frame.decodeErrorFlags !== 0) throw new Error(`Cannot decode ${first.codec}: damaged`);
      decoded.push(frame.width > 0 ? `${frame.width}x${frame.height}` : `${frame.nbSamples}`);
      frame.unref();
    }
  };
  let known = first.extradata;
  for (const { data, extradata, pts, dts, key } of packets) {
    packet.unref();
    packet.data = Buffer.from(data);
    packet.pts = BigInt(pts);
    packet.dts = BigInt(dts);
    packet.isKeyframe = key;
    // FFmpeg tells of a change once, and has the first configuration as the stream's all the time.
    if (extradata && ![known, first.extradata].some((other) => equal(extradata, other))) {
      check(packet.addSideData(AV_PKT_DATA_NEW_EXTRADATA, Buffer.from(extradata)), "tell it");
      known = extradata;
    }
    check(context.sendPacketSync(packet), `decode ${first.codec} at ${dts}`);
    drain();
  }
  check(context.sendPacketSync(null), `end ${first.codec}`);
  drain();
  return decoded;
}

function equal(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return a.length === b?.length && a.every((byte, index) => byte === b[index]);
}
