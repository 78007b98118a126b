/** Formats whose bytes are whole WebSocket messages, made once for all viewers. */

import { Buffer } from "node:buffer";
import { concat } from "../../src/bytes.ts";
import type { FormatFactory, FormatTracks } from "../../src/mux.ts";
import { frameHead, joinBinary, OPCODES, webSocketFrame } from "../websocket_frames.ts";

/**
 * The format `create` as binary WebSocket messages: one an announcement, one a frame. What `announce`
 * says of the tracks goes as text before each announcement.
 */
export function messageFormat(
  create: FormatFactory,
  announce?: (tracks: FormatTracks) => string,
): FormatFactory {
  return () => {
    const format = create();
    return {
      needsDuration: format.needsDuration ?? false,
      header(tracks, at) {
        const header = format.header(tracks, at);
        if (header.length === 0) return header;
        const text = announce && webSocketFrame(OPCODES.text, announce(tracks));
        return concat([...(text ? [text] : []), webSocketFrame(OPCODES.binary, header)]);
      },
      write(frame, durationUs) {
        const written = format.write(frame, durationUs);
        const parts = written instanceof Uint8Array ? [written] : written;
        const length = parts.reduce((sum, part) => sum + part.length, 0);
        return length === 0 ? [] : [frameHead(OPCODES.binary, length), ...parts];
      },
    };
  };
}

/**
 * Batches of a {@linkcode messageFormat} as they go over the wire: frames that go out together are
 * one message. Viewers who get the same batch one after the other share what is made of it.
 */
export class WireBatches {
  #batch: Uint8Array | undefined;
  #wire = Buffer.alloc(0);

  /** What is sent of `batch`. */
  of(batch: Uint8Array): Buffer {
    if (batch !== this.#batch) {
      const { buffer, byteOffset, length } = joinBinary(batch);
      this.#batch = batch;
      this.#wire = Buffer.from(buffer as ArrayBuffer, byteOffset, length);
    }
    return this.#wire;
  }
}
