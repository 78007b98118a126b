/*
 * The load of bench:server: viewers by RTMP, by RTSP over TCP, and of FLV or fragmented MP4 by HTTP or
 * WebSocket, and publishers by RTMP.
 *
 *   load view    --url URL [--streams N] [--rate N] [--verify N --clip FILE] [--tags-per-second X]
 *                [--lazy MS --probes N] [--poll MS]
 *   load publish --url URL [--streams N] --clip FILE --loop-us N [--start-ms N]
 *
 * `{}` in a URL stands for the number of a stream; one that ends in .mp4 is of fragmented MP4. Commands
 * come line by line on standard input, JSON lines go to standard output; load_client.ts has the list of
 * both. All figures of time are taken from CLOCK_MONOTONIC, which publisher and viewers share.
 *
 * A viewer costs one system call for each piece that arrives. Of media it looks at headers only, and at
 * the first bytes of a video frame for the stamp that the publisher put there. With --lazy all viewers
 * but --probes of them, evenly among the others, are lazy once they have a keyframe: each MS they have
 * the system discard what has come, and count it. It is compared with what came to the probes. With
 * --poll a viewer whose data have come is not woken for them: all look each MS whether there are some.
 */
#include "load.h"
#include "rtmp.h"

enum {
  REPLY_BYTES = 4096,        /* HTTP response heads, RTMP handshakes and commands */
  HEAD_BYTES = 96,           /* what is kept of a message: room for the stamp behind other NAL units */
  CHUNK_STREAMS = 8,         /* chunk streams that a server may use on one connection */
  MAX_MESSAGE_BYTES = 8 << 20,
  OUT_CHUNK_BYTES = 60000,   /* as FFmpeg has it */
  MAX_OUT_BYTES = 16 << 20,  /* what a publisher may be behind */
  MAX_CONNECTING = 128,
  START_TIMEOUT_US = 20000000,
  BOX_BYTES = 8192, /* the largest box before the media: moov */
  PACKET_BYTES = 4 + 65535, /* the largest interleaved packet */
  STALLED_BUFFER_BYTES = 65536,
  LAZY_BUFFER_BYTES = 1 << 20, /* three seconds of the clip: a lazy viewer never holds up the server */
  LAZY_SLOTS = 64,             /* groups of lazy viewers, which read one after the other */
};

typedef enum { HTTP, WS, RTMP, RTSP } protocol;
typedef enum { RESIDENT, JOINER, STALLED, PUBLISHER } role;
typedef enum { CONNECTING, GREETING, STARTING, PLAYING } phase;

/* ---- the stamp: SEI user_data_unregistered (H.264 D.1.7) as a NAL unit with its length ---- */

enum { SEI_PAYLOAD = 16 + TIME_DIGITS + FRAME_DIGITS, SEI_NAL = 3 + SEI_PAYLOAD + 1, SEI_BYTES = 4 + SEI_NAL };
enum { VIDEO_PREFIX = 5 }; /* before the first NAL unit in an AVC video tag */

static uint8_t *put_digits(uint8_t *p, uint64_t value, int digits) {
  while (digits--) *p++ = (uint8_t)(0x80 | (value >> (7 * digits) & 0x7f));
  return p;
}

static uint8_t *put_stamp(uint8_t *p, uint64_t time_us, uint64_t frame) {
  p = put32(p, SEI_NAL);
  *p++ = 6;           /* SEI */
  *p++ = 5;           /* user_data_unregistered */
  *p++ = SEI_PAYLOAD;
  memcpy(p, STAMP_UUID, 16);
  p = put_digits(p + 16, time_us, TIME_DIGITS);
  p = put_digits(p, frame, FRAME_DIGITS);
  *p++ = 0x80; /* rbsp_trailing_bits */
  return p;
}

/* ---- the clip: an FLV file ---- */

struct packet {
  uint32_t ms, bytes;
  uint8_t type;
  bool frame; /* neither a configuration nor metadata */
  const uint8_t *body;
  uint64_t hash;
};

static struct {
  struct packet *packets;
  size_t count, first_frame;
  uint64_t loop_us;
} clip;

static void load_clip(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) die("cannot open %s: %s", path, strerror(errno));
  fseek(file, 0, SEEK_END);
  long size = ftell(file);
  rewind(file);
  if (size < 13) die("%s is no FLV", path);
  uint8_t *bytes = must(malloc((size_t)size));
  if (fread(bytes, 1, (size_t)size, file) != (size_t)size) die("cannot read %s", path);
  fclose(file);
  size_t room = 0, end = (size_t)size;
  for (size_t at = 13; at + 11 <= end;) {
    uint32_t length = be24(bytes + at + 1);
    if (at + 11 + length + 4 > end) die("%s is cut short", path);
    if (clip.count == room) {
      room = room ? room * 2 : 256;
      clip.packets = must(realloc(clip.packets, room * sizeof *clip.packets));
    }
    const uint8_t *body = bytes + at + 11;
    clip.packets[clip.count++] = (struct packet){
        .type = bytes[at] & 0x1f,
        .bytes = length,
        .ms = be24(bytes + at + 4) | (uint32_t)bytes[at + 7] << 24,
        .body = body,
        .frame = is_frame(bytes[at] & 0x1f, body, length),
        .hash = hash_more(HASH_START, body, length),
    };
    at += 11 + length + 4;
  }
  while (clip.first_frame < clip.count && !clip.packets[clip.first_frame].frame) clip.first_frame++;
  if (clip.first_frame == clip.count) die("%s has no frames", path);
}

/* ---- connections ---- */

/* A tag or message as it comes in. */
struct message {
  uint32_t timestamp, delta, length, got;
  uint8_t type;
  bool extended, stamped;
  uint64_t hash;
  uint8_t head_bytes;
  uint8_t head[HEAD_BYTES];
};

struct chunk_stream {
  uint32_t id;
  bool used;
  struct message message;
};

/* What an RTSP session has: two tracks at most, whose channels are twice their number. */
struct tracks {
  uint8_t count, video;
  bool inside, key; /* of a picture */
  char url[2][512], session[96];
};

struct connection {
  int fd;
  protocol protocol;
  role role;
  phase phase;
  uint32_t stream;
  bool verify, counted_start, lazy;
  uint64_t opened_us;
  struct connection *previous, *next;

  uint8_t *reply; /* until it plays; a box of MP4 */
  uint32_t reply_bytes;

  /* HTTP chunks and WebSocket frames */
  enum { PLAIN, CHUNKED, FRAMED } framing;
  enum { F_SIZE, F_DATA, F_END } framing_at;
  uint64_t framing_left;
  uint8_t framing_head[10];
  uint8_t framing_have, framing_opcode;

  /* FLV: 0 file header, 1 tag header, 2 body, 3 size. RTMP: 0 chunk header, 1 payload.
   * MP4: 0 box header, 1 box that is kept, 2 media. RTSP: requests that are answered. */
  int parse_at;
  uint8_t lead[20];
  uint8_t lead_have;
  struct message message;
  struct chunk_stream *chunk_streams;
  struct chunk_stream *chunk_stream;
  uint32_t chunk_size, chunk_left, ack_window;
  uint64_t received, acknowledged;
  uint32_t message_stream;
  struct tracks *tracks;

  /* what has come */
  int64_t last_frame, last_audio;
  bool has_key, bad_start;
  uint64_t stall_after;
  uint64_t first_us, last_us;
  uint32_t tags, first_tags;

  /* lazy viewers */
  struct connection *next_lazy;
  struct slot *slot;
  uint64_t lazy_bytes; /* since the first read of its slot in the window */

  /* publishers */
  uint8_t *out;
  size_t out_bytes, out_sent, out_room;
  size_t packet;
  uint64_t due_us, start_us, loop, frame;
};

