/** MPEG-TS as a format of muxes (ISO/IEC 13818-1). */

import { concat } from "./bytes.ts";
import { TsMuxer } from "./formats/mpegts.ts";
import type { Format } from "./mux.ts";

/**
 * A transport stream without an end, its tables at the start and before each keyframe. What it
 * carries, {@linkcode TsMuxer} says.
 *
 * To a viewer that comes later, the counters of the table's two PIDs jump once between the start and
 * its first keyframe; as each table is whole in its packet, nothing is lost by that.
 */
export function mpegts(): Format {
  const muxer = new TsMuxer();
  let tables: Uint8Array | undefined;
  return {
    header(tracks) {
      if (muxer.configure(tracks)) tables = undefined;
      // The start and the change of one announcement are the same packets to different viewers.
      return tables ??= muxer.tables();
    },
    write(frame) {
      tables = undefined;
      const packets = muxer.writeFrame(frame);
      const starts = frame.kind === "video" && frame.key && packets.length > 0;
      return starts ? concat([muxer.tables(), packets]) : packets;
    },
  };
}
