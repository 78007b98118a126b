/** RTMP messages, as they are before and after they travel in chunks (RTMP 1.0 6). */

/** Message type ids (RTMP 1.0 5.4, 6.2 and 7.1). */
export const MessageType = {
  setChunkSize: 1,
  abort: 2,
  acknowledgement: 3,
  userControl: 4,
  windowAckSize: 5,
  setPeerBandwidth: 6,
  audio: 8,
  video: 9,
  dataAmf3: 15,
  sharedObjectAmf3: 16,
  commandAmf3: 17,
  dataAmf0: 18,
  sharedObjectAmf0: 19,
  commandAmf0: 20,
  aggregate: 22,
} as const;

/** The chunk stream of protocol control messages (5.4). */
export const CONTROL_CHUNK_STREAM = 2;

/** One RTMP message. */
export interface RtmpMessage {
  /** What the payload is; one of {@linkcode MessageType} if it is known. */
  readonly type: number;
  /** Message stream id, 0 for what concerns the connection. */
  readonly streamId: number;
  /** Absolute time in milliseconds: 32 bits, which wrap around. */
  readonly timestampMs: number;
  /** Chunk stream that it came on. */
  readonly chunkStreamId: number;
  /** Its bytes. They may be a view on the chunk that they came in. */
  readonly payload: Uint8Array;
}

/** A message to be sent; its payload is what `payload` holds, one after the other. */
export interface OutgoingMessage extends Omit<RtmpMessage, "payload"> {
  /** Its bytes in any number of parts. */
  readonly payload: readonly Uint8Array[];
}
