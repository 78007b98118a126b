/**
 * The RTMP handshake (RTMP 1.0 5.2), and the digest form of it that Flash Player 9 brought and
 * FFmpeg checks. That one is not in the specification; it signs C1, S1 and S2 with keys known to
 * everyone and proves nothing, but clients that ask for it close the connection without it.
 */

import { createHmac, randomFillSync } from "node:crypto";
import { equalBytes } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";

/** Bytes in each of C1, C2, S1 and S2 (5.2.3). */
export const HANDSHAKE_BYTES = 1536;

/** What a client must send before the server answers: C0 and C1. */
const HELLO_BYTES = 1 + HANDSHAKE_BYTES;

const VERSION = 3;
const VERSION_ENCRYPTED = 6;

const DIGEST_BYTES = 32;
/** Digests lie at an offset of 0 to 727 in their half of the packet. */
const DIGEST_POSITIONS = 728;
/** Where in C1 and S1 the four bytes are that sum up to the offset: scheme 0, scheme 1. */
const SCHEME_OFFSETS = [8, 772] as const;

/** Stands in S1 where a client looks for a server that can do digests, version 3 or higher. */
const SERVER_VERSION = 0x0305_0101;

const KEY_TAIL = new Uint8Array([
  ...[0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e],
  ...[0x57, 0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb],
  ...[0x31, 0xae],
]);
const PLAYER_KEY = new TextEncoder().encode("Genuine Adobe Flash Player 001");
const SERVER_KEY = new TextEncoder().encode("Genuine Adobe Flash Media Server 001");
const SERVER_KEY_LONG = new Uint8Array([...SERVER_KEY, ...KEY_TAIL]);

/** What a handshake did with a chunk. */
export interface HandshakeStep {
  /** Bytes to send to the peer now. */
  readonly send?: Uint8Array;
  /** Whether the handshake is over. */
  readonly done: boolean;
  /** Bytes of the chunk behind the handshake; empty before it is over. */
  readonly rest: Uint8Array;
}

/** Where the digest of a C1 or S1 was found, and what it is. */
interface Digest {
  /** Which of {@linkcode SCHEME_OFFSETS} it follows. */
  readonly schemeOffset: number;
  readonly bytes: Uint8Array;
}

/**
 * The server's side: waits for C0 and C1, answers with S0, S1 and S2, waits for C2.
 *
 * A client that signed its C1 gets signed answers, any other one the plain ones, with S2 an exact
 * copy of C1. What C2 holds is not checked, since several encoders fill it with anything.
 */
export class ServerHandshake {
  readonly #receiver = new HandshakeReceiver();

  /**
   * Takes the next bytes from the client.
   *
   * @throws {InvalidDataError} If the version is not 3.
   */
  push(chunk: Uint8Array): HandshakeStep {
    return this.#receiver.push(chunk, answer);
  }
}

/**
 * The client's side, without digests: sends {@linkcode ClientHandshake.hello}, waits for S0, S1 and
 * S2, and answers S1 with C2.
 */
export class ClientHandshake {
  /** C0 and C1, to be sent first. */
  readonly hello: Uint8Array;
  readonly #receiver = new HandshakeReceiver();

  /** A handshake with a random C1. */
  constructor() {
    this.hello = new Uint8Array(HELLO_BYTES);
    randomFillSync(this.hello);
    this.hello[0] = VERSION;
    this.hello.fill(0, 1, 9); // time and zero (5.2.3)
  }

  /**
   * Takes the next bytes from the server.
   *
   * @throws {InvalidDataError} If the version is not 3.
   */
  push(chunk: Uint8Array): HandshakeStep {
    return this.#receiver.push(chunk, (s1) => s1.slice());
  }
}

/** What both sides do: take a version and two packets, and answer the first of these. */
class HandshakeReceiver {
  readonly #hello = new Uint8Array(HELLO_BYTES);
  #received = 0;

  push(chunk: Uint8Array, reply: (packet: Uint8Array) => Uint8Array): HandshakeStep {
    const before = this.#received;
    const taken = Math.min(chunk.length, HELLO_BYTES + HANDSHAKE_BYTES - before);
    this.#received += taken;
    const done = this.#received === HELLO_BYTES + HANDSHAKE_BYTES;
    const rest = chunk.subarray(taken);
    if (before >= HELLO_BYTES) return { done, rest };

    this.#hello.set(chunk.subarray(0, HELLO_BYTES - before), before);
    if (before === 0 && taken > 0) checkVersion(this.#hello[0]);
    if (this.#received < HELLO_BYTES) return { done, rest };
    return { send: reply(this.#hello.subarray(1)), done, rest };
  }
}

function checkVersion(version: number | undefined): void {
  if (version === VERSION) return;
  if (version === VERSION_ENCRYPTED) {
    throw new InvalidDataError("Cannot shake hands: version 6, encrypted RTMP, is not supported");
  }
  throw new InvalidDataError(`Cannot shake hands: the version is ${version}, not ${VERSION}`);
}

/** S0, S1 and S2 for `c1`. */
function answer(c1: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + 2 * HANDSHAKE_BYTES);
  randomFillSync(bytes);
  bytes[0] = VERSION;
  const s1 = bytes.subarray(1, HELLO_BYTES);
  const s2 = bytes.subarray(HELLO_BYTES);
  s1.fill(0, 0, 8); // time, and zero or the server's version
  const digest = findDigest(c1);
  if (digest) {
    new DataView(s1.buffer, s1.byteOffset).setUint32(4, SERVER_VERSION);
    const at = digestPosition(s1, digest.schemeOffset);
    s1.set(digestAround(s1, at, SERVER_KEY), at);
    const end = HANDSHAKE_BYTES - DIGEST_BYTES;
    s2.set(hmac(hmac(SERVER_KEY_LONG, digest.bytes), s2.subarray(0, end)), end);
  } else {
    s2.set(c1);
  }
  return bytes;
}

/** The digest that a Flash-style client put into its C1, if it did. */
function findDigest(c1: Uint8Array): Digest | undefined {
  // Plain clients leave four zeros where others have their version (5.2.3).
  if (c1.subarray(4, 8).every((byte) => byte === 0)) return undefined;
  for (const schemeOffset of SCHEME_OFFSETS) {
    const at = digestPosition(c1, schemeOffset);
    const bytes = c1.subarray(at, at + DIGEST_BYTES);
    if (equalBytes(bytes, digestAround(c1, at, PLAYER_KEY))) return { schemeOffset, bytes };
  }
  return undefined;
}

/** Where the digest lies: behind its offset field, as far on as that says. */
function digestPosition(packet: Uint8Array, schemeOffset: number): number {
  let sum = 0;
  for (const byte of packet.subarray(schemeOffset, schemeOffset + 4)) sum += byte;
  return schemeOffset + 4 + sum % DIGEST_POSITIONS;
}

/** The digest of all of `packet` but the digest at `at`. */
function digestAround(packet: Uint8Array, at: number, key: Uint8Array): Uint8Array {
  return createHmac("sha256", key)
    .update(packet.subarray(0, at))
    .update(packet.subarray(at + DIGEST_BYTES))
    .digest();
}

function hmac(key: Uint8Array, data: Uint8Array): Uint8Array {
  return createHmac("sha256", key).update(data).digest();
}
