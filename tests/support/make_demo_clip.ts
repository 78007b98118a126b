/**
 * Makes `plugins/demo/clip.flv`: `deno run -A tests/support/make_demo_clip.ts`.
 *
 * Eight seconds of a dial with a stop watch, a tick a second, ending where they begin. At 25 frames a second and
 * 48 kHz, 8 s are 200 pictures, four GOPs and 375 AAC frames, so that the loop is seamless for both tracks.
 */
import { type ClipPacket, makeClip, publish } from "./ffmpeg.ts";

const WIDTH = 640;
const HEIGHT = 360;
const FPS = 25;
const SECONDS = 8;

type Color = readonly [number, number, number];

const NIGHT: Color = [13, 18, 38];
const DUSK: Color = [24, 52, 84];
const CHALK: Color = [226, 236, 240];
const SLATE: Color = [58, 84, 112];
const AMBER: Color = [255, 184, 76];
const MINT: Color = [96, 214, 176];

const DIAL = { x: 180, y: 180, radius: 112 };

interface Shape {
  /** In pixels: left, top, right, bottom. */
  readonly box: readonly [number, number, number, number];
  /** In pixels: below 0 inside, above 0 outside. */
  readonly distance: (x: number, y: number) => number;
}

interface Layer {
  readonly color: Color;
  readonly shape: Shape;
  readonly opacity?: number;
}

function circle(centerX: number, centerY: number, radius: number): Shape {
  return {
    box: [centerX - radius, centerY - radius, centerX + radius, centerY + radius],
    distance: (x, y) => Math.hypot(x - centerX, y - centerY) - radius,
  };
}

function ring(centerX: number, centerY: number, at: { radius: number; width: number }): Shape {
  const { box, distance } = circle(centerX, centerY, at.radius);
  return { box, distance: (x, y) => Math.abs(distance(x, y)) - at.width / 2 };
}

function line(
  from: readonly [number, number],
  to: readonly [number, number],
  width: number,
): Shape {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const square = dx * dx + dy * dy;
  return {
    box: [
      Math.min(from[0], to[0]) - width,
      Math.min(from[1], to[1]) - width,
      Math.max(from[0], to[0]) + width,
      Math.max(from[1], to[1]) + width,
    ],
    distance: (x, y) => {
      const [px, py] = [x - from[0], y - from[1]];
      const along = Math.min(1, Math.max(0, (px * dx + py * dy) / square));
      return Math.hypot(px - along * dx, py - along * dy) - width / 2;
    },
  };
}

/** The strokes of each sign on a grid of 2 × 4, from the top left. */
const STROKES: Readonly<Record<string, readonly (readonly [number, number, number, number])[]>> = {
  "0": [[0, 0, 2, 0], [2, 0, 2, 4], [2, 4, 0, 4], [0, 4, 0, 0]],
  "1": [[2, 0, 2, 4]],
  "2": [[0, 0, 2, 0], [2, 0, 2, 2], [2, 2, 0, 2], [0, 2, 0, 4], [0, 4, 2, 4]],
  "3": [[0, 0, 2, 0], [2, 0, 2, 4], [2, 4, 0, 4], [0, 2, 2, 2]],
  "4": [[0, 0, 0, 2], [0, 2, 2, 2], [2, 0, 2, 4]],
  "5": [[2, 0, 0, 0], [0, 0, 0, 2], [0, 2, 2, 2], [2, 2, 2, 4], [2, 4, 0, 4]],
  "6": [[2, 0, 0, 0], [0, 0, 0, 4], [0, 4, 2, 4], [2, 4, 2, 2], [2, 2, 0, 2]],
  "7": [[0, 0, 2, 0], [2, 0, 2, 4]],
  "8": [[0, 0, 2, 0], [2, 0, 2, 4], [2, 4, 0, 4], [0, 4, 0, 0], [0, 2, 2, 2]],
  "9": [[2, 2, 0, 2], [0, 2, 0, 0], [0, 0, 2, 0], [2, 0, 2, 4], [2, 4, 0, 4]],
  ".": [[0.5, 4, 0.6, 4]],
  m: [[0, 2, 0, 4], [0, 2, 2, 2], [1, 2, 1, 4], [2, 2, 2, 4]],
  s: [[2, 2, 0, 2], [0, 2, 0, 3], [0, 3, 2, 3], [2, 3, 2, 4], [2, 4, 0, 4]],
};

function text(
  signs: string,
  at: { readonly x: number; readonly y: number; readonly unit: number; readonly width: number },
): Shape[] {
  let left = at.x;
  const strokes: Shape[] = [];
  for (const sign of signs) {
    for (const [x0, y0, x1, y1] of STROKES[sign] ?? []) {
      strokes.push(line(
        [left + x0 * at.unit, at.y + y0 * at.unit],
        [left + x1 * at.unit, at.y + y1 * at.unit],
        at.width,
      ));
    }
    left += at.unit * (sign === "." ? 1.6 : 3.2);
  }
  return strokes;
}

