/** Session descriptions (RFC 8866): what RTSP and WebRTC say of the media they carry. */

import type { RtpFormat } from "./format.ts";

export { parseSdp } from "./sdp_parse.ts";
export { serializeSdp } from "./sdp_serialize.ts";

/** A session description. */
export interface SessionDescription {
  /** Who made it, and which version it is (RFC 8866 5.2). @default {not said} */
  readonly origin?: SdpOrigin;
  /** Name of the session (RFC 8866 5.3); empty if it has none. */
  readonly name: string;
  /** Address of all media without one of their own (RFC 8866 5.7). @default {not said} */
  readonly connection?: SdpConnection;
  /** Bandwidths by type, such as `AS` in kbit/s (RFC 8866 5.8). @default {not said} */
  readonly bandwidth?: ReadonlyMap<string, number>;
  /** URL that controls the whole session, or `*` (RFC 2326 C.1.1). @default {not said} */
  readonly control?: string;
  /** Direction of all media without one of their own. @default {not said} */
  readonly direction?: SdpDirection;
  /** Attributes without a field of their own, in order. */
  readonly attributes: readonly SdpAttribute[];
  /** Its media, in order. */
  readonly media: readonly MediaDescription[];
}

/** A media section (RFC 8866 5.14). */
export interface MediaDescription {
  /** `video`, `audio`, `application` or another, in lower case. */
  readonly kind: string;
  /** Transport port, 0 to 65 535; 0 of media that are chosen by other means or refused. */
  readonly port: number;
  /** Transport protocol, such as `RTP/AVP` or `UDP/TLS/RTP/SAVPF`. */
  readonly protocol: string;
  /** Payload formats, the preferred one first. */
  readonly formats: readonly RtpFormat[];
  /** Formats that nothing is known of but what the media line says. @default {none} */
  readonly unknownFormats?: readonly string[];
  /** Its address (RFC 8866 5.7). @default {that of the session} */
  readonly connection?: SdpConnection;
  /** Bandwidths by type, such as `AS` in kbit/s (RFC 8866 5.8). @default {not said} */
  readonly bandwidth?: ReadonlyMap<string, number>;
  /** URL that controls it, relative or absolute (RFC 2326 C.1.1). @default {not said} */
  readonly control?: string;
  /** Who sends, as the maker of the description sees it. @default {that of the session} */
  readonly direction?: SdpDirection;
  /** Attributes without a field of their own, in order. */
  readonly attributes: readonly SdpAttribute[];
}

/** Who sends and who receives (RFC 8866 6.7). */
export type SdpDirection = "sendrecv" | "sendonly" | "recvonly" | "inactive";

/** Who made a description (RFC 8866 5.2). */
export interface SdpOrigin {
  /** Login name, or `-`. */
  readonly username: string;
  /** Number of the session, in digits: it may be over 2^53. */
  readonly sessionId: string;
  /** Version of the description, in digits. */
  readonly version: string;
  /** Type of `address`: `IP4` or `IP6`. */
  readonly addressType: string;
  /** Address of the maker's machine. */
  readonly address: string;
}

/** An address for media (RFC 8866 5.7). */
export interface SdpConnection {
  /** Type of `address`: `IP4` or `IP6`. */
  readonly addressType: string;
  /** Address or host name, of a multicast group without its time to live. */
  readonly address: string;
  /** Time to live of packets to an IPv4 multicast group, 0 to 255. @default {not said} */
  readonly ttl?: number;
}

/** An attribute (RFC 8866 5.13). */
export interface SdpAttribute {
  /** Its name, as it is written. */
  readonly name: string;
  /** What follows the colon. @default {it is a mere flag} */
  readonly value?: string;
}

/** The value of the first attribute of `name`, empty for a flag; undefined if there is none. */
export function sdpAttribute(
  section: Pick<MediaDescription, "attributes">,
  name: string,
): string | undefined {
  const found = section.attributes.find((attribute) => attribute.name === name);
  return found && (found.value ?? "");
}
