/** Reads session descriptions (RFC 8866), also those that keep few of its rules. */

import { InvalidDataError } from "../errors.ts";
import { registeredName, staticFormat, usualClockRate } from "./encodings.ts";
import type { RtpFormat } from "./format.ts";
import type {
  MediaDescription,
  SdpAttribute,
  SdpConnection,
  SdpDirection,
  SdpOrigin,
  SessionDescription,
} from "./sdp.ts";

/** Longest description: those of browsers with many codecs and tracks have 20 000 characters. */
const MAX_TEXT_LENGTH = 65_536;

/** Longest line: parameter sets and object descriptors in base64 take about 2 000 characters. */
const MAX_LINE_LENGTH = 8_192;

/** Most media sections: a camera has a few, a conference two for each participant. */
const MAX_MEDIA = 64;

/** Most formats of a media section: payload types have 7 bits. */
const MAX_FORMATS = 128;

/** Most attributes of a section: the sources of a browser's media take about 100. */
const MAX_ATTRIBUTES = 512;

/** Most parameters of a format: the fullest registrations have about 40. */
const MAX_PARAMETERS = 64;

/** Most types of bandwidth of a section: five are registered. */
const MAX_BANDWIDTHS = 16;

/** Highest clock rate: that of an MPEG-4 audio configuration has 24 bits. */
const MAX_CLOCK_RATE = 2 ** 24;

/** Most channels: MPEG-4 audio has a layout of 24, none has more than its count's 8 bits. */
const MAX_CHANNELS = 255;

const DIRECTIONS: readonly string[] = ["sendrecv", "sendonly", "recvonly", "inactive"];

/** What session and media sections share, while it is read. */
interface Section {
  connection?: SdpConnection;
  readonly bandwidth: Map<string, number>;
  control?: string;
  direction?: SdpDirection;
  readonly attributes: SdpAttribute[];
}

/** A media section while it is read. */
interface Media extends Section {
  readonly kind: string;
  readonly port: number;
  readonly protocol: string;
  readonly formats: readonly string[];
  /** The values of rtpmap without payload types, by these. */
  readonly maps: Map<string, string>;
  readonly parameters: Map<string, Map<string, string>>;
}

/**
 * What a session description says (RFC 8866 5).
 *
 * Lines may end in LF alone, lack or come in any order; those that make no sense are passed over,
 * except for media lines. Payload types of RFC 3551 need no rtpmap.
 *
 * @throws {InvalidDataError} If the text has neither a version nor a media line, a media line lacks
 * its port or protocol, or the text, a line or the number of something is over its maximum.
 */
export function parseSdp(text: string): SessionDescription {
  if (text.length > MAX_TEXT_LENGTH) {
    throw new InvalidDataError(
      `Cannot parse a session description: its length is ${text.length}, over ${MAX_TEXT_LENGTH}`,
    );
  }
  return new Parser().parse(text);
}

class Parser {
  readonly #session: Section = newSection();
  readonly #media: Media[] = [];
  #section: Section = this.#session;
  #origin: SdpOrigin | undefined;
  #name = "";
  #isDescription = false;
  /** Number of the line being read, from 1 on. */
  #line = 0;

