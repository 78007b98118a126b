/** What RTMP messages say: protocol control, user control, commands, data and aggregates. */

import { ByteReader, ByteWriter } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  type AmfInput,
  type AmfObject,
  type AmfValue,
  encodeAmf0,
  isAmfObject,
  readAmf0All,
} from "../../src/formats/amf.ts";
import {
  CONTROL_CHUNK_STREAM,
  MessageType,
  type OutgoingMessage,
  type RtmpMessage,
} from "./message.ts";

/** Most messages in an aggregate, which holds about a second of audio and video. */
export const MAX_AGGREGATE_MESSAGES = 4096;

/** The chunk stream that our commands go out on; 2 is for control, so the next one. */
export const COMMAND_CHUNK_STREAM = 3;

/** User control event types (RTMP 1.0 7.1.7). */
export const UserControlEvent = {
  streamBegin: 0,
  streamEof: 1,
  streamDry: 2,
  setBufferLength: 3,
  streamIsRecorded: 4,
  pingRequest: 6,
  pingResponse: 7,
} as const;

/** How a peer is to take Set Peer Bandwidth (RTMP 1.0 5.4.5). */
export const BandwidthLimit = { hard: 0, soft: 1, dynamic: 2 } as const;

/** A protocol control (RTMP 1.0 5.4) or user control message (7.1.7). */
export type ControlMessage =
  | {
    readonly type:
      | typeof MessageType.setChunkSize
      | typeof MessageType.windowAckSize;
    /** Payload bytes a chunk, or received bytes between two acknowledgements. */
    readonly bytes: number;
  }
  | {
    readonly type: typeof MessageType.abort;
    /** Chunk stream whose partly received message is to be dropped. */
    readonly chunkStreamId: number;
  }
  | {
    readonly type: typeof MessageType.acknowledgement;
    /** Bytes received so far, modulo 2³². */
    readonly sequence: number;
  }
  | {
    readonly type: typeof MessageType.setPeerBandwidth;
    /** Bytes that may be sent and not acknowledged. */
    readonly bytes: number;
    /** One of {@linkcode BandwidthLimit}. */
    readonly limit: number;
  }
  | UserControlMessage;

/** A user control message (RTMP 1.0 7.1.7). */
export interface UserControlMessage {
  /** Marks it among the control messages. */
  readonly type: typeof MessageType.userControl;
  /** One of {@linkcode UserControlEvent}, or another one that servers made up. */
  readonly event: number;
  /** Message stream id; for pings, the sender's time in milliseconds. */
  readonly value: number;
  /** Buffer length in milliseconds, for `setBufferLength`. */
  readonly bufferMs?: number;
}

/** A command (RTMP 1.0 7.1.1). */
export interface RtmpCommand {
  /** Its name, such as `connect`, `publish` or `_result`. */
  readonly name: string;
  /** Ties a reply to its command; 0 if none is wanted. */
  readonly transactionId: number;
  /** The command object, `null` where there is none. */
  readonly object: AmfObject | null;
  /** What follows the command object. */
  readonly args: readonly AmfValue[];
}

/** A command to be sent. */
export interface OutgoingCommand {
  /** Its name. */
  readonly name: string;
  /** Ties a reply to its command. @default {0} */
  readonly transactionId?: number;
  /** The command object. @default {null} */
  readonly object?: { readonly [key: string]: AmfInput } | null;
  /** What follows the command object. @default {[]} */
  readonly args?: readonly AmfInput[];
}

/** The information object of an `onStatus` (RTMP 1.0 7.2.2). */
export interface StatusInfo {
  /** `error` ends what the peer asked for. */
  readonly level: "status" | "warning" | "error";
  /** Such as `NetStream.Publish.Start`. */
  readonly code: string;
  /** Text for people. */
  readonly description: string;
  /** Further properties. */
  readonly [key: string]: AmfInput;
}

/**
 * Reads a protocol control or user control message; `undefined` for any other type.
 *
 * @throws {InvalidDataError} If it is cut short.
 */
export function parseControl(message: RtmpMessage): ControlMessage | undefined {
  const reader = new ByteReader(message.payload);
  switch (message.type) {
    case MessageType.setChunkSize:
    case MessageType.windowAckSize:
      return { type: message.type, bytes: reader.u32() };
    case MessageType.abort:
      return { type: message.type, chunkStreamId: reader.u32() };
    case MessageType.acknowledgement:
      return { type: message.type, sequence: reader.u32() };
    case MessageType.setPeerBandwidth: {
      const bytes = reader.u32();
      // Some clients leave the limit type out; a hard limit is what they got from old servers.
      const limit = reader.remaining > 0 ? reader.u8() : BandwidthLimit.hard;
      return { type: message.type, bytes, limit };
    }
    case MessageType.userControl:
      return parseUserControl(reader);
    default:
      return undefined;
  }
}

/** The message that carries `control`, ready for `writeMessage`. */
export function controlMessage(control: ControlMessage): OutgoingMessage {
  const writer = new ByteWriter(16);
  switch (control.type) {
    case MessageType.setChunkSize:
    case MessageType.windowAckSize:
      writer.u32(control.bytes);
      break;
    case MessageType.abort:
      writer.u32(control.chunkStreamId);
      break;
    case MessageType.acknowledgement:
      writer.u32(control.sequence);
      break;
    case MessageType.setPeerBandwidth:
      writer.u32(control.bytes).u8(control.limit);
      break;
    case MessageType.userControl:
      writer.u16(control.event).u32(control.value);
      if (control.bufferMs !== undefined) writer.u32(control.bufferMs);
      break;
  }
  return {
    type: control.type,
    streamId: 0,
    timestampMs: 0,
    chunkStreamId: CONTROL_CHUNK_STREAM,
    payload: [writer.finish()],
  };
}

