/** Elements in the header extensions of RTP packets (RFC 8285). */

import { ByteReader, ByteWriter } from "../bytes.ts";
import type { RtpExtension } from "./packet.ts";

/** One element of a header extension. */
export interface RtpExtensionElement {
  /** Which extension it is, as the session negotiated: 1 to 14 in the one-byte form, else 1 to 255. */
  readonly id: number;
  /** Its bytes: 1 to 16 in the one-byte form, else 0 to 255. */
  readonly data: Uint8Array;
}

/** Profile of the one-byte form (4.2). */
const ONE_BYTE_PROFILE = 0xbede;
/** Profile of the two-byte form, whose low 4 bits are the application's (4.3). */
const TWO_BYTE_PROFILE = 0x1000;
/** An id that is padding. */
const PADDING_ID = 0;
/** An id of the one-byte form behind which nothing is to be read (4.2). */
const STOP_ID = 15;

/**
 * The elements of `extension` in their order, as views on it; none if it is not in a form of RFC
 * 8285.
 *
 * @throws {InvalidDataError} If an element is cut short.
 */
export function extensionElements(extension: RtpExtension): RtpExtensionElement[] {
  const reader = new ByteReader(extension.data);
  if (extension.profile === ONE_BYTE_PROFILE) return readOneByteForm(reader);
  if ((extension.profile & 0xfff0) === TWO_BYTE_PROFILE) return readTwoByteForm(reader);
  return [];
}

/**
 * The header extension that holds `elements`, in the one-byte form if all of them fit it.
 *
 * @throws {RangeError} If an id is not 1 to 255 or an element has over 255 bytes.
 */
export function buildExtension(elements: readonly RtpExtensionElement[]): RtpExtension {
  const fitsOneByteForm = elements.every(({ id, data }) =>
    id < STOP_ID && data.length >= 1 && data.length <= 16
  );
  const writer = new ByteWriter();
  for (const { id, data } of elements) {
    if (id <= PADDING_ID || id > 255 || data.length > 255) {
      throw new RangeError(
        `Cannot write RTP header extension: its element ${id} has ${data.length} bytes`,
      );
    }
    if (fitsOneByteForm) writer.u8(id << 4 | data.length - 1);
    else writer.u8(id).u8(data.length);
    writer.bytes(data);
  }
  while (writer.length % 4 !== 0) writer.u8(0);
  return { profile: fitsOneByteForm ? ONE_BYTE_PROFILE : TWO_BYTE_PROFILE, data: writer.finish() };
}

function readOneByteForm(reader: ByteReader): RtpExtensionElement[] {
  const elements: RtpExtensionElement[] = [];
  while (reader.remaining > 0) {
    const head = reader.u8();
    if (head === PADDING_ID) continue;
    const id = head >> 4;
    // Padding with a length ends the reading as well.
    if (id === STOP_ID || id === PADDING_ID) break;
    elements.push({ id, data: reader.bytes((head & 0x0f) + 1) });
  }
  return elements;
}

function readTwoByteForm(reader: ByteReader): RtpExtensionElement[] {
  const elements: RtpExtensionElement[] = [];
  while (reader.remaining > 0) {
    const id = reader.u8();
    if (id !== PADDING_ID) elements.push({ id, data: reader.bytes(reader.u8()) });
  }
  return elements;
}