  parse(text: string): SessionDescription {
    for (const raw of text.split(/\r\n|\r|\n/)) {
      this.#line++;
      if (raw.length > MAX_LINE_LENGTH) this.#fail(`its length is over ${MAX_LINE_LENGTH}`);
      // Cameras end their text with the zero of a C string.
      const line = raw.replaceAll("\0", " ").trim();
      if (line[1] === "=") this.#readLine(line.charAt(0), line.slice(2).trim());
    }
    if (!this.#isDescription) {
      throw new InvalidDataError(
        "Cannot parse a session description: the number of its version and media lines is 0",
      );
    }
    return {
      ...(this.#origin && { origin: this.#origin }),
      name: this.#name,
      ...finishSection(this.#session),
      media: this.#media.map(finishMedia),
    };
  }

  #readLine(type: string, value: string): void {
    const isSession = this.#section === this.#session;
    switch (type) {
      case "v":
        this.#isDescription = true;
        return;
      case "o":
        this.#origin ??= readOrigin(value);
        return;
      case "s":
        if (isSession) this.#name = value === "-" ? "" : value;
        return;
      case "c": {
        const connection = readConnection(value);
        if (connection !== undefined) this.#section.connection ??= connection;
        return;
      }
      case "b":
        return this.#readBandwidth(value);
      case "m":
        return this.#startMedia(value);
      case "a":
        return this.#readAttribute(value);
    }
  }

  #readBandwidth(value: string): void {
    const match = /^([^\s:]+)\s*:\s*(\d{1,15})$/.exec(value);
    if (match === null) return;
    const { bandwidth } = this.#section;
    bandwidth.set(match[1] ?? "", Number(match[2]));
    this.#limit("bandwidths", bandwidth.size, MAX_BANDWIDTHS);
  }

  #startMedia(value: string): void {
    const [kind, port, protocol, ...formats] = value.split(/\s+/);
    if (kind === undefined || kind === "" || port === undefined || protocol === undefined) {
      this.#fail(`its media line is "${value.slice(0, 80)}"`);
    }
    this.#isDescription = true;
    this.#limit("formats", formats.length, MAX_FORMATS);
    const media = {
      ...newSection(),
      kind: kind.toLowerCase(),
      port: portOf(port),
      protocol,
      formats,
      maps: new Map<string, string>(),
      parameters: new Map<string, Map<string, string>>(),
    };
    this.#media.push(media);
    this.#section = media;
    this.#limit("media sections", this.#media.length, MAX_MEDIA);
  }

  #readAttribute(text: string): void {
    const colon = text.indexOf(":");
    const name = (colon < 0 ? text : text.slice(0, colon)).trim();
    const value = colon < 0 ? undefined : text.slice(colon + 1).trim();
    const section = this.#section;
    const key = name.toLowerCase();
    if (DIRECTIONS.includes(key)) {
      section.direction = key as SdpDirection;
    } else if (key === "control" && value !== undefined) {
      section.control ??= value;
    } else if (isMedia(section) && value !== undefined && (key === "rtpmap" || key === "fmtp")) {
      this.#readFormat(section, key, value);
    } else if (name !== "") {
      section.attributes.push(value === undefined ? { name } : { name, value });
      this.#limit("attributes", section.attributes.length, MAX_ATTRIBUTES);
    }
  }

  #readFormat(media: Media, key: "rtpmap" | "fmtp", text: string): void {
    const [, written = "", value = ""] = /^(\S+)\s*(.*)$/.exec(text) ?? [];
    const format = formatNamed(media, key, written);
    if (format === undefined) return;
    if (key === "rtpmap") {
      if (!media.maps.has(format)) media.maps.set(format, value);
      return;
    }
    let parameters = media.parameters.get(format);
    if (parameters === undefined) media.parameters.set(format, parameters = new Map());
    for (const part of value.split(";")) {
      // Only the first sign parts name and value: base64 ends with more of them.
      const sign = part.indexOf("=");
      const name = (sign < 0 ? part : part.slice(0, sign)).trim();
      const content = sign < 0 ? "" : part.slice(sign + 1).trim();
      if (name !== "") parameters.set(name.toLowerCase(), unquoted(content));
    }
    this.#limit("format parameters", parameters.size, MAX_PARAMETERS);
  }

  #limit(what: string, count: number, max: number): void {
    if (count > max) this.#fail(`the number of ${what} is over ${max}`);
  }

  #fail(why: string): never {
    throw new InvalidDataError(
      `Cannot parse line ${this.#line} of a session description: ${why}`,
    );
  }
}

function newSection(): Section {
  return { bandwidth: new Map(), attributes: [] };
}

function isMedia(section: Section): section is Media {
  return "formats" in section;
}

