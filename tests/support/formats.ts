/** Formats, without a mux. */

import type { MediaFrame } from "../../src/frame.ts";
import type { Format } from "../../src/mux.ts";

/** The bytes of `frame` in one piece. */
export function writeFrame(format: Format, frame: MediaFrame, durationUs?: number): Uint8Array {
  const written = format.write(frame, durationUs);
  if (typeof written !== "number") return written;
  const bytes = new Uint8Array(written);
  format.copyTo?.(frame, bytes, 0);
  return bytes;
}
