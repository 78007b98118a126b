/** MPEG-1 and MPEG-2 audio in RTP (RFC 2250 3.5), with the frames of all layers. */

import { ByteReader, concat } from "../bytes.ts";
import { parseMp3Header } from "../codecs/mp3.ts";
import { InvalidDataError } from "../errors.ts";
import type { RtpFormat } from "./format.ts";
import { type PacketizerOptions, payloadBytes } from "./payload_size.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, PacketizedFrame, Packetizer, RtpPayload, RtpUnit } from "./payload.ts";

/** Bytes of the MPEG audio-specific header: 16 zero bits and Frag_offset. */
const HEADER_BYTES = 4;

/** Bytes of a frame header, which tells the frame's length (ISO/IEC 11172-3 2.4.1.3). */
const FRAME_HEADER_BYTES = 4;

/** Most bytes of a frame that is sent: what Frag_offset can count. */
const MAX_FRAME_BYTES = 0xffff;

/** A frame of which the rest has not come yet. */
interface Fragment {
  readonly timestamp: number;
  /** Bytes of the whole frame. */
  readonly frameLength: number;
  readonly parts: Uint8Array[];
  /** Bytes of `parts`. */
  length: number;
}

/**
 * Takes MPEG audio frames out of packets, of which one holds whole frames or a fragment.
 *
 * The marker bit is not needed: frames tell their length, and fragments their place.
 */
export class Mp3Depacketizer implements Depacketizer {
  readonly #clockRate: number;
  #fragment: Fragment | undefined;
  #sequence = -1;
  #dropped = 0;

  /** A depacketizer for a format whose clock has 90 kHz as a rule. */
  constructor(format: RtpFormat) {
    this.#clockRate = format.clockRate;
  }

  /** Frames dropped because a part of them was lost or malformed. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Takes the next packet: the frames that end in it; none if it is the last one again.
   *
   * @throws {InvalidDataError} If its payload is malformed, or the bit rate of a frame is free; the
   * frames in it are dropped.
   */
  push({ sequence, timestamp, payload }: RtpPacket): readonly RtpUnit[] {
    if (payload.length === 0 || sequence === this.#sequence) return [];
    this.#sequence = sequence;
    try {
      const reader = new ByteReader(payload);
      reader.skip(2); // MBZ
      const offset = reader.u16();
      const data = reader.rest();
      if (offset > 0) return this.#continue(timestamp, offset, data);
      this.lose();
      return this.#split(timestamp, data);
    } catch (error) {
      this.#fragment = undefined;
      this.#dropped++;
      throw error;
    }
  }

  /** Says that packets are missing before the next one: the frame that they break is dropped. */
  lose(): void {
    if (this.#fragment === undefined) return;
    this.#fragment = undefined;
    this.#dropped++;
  }

  /** Nothing: a frame without its end is not whole. */
  flush(): readonly RtpUnit[] {
    this.lose();
    return [];
  }

  #continue(timestamp: number, offset: number, data: Uint8Array): readonly RtpUnit[] {
    const fragment = this.#fragment;
    if (fragment === undefined) return [];
    if (fragment.timestamp !== timestamp || fragment.length !== offset) {
      this.lose();
      return [];
    }
    // One without data would be in its place again and again.
    if (data.length === 0) return [];
    fragment.parts.push(data);
    fragment.length += data.length;
    if (fragment.length < fragment.frameLength) return [];
    if (fragment.length > fragment.frameLength) {
      throw new InvalidDataError(
        `Cannot put an MPEG audio frame together: its length is ${fragment.frameLength}, ` +
          `${fragment.length} bytes have come`,
      );
    }
    this.#fragment = undefined;
    return [{ timestamp, parts: [concat(fragment.parts)] }];
  }

  /** The frames of `data`, the last of which may be the beginning of one. */
  #split(timestamp: number, data: Uint8Array): readonly RtpUnit[] {
    const units: RtpUnit[] = [];
    let seconds = 0;
    for (let at = 0; at < data.length;) {
      const { frameLength, samplesPerFrame, sampleRate } = parseMp3Header(data.subarray(at));
      const frame = data.subarray(at, at + frameLength);
      const ticks = Math.round(seconds * this.#clockRate);
      const moment = (timestamp + ticks) >>> 0;
      if (frame.length === frameLength) {
        units.push({ timestamp: moment, parts: [frame] });
      } else if (at === 0) {
        this.#fragment = { timestamp, frameLength, parts: [frame], length: frame.length };
      } else {
        throw new InvalidDataError(
          `Cannot split MPEG audio frames: the length at offset ${at} is ${frameLength}, ` +
            `${frame.length} bytes remain`,
        );
      }
      seconds += samplesPerFrame / sampleRate;
      at += frameLength;
    }
    return units;
  }
}

/** Puts MPEG audio frames into packets of up to `maxPayloadBytes`: one each, or fragments. */
export class Mp3Packetizer implements Packetizer {
  readonly #maxDataBytes: number;

  /**
   * A packetizer for payloads of up to `maxPayloadBytes`.
   *
   * @throws {RangeError} If `maxPayloadBytes` is not a whole number from 8 on: the first fragment has
   * the whole frame header.
   */
  constructor(options: PacketizerOptions) {
    this.#maxDataBytes = payloadBytes(options, HEADER_BYTES + FRAME_HEADER_BYTES) - HEADER_BYTES;
  }

  /**
   * The payloads of a frame.
   *
   * @throws {InvalidDataError} If the frame is over 65 535 bytes, which no frame with a header is.
   */
  packetize({ data }: PacketizedFrame): RtpPayload[] {
    if (data.length > MAX_FRAME_BYTES) {
      throw new InvalidDataError(`Cannot packetize MP3: the frame is ${data.length} bytes`);
    }
    const payloads: RtpPayload[] = [];
    for (let at = 0; at < data.length; at += this.#maxDataBytes) {
      const parts = [Uint8Array.of(0, 0, at >> 8, at), data.subarray(at, at + this.#maxDataBytes)];
      payloads.push({ parts, marker: false });
    }
    return payloads;
  }
}
