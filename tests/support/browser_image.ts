/** What a screenshot shows, as far as a program sees it. */

import type { Page } from "playwright-core";

/** An image in figures. */
export interface ImageFigures {
  /** How many colours it has. */
  readonly colors: number;
  /** From 0, all black, to 1, all white. */
  readonly lightness: number;
}

/** Looks at an image in PNG, in `page`, which has no content policy of its own. */
export async function inspectImage(page: Page, png: Uint8Array): Promise<ImageFigures> {
  return await page.evaluate(`(${INSPECT})(${JSON.stringify(png.toBase64())})`);
}

/** It is text, since tests have no types of what a page has. */
const INSPECT = `async (base64) => {
  const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes]));
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  let sum = 0;
  for (const pixel of pixels) sum += (pixel & 0xff) + (pixel >> 8 & 0xff) + (pixel >> 16 & 0xff);
  return { colors: new Set(pixels).size, lightness: sum / pixels.length / 3 / 255 };
}`;