static struct {
  const char *url;
  protocol protocol;
  struct sockaddr_in address;
  char host[64], path[512];
  uint32_t streams;
  double rate, tags_per_second;
  uint32_t verify, probes;
  uint32_t start_ms;
  uint64_t lazy_us, poll_us;
  bool publish, mp4;
} options = {.streams = 1, .rate = 300, .tags_per_second = 73.07};

static struct connection list = {.previous = &list, .next = &list};
static uint32_t connecting;

/* Lazy viewers that read together, and what had come to each probe in the window when they did so at
 * first and at last. */
struct slot {
  struct connection *first;
  bool counts;
  double from, to;
};

static struct {
  struct slot slots[LAZY_SLOTS];
  uint32_t probes; /* that play */
  uint32_t viewers, next;
  uint64_t due_us;
} lazy;

/* Since the start of the program, and of the window. */
static struct {
  uint64_t failed, lost;
} total;

static struct {
  uint64_t started_us, bytes, tags, video, audio, missing, disorder, unstamped, broken, bad_start;
  uint64_t verified, mismatched, lost, probe_bytes;
  double cpu;
  struct distribution latency, late;
} window;

/* Connections that are being opened, one batch after the other. */
static struct {
  role role;
  uint64_t start_us, stall_after;
  uint32_t wanted, opened, started, failed;
  double rate;
  bool active;
  struct distribution first_key;
} ramp;

static void print_started(void);

static void count_start(struct connection *c, bool ok) {
  if (c->counted_start) return;
  c->counted_start = true;
  connecting--;
  if (ok) ramp.started++;
  else ramp.failed++;
  if (ramp.active && ramp.started + ramp.failed == ramp.wanted) print_started();
}

static void release(struct connection *c) {
  count_start(c, false);
  c->previous->next = c->next;
  c->next->previous = c->previous;
  close(c->fd);
  free(c->reply);
  free(c->chunk_streams);
  free(c->tracks);
  free(c->out);
  free(c);
}

/* Ends a connection because of the server or of what it sent; always returns false. */
static bool fail(struct connection *c, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  complain("stream %u: %s", c->stream, text);
  if (c->phase == PLAYING) total.lost++, window.lost++;
  else total.failed++;
  return false;
}

static bool broken(struct connection *c, const char *what) {
  window.broken++;
  return fail(c, "broken: %s", what);
}

