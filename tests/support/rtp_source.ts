/** Senders of RTP by hand: H.264 without and with parameter sets in the description, and sound. */

import type { MediaFrame } from "../../src/frame.ts";
import { staticFormat } from "../../src/rtp/encodings.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import { formatOf } from "../../src/rtp/media_format.ts";
import { ntpFromUnixUs } from "../../src/rtp/ntp.ts";
import { serializeRtp } from "../../src/rtp/packet.ts";
import { serializeRtcp } from "../../src/rtp/rtcp.ts";
import { h264, PPS, slice, sps } from "./frames.ts";

/** H.264 whose parameter sets come with the pictures. */
export const VIDEO: RtpFormat = {
  payloadType: 96,
  encoding: "H264",
  clockRate: 90_000,
  parameters: new Map(),
};
/** H.264 whose parameter sets are in the session description (`sprop-parameter-sets`). */
export const SPROP = formatOf(h264(), 96) ?? VIDEO;
/** G.711 µ-law, 8 kHz. */
export const PCMU = staticFormat(0) ?? VIDEO;

/** A sender by hand: packets in sequence, of one source. */
export class Source {
  readonly ssrc: number;
  readonly payloadType: number;
  sequence = 65_530;

  constructor(ssrc: number, payloadType = 96) {
    this.ssrc = ssrc;
    this.payloadType = payloadType;
  }

  packet(timestamp: number, payload: Uint8Array, marker = true): Uint8Array {
    const { ssrc, payloadType } = this;
    this.sequence = (this.sequence + 1) & 0xffff;
    const sequence = this.sequence;
    return serializeRtp({
      payloadType,
      marker,
      sequence,
      timestamp: timestamp >>> 0,
      ssrc,
      payload,
    });
  }

  /** A picture of one packet, with the parameter sets in front if it is a keyframe. */
  picture(timestamp: number, mark: number, key = false): Uint8Array {
    if (!key) return this.packet(timestamp, slice(false, mark));
    return this.packet(timestamp, aggregated(sps(), PPS, slice(true, mark)));
  }

  report(timestamp: number, wallUs: number): Uint8Array {
    const ntp = ntpFromUnixUs(wallUs);
    return serializeRtcp([{
      type: "sr",
      ssrc: this.ssrc,
      ntp,
      rtpTimestamp: timestamp >>> 0,
      packets: 1,
      octets: 1,
      reports: [],
    }]);
  }

  goodbye(): Uint8Array {
    return serializeRtcp([{ type: "bye", ssrcs: [this.ssrc] }]);
  }
}

/** A STAP-A packet's payload (RFC 6184 5.7.1). */
export function aggregated(...nalus: readonly Uint8Array[]): Uint8Array {
  const units = nalus.flatMap((nalu) => [nalu.length >> 8, nalu.length, ...nalu]);
  return Uint8Array.of(0x78, ...units);
}

/** The mark of a picture that {@linkcode slice} made. */
export function markOf(frame: MediaFrame): number {
  return (frame.data.at(-6) ?? 0) & 0x7f;
}

/** The marks of pictures, keyframes with a K: `K0 1 2`. */
export function marks(frames: readonly MediaFrame[]): string {
  return frames.map((frame) => `${frame.key ? "K" : ""}${markOf(frame)}`).join(" ");
}
