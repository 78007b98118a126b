import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  baseUrl,
  findControl,
  parseRtspUrl,
  redact,
  requestTarget,
  resolveControl,
  type RtspAddress,
  trackUrl,
} from "../../../plugins/rtsp/url.ts";

const addresses: readonly { text: string; address: RtspAddress }[] = [
  {
    text: "rtsp://cam/live",
    address: { url: "rtsp://cam/live", isSecure: false, hostname: "cam", port: 554 },
  },
  {
    text: "RTSPS://cam.example:8555/live?a=1&b=2#part",
    address: {
      url: "rtsps://cam.example:8555/live?a=1&b=2",
      isSecure: true,
      hostname: "cam.example",
      port: 8555,
    },
  },
  {
    text: "rtsps://[2001:db8::1]",
    address: {
      url: "rtsps://[2001:db8::1]",
      isSecure: true,
      hostname: "2001:db8::1",
      port: 322,
    },
  },
  {
    text: "rtsp://us%20er:p%40%C3%9F%2F:x@cam:1/a b",
    address: {
      url: "rtsp://cam:1/a%20b",
      isSecure: false,
      hostname: "cam",
      port: 1,
      credentials: { user: "us er", password: "p@ß/:x" },
    },
  },
  {
    text: "rtsp://admin:p@ss%zz@cam/user=admin&password=x&channel=1",
    address: {
      url: "rtsp://cam/user=admin&password=x&channel=1",
      isSecure: false,
      hostname: "cam",
      port: 554,
      credentials: { user: "admin", password: "p%40ss%zz" },
    },
  },
  {
    text: "rtsp://admin@cam/",
    address: {
      url: "rtsp://cam/",
      isSecure: false,
      hostname: "cam",
      port: 554,
      credentials: { user: "admin", password: "" },
    },
  },
];

for (const { text, address } of addresses) {
  Deno.test(`parseRtspUrl() reads ${text}`, () => assertEquals(parseRtspUrl(text), address));
}

Deno.test("parseRtspUrl() refuses what is no URL of RTSP, and shows no password", () => {
  for (
    const text of [
      "",
      "cam/live",
      "http://user:secret@cam/live",
      "rtsp:///live",
      "rtsp://user:secret@",
      "rtsp://user:sec/ret@cam/live?token=secret",
      "rtsp://user:secret@cam:99999/",
      "rtspu://user:secret@cam/",
    ]
  ) {
    const error = assertThrows(() => parseRtspUrl(text), TypeError, "it is no URL of RTSP");
    assertFalse(/sec|ret@/.test(`${error}`), `${error}`);
  }
});

Deno.test("redact() hides credentials and the values of parameters", () => {
  const cases: readonly [text: string, shown: string][] = [
    ["rtsp://cam:554/live/a", "rtsp://cam:554/live/a"],
    ["rtsp://user:secret@cam/live", "rtsp://***@cam/live"],
    ["rtsp://secret@cam", "rtsp://***@cam"],
    ["user:secret@cam/live", "***@cam/live"],
    ["rtsp://user:se/cr#et@cam/live", "rtsp://***@cam/live"],
    ["rtsp://user:se?cret@cam/live", "rtsp://***"],
    ["rtsp://cam/live?token=@secret", "rtsp://***"],
    ["cam/user=a&password=@secret", "***"],
    ["rtsp://user:sec@ret@cam/live", "rtsp://***@cam/live"],
    ["rtsp://cam/a?token=se/c?r=et&x=secret", "rtsp://cam/a?token=***&x=***"],
    ["rtsp://cam/a?secret", "rtsp://cam/a?***"],
    ["rtsp://cam/a?token=secret/trackID=1?b=secret", "rtsp://cam/a?token=***"],
    ["rtsp://cam/user=secret&password=secret&x", "rtsp://cam/user=***&password=***&x"],
    ["rtsp://cam/a;p=secret;q/b", "rtsp://cam/a;p=***;q/b"],
    ["", ""],
  ];
  for (const [text, shown] of cases) assertEquals(redact(text), shown);
});

