/** GStreamer's RTP payloaders, driven through `gst-launch-1.0`. */
import type { Sent } from "./rtp_sender_ffmpeg.ts";

/** How GStreamer shall encode and send. */
export interface GStreamerSending {
  /** Elements up to the frames that the payloader takes. */
  readonly source: string;
  /** The payloader and its properties. */
  readonly payloader: string;
  /** RTP timestamp of the first packet: 32 bits. */
  readonly timestamp: number;
  /** Names of header extensions (RFC 8285) by their identifiers. */
  readonly extensions?: Readonly<Record<number, string>>;
  /** Whether sender reports are sent, for which the packets take the time that they play. */
  readonly rtcp?: boolean;
}

/** One frame between the encoder and the payloader. */
export interface EncodedBuffer {
  /** In nanoseconds. */
  readonly pts: bigint;
  readonly key: boolean;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Encodes and sends a track. */
export async function sendGStreamer(
  sending: GStreamerSending,
): Promise<Sent & { readonly buffers: readonly EncodedBuffer[] }> {
  const folder = await Deno.makeTempDir();
  try {
    await launch(pipelineOf(sending, folder));
    const sent = readRecords(await Deno.readFile(`${folder}/sent.gdp`));
    const encoded = readRecords(await Deno.readFile(`${folder}/encoded.gdp`));
    const caps = sent.mediaTypes.filter((type) => type.startsWith("application/x-rtp,")).at(-1);
    if (!caps) throw new Error(`Cannot describe the session: the media type is ${caps}`);
    return {
      arrivals: sent.buffers.map(({ data }) => data),
      sdp: describe(caps, sending.extensions ?? {}),
      buffers: encoded.buffers,
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function pipelineOf(sending: GStreamerSending, folder: string): string {
  const { source, payloader, timestamp, rtcp } = sending;
  const extensions = Object.entries(sending.extensions ?? {}).map(([id, name]) =>
    `,extmap-${id}=(string)${name}`
  ).join("");
  const pay = `${payloader} name=pay ssrc=2882339362 seqnum-offset=65520 ` +
    `timestamp-offset=${timestamp} ! application/x-rtp${extensions}`;
  const file = `gdppay ! filesink location=${folder}/sent.gdp`;
  const head = `${source} ! tee name=t t. ! queue ! gdppay ! ` +
    `filesink location=${folder}/encoded.gdp buffer-mode=unbuffered t. ! queue ! ${pay}`;
  if (!rtcp) return `${head} ! ${file}`;
  return `${head} ! session.send_rtp_sink_0 rtpbin name=session session.send_rtp_src_0 ! both. ` +
    `session.send_rtcp_src_0 ! both. funnel name=both ! ${file} sync=false async=false`;
}

/** Runs a pipeline to its end. */
async function launch(pipeline: string): Promise<void> {
  const output = await new Deno.Command("gst-launch-1.0", {
    args: ["-q", "-e", ...pipeline.split(" ")],
    stdout: "null",
    stderr: "piped",
    signal: AbortSignal.timeout(10_000),
  }).output();
  // A session with sender reports may linger after its end, when all is written.
  if (output.success || output.signal === "SIGTERM") return;
  const said = new TextDecoder().decode(output.stderr);
  throw new Error(`Cannot run ${pipeline}: ${said.slice(0, 2_000)}`);
}

/** A session description of a payloader's media type, in the way in which GStreamer's servers write it. */
function describe(caps: string, extensions: Readonly<Record<number, string>>): string {
  const fields = new Map<string, string>();
  for (const [, name = "", quoted, bare = ""] of caps.matchAll(FIELD)) {
    fields.set(name, (quoted ?? bare).replace(/\\(.)/g, "$1"));
  }
  const type = fields.get("payload");
  const parameters = fields.get("encoding-params");
  const format = `${fields.get("encoding-name")}/${fields.get("clock-rate")}`;
  const fmtp = [...fields].filter(([name]) => !NOT_FMTP.test(name)).map((field) => field.join("="));
  return [
    "v=0",
    "o=- 1 1 IN IP4 127.0.0.1",
    "s=Session",
    "c=IN IP4 127.0.0.1",
    "t=0 0",
    `m=${fields.get("media")} 5004 RTP/AVP ${type}`,
    `a=rtpmap:${type} ${format}${parameters ? `/${parameters}` : ""}`,
    ...(fmtp.length > 0 ? [`a=fmtp:${type} ${fmtp.join(";")}`] : []),
    ...Object.entries(extensions).map(([id, name]) => `a=extmap:${id} ${name}`),
  ].map((line) => `${line}\r\n`).join("");
}

/** One field of a media type: `name=(type)"quoted"` or `name=(type)bare`. */
const FIELD = /([\w-]+)=\([\w-]+\)(?:"((?:[^"\\]|\\.)*)"|([^,\s]+))/g;

/** Fields that are no format parameters. */
const NOT_FMTP =
  /^(media|payload|clock-rate|encoding-(name|params)|ssrc|(seqnum|timestamp)-offset|[ax]-.*|extmap-.*)$/;

/** The media types and the buffers of a file in GStreamer's own format, whose headers have 62 bytes. */
export function readRecords(
  file: Uint8Array<ArrayBuffer>,
): { readonly mediaTypes: string[]; readonly buffers: EncodedBuffer[] } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const mediaTypes: string[] = [];
  const buffers: EncodedBuffer[] = [];
  for (let at = 0; at < file.length;) {
    const type = view.getUint16(at + 4);
    const start = at + 62;
    const end = start + view.getUint32(at + 6);
    if (end > file.length) throw new RangeError(`Cannot read a record: its end is ${end}`);
    const data = file.slice(start, end);
    if (type === BUFFER) {
      const key = (view.getUint16(at + 42) & DELTA_UNIT) === 0;
      buffers.push({ pts: view.getBigUint64(at + 10), key, data });
    }
    if (type === MEDIA_TYPE) mediaTypes.push(new TextDecoder().decode(data));
    at = end;
  }
  return { mediaTypes, buffers };
}

const BUFFER = 1;
const MEDIA_TYPE = 2;
/** Flag of buffers at which a decoder cannot start. */
const DELTA_UNIT = 0x2000;
