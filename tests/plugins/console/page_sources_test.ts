/** The page's files as such: what a browser gets, and what they never do. */

import { assertEquals } from "@std/assert";
import { stripTypeScriptTypes } from "node:module";

const folder = new URL("../../../plugins/console/page/", import.meta.url);
const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
const modules = names.filter((name) => name.endsWith(".ts"));
const html = Deno.readTextFileSync(new URL("index.html", folder));

function read(name: string): string {
  return Deno.readTextFileSync(new URL(name, folder));
}

for (const name of modules) {
  Deno.test(`${name} is JavaScript without its types, and imports what is there`, () => {
    const source = stripTypeScriptTypes(read(name));
    const imports = [...source.matchAll(/^(?:import|export)[^"]*from "([^"]+)";$/gm)];
    const missing = imports.map(([, specifier = ""]) => specifier)
      .filter((specifier) => !modules.includes(specifier.replace(/^\.\//, "")));
    assertEquals(missing, []);
  });

  Deno.test(`${name} makes no markup of text`, () => {
    const ways = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|srcdoc|\beval\b/;
    assertEquals(ways.exec(read(name)), null);
  });
}

Deno.test("index.html has nothing that a strict content security policy forbids", () => {
  assertEquals(/\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc="\/console\/)/.exec(html), null);
});
