/** What fetching a stream and sending one have in common: trying again, and setting up tracks. */

import { delay } from "@std/async/delay";
import { isIP } from "node:net";
import { serializeRtcp } from "../../src/rtp/rtcp.ts";
import { serializeRtp } from "../../src/rtp/packet.ts";
import { addressOf } from "../tcp.ts";
import type { RtspClient } from "./client.ts";
import type { Links } from "./links.ts";
import type { SessionHost } from "./media_session.ts";
import type { Carrier, RemoteOptions } from "./options.ts";
import { formatTransports, parseTransports, type Transport } from "./transport.ts";
import { parseRtspUrl } from "./url.ts";

/** Waits between two tries: the first one, which doubles up to the longest, in ms. */
const FIRST_WAIT_MS = 1000;
const MAX_WAIT_MS = 30_000;

/** What is shared by all that goes to other servers. */
export interface RemoteHost {
  /** What is shared with the sessions of the server. */
  readonly server: SessionHost;
  /** Random numbers from 0 to below 1, for waits. */
  readonly random: () => number;
}

/** How long to wait before each next try: longer and longer, and not all at the same time. */
export class Backoff {
  readonly #random: () => number;
  #nextMs = FIRST_WAIT_MS;

  /** With random numbers from 0 to below 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** The next wait, in ms: half of it at least, and the rest as chance has it. */
  next(): number {
    const ms = this.#nextMs;
    this.#nextMs = Math.min(2 * ms, MAX_WAIT_MS);
    return Math.round(ms * (0.5 + this.#random() / 2));
  }

  /** Begins anew, as it has worked. */
  reset(): void {
    this.#nextMs = FIRST_WAIT_MS;
  }
}

/** One try of {@linkcode trying}: resolves at an end in good order. */
export interface Attempt {
  /** Told that it works. */
  readonly onSuccess: () => void;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** What {@linkcode trying} works with. */
export interface TryingInit {
  /** Does it once; resolves at an end in good order. */
  readonly attempt: (attempt: Attempt) => Promise<void>;
  /** Whether it is still wanted. */
  readonly isWanted: () => boolean;
  /** Told why a try has failed, and how long it is until the next one. */
  readonly onFailure: (error: unknown, waitMs: number) => void;
  /** Random numbers from 0 to below 1. */
  readonly random: () => number;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Does something again and again, as long as it is wanted. Never rejects. */
export async function trying(init: TryingInit): Promise<void> {
  const { attempt, isWanted, onFailure, random, signal } = init;
  const backoff = new Backoff(random);
  while (!signal.aborted && isWanted()) {
    try {
      await attempt({ onSuccess: () => backoff.reset(), signal });
    } catch (error) {
      if (signal.aborted || !isWanted()) return;
      const waitMs = backoff.next();
      onFailure(error, waitMs);
      await delay(waitMs, { signal }).catch(() => {});
    }
  }
}

/** What {@linkcode setUpTrack} sets up. */
export interface TrackSetup {
  /** Number of the track among `links`. */
  readonly track: number;
  /** Its URL. */
  readonly url: string;
  /** Where it gets its way. */
  readonly links: Links;
  /** What carries the packets. */
  readonly carrier: Carrier;
  /** Whether they are sent or received. */
  readonly mode: "play" | "record";
}

/**
 * Sets up a track of the server's session.
 *
 * @throws {Error} If the server does not, or there is no port for it.
 */
export async function setUpTrack(
  client: RtspClient,
  setup: TrackSetup,
  host: RemoteHost,
): Promise<void> {
  const { track, url, links, carrier, mode } = setup;
  const ask = async (transport: Transport) => {
    const asked = formatTransports({ ...transport, ...(mode === "record" && { mode }) });
    const { headers } = await client.request("SETUP", url, { headers: { Transport: asked } });
    const [answer] = parseTransports(headers.get("transport") ?? asked);
    if (answer?.lower === transport.lower) return answer;
    throw new Error("it wants another transport than it was asked for");
  };
  if (carrier === "tcp") {
    const channels = { rtp: 2 * track, rtcp: 2 * track + 1 };
    const answer = await ask({ profile: "RTP/AVP", lower: "TCP", channels });
    return links.interleave(track, answer.channels ?? channels);
  }
  const pair = await host.server.ports.take(client.localAddress);
  if (pair === undefined) throw new Error("there are no free UDPPorts");
  try {
    const answer = await ask({ profile: "RTP/AVP", lower: "UDP", clientPorts: pair.ports });
    const { source = "", serverPorts } = answer;
    const address = isIP(source) > 0 ? source : client.remoteAddress;
    links.connect(track, pair, { address, ports: serverPorts });
  } catch (error) {
    pair.close();
    throw error;
  }
  if (mode === "record") return;
  // They open the way for what comes back through whatever translates our address.
  const header = { payloadType: 0, marker: false, sequence: 0, timestamp: 0, ssrc: 0 };
  links.send(track, "rtp", serializeRtp({ ...header, payload: new Uint8Array() }));
  links.send(track, "rtcp", serializeRtcp([{ type: "rr", ssrc: 0, reports: [] }]));
}

/** The server of `options` for people: without credentials. */
export function serverOf({ URL }: Pick<RemoteOptions, "URL">): string {
  const { hostname, port } = parseRtspUrl(URL);
  return addressOf(hostname, port);
}

/** What has gone wrong, for people. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
