/** Loggers whose lines a test reads. */

import type { Logger } from "../../src/log.ts";

/**
 * A logger that adds lines such as `warn live/a: ended` to `lines`; with a `category` the line says
 * that, too, and children of the logger have theirs.
 */
export function listLogger(lines: string[], category?: string): Logger {
  const write = (level: string) => (text: string, values: Record<string, unknown> = {}) => {
    const message = text.replaceAll(/\{(\w+)\}/g, (_, name) => String(values[name]));
    lines.push([level, category, message].filter((part) => part !== undefined).join(" "));
  };
  const child = (name: string) => listLogger(lines, category && `${category}.${name}`);
  const levels = ["debug", "info", "warn", "error"];
  const methods = Object.fromEntries(levels.map((level) => [level, write(level)]));
  return { ...methods, getChild: child } as unknown as Logger;
}
