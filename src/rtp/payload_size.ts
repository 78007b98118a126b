/** How large the payloads of packets may become. */

/** How a packetizer cuts. */
export interface PacketizerOptions {
  /** Most bytes of a payload. */
  readonly maxPayloadBytes: number;
}

/**
 * The most bytes of a payload.
 *
 * @throws {RangeError} If they are not a whole number from `least` on.
 */
export function payloadBytes({ maxPayloadBytes }: PacketizerOptions, least: number): number {
  if (!Number.isInteger(maxPayloadBytes) || maxPayloadBytes < least) {
    throw new RangeError(
      `Cannot packetize: the payload size is ${maxPayloadBytes}, not an integer from ${least} on`,
    );
  }
  return maxPayloadBytes;
}
