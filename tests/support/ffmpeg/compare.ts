/** Whether what was received is what was sent, packet for packet. */
import { canonical } from "./canonical.ts";
import type { Clip, ClipPacket } from "./clip.ts";
import type { PlayedPacket } from "./play.ts";

/** Options of {@linkcode comparePackets}. */
export interface CompareOptions {
  /** By how much timestamps may differ: 0 for containers in milliseconds, 1 for 90 kHz clocks. Default: 0. */
  readonly toleranceMs?: number;
  /** Whether packets may be missing, if video resumes at a keyframe. Default: `false`. */
  readonly allowGaps?: boolean;
  /** How often the clip was published in a loop at most. Default: 1. */
  readonly loops?: number;
  /**
   * Whether times may be missing that FFmpeg does not find out: of RTP the first PTS of a track, and
   * DTS, which it has to guess. Default: `false`.
   */
  readonly allowUnknownTimes?: boolean;
}

/** Packets of one kind that were sent and did not arrive. */
export interface Gap {
  readonly kind: "video" | "audio";
  readonly missing: number;
  /** The place in the received packets where it goes on. */
  readonly before: number;
}

/** The outcome of {@linkcode comparePackets}. */
export interface Comparison {
  readonly differences: readonly string[];
  readonly gaps: readonly Gap[];
  /** How many packets of each kind were compared. */
  readonly compared: { readonly video: number; readonly audio: number };
  /** What the server added to the timestamps of each kind; `NaN` if none came. */
  readonly offsetMs: { readonly video: number; readonly audio: number };
}

/**
 * Compares bytes, DTS, PTS, keyframe flags and the A/V offset, of video from the first received keyframe on.
 *
 * The source's microseconds are rounded to the milliseconds of FLV, as FFmpeg's muxer does. One offset of the
 * whole stream is allowed, since a server may have its own clock; audio must have the same as video. Bytes are
 * brought to one form by {@linkcode canonical}.
 */
export function comparePackets(
  source: Clip,
  received: readonly PlayedPacket[],
  options: CompareOptions = {},
): Comparison {
  const differences: string[] = [];
  const gaps: Gap[] = [];
  const compared = { video: 0, audio: 0 };
  const offsetMs = { video: NaN, audio: NaN };
  const firstKey = received.findIndex((packet) => packet.kind === "video" && packet.key);
  if (source.video && firstKey < 0) differences.push("No video keyframe was received");
  const known = source.video && firstKey >= 0 ? compareKind("video", NaN) : NaN;
  if (source.audio) compareKind("audio", known);
  const { toleranceMs = 0 } = options;
  const drift = offsetMs.audio - offsetMs.video;
  if (Math.abs(drift) > toleranceMs) {
    differences.push(`Audio is ${drift} ms later against video than in the source`);
  }
  return { differences, gaps, compared, offsetMs };

  function compareKind(kind: "video" | "audio", expectedOffsetMs: number): number {
    const from = kind === "video" ? Math.max(0, firstKey) : 0;
    const kindOnly = received.slice(from).filter((packet) => packet.kind === kind);
    const sent = new SentPackets(source, kind, options.loops ?? 1);
    const first = kindOnly[0];
    if (!first) {
      differences.push(`No ${kind} was received`);
      return NaN;
    }
    let at = sent.find(first, 0, expectedOffsetMs);
    if (at < 0) {
      differences.push(`The first ${kind} (${describe(first)}) is not in the source`);
      return NaN;
    }
    offsetMs[kind] = offsetOf(kindOnly, sent, at);
    for (const [index, packet] of kindOnly.entries()) {
      if (!sent.hasBytes(at, packet)) {
        const next = sent.find(packet, at + 1, offsetMs[kind]);
        if (next < 0) {
          differences.push(
            `${kind} ${index}: the bytes of ${describe(packet)} are not those of ${
              sent.describe(at)
            }`,
          );
          if (differences.length >= 10) break;
          at++;
          continue;
        }
        gaps.push({ kind, missing: next - at, before: index });
        if (!options.allowGaps) {
          differences.push(
            `${kind} ${index}: ${next - at} packets are missing before ${describe(packet)}`,
          );
        } else if (kind === "video" && !packet.key) {
          differences.push(`video ${index}: after a gap, ${describe(packet)} is no keyframe`);
        }
        at = next;
      }
      compareOne(kind, index, packet, sent, at);
      compared[kind]++;
      at++;
      if (differences.length >= 10) break;
    }
    return offsetMs[kind];
  }

  function compareOne(
    kind: "video" | "audio",
    index: number,
    packet: PlayedPacket,
    sent: SentPackets,
    at: number,
  ): void {
    const { toleranceMs = 0 } = options;
    const dtsMs = sent.dtsMs(at) + offsetMs[kind];
    const ptsMs = sent.ptsMs(at) + offsetMs[kind];
    const isKnown = (ms: number) => !options.allowUnknownTimes || !Number.isNaN(ms);
    if (isKnown(packet.dtsMs) && !(Math.abs(packet.dtsMs - dtsMs) <= toleranceMs)) {
      differences.push(`${kind} ${index}: DTS is ${packet.dtsMs} ms instead of ${dtsMs}`);
    }
    // A parser gives the first packet of RTP without any; all others have what RTP says.
    const mayLack = index === 0 && !isKnown(packet.ptsMs);
    if (!mayLack && !(Math.abs(packet.ptsMs - ptsMs) <= toleranceMs)) {
      differences.push(`${kind} ${index}: PTS is ${packet.ptsMs} ms instead of ${ptsMs}`);
    }
    if (packet.key !== sent.isKey(at)) {
      differences.push(`${kind} ${index}: the keyframe flag of ${describe(packet)} is wrong`);
    }
  }
}

