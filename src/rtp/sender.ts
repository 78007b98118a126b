/** The sender of one track: sequence numbers, timestamps and reports (RFC 3550 5.1, 6.4.1). */

import type { RtpFormat } from "./format.ts";
import {
  INTERLEAVED_HEADER_BYTES,
  type RtpChannels,
  sequenceAfter,
  writeInterleavedHeader,
} from "./interleaved.ts";
import type { NtpTime } from "./ntp.ts";
import { RTP_HEADER_BYTES, writeRtpHeader } from "./packet.ts";
import type { PacketizedFrame, Packetizer, RtpPayload } from "./payload.ts";
import { randomU32 } from "./random.ts";
import { SdesType, serializeRtcp } from "./rtcp.ts";

/** Bytes in front of each payload. */
const HEADER_BYTES = INTERLEAVED_HEADER_BYTES + RTP_HEADER_BYTES;

/** What an {@linkcode RtpSender} sends, and where. */
export interface RtpSenderInit {
  /** Its payload format. */
  readonly format: RtpFormat;
  /** Cuts its frames. */
  readonly packetizer: Packetizer;
  /** Where its packets go. */
  readonly channels: RtpChannels;
  /** Its canonical name, the same for all senders of a session. */
  readonly cname: string;
}

/** Payloads of one frame. */
export interface SentFrame {
  /** The payloads, in order. */
  readonly payloads: readonly RtpPayload[];
  /** Bytes of all packets, each behind its interleaved header. */
  readonly bytes: number;
}

/**
 * Writes the packets of one track as interleaved data.
 *
 * Its source and timestamp of time 0 are random, and so is its first sequence number, which is
 * {@linkcode sequenceAfter} no packet.
 */
export class RtpSender {
  /** Its payload format. */
  readonly format: RtpFormat;
  /** Its source. */
  readonly ssrc: number = randomU32();
  readonly #packetizer: Packetizer;
  readonly #channels: RtpChannels;
  readonly #cname: string;
  readonly #timestampOffset = randomU32();
  #sequence = sequenceAfter(this.ssrc, 0);
  #packets = 0;
  #octets = 0;

  /** Before the first packet. */
  constructor({ format, packetizer, channels, cname }: RtpSenderInit) {
    this.format = format;
    this.#packetizer = packetizer;
    this.#channels = channels;
    this.#cname = cname;
  }

  /** The RTP timestamp of a moment in µs: 32 bits, without drift. */
  timestampAt(us: number): number {
    return (Math.round(us * this.format.clockRate / 1e6) + this.#timestampOffset) >>> 0;
  }

  /**
   * Cuts a frame.
   *
   * @throws {InvalidDataError} If the frame is malformed, or too large for the payload format.
   */
  packetize(frame: PacketizedFrame): SentFrame {
    const payloads = this.#packetizer.packetize(frame);
    let bytes = HEADER_BYTES * payloads.length;
    for (const { parts } of payloads) for (const part of parts) bytes += part.length;
    return { payloads, bytes };
  }

  /** Writes the packets of a frame that is presented at `ptsUs` into `target`, from its start on. */
  write(target: Uint8Array, { payloads }: SentFrame, ptsUs: number): void {
    const timestamp = this.timestampAt(ptsUs);
    const { payloadType } = this.format;
    const { ssrc } = this;
    let at = 0;
    for (const { parts, marker } of payloads) {
      const start = at;
      const header = { payloadType, marker, sequence: this.#sequence, timestamp, ssrc };
      writeRtpHeader(target.subarray(start + INTERLEAVED_HEADER_BYTES), header);
      at += HEADER_BYTES;
      for (const part of parts) {
        target.set(part, at);
        at += part.length;
      }
      const length = at - start - INTERLEAVED_HEADER_BYTES;
      writeInterleavedHeader(target, start, { channel: this.#channels.rtp, length });
      this.#sequence = (this.#sequence + 1) & 0xffff;
      this.#octets += length - RTP_HEADER_BYTES;
    }
    this.#packets += payloads.length;
  }

  /**
   * Its sender report and description, as interleaved data: that the moment `us` is `ntp` on the wall
   * clock.
   */
  report(us: number, ntp: NtpTime): Uint8Array<ArrayBuffer> {
    const { ssrc } = this;
    const report = serializeRtcp([
      {
        type: "sr",
        ssrc,
        ntp,
        rtpTimestamp: this.timestampAt(us),
        packets: this.#packets >>> 0,
        octets: this.#octets >>> 0,
        reports: [],
      },
      { type: "sdes", chunks: [{ ssrc, items: [{ type: SdesType.cname, text: this.#cname }] }] },
    ]);
    const { length } = report;
    const bytes = new Uint8Array(INTERLEAVED_HEADER_BYTES + length);
    writeInterleavedHeader(bytes, 0, { channel: this.#channels.rtcp, length });
    bytes.set(report, INTERLEAVED_HEADER_BYTES);
    return bytes;
  }
}
