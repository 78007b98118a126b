/** AAC in RTP as a LATM multiplex, MP4A-LATM (RFC 6416 6). */

import { concat, equalBytes } from "../bytes.ts";
import type { AudioConfig } from "../codecs/config.ts";
import { InvalidDataError } from "../errors.ts";
import { hexOf } from "./aac_layout.ts";
import type { RtpFormat } from "./format.ts";
import { type MuxElement, parseStreamMux, readMuxElement, type StreamMux } from "./latm_mux.ts";
import { type FrameReader, MarkedFrames } from "./marked_frames.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, RtpUnit } from "./payload.ts";

/**
 * Takes access units out of AudioMuxElements, of which each fills a packet or several.
 *
 * Behind lost packets an element is taken only if it ends with its last packet to the byte, as nothing
 * else tells whether its first packet is there.
 */
export class LatmDepacketizer implements Depacketizer {
  readonly #elements: ElementReader;
  readonly #frames: MarkedFrames;

  /**
   * A depacketizer for what `format` declares.
   *
   * @throws {InvalidDataError} If `cpresent` is neither 0 nor 1, or `config` is malformed, or missing
   * where `cpresent` is 0.
   */
  constructor(format: RtpFormat) {
    this.#elements = new ElementReader(format);
    this.#frames = new MarkedFrames(this.#elements);
  }

  /**
   * The configuration of the access units that the last {@linkcode push} has given: that of the session
   * description, or the last one in band; a new object where it has changed.
   */
  get config(): AudioConfig | undefined {
    return this.#elements.config;
  }

  /** AudioMuxElements dropped because a part of them was lost, malformed, or not configured yet. */
  get dropped(): number {
    return this.#frames.dropped;
  }

  /**
   * Takes the next packet: the access units of the elements that end with it, or before it.
   *
   * @throws {InvalidDataError} If its payload is malformed; the element that it belongs to is dropped.
   */
  push(packet: RtpPacket): readonly RtpUnit[] {
    return this.#frames.push(packet);
  }

  /** Says that packets are missing before the next one: the element that they break is dropped. */
  lose(): void {
    this.#frames.lose();
  }

  /** The access units of the element at the end of all packets, if it is whole. */
  flush(): readonly RtpUnit[] {
    return this.#frames.flush();
  }
}

/** Puts AudioMuxElements together and reads them. */
class ElementReader implements FrameReader {
  readonly #clockRate: number;
  readonly #inBand: boolean;
  #mux: StreamMux | undefined;
  #parts: Uint8Array[] = [];
  #certain = false;

  constructor(format: RtpFormat) {
    const present = format.parameters.get("cpresent") ?? "1";
    if (present !== "0" && present !== "1") {
      throw new InvalidDataError(`Cannot read MP4A-LATM: cpresent is ${present.slice(0, 40)}`);
    }
    const config = hexOf(format, "config");
    if (present === "0" && config === undefined) {
      throw new InvalidDataError("Cannot read MP4A-LATM: cpresent is 0, config is missing");
    }
    this.#clockRate = format.clockRate;
    this.#inBand = present === "1";
    if (config !== undefined) this.#mux = parseStreamMux(config);
  }

  get config(): AudioConfig | undefined {
    return this.#mux?.config;
  }

  begin(_packet: RtpPacket, certain: boolean): boolean {
    this.#parts = [];
    this.#certain = certain;
    return true;
  }

  add(payload: Uint8Array): void {
    this.#parts.push(payload);
  }

  end(timestamp: number): readonly RtpUnit[] | undefined {
    const [first = new Uint8Array(0)] = this.#parts;
    const data = this.#parts.length === 1 ? first : concat(this.#parts);
    const element = this.#read(data);
    if (element === undefined) return undefined;
    const { mux, payloads } = element;
    this.#follow(mux);
    const ticks = mux.samples * this.#clockRate / mux.sampleRate;
    const units = payloads.map((payload, index) => ({
      timestamp: (timestamp + Math.round(index * ticks)) >>> 0,
      parts: [payload],
    }));
    return units.filter(({ parts: [payload] }) => payload !== undefined && payload.length > 0);
  }

  /** The element in `data`; undefined if it is not whole, or its configuration is yet to come. */
  #read(data: Uint8Array): MuxElement | undefined {
    try {
      const element = readMuxElement(data, this.#mux, this.#inBand);
      return this.#certain || element.rest < 8 ? element : undefined;
    } catch (error) {
      const isExpected = !this.#certain || this.#mux === undefined;
      if (error instanceof InvalidDataError && isExpected) return undefined;
      throw error;
    }
  }

  /** Takes over a configuration; one that says the same to decoders stays the same object. */
  #follow(mux: StreamMux): void {
    const before = this.#mux?.config;
    const isSame = before?.description !== undefined && mux.config.description !== undefined &&
      equalBytes(before.description, mux.config.description);
    this.#mux = isSame ? { ...mux, config: before } : mux;
  }
}
