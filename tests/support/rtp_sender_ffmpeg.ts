/** FFmpeg's RTP muxer, its packets taken where they would go to a socket. */
import { avSdpCreate, Dictionary, FormatContext, IOContext, Packet, Rational } from "node-av/lib";
import { type Clip, codecParameters } from "./ffmpeg/clip.ts";
import { check } from "./ffmpeg/native.ts";
import { isRtcp } from "./rtp_fixtures.ts";

/** Packets as a payloader sent them, and their session description. */
export interface Sent {
  readonly arrivals: readonly Uint8Array<ArrayBuffer>[];
  readonly sdp: string;
}

/** How FFmpeg shall send. */
export interface FFmpegSending {
  /** Ticks of the RTP timestamp per second. */
  readonly clockRate: number;
  /** RTP timestamp of the first packet: 32 bits. FFmpeg's own is random. */
  readonly timestamp: number;
  /** Options of the muxer, such as `packetsize`, `seq` or `rtpflags`. */
  readonly options: Readonly<Record<string, string>>;
}

/** Sends a clip of one track. */
export async function sendFFmpeg(clip: Clip, sending: FFmpegSending): Promise<Sent> {
  const track = clip.video ?? clip.audio;
  if (!track) throw new Error("Cannot send the clip: it has no track");
  const arrivals: Uint8Array<ArrayBuffer>[] = [];
  const io = new IOContext();
  io.allocContextWithCallbacks(65_536, 1, null, (bytes) => {
    arrivals.push(new Uint8Array(bytes));
    return bytes.length;
  });
  const context = new FormatContext();
  check(context.allocOutputContext2(null, "rtp", "rtp://127.0.0.1:5004"), "make a muxer");
  context.pb = io;
  const stream = context.newStream();
  using parameters = codecParameters(track);
  check(parameters.copy(stream.codecpar), "describe a track");
  const timeBase = new Rational(1, sending.clockRate);
  stream.timeBase = timeBase;
  using options = Dictionary.fromObject({ ...sending.options });
  check(await context.writeHeader(options), "begin the RTP session");
  const sdp = avSdpCreate([context]);
  if (!sdp) throw new Error("Cannot describe the session: FFmpeg gives no description");
  const firstUs = clip.packets[0]?.ptsUs ?? 0;
  using packet = new Packet();
  packet.alloc();
  for (const source of clip.packets) {
    packet.unref();
    packet.data = Buffer.from(source.data);
    packet.streamIndex = 0;
    packet.timeBase = timeBase;
    packet.pts = BigInt(ticks(source.ptsUs - firstUs, sending.clockRate));
    packet.dts = BigInt(ticks(source.dtsUs - firstUs, sending.clockRate));
    packet.duration = BigInt(ticks(source.durationUs, sending.clockRate));
    packet.isKeyframe = source.key;
    check(await context.writeFrame(packet), "send a packet");
  }
  check(await context.writeTrailer(), "end the RTP session");
  rebase(arrivals, sending.timestamp);
  return { arrivals, sdp };
}

/** Shifts the timestamps of packets and sender reports so that the first packet has `timestamp`. */
function rebase(arrivals: readonly Uint8Array<ArrayBuffer>[], timestamp: number): void {
  const first = arrivals.find((packet) => !isRtcp(packet));
  if (!first) throw new Error("Cannot send the clip: FFmpeg sends no packet");
  const shift = timestamp - new DataView(first.buffer).getUint32(4);
  for (const packet of arrivals) {
    const view = new DataView(packet.buffer);
    const at = isRtcp(packet) ? 16 : 4;
    view.setUint32(at, view.getUint32(at) + shift);
  }
}

/** Ticks of the clock in a time, whole ones. */
export function ticks(us: number, clockRate: number): number {
  return Math.round(us * clockRate / 1_000_000);
}