static bool send_now(struct connection *c, const void *bytes, size_t n) {
  /* Requests are small: they always fit the socket's buffer. */
  if (send(c->fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n) return true;
  return fail(c, "cannot send: %s", strerror(errno));
}

/* ---- media ---- */

static void message_begin(struct message *m, uint8_t type, uint32_t length) {
  m->type = type;
  m->length = length;
  m->got = 0;
  m->head_bytes = 0;
  m->stamped = false;
  m->hash = HASH_START;
}

static void message_data(const struct connection *c, struct message *m, const uint8_t *p, size_t n) {
  if (m->head_bytes < HEAD_BYTES && m->type != TAG_SCRIPT) {
    size_t take = HEAD_BYTES - m->head_bytes;
    if (take > n) take = n;
    memcpy(m->head + m->head_bytes, p, take);
    m->head_bytes = (uint8_t)(m->head_bytes + take);
  }
  if (c->verify) {
    /* The hash leaves out the stamp's NAL unit, which the publisher puts first. */
    for (size_t i = 0; i < n; i++) {
      size_t at = m->got + i;
      bool skip = m->type == TAG_VIDEO && m->head_bytes >= 2 && m->head[1] == 1 &&
                  at >= VIDEO_PREFIX && at < VIDEO_PREFIX + SEI_BYTES;
      if (!skip) m->hash = hash_more(m->hash, p + i, 1);
    }
  }
  m->got += (uint32_t)n;
}

/* Finds the packet among those of its kind; they come in the clip's order, round and round. */
static void verify(const struct message *m, int64_t *last) {
  size_t from = *last < 0 ? clip.first_frame : (size_t)*last + 1;
  for (size_t i = 0; i < clip.count; i++) {
    size_t at = (from + i) % clip.count;
    const struct packet *p = &clip.packets[at];
    if (!p->frame || p->type != m->type) continue;
    if (p->hash == m->hash) {
      window.verified++;
      *last = (int64_t)at;
      return;
    }
    if (*last >= 0) break;
  }
  window.mismatched++;
  *last = -1;
}

static void start_viewer(struct connection *c, uint64_t now) {
  c->has_key = true;
  c->phase = PLAYING;
  if (c->role != STALLED) add_value(&ramp.first_key, now - c->opened_us);
  count_start(c, true);
}

static void count_tag(struct connection *c, uint64_t now) {
  c->tags++;
  if (!c->first_us) c->first_us = now;
  if (now - c->first_us < 15000) c->first_tags = c->tags;
  c->last_us = now;
  window.tags++;
}

static void on_video(struct connection *c, const struct message *m, uint64_t now) {
  bool key = (m->head[0] >> 4 & 7) == 1;
  if (!c->has_key) {
    if (!key) {
      if (!c->bad_start) window.bad_start++;
      c->bad_start = true;
      return;
    }
    start_viewer(c, now);
  }
  if (c->role != RESIDENT) return;
  window.video++;
  count_tag(c, now);
  const uint8_t *uuid = memmem(m->head, m->head_bytes, STAMP_UUID, 16);
  if (!uuid || uuid + SEI_PAYLOAD > m->head + m->head_bytes) {
    window.unstamped++;
    return;
  }
  add_value(&window.latency, now - get_digits(uuid + 16, TIME_DIGITS));
  int64_t frame = (int64_t)get_digits(uuid + 16 + TIME_DIGITS, FRAME_DIGITS);
  if (c->last_frame >= 0) {
    if (frame <= c->last_frame) window.disorder++;
    else window.missing += (uint64_t)(frame - c->last_frame - 1);
  }
  c->last_frame = frame;
}

/* Takes a whole tag or message of media. */
static void on_media(struct connection *c, struct message *m, uint64_t now) {
  if (c->role == PUBLISHER || !is_frame(m->type, m->head, m->head_bytes)) return;
  if (c->verify) verify(m, m->type == TAG_AUDIO ? &c->last_audio : &(int64_t){-1});
  if (m->type == TAG_VIDEO) {
    on_video(c, m, now);
  } else if (c->has_key && c->role == RESIDENT) {
    window.audio++;
    count_tag(c, now);
  }
}

/* ---- FLV (Annex E) ---- */

static bool flv_push(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  static const uint8_t LEAD[] = {13, 11, 0, 4};
  struct message *m = &c->message;
  while (n > 0) {
    if (c->parse_at == 2) {
      size_t take = m->length - m->got < n ? m->length - m->got : n;
      message_data(c, m, p, take);
      p += take;
      n -= take;
      if (m->got < m->length) continue;
      if (m->type != TAG_SCRIPT) on_media(c, m, now);
      c->parse_at = 3;
      continue;
    }
    size_t take = LEAD[c->parse_at] - c->lead_have;
    if (take > n) take = n;
    memcpy(c->lead + c->lead_have, p, take);
    c->lead_have = (uint8_t)(c->lead_have + take);
    p += take;
    n -= take;
    if (c->lead_have < LEAD[c->parse_at]) continue;
    c->lead_have = 0;
    switch (c->parse_at) {
    case 0:
      if (memcmp(c->lead, "FLV\1", 4) || be32(c->lead + 5) != 9 || be32(c->lead + 9) != 0)
        return broken(c, "FLV header");
      c->parse_at = 1;
      break;
    case 1: {
      uint8_t type = c->lead[0];
      if (type != TAG_AUDIO && type != TAG_VIDEO && type != TAG_SCRIPT)
        return broken(c, "FLV tag type");
      if (be24(c->lead + 8) != 0) return broken(c, "FLV stream id");
      message_begin(m, type, be24(c->lead + 1));
      c->parse_at = m->length ? 2 : 3;
      break;
    }
    case 3:
      if (be32(c->lead) != m->length + 11) return broken(c, "PreviousTagSize");
      c->parse_at = 1;
      break;
    }
  }
  return true;
}

/* ---- fragmented MP4 (ISO/IEC 14496-12), one sample a fragment, H.264 in track 1 ---- */

/* The first box of a type in the boxes from p to end; NULL if there is none. */
static const uint8_t *find_box(const uint8_t *p, const uint8_t *end, const char *type) {
  while (end - p >= 8) {
    uint32_t length = be32(p);
    if (length < 8 || length > end - p) return NULL;
    if (!memcmp(p + 4, type, 4)) return p;
    p += length;
  }
  return NULL;
}

/* Begins the sample of a moof box as the message that an FLV tag would be. */
static bool mp4_sample(struct connection *c, const uint8_t *moof, uint32_t length) {
  const uint8_t *traf = find_box(moof + 8, moof + length, "traf");
  const uint8_t *end = traf ? traf + be32(traf) : NULL;
  const uint8_t *tfhd = traf ? find_box(traf + 8, end, "tfhd") : NULL;
  const uint8_t *trun = traf ? find_box(traf + 8, end, "trun") : NULL;
  if (!tfhd || !trun || be32(tfhd) < 16 || be32(trun) < 16) return broken(c, "moof box");
  if (be32(trun + 12) != 1) return broken(c, "fragment of more than one sample");
  bool video = be32(tfhd + 12) == 1;
  uint32_t has = be24(tfhd + 9), sample_flags = 0;
  const uint8_t *field = tfhd + 16;
  for (uint32_t bit = 1; bit < 0x20; bit <<= 1)
    if (has & bit & 0x1b) field += bit == 1 ? 8 : 4;
  if (has & 0x20) sample_flags = be32(field);
  has = be24(trun + 9);
  field = trun + 16 + (has & 1 ? 4 : 0);
  if (has & 4) sample_flags = be32(field), field += 4;
  if (has & 0x400) sample_flags = be32(field + (has & 0x100 ? 4 : 0) + (has & 0x200 ? 4 : 0));
  uint8_t prefix[VIDEO_PREFIX] = {sample_flags & 0x10000 ? 0x27 : 0x17, 1};
  if (!video) prefix[0] = 0xaf;
  message_begin(&c->message, video ? TAG_VIDEO : TAG_AUDIO, 0);
  message_data(c, &c->message, prefix, video ? VIDEO_PREFIX : 2);
  return true;
}

static bool mp4_push(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  struct message *m = &c->message;
  while (n > 0) {
    if (c->parse_at == 2) {
      size_t take = m->length - m->got < n ? m->length - m->got : n;
      message_data(c, m, p, take);
      p += take;
      n -= take;
      if (m->got < m->length) continue;
      on_media(c, m, now);
      c->parse_at = 0;
      c->reply_bytes = 0;
      continue;
    }
    if (!c->reply) c->reply = must(malloc(BOX_BYTES));
    uint32_t want = c->parse_at ? be32(c->reply) : 8;
    size_t take = want - c->reply_bytes < n ? want - c->reply_bytes : n;
    memcpy(c->reply + c->reply_bytes, p, take);
    c->reply_bytes += (uint32_t)take;
    p += take;
    n -= take;
    if (c->reply_bytes < want) continue;
    uint32_t length = be32(c->reply);
    if (c->parse_at == 0 && !memcmp(c->reply + 4, "mdat", 4)) {
      if (length <= 8) return broken(c, "mdat box");
      m->length = m->got + length - 8;
      c->parse_at = 2;
    } else if (c->parse_at == 0) {
      static const char *const TYPES[] = {"ftyp", "moov", "moof"};
      bool known = false;
      for (size_t i = 0; i < 3; i++) known |= !memcmp(c->reply + 4, TYPES[i], 4);
      if (!known || length <= 8 || length > BOX_BYTES) return broken(c, "MP4 box");
      c->parse_at = 1;
    } else {
      if (!memcmp(c->reply + 4, "moof", 4) && !mp4_sample(c, c->reply, length)) return false;
      c->parse_at = 0;
      c->reply_bytes = 0;
    }
  }
  return true;
}

/* ---- framing under FLV and MP4 ---- */

static bool media_push(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  return options.mp4 ? mp4_push(c, p, n, now) : flv_push(c, p, n, now);
}

static bool unframe_head(struct connection *c, uint8_t byte) {
  if (c->framing == CHUNKED) {
    if (byte == '\n') {
      c->framing_at = c->framing_left ? F_DATA : F_SIZE;
      if (!c->framing_left) return fail(c, "the server ended the stream");
      c->framing_have = 0;
    } else if (byte == ';' || byte == '\r') {
      c->framing_have = 0xff; /* an extension: nothing of it counts */
    } else if (c->framing_have != 0xff) {
      int digit = byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10;
      if (digit < 0 || digit > 15 || c->framing_have++ > 8) return broken(c, "HTTP chunk size");
      c->framing_left = c->framing_left << 4 | (unsigned)digit;
    }
    return true;
  }
  c->framing_head[c->framing_have++] = byte;
  if (c->framing_have < 2) return true;
  uint8_t size = c->framing_head[1];
  if (size & 0x80) return broken(c, "masked WebSocket frame");
  unsigned need = size == 127 ? 10 : size == 126 ? 4 : 2;
  if (c->framing_have < need) return true;
  uint64_t length = size < 126 ? size : 0;
  for (unsigned i = 2; i < need; i++) length = length << 8 | c->framing_head[i];
  c->framing_left = length;
  c->framing_opcode = c->framing_head[0] & 15;
  c->framing_have = 0;
  if (c->framing_opcode == 8) return fail(c, "the server closed the WebSocket");
  if (c->framing_opcode == 9) {
    /* RFC 6455 5.5.3; the payload is left out, which servers don't mind. */
    static const uint8_t PONG[6] = {0x8a, 0x80, 0, 0, 0, 0};
    if (!send_now(c, PONG, sizeof PONG)) return false;
  }
  if (length) c->framing_at = F_DATA;
  return true;
}

static bool unframe(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  if (c->framing == PLAIN) return media_push(c, p, n, now);
  while (n > 0) {
    if (c->framing_at == F_DATA) {
      size_t take = c->framing_left < n ? (size_t)c->framing_left : n;
      /* Text is about the media, as the codecs of MP4 are. */
      bool media = c->framing == CHUNKED || c->framing_opcode == 0 || c->framing_opcode == 2;
      if (media && !media_push(c, p, take, now)) return false;
      p += take;
      n -= take;
      c->framing_left -= take;
      if (!c->framing_left) c->framing_at = c->framing == CHUNKED ? F_END : F_SIZE;
    } else if (c->framing_at == F_END) {
      if (*p == '\n') c->framing_at = F_SIZE;
      else if (*p != '\r') return broken(c, "end of HTTP chunk");
      p++;
      n--;
    } else {
      if (!unframe_head(c, *p)) return false;
      p++;
      n--;
    }
  }
  return true;
}

/* ---- HTTP ---- */

static const char *path_of(const struct connection *c) {
  static char path[600];
  const char *mark = strstr(options.path, "{}");
  if (!mark) return options.path;
  snprintf(path, sizeof path, "%.*s%u%s", (int)(mark - options.path), options.path, c->stream, mark + 2);
  return path;
}

static bool http_request(struct connection *c) {
  char text[1024];
  const char *upgrade = c->protocol == WS
                            ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: bTdzYmVuY2hsb2FkY2xpZQ==\r\n"
                            : "Accept: */*\r\n";
  int n = snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path_of(c), options.host,
                   upgrade);
  return send_now(c, text, (size_t)n);
}

