import { assertEquals, assertRejects } from "@std/assert";
import { delay } from "@std/async/delay";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { Connection } from "../../plugins/connection.ts";

/** A connection whose peer is the test. */
class Peer {
  readonly connection: Connection;
  readonly #duplex: Duplex;
  #taken: (() => void)[] = [];

  constructor() {
    this.#duplex = new Duplex({
      read() {},
      write: (_bytes, _encoding, onTaken) => void this.#taken.push(onTaken),
    });
    this.connection = new Connection(this.#duplex as Socket, 60_000);
  }

  /** Whether nothing more is taken from it. */
  get isHeldUp(): boolean {
    return this.#duplex.isPaused();
  }

  say(text: string): void {
    this.#duplex.push(new TextEncoder().encode(text));
  }

  /** Takes all that is being written. */
  takeAll(): void {
    const taken = this.#taken;
    this.#taken = [];
    for (const onTaken of taken) onTaken();
  }

  end(): void {
    this.#duplex.push(null);
  }

  break(): void {
    this.#duplex.destroy(new Error("it broke"));
  }
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

async function settled(): Promise<void> {
  await delay(0);
}

Deno.test("Connection.each() hands over what comes, in order, until the peer ends it", async () => {
  const peer = new Peer();
  const heard: string[] = [];
  peer.say("a");
  const over = peer.connection.each((bytes) => void heard.push(text(bytes)));
  await settled();
  peer.say("b");
  peer.say("c");
  await settled();
  assertEquals(heard, ["a", "b", "c"]);
  peer.say("d");
  peer.end();
  await over;
  assertEquals(heard, ["a", "b", "c", "d"]);
  peer.connection.close();
});

Deno.test("Connection.each() holds back what comes while a promise is pending", async () => {
  const peer = new Peer();
  const heard: string[] = [];
  const first = Promise.withResolvers<void>();
  const over = peer.connection.each((bytes) => {
    heard.push(text(bytes));
    return heard.length === 1 ? first.promise : undefined;
  });
  for (const word of ["a", "b", "c"]) peer.say(word);
  peer.end();
  await settled();
  assertEquals(heard, ["a"]);
  first.resolve();
  await over;
  assertEquals(heard, ["a", "b", "c"]);
  peer.connection.close();
});

Deno.test("Connection.each() holds the peer up rather than keep much for who is busy", async () => {
  const peer = new Peer();
  let heard = 0;
  let done = Promise.withResolvers<void>();
  const over = peer.connection.each((bytes) => {
    heard += bytes.length;
    return bytes.length === 1 ? done.promise : undefined;
  });
  for (const times of [1, 2]) {
    done = Promise.withResolvers<void>();
    peer.say("a");
    await settled();
    peer.say("b".repeat(60_000));
    await settled();
    assertEquals(peer.isHeldUp, false);
    peer.say("c".repeat(6_000));
    await settled();
    assertEquals(peer.isHeldUp, true);
    done.resolve();
    await settled();
    assertEquals([peer.isHeldUp, heard], [false, 66_001 * times]);
  }
  peer.end();
  await over;
  peer.connection.close();
});

Deno.test("Connection.each() takes nothing from a peer that reads no replies", async () => {
  const peer = new Peer();
  const heard: string[] = [];
  const over = peer.connection.each((bytes) => {
    heard.push(text(bytes));
    peer.connection.send(new Uint8Array(40_000));
  });
  for (const word of ["a", "b", "c", "d"]) peer.say(word);
  peer.end();
  await settled();
  assertEquals(heard, ["a", "b"]);
  let isOver = false;
  const ending = over.then(() => isOver = true);
  for (let times = 0; times < 20 && !isOver; times++) {
    peer.takeAll();
    await settled();
  }
  assertEquals([heard.join(""), isOver], ["abcd", true]);
  await ending;
  peer.connection.close();
});

Deno.test("Connection.each() ends when the connection is closed, but not in the middle of a promise", async () => {
  const peer = new Peer();
  const heard: string[] = [];
  const first = Promise.withResolvers<void>();
  let isOver = false;
  const over = peer.connection.each((bytes) => {
    heard.push(text(bytes));
    return first.promise;
  }).then(() => isOver = true);
  peer.say("a");
  peer.say("b");
  await settled();
  peer.connection.close();
  await settled();
  assertEquals(isOver, false);
  first.resolve();
  await over;
  assertEquals(heard, ["a"]);
});

Deno.test("Connection.each() ends when it is closed by who takes the bytes, or before", async () => {
  const peer = new Peer();
  const heard: string[] = [];
  const over = peer.connection.each((bytes) => {
    heard.push(text(bytes));
    peer.connection.close();
  });
  peer.say("a");
  peer.say("b");
  await over;
  assertEquals(heard, ["a"]);
  await peer.connection.each((bytes) => void heard.push(text(bytes)));
  assertEquals(heard, ["a"]);
});

Deno.test("Connection.each() ends when it is closed while the peer reads no replies", async () => {
  for (const isAtOnce of [true, false]) {
    const peer = new Peer();
    const over = peer.connection.each(() => {
      peer.connection.send(new Uint8Array(80_000));
      if (isAtOnce) peer.connection.close();
    });
    peer.say("a");
    await settled();
    peer.connection.close();
    await over;
  }
});

Deno.test("Connection.each() rejects with what breaks it, after what came before", async () => {
  const peer = new Peer();
  const heard: string[] = [];
  const first = Promise.withResolvers<void>();
  const over = peer.connection.each((bytes) => {
    heard.push(text(bytes));
    return first.promise;
  });
  const rejected = assertRejects(() => over, Error, "it broke");
  peer.say("a");
  peer.say("b");
  await settled();
  peer.break();
  await settled();
  first.resolve();
  await rejected;
  assertEquals(heard, ["a", "b"]);
  peer.connection.close();
});

Deno.test("Connection.each() rejects with what its caller throws, who gets no more", async () => {
  for (const isLater of [false, true]) {
    const peer = new Peer();
    const heard: string[] = [];
    const over = peer.connection.each((bytes) => {
      heard.push(text(bytes));
      if (isLater) return Promise.reject(new TypeError("no"));
      throw new TypeError("no");
    });
    const rejected = assertRejects(() => over, TypeError, "no");
    peer.say("a");
    peer.say("b");
    await rejected;
    assertEquals(heard, ["a"]);
    peer.connection.close();
  }
});
