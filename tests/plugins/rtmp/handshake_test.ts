import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { createHmac, randomFillSync } from "node:crypto";
import fc from "fast-check";
import { concat } from "../../../src/bytes.ts";
import { InvalidDataError } from "../../../src/errors.ts";
import {
  ClientHandshake,
  HANDSHAKE_BYTES,
  ServerHandshake,
} from "../../../plugins/rtmp/handshake.ts";

const seed = 20_244;
const PLAYER_KEY = "Genuine Adobe Flash Player 001";
const SERVER_KEY = "Genuine Adobe Flash Media Server 001";
const KEY_TAIL = "f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae";

function hmac(key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(createHmac("sha256", key).update(concat(data)).digest());
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** Where the digest is in a packet of `scheme`, from the four bytes that say so. */
function digestOffset(packet: Uint8Array, scheme: 0 | 1): number {
  const field = scheme === 0 ? 8 : 772;
  const sum = packet.slice(field, field + 4).reduce((total, byte) => total + byte, 0);
  return field + 4 + sum % 728;
}

function digestOf(packet: Uint8Array, scheme: 0 | 1, key: Uint8Array): Uint8Array {
  const at = digestOffset(packet, scheme);
  return hmac(key, packet.slice(0, at), packet.slice(at + 32));
}

/** C1 as Flash Player and FFmpeg send it. */
function signedPacket(scheme: 0 | 1): Uint8Array {
  const packet = randomFillSync(new Uint8Array(HANDSHAKE_BYTES));
  packet.set([0, 0, 0, 0, 9, 0, 124, 2]);
  packet.set(digestOf(packet, scheme, text(PLAYER_KEY)), digestOffset(packet, scheme));
  return packet;
}

function plainPacket(): Uint8Array {
  const packet = randomFillSync(new Uint8Array(HANDSHAKE_BYTES));
  return packet.fill(0, 4, 8);
}

function hello(packet: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(3), packet]);
}

/** What the server sends for C0 and `c1`. */
function answerTo(c1: Uint8Array): { s0: number | undefined; s1: Uint8Array; s2: Uint8Array } {
  const { send, done } = new ServerHandshake().push(hello(c1));
  assert(send);
  assertEquals(done, false);
  assertEquals(send.length, 1 + 2 * HANDSHAKE_BYTES);
  return {
    s0: send[0],
    s1: send.slice(1, 1 + HANDSHAKE_BYTES),
    s2: send.slice(1 + HANDSHAKE_BYTES),
  };
}

Deno.test("ServerHandshake.push() echoes a plain C1", () => {
  const c1 = plainPacket();
  const { s0, s1, s2 } = answerTo(c1);
  assertEquals(s0, 3);
  assertEquals(s1.slice(0, 8), new Uint8Array(8));
  assertNotEquals(s1, answerTo(c1).s1);
  assertEquals(s2, c1);
});

for (const scheme of [0, 1] as const) {
  Deno.test(`ServerHandshake.push() signs its answer when C1 has a digest of scheme ${scheme}`, () => {
    // As often as it takes for digests to lie anywhere.
    for (let round = 0; round < 50; round++) {
      const c1 = signedPacket(scheme);
      const { s0, s1, s2 } = answerTo(c1);
      assertEquals(s0, 3);
      assert((s1[4] ?? 0) >= 3, "FFmpeg checks digests from server version 3 on");
      const at = digestOffset(s1, scheme);
      assertEquals(s1.slice(at, at + 32), digestOf(s1, scheme, text(SERVER_KEY)));
      const c1At = digestOffset(c1, scheme);
      const longKey = concat([text(SERVER_KEY), Uint8Array.fromHex(KEY_TAIL)]);
      const key = hmac(longKey, c1.slice(c1At, c1At + 32));
      assertEquals(s2.slice(-32), hmac(key, s2.slice(0, -32)));
    }
  });
}

