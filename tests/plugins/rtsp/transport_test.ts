import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InvalidDataError } from "../../../src/errors.ts";
import {
  chooseTransport,
  formatTransports,
  parseTransports,
  type Transport,
} from "../../../plugins/rtsp/transport.ts";

const avp = { profile: "RTP/AVP", lower: "UDP" } as const;
const tcp = { profile: "RTP/AVP", lower: "TCP" } as const;

interface Case {
  readonly name: string;
  readonly text: string;
  readonly transports: readonly Transport[];
  /** Whether `formatTransports()` gives this text. */
  readonly written?: boolean;
}

const cases: readonly Case[] = [
  {
    name: "UDP ports",
    text: "RTP/AVP;unicast;client_port=4588-4589",
    transports: [{ ...avp, clientPorts: { rtp: 4588, rtcp: 4589 } }],
    written: true,
  },
  {
    name: "channels",
    text: "RTP/AVP/TCP;unicast;interleaved=0-1",
    transports: [{ ...tcp, channels: { rtp: 0, rtcp: 1 } }],
    written: true,
  },
  {
    name: "all that a server answers",
    text: "RTP/AVP;unicast;source=10.0.0.1;client_port=4588-4589;server_port=65534-65535;" +
      "ssrc=0123ABCD;mode=play",
    transports: [{
      ...avp,
      source: "10.0.0.1",
      clientPorts: { rtp: 4588, rtcp: 4589 },
      serverPorts: { rtp: 65_534, rtcp: 65_535 },
      ssrc: 0x0123_abcd,
      mode: "play",
    }],
    written: true,
  },
  {
    name: "the largest channels, and recording",
    text: "RTP/AVP/TCP;unicast;interleaved=254-255;mode=record",
    transports: [{ ...tcp, channels: { rtp: 254, rtcp: 255 }, mode: "record" }],
    written: true,
  },
  {
    name: "several transports",
    text: "RTP/AVP/TCP;unicast;interleaved=0-1,RTP/AVP;unicast;client_port=1-2",
    transports: [
      { ...tcp, channels: { rtp: 0, rtcp: 1 } },
      { ...avp, clientPorts: { rtp: 1, rtcp: 2 } },
    ],
    written: true,
  },
  {
    name: "multicast with a destination",
    text: "RTP/AVP;multicast;destination=224.2.0.1",
    transports: [{ ...avp, multicast: true, destination: "224.2.0.1" }],
    written: true,
  },
  {
    name: "another profile",
    text: "RTP/SAVP/TCP;unicast;interleaved=0-1",
    transports: [{ profile: "RTP/SAVP", lower: "TCP", channels: { rtp: 0, rtcp: 1 } }],
    written: true,
  },
  {
    name: "the example of RFC 2326 12.39",
    text:
      'RTP/AVP;multicast;ttl=127;mode="PLAY", RTP/AVP;unicast;client_port=3456-3457;mode="PLAY"',
    transports: [
      { ...avp, multicast: true, mode: "play" },
      { ...avp, clientPorts: { rtp: 3456, rtcp: 3457 }, mode: "play" },
    ],
  },
  {
    name: "a list of modes in quotes",
    text: 'RTP/AVP/TCP;interleaved=0-1;mode="PLAY,RECORD"',
    transports: [{ ...tcp, channels: { rtp: 0, rtcp: 1 }, mode: "record" }],
  },
  {
    name: "the old name of recording",
    text: "RTP/AVP;mode=receive",
    transports: [{ ...avp, mode: "record" }],
  },
  { name: "UDP by name", text: "RTP/AVP/UDP;unicast", transports: [avp] },
  {
    name: "letters of the other case, and blanks",
    text: " rtp/avp/tcp ; Unicast ; Interleaved = 2-3 ",
    transports: [{ ...tcp, channels: { rtp: 2, rtcp: 3 } }],
  },
  {
    name: "one port and one channel",
    text: "RTP/AVP;client_port=5000,RTP/AVP/TCP;interleaved=4",
    transports: [
      { ...avp, clientPorts: { rtp: 5000, rtcp: 5001 } },
      { ...tcp, channels: { rtp: 4, rtcp: 5 } },
    ],
  },
  {
    name: "channels without TCP",
    text: "RTP/AVP;unicast;interleaved=0-1",
    transports: [{ ...tcp, channels: { rtp: 0, rtcp: 1 } }],
  },
  {
    name: "a short SSRC with blanks",
    text: "RTP/AVP;ssrc=  D4F",
    transports: [{ ...avp, ssrc: 0xd4f }],
  },
  { name: "an SSRC that is none", text: "RTP/AVP;ssrc=319087154", transports: [avp] },
  {
    name: "an empty source",
    text: "RTP/AVP;source=;ssrc=;mode",
    transports: [{ ...avp, mode: "play" }],
  },
  {
    name: "what is no RTP",
    text: "MP2T/H2221/UDP;unicast;client_port=1-2,x",
    transports: [
      { profile: "MP2T/H2221", lower: "UDP", clientPorts: { rtp: 1, rtcp: 2 } },
      { profile: "X/", lower: "UDP" },
    ],
  },
];

