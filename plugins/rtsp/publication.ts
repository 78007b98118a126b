/** Publishing a stream over RTSP: what was announced, and its packets on their way into it. */

import type { End } from "../../src/errors.ts";
import type { Publisher } from "../../src/publisher.ts";
import type { MediaDescription } from "../../src/rtp/sdp.ts";
import type { Links } from "./links.ts";
import { Receiving } from "./receiving.ts";
import type { PacketKind } from "./udp.ts";
import { findControl } from "./url.ts";

/** What a client has announced. */
export interface Announcement {
  /** URL of the request. */
  readonly url: string;
  /** Its media, by number of the track. */
  readonly media: readonly MediaDescription[];
}

/** What a session publishes. */
export class Publication {
  readonly #publisher: Publisher;
  readonly #announcement: Announcement;
  #receiving: Receiving | undefined;
  #paused = false;
  #left = false;

  /** Over `publisher`; `onEnd` is called if it is ended by others than this object. */
  constructor(publisher: Publisher, announcement: Announcement, onEnd: (end: End) => void) {
    this.#publisher = publisher;
    this.#announcement = announcement;
    publisher.closed.then((end) => {
      if (!this.#left) onEnd(end);
      this.#receiving?.end();
    });
  }

  /** Path of the stream. */
  get path(): string {
    return this.#publisher.stream.path;
  }

  /** Whether it has begun to take packets. */
  get recording(): boolean {
    return this.#receiving !== undefined;
  }

  /** Whether packets are taken now. */
  get taking(): boolean {
    return this.recording && !this.#paused;
  }

  /** Number of the track that the URL of a request means; −1 for none of them. */
  find(url: string): number {
    const { media, url: base } = this.#announcement;
    return findControl(url, base, media.map(({ control }) => control));
  }

  /**
   * Takes packets from now on.
   *
   * @throws {InvalidDataError} If the parameters of a format are malformed.
   */
  record(links: Links, reorder: boolean): void {
    const { media } = this.#announcement;
    this.#receiving ??= new Receiving(this.#publisher, { media, links, reorder });
    this.#paused = false;
  }

  /** Takes none until it records again. */
  pause(): void {
    this.#paused = true;
  }

  /** Takes a packet; those before and after its time do nothing. */
  push(track: number, kind: PacketKind, bytes: Uint8Array): void {
    if (!this.#paused) this.#receiving?.push(track, kind, bytes);
  }

  /** Ends the stream in good order. */
  close(): void {
    this.#left = true;
    this.#receiving?.end();
    this.#publisher.close("unpublished");
  }

  /** Ends it as one whose connection broke, or who sent what cannot be understood: `error`. */
  lose(detail: string, error?: unknown): void {
    // One that has sent nothing has nothing to come back to.
    if (this.#receiving === undefined || this.#receiving.goodbye) return this.close();
    this.#left = true;
    this.#receiving.end();
    if (error === undefined) this.#publisher.lose(detail);
    else this.#publisher.fail(error);
  }
}
