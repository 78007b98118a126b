/** Streams of H.264 and AAC made by hand, published into a server, for tests of what plays them. */

import type { Engine } from "../../src/engine.ts";
import type { Publisher } from "../../src/publisher.ts";
import { audioBody, audioHeader, frameBody, videoBody, videoHeader } from "./frames.ts";

/** Publishes `path` with the tracks that are asked for, both if nothing is said, and no frame yet. */
export async function publish(
  { engine }: { readonly engine: Engine },
  path: string,
  tracks: { video?: boolean; audio?: boolean } = {},
): Promise<Publisher> {
  const publisher = await engine.publish(path, { type: "Test" });
  if (tracks.video ?? true) publisher.video.pushByteStream(0, videoHeader());
  if (tracks.audio ?? true) publisher.audio.pushByteStream(0, audioHeader());
  publisher.completeTracks();
  return publisher;
}

/** Pushes a frame of each kind. */
export function push(publisher: Publisher, ms: number, key = false): void {
  publisher.video.pushByteStream(ms, videoBody(key, ms / 40, 80));
  publisher.audio.pushByteStream(ms, audioBody(ms / 40));
}

/** The body of a large frame; every `gopMs` one is a key. */
export function largeFrame(ms: number, gopMs: number): Uint8Array {
  const data = new Uint8Array(65_536);
  const key = ms % gopMs === 0;
  new DataView(data.buffer).setUint32(0, data.length - 4);
  data[4] = key ? 0x65 : 0x41;
  return frameBody("avc1", data, { key });
}
