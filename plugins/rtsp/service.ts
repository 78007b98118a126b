/** What the rtsp plugin tells others: where it listens. */

import { defineService, type Service } from "../../src/service.ts";

/** The RTSP server. */
export interface RtspService {
  /** Addresses that clients on this machine reach it at, such as `rtsp://127.0.0.1:8554`. */
  readonly urls: readonly string[];
}

/** The RTSP server as a service, provided by the rtsp plugin. */
export const rtspService: Service<RtspService> = defineService<RtspService>("rtsp");
