import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../../src/bytes.ts";
import { InvalidDataError } from "../../../src/errors.ts";
import { encodeAmf0 } from "../../../src/formats/amf.ts";
import { flvTag } from "../../../src/formats/flv.ts";
import {
  BandwidthLimit,
  commandMessage,
  type ControlMessage,
  controlMessage,
  errorMessage,
  MAX_AGGREGATE_MESSAGES,
  parseCommand,
  parseControl,
  parseData,
  resultMessage,
  splitAggregate,
  statusMessage,
  UserControlEvent,
} from "../../../plugins/rtmp/command.ts";
import {
  MessageType,
  type OutgoingMessage,
  type RtmpMessage,
} from "../../../plugins/rtmp/message.ts";

const seed = 20_246;

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

function message(type: number, payload: Uint8Array): RtmpMessage {
  return { type, streamId: 1, timestampMs: 1_000, chunkStreamId: 3, payload };
}

/** A message as it arrives at the other side. */
function received(outgoing: OutgoingMessage): RtmpMessage {
  return { ...outgoing, payload: concat(outgoing.payload) };
}

const { userControl } = MessageType;
const controls: readonly { bytes: string; control: ControlMessage }[] = [
  { bytes: "00001000", control: { type: MessageType.setChunkSize, bytes: 4096 } },
  { bytes: "00000006", control: { type: MessageType.abort, chunkStreamId: 6 } },
  { bytes: "ffffffff", control: { type: MessageType.acknowledgement, sequence: 0xffff_ffff } },
  { bytes: "002625a0", control: { type: MessageType.windowAckSize, bytes: 2_500_000 } },
  {
    bytes: "002625a0 02",
    control: {
      type: MessageType.setPeerBandwidth,
      bytes: 2_500_000,
      limit: BandwidthLimit.dynamic,
    },
  },
  {
    bytes: "0000 00000001",
    control: { type: userControl, event: UserControlEvent.streamBegin, value: 1 },
  },
  {
    bytes: "0001 00000001",
    control: { type: userControl, event: UserControlEvent.streamEof, value: 1 },
  },
  {
    bytes: "0002 00000001",
    control: { type: userControl, event: UserControlEvent.streamDry, value: 1 },
  },
  {
    bytes: "0003 00000001 00000bb8",
    control: {
      type: userControl,
      event: UserControlEvent.setBufferLength,
      value: 1,
      bufferMs: 3_000,
    },
  },
  {
    bytes: "0004 00000001",
    control: { type: userControl, event: UserControlEvent.streamIsRecorded, value: 1 },
  },
  {
    bytes: "0006 0000002a",
    control: { type: userControl, event: UserControlEvent.pingRequest, value: 42 },
  },
  {
    bytes: "0007 0000002a",
    control: { type: userControl, event: UserControlEvent.pingResponse, value: 42 },
  },
  { bytes: "0020 00000001", control: { type: userControl, event: 32, value: 1 } },
];

for (const { bytes, control } of controls) {
  const name = JSON.stringify(control);

  Deno.test(`parseControl() reads ${name}`, () => {
    const payload = hex(bytes);
    assertEquals(parseControl(message(control.type, payload)), control);
    for (let length = 0; length < payload.length; length++) {
      const cut = message(control.type, payload.subarray(0, length));
      const mayBeCut = control.type === MessageType.setPeerBandwidth && length === 4 ||
        control.type === userControl && control.event > 7 && length >= 2;
      if (mayBeCut) assert(parseControl(cut));
      else assertThrows(() => parseControl(cut), InvalidDataError);
    }
  });

  Deno.test(`controlMessage() writes ${name}`, () => {
    const written = controlMessage(control);
    assertEquals(received(written).payload.toHex(), hex(bytes).toHex());
    assertEquals({ ...written, payload: [] }, {
      type: control.type,
      streamId: 0,
      timestampMs: 0,
      chunkStreamId: 2,
      payload: [],
    });
  });
}

