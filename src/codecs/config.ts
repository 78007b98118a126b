/** Decoder configurations, shaped like those of WebCodecs. */

/**
 * What a video decoder must know before its first frame (WebCodecs `VideoDecoderConfig`).
 *
 * A changed configuration is a new object, so readers compare by identity.
 */
export interface VideoConfig {
  /** The kind of track that it configures. */
  readonly kind: "video";
  /**
   * FourCC of the codec as in Enhanced RTMP v2: `avc1`, `hvc1`, `av01`, `vp09`; others pass through
   * unparsed.
   */
  readonly fourcc: string;
  /** Codec string (RFC 6381), such as `avc1.64001f`; the FourCC where nothing more is known. */
  readonly codec: string;
  /** avcC, hvcC, av1C or vpcC record (ISO/IEC 14496-15, AV1-ISOBMFF, VP-codec-ISOBMFF), unboxed. */
  readonly description?: Uint8Array;
  /** Width in pixels after cropping. */
  readonly codedWidth?: number;
  /** Height in pixels after cropping. */
  readonly codedHeight?: number;
  /** Frames per second as the bitstream declares them. */
  readonly frameRate?: number;
}

/** What an audio decoder must know before its first frame (WebCodecs `AudioDecoderConfig`). */
export interface AudioConfig {
  /** The kind of track that it configures. */
  readonly kind: "audio";
  /**
   * FourCC of the codec as in Enhanced RTMP v2: `mp4a`, `Opus`, `.mp3`; `alaw` and `ulaw` (as in
   * QuickTime) for G.711; others pass through unparsed.
   */
  readonly fourcc: string;
  /** Codec string (RFC 6381), such as `mp4a.40.2`, `opus`, `alaw`, `ulaw`, `mp3`. */
  readonly codec: string;
  /** AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1) or OpusHead (RFC 7845 5.1). */
  readonly description?: Uint8Array;
  /** Samples per second at the decoder's output. */
  readonly sampleRate: number;
  /** Channels at the decoder's output. */
  readonly numberOfChannels: number;
}
