/*
 * The bytes of RTMP and FLV that load.c and floor.c have in common.
 */
#ifndef RTMP_H
#define RTMP_H

#include "base.h"

enum { HANDSHAKE_BYTES = 1536 };

enum { TAG_AUDIO = 8, TAG_VIDEO = 9, TAG_SCRIPT = 18, MSG_COMMAND = 20 };

/* ---- bytes ---- */

static uint32_t be24(const uint8_t *p) { return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]; }
static uint32_t be32(const uint8_t *p) { return be24(p) << 8 | p[3]; }

static uint8_t *put24(uint8_t *p, uint32_t v) {
  *p++ = (uint8_t)(v >> 16);
  *p++ = (uint8_t)(v >> 8);
  *p++ = (uint8_t)v;
  return p;
}

static uint8_t *put32(uint8_t *p, uint32_t v) {
  *p++ = (uint8_t)(v >> 24);
  return put24(p, v);
}

/* Whether a tag's body is a frame: neither a configuration nor metadata. */
static bool is_frame(uint8_t type, const uint8_t *body, size_t n) {
  if (n < 2) return false;
  if (type == TAG_AUDIO) return body[0] >> 4 != 10 || body[1] != 0;
  if (type != TAG_VIDEO) return false;
  if (body[0] & 0x80) return (body[0] & 15) == 1 || (body[0] & 15) == 3;
  return body[1] == 1 || (body[0] & 15) != 7;
}

/* ---- AMF0 ---- */

static uint8_t *amf_text(uint8_t *p, const char *text) {
  size_t n = strlen(text);
  *p++ = (uint8_t)(n >> 8);
  *p++ = (uint8_t)n;
  memcpy(p, text, n);
  return p + n;
}

static uint8_t *amf_string(uint8_t *p, const char *text) {
  *p++ = 2;
  return amf_text(p, text);
}

static uint8_t *amf_number(uint8_t *p, double number) {
  uint64_t bits;
  memcpy(&bits, &number, 8);
  *p++ = 0;
  p = put32(p, (uint32_t)(bits >> 32));
  return put32(p, (uint32_t)bits);
}

/* ---- chunks (RTMP 1.0, 5.3) ---- */

/* What is said of a message in front of it. */
struct header {
  uint32_t timestamp, length, stream;
  uint8_t type;
};

/* The header of a chunk with a full message header (5.3.1.2.1); its length. */
static size_t chunk_header(uint8_t *p, uint8_t chunk_stream, const struct header *h) {
  uint8_t *start = p;
  *p++ = chunk_stream;
  p = put24(p, h->timestamp >= 0xffffff ? 0xffffff : h->timestamp);
  p = put24(p, h->length);
  *p++ = h->type;
  for (int i = 0; i < 4; i++) *p++ = (uint8_t)(h->stream >> (8 * i));
  if (h->timestamp >= 0xffffff) p = put32(p, h->timestamp);
  return (size_t)(p - start);
}

#endif
