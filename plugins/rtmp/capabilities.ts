/** What client and server tell each other in `connect` (Enhanced RTMP v2, its section on that). */

import {
  type AmfInput,
  type AmfObject,
  type AmfValue,
  isAmfObject,
} from "../../src/formats/amf.ts";
import type { MediaKind } from "../../src/stream.ts";

/** What a peer can do with a codec (`FourCcInfoMask`). */
const FourCcInfo = { canDecode: 0x01, canForward: 0x04 } as const;
/** `capsEx`: we parse multitrack, ModEx and its timestamp offsets, and ask nobody to reconnect. */
const CAPABILITIES_EX = 0x02 | 0x04 | 0x08;
/** Codecs of the enhanced headers, for clients that know no info maps. */
const FOURCCS = [
  ...["av01", "vp09", "vp08", "hvc1", "avc1"],
  ...["ac-3", "ec-3", "Opus", ".mp3", "fLaC", "mp4a"],
];
/** Codecs that were there before FourCCs were, so that clients need not list them. */
const CLASSIC = new Set(["avc1", "mp4a", ".mp3", "alaw", "ulaw"]);

/** Whether a client wants frames of a codec. */
export type CodecFilter = (kind: MediaKind, fourcc: string) => boolean;

/**
 * Properties that answer those of a client's command object: that any codec is forwarded. Empty for
 * clients from before Enhanced RTMP.
 */
export function capabilitiesFor(object: AmfObject | null): Record<string, AmfInput> {
  const { fourCcList, capsEx, videoFourCcInfoMap, audioFourCcInfoMap } = object ?? {};
  if ([fourCcList, capsEx, videoFourCcInfoMap, audioFourCcInfoMap].every((p) => p === undefined)) {
    return {};
  }
  return {
    fourCcList: FOURCCS,
    videoFourCcInfoMap: { "*": FourCcInfo.canForward },
    audioFourCcInfoMap: { "*": FourCcInfo.canForward },
    capsEx: CAPABILITIES_EX,
  };
}

/**
 * What a client can play by what its command object lists. One that lists nothing gets everything,
 * since many players know more codecs than they say.
 */
export function codecFilter(object: AmfObject | null): CodecFilter {
  const { fourCcList, videoFourCcInfoMap, audioFourCcInfoMap } = object ?? {};
  const list = Array.isArray(fourCcList) ? new Set<AmfValue>(fourCcList) : undefined;
  const maps = { video: videoFourCcInfoMap, audio: audioFourCcInfoMap };
  return (kind, fourcc) => {
    const map = maps[kind];
    if (CLASSIC.has(fourcc) || (list === undefined && map === undefined)) return true;
    if (list?.has("*") || list?.has(fourcc)) return true;
    return map !== undefined && isAmfObject(map) && (takes(map["*"]) || takes(map[fourcc]));
  };
}

function takes(flags: AmfValue): boolean {
  const wanted = FourCcInfo.canDecode | FourCcInfo.canForward;
  return typeof flags === "number" && (flags & wanted) !== 0;
}