/**
 * Reads a command in AMF0 or in the AMF3 form of it; `undefined` for any other type.
 *
 * @throws {InvalidDataError} If it is no AMF, or does not start with a name and a transaction id.
 */
export function parseCommand(message: RtmpMessage): RtmpCommand | undefined {
  if (message.type !== MessageType.commandAmf0 && message.type !== MessageType.commandAmf3) {
    return undefined;
  }
  const [name, transactionId = 0, object, ...args] = readValues(message);
  if (typeof name !== "string") {
    throw new InvalidDataError(`Cannot read command: its name is ${describe(name)}`);
  }
  if (typeof transactionId !== "number") {
    throw new InvalidDataError(
      `Cannot read command ${name}: its transaction id is ${describe(transactionId)}`,
    );
  }
  return { name, transactionId, object: isAmfObject(object) ? object : null, args };
}

/**
 * Reads a data message, such as `@setDataFrame`, in AMF0 or in the AMF3 form of it; `undefined` for
 * any other type.
 *
 * @throws {InvalidDataError} If it is no AMF.
 */
export function parseData(message: RtmpMessage): AmfValue[] | undefined {
  if (message.type !== MessageType.dataAmf0 && message.type !== MessageType.dataAmf3) {
    return undefined;
  }
  return readValues(message);
}

/** The message that carries `command` in AMF0 on message stream `streamId`. */
export function commandMessage(command: OutgoingCommand, streamId = 0): OutgoingMessage {
  const { name, transactionId = 0, object = null, args = [] } = command;
  return {
    type: MessageType.commandAmf0,
    streamId,
    timestampMs: 0,
    chunkStreamId: COMMAND_CHUNK_STREAM,
    payload: [encodeAmf0(name, transactionId, object, ...args)],
  };
}

/** An `onStatus` on message stream `streamId` (RTMP 1.0 7.2.2). */
export function statusMessage(info: StatusInfo, streamId: number): OutgoingMessage {
  return commandMessage({ name: "onStatus", args: [info] }, streamId);
}

/** A `_result` to the command with `transactionId` (RTMP 1.0 7.1.1). */
export function resultMessage(
  transactionId: number,
  reply: Pick<OutgoingCommand, "object" | "args"> = {},
): OutgoingMessage {
  return commandMessage({ ...reply, name: "_result", transactionId });
}

/** An `_error` to the command with `transactionId` (RTMP 1.0 7.1.1). */
export function errorMessage(transactionId: number, info: StatusInfo): OutgoingMessage {
  return commandMessage({ name: "_error", transactionId, args: [info] });
}

/**
 * The messages in an aggregate (RTMP 1.0 7.1.6), on its message stream and moved in time so that
 * the first has its timestamp.
 *
 * @throws {InvalidDataError} If it is cut short, holds another aggregate or more than
 * {@linkcode MAX_AGGREGATE_MESSAGES} messages.
 */
export function splitAggregate(message: RtmpMessage): RtmpMessage[] {
  const reader = new ByteReader(message.payload);
  const messages: RtmpMessage[] = [];
  let shift: number | undefined;
  while (reader.remaining > 0) {
    if (messages.length === MAX_AGGREGATE_MESSAGES) {
      throw new InvalidDataError(
        `Cannot read aggregate: it has more than ${MAX_AGGREGATE_MESSAGES} messages`,
      );
    }
    const type = reader.u8();
    if (type === MessageType.aggregate) {
      throw new InvalidDataError("Cannot read aggregate: it holds another one");
    }
    const length = reader.u24();
    const timestampMs = (reader.u24() | reader.u8() << 24) >>> 0;
    reader.skip(3); // its stream id, which that of the aggregate overrides
    const payload = reader.bytes(length);
    reader.skip(Math.min(4, reader.remaining)); // back pointer, left out at the end by some
    shift ??= message.timestampMs - timestampMs;
    messages.push({ ...message, type, timestampMs: (timestampMs + shift) >>> 0, payload });
  }
  return messages;
}

function parseUserControl(reader: ByteReader): UserControlMessage {
  const type = MessageType.userControl;
  const event = reader.u16();
  const isKnown = event <= UserControlEvent.pingResponse;
  // The data of events outside the specification is anything or nothing.
  const value = isKnown || reader.remaining >= 4 ? reader.u32() : 0;
  if (event !== UserControlEvent.setBufferLength) return { type, event, value };
  return { type, event, value, bufferMs: reader.u32() };
}

/** The AMF values of a message, behind the format selector of the AMF3 types. */
function readValues(message: RtmpMessage): AmfValue[] {
  const { type, payload } = message;
  const isAmf3 = type === MessageType.commandAmf3 || type === MessageType.dataAmf3;
  // The selector is 0; AMF0 that starts with a name can't be mistaken for it.
  return readAmf0All(isAmf3 && payload[0] === 0 ? payload.subarray(1) : payload);
}

/** What kind of value it is, for error messages: never the peer's text itself. */
function describe(value: AmfValue): string {
  return value === null ? "null" : `a value of type ${typeof value}`;
}
