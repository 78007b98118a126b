/** The clip that the benchmark publishes: encoded once, kept in the system's directory of temporary files. */

import { encodeAmf0, EcmaArray } from "../../src/formats/amf.ts";
import { flvHeader, flvTag, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO } from "../../src/formats/flv.ts";