/* Takes the head of the response; what is behind it stays in the rest. */
static bool http_head(struct connection *c, const uint8_t **p, size_t *n) {
  while (*n > 0 && c->reply_bytes < REPLY_BYTES - 1) {
    c->reply[c->reply_bytes++] = *(*p)++;
    (*n)--;
    if (c->reply_bytes < 4 || memcmp(c->reply + c->reply_bytes - 4, "\r\n\r\n", 4)) continue;
    c->reply[c->reply_bytes] = 0;
    const char *head = (const char *)c->reply;
    const char *want = c->protocol == WS ? "HTTP/1.1 101" : "HTTP/1.1 200";
    if (strncmp(head, want, strlen(want)))
      return fail(c, "the server answers %.*s", (int)strcspn(head, "\r\n"), head);
    c->framing = c->protocol == WS                             ? FRAMED
                 : strcasestr(head, "transfer-encoding: chunked") ? CHUNKED
                                                                   : PLAIN;
    c->phase = PLAYING;
    free(c->reply);
    c->reply = NULL;
    c->reply_bytes = 0;
    return true;
  }
  return c->reply_bytes < REPLY_BYTES - 1 || broken(c, "HTTP response head");
}

/* ---- RTMP (RTMP 1.0 5, 7) ---- */

static bool rtmp_send(struct connection *c, uint8_t type, const uint8_t *body, size_t n) {
  uint8_t bytes[1024];
  bool control = type < 7;
  uint32_t stream = type == MSG_COMMAND ? c->message_stream : 0;
  struct header header = {.type = type, .length = (uint32_t)n, .stream = stream};
  size_t at = chunk_header(bytes, control ? 2 : 3, &header);
  /* Until the chunk size is announced it is 128 bytes. */
  for (size_t i = 0; i < n; i++) {
    if (i > 0 && i % 128 == 0 && c->phase != PLAYING) bytes[at++] = control ? 0xc2 : 0xc3;
    bytes[at++] = body[i];
  }
  return send_now(c, bytes, at);
}

static void split_path(const struct connection *c, char *app, size_t app_bytes, const char **name) {
  const char *path = path_of(c), *slash = strchr(path, '/');
  if (!slash) die("an RTMP URL needs an application and a stream name: %s", options.url);
  snprintf(app, app_bytes, "%.*s", (int)(slash - path), path);
  *name = slash + 1;
}

static bool rtmp_connect(struct connection *c) {
  uint8_t body[512], *p = body;
  char app[64], url[160];
  const char *name;
  split_path(c, app, sizeof app, &name);
  snprintf(url, sizeof url, "rtmp://%s/%s", options.host, app);
  p = amf_number(amf_string(p, "connect"), 1);
  *p++ = 3;
  p = amf_string(amf_text(p, "app"), app);
  p = amf_string(amf_text(p, "type"), "nonprivate");
  p = amf_string(amf_text(p, "flashVer"), "LNX 9,0,124,2");
  p = amf_string(amf_text(p, "tcUrl"), url);
  p = amf_number(amf_text(p, "capabilities"), 15);
  p = amf_number(amf_text(p, "audioCodecs"), 4071);
  p = amf_number(amf_text(p, "videoCodecs"), 252);
  p = amf_number(amf_text(p, "videoFunction"), 1);
  p = put24(p, 9);
  return rtmp_send(c, MSG_COMMAND, body, (size_t)(p - body));
}

static bool rtmp_create_stream(struct connection *c) {
  uint8_t body[64], *p = amf_number(amf_string(body, "createStream"), 2);
  *p++ = 5;
  return rtmp_send(c, MSG_COMMAND, body, (size_t)(p - body));
}

static bool rtmp_start(struct connection *c) {
  uint8_t body[256], *p = body;
  char app[64];
  const char *name;
  split_path(c, app, sizeof app, &name);
  bool publish = c->role == PUBLISHER;
  p = amf_number(amf_string(p, publish ? "publish" : "play"), 3);
  *p++ = 5;
  p = amf_string(p, name);
  if (publish) p = amf_string(p, "live");
  if (!rtmp_send(c, MSG_COMMAND, body, (size_t)(p - body))) return false;
  uint8_t size[4];
  put32(size, OUT_CHUNK_BYTES);
  if (!publish || !rtmp_send(c, 1, size, 4)) return !publish;
  c->phase = PLAYING; /* for rtmp_send: chunks have their size now */
  return true;
}

static void publish_started(struct connection *c, uint64_t now);

static bool has_text(const uint8_t *p, size_t n, const char *text) {
  return memmem(p, n, text, strlen(text)) != NULL;
}

static bool on_command(struct connection *c, uint64_t now) {
  const uint8_t *p = c->reply;
  size_t n = c->reply_bytes;
  if (has_text(p, n, "NetStream.Play.StreamNotFound") || has_text(p, n, "Failed") ||
      has_text(p, n, "BadName") || has_text(p, n, "Rejected") || has_text(p, n, "_error"))
    return fail(c, "the server refused");
  if (has_text(p, n, "NetStream.Publish.Start") && c->role == PUBLISHER) {
    publish_started(c, now);
    return true;
  }
  /* "_result", then the transaction; that of createStream is followed by null and the stream. */
  if (n < 19 || memcmp(p, "\2\0\7_result\0", 11)) return true;
  double number;
  uint64_t bits = (uint64_t)be32(p + 11) << 32 | be32(p + 15);
  memcpy(&number, &bits, 8);
  if (number == 1) return rtmp_create_stream(c);
  if (number != 2 || n < 29 || p[19] != 5) return true;
  bits = (uint64_t)be32(p + 21) << 32 | be32(p + 25);
  memcpy(&number, &bits, 8);
  c->message_stream = (uint32_t)number;
  return rtmp_start(c);
}

static bool on_message(struct connection *c, struct message *m, uint64_t now) {
  const uint8_t *head = m->head;
  switch (m->type) {
  case TAG_AUDIO:
  case TAG_VIDEO:
    on_media(c, m, now);
    return true;
  case MSG_COMMAND:
    return on_command(c, now);
  case 1:
    if (m->head_bytes < 4 || !be32(head) || be32(head) >> 31) return broken(c, "RTMP chunk size");
    c->chunk_size = be32(head);
    return true;
  case 4:
    if (m->head_bytes >= 6 && head[0] == 0 && head[1] == 6) {
      uint8_t pong[6] = {0, 7};
      memcpy(pong + 2, head + 2, 4);
      return rtmp_send(c, 4, pong, 6);
    }
    return true;
  case 5:
    if (m->head_bytes >= 4) c->ack_window = be32(head);
    return true;
  case 2: case 3: case 6: case 15: case 17: case TAG_SCRIPT:
    return true;
  default:
    return broken(c, "RTMP message type");
  }
}

static struct chunk_stream *chunk_stream_of(struct connection *c, uint32_t id) {
  for (int i = 0; i < CHUNK_STREAMS; i++) {
    struct chunk_stream *s = &c->chunk_streams[i];
    if (s->used && s->id == id) return s;
    if (s->used) continue;
    s->used = true;
    s->id = id;
    return s;
  }
  return NULL;
}

/* Bytes of the chunk header, as far as can be told from what there is of it. */
static unsigned chunk_header_bytes(struct connection *c) {
  const uint8_t *h = c->lead;
  if (c->lead_have < 1) return 1;
  unsigned format = h[0] >> 6, id = h[0] & 63, basic = id == 0 ? 2 : id == 1 ? 3 : 1;
  if (c->lead_have < basic) return basic;
  if (id == 0) id = 64u + h[1];
  else if (id == 1) id = 64u + h[1] + 256u * h[2];
  if (c->lead_have == basic) c->chunk_stream = chunk_stream_of(c, id);
  if (!c->chunk_stream) return 0;
  static const uint8_t FIELDS[] = {11, 7, 3, 0};
  unsigned need = basic + FIELDS[format];
  if (c->lead_have < need) return need;
  bool extended = format < 3 ? be24(h + basic) == 0xffffff : c->chunk_stream->message.extended;
  return need + (extended ? 4 : 0);
}

