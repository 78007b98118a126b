import { assert, assertEquals, assertFalse } from "@std/assert";
import { Events } from "../src/events.ts";
import { turns } from "./support/reading.ts";

interface Map {
  readonly ping: CustomEvent<number>;
  readonly pong: CustomEvent<string>;
}

function setUp() {
  const errors: string[] = [];
  const events = new Events<Map>((type, error) => errors.push(`${type} ${error}`));
  const ping = (detail: number) =>
    events.dispatchEvent(new CustomEvent("ping", { detail, cancelable: true }));
  return { events, errors, ping };
}

Deno.test("Events.dispatchEvent() calls listeners at once, in the order of adding", () => {
  const { events, ping } = setUp();
  const got: string[] = [];
  events.addEventListener("ping", ({ detail }) => got.push(`a${detail}`));
  events.addEventListener("pong", () => got.push("pong"));
  events.addEventListener("ping", ({ detail }) => got.push(`b${detail}`), { once: true });
  assert(ping(1));
  assert(ping(2));
  assertEquals(got, ["a1", "b1", "a2"]);
});

Deno.test("Events.dispatchEvent() is false when a listener prevents the default", () => {
  const { events, ping } = setUp();
  events.addEventListener("ping", (event) => event.preventDefault());
  assertFalse(ping(1));
});

Deno.test("Events.dispatchEvent() reports listeners that throw or reject, and calls the others", async () => {
  const { events, errors, ping } = setUp();
  const got: number[] = [];
  events.addEventListener("ping", () => {
    throw new RangeError("thrown");
  });
  events.addEventListener("ping", async () => {
    await Promise.resolve();
    throw new TypeError("rejected");
  });
  events.addEventListener("ping", ({ detail }) => got.push(detail));
  ping(1);
  assertEquals(got, [1]);
  await turns();
  assertEquals(errors.sort(), ["ping RangeError: thrown", "ping TypeError: rejected"]);
});

Deno.test("Events.removeEventListener() undoes adding, of its type only", () => {
  const { events, ping } = setUp();
  const got: unknown[] = [];
  const listener = ({ detail }: CustomEvent<unknown>) => got.push(detail);
  events.addEventListener("ping", listener);
  events.addEventListener("ping", listener);
  events.addEventListener("pong", listener);
  ping(1);
  events.removeEventListener("pong", listener);
  ping(2);
  events.removeEventListener("ping", listener);
  events.removeEventListener("ping", () => {});
  ping(3);
  events.dispatchEvent(new CustomEvent("pong", { detail: "x" }));
  assertEquals(got, [1, 2]);
});

Deno.test("Events.addEventListener() ends with its signal", () => {
  const { events, ping } = setUp();
  const controller = new AbortController();
  let calls = 0;
  events.addEventListener("ping", () => calls++, { signal: controller.signal });
  ping(1);
  controller.abort();
  ping(2);
  assertEquals(calls, 1);
});
