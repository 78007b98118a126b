/** Formats, without a mux. */

import { concat } from "../../src/bytes.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { Format } from "../../src/mux.ts";

/** The bytes of `frame` in one piece. */
export function writeFrame(format: Format, frame: MediaFrame, durationUs?: number): Uint8Array {
  const bytes = format.write(frame, durationUs);
  return bytes instanceof Uint8Array ? bytes : concat(bytes);
}
