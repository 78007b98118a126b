/** One script of many modules: a browser asks for each file by itself, and waits for each. */

/** As `deno fmt` has it. Types are gone by then, which leaves blanks. */
const IMPORT = /^import\s*\{([^}]*)\}\s*from "\.\/(\w+)\.ts";$/gm;
const EXPORT = /^export ((?:async )?(?:function\*?|class|const) (\w+))/gm;

/**
 * A script that does what the module `entry` does, of the JavaScript of that and of those that it
 * imports, by their names without `.ts`. Each stays a scope of its own.
 *
 * Modules import by names from `./{name}.ts`, not in circles, and export what they declare.
 *
 * @throws {SyntaxError} If a module imports or exports in another way, or one that is not there.
 */
export function linkModules(entry: string, modules: ReadonlyMap<string, string>): string {
  const begun = new Set<string>();
  const done = new Set<string>();
  const linked: string[] = [];
  const add = (name: string) => {
    if (done.has(name)) return;
    const source = modules.get(name);
    if (source === undefined) throw new SyntaxError(`Cannot link ${name}: it is not there`);
    if (begun.has(name)) throw new SyntaxError(`Cannot link ${name}: it imports itself`);
    begun.add(name);
    const exported: string[] = [];
    const body = source
      .replace(IMPORT, (_, names: string, from: string) => {
        add(from);
        return `const {${names.replace(/ as /g, ": ")}} = $${from};`;
      })
      .replace(EXPORT, (_, declaration: string, exportedName: string) => {
        exported.push(exportedName);
        return declaration;
      });
    const odd = /^(?:import|export)\b.*/m.exec(body)?.[0];
    if (odd !== undefined) throw new SyntaxError(`Cannot link ${name}: "${odd}" is not understood`);
    done.add(name);
    linked.push(`const $${name} = (() => {\n${body}\nreturn { ${exported.join(", ")} };\n})();\n`);
  };
  add(entry);
  return linked.join("\n");
}
