/** The Transport header (RFC 2326 12.39): how the packets of a track travel. */

import { InvalidDataError } from "../../src/errors.ts";
import { parseParameter, splitUnquoted } from "./fields.ts";

/** Two ports or two channels, for RTP and for RTCP. */
export interface RtpPair {
  /** That of RTP. */
  readonly rtp: number;
  /** That of RTCP. */
  readonly rtcp: number;
}

/** One transport of the header. */
export interface Transport {
  /** Protocol and profile in upper case, such as `RTP/AVP`; only that one can be served. */
  readonly profile: string;
  /** What carries it, in upper case: `UDP`, `TCP`, or what a peer made up. */
  readonly lower: string;
  /** Whether it is for many receivers. */
  readonly multicast?: boolean;
  /** Channels of interleaved frames, each 0 to 255. */
  readonly channels?: RtpPair;
  /** UDP ports of the client, each 1 to 65 535. */
  readonly clientPorts?: RtpPair;
  /** UDP ports of the server, each 1 to 65 535. */
  readonly serverPorts?: RtpPair;
  /** Synchronisation source of the sender: 32 bits. */
  readonly ssrc?: number;
  /** Whether the client plays or records; undefined means that it plays. */
  readonly mode?: "play" | "record";
  /** Address that the server sends from. */
  readonly source?: string;
  /**
   * Address to send to. A server must not follow it, or it could be made to flood others
   * (RFC 2326 16).
   */
  readonly destination?: string;
}

/** What a side can take. */
export interface TransportSupport {
  /** Whether packets may travel in UDP. */
  readonly udp: boolean;
  /** Whether they may travel interleaved with the messages. */
  readonly tcp: boolean;
}

/** The profile that is served; RTP/SAVP and RTP/AVPF are known of and refused (461). */
const PROFILE = "RTP/AVP";

/**
 * Reads a Transport header: its transports, the one that the peer likes best first.
 *
 * Unicast is assumed where neither is said, against the letter of 12.39 and with all that is in
 * use. Parameters that are unknown, and an SSRC that is no hexadecimal number, are passed over.
 *
 * @throws {InvalidDataError} If there is none, or one has malformed ports or channels.
 */
export function parseTransports(value: string): Transport[] {
  const transports = splitUnquoted(value, ",").map(parseTransport);
  if (transports.length === 0) throw new InvalidDataError("Cannot read Transport: it is empty");
  return transports;
}

/** The value of a Transport header with these transports, in order of preference. */
export function formatTransports(...transports: readonly Transport[]): string {
  return transports.map(formatTransport).join(",");
}

/**
 * The first of `offers` that can be served, without its destination: unicast RTP/AVP, interleaved
 * or to client ports that are given. Undefined if there is none, which a server answers with 461.
 */
export function chooseTransport(
  offers: readonly Transport[],
  support: TransportSupport,
): Transport | undefined {
  const found = offers.find(({ profile, lower, multicast, clientPorts }) => {
    if (profile !== PROFILE || multicast) return false;
    if (lower === "TCP") return support.tcp;
    return lower === "UDP" && support.udp && clientPorts !== undefined;
  });
  if (found === undefined) return undefined;
  const { destination: _, ...chosen } = found;
  return chosen;
}

function parseTransport(text: string): Transport {
  const [spec = "", ...rest] = splitUnquoted(text, ";");
  const parameters = new Map(rest.map(parseParameter));
  const [protocol = "", name = "", ...lowers] = spec.toUpperCase().split("/");
  const channels = parsePair(parameters.get("interleaved"), "interleaved");
  const clientPorts = parsePair(parameters.get("client_port"), "client_port");
  const serverPorts = parsePair(parameters.get("server_port"), "server_port");
  const ssrc = parseSsrc(parameters.get("ssrc"));
  const mode = parseMode(parameters.get("mode"));
  const source = parameters.get("source");
  const destination = parameters.get("destination");
  return {
    profile: `${protocol}/${name}`,
    // Some clients leave TCP out and name channels.
    lower: lowers.length > 0 ? lowers.join("/") : channels ? "TCP" : "UDP",
    ...parameters.has("multicast") ? { multicast: true } : {},
    ...channels ? { channels } : {},
    ...clientPorts ? { clientPorts } : {},
    ...serverPorts ? { serverPorts } : {},
    ...ssrc === undefined ? {} : { ssrc },
    ...mode ? { mode } : {},
    ...source ? { source } : {},
    ...destination ? { destination } : {},
  };
}

function formatTransport(transport: Transport): string {
  const { profile, lower, channels, clientPorts, serverPorts, ssrc, mode } = transport;
  const parts = [
    lower === "UDP" ? profile : `${profile}/${lower}`,
    transport.multicast ? "multicast" : "unicast",
  ];
  if (transport.destination !== undefined) parts.push(`destination=${transport.destination}`);
  if (transport.source !== undefined) parts.push(`source=${transport.source}`);
  if (channels) parts.push(`interleaved=${formatPair(channels)}`);
  if (clientPorts) parts.push(`client_port=${formatPair(clientPorts)}`);
  if (serverPorts) parts.push(`server_port=${formatPair(serverPorts)}`);
  if (ssrc !== undefined) parts.push(`ssrc=${ssrc.toString(16).toUpperCase().padStart(8, "0")}`);
  // Without quotes, which RFC 2326 14.6 does without, too, and not all clients take off.
  if (mode) parts.push(`mode=${mode}`);
  return parts.join(";");
}

/** Two numbers such as `0-1`, or one, after which the next one is that of RTCP. */
function parsePair(text: string | undefined, name: string): RtpPair | undefined {
  if (text === undefined) return undefined;
  const [, first, second] = /^(\d{1,5})(?:\s*-\s*(\d{1,5}))?$/.exec(text) ?? [];
  const rtp = Number(first);
  const rtcp = second === undefined ? rtp + 1 : Number(second);
  const [min, max] = name === "interleaved" ? [0, 0xff] : [1, 0xffff];
  if (!(Math.min(rtp, rtcp) >= min && Math.max(rtp, rtcp) <= max) || rtp === rtcp) {
    throw new InvalidDataError(`Cannot read Transport: its ${name} is no pair of numbers`);
  }
  return { rtp, rtcp };
}

function formatPair({ rtp, rtcp }: RtpPair): string {
  return `${rtp}-${rtcp}`;
}

function parseSsrc(text: string | undefined): number | undefined {
  return text !== undefined && /^[\da-f]{1,8}$/i.test(text) ? parseInt(text, 16) : undefined;
}

/** The mode, which may be a list of methods; `receive` is what publishers of old call it. */
function parseMode(text: string | undefined): Transport["mode"] {
  if (text === undefined) return undefined;
  return /\b(?:record|receive)\b/i.test(text) ? "record" : "play";
}
