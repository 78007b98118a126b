/** What the address of the page says. */

/** What the page shows. */
export type Route =
  | { readonly view: "streams" }
  | { readonly view: "watch"; readonly path: string };

const WATCH = "/watch/";
/** The argument that is the page's own; all others are for the guards. */
const PLAYER = "player";

/** What the page shows at `pathname`. */
export function routeOf(pathname: string): Route {
  if (!pathname.startsWith(WATCH)) return { view: "streams" };
  const path = decodePath(pathname.slice(WATCH.length));
  return path === "" ? { view: "streams" } : { view: "watch", path };
}

/** `path` as a part of an address, slashes and all. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** Where the page shows the stream `path`, with the guards' arguments of `search`. */
export function watchAddress(path: string, search: string): string {
  return WATCH + encodePath(path) + guardArguments(search);
}

/** The arguments of `search` that go on to the media addresses, from `?` on or empty. */
export function guardArguments(search: string): string {
  const args = search.replace(/^\?/, "").split("&").filter((part) =>
    part !== "" && !/^player(=|$)/.test(part)
  );
  return args.length > 0 ? `?${args.join("&")}` : "";
}

/** The delivery that the arguments name; empty if the page is to choose. */
export function chosenPlayer(search: string): string {
  return new URLSearchParams(search).get(PLAYER) ?? "";
}

/** The arguments `search` with `player` as the delivery, or without one if that is empty. */
export function withPlayer(search: string, player: string): string {
  const others = guardArguments(search);
  if (player === "") return others;
  return `${others === "" ? "?" : `${others}&`}${PLAYER}=${encodeURIComponent(player)}`;
}

function decodePath(text: string): string {
  const trimmed = text.split("/").filter((segment) => segment !== "").join("/");
  try {
    return decodeURIComponent(trimmed);
  } catch {
    return trimmed;
  }
}
