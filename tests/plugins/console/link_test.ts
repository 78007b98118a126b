/** Modules of a page as one script. */

import { assertEquals, assertThrows } from "@std/assert";
import { linkModules } from "../../../plugins/console/link.ts";

/** What the script that is made of `modules` leaves in `globalThis.found`. */
async function run(modules: Record<string, string>): Promise<unknown> {
  const script = linkModules("main", new Map(Object.entries(modules)));
  const scope = globalThis as { found?: unknown };
  try {
    await import(`data:text/javascript,${encodeURIComponent(script)}`);
    return scope.found;
  } finally {
    delete scope.found;
  }
}

Deno.test("linkModules() makes a script that runs modules once, each after those it imports", async () => {
  const note = (name: string) => `(globalThis.found ??= []).push("${name}");`;
  const found = await run({
    unused: note("unused"),
    main: `import { b } from "./b.ts";\nimport { c } from "./c.ts";\n${note("main")}`,
    b: `import { c } from "./c.ts";\nexport const b = c;\n${note("b")}`,
    c: `${note("c")}\nexport const c = 1;`,
  });
  assertEquals(found, ["c", "b", "main"]);
});

Deno.test("linkModules() keeps the names of modules apart, and takes all that they export", async () => {
  const found = await run({
    main: `import { A, b as c, d, e, f, later } from "./other_one.ts";
import {
  g as h,
} from "./main_two.ts";
import {         } from "./main_two.ts";
const own = "main's";
globalThis.found = [new A().x, c(), d(), e, [...f()], h, own, typeof later];`,
    other_one: `const own = "other's";
export class A { x = own; }
export function b() { return "$& b"; }
export function d() { return "d"; }
export async function later() {}
export const e = "e";
export function* f() { yield "f"; }`,
    main_two: `const own = "two's";
export const g = own;`,
  });
  assertEquals(found, ["other's", "$& b", "d", "e", ["f"], "two's", "main's", "function"]);
});

Deno.test("linkModules() refuses what it would get wrong", () => {
  const cases = [
    `import all from "./a.ts";`,
    `import * as all from "./a.ts";`,
    `import "./a.ts";`,
    `import { a } from "a";`,
    `import { a } from "./sub/a.ts";`,
    `import { a } from './a.ts';`,
    `import { missing } from "./missing.ts";`,
    `import { c } from "./circle.ts";`,
    `export default 1;`,
    `export { a };`,
    `export * from "./a.ts";`,
    `export let a;`,
  ];
  for (const main of cases) {
    const modules = new Map([
      ["main", main],
      ["a", "export const a = 1;"],
      ["circle", `import { x } from "./main.ts";\nexport const c = 1;`],
    ]);
    assertThrows(() => linkModules("main", modules), SyntaxError, "Cannot link", main);
  }
});
