/** What the rtmp plugin tells others: where it listens. */

import { defineService, type Service } from "../../src/service.ts";

/** The RTMP server. */
export interface RtmpService {
  /** Addresses that clients on this machine reach it at, such as `rtmp://127.0.0.1:1935`. */
  readonly urls: readonly string[];
}

/** The RTMP server as a service, provided by the rtmp plugin. */
export const rtmpService: Service<RtmpService> = defineService<RtmpService>("rtmp");