for (const { name, text, transports, written } of cases) {
  Deno.test(`parseTransports() reads ${name}`, () => {
    assertEquals(parseTransports(text), transports);
  });
  if (!written) continue;
  Deno.test(`formatTransports() writes ${name}`, () => {
    assertEquals(formatTransports(...transports), text);
  });
}

Deno.test("formatTransports() writes what parseTransports() reads, for all cases", () => {
  for (const { transports } of cases) {
    assertEquals(parseTransports(formatTransports(...transports)), transports);
  }
});

Deno.test("parseTransports() refuses malformed ports and channels, and nothing at all", () => {
  for (const value of ["", "a", "1-", "-1", "1-2-3", "1-x", "0-0", "7-7", "99999999-1"]) {
    for (const name of ["client_port", "server_port", "interleaved"]) {
      assertThrows(
        () => parseTransports(`RTP/AVP;${name}=${value}`),
        InvalidDataError,
        `its ${name} is no pair`,
      );
    }
  }
  for (const pair of ["0-1", "1-65536", "65535"]) {
    assertThrows(() => parseTransports(`RTP/AVP;client_port=${pair}`), InvalidDataError);
  }
  for (const pair of ["0-256", "256-257", "255"]) {
    assertThrows(() => parseTransports(`RTP/AVP/TCP;interleaved=${pair}`), InvalidDataError);
  }
  for (const text of ["", " ", ",", " , "]) {
    assertThrows(() => parseTransports(text), InvalidDataError, "it is empty");
  }
});

const everything = { udp: true, tcp: true };

function choose(text: string, support = everything): string | undefined {
  const chosen = chooseTransport(parseTransports(text), support);
  return chosen && formatTransports(chosen);
}

Deno.test("chooseTransport() takes the first offer that can be served", () => {
  const udpOffer = "RTP/AVP;unicast;client_port=1-2";
  const tcpOffer = "RTP/AVP/TCP;unicast;interleaved=0-1";
  assertEquals(choose(`${udpOffer},${tcpOffer}`), udpOffer);
  assertEquals(choose(`${tcpOffer},${udpOffer}`), tcpOffer);
  assertEquals(choose(`${udpOffer},${tcpOffer}`, { udp: false, tcp: true }), tcpOffer);
  assertEquals(choose(`${tcpOffer},${udpOffer}`, { udp: true, tcp: false }), udpOffer);
  assertEquals(choose("RTP/AVP/TCP"), "RTP/AVP/TCP;unicast");
  assertEquals(choose(`RTP/SAVP/TCP,RTP/AVP;multicast,RAW/RAW/UDP,${udpOffer}`), udpOffer);
});

Deno.test("chooseTransport() takes none of what can't be served", () => {
  for (
    const text of [
      "RTP/AVP",
      "RTP/SAVP;client_port=1-2",
      "RTP/SAVP/TCP;interleaved=0-1",
      "RTP/AVPF/TCP;interleaved=0-1",
      "RTP/AVP;multicast;client_port=1-2",
      "RTP/AVP/DCCP;client_port=1-2",
      "MP2T/H2221/UDP;client_port=1-2",
    ]
  ) assertEquals(choose(text), undefined, text);
  assertEquals(choose("RTP/AVP/TCP;interleaved=0-1", { udp: true, tcp: false }), undefined);
  assertEquals(choose("RTP/AVP;client_port=1-2", { udp: false, tcp: true }), undefined);
});

Deno.test("chooseTransport() leaves out where the peer wants packets to go", () => {
  const chosen = choose("RTP/AVP;unicast;destination=192.0.2.1;client_port=1-2");
  assertEquals(chosen, "RTP/AVP;unicast;client_port=1-2");
});

Deno.test("parseTransports() throws nothing but InvalidDataError for damaged values", () => {
  const damaged = fc.tuple(
    fc.constantFrom(...cases.map(({ text }) => text)),
    fc.array(fc.tuple(fc.nat(100), fc.constantFrom(...'";,=-/ 09x')), { maxLength: 4 }),
  ).map(([text, changes]) => {
    const chars = [...text];
    for (const [index, char] of changes) if (index < chars.length) chars[index] = char;
    return chars.join("");
  });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.string({ maxLength: 100 })), (text) => {
      try {
        const transports = parseTransports(text);
        chooseTransport(transports, everything);
      } catch (error) {
        assert(error instanceof InvalidDataError, `${error}`);
      }
    }),
    { seed: 2_326, numRuns: 3_000 },
  );
});
