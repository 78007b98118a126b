import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InvalidDataError } from "../../src/errors.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import {
  parseSdp,
  sdpAttribute,
  serializeSdp,
  type SessionDescription,
} from "../../src/rtp/sdp.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

function format(
  payloadType: number,
  rtpmap: string,
  parameters: Readonly<Record<string, string>> = {},
): RtpFormat {
  const [encoding = "", rate, channels] = rtpmap.split("/");
  return {
    payloadType,
    encoding,
    clockRate: Number(rate),
    ...(channels !== undefined && { channels: Number(channels) }),
    parameters: new Map(Object.entries(parameters)),
  };
}

const AAC_HBR = { mode: "AAC-hbr", sizelength: "13", indexlength: "3", indexdeltalength: "3" };

/** Descriptions that come out of {@linkcode serializeSdp} as they went into {@linkcode parseSdp}. */
const canonical: readonly { name: string; text: string; description: SessionDescription }[] = [
  {
    name: "a session without media",
    text: "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nt=0 0\n",
    description: {
      origin: {
        username: "-",
        sessionId: "0",
        version: "0",
        addressType: "IP4",
        address: "127.0.0.1",
      },
      name: "",
      attributes: [],
      media: [],
    },
  },
  {
    name: "an RTSP session with H.264 and AAC",
    text: [
      "v=0",
      "o=admin 18446744073709551615 2 IN IP6 fe80::1",
      "s=live/a",
      "c=IN IP4 0.0.0.0",
      "t=0 0",
      "a=control:*",
      "a=range:npt=now-",
      "a=tool:example",
      "m=video 0 RTP/AVP 96",
      "b=AS:5000",
      "b=RR:0",
      "a=rtpmap:96 H264/90000",
      "a=fmtp:96 packetization-mode=1;profile-level-id=64000D;" +
      "sprop-parameter-sets=Z2QADazZQUGfnhAAAAMAEAAAAwMg8UKZYA==,aO+8sA==",
      "a=control:trackID=0",
      "a=sendonly",
      "a=framerate:25",
      "m=audio 5004 RTP/AVP 97 8",
      "c=IN IP4 239.1.2.3/127",
      "a=rtpmap:97 mpeg4-generic/44100/2",
      "a=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1210",
      "a=rtpmap:8 PCMA/8000",
      "a=control:rtsp://camera/live/a/audio?x=1",
      "",
    ].join("\n"),
    description: {
      origin: {
        username: "admin",
        sessionId: "18446744073709551615",
        version: "2",
        addressType: "IP6",
        address: "fe80::1",
      },
      name: "live/a",
      connection: { addressType: "IP4", address: "0.0.0.0" },
      control: "*",
      attributes: [{ name: "range", value: "npt=now-" }, { name: "tool", value: "example" }],
      media: [
        {
          kind: "video",
          port: 0,
          protocol: "RTP/AVP",
          formats: [format(96, "H264/90000", {
            "packetization-mode": "1",
            "profile-level-id": "64000D",
            "sprop-parameter-sets": "Z2QADazZQUGfnhAAAAMAEAAAAwMg8UKZYA==,aO+8sA==",
          })],
          bandwidth: new Map([["AS", 5000], ["RR", 0]]),
          control: "trackID=0",
          direction: "sendonly",
          attributes: [{ name: "framerate", value: "25" }],
        },
        {
          kind: "audio",
          port: 5004,
          protocol: "RTP/AVP",
          formats: [
            format(97, "mpeg4-generic/44100/2", { ...AAC_HBR, config: "1210" }),
            format(8, "PCMA/8000"),
          ],
          connection: { addressType: "IP4", address: "239.1.2.3", ttl: 127 },
          control: "rtsp://camera/live/a/audio?x=1",
          attributes: [],
        },
      ],
    },
  },
  {
    name: "a WebRTC offer",
    text: [
      "v=0",
      "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
      "s=-",
      "t=0 0",
      "a=group:BUNDLE 0 1 2",
      "a=extmap-allow-mixed",
      "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 110",
      "c=IN IP4 0.0.0.0",
      "a=rtpmap:111 opus/48000/2",
      "a=fmtp:111 minptime=10;useinbandfec=1",
      "a=rtpmap:63 red/48000/2",
      "a=fmtp:63 111/111",
      "a=rtpmap:110 telephone-event/48000",
      "a=recvonly",
      "a=ice-ufrag:Aq1/",
      "a=fingerprint:sha-256 19:E2:1C:3B",
      "a=mid:0",
      "a=rtcp-mux",
      "a=rtcp-fb:111 transport-cc",
      "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
      "a=rtpmap:96 H265/90000",
      "a=fmtp:96 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
      "a=rtpmap:97 rtx/90000",
      "a=fmtp:97 apt=96",
      "a=sendrecv",
      "a=mid:1",
      "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
      "a=mid:2",
      "",
    ].join("\n"),
    description: {
      origin: {
        username: "-",
        sessionId: "4611731400430051336",
        version: "2",
        addressType: "IP4",
        address: "127.0.0.1",
      },
      name: "",
      attributes: [{ name: "group", value: "BUNDLE 0 1 2" }, { name: "extmap-allow-mixed" }],
      media: [
        {
          kind: "audio",
          port: 9,
          protocol: "UDP/TLS/RTP/SAVPF",
          formats: [
            format(111, "opus/48000/2", { minptime: "10", useinbandfec: "1" }),
            format(63, "red/48000/2", { "111/111": "" }),
            format(110, "telephone-event/48000"),
          ],
          connection: { addressType: "IP4", address: "0.0.0.0" },
          direction: "recvonly",
          attributes: [
            { name: "ice-ufrag", value: "Aq1/" },
            { name: "fingerprint", value: "sha-256 19:E2:1C:3B" },
            { name: "mid", value: "0" },
            { name: "rtcp-mux" },
            { name: "rtcp-fb", value: "111 transport-cc" },
          ],
        },
        {
          kind: "video",
          port: 9,
          protocol: "UDP/TLS/RTP/SAVPF",
          formats: [
            format(96, "H265/90000", {
              "level-id": "93",
              "profile-id": "1",
              "tier-flag": "0",
              "tx-mode": "SRST",
            }),
            format(97, "rtx/90000", { apt: "96" }),
          ],
          direction: "sendrecv",
          attributes: [{ name: "mid", value: "1" }],
        },
        {
          kind: "application",
          port: 9,
          protocol: "UDP/DTLS/SCTP",
          formats: [],
          unknownFormats: ["webrtc-datachannel"],
          attributes: [{ name: "mid", value: "2" }],
        },
      ],
    },
  },
];