Deno.test("parseControl() and the others give undefined for messages of other types", () => {
  const audio = message(MessageType.audio, hex("af01"));
  assertEquals(parseControl(audio), undefined);
  assertEquals(parseCommand(audio), undefined);
  assertEquals(parseData(audio), undefined);
});

Deno.test("parseControl() takes a made-up event without data", () => {
  const control = parseControl(message(userControl, hex("001b")));
  assertEquals(control, { type: userControl, event: 27, value: 0 });
});

const connect = encodeAmf0("connect", 1, { app: "live", objectEncoding: 0 });
const app = Object.assign(Object.create(null), { app: "live", objectEncoding: 0 });

Deno.test("parseCommand() reads a command with its object", () => {
  const command = parseCommand(message(MessageType.commandAmf0, connect));
  assertEquals(command, { name: "connect", transactionId: 1, object: app, args: [] });
});

Deno.test("parseCommand() reads a command of the AMF3 type, with and without selector", () => {
  const expected = { name: "connect", transactionId: 1, object: app, args: [] };
  const selected = concat([hex("00"), connect]);
  assertEquals(parseCommand(message(MessageType.commandAmf3, selected)), expected);
  assertEquals(parseCommand(message(MessageType.commandAmf3, connect)), expected);
});

Deno.test("parseCommand() reads AMF3 values in a command of the AMF3 type", () => {
  const payload = hex("00 02 0001 78 00 4000000000000000 11 0a 0b 01 0361 0401 01 11 06 0362");
  assertEquals(parseCommand(message(MessageType.commandAmf3, payload)), {
    name: "x",
    transactionId: 2,
    object: Object.assign(Object.create(null), { a: 1 }),
    args: ["b"],
  });
});

Deno.test("parseCommand() reads arguments, and null where the object is missing", () => {
  const publish = encodeAmf0("publish", 5, null, "key", "live");
  assertEquals(parseCommand(message(MessageType.commandAmf0, publish)), {
    name: "publish",
    transactionId: 5,
    object: null,
    args: ["key", "live"],
  });
  assertEquals(parseCommand(message(MessageType.commandAmf0, encodeAmf0("x"))), {
    name: "x",
    transactionId: 0,
    object: null,
    args: [],
  });
});

Deno.test("parseCommand() refuses what does not start with a name and a transaction id", () => {
  const refused = [
    { payload: encodeAmf0(), text: "name is a value of type undefined" },
    { payload: encodeAmf0(null), text: "name is null" },
    { payload: encodeAmf0({ name: "x" }), text: "name is a value of type object" },
    { payload: encodeAmf0("x", "1"), text: "x: its transaction id is a value of type string" },
    { payload: hex("02 0010 61"), text: "Cannot read 16 bytes" },
  ];
  for (const { payload, text } of refused) {
    const broken = message(MessageType.commandAmf0, payload);
    assertThrows(() => parseCommand(broken), InvalidDataError, text);
  }
});

Deno.test("parseData() reads metadata of both types", () => {
  const payload = encodeAmf0("@setDataFrame", "onMetaData", { app: "live", objectEncoding: 0 });
  const expected = ["@setDataFrame", "onMetaData", app];
  assertEquals(parseData(message(MessageType.dataAmf0, payload)), expected);
  const selected = concat([hex("00"), payload]);
  assertEquals(parseData(message(MessageType.dataAmf3, selected)), expected);
});

Deno.test("commandMessage() writes what parseCommand() reads", () => {
  const command = { name: "play", transactionId: 4, object: app, args: ["a", -2] };
  const written = received(commandMessage(command, 1));
  assertEquals(written.type, MessageType.commandAmf0);
  assertEquals(written.streamId, 1);
  assertEquals(parseCommand(written), command);
});

const info = Object.assign(Object.create(null), {
  level: "status" as const,
  code: "NetStream.Publish.Start",
  description: "live/a",
  details: "x",
});

