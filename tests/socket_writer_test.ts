import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { SocketWriter, type WritableSocket } from "../src/socket_writer.ts";

/** A socket whose peer takes as much as the test says. */
class FakeSocket implements WritableSocket {
  writable = true;
  /** Bytes of each write, in order. */
  readonly writes: number[] = [];
  /** Bytes that the system takes at once. */
  room = Infinity;
  readonly encrypted?: boolean;
  readonly #held: { length: number; onWritten: (() => void) | undefined }[] = [];

  constructor(encrypted = false) {
    if (encrypted) this.encrypted = true;
  }

  get writableLength(): number {
    return this.#held.reduce((sum, { length }) => sum + length, 0);
  }

  write({ length }: Uint8Array, onWritten?: () => void): boolean {
    this.writes.push(length);
    if (!this.writable || (this.#held.length === 0 && length <= this.room && !this.encrypted)) {
      this.room -= length;
      if (onWritten !== undefined) queueMicrotask(onWritten);
      return true;
    }
    this.#held.push({ length, onWritten });
    return false;
  }

  /** Lets the peer take the oldest `count` pieces that are held. */
  take(count = Infinity): void {
    for (const { onWritten } of this.#held.splice(0, count)) onWritten?.();
  }
}

/** A writer with a second's patience on the clock of `time`, and how often it lost that. */
function writing(socket: WritableSocket, time?: FakeTime) {
  const seen = { timeouts: 0, ready: [] as string[] };
  const writer = new SocketWriter(socket, {
    timeoutMs: 1000,
    onTimeout: () => seen.timeouts++,
    nowMs: () => time?.now ?? 0,
  });
  const whenReady = (name: string) => writer.whenReady(() => seen.ready.push(name));
  return { writer, seen, whenReady };
}

const bytes = (length: number) => new Uint8Array(length);

Deno.test("SocketWriter.write() asks for no callback while the peer takes all", () => {
  using time = new FakeTime();
  const socket = new FakeSocket();
  const { writer } = writing(socket, time);
  for (let length = 1; length <= 3; length++) assert(writer.write(bytes(length)));
  assertEquals([socket.writes, writer.stalled, time.next()], [[1, 2, 3], false, false]);
});

Deno.test("SocketWriter.write() says when the peer lags, and whenReady() when it has caught up", () => {
  using time = new FakeTime();
  const socket = new FakeSocket();
  const { writer, seen, whenReady } = writing(socket, time);
  socket.room = 10;
  assert(writer.write(bytes(10)));
  assert(!writer.write(bytes(5)));
  // Behind the bytes there is an empty piece that comes back once they are gone.
  assertEquals([socket.writes, writer.stalled], [[10, 5, 0], true]);
  whenReady("a");
  whenReady("b");
  socket.take(1);
  assertEquals([writer.stalled, seen.ready], [true, []]);
  socket.take();
  assertEquals([writer.stalled, seen.ready], [false, ["a", "b"]]);
  socket.room = 0;
  assert(!writer.write(bytes(1)));
  socket.take();
  assertEquals(seen.ready, ["a", "b"]);
  time.tick(5000);
  assertEquals([seen.timeouts, time.next()], [0, false]);
});

Deno.test("SocketWriter.write() keeps the order of what is written while the peer lags", () => {
  using time = new FakeTime();
  const socket = new FakeSocket();
  const { writer, seen, whenReady } = writing(socket, time);
  socket.room = 0;
  writer.write(bytes(5));
  assert(!writer.write(bytes(6)));
  assert(!writer.write(bytes(7)));
  assertEquals(socket.writes, [5, 0, 6, 7]);
  whenReady("all");
  socket.take(3);
  assertEquals([writer.stalled, seen.ready], [true, []]);
  socket.take();
  assertEquals([writer.stalled, seen.ready], [false, ["all"]]);
  writer.stop();
});

Deno.test("SocketWriter.whenReady() may write, and wait again", () => {
  using time = new FakeTime();
  const socket = new FakeSocket();
  const { writer, seen, whenReady } = writing(socket, time);
  socket.room = 0;
  writer.write(bytes(5));
  writer.whenReady(() => {
    assert(!writer.write(bytes(6)));
    whenReady("again");
  });
  whenReady("other");
  socket.take();
  assertEquals([writer.stalled, seen.ready, socket.writes], [true, ["other"], [5, 0, 6, 0]]);
  socket.take();
  assertEquals([writer.stalled, seen.ready], [false, ["other", "again"]]);
  writer.stop();
});

Deno.test("SocketWriter tells once of a peer that takes nothing, not of one that is slow", () => {
  using time = new FakeTime();
  const socket = new FakeSocket();
  const { writer, seen } = writing(socket, time);
  socket.room = 0;
  for (let piece = 0; piece < 4; piece++) writer.write(bytes(5));
  for (let piece = 0; piece < 4; piece++) {
    time.tick(900);
    // With the first one goes the empty piece behind it.
    socket.take(piece === 0 ? 2 : 1);
    if (piece === 2) writer.write(bytes(5));
  }
  assertEquals([seen.timeouts, writer.stalled], [0, true]);
  time.tick(999);
  assertEquals(seen.timeouts, 0);
  time.tick(1);
  assertEquals(seen.timeouts, 1);
  time.tick(10_000);
  assertEquals([seen.timeouts, time.next()], [1, false]);
});

Deno.test("SocketWriter.finish() gives the peer its time for the last bytes", () => {
  using time = new FakeTime();
  const { writer, seen } = writing(new FakeSocket(), time);
  writer.write(bytes(5));
  writer.finish();
  time.tick(999);
  assertEquals(seen.timeouts, 0);
  time.tick(1);
  assertEquals(seen.timeouts, 1);
});

Deno.test("SocketWriter.stop() leaves no timer and calls nobody", () => {
  using time = new FakeTime();
  const socket = new FakeSocket();
  const { writer, seen, whenReady } = writing(socket, time);
  socket.room = 0;
  writer.write(bytes(5));
  whenReady("late");
  writer.stop();
  writer.stop();
  socket.take();
  writer.finish();
  assertEquals([seen.ready, seen.timeouts, time.next()], [[], 0, false]);
});

Deno.test("SocketWriter waits for each piece, and writes none that is empty, when the socket speaks TLS", () => {
  using time = new FakeTime();
  const socket = new FakeSocket(true);
  const { writer, seen, whenReady } = writing(socket, time);
  assert(!writer.write(bytes(5)));
  whenReady("first");
  assert(!writer.write(bytes(6)));
  socket.take(1);
  assertEquals([writer.stalled, seen.ready], [true, []]);
  socket.take(1);
  assertEquals([writer.stalled, seen.ready, socket.writes], [false, ["first"], [5, 6]]);
  assert(!writer.write(bytes(7)));
  time.tick(1000);
  assertEquals(seen.timeouts, 1);
});

Deno.test("SocketWriter.write() says that no more should be written when the socket is broken", async () => {
  using time = new FakeTime();
  const socket = new FakeSocket();
  const { writer, seen, whenReady } = writing(socket, time);
  socket.writable = false;
  assert(!writer.write(bytes(5)));
  assertEquals([writer.stalled, time.next()], [false, false]);
  const broken = new FakeSocket(true);
  broken.writable = false;
  const other = writing(broken, time);
  assert(!other.writer.write(bytes(5)));
  other.whenReady("over");
  whenReady("never");
  await Promise.resolve();
  assertEquals([other.seen.ready, seen.ready], [["over"], []]);
  time.tick(5000);
  assertEquals([seen.timeouts, other.seen.timeouts, time.next()], [0, 0, false]);
});