for (const { name, text, description } of canonical) {
  const wire = text.replaceAll("\n", "\r\n");

  Deno.test(`parseSdp() reads ${name}`, () => {
    assertEquals(parseSdp(wire), description);
    assertEquals(parseSdp(text), description);
    assertEquals(parseSdp(text.replaceAll("\n", "\r")), description);
  });

  Deno.test(`serializeSdp() writes ${name}`, () => {
    assertEquals(serializeSdp(description), wire);
  });
}

/** What cameras in use write, shortened, with what is to be made of it. */
const cameras: readonly {
  name: string;
  text: string;
  formats: RtpFormat[][];
  controls?: string[];
}[] = [
  {
    name: "trailing semicolons, spaces after them and upper case",
    text: "v=0\nm=VIDEO 0 RTP/AVP 96\na=rtpmap:96 h264/90000\n" +
      "a=fmtp:96 Packetization-Mode=1; PROFILE-LEVEL-ID = 4D0029 ;sprop-parameter-sets=Z00AKQ==,aO4= ; ;\n" +
      "m=audio 0 RTP/AVP 97\na=rtpmap:97 MPEG4-GENERIC/16000/1\n" +
      "a=fmtp:97 streamType=5; sizeLength=13; Mode=AAC-hbr;config=1408;\n",
    formats: [
      [format(96, "H264/90000", {
        "packetization-mode": "1",
        "profile-level-id": "4D0029",
        "sprop-parameter-sets": "Z00AKQ==,aO4=",
      })],
      [format(97, "mpeg4-generic/16000", {
        streamtype: "5",
        sizelength: "13",
        mode: "AAC-hbr",
        config: "1408",
      })],
    ],
  },
  {
    name: "static payload types without rtpmap",
    text: "v=0\nm=audio 0 RTP/AVP 0\nm=audio 0 RTP/AVP 8\nm=audio 0 RTP/AVP 14\na=fmtp:14 x=1\n",
    formats: [
      [format(0, "PCMU/8000")],
      [format(8, "PCMA/8000")],
      [format(14, "MPA/90000", { x: "1" })],
    ],
  },
  {
    name: "a static payload type with another rtpmap",
    text: "v=0\nm=audio 0 RTP/AVP 8\na=rtpmap:8 pcma/16000/2\n",
    formats: [[format(8, "PCMA/16000/2")]],
  },
  {
    name: "fmtp under the number of another format",
    text: "v=0\nm=audio 0 RTP/AVP 104\na=rtpmap:104 MPEG4-GENERIC/16000\na=fmtp:97 config=1408\n",
    formats: [[format(104, "mpeg4-generic/16000", { config: "1408" })]],
  },
  {
    name: "lines before their section's rtpmap, and fmtp in two parts",
    text: "v=0\nm=video 0 RTP/AVP 96\na=fmtp:96 packetization-mode=1\na=control:track1\n" +
      "a=rtpmap:96 H264/90000\na=fmtp:96 profile-level-id=420029\n",
    formats: [[format(96, "H264/90000", {
      "packetization-mode": "1",
      "profile-level-id": "420029",
    })]],
    controls: ["track1"],
  },
  {
    name: "no version line, no end of the last line and a zero behind it",
    text: "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=control:trackID=0\0",
    formats: [[format(96, "H264/90000")]],
    controls: ["trackID=0"],
  },
  {
    name: "a port, an origin and an address that are none",
    text: "v=0\no=- 1001 1 IN\ns=\nc=IN\nm=video -1353744643 RTP/AVP 96\nc=IN IP4 \n" +
      "a=rtpmap: 96 H265 / 90000\n a=control: rtsp://10.0.0.2/media/video1 \nb=AS:x\nb=AS\n\ngarbage\n=\n",
    formats: [[format(96, "H265/90000")]],
    controls: ["rtsp://10.0.0.2/media/video1"],
  },
  {
    name: "an rtpmap without clock rate",
    text: "v=0\nm=video 0 RTP/AVP 96 98\na=rtpmap:96 H264\na=rtpmap:98 H265/0\n",
    formats: [[format(96, "H264/90000"), format(98, "H265/90000")]],
  },
  {
    name: "format lines that mean nothing",
    text: "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:H264/90000 VP8/90000\na=RTPMAP:96 H265/90000\n" +
      "a=rtpmap:96 H264/90000\na=fmtp:96 a=1\na=fmtp:97 b=2\n" +
      "m=video 0 RTP/AVP 96 97\na=rtpmap:96 H264/90000\na=rtpmap:97 H265/90000\na=fmtp:98 a=1\n" +
      "m=audio 0 RTP/AVP 8\na=rtpmap:97 PCMU/8000\na=fmtp:97 a=1\n",
    formats: [
      [format(96, "H265/90000", { a: "1" })],
      [format(96, "H264/90000"), format(97, "H265/90000")],
      [format(8, "PCMA/8000")],
    ],
  },
  {
    name: "values in quotes, and metadata beside video",
    text: 'v=0\nm=video 0 RTP/AVP 105\na=rtpmap:105 H264/90000\na=fmtp:105 a="b c"\n' +
      "m=application 0 RTP/AVP 107\na=rtpmap:107 vnd.onvif.metadata/90000\na=fmtp:107 DecoderTag=v3 RTCP=0\n",
    formats: [
      [format(105, "H264/90000", { a: "b c" })],
      [format(107, "vnd.onvif.metadata/90000", { decodertag: "v3 RTCP=0" })],
    ],
  },
  {
    name: "formats that nothing describes",
    text:
      "v=0\nm=audio 0/2 RTP/AVP 96 1 128 999 x 8 8\na=rtpmap:96 /8000\na=rtpmap:200 PCMA/8000\n",
    formats: [[format(8, "PCMA/8000")]],
  },
];

