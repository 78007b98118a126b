/// <reference lib="dom" />
/** The libraries that come with the console, each loaded when it is needed. */

import type HlsType from "hls.js";
import type MpegtsModule from "mpegts.js";
import type UPlotType from "uplot";
import type { generate as generateQr } from "lean-qr";

/** hls.js, without what live streams of ours don't need. */
export async function loadHls(): Promise<typeof HlsType> {
  const { default: hls }: { default: typeof HlsType } = await import(library("hls.mjs"));
  return hls;
}

/** uPlot with its style. */
export async function loadPlot(): Promise<typeof UPlotType> {
  loadStyle("uplot.css");
  const { default: plot }: { default: typeof UPlotType } = await import(library("uplot.mjs"));
  return plot;
}

/** The maker of QR codes. */
export async function loadQr(): Promise<typeof generateQr> {
  const { generate }: { generate: typeof generateQr } = await import(library("lean-qr.mjs"));
  return generate;
}

/** mpegts.js as a whole. */
export type Mpegts = typeof MpegtsModule.default;
/** A player of it. */
export type MpegtsPlayer = MpegtsModule.default.Player;

let mpegts: Promise<Mpegts> | undefined;

/** mpegts.js, which is no module but a script. */
export function loadMpegts(): Promise<Mpegts> {
  mpegts ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = library("mpegts.js");
    script.onload = () => {
      const { mpegts: loaded } = globalThis as { mpegts?: Mpegts };
      if (loaded === undefined) return reject(new Error("mpegts.js is not as expected"));
      loaded.LoggingControl.applyConfig({ enableAll: false });
      resolve(loaded);
    };
    script.onerror = () => {
      mpegts = undefined;
      reject(new Error("mpegts.js cannot be loaded"));
    };
    document.head.append(script);
  });
  return mpegts;
}

function library(name: string): string {
  return new URL(`./lib/${name}`, import.meta.url).href;
}

function loadStyle(name: string): void {
  const href = library(name);
  if (document.querySelector(`link[href="${href}"]`) !== null) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}
