/** What this project expects of `@std`: proves the stand-ins in `std/` and, without `links`, the real packages. */
import {
  assert,
  assertAlmostEquals,
  assertArrayIncludes,
  assertEquals,
  AssertionError,
  assertIsError,
  assertNotEquals,
  assertObjectMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { abortable, deadline, delay } from "@std/async";
import { delay as delayOfPath } from "@std/async/delay";
import { FakeTime, TimeError } from "@std/testing/time";
import { parse, stringify } from "@std/toml";

const equalPairs: [unknown, unknown][] = [
  [{ a: 1, b: { c: [1, 2] } }, { b: { c: [1, 2] }, a: 1 }],
  [0, -0],
  [NaN, NaN],
  [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  [new Uint8Array([1, 2]), new Uint8Array([0, 1, 2]).subarray(1)],
  [new Map([["a", { b: 1 }]]), new Map([["a", { b: 1 }]])],
  [new Set([1, 2]), new Set([2, 1])],
  [new Date(5), new Date(5)],
  [/a/g, /a/g],
  [new URL("http://a/b"), new URL("http://a/b")],
];

const unequalPairs: [unknown, unknown][] = [
  [{ a: undefined }, {}],
  [[1, 2], [1, 2, 3]],
  [new Uint8Array([1]), [1]],
  [new Uint8Array([1]), new Int8Array([1])],
  [new Map([["a", 1]]), new Map([["a", 2]])],
  [new Set([1, 2]), new Set([1, 3])],
  [new Date(5), new Date(6)],
  [/a/g, /a/i],
  [new (class A {})(), {}],
  ["1", 1],
  [null, undefined],
];

Deno.test("assertEquals() compares by structure", () => {
  for (const [a, b] of equalPairs) {
    assertEquals(a, b);
    assertThrows(() => assertNotEquals(a, b), AssertionError);
  }
  for (const [a, b] of unequalPairs) {
    assertNotEquals(a, b);
    assertThrows(() => assertEquals(a, b), AssertionError, "Values are not equal");
  }
});

Deno.test("assertEquals() reports a difference in large bytes within a second", () => {
  const a = new Uint8Array(1_000_000);
  const b = a.slice();
  b[500_000] = 1;
  const begin = performance.now();
  assertThrows(() =>
    assertEquals({ data: a.slice(0, 2_000) }, { data: b.slice(499_000, 501_000) })
  );
  assert(performance.now() - begin < 1_000);
});

Deno.test("assertThrows() tells class, message and absence apart", async () => {
  const thrown = assertThrows(() => JSON.parse("{"), SyntaxError, "JSON");
  assertIsError(thrown, SyntaxError, /JSON/);
  assertThrows(
    () => assertThrows(() => JSON.parse("{"), TypeError),
    AssertionError,
    `Expected error to be instance of "TypeError"`,
  );
  assertThrows(() => assertThrows(() => 1), AssertionError, "Expected function to throw");
  const reason = await assertRejects(() => Promise.reject(new RangeError("far off")), RangeError);
  assertStrictEquals(reason.message, "far off");
  await assertRejects(
    () => assertRejects(() => Promise.resolve()),
    AssertionError,
    "Expected function to reject",
  );
});

Deno.test("assertObjectMatch() ignores what the pattern does not name", () => {
  assertObjectMatch({ a: 1, b: { c: 2, d: 3 }, e: [{ f: 1, g: 2 }] }, {
    b: { c: 2 },
    e: [{ f: 1 }],
  });
  assertThrows(() => assertObjectMatch({ a: 1 }, { a: 2 }), AssertionError);
  assertThrows(() => assertObjectMatch({ a: { b: 1 } }, { a: { c: 1 } }), AssertionError);
  assertArrayIncludes([{ a: 1 }, { a: 2 }], [{ a: 2 }]);
  assertAlmostEquals(0.1 + 0.2, 0.3);
});

Deno.test("FakeTime fires timers in the order of time, then of setting", () => {
  using time = new FakeTime(1_000);
  const fired: string[] = [];
  setTimeout(() => fired.push(`c${Date.now()}`), 20);
  setTimeout(() => {
    fired.push(`a${Date.now()}`);
    setTimeout(() => fired.push(`a0${Date.now()}`), 0);
  }, 10);
  setTimeout(() => fired.push(`b${Date.now()}`), 10);
  const interval = setInterval(() => fired.push(`i${Date.now()}`), 15);
  const cleared = setTimeout(() => fired.push("never"), 5);
  clearTimeout(cleared);
  time.tick(10);
  assertEquals(fired.splice(0), ["a1010", "b1010", "a01010"]);
  time.tick(20);
  assertEquals(fired.splice(0), ["i1015", "c1020", "i1030"]);
  clearInterval(interval);
  time.runAll();
  assertEquals([fired, time.now, time.start, new Date().getTime()], [[], 1_030, 1_000, 1_030]);
  assertThrows(() => new FakeTime(), TimeError);
});

Deno.test("FakeTime moves delay() and deadline()", async () => {
  using time = new FakeTime();
  const order: string[] = [];
  const waits = [
    delay(100).then(() => order.push("delay")),
    delayOfPath(300, { signal: AbortSignal.timeout(200) }).catch((e) => order.push(e.name)),
    deadline(new Promise(() => {}), 400).catch((e) => order.push(e.name)),
  ];
  await time.tickAsync(100);
  await time.runMicrotasks();
  assertEquals(order.splice(0), ["delay"]);
  assert(await time.nextAsync());
  await time.runMicrotasks();
  assertEquals(order.splice(0), ["TimeoutError"]);
  await time.runAllAsync();
  await Promise.all(waits);
  assertEquals(order, ["TimeoutError"]);
});

Deno.test("FakeTime.restore() gives the globals back", async () => {
  const before = [Date, setTimeout, clearTimeout, setInterval, clearInterval, AbortSignal.timeout];
  {
    using time = new FakeTime();
    const faked = [Date, setTimeout, clearTimeout, setInterval, clearInterval, AbortSignal.timeout];
    assert(faked.every((value, i) => value !== before[i]));
    assertStrictEquals(await FakeTime.restoreFor(() => Date), before[0]);
    await time.delay(1);
  }
  const after = [Date, setTimeout, clearTimeout, setInterval, clearInterval, AbortSignal.timeout];
  assertEquals(after, before);
});

Deno.test("abortable() ends an iteration with the signal's reason and closes the source", async () => {
  let closed = false;
  async function* forever() {
    try {
      while (true) {
        await delay(1);
        yield 1;
      }
    } finally {
      closed = true;
    }
  }
  const controller = new AbortController();
  const error = await assertRejects(async () => {
    for await (const _ of abortable(forever(), controller.signal)) {
      controller.abort(new RangeError("enough"));
    }
  }, RangeError);
  assertEquals([error.message, closed], ["enough", true]);
});

Deno.test("delay() rejects at once when its signal has aborted", async () => {
  await assertRejects(() => delay(60_000, { signal: AbortSignal.abort() }), DOMException);
  const controller = new AbortController();
  const waiting = delay(60_000, { signal: controller.signal });
  controller.abort(new RangeError("no more"));
  await assertRejects(() => waiting, RangeError, "no more");
});

Deno.test("parse() of TOML gives the value types of the real package", () => {
  const value = parse(`
    whole = 1_000
    large = 9007199254740993
    real = 1.5
    date = 1979-05-27
    moment = 1979-05-27T07:32:00Z
    time = 07:32:00
    [Table.sub]
    list = ["a", 'b']
    [[tables]]
    x = { y = true }
  `);
  assertEquals(value, {
    whole: 1_000,
    large: Number("9007199254740993"),
    real: 1.5,
    date: new Date("1979-05-27"),
    moment: new Date("1979-05-27T07:32:00Z"),
    time: "07:32:00",
    Table: { sub: { list: ["a", "b"] } },
    tables: [{ x: { y: true } }],
  });
  assertEquals(parse(stringify({ a: { b: [1, "two"] } })), { a: { b: [1, "two"] } });
});

Deno.test("parse() of TOML throws a SyntaxError with the line", () => {
  assertThrows(() => parse("a = 1\nb = @\nc = 1\n"), SyntaxError, "Parse error on line 2");
});