for (const { name, text, formats, controls } of cameras) {
  Deno.test(`parseSdp() makes sense of ${name}`, () => {
    const { media } = parseSdp(text);
    assertEquals(media.map((section) => section.formats), formats);
    if (controls !== undefined) assertEquals(media.map(({ control }) => control), controls);
    // What was made of it can be written, and is the same then.
    const description = parseSdp(text);
    assertEquals(parseSdp(serializeSdp(description)).media, description.media);
  });
}

Deno.test("parseSdp() keeps apart formats that nothing describes", () => {
  const { media } = parseSdp("m=audio 70000/2 RTP/AVP 96 1 128 x 8\na=rtpmap:96 /8000\n");
  assertEquals(media[0]?.unknownFormats, ["96", "1", "128", "x"]);
  assertEquals(media[0]?.port, 0);
});

Deno.test("parseSdp() takes the first of what can be there once", () => {
  const twice = "c=IN IP4 10.0.0.1/300\nc=IN IP4 10.0.0.2\na=Control:x\na=control:y\n";
  const description = parseSdp(
    `v=0\no=a 1 1 IN IP4 h\no=b 2 2 IN IP4 h\ns=one\n${twice}m=VIDEO 0 RTP/AVP 96\ns=two\n${twice}`,
  );
  const connection = { addressType: "IP4", address: "10.0.0.1" };
  assertEquals(description, {
    origin: { username: "a", sessionId: "1", version: "1", addressType: "IP4", address: "h" },
    name: "one",
    connection,
    control: "x",
    attributes: [],
    media: [{
      kind: "video",
      port: 0,
      protocol: "RTP/AVP",
      formats: [],
      unknownFormats: ["96"],
      connection,
      control: "x",
      attributes: [],
    }],
  });
});

