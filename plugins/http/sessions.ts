/** Who has signed in: cookies that tell it by themselves, so that all isolates know it. */

import type { Context } from "hono";
import { deleteCookie, getCookie, getSignedCookie, setSignedCookie } from "hono/cookie";
import type { HttpEnv } from "./service.ts";

/** How long whoever signs in stays so. */
const SESSION_S = 30 * 24 * 3600;
/** Rounds that make it slow to find out a token from a cookie. */
const KEY_ROUNDS = 100_000;

interface Key {
  readonly token: string;
  readonly bytes: Promise<ArrayBuffer>;
}

/**
 * Sessions of those who have shown a token. The cookie has the time of its expiry, signed by a key that
 * is made of the token: it is void with another one.
 */
export class Sessions {
  #key: Key | undefined;

  /** Begins a session. */
  async begin(c: Context<HttpEnv>, token: string): Promise<void> {
    const expiry = Math.floor(Date.now() / 1000) + SESSION_S;
    await setSignedCookie(c, nameFor(c), String(expiry), await this.#keyOf(token), {
      path: "/",
      maxAge: SESSION_S,
      httpOnly: true,
      sameSite: "Strict",
      secure: isSecure(c),
    });
  }

  /** Whether a request is of a session that has begun with `token` and has not expired. */
  async has(c: Context<HttpEnv>, token: string): Promise<boolean> {
    const name = nameFor(c);
    if (getCookie(c, name) === undefined) return false;
    const value = await getSignedCookie(c, await this.#keyOf(token), name);
    return typeof value === "string" && Number(value) > Date.now() / 1000;
  }

  /** Ends a session in its browser. */
  end(c: Context<HttpEnv>): void {
    deleteCookie(c, nameFor(c), { path: "/", secure: isSecure(c) });
  }

  #keyOf(token: string): Promise<ArrayBuffer> {
    if (this.#key?.token !== token) this.#key = { token, bytes: deriveKey(token) };
    return this.#key.bytes;
  }
}

/** Cookies are for all ports of a host, where there may be other servers. */
function nameFor(c: Context<HttpEnv>): string {
  const { port } = new URL(c.req.url);
  return port === "" ? "m7s_session" : `m7s_session_${port}`;
}

async function deriveKey(token: string): Promise<ArrayBuffer> {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const key = await crypto.subtle.importKey("raw", bytes(token), "PBKDF2", false, ["deriveBits"]);
  const salt = bytes("m7s session");
  const how = { name: "PBKDF2", hash: "SHA-256", salt, iterations: KEY_ROUNDS };
  return await crypto.subtle.deriveBits(how, key, 256);
}

/** Whether the browser has the page by HTTPS, be it through a proxy. */
function isSecure(c: Context<HttpEnv>): boolean {
  return c.req.url.startsWith("https:") || (c.req.header("Origin")?.startsWith("https:") ?? false);
}
