/** Figures as the page writes them, and what its plots say. */

import { assertEquals } from "@std/assert";
import type { HistoryPoint } from "../../../plugins/http/service.ts";
import {
  codecName,
  describeTrack,
  formatBitrate,
  formatBytes,
  formatCount,
  formatDuration,
  formatFps,
  formatMs,
  formatSince,
} from "../../../plugins/console/page/format.ts";
import { HISTORY_MS, summarize, TrackSeries } from "../../../plugins/console/page/history.ts";

Deno.test("figures are written as people read them", () => {
  assertEquals([0, 950, 16_400, 1_500_000, 2_654_321, 123e6].map(formatBitrate), [
    "0 bit/s",
    "950 bit/s",
    "16.4 kbit/s",
    "1.50 Mbit/s",
    "2.65 Mbit/s",
    "123 Mbit/s",
  ]);
  assertEquals([12, 1500, 14.2e6, 3e9].map(formatBytes), ["12 B", "1.50 kB", "14.2 MB", "3.00 GB"]);
  assertEquals([-1, 5.9, 65, 7500, 90_000].map(formatDuration), [
    "0 s",
    "5 s",
    "1 min 5 s",
    "2 h 5 min",
    "1 d 1 h",
  ]);
  assertEquals([240.4, 2400].map(formatMs), ["240 ms", "2.40 s"]);
  assertEquals([29.97, 30, 7.5].map(formatFps), ["30", "30", "7.5"]);
  assertEquals([1, 2, 1234].map((count) => formatCount(count, "viewer")), [
    "1 viewer",
    "2 viewers",
    "1,234 viewers",
  ]);
  assertEquals(formatSince("2026-01-01T00:00:00Z", Date.UTC(2026, 0, 1, 0, 1, 1)), "1 min 1 s");
});

Deno.test("codecName() gives usual names, and strings that it does not know", () => {
  const names = ["avc1.64001f", "hev1.1.6.L93.B0", "mp4a.40.2", "mp4a.69", "opus", "xyz1"];
  assertEquals(names.map(codecName), ["H.264", "H.265", "AAC", "MP3", "Opus", "xyz1"]);
});

Deno.test("describeTrack() says what is known", () => {
  assertEquals(describeTrack({ codec: "avc1.1", width: 1280, height: 720 }), "H.264 1280×720");
  const audio = { codec: "mp4a.40.2", sampleRate: 44100, channels: 2 };
  assertEquals(describeTrack(audio), "AAC 44.1 kHz stereo");
  assertEquals(describeTrack({}), "unknown codec");
});

function point(atMs: number, bitrate = 1000): HistoryPoint {
  return { atMs, bitrate, fps: 25, gopMs: 2000 };
}

Deno.test("TrackSeries.restore() sets a server's clock right that is another", () => {
  const series = new TrackSeries();
  series.restore([point(1_000_000), point(1_002_000)], 9_000_000);
  assertEquals(series.points.map(({ atMs }) => atMs), [8_998_000, 9_000_000]);
  series.restore([point(1_000_000), point(1_002_000)], 1_003_000);
  assertEquals(series.points.map(({ atMs }) => atMs), [1_000_000, 1_002_000]);
});

Deno.test("TrackSeries.add() keeps the last minutes, and no point twice", () => {
  const series = new TrackSeries();
  for (let atMs = 0; atMs <= 2 * HISTORY_MS; atMs += 10_000) series.add(point(atMs));
  series.add(point(2 * HISTORY_MS));
  assertEquals(series.points.length, 31);
  assertEquals(series.points[0]?.atMs, HISTORY_MS);
});

Deno.test("TrackSeries.columns() leaves out what is not known yet", () => {
  const series = new TrackSeries();
  series.add({ ...point(1000), gopMs: 0 });
  series.add(point(2000, 3000));
  assertEquals(series.columns("bitrate"), [[1, 2], [1000, 3000]]);
  assertEquals(series.columns("gopMs"), [[2], [2000]]);
});

Deno.test("summarize() tells the newest and the range", () => {
  assertEquals(summarize([], formatFps), "nothing yet");
  assertEquals(summarize([25, 25.001], formatFps), "now 25, steady");
  assertEquals(summarize([10, 30, 20], formatFps), "now 20, 10 to 30");
});
