/** The order of RTP packets: late ones put back, duplicates dropped, gaps said. */

import { MAX_DROPOUT, type RtpPacket, sequenceDistance } from "./packet.ts";

/** A packet in its place. */
export interface OrderedPacket {
  /** The packet. */
  readonly packet: RtpPacket;
  /** How many packets before it, behind the one given before, are given up for lost. */
  readonly lost: number;
  /**
   * Whether its sender has started anew: it does not continue what came before, and what was lost
   * in between is unknown.
   */
  readonly restarted: boolean;
}

/** Bounds of a {@linkcode ReorderBuffer}. */
export interface ReorderOptions {
  /**
   * Whether packets behind a gap wait for those in it. If not, a gap is given up at once. @default
   * {true}
   */
  readonly reorder?: boolean;
  /**
   * How far ahead of a missing packet others may be, 1 to 2048: so many wait at most. @default
   * {512} (200 ms of packets of 1200 bytes at 24 Mbit/s)
   */
  readonly maxPackets?: number;
  /**
   * Longest time that a packet waits, in ms. @default {200} (what Wi-Fi and mobile networks need to
   * send again; more would be seen as delay)
   */
  readonly maxDelayMs?: number;
}

/** What has become of packets. */
export interface ReorderCounters {
  /** All packets given to the buffer. */
  readonly received: number;
  /** Missing ones that were given up. Some of them may have been {@linkcode late}. */
  readonly lost: number;
  /** Those that came behind a later one and were put back before it. */
  readonly reordered: number;
  /** Dropped: they came after they had been given up, or alone and far out of sequence. */
  readonly late: number;
  /** Dropped: they had come before. */
  readonly duplicates: number;
}

/** Most packets that may wait: the distance to a packet that waits is below {@linkcode MAX_DROPOUT}. */
const MAX_PACKETS = 2048;
const DEFAULT_PACKETS = 512;
const DEFAULT_DELAY_MS = 200;

/**
 * Packets behind are those of a sender that has started anew, not late ones, when none was in
 * sequence for so long: the longest time that RFC 3550 A.1 expects of a late packet.
 */
const MAX_MISORDER_MS = 2000;

/** Sequence numbers of which is remembered whether they came: a power of 2 over {@linkcode MAX_DROPOUT}. */
const HISTORY = 4096;

const NOTHING: readonly OrderedPacket[] = Object.freeze([]);

/**
 * Puts the packets of one source in the order of their sequence numbers, starting with the first
 * one that it gets.
 *
 * What waits is bounded by {@linkcode ReorderOptions}. A packet of another source, or one over 3000
 * sequence numbers away, is held: if the next such packet follows it, the sender has started anew
 * and both count; otherwise it is dropped.
 *
 * It has no timer: its owner calls {@linkcode ReorderBuffer.release} at
 * {@linkcode ReorderBuffer.dueMs}.
 */
export class ReorderBuffer {
  readonly #maxPackets: number;
  readonly #maxDelayMs: number;
  /** What waits, at its sequence number modulo their size, a power of 2. */
  readonly #waitingPackets: (RtpPacket | undefined)[];
  readonly #arrivalsMs: Float64Array;
  readonly #mask: number;
  /** 1 at the sequence numbers, modulo its size, that came. */
  readonly #history = new Uint8Array(HISTORY);
  readonly #counters = { received: 0, lost: 0, reordered: 0, late: 0, duplicates: 0 };
  #started = false;
  #ssrc = 0;
  /** Sequence number of the packet to give next. */
  #next = 0;
  /** The highest one that waits. */
  #highest = 0;
  #waiting = 0;
  #oldestMs = 0;
  /** Packets given up since one was given. */
  #lost = 0;
  /** Whether the packet to give next is the first of a sender that has started anew. */
  #restarted = false;
  /** A packet out of sequence, until the next one shows what it is. */
  #stray: RtpPacket | undefined;
  #acceptedMs = 0;

