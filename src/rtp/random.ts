/** Identifiers that RTP wants to be random (RFC 3550 5.1, 8; RFC 7022). */

/** A random number of 32 bits, such as an SSRC or the first timestamp. */
export function randomU32(): number {
  const [value = 0] = crypto.getRandomValues(new Uint32Array(1));
  return value;
}

/** A canonical name that is the same nowhere else: 96 random bits in base64 (RFC 7022 5). */
export function randomCname(): string {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(12))));
}
