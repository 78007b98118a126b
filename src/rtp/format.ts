/** Payload formats as session descriptions name them (RFC 8866 6.6, rtpmap and fmtp). */

/** What a receiver must know of a payload type. */
export interface RtpFormat {
  /** 7 bits, in the packets' headers. */
  readonly payloadType: number;
  /** Encoding name in the case of its registration, such as `H264` or `mpeg4-generic`. */
  readonly encoding: string;
  /** Ticks of the RTP timestamp per second. */
  readonly clockRate: number;
  /** Audio channels. @default {1} */
  readonly channels?: number;
  /** Format parameters (fmtp), their names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}
