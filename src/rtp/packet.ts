/** RTP packets (RFC 3550 5.1) and their header extensions (RFC 8285). */

/** An RTP packet. */
export interface RtpPacket {
  /** Payload type: 7 bits. */
  readonly payloadType: number;
  /** Marker bit; what it says is up to the payload format. */
  readonly marker: boolean;
  /** Sequence number: 16 bits, wrapping around. */
  readonly sequence: number;
  /** Timestamp in ticks of the payload format's clock: 32 bits, wrapping around. */
  readonly timestamp: number;
  /** Synchronisation source: 32 bits. */
  readonly ssrc: number;
  /** Contributing sources, 32 bits each, at most 15. @default {none} */
  readonly csrcs?: readonly number[];
  /** Header extension. @default {none} */
  readonly extension?: RtpExtension | undefined;
  /** What it carries, without padding. */
  readonly payload: Uint8Array;
}

/** A header extension in its general form. */
export interface RtpExtension {
  /** The 16 bits defined by the profile: 0xbede for one-byte, 0x1000 to 0x100f for two-byte elements. */
  readonly profile: number;
  /** Its bytes, a multiple of 4 of them. */
  readonly data: Uint8Array;
}
