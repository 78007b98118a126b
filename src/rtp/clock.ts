/** One clock for the tracks of an RTP session (RFC 3550 5.1, 6.4.1). */

import { Unwrapper } from "../time.ts";
import { type NtpTime, unixUsFromNtp } from "./ntp.ts";

/** Steps of a track's timestamps of so much against the arrivals are a new timestamp base. */
const JUMP_US = 10_000_000;

/** Most that reports or RTP-Info may move a track: buffers and bursts at the start are below. */
const MAX_MOVE_US = 10_000_000;

/** Farthest that a report's RTP timestamp may be from what the packets let expect. */
const MAX_DISTANCE_US = 60_000_000;

/** Errors up to this are the noise of reports, and stay. */
const TOLERANCE_US = 5_000;

/** Beyond this a report, or the relation of two tracks, is no drift but a step of a clock. */
const MAX_DRIFT_US = 50_000;

/** Most that two clocks drift apart: ten times what quartz crystals do. */
const MAX_DRIFT_RATE = 0.001;

/** Share of the time that passes by which a track is slowed or hastened: unheard and unseen. */
const SLEW_RATE = 0.005;

/** What a report differs by up to this from those before may be its noise: half of it stays out. */
const NOISE_US = 20_000;
const NOISE_WEIGHT = 0.5;

/** A track's time on the sender's wall clock, minus its media time. */
interface Wall {
  readonly offsetUs: number;
  readonly atMs: number;
}

/** A wall offset that contradicts the one before. */
interface PendingWall extends Wall {
  /** When the first of the reports that agree on it came. */
  readonly sinceMs: number;
  readonly reports: number;
}

/**
 * Puts the RTP timestamps of a session's tracks on one clock, in µs.
 *
 * Each track starts at the arrival of its first packet, with B-frames as well: encoders whose first
 * report comes late send the first picture when it is due to be shown. Once the sender has said of
 * two tracks which RTP timestamps are the same moment, by sender reports or by RTP-Info, they lie as
 * it says: what lies too early is moved on in one step, nothing ever back. Later reports only slow
 * or hasten a track. Where a sender's wall clock is set, tracks keep their relation until the
 * reports of all of them are consistent again.
 */
export class SessionClock {
  readonly #tracks: TrackClock[] = [];
  /** Sender's wall clock minus the session's, once reports of two tracks agree. */
  #wallUs: number | undefined;

  /** A track whose timestamps have `clockRate` ticks per second. */
  track(clockRate: number): TrackClock {
    const track = new TrackClock(clockRate, {
      onStart: (track) => this.#onStart(track),
      onReport: () => this.#onReport(),
    });
    this.#tracks.push(track);
    return track;
  }

  /** Lays the start of a track upon that of the tracks whose start is known. */
  #onStart(track: TrackClock): void {
    const { startUs } = track;
    const others = this.#tracks.filter((other) => other !== track && other.startUs !== undefined);
    const commonUs = others[0]?.startUs;
    if (startUs === undefined || commonUs === undefined || track.isSynchronised) return;
    const moveUs = commonUs - startUs;
    // Nothing goes back once it has times; then what the others have is too early.
    if (moveUs > 0 || !track.hasTimes) track.move(moveUs);
    else for (const other of others) other.move(-moveUs);
  }

  #onReport(): void {
    const tracks = this.#tracks.filter(({ hasReport }) => hasReport);
    if (tracks.some(({ pending }) => pending !== undefined)) this.#settle(tracks);
    if (tracks.some(({ pending }) => pending !== undefined)) return;
    const fresh = tracks.some((track) => !track.isSynchronised);
    if (this.#wallUs === undefined ? tracks.length > 1 : fresh) this.#synchronise(tracks);
    const wallUs = this.#wallUs;
    if (wallUs === undefined) return;
    for (const track of tracks) if (track.isSynchronised) track.follow(wallUs);
  }

  /**
   * Moves tracks on in one step each, by what the one that needs it least does without. One that has
   * no times yet goes where the others are, also back.
   */
  #synchronise(tracks: readonly TrackClock[]): void {
    const walls = tracks.map((track) => track.wallUs);
    if (Math.max(...walls) - Math.min(...walls) > MAX_MOVE_US) return;
    const placed = tracks.filter(({ hasTimes }) => hasTimes);
    const wallUs = Math.min(...(placed.length > 0 ? placed : tracks).map((track) => track.wallUs));
    this.#wallUs = wallUs;
    for (const track of tracks) track.synchronise(wallUs);
  }

  /** Takes or leaves new wall offsets, once every track has reported since the first of them. */
  #settle(tracks: readonly TrackClock[]): void {
    const pending = tracks.flatMap((track) => track.pending ?? []);
    const sinceMs = Math.min(...pending.map((wall) => wall.sinceMs));
    if (tracks.some((track) => track.reportedMs < sinceMs)) return;
    const walls = tracks.map((track) => track.pendingWallUs);
    const spreadUs = Math.max(...walls) - Math.min(...walls);
    const isSameRelation = this.#wallUs !== undefined && spreadUs <= MAX_DRIFT_US;
    const isNewRelation = pending.every(({ reports }) => reports > 1);
    if (!isSameRelation && !isNewRelation) return;
    for (const track of tracks) track.accept(isSameRelation);
    this.#wallUs = isSameRelation ? meanOf(walls) : undefined;
  }
}