static bool chunk_begin(struct connection *c) {
  const uint8_t *h = c->lead;
  struct message *m = &c->chunk_stream->message;
  unsigned format = h[0] >> 6, id = h[0] & 63;
  h += id == 0 ? 2 : id == 1 ? 3 : 1;
  bool inside = m->got > 0 && m->got < m->length;
  if (format < 3) {
    if (inside) return broken(c, "RTMP message within another of its chunk stream");
    uint32_t time = be24(h);
    m->extended = time == 0xffffff;
    if (m->extended) time = be32(c->lead + c->lead_have - 4);
    if (format < 2) {
      m->length = be24(h + 3);
      m->type = h[6];
    }
    m->delta = time;
    m->timestamp = format == 0 ? time : m->timestamp + time;
  } else if (!inside) {
    m->timestamp += m->delta;
  }
  if (!inside) {
    if (m->length > MAX_MESSAGE_BYTES || m->type == 0) return broken(c, "RTMP message header");
    message_begin(m, m->type, m->length);
    if (m->type == MSG_COMMAND) c->reply_bytes = 0;
  }
  uint32_t left = m->length - m->got;
  c->chunk_left = left < c->chunk_size ? left : c->chunk_size;
  return true;
}

static bool rtmp_push(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  while (n > 0) {
    if (c->parse_at == 0) {
      c->lead[c->lead_have++] = *p++;
      n--;
      unsigned need = chunk_header_bytes(c);
      if (!need) return broken(c, "RTMP chunk stream");
      if (c->lead_have < need) continue;
      if (!chunk_begin(c)) return false;
      c->lead_have = 0;
      c->parse_at = 1;
    }
    struct message *m = &c->chunk_stream->message;
    size_t take = c->chunk_left < n ? c->chunk_left : n;
    if (m->type == MSG_COMMAND) {
      size_t room = REPLY_BYTES - c->reply_bytes, kept = take < room ? take : room;
      memcpy(c->reply + c->reply_bytes, p, kept);
      c->reply_bytes += (uint32_t)kept;
    }
    message_data(c, m, p, take);
    p += take;
    n -= take;
    c->chunk_left -= (uint32_t)take;
    if (c->chunk_left) continue;
    c->parse_at = 0;
    if (m->got == m->length && !on_message(c, m, now)) return false;
    if (m->got == m->length) m->got = 0;
  }
  return true;
}

static bool rtmp_greet(struct connection *c) {
  uint8_t hello[1 + HANDSHAKE_BYTES] = {3};
  for (int i = 9; i <= HANDSHAKE_BYTES; i++) hello[i] = (uint8_t)(i * 31);
  return send_now(c, hello, sizeof hello);
}

/* Waits for S0, S1 and S2, answers with S1 (5.2). */
static bool rtmp_handshake(struct connection *c, const uint8_t **p, size_t *n) {
  size_t want = 1 + 2 * HANDSHAKE_BYTES - c->reply_bytes, take = want < *n ? want : *n;
  memcpy(c->reply + c->reply_bytes, *p, take);
  c->reply_bytes += (uint32_t)take;
  *p += take;
  *n -= take;
  if (take < want) return true;
  if (c->reply[0] != 3) return broken(c, "RTMP version");
  c->phase = STARTING;
  return send_now(c, c->reply + 1, HANDSHAKE_BYTES) && rtmp_connect(c);
}

static bool rtmp_acknowledge(struct connection *c) {
  if (!c->ack_window || c->received - c->acknowledged < c->ack_window) return true;
  c->acknowledged = c->received;
  uint8_t body[4];
  put32(body, (uint32_t)c->received);
  return rtmp_send(c, 3, body, 4);
}

/* ---- RTSP (RFC 2326), H.264 (RFC 6184) and AAC (RFC 3640) in interleaved RTP ---- */

static bool rtsp_request(struct connection *c) {
  char text[1200], base[700];
  struct tracks *t = c->tracks;
  int step = c->parse_at, setups = t->count, n;
  snprintf(base, sizeof base, "rtsp://%s/%s", options.host, path_of(c));
  if (step == 0) {
    n = snprintf(text, sizeof text, "DESCRIBE %s RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n", base);
  } else if (step <= setups) {
    n = snprintf(text, sizeof text,
                 "SETUP %s RTSP/1.0\r\nCSeq: %d\r\nTransport: RTP/AVP/TCP;unicast;interleaved=%d-%d\r\n%s\r\n",
                 t->url[step - 1], step + 1, 2 * step - 2, 2 * step - 1, t->session);
  } else {
    n = snprintf(text, sizeof text, "PLAY %s RTSP/1.0\r\nCSeq: %d\r\n%sRange: npt=0.000-\r\n\r\n", base, step + 1,
                 t->session);
  }
  return send_now(c, text, (size_t)n);
}

/* The tracks of a session description, whose controls may be relative to the Content-Base. */
static bool rtsp_tracks(struct connection *c, const char *head, const char *body) {
  struct tracks *t = c->tracks;
  const char *base = strcasestr(head, "\r\nContent-Base:");
  char root[256] = "";
  if (base) sscanf(base + 15, " %159[^\r\n]", root);
  if (!*root) snprintf(root, sizeof root, "rtsp://%s/%.100s", options.host, path_of(c));
  if (root[strlen(root) - 1] != '/') strcat(root, "/");
  for (const char *media = strstr(body, "\nm="); media && t->count < 2; media = strstr(media + 3, "\nm=")) {
    const char *control = strstr(media, "\na=control:"), *next = strstr(media + 3, "\nm=");
    char text[96];
    if (!control || (next && control > next) || sscanf(control + 11, "%95[^\r\n]", text) != 1)
      return broken(c, "SDP without a=control");
    bool absolute = !strncmp(text, "rtsp://", 7);
    snprintf(t->url[t->count], sizeof *t->url, "%s%s", absolute ? "" : root, text);
    if (!strncmp(media, "\nm=video", 8)) t->video = t->count;
    t->count++;
  }
  return t->count > 0 || broken(c, "SDP without media");
}

static bool on_response(struct connection *c, const char *head, const char *body) {
  if (strncmp(head, "RTSP/1.0 200", 12))
    return fail(c, "the server answers %.*s", (int)strcspn(head, "\r\n"), head);
  struct tracks *t = c->tracks;
  const char *session = strcasestr(head, "\r\nSession:");
  if (session && !*t->session) {
    char id[64];
    if (sscanf(session + 10, " %63[^;\r\n]", id) == 1)
      snprintf(t->session, sizeof t->session, "Session: %s\r\n", id);
  }
  if (c->parse_at == 0 && !rtsp_tracks(c, head, body)) return false;
  if (c->parse_at > t->count) return true;
  c->parse_at++;
  return rtsp_request(c);
}

static void rtp_audio(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  static const uint8_t PREFIX[2] = {0xaf, 1};
  unsigned units = n < 2 ? 0 : ((unsigned)p[0] << 8 | p[1]) / 16;
  for (unsigned i = 0; i < units; i++) {
    message_begin(&c->message, TAG_AUDIO, 0);
    message_data(c, &c->message, PREFIX, sizeof PREFIX);
    on_media(c, &c->message, now);
  }
}

static bool is_idr(const uint8_t *p, size_t n) {
  uint8_t type = p[0] & 31;
  if (type == 28) return (p[1] & 31) == 5;
  if (type != 24) return type == 5;
  for (size_t at = 1; at + 2 < n; at += 2u + ((unsigned)p[at] << 8 | p[at + 1]))
    if ((p[at + 2] & 31) == 5) return true;
  return false;
}