/** Throws the differences of {@linkcode comparePackets}, if any; returns the comparison otherwise. */
export function assertSamePackets(
  source: Clip,
  received: readonly PlayedPacket[],
  options: CompareOptions = {},
): Comparison {
  const comparison = comparePackets(source, received, options);
  const { differences } = comparison;
  if (differences.length > 0) {
    throw new Error(`Received packets differ from those sent:\n- ${differences.join("\n- ")}`);
  }
  return comparison;
}

/** What was added to the times of packets, which are those from place `from` on, by the first known. */
function offsetOf(packets: readonly PlayedPacket[], sent: SentPackets, from: number): number {
  const [first, second] = packets;
  if (first && !Number.isNaN(first.dtsMs)) return first.dtsMs - sent.dtsMs(from);
  const [known, at] = first && !Number.isNaN(first.ptsMs) ? [first, from] : [second, from + 1];
  return known === undefined ? NaN : known.ptsMs - sent.ptsMs(at);
}

/** One kind of a clip's packets, as often as the clip was sent. */
class SentPackets {
  readonly #packets: readonly ClipPacket[];
  readonly #clip: Clip;
  readonly #codec: string;
  readonly #length: number;
  readonly #forms = new Map<string, Uint8Array>();

  constructor(clip: Clip, kind: "video" | "audio", loops: number) {
    this.#clip = clip;
    this.#packets = clip.packets.filter((packet) => packet.kind === kind);
    this.#codec = clip[kind]?.codec ?? "";
    this.#length = this.#packets.length * loops;
  }

  dtsMs(at: number): number {
    return Math.round((this.#packet(at).dtsUs + this.#shiftUs(at)) / 1_000);
  }

  ptsMs(at: number): number {
    return Math.round((this.#packet(at).ptsUs + this.#shiftUs(at)) / 1_000);
  }

  isKey(at: number): boolean {
    return this.#packet(at).key;
  }

  describe(at: number): string {
    if (at >= this.#length) return "a packet past the source's end";
    const { key, data } = this.#packet(at);
    return describe({ key, data, dtsMs: this.dtsMs(at) });
  }

  hasBytes(at: number, received: PlayedPacket): boolean {
    if (at >= this.#length || received.codec !== this.#codec) return false;
    const strip = isAnnexB(received);
    const mine = this.#form(at % this.#packets.length, strip);
    const theirs = canonical(received.codec, received.data, {
      extradata: received.extradata,
      strip,
    });
    return mine.length === theirs.length && mine.every((byte, i) => byte === theirs[i]);
  }

  /** The place of a packet from `from` on; nearest to `offsetMs`, since silence repeats its bytes. */
  find(received: PlayedPacket, from: number, offsetMs: number): number {
    let best = -1;
    let bestMs = Infinity;
    for (let at = from; at < this.#length; at++) {
      if (!this.hasBytes(at, received)) continue;
      if (Number.isNaN(offsetMs) || Number.isNaN(received.dtsMs)) return at;
      const awayMs = Math.abs(received.dtsMs - offsetMs - this.dtsMs(at));
      if (awayMs >= bestMs) continue;
      best = at;
      bestMs = awayMs;
    }
    return best;
  }

  #packet(at: number): ClipPacket {
    const packet = this.#packets[at % this.#packets.length];
    if (!packet) throw new RangeError(`Cannot compare: the source has no packet ${at}`);
    return packet;
  }

  #shiftUs(at: number): number {
    return Math.floor(at / this.#packets.length) * this.#clip.durationUs;
  }

  #form(at: number, strip: boolean): Uint8Array {
    const id = `${at} ${strip}`;
    const form = this.#forms.get(id) ??
      canonical(this.#codec, this.#packet(at).data, { extradata: LENGTH_PREFIXED, strip });
    this.#forms.set(id, form);
    return form;
  }
}

/** Stands for the avcC or hvcC of a clip, in which alone the version counts here. */
const LENGTH_PREFIXED = Uint8Array.of(1);

function isAnnexB({ codec, extradata }: PlayedPacket): boolean {
  return (codec === "h264" || codec === "hevc") && extradata?.[0] !== 1;
}

function describe(packet: { key: boolean; data: Uint8Array; dtsMs: number }): string {
  return `a ${
    packet.key ? "key" : "delta"
  } packet of ${packet.data.length} bytes at ${packet.dtsMs} ms`;
}
