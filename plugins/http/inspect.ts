/** What an isolate tells of its own streams, tracks and subscribers. */

import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import type { Stream } from "../../src/stream.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { Track } from "../../src/track.ts";
import type {
  StreamInfo,
  StreamOverview,
  StreamSummary,
  SubscriberInfo,
  TrackInfo,
} from "./info.ts";

/** A stream with all of its viewers here. */
export function streamInfo(stream: Stream): StreamInfo {
  const { dropped, ...summary } = streamSummary(stream);
  return { ...summary, subscribers: viewersOf(stream).map(subscriberInfo), dropped };
}

/** A stream with the number of its viewers here. */
export function streamOverview(stream: Stream): StreamOverview {
  return { ...streamSummary(stream), viewers: viewersOf(stream).length };
}

/** The subscribers of a stream, but for other isolates: it is those of which the viewers are. */
export function viewersOf(stream: Stream): Subscriber[] {
  return [...stream.subscribers].filter(({ replica }) => !replica);
}

/** A subscriber. */
export function subscriberInfo(subscriber: Subscriber): SubscriberInfo {
  const { number, type, id, since } = subscriber;
  return { number, type, id, since: since.toISOString(), ...subscriber.stats() };
}

function streamSummary(stream: Stream): StreamSummary {
  const { path, state, since, publisher, tracks, dropped } = stream;
  return {
    path,
    state,
    since: since.toISOString(),
    publisher: publisher === undefined ? null : {
      type: publisher.type,
      id: publisher.id,
      since: publisher.since.toISOString(),
    },
    tracks: tracks.map(trackInfo),
    dropped,
  };
}

function trackInfo(track: Track): TrackInfo {
  const { kind, name } = track;
  const config: VideoConfig | AudioConfig | undefined = track.config;
  return { kind, name, ...(config && configInfo(config)), ...track.stats() };
}

function configInfo(config: VideoConfig | AudioConfig): Partial<TrackInfo> {
  const { codec, fourcc } = config;
  if (config.kind === "audio") {
    return { codec, fourcc, sampleRate: config.sampleRate, channels: config.numberOfChannels };
  }
  const { codedWidth: width, codedHeight: height, frameRate } = config;
  return { codec, fourcc, width, height, frameRate };
}
