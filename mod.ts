/**
 * A streaming engine on web-standard streams.
 *
 * The {@linkcode Engine} holds streams of video, audio and data tracks. Publishers write through
 * `WritableStream` sinks or plain calls, each subscriber reads a `ReadableStream` of its own over
 * the same ring. Protocols are {@linkcode Plugins}.
 *
 * @module
 */

export * from "./src/codecs/config.ts";
export * from "./src/config.ts";
export { type Cursor, type ReadMode, type ReadOptions } from "./src/cursor.ts";
export * from "./src/engine.ts";
export * from "./src/errors.ts";
export { FLUSH_INTERVALS_MS } from "./src/flush.ts";
export * from "./src/flv.ts";
export * from "./src/flv_ingest.ts";
export * from "./src/frame.ts";
export * from "./src/fmp4.ts";
export type { Guard, GuardOptions, GuardRequest } from "./src/guards.ts";
export * from "./src/ingest.ts";
export * from "./src/isolate_hub.ts";
export * from "./src/isolate_member.ts";
export * from "./src/isolate_supervisor.ts";
export * from "./src/isolates.ts";
export { type LogEntry, type Logger, LogHistory } from "./src/log.ts";
export { carried } from "./src/mux.ts";
export type { Batch, Format, FormatFactory, FormatTracks } from "./src/mux.ts";
export type { MuxReadOptions, Wrapping } from "./src/mux.ts";
export * from "./src/mpegts.ts";
export type { EngineConfig, EngineOptions } from "./src/options.ts";
export { parseTarget, type StreamTarget } from "./src/path.ts";
export * from "./src/plugin.ts";
export * from "./src/publisher.ts";
export { Ring, type RingItem, type RingOptions } from "./src/ring.ts";
export type { RtpFormat } from "./src/rtp/format.ts";
export type { InterleavedPacket, RtpStart } from "./src/rtp/interleaved.ts";
export * from "./src/rtp_format.ts";
export * from "./src/rtp_receiver.ts";
export * from "./src/service.ts";
export * from "./src/stream.ts";
export * from "./src/subscriber.ts";
export * from "./src/track.ts";
