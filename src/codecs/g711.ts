/** G.711 A-law and µ-law, which have no headers: all that is known comes from the container. */

import { InvalidDataError } from "../errors.ts";
import type { AudioConfig } from "./config.ts";

/** Most samples per second that a container declares for G.711: far over any in use. */
const MAX_SAMPLE_RATE = 192_000;

/** Most channels that a container declares for G.711: RTP and MP4 know layouts up to 7.1. */
const MAX_CHANNELS = 8;

/**
 * The configuration of an A-law decoder (ITU-T G.711 Table 1): 8-bit samples, channels interleaved.
 *
 * @throws {InvalidDataError} If `sampleRate` is not a whole number from 1 to 192 000, or `channels`
 * from 1 to 8.
 */
export function alawConfig(sampleRate = 8000, channels = 1): AudioConfig {
  return configOf("alaw", sampleRate, channels);
}

/**
 * The configuration of a µ-law decoder (ITU-T G.711 Table 2): 8-bit samples, channels interleaved.
 *
 * @throws {InvalidDataError} If `sampleRate` is not a whole number from 1 to 192 000, or `channels`
 * from 1 to 8.
 */
export function ulawConfig(sampleRate = 8000, channels = 1): AudioConfig {
  return configOf("ulaw", sampleRate, channels);
}

/** How long `data` plays in microseconds, rounded, one byte being one sample of one channel. */
export function g711Duration(data: Uint8Array, config: AudioConfig): number {
  return Math.round(data.length * 1e6 / (config.sampleRate * config.numberOfChannels));
}

function configOf(fourcc: "alaw" | "ulaw", sampleRate: number, channels: number): AudioConfig {
  if (!isWithin(sampleRate, MAX_SAMPLE_RATE) || !isWithin(channels, MAX_CHANNELS)) {
    throw new InvalidDataError(
      `Cannot configure G.711: its format is ${sampleRate} Hz with ${channels} channels`,
    );
  }
  return { kind: "audio", fourcc, codec: fourcc, sampleRate, numberOfChannels: channels };
}

function isWithin(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= max;
}
