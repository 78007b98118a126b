/** Formats whose bytes are whole WebSocket messages, made once for all viewers. */

import { concat } from "../../src/bytes.ts";
import { carried, type FormatFactory, type FormatTracks } from "../../src/mux.ts";
import { frameHead, OPCODES, webSocketFrame } from "../websocket_frames.ts";

/**
 * The format `create` as binary WebSocket messages: one an announcement, one for the frames that
 * leave together. What `announce` says of the tracks goes as text before each announcement.
 */
export function messageFormat(
  create: FormatFactory,
  announce?: (tracks: FormatTracks) => string,
): FormatFactory {
  return () => {
    const format = create();
    return carried(format, {
      header(tracks, at) {
        const header = format.header(tracks, at);
        if (header.length === 0) return header;
        const text = announce && webSocketFrame(OPCODES.text, announce(tracks));
        return concat([...(text ? [text] : []), webSocketFrame(OPCODES.binary, header)]);
      },
      wrap: (length) => ({ before: frameHead(OPCODES.binary, length), after: NOTHING }),
    });
  };
}

const NOTHING = new Uint8Array();
