/** Writes session descriptions (RFC 8866 5). */

import type { RtpFormat } from "./format.ts";
import type {
  MediaDescription,
  SdpAttribute,
  SdpConnection,
  SdpOrigin,
  SessionDescription,
} from "./sdp.ts";

/** The origin of descriptions that name none (RFC 8866 5.2). */
const NO_ORIGIN: SdpOrigin = {
  username: "-",
  sessionId: "0",
  version: "0",
  addressType: "IP4",
  address: "127.0.0.1",
};

/**
 * The text of a session description, its lines in the order of RFC 8866 5 and ended by CR LF. Its
 * times are those of a session without bounds.
 *
 * @throws {RangeError} If a line break or another control character is in any of its strings.
 */
export function serializeSdp(description: SessionDescription): string {
  const { username, sessionId, version, addressType, address } = description.origin ?? NO_ORIGIN;
  const lines = [
    "v=0",
    `o=${username} ${sessionId} ${version} IN ${addressType} ${address}`,
    `s=${description.name || "-"}`,
    ...addressLines(description),
    "t=0 0",
    ...attributeLines(description),
    ...description.media.flatMap(mediaLines),
  ];
  for (const line of lines) {
    // A line break in a name would be the next line of the description.
    // deno-lint-ignore no-control-regex -- control characters are what is looked for
    if (/[\0-\x1f\x7f]/.test(line)) {
      throw new RangeError(
        `Cannot write a session description: its line ${JSON.stringify(line)} is no line`,
      );
    }
  }
  return lines.map((line) => `${line}\r\n`).join("");
}

function mediaLines(media: MediaDescription): string[] {
  const { kind, port, protocol, formats, unknownFormats = [] } = media;
  const types = [...formats.map(({ payloadType }) => payloadType), ...unknownFormats];
  return [
    ["m=" + kind, port, protocol, ...types].join(" "),
    ...addressLines(media),
    ...formats.flatMap(formatLines),
    ...attributeLines(media),
  ];
}

function addressLines(section: {
  readonly connection?: SdpConnection;
  readonly bandwidth?: ReadonlyMap<string, number>;
}): string[] {
  const { connection, bandwidth = new Map() } = section;
  const lines: string[] = [];
  if (connection !== undefined) {
    const { addressType, address, ttl } = connection;
    lines.push(`c=IN ${addressType} ${address}${ttl === undefined ? "" : `/${ttl}`}`);
  }
  for (const [type, value] of bandwidth) lines.push(`b=${type}:${value}`);
  return lines;
}

function formatLines(format: RtpFormat): string[] {
  const { payloadType, encoding, clockRate, channels = 1, parameters } = format;
  const suffix = channels === 1 ? "" : `/${channels}`;
  const lines = [`a=rtpmap:${payloadType} ${encoding}/${clockRate}${suffix}`];
  if (parameters.size > 0) {
    const written = [...parameters].map(([name, value]) =>
      value === "" ? name : `${name}=${value}`
    );
    lines.push(`a=fmtp:${payloadType} ${written.join(";")}`);
  }
  return lines;
}

function attributeLines(section: {
  readonly control?: string;
  readonly direction?: string;
  readonly attributes: readonly SdpAttribute[];
}): string[] {
  const { control, direction, attributes } = section;
  return [
    ...(control === undefined ? [] : [`a=control:${control}`]),
    ...(direction === undefined ? [] : [`a=${direction}`]),
    ...attributes.map(({ name, value }) => `a=${name}${value === undefined ? "" : `:${value}`}`),
  ];
}