Deno.test("sdpAttribute() is the first value of a name, empty for a flag", () => {
  const [section] = parseSdp("m=audio 9 RTP/AVP 0\na=mid:1\na=mid:2\na=rtcp-mux\n").media;
  assert(section);
  assertEquals(
    ["mid", "rtcp-mux", "rtcp"].map((name) => sdpAttribute(section, name)),
    ["1", "", undefined],
  );
});

Deno.test("parseSdp() reads what FFmpeg and GStreamer write", () => {
  for (const name of fixtureNames()) {
    const { sdp, expected } = readRtpFixture(name);
    const description = parseSdp(sdp);
    const [media, ...others] = description.media;
    assertEquals(others, [], name);
    assertEquals([media?.protocol, media?.port], ["RTP/AVP", 5004], name);
    assertEquals([media?.formats.length, media?.unknownFormats], [1, undefined], name);
    const { encoding, clockRate } = media?.formats[0] ?? {};
    assertEquals(
      [encoding?.toLowerCase(), clockRate],
      [expected.encoding.toLowerCase(), expected.clockRate],
      name,
    );
    assertEquals(parseSdp(serializeSdp(description)), description, name);
  }
});

Deno.test("parseSdp() refuses what is over its bounds and names the line", () => {
  const media = "m=video 0 RTP/AVP 96\n";
  const many = (count: number, line: (index: number) => string) =>
    Array.from({ length: count }, (_, index) => line(index)).join("");
  const cases: readonly (readonly [text: string, ok: string, message: string])[] = [
    [
      `v=0\n${"\n".repeat(65_533)}`,
      `v=0\n${"\n".repeat(65_532)}`,
      "its length is 65537, over 65536",
    ],
    [`v=0\na=${"x".repeat(8_191)}`, `v=0\na=${"x".repeat(8_190)}`, "line 2 of"],
    [`v=0\n${many(65, () => media)}`, `v=0\n${many(64, () => media)}`, "line 66 of"],
    [
      `v=0\nm=video 0 RTP/AVP ${many(129, (n) => `${n} `)}`,
      `v=0\nm=video 0 RTP/AVP ${many(128, (n) => `${n} `)}`,
      "the number of formats is over 128",
    ],
    [
      `v=0\n${media}${many(513, () => "a=x\n")}`,
      `v=0\n${media}${many(512, () => "a=x\n")}`,
      "line 515 of a session description: the number of attributes is over 512",
    ],
    [
      `v=0\n${media}a=fmtp:96 ${many(65, (n) => `p${n}=1;`)}`,
      `v=0\n${media}a=fmtp:96 ${many(64, (n) => `p${n}=1;`)}`,
      "line 3 of a session description: the number of format parameters is over 64",
    ],
    [
      `v=0\n${many(17, (n) => `b=X${n}:1\n`)}`,
      `v=0\n${many(16, (n) => `b=X${n}:1\n`)}`,
      "line 18 of a session description: the number of bandwidths is over 16",
    ],
    [
      "v=0\nm=video 0\n",
      "v=0\nm=video 0 RTP/AVP\n",
      "line 2 of a session description: its media line",
    ],
    ["<html><body>Not found</body></html>", "v=0", "version and media lines is 0"],
    ["", "m=a 0 b", "version and media lines is 0"],
  ];
  for (const [text, ok, message] of cases) {
    assertThrows(() => parseSdp(text), InvalidDataError, message);
    parseSdp(ok);
  }
});

