import { assertEquals } from "@std/assert";
import { WakeList } from "../src/wake_list.ts";

Deno.test("WakeList.wake() wakes each waiter once when it was added twice", () => {
  const list = new WakeList();
  let woken = 0;
  const waiter = { wake: () => void woken++ };
  list.add(waiter);
  list.add(waiter);
  list.wake();
  list.wake();
  assertEquals(woken, 1);
  assertEquals(list.size, 0);
});

Deno.test("WakeList.wake() leaves a waiter that adds itself again to the next wake-up", () => {
  const list = new WakeList();
  let woken = 0;
  const waiter = {
    wake() {
      woken++;
      list.add(waiter);
    },
  };
  list.add(waiter);
  for (let round = 1; round <= 5; round++) {
    list.wake();
    assertEquals([woken, list.size], [round, 1]);
  }
});

Deno.test("WakeList.delete() keeps a waiter from being woken when it is called by another one", () => {
  const list = new WakeList();
  const woken: string[] = [];
  const second = { wake: () => void woken.push("second") };
  list.add({
    wake() {
      woken.push("first");
      list.delete(second);
    },
  });
  list.add(second);
  list.wake();
  list.wake();
  assertEquals(woken, ["first"]);
});

Deno.test("WakeList.wake() loses no waiter when a waiter calls it", () => {
  const list = new WakeList();
  const woken: string[] = [];
  const reader = (name: string) => {
    const waiter = {
      wake() {
        woken.push(name);
        if (woken.length < 6) list.add(waiter);
      },
    };
    return waiter;
  };
  list.add(reader("a"));
  list.add({ wake: () => list.wake() });
  list.add(reader("b"));
  list.wake();
  assertEquals(woken, ["a", "b", "a", "b"]);
  list.wake();
  assertEquals(woken, ["a", "b", "a", "b", "a", "b"]);
  assertEquals(list.size, 1);
});