/* Joins the packets of a picture, up to the marked one, to the message that an FLV tag would be. */
static void rtp_video(struct connection *c, const uint8_t *p, size_t n, bool marker, uint64_t now) {
  static const uint8_t PREFIX[VIDEO_PREFIX] = {0x27, 1};
  struct message *m = &c->message;
  struct tracks *t = c->tracks;
  if (!t->inside) {
    message_begin(m, TAG_VIDEO, 0);
    message_data(c, m, PREFIX, sizeof PREFIX);
    t->key = false;
  }
  t->key |= is_idr(p, n);
  message_data(c, m, p, n);
  t->inside = !marker;
  if (!marker) return;
  if (t->key) m->head[0] = 0x17;
  on_media(c, m, now);
}

static bool on_packet(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  uint8_t channel = p[1];
  p += 4;
  n -= 4;
  if (channel & 1) return true;
  if (channel / 2 >= c->tracks->count || n < 12 || p[0] >> 6 != 2) return broken(c, "RTP packet");
  bool marker = p[1] & 0x80, video = channel / 2 == c->tracks->video;
  size_t at = 12 + 4u * (p[0] & 15);
  if (p[0] & 0x10 && n >= at + 4) at += 4 + 4u * ((unsigned)p[at + 2] << 8 | p[at + 3]);
  if (n < at + 2) return broken(c, "RTP packet");
  if (video) {
    rtp_video(c, p + at, n - at, marker, now);
  } else {
    /* Amid the packets of a picture, which go on behind it. */
    struct message picture = c->message;
    rtp_audio(c, p + at, n - at, now);
    c->message = picture;
  }
  return true;
}

/* What is at p of an item: its length as far as it can be told, 0 if more of it is needed. */
static size_t item_bytes(const uint8_t *p, size_t n) {
  if (p[0] == '$') return n < 4 ? 0 : 4 + ((size_t)p[2] << 8 | p[3]);
  const uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t head = (size_t)(end + 4 - p), body = 0;
  for (const uint8_t *line = p; line < end; line++)
    if (line[0] == '\n' && !strncasecmp((const char *)line + 1, "Content-Length:", 15))
      body = strtoul((const char *)line + 16, NULL, 10);
  return head + body;
}

static bool on_item(struct connection *c, uint8_t *p, size_t n, uint64_t now) {
  if (p[0] == '$') return on_packet(c, p, n, now);
  if (p[0] != 'R') return broken(c, "RTSP message");
  char text[8192];
  if (n >= sizeof text) return broken(c, "RTSP response");
  memcpy(text, p, n);
  text[n] = 0;
  char *end = strstr(text, "\r\n\r\n");
  *end = 0;
  /* With a line's end in front, as all lines of the body but the first have it. */
  return on_response(c, text, end + 3);
}

static bool rtsp_push(struct connection *c, uint8_t *p, size_t n, uint64_t now) {
  while (n > 0) {
    size_t item = c->reply_bytes ? 0 : item_bytes(p, n);
    if (item > 0 && item <= n) {
      if (!on_item(c, p, item, now)) return false;
      p += item;
      n -= item;
      continue;
    }
    /* It goes on in the next piece: it is put together byte by byte until its length is known. */
    if (c->reply_bytes) item = item_bytes(c->reply, c->reply_bytes);
    size_t take = item ? item - c->reply_bytes : 1;
    if (take > n) take = n;
    if (c->reply_bytes + take > PACKET_BYTES || (*c->reply != '$' && c->reply_bytes > REPLY_BYTES))
      return broken(c, "RTSP message");
    memcpy(c->reply + c->reply_bytes, p, take);
    c->reply_bytes += (uint32_t)take;
    p += take;
    n -= take;
    if (item == 0) item = item_bytes(c->reply, c->reply_bytes);
    if (item == 0 || c->reply_bytes < item) continue;
    c->reply_bytes = 0;
    if (!on_item(c, c->reply, item, now)) return false;
  }
  return true;
}

/* ---- reading ---- */

static bool take_bytes(struct connection *c, uint8_t *bytes, size_t n, uint64_t now) {
  const uint8_t *p = bytes;
  c->received += n;
  if (c->role == RESIDENT) window.bytes += n;
  if (c->role == RESIDENT && !c->lazy) window.probe_bytes += n;
  if (c->protocol == RTSP) return rtsp_push(c, bytes, n, now);
  if (c->protocol != RTMP) {
    if (c->phase == GREETING && !http_head(c, &p, &n)) return false;
    return n == 0 || unframe(c, p, n, now);
  }
  if (c->phase == GREETING && !rtmp_handshake(c, &p, &n)) return false;
  return (n == 0 || rtmp_push(c, p, n, now)) && rtmp_acknowledge(c);
}

/* What has come to each probe in the window. */
static double bytes_of_probe(void) { return (double)window.probe_bytes / (lazy.probes ? lazy.probes : 1); }

static void begin_lazy(struct connection *c) {
  epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
  c->slot = &lazy.slots[lazy.viewers++ % LAZY_SLOTS];
  c->next_lazy = c->slot->first;
  c->slot->first = c;
}

/* Has the system discard all there is (tcp(7), MSG_TRUNC); false if the connection is over. */
static bool discard(struct connection *c) {
  ssize_t n = recv(c->fd, NULL, LAZY_BUFFER_BYTES, MSG_TRUNC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n < 0) return fail(c, "cannot read: %s", strerror(errno));
  if (n == 0) return fail(c, "the server closed the connection");
  c->lazy_bytes += (uint64_t)n;
  window.bytes += (uint64_t)n;
  return true;
}

static void read_slot(struct slot *slot) {
  for (struct connection **at = &slot->first, *c; (c = *at);) {
    if (discard(c)) {
      at = &c->next_lazy;
    } else {
      *at = c->next_lazy;
      release(c);
      continue;
    }
    if (!slot->counts) c->lazy_bytes = 0;
  }
  slot->to = bytes_of_probe();
  if (!slot->counts) slot->from = slot->to;
  slot->counts = true;
}

/* Reads the slots that are due, each once in options.lazy_us; when the next is, in µs from now. */
static uint64_t read_lazy(uint64_t now) {
  if (lazy.due_us + options.lazy_us < now) lazy.due_us = now;
  for (; lazy.due_us <= now; lazy.due_us += options.lazy_us / LAZY_SLOTS)
    read_slot(&lazy.slots[lazy.next++ % LAZY_SLOTS]);
  return lazy.due_us - now;
}

/* Reads all there is; false if the connection is over. */
static bool receive(struct connection *c) {
  while (true) {
    ssize_t n = recv(c->fd, read_buffer, READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n < 0) return fail(c, "cannot read: %s", strerror(errno));
    if (n == 0) return fail(c, "the server closed the connection");
    if (!take_bytes(c, read_buffer, (size_t)n, now_us())) return false;
    if (c->role == STALLED && c->received >= c->stall_after && c->has_key) {
      epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
      return true;
    }
    if (c->role == JOINER && c->has_key) return false;
    if (c->lazy && c->has_key) {
      begin_lazy(c);
      return true;
    }
    if (n < READ_BYTES) return true;
  }
}

/* Whether the connection that is opened now is one of the probes. */
static bool is_probe(void) { return (uint64_t)(ramp.opened - 1) * options.probes % ramp.wanted < options.probes; }

static void open_connection(role role, uint32_t index) {
  struct connection *c = must(calloc(1, sizeof *c));
  c->protocol = options.protocol;
  c->role = role;
  c->stream = index % options.streams;
  c->verify = role == RESIDENT && index < options.verify;
  c->lazy = role == RESIDENT && options.lazy_us && !c->verify && !is_probe();
  c->last_frame = c->last_audio = -1;
  c->stall_after = ramp.stall_after;
  c->chunk_size = 128;
  c->reply = must(malloc(c->protocol == RTSP ? PACKET_BYTES : REPLY_BYTES));
  if (c->protocol == RTSP) c->tracks = must(calloc(1, sizeof *c->tracks));
  if (c->protocol == RTMP) c->chunk_streams = must(calloc(CHUNK_STREAMS, sizeof *c->chunk_streams));
  c->opened_us = now_us();
  c->previous = list.previous;
  c->next = &list;
  list.previous->next = c;
  list.previous = c;
  connecting++;
  /* What a stalled viewer's own side takes must not hide for long that it is one. */
  int receive_bytes = role == STALLED ? STALLED_BUFFER_BYTES : c->lazy ? LAZY_BUFFER_BYTES : 0;
  c->fd = connect_socket(&options.address, receive_bytes, c);
  if (c->fd >= 0) return;
  fail(c, "cannot connect: %s", strerror(errno));
  release(c);
}

