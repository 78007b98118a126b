/** Ports that several sockets are to share, which therefore cannot be any free ones. */

/** Where systems take no ports from for outgoing connections. */
const FIRST = 20_000;
const COUNT = 12_000;

/** A TCP port of 127.0.0.1 that nobody listens on. */
export function freePort(): number {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