/**
 * The format of the media line that a line of payload type `written` means: cameras write their
 * fmtp with the number of another product's format, so the only format there is must be meant.
 */
function formatNamed(media: Media, key: "rtpmap" | "fmtp", written: string): string | undefined {
  if (media.formats.includes(written)) return written;
  const [only, ...others] = media.formats;
  const known = key === "rtpmap" ? media.maps : media.parameters;
  const isFree = only !== undefined && others.length === 0 && !known.has(only);
  return isFree && /^\d+$/.test(written) && staticFormat(Number(only)) === undefined
    ? only
    : undefined;
}

function finishSection(section: Section): Omit<SessionDescription, "origin" | "name" | "media"> {
  const { connection, bandwidth, control, direction, attributes } = section;
  return {
    ...(connection !== undefined && { connection }),
    ...(bandwidth.size > 0 && { bandwidth }),
    ...(control !== undefined && { control }),
    ...(direction !== undefined && { direction }),
    attributes,
  };
}

function finishMedia(media: Media): MediaDescription {
  const formats: RtpFormat[] = [];
  const unknownFormats: string[] = [];
  for (const written of new Set(media.formats)) {
    const format = formatOf(media, written);
    if (format !== undefined) formats.push(format);
    else unknownFormats.push(written);
  }
  const { kind, port, protocol } = media;
  return {
    kind,
    port,
    protocol,
    formats,
    ...(unknownFormats.length > 0 && { unknownFormats }),
    ...finishSection(media),
  };
}

function formatOf(media: Media, written: string): RtpFormat | undefined {
  if (!/^\d{1,3}$/.test(written) || Number(written) > 127) return undefined;
  const payloadType = Number(written);
  const parameters = media.parameters.get(written) ?? new Map<string, string>();
  const map = media.maps.get(written);
  const mapped = map === undefined ? undefined : readMap(map);
  const known = mapped ?? staticFormat(payloadType);
  return known && { ...known, payloadType, parameters };
}

/** The value of rtpmap behind the payload type (RFC 8866 6.6): name, clock rate, channels. */
function readMap(value: string): Omit<RtpFormat, "payloadType" | "parameters"> | undefined {
  const [name = "", rate = "", count = ""] = value.split("/").map((part) => part.trim());
  const clockRate = /^\d{1,8}$/.test(rate) && Number(rate) > 0
    ? Number(rate)
    : usualClockRate(name);
  if (name === "" || clockRate === undefined || clockRate > MAX_CLOCK_RATE) return undefined;
  const channels = /^\d{1,3}$/.test(count) ? Number(count) : 1;
  return {
    encoding: registeredName(name),
    clockRate,
    ...(channels > 1 && channels <= MAX_CHANNELS && { channels }),
  };
}

function readOrigin(value: string): SdpOrigin | undefined {
  const [username, sessionId, version, network, addressType, address] = value.split(/\s+/);
  if (network === undefined || addressType === undefined || address === undefined) return undefined;
  return {
    username: username ?? "-",
    sessionId: sessionId ?? "0",
    version: version ?? "0",
    addressType,
    address,
  };
}

function readConnection(value: string): SdpConnection | undefined {
  const [network, addressType, text] = value.split(/\s+/);
  if (network === undefined || addressType === undefined || text === undefined) return undefined;
  const [address = "", ttl = ""] = text.split("/");
  if (address === "") return undefined;
  const isTtl = addressType.toUpperCase() === "IP4" && /^\d{1,3}$/.test(ttl) && Number(ttl) < 256;
  return { addressType, address, ...(isTtl && { ttl: Number(ttl) }) };
}

/** A port, maybe with a number of ports behind it; 0 for what is none, as RTSP has its own. */
function portOf(text: string): number {
  const port = /^(\d{1,5})(\/|$)/.exec(text)?.[1];
  return port !== undefined && Number(port) < 65_536 ? Number(port) : 0;
}

function unquoted(value: string): string {
  return /^"(.*)"$/.exec(value)?.[1] ?? value;
}