static bool flush_out(struct connection *c);

static bool on_event(struct connection *c, uint32_t events) {
  if (c->phase == CONNECTING) {
    int error = connect_error(c->fd);
    if (error) return fail(c, "cannot connect: %s", strerror(error));
    if (!(events & EPOLLOUT)) return true;
    c->phase = GREETING;
    bool sent = c->protocol == RTMP   ? rtmp_greet(c)
                : c->protocol == RTSP ? rtsp_request(c)
                                      : http_request(c);
    if (!sent) return false;
    if (c->role != PUBLISHER) poll_fd(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLET | EPOLLRDHUP, c);
  }
  if (c->out_bytes > c->out_sent && (events & EPOLLOUT) && !flush_out(c)) return false;
  return !(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) || receive(c);
}

/* ---- publishing ---- */

static uint64_t clip_time_us(const struct connection *c) {
  const struct packet *first = &clip.packets[clip.first_frame];
  return c->loop * clip.loop_us + (uint64_t)(clip.packets[c->packet].ms - first->ms) * 1000;
}

static bool flush_out(struct connection *c) {
  ssize_t n = send(c->fd, c->out + c->out_sent, c->out_bytes - c->out_sent, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) return fail(c, "cannot publish: %s", strerror(errno));
  if (n > 0) c->out_sent += (size_t)n, window.bytes += (uint64_t)n;
  if (c->out_sent == c->out_bytes) c->out_sent = c->out_bytes = 0;
  return true;
}

static void out_append(struct connection *c, const uint8_t *p, size_t n) {
  if (c->out_bytes + n > c->out_room) {
    c->out_room = (c->out_bytes + n) * 2;
    c->out = must(realloc(c->out, c->out_room));
  }
  memcpy(c->out + c->out_bytes, p, n);
  c->out_bytes += n;
}

/* Queues one packet of the clip as an RTMP message, video frames with a stamp of now. */
static bool publish_packet(struct connection *c, const struct packet *p, uint32_t ms) {
  static uint8_t body[MAX_MESSAGE_BYTES + 256];
  uint8_t *end = body;
  if (p->bytes > MAX_MESSAGE_BYTES) die("the clip has a packet of %u bytes", p->bytes);
  if (p->type == TAG_SCRIPT) end = amf_string(end, "@setDataFrame");
  size_t prefix = p->frame && p->type == TAG_VIDEO ? VIDEO_PREFIX : 0;
  if (prefix) {
    memcpy(end, p->body, prefix);
    end = put_stamp(end + prefix, now_us(), c->frame++);
  }
  memcpy(end, p->body + prefix, p->bytes - prefix);
  end += p->bytes - prefix;

  struct header header = {
      .type = p->type, .timestamp = ms, .length = (uint32_t)(end - body), .stream = c->message_stream};
  uint8_t chunk_stream = p->type == TAG_VIDEO ? 6 : p->type == TAG_AUDIO ? 4 : 5;
  uint8_t lead[20];
  size_t lead_bytes = chunk_header(lead, chunk_stream, &header);
  for (size_t at = 0; at < header.length; at += OUT_CHUNK_BYTES) {
    if (at > 0) {
      lead[0] = (uint8_t)(0xc0 | chunk_stream);
      lead_bytes = 1;
      if (ms >= 0xffffff) lead_bytes = (size_t)(put32(lead + 1, ms) - lead);
    }
    out_append(c, lead, lead_bytes);
    size_t take = header.length - at < OUT_CHUNK_BYTES ? header.length - at : OUT_CHUNK_BYTES;
    out_append(c, body + at, take);
  }
  if (c->out_bytes - c->out_sent > MAX_OUT_BYTES) return fail(c, "the server does not read");
  return flush_out(c);
}

static void publish_started(struct connection *c, uint64_t now) {
  for (size_t i = 0; i < clip.first_frame; i++) publish_packet(c, &clip.packets[i], options.start_ms);
  c->packet = clip.first_frame;
  /* Streams begin within a frame's time of one another, so that they don't all move at once. */
  c->start_us = now + (uint64_t)c->stream * 33333 / options.streams;
  c->due_us = c->start_us;
  count_start(c, true);
}

static bool publish_due(struct connection *c, uint64_t now) {
  while (c->due_us <= now) {
    const struct packet *p = &clip.packets[c->packet];
    add_value(&window.late, now - c->due_us);
    window.tags++;
    uint32_t ms = options.start_ms + (uint32_t)(clip_time_us(c) / 1000);
    if (!publish_packet(c, p, ms)) return false;
    if (++c->packet == clip.count) {
      c->packet = clip.first_frame;
      c->loop++;
    }
    c->due_us = c->start_us + clip_time_us(c);
  }
  return true;
}

/* Publishes what is due; when the next is, in µs from now. */
static uint64_t publish_all(uint64_t now) {
  uint64_t next = now + 100000;
  for (struct connection *c = list.next, *after; c != &list; c = after) {
    after = c->next;
    if (!c->due_us) continue;
    if (!publish_due(c, now)) {
      release(c);
      continue;
    }
    if (c->due_us < next) next = c->due_us;
  }
  return next > now ? next - now : 0;
}

/* ---- commands ---- */

static void print_started(void) {
  ramp.active = false;
  static const char *const NAMES[] = {"viewers", "joined", "stalled", "publishing"};
  printf("{\"event\":\"%s\",\"started\":%u,\"failed\":%u", NAMES[ramp.role], ramp.started, ramp.failed);
  if (ramp.role != PUBLISHER) print_distribution("firstKey", &ramp.first_key);
  puts("}");
  fflush(stdout);
}

static void begin_ramp(role role, uint32_t count, double rate) {
  if (ramp.active) die("connections are being opened already");
  memset(&ramp, 0, sizeof ramp);
  ramp.role = role;
  ramp.wanted = count;
  ramp.rate = rate;
  ramp.start_us = now_us();
  ramp.active = true;
  if (count == 0) print_started();
}

static void advance_ramp(uint64_t now) {
  static uint32_t residents;
  if (!ramp.active) return;
  double due = (double)(now - ramp.start_us) / 1e6 * ramp.rate + 1;
  /* Joins keep their pace whatever the server does. */
  uint32_t room = ramp.role == JOINER ? UINT32_MAX : MAX_CONNECTING;
  while (ramp.opened < ramp.wanted && ramp.opened < due && connecting < room) {
    uint32_t index = ramp.role == RESIDENT ? residents++ : ramp.opened;
    ramp.opened++;
    open_connection(ramp.role, index);
  }
}

static void begin_window(void) {
  memset(&window, 0, sizeof window);
  window.started_us = now_us();
  window.cpu = cpu_seconds();
  uint32_t probes = 0;
  for (struct connection *c = list.next; c != &list; c = c->next) {
    c->tags = c->first_tags = 0;
    c->first_us = c->last_us = 0;
    if (c->role == RESIDENT && !c->lazy && c->has_key) probes++;
  }
  for (struct slot *slot = lazy.slots; slot < lazy.slots + LAZY_SLOTS; slot++) slot->counts = false;
  lazy.probes = probes;
}

/* Tags a second of a viewer between its first and last pieces, so that merging does not blur it; of a
 * lazy one as its bytes tell. */
