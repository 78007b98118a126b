import { parse as parseToml, TomlDate, TomlError } from "smol-toml";

/**
 * Parses TOML into objects without a prototype.
 *
 * Dates and date-times are `Date`s (without an offset: in local time), times of day strings, integers always
 * numbers.
 *
 * @throws {SyntaxError} If the text is not TOML; the message begins with `Parse error on line L, column C:`.
 */
export function parse(tomlString: string): Record<string, unknown> {
  try {
    return table(parseToml(tomlString, { integersAsBigInt: "asNeeded" }));
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split("\n")[0]?.replace(/^Invalid TOML document: /, "");
    throw new SyntaxError(
      `Parse error on line ${error.line}, column ${error.column - 1}: ${reason}`,
      { cause: error },
    );
  }
}

function table(source: object): Record<string, unknown> {
  const target: Record<string, unknown> = Object.create(null);
  for (const [key, item] of Object.entries(source)) target[key] = value(item);
  return target;
}

function value(item: unknown): unknown {
  if (typeof item === "bigint") return Number(item);
  if (item instanceof TomlDate) {
    return item.isTime() ? item.toISOString().replace(/\.000$/, "") : new Date(item.toISOString());
  }
  if (Array.isArray(item)) return item.map(value);
  return typeof item === "object" && item !== null ? table(item) : item;
}
