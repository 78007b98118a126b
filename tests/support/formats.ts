/** Formats, without a mux. */

import type { MediaFrame } from "../../src/frame.ts";
import type { Format } from "../../src/mux.ts";

/** The bytes of `frame` in one piece. */
export function writeFrame(format: Format, frame: MediaFrame, durationUs?: number): Uint8Array {
  const piece = format.write(frame, durationUs);
  if (piece instanceof Uint8Array) return piece;
  const bytes = new Uint8Array(piece.length);
  piece.copyTo(bytes, 0);
  return bytes;
}