static double rate_of(const struct connection *c, uint64_t end) {
  if (c->slot) {
    double full = c->slot->to - c->slot->from;
    return full > 0 ? options.tags_per_second * (double)c->lazy_bytes / full : 0;
  }
  uint64_t from = c->first_us, to = c->last_us;
  if (!from || from - window.started_us > 1000000) from = window.started_us;
  if (end - to > 1000000) to = end;
  if (to <= from) return 0;
  uint32_t tags = from == c->first_us ? c->tags - c->first_tags : c->tags;
  return (double)tags * 1e6 / (double)(to - from);
}

static void end_window(void) {
  uint64_t end = now_us();
  double seconds = (double)(end - window.started_us) / 1e6;
  uint32_t viewers = 0, behind = 0;
  double lowest = 1e9, sum = 0;
  for (struct connection *c = list.next; c != &list; c = c->next) {
    if (c->role != RESIDENT) continue;
    double rate = rate_of(c, end);
    viewers++;
    sum += rate;
    if (rate < lowest) lowest = rate;
    if (rate < 0.95 * options.tags_per_second) behind++;
  }
  printf("{\"event\":\"window\",\"seconds\":%.4f,\"cpuSeconds\":%.4f,\"bytes\":%llu,\"tags\":%llu", seconds,
         cpu_seconds() - window.cpu, (unsigned long long)window.bytes, (unsigned long long)window.tags);
  if (options.publish) {
    print_distribution("late", &window.late);
  } else {
    printf(",\"viewers\":%u,\"video\":%llu,\"audio\":%llu,\"tagsPerViewer\":%.3f,\"lowest\":%.3f,\"behind\":%u",
           viewers, (unsigned long long)window.video, (unsigned long long)window.audio,
           viewers ? sum / viewers : 0, viewers ? lowest : 0, behind);
    const struct count counts[] = {
        {"missing", window.missing}, {"disorder", window.disorder}, {"unstamped", window.unstamped},
        {"broken", window.broken},   {"badStart", window.bad_start},
        {"verified", window.verified}, {"mismatched", window.mismatched}};
    print_counts(counts, sizeof counts / sizeof *counts);
    print_distribution("latency", &window.latency);
  }
  printf(",\"lost\":%llu}\n", (unsigned long long)window.lost);
  fflush(stdout);
}

static void on_line(const char *line) {
  unsigned count;
  unsigned long long bytes;
  double rate;
  if (sscanf(line, "open %u", &count) == 1) {
    begin_ramp(options.publish ? PUBLISHER : RESIDENT, count, options.rate);
  } else if (sscanf(line, "join %u %lf", &count, &rate) == 2) {
    begin_ramp(JOINER, count, rate);
  } else if (sscanf(line, "stall %u %llu", &count, &bytes) == 2) {
    begin_ramp(STALLED, count, options.rate);
    ramp.stall_after = bytes;
  } else if (!strcmp(line, "begin")) {
    begin_window();
  } else if (!strcmp(line, "end")) {
    end_window();
  } else if (!strcmp(line, "quit")) {
    finished = true;
  } else {
    die("unknown command: %s", line);
  }
}

static void drop_late(void) {
  uint64_t now = now_us();
  for (struct connection *c = list.next, *after; c != &list; c = after) {
    after = c->next;
    if (c->counted_start || now - c->opened_us < START_TIMEOUT_US) continue;
    static const char *const PHASES[] = {"the connection", "a greeting", "a start", "a keyframe"};
    fail(c, "no end of waiting for %s, %llu bytes came", PHASES[c->phase],
         (unsigned long long)c->received);
    release(c);
  }
}

/* ---- main ---- */

static void parse_url(const char *url) {
  static const struct {
    const char *scheme;
    protocol protocol;
  } SCHEMES[] = {{"http://", HTTP}, {"ws://", WS}, {"rtmp://", RTMP}, {"rtsp://", RTSP}};
  options.url = url;
  for (size_t i = 0; i < sizeof SCHEMES / sizeof *SCHEMES; i++) {
    size_t n = strlen(SCHEMES[i].scheme);
    if (strncmp(url, SCHEMES[i].scheme, n)) continue;
    char host[48];
    unsigned port;
    if (sscanf(url + n, "%47[0-9.]:%u/%511s", host, &port, options.path) != 3) break;
    options.protocol = SCHEMES[i].protocol;
    parse_address(host, port, &options.address);
    size_t end = strlen(options.path);
    options.mp4 = end > 4 && !strcmp(options.path + end - 4, ".mp4");
    snprintf(options.host, sizeof options.host, "%s:%u", host, port);
    return;
  }
  die("cannot use %s: it must be http://, ws://, rtmp:// or rtsp://, an IPv4 address, a port and a path", url);
}

static void parse_arguments(int argc, char **argv) {
  const char *url = NULL, *clip_path = NULL;
  if (argc < 2 || (strcmp(argv[1], "view") && strcmp(argv[1], "publish"))) die("view or publish?");
  options.publish = !strcmp(argv[1], "publish");
  for (int i = 2; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!strcmp(name, "--url")) url = value;
    else if (!strcmp(name, "--streams")) options.streams = (uint32_t)atoi(value);
    else if (!strcmp(name, "--rate")) options.rate = atof(value);
    else if (!strcmp(name, "--verify")) options.verify = (uint32_t)atoi(value);
    else if (!strcmp(name, "--tags-per-second")) options.tags_per_second = atof(value);
    else if (!strcmp(name, "--clip")) clip_path = value;
    else if (!strcmp(name, "--loop-us")) clip.loop_us = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--start-ms")) options.start_ms = (uint32_t)strtoul(value, NULL, 10);
    else if (!strcmp(name, "--lazy")) options.lazy_us = strtoull(value, NULL, 10) * 1000;
    else if (!strcmp(name, "--poll")) options.poll_us = strtoull(value, NULL, 10) * 1000;
    else if (!strcmp(name, "--probes")) options.probes = (uint32_t)strtoul(value, NULL, 10);
    else die("unknown option %s", name);
  }
  if (!url || options.streams < 1 || options.rate <= 0) die("--url, and numbers above zero, please");
  parse_url(url);
  if (options.publish && options.protocol != RTMP) die("publishing is by RTMP");
  if (options.lazy_us && (options.protocol != HTTP || !options.probes))
    die("lazy viewers are by HTTP, and need --probes");
  if (options.publish && (!clip_path || !clip.loop_us)) die("publishing needs --clip and --loop-us");
  if (clip_path) load_clip(clip_path);
  /* Not all that is in an FLV tag is in a sample of MP4 or in RTP. */
  if (!clip_path || options.mp4 || options.protocol == RTSP) options.verify = 0;
}

/* Waits for events for a time at most; with --poll by looking whether there are some, and then again. */
static int next_events(struct epoll_event *events, int room, uint64_t us) {
  if (!options.poll_us) return wait_for_events(events, room, us);
  int n = wait_for_events(events, room, 0);
  if (!n) usleep((useconds_t)(us < options.poll_us ? us : options.poll_us));
  return n;
}

int main(int argc, char **argv) {
  parse_arguments(argc, argv);
  start_polling();
  start_commands();
  begin_window();
  uint64_t checked_us = now_us();
  while (!finished) {
    uint64_t now = now_us();
    advance_ramp(now);
    uint64_t wait_us = ramp.active ? 2000 : 100000;
    if (options.publish) {
      uint64_t next = publish_all(now_us());
      if (next < wait_us) wait_us = next;
    }
    if (options.lazy_us) {
      uint64_t next = read_lazy(now);
      if (next < wait_us) wait_us = next;
    }
    if (now - checked_us > 500000) {
      drop_late();
      checked_us = now;
    }
    struct epoll_event events[256];
    int n = next_events(events, 256, wait_us);
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      if (!c) read_commands();
      else if (!on_event(c, events[i].events)) release(c);
    }
  }
  return 0;
}
