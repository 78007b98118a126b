/** A picture that says which it is and when it was drawn, in blocks that survive every codec. */

/** What a picture says of itself. */
export interface PictureMark {
  /** Number of the frame, one up from frame to frame, modulo 2^16. */
  readonly counter: number;
  /** When it was drawn, in ms since 1970, modulo 2^24 (4.6 hours). */
  readonly drawnMs: number;
}

/** Where the blocks of a picture are, in pixels. */
export interface PictureLayout {
  readonly width: number;
  readonly height: number;
  /** Side of a block; an even one keeps chroma, which is at half the resolution, out of it. */
  readonly block: number;
  /** From the left and from the top. */
  readonly margin: number;
  /** Blocks in a row. */
  readonly columns: number;
}

/** The layout of all pictures here. */
export const LAYOUT: PictureLayout = {
  width: 320,
  height: 180,
  block: 24,
  margin: 16,
  columns: 12,
};

/** Counter, time and check, in bytes. */
const MARK_BYTES = 6;
const BLACK = 16;
const WHITE = 235;

/** A frame as planar YUV 4:2:0 of limited range: the mark, and under it a bar that runs once a second. */
export function drawPicture({ counter, drawnMs }: PictureMark): Uint8Array<ArrayBuffer> {
  const { width, height, block, margin, columns } = LAYOUT;
  const luma = width * height;
  const yuv = new Uint8Array(luma * 3 / 2).fill(128);
  yuv.fill(64, 0, luma);
  const box = (left: number, top: number, size: { width: number; height: number }, y: number) => {
    for (let row = top; row < top + size.height; row++) {
      yuv.fill(y, row * width + left, row * width + left + size.width);
    }
  };
  for (const [index, isSet] of bitsOf({ counter, drawnMs }).entries()) {
    const left = margin + (index % columns) * block;
    const top = margin + Math.floor(index / columns) * block;
    box(left, top, { width: block, height: block }, isSet ? WHITE : BLACK);
  }
  const run = Math.floor((drawnMs % 1000) / 1000 * (width - 2 * margin));
  box(margin, height - 2 * margin, { width: run, height: margin }, WHITE);
  // A colour by which a person tells it from a still of grey.
  yuv.fill(170, luma, luma + luma / 4);
  return yuv;
}

function bitsOf({ counter, drawnMs }: PictureMark): boolean[] {
  const bytes = new Uint8Array(MARK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, counter & 0xffff);
  view.setUint8(2, (drawnMs >>> 16) & 0xff);
  view.setUint16(3, drawnMs & 0xffff);
  bytes[5] = bytes.subarray(0, 5).reduce((sum, byte) => (sum * 31 + byte) & 0xff, 0x5a);
  return [...bytes].flatMap((byte) =>
    Array.from({ length: 8 }, (_, bit) => (byte & (0x80 >> bit)) !== 0)
  );
}

/**
 * Reads the mark from the RGBA pixels of a picture; undefined if there is none.
 *
 * It is sent to the page as text and therefore uses nothing from outside of it.
 */
export function readPicture(
  pixels: Uint8ClampedArray,
  layout: PictureLayout,
): PictureMark | undefined {
  const { width, block, margin, columns } = layout;
  const bytes = [0, 0, 0, 0, 0, 0];
  for (let index = 0; index < 48; index++) {
    const x = margin + (index % columns) * block + block / 2;
    const y = margin + Math.floor(index / columns) * block + block / 2;
    const green = pixels[(y * width + x) * 4 + 1] ?? 0;
    // Neither black nor white: not our picture, or one that is damaged.
    if (green > 80 && green < 176) return undefined;
    const byte = index >> 3;
    if (green > 128) bytes[byte] = (bytes[byte] ?? 0) | (0x80 >> (index & 7));
  }
  const [a = 0, b = 0, c = 0, d = 0, e = 0, check] = bytes;
  const sum = [a, b, c, d, e].reduce((sum, byte) => (sum * 31 + byte) & 0xff, 0x5a);
  if (sum !== check) return undefined;
  return { counter: a << 8 | b, drawnMs: c << 16 | d << 8 | e };
}