Deno.test("ServerHandshake.push() echoes C1 when its version is set and its digest is wrong", () => {
  const c1 = signedPacket(0);
  c1[1535] = (c1[1535] ?? 0) ^ 1;
  const { s1, s2 } = answerTo(c1);
  assertEquals(s1.slice(0, 8), new Uint8Array(8));
  assertEquals(s2, c1);
});

Deno.test("ServerHandshake.push() does the same when split at any boundary", () => {
  const c1 = plainPacket();
  const all = concat([hello(c1), plainPacket(), Uint8Array.of(1, 2, 3)]);
  for (let at = 0; at <= all.length; at++) {
    const server = new ServerHandshake();
    const steps = [server.push(all.subarray(0, at)), server.push(all.subarray(at))];
    const sent = steps.flatMap(({ send }) => send ? [send] : []);
    assertEquals(sent.length, 1);
    assertEquals(sent[0]?.subarray(-HANDSHAKE_BYTES), c1);
    assertEquals(steps[0]?.done, at >= all.length - 3);
    assertEquals(steps[1]?.done, true);
    const rest = concat(steps.map((step) => step.rest));
    assertEquals(rest, Uint8Array.of(1, 2, 3));
  }
});

Deno.test("ServerHandshake.push() finishes when bytes come one by one", () => {
  const server = new ServerHandshake();
  const all = concat([hello(plainPacket()), plainPacket()]);
  const answered: number[] = [];
  for (const [index, byte] of all.entries()) {
    const { send, done } = server.push(Uint8Array.of(byte));
    if (send) answered.push(index);
    assertEquals(done, index === all.length - 1);
  }
  assertEquals(answered, [HANDSHAKE_BYTES]);
  assertEquals(server.push(Uint8Array.of(7)), { done: true, rest: Uint8Array.of(7) });
});

Deno.test("ServerHandshake.push() refuses versions other than 3 by their first byte", () => {
  for (const [version, message] of [[6, "encrypted"], [2, "is 2"], [0x47, "is 71"]] as const) {
    const server = new ServerHandshake();
    server.push(new Uint8Array(0));
    assertThrows(() => server.push(Uint8Array.of(version)), InvalidDataError, message);
  }
});

Deno.test("ClientHandshake and ServerHandshake reach an end in pieces of any size", () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 4_000 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(sizes, (lengths) => {
      const client = new ClientHandshake();
      const server = new ServerHandshake();
      const toServer = transfer(server, [client.hello], lengths);
      assertEquals(toServer.done, false);
      const toClient = transfer(client, toServer.sent, lengths);
      assertEquals(toClient.done, true);
      assertEquals(toClient.sent.length, 1);
      assertEquals(toClient.sent[0], toServer.sent[0]?.slice(1, 1 + HANDSHAKE_BYTES));
      assertEquals(transfer(server, toClient.sent, lengths).done, true);
    }),
    { seed, numRuns: 50 },
  );
});

Deno.test("ClientHandshake.push() gives what follows the handshake", () => {
  const client = new ClientHandshake();
  const server = new ServerHandshake();
  const answer = server.push(client.hello).send ?? new Uint8Array(0);
  const { done, rest } = client.push(concat([answer, Uint8Array.of(2)]));
  assertEquals(done, true);
  assertEquals(rest, Uint8Array.of(2));
});

Deno.test("ClientHandshake.push() refuses versions other than 3", () => {
  const client = new ClientHandshake();
  assertThrows(() => client.push(Uint8Array.of(4)), InvalidDataError, "is 4");
});

function transfer(
  receiver: ClientHandshake | ServerHandshake,
  data: readonly Uint8Array[],
  lengths: readonly number[],
): { sent: Uint8Array[]; done: boolean } {
  const bytes = concat(data);
  const sent: Uint8Array[] = [];
  let done = false;
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    const step = receiver.push(bytes.slice(at, at + length));
    at += length;
    if (step.send) sent.push(step.send);
    done = step.done;
  }
  return { sent, done };
}