/** What a track tells its session. */
interface TrackHost {
  onStart(track: TrackClock): void;
  onReport(): void;
}

/** One track of a {@linkcode SessionClock}. */
export class TrackClock {
  readonly #host: TrackHost;
  readonly #tickUs: number;
  readonly #unwrapper = new Unwrapper(32);
  /** Newest packet: its ticks without wrap-around, and when it came. */
  #ticks: number | undefined;
  #arrivalMs = 0;
  /** Session time minus media time: that in use, and that which it slowly becomes. */
  #offsetUs = 0;
  #targetUs = 0;
  #hasTimes = false;
  #movedUs = 0;
  #start: number | undefined;
  #startTicks: number | undefined;
  #early: { readonly ntp: NtpTime; readonly timestamp: number; readonly nowMs: number } | undefined;
  #wall: Wall | undefined;
  #pending: PendingWall | undefined;
  #isSynchronised = false;

  /** Made by {@linkcode SessionClock.track}. */
  constructor(clockRate: number, host: TrackHost) {
    this.#tickUs = 1e6 / clockRate;
    this.#host = host;
  }

  /**
   * The session's time in whole µs of a packet with an RTP timestamp of 32 bits that arrives at
   * `nowMs` of a clock that never goes back.
   *
   * Packets of B-frames, or late ones, may go back.
   */
  map(timestamp: number, nowMs: number): number {
    const before = this.#ticks;
    const ticks = this.#unwrapper.unwrap(timestamp);
    this.#ticks = ticks;
    if (before === undefined) {
      this.#begin(ticks, nowMs);
    } else {
      const stepUs = (ticks - before) * this.#tickUs;
      const elapsedUs = (nowMs - this.#arrivalMs) * 1000;
      if (stepUs < -JUMP_US || stepUs > elapsedUs + JUMP_US) this.#rebase(elapsedUs - stepUs);
      else if (stepUs > 0) this.#slew(stepUs);
      this.#arrivalMs = nowMs;
    }
    this.#hasTimes = true;
    return Math.round(ticks * this.#tickUs + this.#offsetUs);
  }

  /** By how many µs packets have been moved against those before, since this was last asked. */
  takeMove(): number {
    const movedUs = this.#movedUs;
    this.#movedUs = 0;
    return movedUs;
  }

  /**
   * Takes the NTP time and RTP timestamp of the track's sender report (RFC 3550 6.4.1), which came
   * at `nowMs`.
   *
   * One without an NTP time, or with an RTP timestamp far from the packets', is ignored.
   */
  report(ntp: NtpTime, timestamp: number, nowMs: number): void {
    if (ntp.seconds === 0 && ntp.fraction === 0) return;
    if (this.#ticks === undefined) {
      this.#early = { ntp, timestamp, nowMs };
      return;
    }
    const mediaUs = this.#mediaUsOf(timestamp, this.#ticks);
    const expectedUs = this.#ticks * this.#tickUs + (nowMs - this.#arrivalMs) * 1000;
    if (Math.abs(mediaUs - expectedUs) > MAX_DISTANCE_US) return;
    this.#take({ offsetUs: unixUsFromNtp(ntp) - mediaUs, atMs: nowMs });
    this.#host.onReport();
  }

  /**
   * Says that `rtptime` of RTP-Info, the RTP timestamp of the track at the start of playing (RFC
   * 2326 12.33), is the same moment as those of the session's other tracks.
   *
   * One far from the first packet's timestamp is ignored.
   */
  anchor(rtptime: number): void {
    this.#start = rtptime;
    if (this.#ticks !== undefined) this.#anchorAt(this.#ticks);
  }

  #begin(ticks: number, nowMs: number): void {
    this.#arrivalMs = nowMs;
    this.#offsetUs = this.#targetUs = nowMs * 1000 - ticks * this.#tickUs;
    this.#anchorAt(ticks);
    const early = this.#early;
    if (early !== undefined) this.report(early.ntp, early.timestamp, early.nowMs);
  }

  #anchorAt(ticks: number): void {
    const rtptime = this.#start;
    this.#start = undefined;
    if (rtptime === undefined) return;
    const startTicks = ticksNear(ticks, rtptime);
    if (Math.abs(startTicks - ticks) * this.#tickUs > MAX_MOVE_US) return;
    this.#startTicks = startTicks;
    this.#host.onStart(this);
  }

  /** Goes on where the arrivals say after a new timestamp base, of which no report is known. */
  #rebase(moveUs: number): void {
    this.#offsetUs = this.#targetUs = this.#offsetUs + moveUs;
    this.#startTicks = undefined;
    this.#wall = undefined;
    this.#pending = undefined;
    this.#isSynchronised = false;
  }

  #slew(stepUs: number): void {
    const most = stepUs * SLEW_RATE;
    const errorUs = this.#targetUs - this.#offsetUs;
    this.#offsetUs += Math.max(-most, Math.min(most, errorUs));
  }

