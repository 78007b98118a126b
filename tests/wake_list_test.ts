import { assertEquals } from "@std/assert";
import { Place, WakeList } from "../src/wake_list.ts";

Deno.test("WakeList.wake() wakes each place once when it waits twice", () => {
  const list = new WakeList();
  let woken = 0;
  const place = new Place(list);
  place.wait({ wake: () => void woken++ });
  place.wait({ wake: () => void (woken += 10) });
  assertEquals(list.size, 1);
  list.wake();
  list.wake();
  assertEquals([woken, list.size], [10, 0]);
});

Deno.test("WakeList.wake() leaves a place that waits again to the next wake-up", () => {
  const list = new WakeList();
  const place = new Place(list);
  let woken = 0;
  const waiter = {
    wake() {
      woken++;
      place.wait(waiter);
    },
  };
  place.wait(waiter);
  for (let round = 1; round <= 5; round++) {
    list.wake();
    assertEquals([woken, list.size], [round, 1]);
  }
});

Deno.test("Place.leave() keeps a waiter from being woken when it is called by another one", () => {
  const list = new WakeList();
  const [first, second] = [new Place(list), new Place(list)];
  const woken: string[] = [];
  first.wait({
    wake() {
      woken.push("first");
      second.leave();
    },
  });
  second.wait({ wake: () => void woken.push("second") });
  list.wake();
  list.wake();
  assertEquals([woken, list.size], [["first"], 0]);
});

Deno.test("Place.leave() takes any place out of the middle and does nothing twice", () => {
  const list = new WakeList();
  const woken: number[] = [];
  const places = [0, 1, 2, 3].map((index) => {
    const place = new Place(list);
    place.wait({ wake: () => void woken.push(index) });
    return place;
  });
  places[1]?.leave();
  places[1]?.leave();
  places[3]?.leave();
  places[3]?.wait({ wake: () => void woken.push(3) });
  places[0]?.leave();
  assertEquals(list.size, 2);
  list.wake();
  assertEquals([woken, list.size], [[2, 3], 0]);
});

Deno.test("WakeList.wake() loses no waiter when a waiter calls it", () => {
  const list = new WakeList();
  const woken: string[] = [];
  const add = (name: string) => {
    const place = new Place(list);
    const waiter = {
      wake() {
        woken.push(name);
        if (woken.length < 6) place.wait(waiter);
      },
    };
    place.wait(waiter);
  };
  add("a");
  new Place(list).wait({ wake: () => list.wake() });
  add("b");
  list.wake();
  assertEquals(woken, ["a", "b", "a", "b"]);
  list.wake();
  assertEquals(woken, ["a", "b", "a", "b", "a", "b"]);
  assertEquals(list.size, 1);
});

Deno.test("WakeList.wakeSome() wakes those who waited when it began, who waits longest first", () => {
  const list = new WakeList();
  const woken: number[] = [];
  const add = (name: number) => {
    const place = new Place(list);
    const waiter = {
      wake() {
        woken.push(name);
        place.wait(waiter);
      },
    };
    place.wait(waiter);
  };
  for (const name of [1, 2, 3, 4, 5]) add(name);
  assertEquals(list.wakeSome(2), true);
  list.begin();
  assertEquals([list.wakeSome(2), woken], [false, [1, 2]]);
  add(6);
  list.begin();
  assertEquals([list.wakeSome(4), woken], [false, [1, 2, 3, 4, 5, 1]]);
  add(7);
  assertEquals([list.wakeSome(9), woken], [true, [1, 2, 3, 4, 5, 1, 2, 6]]);
  assertEquals([list.wakeSome(9), list.size], [true, 7]);
});