Deno.test("statusMessage() writes an onStatus on its message stream", () => {
  const written = received(statusMessage(info, 1));
  assertEquals(written.streamId, 1);
  assertEquals(parseCommand(written), {
    name: "onStatus",
    transactionId: 0,
    object: null,
    args: [info],
  });
});

Deno.test("resultMessage() and errorMessage() answer a transaction", () => {
  const result = received(resultMessage(4, { args: [1] }));
  assertEquals(result.streamId, 0);
  assertEquals(parseCommand(result), {
    name: "_result",
    transactionId: 4,
    object: null,
    args: [1],
  });
  assertEquals(parseCommand(received(resultMessage(1, { object: app })))?.object, app);
  assertEquals(parseCommand(received(errorMessage(4, info))), {
    name: "_error",
    transactionId: 4,
    object: null,
    args: [info],
  });
});

const aggregated = [
  { type: 8 as const, timestampMs: 40, body: hex("af01aa") },
  { type: 9 as const, timestampMs: 73, body: hex("2701000000bb") },
  { type: 18 as const, timestampMs: 0x0100_0000, body: hex("05") },
];

function aggregate(cutEnd = 0): RtmpMessage {
  const tags = aggregated.map(({ type, timestampMs, body }) => flvTag(type, timestampMs, [body]));
  const payload = concat(tags);
  return message(MessageType.aggregate, payload.subarray(0, payload.length - cutEnd));
}

Deno.test("splitAggregate() moves messages to the time and message stream of the aggregate", () => {
  const expected = aggregated.map(({ type, timestampMs, body }) => ({
    ...message(type, body),
    timestampMs: timestampMs - 40 + 1_000,
  }));
  assertEquals(splitAggregate(aggregate()), expected);
  assertEquals(splitAggregate(aggregate(4)), expected);
  assertEquals(splitAggregate(message(MessageType.aggregate, hex(""))), []);
});

Deno.test("splitAggregate() lets time wrap around", () => {
  const late = splitAggregate({ ...aggregate(), timestampMs: 0xffff_fff0 });
  assertEquals(late.map(({ timestampMs }) => timestampMs), [
    ...[0xffff_fff0, 0x11, 0x00ff_ffc8],
  ]);
});

Deno.test("splitAggregate() refuses one that is cut, nested or endless", () => {
  assertThrows(() => splitAggregate(aggregate(5)), InvalidDataError, "Cannot read 1 bytes");
  const nested = message(MessageType.aggregate, hex("16 000000 000000 00 000000 0000000b"));
  assertThrows(() => splitAggregate(nested), InvalidDataError, "holds another one");
  const many = new Uint8Array((MAX_AGGREGATE_MESSAGES + 1) * 15);
  const endless = message(MessageType.aggregate, many);
  assertThrows(() => splitAggregate(endless), InvalidDataError, "more than 4096 messages");
});

Deno.test("parsers of messages throw nothing but InvalidDataError for any payload", () => {
  const seeds = [
    ...controls.map(({ bytes }) => hex(bytes)),
    connect,
    aggregate().payload,
    encodeAmf0("@setDataFrame", "onMetaData", { width: 1 }),
  ];
  const payloads = fc.oneof(
    fc.tuple(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 3 }),
    ).map(([bytes, changes]) => {
      const changed = bytes.slice();
      for (const [index, byte] of changes) if (index < changed.length) changed[index] = byte;
      return changed;
    }),
    fc.uint8Array({ maxLength: 60 }),
  );
  fc.assert(
    fc.property(payloads, (payload) => {
      for (const type of Object.values(MessageType)) {
        for (const parse of [parseControl, parseCommand, parseData, splitAggregate]) {
          try {
            parse(message(type, payload));
          } catch (error) {
            assert(error instanceof InvalidDataError, `${error}`);
          }
        }
      }
    }),
    { seed, numRuns: 500 },
  );
});
