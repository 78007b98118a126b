/** RTMP chunk streams: two seconds of messages taken apart, and one message put together. */

import { ChunkReader } from "../plugins/rtmp/chunk.ts";
import { writeMessage } from "../plugins/rtmp/chunk_writer.ts";
import {
  CONTROL_CHUNK_STREAM,
  MessageType,
  type OutgoingMessage,
} from "../plugins/rtmp/message.ts";
import { concat } from "../src/bytes.ts";
import { FlvPrefixes } from "../src/flv.ts";
import type { MediaFrame } from "../src/frame.ts";
import { audioFrame, clip, FRAME_BYTES, videoFrame } from "./frames.ts";

const CHUNK_SIZES = [128, 4_096, 65_536];

/** A full read of a socket, and one packet of a network. */
const PIECE_SIZES = [65_536, 1_448];

function messageOf(frame: MediaFrame): OutgoingMessage {
  return {
    type: frame.kind === "video" ? MessageType.video : MessageType.audio,
    streamId: 1,
    timestampMs: Math.round(frame.dts / 1000),
    chunkStreamId: frame.kind === "video" ? 6 : 4,
    payload: [new FlvPrefixes().of(frame), frame.data],
  };
}

function setChunkSize(size: number): Uint8Array {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, size);
  return writeMessage({
    type: MessageType.setChunkSize,
    streamId: 0,
    timestampMs: 0,
    chunkStreamId: CONTROL_CHUNK_STREAM,
    payload: [payload],
  }, 128);
}

/** `bytes` in pieces with buffers of their own, as sockets give them. */
function pieces(bytes: Uint8Array, size: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
  return pieces;
}

for (const chunkSize of CHUNK_SIZES) {
  const messages = clip(2_000_000).map((frame) => writeMessage(messageOf(frame), chunkSize));
  const bytes = concat([setChunkSize(chunkSize), ...messages]);
  for (const pieceSize of PIECE_SIZES) {
    const received = pieces(bytes, pieceSize);
    Deno.bench({
      group: `RTMP parse, chunks of ${chunkSize}`,
      name: `RTMP parse: ${bytes.length} B, chunks of ${chunkSize}, reads of ${pieceSize}`,
      fn() {
        const reader = new ChunkReader();
        let count = 0;
        for (const piece of received) {
          reader.feed(piece);
          while (reader.next()) count++;
        }
        if (count !== messages.length) throw new Error(`Cannot parse: ${count} messages came out`);
      },
    });
  }
}

const MESSAGES = {
  audio: messageOf(audioFrame(1)),
  inter: messageOf(videoFrame(1)),
  key: messageOf(videoFrame(0)),
};

for (const [name, message] of Object.entries(MESSAGES)) {
  const length = FRAME_BYTES[name as keyof typeof MESSAGES];
  for (const chunkSize of CHUNK_SIZES) {
    Deno.bench({
      group: `RTMP write, ${name}`,
      name: `RTMP write: ${name}, ${length} B, chunks of ${chunkSize}`,
      fn: () => void writeMessage(message, chunkSize),
    });
  }
}
