/** RTP payload formats: how the frames of a codec lie in packets, as a pair of writer and reader. */

import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import type { RtpPacket } from "./packet.ts";

/** A frame that a {@linkcode Depacketizer} has put together. */
export interface RtpUnit {
  /** RTP timestamp of its presentation: 32 bits, in ticks of the payload format's clock. */
  readonly timestamp: number;
  /**
   * NAL units without lengths or start codes (H.264, H.265), or one part that holds a temporal unit
   * of OBUs with sizes (AV1), a frame (VP9) or a raw audio frame.
   */
  readonly parts: readonly Uint8Array[];
}

/** Puts frames together from packets that come in order. */
export interface Depacketizer {
  /** Frames dropped because a part of them was lost or malformed. */
  readonly dropped: number;
  /**
   * Takes the next packet: the frames that end with it, or before it. Their parts may be views on
   * its payload.
   *
   * @throws {InvalidDataError} If its payload is malformed; the frame that it belongs to is dropped.
   */
  push(packet: RtpPacket): readonly RtpUnit[];
  /** Says that packets are missing before the next one: the frame that they break is dropped. */
  lose(): void;
  /** The frame at the end of all packets, if it is whole though nothing has marked its end. */
  flush(): readonly RtpUnit[];
}

/** The payload of one packet. */
export interface RtpPayload {
  /** Its bytes in parts, which may be views on the frame. */
  readonly parts: readonly Uint8Array[];
  /** Whether the packet carries the marker bit. */
  readonly marker: boolean;
}

/** What a {@linkcode Packetizer} must know of a frame; the engine's `MediaFrame` is one. */
export interface PacketizedFrame {
  /** Whether a decoder can start here. */
  readonly key: boolean;
  /** The decoder configuration in force. */
  readonly config: VideoConfig | AudioConfig;
  /** NAL units with 4-byte lengths (H.264, H.265), OBUs (AV1), else as the codec has it. */
  readonly data: Uint8Array;
}

/** Cuts frames into payloads. */
export interface Packetizer {
  /** The payloads of the packets of `frame`, in order. */
  packetize(frame: PacketizedFrame): RtpPayload[];
}
