/** Frames that span packets of one timestamp, of which the last has the marker bit. */

import { InvalidDataError } from "../errors.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, RtpUnit } from "./payload.ts";

/** Most bytes of a frame: what an RTMP message may have, and far over a key frame of 4K video. */
const MAX_FRAME_BYTES = 8 << 20;

/** Most packets of a frame: 512 bytes each fill the bytes; smaller ones would cost more than they hold. */
const MAX_FRAME_PACKETS = 16_384;

/** How a payload format puts a frame together. */
export interface FrameReader {
  /** Whether the frame is whole, though no marker bit has ended it. @default {false} */
  readonly whole?: boolean;
  /**
   * Begins a frame: whether `packet` can be its first. `certain` says that none is missing before it;
   * otherwise the reader must tell by the payload, or by the whole frame in the end.
   *
   * @throws {InvalidDataError} If the payload is malformed.
   */
  begin(packet: RtpPacket, certain: boolean): boolean;
  /**
   * Takes the payload of the frame's next packet, the first included.
   *
   * @throws {InvalidDataError} If it is malformed.
   */
  add(payload: Uint8Array): void;
  /**
   * Ends the frame: what it has become, nothing if it is not whole. `marked` says that a marker bit has
   * ended it, and not the next timestamp.
   *
   * @throws {InvalidDataError} If it is malformed.
   */
  end(timestamp: number, marked: boolean): readonly RtpUnit[] | undefined;
}

/**
 * A depacketizer of frames that end at the marker bit, or where the timestamp changes (RFC 3550 5.1).
 *
 * It keeps one frame at most, of 8 MiB in 16 384 packets.
 */
export class MarkedFrames implements Depacketizer {
  readonly #reader: FrameReader;
  /** Timestamp of the frame in hand, a broken one included. */
  #timestamp: number | undefined;
  #broken = false;
  #bytes = 0;
  #packets = 0;
  #dropped = 0;
  /** Whether packets are missing before the next one; also the sender may be under way already. */
  #lost = true;
  #sequence: number | undefined;
  /** Whether the sender marks the ends of frames, as that of the last one shows. */
  #marks = false;
  /** Frames ended, but not handed out yet: those before a malformed packet. */
  #units: RtpUnit[] = [];

  /** A depacketizer of the frames that `reader` puts together. */
  constructor(reader: FrameReader) {
    this.#reader = reader;
  }

  /** Frames dropped because a part of them was lost or malformed. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Takes the next packet: the frames that end with it, or before it; the last one again gives none.
   *
   * @throws {InvalidDataError} If its payload is malformed; the frame that it belongs to is dropped.
   */
  push(packet: RtpPacket): readonly RtpUnit[] {
    const distance = (packet.sequence - (this.#sequence ?? packet.sequence - 1)) & 0xffff;
    if (distance === 0) return this.#take();
    if (distance !== 1) this.lose();
    const certain = !this.#lost || (distance === 2 && this.#lacksOnlyEnd(packet.timestamp));
    this.#lost = false;
    this.#sequence = packet.sequence;
    // Senders keep paths open, and probe them, with packets that carry nothing (RFC 6263 4.1).
    if (packet.payload.length > 0) {
      if (this.#timestamp !== packet.timestamp) this.#endUnmarked();
      try {
        this.#add(packet, certain);
      } catch (error) {
        this.#break();
        throw error;
      } finally {
        if (packet.marker) {
          this.#timestamp = undefined;
          this.#marks = true;
        }
      }
    }
    return this.#take();
  }

  /** Says that packets are missing before the next one: the frame that they break is dropped. */
  lose(): void {
    this.#lost = true;
    this.#break();
  }

  /** The frame at the end of all packets, if it is whole though nothing has marked its end. */
  flush(): readonly RtpUnit[] {
    this.#endUnmarked();
    return this.#take();
  }

  /** Whether the one packet that is missing before another frame's is the end of the one in hand. */
  #lacksOnlyEnd(timestamp: number): boolean {
    return this.#marks && this.#timestamp !== undefined && this.#timestamp !== timestamp;
  }

  #add(packet: RtpPacket, certain: boolean): void {
    if (this.#timestamp === undefined) {
      this.#timestamp = packet.timestamp;
      this.#broken = false;
      this.#bytes = 0;
      this.#packets = 0;
      if (!this.#reader.begin(packet, certain)) this.#break();
    }
    if (this.#broken) return;
    this.#bytes += packet.payload.length;
    this.#packets++;
    if (this.#bytes > MAX_FRAME_BYTES || this.#packets > MAX_FRAME_PACKETS) {
      throw new InvalidDataError(
        `Cannot put a frame together: its length is ${this.#bytes} bytes in ${this.#packets} packets`,
      );
    }
    this.#reader.add(packet.payload);
    if (!packet.marker && this.#reader.whole !== true) return;
    this.#end(packet.timestamp, packet.marker);
    this.#timestamp = undefined;
  }

  #endUnmarked(): void {
    if (this.#timestamp === undefined) return;
    if (!this.#broken) this.#marks = false;
    try {
      if (!this.#broken) this.#end(this.#timestamp, false);
    } catch (error) {
      // The packet at hand is none of the frame's, so that it is not to blame.
      if (!(error instanceof InvalidDataError)) throw error;
      this.#break();
    }
    this.#timestamp = undefined;
  }

  #end(timestamp: number, marked: boolean): void {
    const units = this.#reader.end(timestamp, marked);
    if (units === undefined) this.#break();
    else this.#units.push(...units);
  }

  /** Drops the frame in hand; its other packets are known by their timestamp. */
  #break(): void {
    if (this.#timestamp === undefined || this.#broken) return;
    this.#broken = true;
    this.#dropped++;
  }

  #take(): readonly RtpUnit[] {
    const units = this.#units;
    this.#units = [];
    return units;
  }
}