Deno.test("parseSdp() takes no other clock rates and channels than there can be", () => {
  const rtpmaps = ["X/16777216/255", "X/16777217", "X/8000/0", "X/8000/256", "X/-1", "X/1e3"];
  const text = rtpmaps.map((value) => `m=audio 0 RTP/AVP 96\na=rtpmap:96 ${value}\n`).join("");
  assertEquals(parseSdp(text).media.map(({ formats }) => formats), [
    [format(96, "X/16777216/255")],
    [],
    [format(96, "X/8000")],
    [format(96, "X/8000")],
    [],
    [],
  ]);
});

Deno.test("serializeSdp() throws when a string would break its line", () => {
  const [, { description }] = canonical as [unknown, (typeof canonical)[number]];
  for (const name of ["a\r\nm=video 0 RTP/AVP 96", "a\nb", "a\0", "a\x7f"]) {
    assertThrows(
      () => serializeSdp({ ...description, name }),
      RangeError,
      "Cannot write a session",
    );
  }
  const attributes = [{ name: "x", value: "1\r\na=y" }];
  assertThrows(() => serializeSdp({ ...description, attributes }), RangeError, "a=x:1");
});

Deno.test("parseSdp() withstands cut, changed and random texts", () => {
  const seeds = [...canonical, ...cameras].map(({ text }) => text);
  const attempt = (text: string) => {
    let description: SessionDescription;
    try {
      description = parseSdp(text);
    } catch (error) {
      if (!(error instanceof InvalidDataError)) throw error;
      return;
    }
    try {
      const again = parseSdp(serializeSdp(description));
      assertEquals(again.media.length, description.media.length);
    } catch (error) {
      // Control characters inside of lines are read, but not written.
      if (!(error instanceof RangeError)) throw error;
    }
  };
  for (const seed of seeds) {
    for (let length = 0; length <= seed.length; length++) attempt(seed.slice(0, length));
  }
  const pieces = [
    "m=",
    "a=",
    "=",
    ":",
    ";",
    "/",
    " ",
    "\n",
    "\0",
    "a=rtpmap:96 ",
    "a=fmtp:96 ",
    "-1",
    "é",
  ];
  const change = fc.record({ at: fc.nat(), cut: fc.nat(30), piece: fc.constantFrom(...pieces) });
  const changes = fc.array(change, { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), changes, (seed, list) => {
      let text = seed;
      for (const { at, cut, piece } of list) {
        const from = at % (text.length + 1);
        text = text.slice(0, from) + piece + text.slice(from + cut);
      }
      attempt(text);
    }),
    { seed: 20_24, numRuns: 1_500 },
  );
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces, "v=0\n", "96"), { maxLength: 60 }), (list) => {
      attempt(list.join(""));
    }),
    { seed: 20_24, numRuns: 1_000 },
  );
});
