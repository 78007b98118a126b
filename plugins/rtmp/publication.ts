/** Publishing a stream over RTMP: messages on their way into a publisher. */

import type { End } from "../../src/errors.ts";
import { FlvIngest } from "../../src/flv_ingest.ts";
import type { Publisher } from "../../src/publisher.ts";
import { MessageType, type RtmpMessage } from "./message.ts";

/** What a session has published on one of its message streams. */
export class Publication {
  readonly #publisher: Publisher;
  readonly #ingest: FlvIngest;
  #left = false;

  /** Over `publisher`; `onEnd` is called if it is ended by others than this object. */
  constructor(publisher: Publisher, onEnd: (end: End) => void) {
    this.#publisher = publisher;
    this.#ingest = new FlvIngest(publisher);
    publisher.closed.then((end) => {
      if (!this.#left) onEnd(end);
    });
  }

  /** Path of the stream. */
  get path(): string {
    return this.#publisher.stream.path;
  }

  /**
   * Takes an audio, video or data message; others and those that come late do nothing.
   *
   * @throws {InvalidDataError} If it is malformed.
   */
  push({ type, timestampMs, payload }: RtmpMessage): void {
    if (this.#publisher.end !== undefined) return;
    switch (type) {
      case MessageType.audio:
      case MessageType.video:
      case MessageType.dataAmf0:
        return this.#ingest.push(type, timestampMs, payload);
      case MessageType.dataAmf3:
        // AMF0 values behind a byte that says so; one that is AMF3 is marked as such itself.
        return this.#ingest.push(
          MessageType.dataAmf0,
          timestampMs,
          payload[0] === 0 ? payload.subarray(1) : payload,
        );
    }
  }

  /** Ends the stream in good order. */
  close(): void {
    this.#left = true;
    this.#publisher.close("unpublished");
  }

  /** Ends it as one whose connection broke, or who sent what cannot be understood: `error`. */
  lose(detail: string, error?: unknown): void {
    this.#left = true;
    if (error === undefined) this.#publisher.lose(detail);
    else this.#publisher.fail(error);
  }
}