Deno.test("redact() lets no password through, however it is written", () => {
  const part = fc.string({ maxLength: 8 });
  fc.assert(
    fc.property(part, part, (before, behind) => {
      const password = `${before}SECRET${behind}`;
      assertFalse(redact(`rtsp://user:${password}@cam/live`).includes("SECRET"));
      assertFalse(
        redact(`rtsp://cam/live?token=${password.replaceAll("&", "")}`).includes("SECRET"),
      );
    }),
    { seed: 2_326, numRuns: 2_000 },
  );
});

const controls: readonly [name: string, base: string, control: string | undefined, url: string][] =
  [
    ["nothing", "rtsp://cam/a", undefined, "rtsp://cam/a"],
    ["an empty one", "rtsp://cam/a/", "", "rtsp://cam/a/"],
    ["the aggregate", "rtsp://cam/a?x=1", "*", "rtsp://cam/a?x=1"],
    ["an absolute one", "rtsp://cam/a", "rtsp://10.0.0.2/a/1", "rtsp://10.0.0.2/a/1"],
    ["an absolute one over TLS", "rtsp://cam/a", "RTSPS://cam/b", "RTSPS://cam/b"],
    ["a relative one", "rtsp://cam/a/b", "trackID=1", "rtsp://cam/a/b/trackID=1"],
    ["a base with a slash", "rtsp://cam/a/b/", "trackID=1", "rtsp://cam/a/b/trackID=1"],
    ["a host only", "rtsp://cam:554", "video", "rtsp://cam:554/video"],
    ["a relative one with a slash", "rtsp://cam/a/b", "/trackID=1", "rtsp://cam/a/b/trackID=1"],
    ["two slashes", "rtsp://cam/a/", "/video/1", "rtsp://cam/a/video/1"],
    [
      "a base with arguments",
      "rtsp://cam/a?x=1&y=2",
      "trackID=1",
      "rtsp://cam/a?x=1&y=2/trackID=1",
    ],
    ["a base with arguments and a slash", "rtsp://cam/a?x=1/", "t=1", "rtsp://cam/a?x=1/t=1"],
    ["arguments", "rtsp://cam/a", "?track=1", "rtsp://cam/a?track=1"],
    [
      "a path of the host",
      "rtsp://cam/h264/ch1",
      "/h264/ch1?track=1",
      "rtsp://cam/h264/ch1?track=1",
    ],
    ["such a path and a slash", "rtsp://cam/h264/ch1/", "/h264/ch1/t1", "rtsp://cam/h264/ch1/t1"],
    ["such a path and arguments", "rtsp://cam/h264?x=1", "/h264/t1", "rtsp://cam/h264/t1"],
    ["the start of such a path", "rtsp://cam/t", "/trackID=1", "rtsp://cam/t/trackID=1"],
    ["a path and a host only", "rtsp://cam", "/t1", "rtsp://cam/t1"],
  ];

for (const [name, base, control, url] of controls) {
  Deno.test(`resolveControl() takes ${name}`, () =>
    assertEquals(resolveControl(base, control), url));
}

Deno.test("baseUrl() is Content-Base, Content-Location or the request's URL", () => {
  const asked = "rtsp://cam/a";
  const base = (headers: Record<string, string>) =>
    baseUrl(new Map(Object.entries(headers)), asked);
  assertEquals(base({}), asked);
  assertEquals(base({ "content-base": "rtsp://cam/b/" }), "rtsp://cam/b/");
  assertEquals(base({ "content-location": "rtsp://cam/c" }), "rtsp://cam/c");
  assertEquals(
    base({ "content-location": "rtsp://cam/c", "content-base": "rtsp://cam/b/" }),
    "rtsp://cam/b/",
  );
  assertEquals(base({ "content-base": "" }), asked);
  assertEquals(base({ "content-base": "/a", "content-location": "rtsp://cam/c" }), "rtsp://cam/c");
});

