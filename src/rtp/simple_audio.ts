/** Audio of which a packet holds one whole frame: Opus (RFC 7587) and G.711 (RFC 3551 4.5.14). */

import { opusDuration } from "../codecs/opus.ts";
import { InvalidDataError } from "../errors.ts";
import type { RtpFormat } from "./format.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, PacketizedFrame, Packetizer, RtpPayload, RtpUnit } from "./payload.ts";

/** Takes Opus packets out of RTP packets: one each (RFC 7587 4.2). */
export class OpusDepacketizer implements Depacketizer {
  #sequence = -1;
  #dropped = 0;

  /** Malformed packets. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Takes the next packet: its frame; none if it carries nothing or is the last one again.
   *
   * @throws {InvalidDataError} If its payload is no Opus packet.
   */
  push({ sequence, timestamp, payload }: RtpPacket): readonly RtpUnit[] {
    if (payload.length === 0 || sequence === this.#sequence) return [];
    this.#sequence = sequence;
    try {
      opusDuration(payload);
    } catch (error) {
      this.#dropped++;
      throw error;
    }
    return [{ timestamp, parts: [payload] }];
  }

  /** Does nothing: no frame spans packets. */
  lose(): void {}

  /** Nothing: no frame spans packets. */
  flush(): readonly RtpUnit[] {
    return [];
  }
}

/** Takes G.711 samples out of RTP packets: those of a packet are a frame (RFC 3551 4.5.14). */
export class G711Depacketizer implements Depacketizer {
  readonly #channels: number;
  #sequence = -1;
  #dropped = 0;

  /** A depacketizer for A-law or µ-law of a format's channels. */
  constructor(format: RtpFormat) {
    this.#channels = format.channels ?? 1;
  }

  /** Malformed packets. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Takes the next packet: its samples; nothing if it has none or is the last one again.
   *
   * @throws {InvalidDataError} If its channels have not the same number of samples.
   */
  push({ sequence, timestamp, payload }: RtpPacket): readonly RtpUnit[] {
    if (payload.length === 0 || sequence === this.#sequence) return [];
    this.#sequence = sequence;
    if (payload.length % this.#channels !== 0) {
      this.#dropped++;
      throw new InvalidDataError(
        `Cannot take G.711 samples: ${payload.length} are for ${this.#channels} channels`,
      );
    }
    return [{ timestamp, parts: [payload] }];
  }

  /** Does nothing: no frame spans packets. */
  lose(): void {}

  /** Nothing: no frame spans packets. */
  flush(): readonly RtpUnit[] {
    return [];
  }
}

/**
 * Puts each frame of Opus or G.711 into a packet, however long: Opus can't be cut (RFC 7587 4.2), and
 * samples behind a cut would need another timestamp.
 */
export class SimpleAudioPacketizer implements Packetizer {
  /** The payload of a frame. */
  packetize({ data }: PacketizedFrame): RtpPayload[] {
    return [{ parts: [data], marker: false }];
  }
}