/** What moves in one frame; each motion's period divides the clip. */
function layers(index: number): Layer[] {
  const seconds = index / FPS;
  const turn = 2 * Math.PI * seconds / SECONDS;
  const marks = Array.from({ length: SECONDS }, (_, second): Layer => {
    const angle = 2 * Math.PI * second / SECONDS - Math.PI / 2;
    const isPast = second <= Math.floor(seconds);
    return {
      color: isPast ? MINT : SLATE,
      shape: circle(...onDial(angle, DIAL.radius), isPast ? 8 : 5),
    };
  });
  const clock = seconds.toFixed(2);
  const frame = String(index).padStart(3, "0");
  return [
    { color: SLATE, shape: ring(DIAL.x, DIAL.y, { radius: DIAL.radius, width: 2 }), opacity: 0.8 },
    ...marks,
    { color: AMBER, shape: line([DIAL.x, DIAL.y], onDial(turn - Math.PI / 2, 84), 5) },
    { color: CHALK, shape: line([DIAL.x, DIAL.y], onDial(turn * 4 - Math.PI / 2, 60), 2.5) },
    { color: AMBER, shape: circle(DIAL.x, DIAL.y, 8) },
    ...text(clock, { x: 368, y: 118, unit: 19, width: 8 }).map((shape) => ({
      color: CHALK,
      shape,
    })),
    ...text(frame, { x: 370, y: 228, unit: 7, width: 3 }).map((shape) => ({ color: SLATE, shape })),
    ...text("m7s", { x: 536, y: 222, unit: 8, width: 3 }).map((shape) => ({ color: MINT, shape })),
    { color: SLATE, shape: line([370, 290], [598, 290], 4), opacity: 0.6 },
    { color: AMBER, shape: circle(370 + 114 * (1 - Math.cos(turn)), 290, 9) },
  ];
}

function onDial(angle: number, radius: number): [number, number] {
  return [DIAL.x + radius * Math.cos(angle), DIAL.y + radius * Math.sin(angle)];
}

function mix(from: Color, to: Color, share: number): Color {
  const part = (i: 0 | 1 | 2) => from[i] + (to[i] - from[i]) * share;
  return [part(0), part(1), part(2)];
}

function paintRgb(index: number): Float32Array {
  const pixels = new Float32Array(WIDTH * HEIGHT * 3);
  for (let y = 0; y < HEIGHT; y++) {
    const ground = mix(DUSK, NIGHT, y / HEIGHT);
    for (let x = 0; x < WIDTH; x++) pixels.set(ground, (y * WIDTH + x) * 3);
  }
  for (const layer of layers(index)) paintLayer(pixels, layer);
  return pixels;
}

function paintLayer(pixels: Float32Array, { color, shape, opacity = 1 }: Layer): void {
  const [left, top, right, bottom] = shape.box.map(Math.round) as [number, number, number, number];
  for (let y = top - 1; y <= bottom; y++) {
    for (let x = left - 1; x <= right; x++) {
      const cover = Math.min(1, Math.max(0, 0.5 - shape.distance(x + 0.5, y + 0.5)));
      if (cover === 0) continue;
      const at = (y * WIDTH + x) * 3;
      const [r = 0, g = 0, b = 0] = pixels.subarray(at, at + 3);
      pixels.set(mix([r, g, b], color, cover * opacity), at);
    }
  }
}

/** To planar YUV 4:2:0 of limited range (ITU-R BT.601). */
function toYuv(rgb: Float32Array): Uint8Array {
  const luma = WIDTH * HEIGHT;
  const yuv = new Uint8Array(luma * 3 / 2);
  for (let i = 0; i < luma; i++) {
    const [r = 0, g = 0, b = 0] = rgb.subarray(i * 3, i * 3 + 3);
    yuv[i] = Math.round(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255);
  }
  for (let y = 0; y < HEIGHT; y += 2) {
    for (let x = 0; x < WIDTH; x += 2) {
      let [u, v] = [0, 0];
      for (
        const i of [y * WIDTH + x, y * WIDTH + x + 1, (y + 1) * WIDTH + x, (y + 1) * WIDTH + x + 1]
      ) {
        const [r = 0, g = 0, b = 0] = rgb.subarray(i * 3, i * 3 + 3);
        u += (-37.797 * r - 74.203 * g + 112 * b) / 255 / 4;
        v += (112 * r - 93.786 * g - 18.214 * b) / 255 / 4;
      }
      const at = luma + (y / 2) * (WIDTH / 2) + x / 2;
      yuv[at] = Math.round(128 + u);
      yuv[at + luma / 4] = Math.round(128 + v);
    }
  }
  return yuv;
}

/** A soft tick each second, a higher one where the clip begins. */
const TICKS = "aevalsrc=0.12*exp(-18*mod(t\\,1))*sin(2*PI*(660+220*lt(t\\,1))*t)";

async function makeDemoClip(path: string): Promise<void> {
  const clip = await makeClip({
    width: WIDTH,
    height: HEIGHT,
    fps: FPS,
    gop: 2 * FPS,
    seconds: SECONDS,
    videoBitrate: 0,
    audioBitrate: 40_000,
    videoSource: (index) => toYuv(paintRgb(index)),
    audioSource: TICKS,
    videoEncoderOptions: { preset: "veryslow", crf: "20" },
  });
  const startUs = clip.packets.find(({ kind }) => kind === "video")?.dtsUs ?? 0;
  await publish(path, clip, {
    speed: Infinity,
    offsetUs: -startUs,
    transform: (packet) => isPriming(packet, startUs) ? undefined : packet,
  }).done;
}

/** The AAC frame ahead of the first sound, which would break the loop. */
function isPriming({ kind, dtsUs }: ClipPacket, startUs: number): boolean {
  return kind === "audio" && (dtsUs < startUs || dtsUs >= startUs + SECONDS * 1_000_000);
}

if (import.meta.main) {
  await makeDemoClip(new URL("../../plugins/demo/clip.flv", import.meta.url).pathname);
}