Deno.test("requestTarget() reads path and arguments", () => {
  const cases: readonly [url: string, target: string][] = [
    ["rtsp://host:8554/live/a", "/live/a"],
    ["rtsp://host/live/a/", "/live/a/"],
    ["/live/a", "/live/a"],
    ["rtsp://host/live/a?token=%20x&y=/z", "/live/a?token=%20x&y=/z"],
    ["rtsp://host/live/k%C3%BCche%20a", "/live/küche a"],
    ["rtsp://host/live/trackID=x", "/live/trackID=x"],
    ["rtsp://host", ""],
  ];
  for (const [url, target] of cases) assertEquals(requestTarget(url), { target });
});

Deno.test("requestTarget() finds the track wherever clients put it", () => {
  const described = "rtsp://host/live/a?token=1&x=y";
  assertEquals(trackUrl(described, 3), "rtsp://host/live/a/trackID=3?token=1&x=y");
  assertEquals(trackUrl("rtsp://host/live/a/", 3), "rtsp://host/live/a/trackID=3");
  const target = "/live/a?token=1&x=y";
  for (
    const url of [
      trackUrl(described, 3),
      "rtsp://host/live/a?token=1&x=y/trackID=3",
      "rtsp://host/live/a?token=1&x=y/trackID=3/",
      "rtsp://host/live/a?token=1&x=y/trackID=3?token=1&x=y",
      "rtsp://host/live/a/trackid=3/?token=1&x=y",
    ]
  ) assertEquals(requestTarget(url), { target, track: 3 }, url);
  assertEquals(requestTarget("rtsp://host/live/a/trackID=0"), { target: "/live/a", track: 0 });
});

Deno.test("requestTarget() refuses what names no path, or hides a ? in it", () => {
  for (const url of ["*", "", "live/a", "?token=1", "host:554/a"]) {
    assertThrows(() => requestTarget(url), TypeError, "it is not absolute");
  }
  assertThrows(() => requestTarget("rtsp://host/a%"), TypeError, "a malformed escape");
  assertThrows(() => requestTarget("rtsp://host/a%3Ftoken=1"), TypeError, "has a ?");
});

Deno.test("findControl() finds the announced track however its URL was put together", () => {
  const base = "rtsp://host/live/a?token=1";
  const tracks = ["streamid=0", "streamid=1"];
  for (
    const url of [
      "rtsp://host/live/a?token=1/streamid=1",
      "rtsp://host/live/a/streamid=1?token=1",
      "rtsp://host/live/a/streamid=1",
      "rtsp://10.0.0.1:8554/live/a/streamid=1/",
      "rtsp://host/live/a/stream%69d=1",
    ]
  ) assertEquals(findControl(url, base, tracks), 1, url);
  for (
    const url of [
      base,
      "rtsp://host/live/a",
      "rtsp://host/live/a/streamid=2",
      "rtsp://host/live/b/streamid=1",
      "rtsp://host/live/a/streamid=1?token=2",
      "*",
      "",
    ]
  ) assertEquals(findControl(url, base, tracks), -1, url);
  assertEquals(findControl("rtsp://nat/a/1", "rtsp://host/a", ["rtsp://inner/a/1"]), 0);
  assertEquals(findControl("rtsp://host/a/", "rtsp://host/a", ["stream=0"]), 0);
  assertEquals(findControl("rtsp://host/a", "rtsp://host/a", [undefined]), 0);
  assertEquals(findControl("rtsp://host/a", "rtsp://host/a", []), -1);
});

Deno.test("requestTarget() throws nothing but TypeError for any text", () => {
  const piece = fc.constantFrom(
    ..."rtsp:// / ? % %2 %3f @ a trackID=1 trackID=99999 * \\ # \u0000 %ff & =".split(" "),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }).map((all) => all.join("")), (text) => {
      try {
        requestTarget(text);
      } catch (error) {
        assert(error instanceof TypeError, `${error}`);
      }
      resolveControl(text, text);
      findControl(text, text, [text, undefined]);
    }),
    { seed: 2_326, numRuns: 2_000 },
  );
});