  /**
   * An empty buffer.
   *
   * @throws {RangeError} If a bound is out of its range.
   */
  constructor(options: ReorderOptions = {}) {
    const reorder = options.reorder ?? true;
    const maxPackets = options.maxPackets ?? DEFAULT_PACKETS;
    const maxDelayMs = options.maxDelayMs ?? DEFAULT_DELAY_MS;
    if (!Number.isInteger(maxPackets) || maxPackets < 1 || maxPackets > MAX_PACKETS) {
      throw new RangeError(`Cannot reorder packets: maxPackets is ${maxPackets}`);
    }
    if (!(maxDelayMs >= 0)) {
      throw new RangeError(`Cannot reorder packets: maxDelayMs is ${maxDelayMs}`);
    }
    // A window of one has no room for a gap.
    this.#maxPackets = reorder ? maxPackets : 1;
    this.#maxDelayMs = maxDelayMs;
    const slots = 2 ** Math.ceil(Math.log2(this.#maxPackets));
    this.#waitingPackets = new Array(slots).fill(undefined);
    this.#arrivalsMs = new Float64Array(slots);
    this.#mask = slots - 1;
  }

  /** What has become of packets so far; it goes on counting. */
  get counters(): ReorderCounters {
    return this.#counters;
  }

  /** How many packets wait for missing ones. */
  get waiting(): number {
    return this.#waiting;
  }

  /** When {@linkcode release} must be called, on the clock of `nowMs`; undefined if nothing waits. */
  get dueMs(): number | undefined {
    return this.#waiting === 0 ? undefined : this.#oldestMs + this.#maxDelayMs;
  }

  /** Takes a packet that came at `nowMs`, of a clock that never goes back: what can be given now. */
  push(packet: RtpPacket, nowMs: number): readonly OrderedPacket[] {
    this.#counters.received++;
    if (!this.#started) this.#start(packet);
    const ahead = sequenceDistance(this.#next, packet.sequence);
    if (this.#isStray(packet, ahead) || ahead < 0 && nowMs - this.#acceptedMs > MAX_MISORDER_MS) {
      return this.#pushStray(packet, nowMs);
    }
    if (ahead < 0) {
      this.#dropLate(packet);
      return NOTHING;
    }
    this.#dropStray();
    if (ahead > 0 || this.#waiting > 0) return this.#accept(packet, nowMs);
    this.#acceptedMs = nowMs;
    return [this.#give(packet)];
  }

  /** Gives up what packets have waited for too long at `nowMs`: what can be given now. */
  release(nowMs: number): readonly OrderedPacket[] {
    if (this.#waiting === 0 || nowMs < this.#oldestMs + this.#maxDelayMs) return NOTHING;
    const given: OrderedPacket[] = [];
    this.#releaseOld(given, nowMs);
    return given;
  }

  /** Gives up all that is missing, as no more packets come: what waits. */
  flush(): readonly OrderedPacket[] {
    this.#dropStray();
    if (this.#waiting === 0) return NOTHING;
    const given: OrderedPacket[] = [];
    this.#moveTo(given, (this.#highest + 1) & 0xffff);
    return given;
  }

  #start(packet: RtpPacket): void {
    this.#started = true;
    this.#ssrc = packet.ssrc;
    this.#next = packet.sequence;
  }

  #isStray(packet: RtpPacket, ahead: number): boolean {
    return packet.ssrc !== this.#ssrc || ahead > MAX_DROPOUT || ahead < -MAX_DROPOUT;
  }

  /** Holds a packet out of sequence, or starts anew with it and the one held. */
  #pushStray(packet: RtpPacket, nowMs: number): readonly OrderedPacket[] {
    const stray = this.#stray;
    const ahead = stray?.ssrc === packet.ssrc
      ? sequenceDistance(stray.sequence, packet.sequence)
      : undefined;
    if (ahead === 0) {
      this.#counters.duplicates++;
      return NOTHING;
    }
    if (stray === undefined || ahead !== 1) {
      this.#dropStray();
      this.#stray = packet;
      return NOTHING;
    }
    this.#stray = undefined;
    const given = [...this.flush()];
    this.#start(stray);
    this.#history.fill(0);
    this.#restarted = true;
    given.push(this.#give(stray), this.#give(packet));
    this.#acceptedMs = nowMs;
    return given;
  }

  #dropStray(): void {
    if (this.#stray === undefined) return;
    this.#stray = undefined;
    this.#counters.late++;
  }

  #dropLate({ sequence }: RtpPacket): void {
    const at = sequence % HISTORY;
    if (this.#history[at] === 1) this.#counters.duplicates++;
    else this.#counters.late++;
    this.#history[at] = 1;
  }

  /** Puts a packet in the window, which moves to hold it, and gives what is in sequence then. */
  #accept(packet: RtpPacket, nowMs: number): readonly OrderedPacket[] {
    const { sequence } = packet;
    const given: OrderedPacket[] = [];
    if (sequenceDistance(this.#next, sequence) >= this.#maxPackets) {
      this.#moveTo(given, (sequence - this.#maxPackets + 1) & 0xffff);
    }
    const slot = sequence & this.#mask;
    if (this.#waitingPackets[slot] !== undefined) {
      this.#counters.duplicates++;
      return NOTHING;
    }
    if (this.#waiting > 0 && sequenceDistance(this.#highest, sequence) < 0) {
      this.#counters.reordered++;
    } else {
      this.#highest = sequence;
    }
    if (this.#waiting === 0) this.#oldestMs = nowMs;
    this.#waitingPackets[slot] = packet;
    this.#arrivalsMs[slot] = nowMs;
    this.#waiting++;
    this.#acceptedMs = nowMs;
    this.#giveInSequence(given);
    this.#releaseOld(given, nowMs);
    return given;
  }

  #releaseOld(given: OrderedPacket[], nowMs: number): void {
    while (this.#waiting > 0 && nowMs >= this.#oldestMs + this.#maxDelayMs) {
      // Nothing waits in sequence: there is a gap before the first that waits.
      let end = this.#next;
      while (this.#waitingPackets[end & this.#mask] === undefined) end = (end + 1) & 0xffff;
      this.#moveTo(given, end);
      this.#giveInSequence(given);
    }
  }

  /** Gives what waits before the sequence number `end`, and gives up what is missing there. */
  #moveTo(given: OrderedPacket[], end: number): void {
    while (this.#next !== end) {
      const packet = this.#take();
      if (packet !== undefined) {
        given.push(this.#give(packet));
      } else {
        this.#history[this.#next % HISTORY] = 0;
        this.#next = (this.#next + 1) & 0xffff;
        this.#lost++;
        this.#counters.lost++;
      }
    }
    this.#findOldest();
  }

  #giveInSequence(given: OrderedPacket[]): void {
    if (this.#waitingPackets[this.#next & this.#mask] === undefined) return;
    for (let packet = this.#take(); packet !== undefined; packet = this.#take()) {
      given.push(this.#give(packet));
    }
    this.#findOldest();
  }

  /** The next packet out of the window, if it waits there. */
  #take(): RtpPacket | undefined {
    const slot = this.#next & this.#mask;
    const packet = this.#waitingPackets[slot];
    if (packet === undefined) return undefined;
    this.#waitingPackets[slot] = undefined;
    this.#waiting--;
    return packet;
  }

  #give(packet: RtpPacket): OrderedPacket {
    const ordered = { packet, lost: this.#lost, restarted: this.#restarted };
    this.#lost = 0;
    this.#restarted = false;
    this.#history[packet.sequence % HISTORY] = 1;
    this.#next = (packet.sequence + 1) & 0xffff;
    return ordered;
  }

  #findOldest(): void {
    this.#oldestMs = Infinity;
    let left = this.#waiting;
    for (let sequence = this.#next; left > 0; sequence++) {
      const slot = sequence & this.#mask;
      if (this.#waitingPackets[slot] === undefined) continue;
      this.#oldestMs = Math.min(this.#oldestMs, this.#arrivalsMs[slot] ?? 0);
      left--;
    }
  }
}
