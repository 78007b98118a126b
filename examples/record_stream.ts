/** Records a stream into an FLV file: one `pipeTo`. */

import { type Engine, flvFormat } from "@m7s/engine";

/**
 * Records the stream at `path` into `file` until it ends or `signal` is aborted.
 *
 * The mode `record` never drops a frame; it would rather fail, with a `LaggedError`.
 */
export async function recordStream(
  engine: Engine,
  path: string,
  options: { readonly file: string | URL; readonly signal?: AbortSignal },
): Promise<void> {
  const { file, signal } = options;
  const subscriber = await engine.subscribe(path, { type: "Record", id: String(file) });
  const bytes = await subscriber.mux(flvFormat, { mode: "record" });
  const { writable } = await Deno.create(file);
  try {
    await bytes.pipeTo(writable, signal && { signal });
  } finally {
    subscriber.close();
  }
}
