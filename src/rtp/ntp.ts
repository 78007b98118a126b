/** Wall clock time as RTCP writes it (RFC 3550 4; RFC 5905 6). */

/** A moment in NTP's 64-bit form. */
export interface NtpTime {
  /** Seconds since 1900: 32 bits, which wrap around in 2036. */
  readonly seconds: number;
  /** Parts of a second in units of 2^−32 s: 32 bits. */
  readonly fraction: number;
}

/** Seconds from 1900 to 1970. */
const UNIX_EPOCH_SECONDS = 2_208_988_800;
const ERA_SECONDS = 2 ** 32;
const US_PER_SECOND = 1_000_000;

/**
 * The moment `us` µs after 1970, 0 or later, in NTP's form. A part of a µs is rounded; whole ones
 * come back from {@linkcode unixUsFromNtp} as they were, up to 2104.
 */
export function ntpFromUnixUs(us: number): NtpTime {
  const rounded = Math.round(us);
  const seconds = Math.floor(rounded / US_PER_SECOND);
  const rest = rounded - seconds * US_PER_SECOND;
  return {
    seconds: (seconds + UNIX_EPOCH_SECONDS) % ERA_SECONDS,
    fraction: Math.round(rest * ERA_SECONDS / US_PER_SECOND),
  };
}

/**
 * The µs from 1970 to `time`, rounded to whole ones. Seconds below 2^31 are those from 2036 on (RFC
 * 2030 3): senders without a wall clock, who write 0, are to be told apart before.
 */
export function unixUsFromNtp(time: NtpTime): number {
  const era = time.seconds < ERA_SECONDS / 2 ? ERA_SECONDS : 0;
  const us = Math.round(time.fraction * US_PER_SECOND / ERA_SECONDS);
  return (era + time.seconds - UNIX_EPOCH_SECONDS) * US_PER_SECOND + us;
}

/** The middle 32 bits of `time`, in units of 2^−16 s: how reports refer to it (RFC 3550 4). */
export function ntpMiddle(time: NtpTime): number {
  return (time.seconds << 16 | time.fraction >>> 16) >>> 0;
}
