/** One form for the bytes of an access unit, whatever container they came in. */

/**
 * Brings an access unit to the form in which a clip has it.
 *
 * - H.264 and H.265 from FLV and MP4 (`extradata` is avcC or hvcC) stay as they are, byte for byte. From MPEG-TS
 *   and RTP they come as Annex B, with access unit delimiters and parameter sets repeated in the stream: those
 *   become 4-byte lengths, and `strip` takes both kinds of NAL units away.
 * - AV1 loses its temporal delimiters, which some containers forbid.
 * - AAC loses its ADTS header.
 */
export function canonical(
  codec: string,
  data: Uint8Array<ArrayBuffer>,
  form: { extradata: Uint8Array | undefined; strip: boolean },
): Uint8Array<ArrayBuffer> {
  switch (codec) {
    case "h264":
    case "hevc": {
      if (!form.strip) return data;
      const units = form.extradata?.[0] === 1 ? splitLengths(data) : splitStartCodes(data);
      return joinLengths(units.filter((unit) => !isStripped(codec, unit)));
    }
    case "av1":
      return withoutTemporalDelimiters(data);
    case "aac":
      return form.extradata ? data : withoutAdts(data);
    default:
      return data;
  }
}

/** Turns Annex B into NAL units with 4-byte lengths. */
export function toLengthPrefixed(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return joinLengths(splitStartCodes(data));
}

function splitStartCodes(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const units: Uint8Array<ArrayBuffer>[] = [];
  let start = -1;
  for (let i = 0; i + 2 < data.length; i++) {
    if (data[i] !== 0 || data[i + 1] !== 0 || data[i + 2] !== 1) continue;
    if (start >= 0) units.push(withoutTrailingZeros(data.subarray(start, i)));
    start = i + 3;
    i += 2;
  }
  if (start >= 0) units.push(withoutTrailingZeros(data.subarray(start)));
  return units;
}

function withoutTrailingZeros(unit: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let end = unit.length;
  while (end > 0 && unit[end - 1] === 0) end--;
  return unit.subarray(0, end);
}

function splitLengths(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const units: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < data.length;) {
    const length = view.getUint32(at);
    units.push(data.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return units;
}

function joinLengths(units: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(units.reduce((sum, unit) => sum + 4 + unit.length, 0));
  const view = new DataView(joined.buffer);
  let at = 0;
  for (const unit of units) {
    view.setUint32(at, unit.length);
    joined.set(unit, at + 4);
    at += 4 + unit.length;
  }
  return joined;
}

/** Access unit delimiters and parameter sets: H.264 clause 7.4.1 types 7–9, H.265 clause 7.4.2.2 types 32–35. */
function isStripped(codec: "h264" | "hevc", unit: Uint8Array): boolean {
  const header = unit[0] ?? 0;
  const type = codec === "h264" ? header & 0x1f : (header >> 1) & 0x3f;
  return codec === "h264" ? type >= 7 && type <= 9 : type >= 32 && type <= 35;
}

/** A temporal delimiter is the OBU of type 2 (AV1 clause 6.2.2); encoders write it as `12 00`. */
function withoutTemporalDelimiters(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return data[0] === 0x12 && data[1] === 0 ? data.subarray(2) : data;
}

function withoutAdts(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const [first = 0, second = 0] = data;
  if (first !== 0xff || (second & 0xf6) !== 0xf0) return data;
  return data.subarray(second & 1 ? 7 : 9);
}