  #take(wall: Wall): void {
    const known = this.#wall;
    if (known === undefined || isDrift(known, wall)) {
      this.#wall = mergeWalls(known, wall);
      this.#pending = undefined;
      return;
    }
    const pending = this.#pending;
    this.#pending = pending !== undefined && isDrift(pending, wall)
      ? { ...mergeWalls(pending, wall), sinceMs: pending.sinceMs, reports: pending.reports + 1 }
      : { ...wall, sinceMs: wall.atMs, reports: 1 };
  }

  #mediaUsOf(timestamp: number, ticks: number): number {
    return ticksNear(ticks, timestamp) * this.#tickUs;
  }

  /** For the session: where the media time of RTP-Info lies; undefined if it is not known. */
  get startUs(): number | undefined {
    return this.#startTicks === undefined
      ? undefined
      : this.#startTicks * this.#tickUs + this.#targetUs;
  }

  /** For the session: whether any packet has a time yet. */
  get hasTimes(): boolean {
    return this.#hasTimes;
  }

  /** For the session: whether a report of the timestamps in use is known. */
  get hasReport(): boolean {
    return this.#wall !== undefined;
  }

  /** For the session: when the newest report came. */
  get reportedMs(): number {
    return this.#pending?.atMs ?? this.#wall?.atMs ?? -Infinity;
  }

  /** For the session: what contradicts the reports so far. */
  get pending(): PendingWall | undefined {
    return this.#pending;
  }

  /** For the session: sender's wall clock minus session clock, as far as this track knows. */
  get wallUs(): number {
    return (this.#wall?.offsetUs ?? 0) - this.#targetUs;
  }

  /** For the session: {@linkcode wallUs}, were what is pending taken. */
  get pendingWallUs(): number {
    return ((this.#pending ?? this.#wall)?.offsetUs ?? 0) - this.#targetUs;
  }

  /** For the session: whether the track lies as its reports say. */
  get isSynchronised(): boolean {
    return this.#isSynchronised;
  }

  /** For the session: takes what is pending; the track stays where it is if `isSameRelation`. */
  accept(isSameRelation: boolean): void {
    this.#wall = this.#pending ?? this.#wall;
    this.#pending = undefined;
    this.#isSynchronised &&= isSameRelation;
  }

  /** For the session: moves all later packets by `us`. */
  move(us: number): void {
    this.#offsetUs += us;
    this.#targetUs += us;
    if (this.#hasTimes) this.#movedUs += us;
  }

  /** For the session: moves the track to where its reports put it. */
  synchronise(wallUs: number): void {
    this.move(this.wallUs - wallUs);
    this.#isSynchronised = true;
  }

  /** For the session: slowly goes to where the reports put the track, if it is off. */
  follow(wallUs: number): void {
    const errorUs = this.wallUs - wallUs;
    if (Math.abs(errorUs) > TOLERANCE_US) this.#targetUs += errorUs;
  }
}

/** The ticks nearest to `ticks` that are `timestamp` in 32 bits. */
function ticksNear(ticks: number, timestamp: number): number {
  return ticks + ((timestamp - ticks) | 0);
}

function isDrift(known: Wall, wall: Wall): boolean {
  const elapsedUs = Math.max(0, wall.atMs - known.atMs) * 1000;
  const limit = MAX_DRIFT_US + elapsedUs * MAX_DRIFT_RATE;
  return Math.abs(wall.offsetUs - known.offsetUs) <= limit;
}

function mergeWalls(known: Wall | undefined, wall: Wall): Wall {
  if (known === undefined) return wall;
  const stepUs = wall.offsetUs - known.offsetUs;
  const weight = Math.abs(stepUs) <= NOISE_US ? NOISE_WEIGHT : 1;
  return { offsetUs: known.offsetUs + stepUs * weight, atMs: wall.atMs };
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
