/** RTMP messages in chunks as a format of muxes, so that players share their bytes. */

import { concat } from "../../src/bytes.ts";
import {
  flvHeaderMessages,
  type FlvMessageType,
  FlvPrefixes,
  flvTimestamp,
} from "../../src/flv.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { FormatFactory } from "../../src/mux.ts";
import { ChunkWriter, type MessageKind, writeMessage } from "./chunk_writer.ts";
import { MessageType } from "./message.ts";

/** The chunk stream that data messages go out on. */
export const DATA_CHUNK_STREAM = 4;

/** Chunk streams by message type: each kind its own, so that none is held up by another. */
const CHUNK_STREAMS: Readonly<Record<FlvMessageType, number>> = {
  [MessageType.dataAmf0]: DATA_CHUNK_STREAM,
  [MessageType.audio]: 5,
  [MessageType.video]: 6,
};

/** What the bytes of a player depend on. */
export interface PlayFormatOptions {
  /** Message stream that the player made. */
  readonly streamId: number;
  /** Payload bytes a chunk. */
  readonly chunkSize: number;
}

/** A source of {@linkcode FormatFactory}s: the same one for the same options. */
export function playFormats(): (options: PlayFormatOptions) => FormatFactory {
  const formats = new Map<string, FormatFactory>();
  return (options) => {
    const key = `${options.streamId} ${options.chunkSize}`;
    let format = formats.get(key);
    if (format === undefined) formats.set(key, format = playFormat(options));
    return format;
  };
}

function playFormat({ streamId, chunkSize }: PlayFormatOptions): FormatFactory {
  const kindOf = (type: FlvMessageType): MessageKind => ({
    type,
    streamId,
    chunkStreamId: CHUNK_STREAMS[type],
  });
  const video = new ChunkWriter(kindOf(MessageType.video), chunkSize);
  const audio = new ChunkWriter(kindOf(MessageType.audio), chunkSize);
  const writerOf = ({ kind }: MediaFrame) => kind === "video" ? video : audio;
  return () => {
    let lastMs = 0;
    const prefixes = new FlvPrefixes();
    return {
      header(tracks, at) {
        const timestampMs = at === "start" ? 0 : lastMs;
        return concat(
          flvHeaderMessages(tracks).map(({ type, body }) =>
            writeMessage({ ...kindOf(type), timestampMs, payload: [body] }, chunkSize)
          ),
        );
      },
      write(frame) {
        lastMs = flvTimestamp(frame.dts);
        return writerOf(frame).lengthOf(lastMs, prefixes.of(frame).length + frame.data.length);
      },
      copyTo(frame, target, at) {
        const { dts, data } = frame;
        const message = { timestampMs: flvTimestamp(dts), prefix: prefixes.of(frame), data };
        writerOf(frame).write(target, at, message);
      },
    };
  };
}
