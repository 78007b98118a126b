/** Addresses that the page reads and shows. */

import { assertEquals } from "@std/assert";
import {
  commands,
  isLocalOnly,
  mediaAddress,
  obsSettings,
  pageAddress,
  type Place,
  portsOf,
  publishAddresses,
  watchAddresses,
} from "../../../plugins/console/page/addresses.ts";
import {
  chosenPlayer,
  guardArguments,
  routeOf,
  watchAddress,
  withPlayer,
} from "../../../plugins/console/page/route.ts";

const place: Place = {
  protocol: "http:",
  host: "tv.example:8080",
  hostname: "tv.example",
  search: "",
};
const paths = ["a", "live/a", "live/ü 日", `live/<img src=x>"'&`, "live/a#b", "live/100%"];

for (const path of paths) {
  Deno.test(`routeOf() reads what watchAddress() writes of ${path}`, () => {
    const { pathname, search, hash } = new URL(watchAddress(path, ""), "http://tv.example");
    assertEquals(routeOf(pathname), { view: "watch", path });
    assertEquals(search + hash, "");
  });
}

Deno.test("routeOf() shows all streams where no path is named", () => {
  for (const pathname of ["/", "/watch/", "/watch//", "/other"]) {
    assertEquals(routeOf(pathname), { view: "streams" });
  }
});

Deno.test("routeOf() takes a broken encoding as it is", () => {
  assertEquals(routeOf("/watch/live/%zz"), { view: "watch", path: "live/%zz" });
});

Deno.test("routeOf() passes over slashes that the server passes over", () => {
  assertEquals(routeOf("/watch//live//a/"), { view: "watch", path: "live/a" });
});

Deno.test("guardArguments() leaves out what is the page's own and nothing else", () => {
  assertEquals(guardArguments("?player=hls"), "");
  assertEquals(guardArguments("?token=a%26b&player=hls&x"), "?token=a%26b&x");
  assertEquals(guardArguments("?players=2&player"), "?players=2");
});

Deno.test("withPlayer() changes the delivery and keeps the rest", () => {
  assertEquals(withPlayer("?token=1&player=hls", "ws-flv"), "?token=1&player=ws-flv");
  assertEquals(withPlayer("?player=hls", ""), "");
  assertEquals(withPlayer("", "hls"), "?player=hls");
  assertEquals(chosenPlayer("?token=1&player=hls"), "hls");
  assertEquals(chosenPlayer("?token=1"), "");
});

Deno.test("addresses have the ports that plugins say, else the default ones", () => {
  const ports = portsOf([
    {},
    { urls: ["rtmps://127.0.0.1:1936", "rtmp://[::1]:29935"] },
    { urls: ["rtsp://127.0.0.1:554"] },
  ]);
  assertEquals(ports, { rtmp: "29935", rtsp: "554" });
  const urls = (place: Place) => publishAddresses("live/a", place).map(({ url }) => url);
  assertEquals(urls({ ...place, ports }).slice(0, 2), [
    "rtmp://tv.example:29935/live/a",
    "rtsp://tv.example:554/live/a",
  ]);
  assertEquals(urls({ ...place, ports: portsOf([{ urls: ["rtmp://127.0.0.1:1935"] }]) }), [
    "rtmp://tv.example/live/a",
    "rtsp://tv.example:8554/live/a",
    "http://tv.example:8080/live/a.flv",
  ]);
  assertEquals(portsOf([]), {});
});

Deno.test("mediaAddress() passes arguments on, and more of its own", () => {
  const ws = { extension: "mp4", webSocket: true } as const;
  assertEquals(mediaAddress("live/a", place, ws), "ws://tv.example:8080/live/a.mp4");
  const search = "?player=hls&token=1";
  assertEquals(
    mediaAddress("live/a b", { ...place, search }, { ...ws, more: "audio=0" }),
    "ws://tv.example:8080/live/a%20b.mp4?token=1&audio=0",
  );
  assertEquals(
    mediaAddress("a", { ...place, protocol: "https:" }, { ...ws, more: "audio=0" }),
    "wss://tv.example:8080/a.mp4?audio=0",
  );
});

Deno.test("publishAddresses() and watchAddresses() are what players and encoders take", () => {
  assertEquals(publishAddresses("live/a", place).map(({ url }) => url), [
    "rtmp://tv.example/live/a",
    "rtsp://tv.example:8554/live/a",
    "http://tv.example:8080/live/a.flv",
  ]);
  assertEquals(watchAddresses("live/a", { ...place, search: "?token=1" }).map(({ url }) => url), [
    "http://tv.example:8080/live/a.flv?token=1",
    "ws://tv.example:8080/live/a.flv?token=1",
    "http://tv.example:8080/live/a.mp4?token=1",
    "ws://tv.example:8080/live/a.mp4?token=1",
    "http://tv.example:8080/live/a.m3u8?token=1",
    "rtmp://tv.example/live/a?token=1",
    "rtsp://tv.example:8554/live/a?token=1",
  ]);
});

Deno.test("pageAddress() leads another device to the stream, without this one's player", () => {
  const search = "?token=1&player=hls";
  assertEquals(
    pageAddress("live/a b", { ...place, search }),
    "http://tv.example:8080/watch/live/a%20b?token=1",
  );
});

Deno.test("obsSettings() splits the path at its last slash", () => {
  assertEquals(obsSettings("a/b/c", place), { server: "rtmp://tv.example/a/b", key: "c" });
  assertEquals(obsSettings("c", place), { server: "rtmp://tv.example/", key: "c" });
});

Deno.test("commands() are safe to paste into a shell", () => {
  assertEquals(
    commands("live/a", place).publish,
    "ffmpeg -re -i file.mp4 -c copy -f flv rtmp://tv.example/live/a",
  );
  assertEquals(
    commands("live/a; rm $(x) 'y'", place).publish,
    String.raw`ffmpeg -re -i file.mp4 -c copy -f flv 'rtmp://tv.example/live/a; rm $(x) '\''y'\'''`,
  );
  assertEquals(
    commands("live/a", { ...place, search: "?token=1&x=2" }).watch,
    "ffplay -fflags nobuffer 'http://tv.example:8080/live/a.flv?token=1&x=2'",
  );
});

Deno.test("isLocalOnly() knows the names that lead other devices to themselves", () => {
  for (const name of ["localhost", "a.localhost", "127.0.0.1", "127.8.9.1", "[::1]"]) {
    assertEquals(isLocalOnly(name), true, name);
  }
  for (const name of ["192.0.2.1", "tv.example", "localhost.example", "1127.0.0.1"]) {
    assertEquals(isLocalOnly(name), false, name);
  }
});
