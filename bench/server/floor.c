/*
 * The floor of bench:server: as little as a server of one stream can do for its viewers, to hold the
 * others against. One publisher by RTMP; viewers of HTTP-FLV and RTMP, which begin with the newest
 * keyframe.
 *
 *   floor --http PORT --rtmp PORT [--flush MS] [--workers N]
 *
 * A frame is written once into a ring for each of the two protocols, whoever watches. A viewer is a
 * place in one of them: every --flush ms, with 0 at each frame, all viewers are sent what is between
 * their place and the end in one system call. What a socket does not take goes with the next; who is
 * a ring behind is disconnected. There is one stream, whatever it is called; nothing is checked that
 * the load does not get wrong, and nothing is dropped.
 *
 * With --workers N there are N processes, which share the ports and the rings. Whoever has got the
 * publisher writes; the others see what there is at their next flush, so --flush must not be 0.
 */
#include "base.h"
#include "rtmp.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>

enum {
  BACKLOG = 4096,
  RING_BYTES = 16 << 20,
  START_BYTES = 16 << 10,    /* what viewers get first: metadata and configurations */
  CHUNK_STREAMS = 64,        /* those whose number has one byte (RTMP 1.0, 5.3.1.1) */
  OUT_CHUNK_BYTES = 1 << 24, /* a message is one chunk */
  TAG_LEAD = 11,
};

/* ---- what is sent ---- */

struct ring {
  uint8_t bytes[RING_BYTES];
  _Atomic uint64_t end, key; /* where the next frame and the newest keyframe begin, in all bytes */
  uint8_t start[START_BYTES];
  _Atomic size_t start_bytes;
};

static struct ring *flv, *rtmp; /* of all processes */

/* A message as it comes in. */
struct message {
  uint32_t timestamp, delta, length, got, room;
  uint8_t type;
  bool extended;
  uint8_t *body;
};

struct connection {
  enum { LISTENER, HTTP, RTMP } kind;
  enum { GREETING, ANSWERED, CONNECTED, PUBLISHING, PLAYING, ENDED } phase;
  int fd;
  uint8_t *rest; /* what has come of something that is not whole yet */
  size_t rest_bytes;
  struct message *messages; /* of each chunk stream */
  uint32_t chunk_size;
  int serves;   /* a listener: the kind of who comes */
  uint64_t at;  /* in its ring, while it is playing */
  size_t index; /* in viewers */
};

static struct connection **viewers;
static size_t viewer_count, viewer_room;
static uint64_t flush_us;

static struct ring *ring_of(const struct connection *c) { return c->kind == HTTP ? flv : rtmp; }

static struct ring *make_ring(void) {
  void *memory = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("out of memory");
  return memory;
}

static void ring_write(struct ring *r, const uint8_t *p, size_t n) {
  size_t offset = r->end % RING_BYTES, first = n < RING_BYTES - offset ? n : RING_BYTES - offset;
  memcpy(r->bytes + offset, p, first);
  memcpy(r->bytes, p + first, n - first);
  r->end += n;
}

/* Sends what there is for a viewer; false if it is to go. */
static bool serve(struct connection *c) {
  struct ring *r = ring_of(c);
  size_t n = (size_t)(r->end - c->at), offset = c->at % RING_BYTES;
  if (n == 0) return true;
  if (n > RING_BYTES) return false;
  size_t first = n < RING_BYTES - offset ? n : RING_BYTES - offset;
  struct iovec pieces[] = {{r->bytes + offset, first}, {r->bytes, n - first}};
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = first < n ? 2 : 1};
  ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) return errno == EAGAIN;
  c->at += (uint64_t)sent;
  return true;
}

static void leave(struct connection *c) {
  if (c->phase != PLAYING) return;
  viewers[c->index] = viewers[--viewer_count];
  viewers[c->index]->index = c->index;
  c->phase = ENDED;
}

static void release(struct connection *c) {
  leave(c);
  close(c->fd);
  for (int i = 0; c->messages && i < CHUNK_STREAMS; i++) free(c->messages[i].body);
  free(c->messages);
  free(c->rest);
  free(c);
}

/* Who is to go is still known to epoll, and is released when that tells. */
static void serve_all(void) {
  for (size_t i = viewer_count; i-- > 0;) {
    struct connection *c = viewers[i];
    if (serve(c)) continue;
    leave(c);
    shutdown(c->fd, SHUT_RDWR);
  }
}

static bool send_now(struct connection *c, const void *bytes, size_t n) {
  return send(c->fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static bool start_viewer(struct connection *c) {
  struct ring *r = ring_of(c);
  if (!send_now(c, r->start, r->start_bytes)) return false;
  if (viewer_count == viewer_room) {
    viewer_room = viewer_room ? viewer_room * 2 : 1024;
    viewers = must(realloc(viewers, viewer_room * sizeof *viewers));
  }
  c->phase = PLAYING;
  c->at = r->key;
  c->index = viewer_count;
  viewers[viewer_count++] = c;
  return serve(c);
}

static void start_write(struct ring *r, const uint8_t *p, size_t n) {
  if (r->start_bytes + n > START_BYTES) die("more metadata and configurations than %d bytes", START_BYTES);
  memcpy(r->start + r->start_bytes, p, n);
  r->start_bytes += n;
}

/* Takes a message of the publisher. */
static void on_media(const struct message *m) {
  static const uint8_t SET_DATA_FRAME[] = "\2\0\15@setDataFrame";
  const size_t skip = sizeof SET_DATA_FRAME - 1;
  const uint8_t *body = m->body;
  uint32_t length = m->length;
  if (m->type == TAG_SCRIPT && length > skip && !memcmp(body, SET_DATA_FRAME, skip)) {
    body += skip;
    length -= (uint32_t)skip;
  }
  uint8_t lead[TAG_LEAD] = {m->type}, size[4], chunk[20];
  put24(put24(lead + 1, length), m->timestamp & 0xffffff);
  lead[7] = (uint8_t)(m->timestamp >> 24);
  put32(size, TAG_LEAD + length);
  struct header header = {.type = m->type, .timestamp = m->timestamp, .length = length, .stream = 1};
  size_t chunk_bytes = chunk_header(chunk, 4, &header);

  bool frame = is_frame(m->type, body, length);
  bool key = frame && m->type == TAG_VIDEO && (body[0] >> 4 & 7) == 1;
  if (key) {
    flv->key = flv->end;
    rtmp->key = rtmp->end;
  }
  void (*put)(struct ring *, const uint8_t *, size_t) = frame ? ring_write : start_write;
  put(flv, lead, TAG_LEAD);
  put(flv, body, length);
  put(flv, size, 4);
  put(rtmp, chunk, chunk_bytes);
  put(rtmp, body, length);
  if (frame && !flush_us) serve_all();
}

/* ---- RTMP (RTMP 1.0, 5 and 7) ---- */

static bool rtmp_send(struct connection *c, uint8_t type, const uint8_t *body, size_t n) {
  uint8_t bytes[512];
  struct header header = {.type = type, .length = (uint32_t)n, .stream = type == MSG_COMMAND};
  size_t at = chunk_header(bytes, type == MSG_COMMAND ? 3 : 2, &header);
  memcpy(bytes + at, body, n);
  return send_now(c, bytes, at + n);
}

static bool send_status(struct connection *c, const char *code) {
  uint8_t body[256], *p = amf_number(amf_string(body, "onStatus"), 0);
  *p++ = 5;
  *p++ = 3;
  p = amf_string(amf_text(p, "level"), "status");
  p = amf_string(amf_text(p, "code"), code);
  p = put24(p, 9);
  return rtmp_send(c, MSG_COMMAND, body, (size_t)(p - body));
}

static bool is_command(const struct message *m, const char *name) {
  uint8_t text[32];
  size_t n = (size_t)(amf_string(text, name) - text);
  return m->length >= n + 9 && !memcmp(m->body, text, n);
}

static bool on_command(struct connection *c, const struct message *m) {
  bool connect = is_command(m, "connect");
  if (connect || is_command(m, "createStream")) {
    uint8_t size[4], body[64], *p = amf_string(body, "_result");
    memcpy(p, m->body + (connect ? 10 : 15), 9); /* the number of the command */
    p += 9;
    *p++ = 5;
    p = amf_number(p, 1);
    put32(size, OUT_CHUNK_BYTES);
    return (!connect || rtmp_send(c, 1, size, 4)) &&
           rtmp_send(c, MSG_COMMAND, body, (size_t)(p - body));
  }
  if (is_command(m, "publish")) {
    c->phase = PUBLISHING;
    flv->start_bytes = rtmp->start_bytes = 0;
    flv->key = flv->end;
    rtmp->key = rtmp->end;
    return send_status(c, "NetStream.Publish.Start");
  }
  if (is_command(m, "play")) return send_status(c, "NetStream.Play.Start") && start_viewer(c);
  return true;
}

static bool on_message(struct connection *c, const struct message *m) {
  switch (m->type) {
  case 1: /* Set Chunk Size */
    if (m->length < 4 || !be32(m->body)) return false;
    c->chunk_size = be32(m->body);
    return true;
  case MSG_COMMAND:
    return on_command(c, m);
  case TAG_AUDIO: case TAG_VIDEO: case TAG_SCRIPT:
    if (c->phase == PUBLISHING) on_media(m);
    return true;
  default:
    return true;
  }
}

/* Takes a chunk; its bytes, 0 if it is not whole, −1 if it is none. */
static ssize_t take_chunk(struct connection *c, const uint8_t *p, size_t n) {
  static const uint8_t FIELDS[] = {11, 7, 3, 0};
  unsigned format = p[0] >> 6, id = p[0] & 63;
  size_t lead = 1u + FIELDS[format];
  if (id < 2) return -1;
  if (n < lead) return 0;
  struct message *m = &c->messages[id];
  bool extended = format < 3 ? be24(p + 1) == 0xffffff : m->extended;
  if (extended) lead += 4;
  if (n < lead) return 0;
  uint32_t length = format < 2 ? be24(p + 4) : m->length;
  if (format < 3 && m->got > 0) return -1;
  uint32_t left = length - m->got, bytes = left < c->chunk_size ? left : c->chunk_size;
  if (n < lead + bytes) return 0;
  if (format < 3) {
    m->delta = extended ? be32(p + lead - 4) : be24(p + 1);
    m->extended = extended;
    m->length = length;
    if (format < 2) m->type = p[7];
  }
  if (m->got == 0) m->timestamp = format == 0 ? m->delta : m->timestamp + m->delta;
  if (length > m->room) m->body = must(realloc(m->body, m->room = length));
  memcpy(m->body + m->got, p + lead, bytes);
  m->got += bytes;
  if (m->got < length) return (ssize_t)(lead + bytes);
  m->got = 0;
  return on_message(c, m) ? (ssize_t)(lead + bytes) : -1;
}

static bool answer_hello(struct connection *c, const uint8_t *hello) {
  uint8_t answer[1 + 2 * HANDSHAKE_BYTES] = {3};
  memcpy(answer + 1 + HANDSHAKE_BYTES, hello + 1, HANDSHAKE_BYTES);
  c->phase = ANSWERED;
  c->chunk_size = 128;
  c->messages = must(calloc(CHUNK_STREAMS, sizeof *c->messages));
  return send_now(c, answer, sizeof answer);
}

/* ---- HTTP ---- */

static bool answer_request(struct connection *c) {
  static const char HEAD[] =
      "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n"
      "FLV\1\5\0\0\0\11\0\0\0";
  /* With the size of the tag before the first (E.3), which ends in the 0 behind the text. */
  return send_now(c, HEAD, sizeof HEAD) && start_viewer(c);
}

/* ---- connections ---- */

/* Takes what is whole at the front; its bytes, 0 if nothing is, −1 if the connection is to go. */
static ssize_t take(struct connection *c, const uint8_t *p, size_t n) {
  if (c->phase == PLAYING || c->phase == ENDED) return (ssize_t)n;
  if (c->kind == HTTP) {
    if (!memmem(p, n, "\r\n\r\n", 4)) return 0;
    return answer_request(c) ? (ssize_t)n : -1;
  }
  switch (c->phase) {
  case GREETING:
    if (n < 1 + HANDSHAKE_BYTES) return 0;
    return answer_hello(c, p) ? 1 + HANDSHAKE_BYTES : -1;
  case ANSWERED:
    if (n < HANDSHAKE_BYTES) return 0;
    c->phase = CONNECTED;
    return HANDSHAKE_BYTES;
  default:
    return take_chunk(c, p, n);
  }
}

static bool receive(struct connection *c) {
  size_t have = c->rest_bytes;
  if (have) memcpy(read_buffer, c->rest, have);
  ssize_t n = recv(c->fd, read_buffer + have, READ_BYTES - have, MSG_DONTWAIT);
  if (n <= 0) return n < 0 && errno == EAGAIN;
  have += (size_t)n;
  size_t at = 0;
  while (at < have) {
    ssize_t taken = take(c, read_buffer + at, have - at);
    if (taken < 0) return false;
    if (taken == 0) break;
    at += (size_t)taken;
  }
  c->rest_bytes = have - at;
  if (c->rest_bytes == READ_BYTES) return false;
  if (!c->rest_bytes) return true;
  c->rest = must(realloc(c->rest, c->rest_bytes));
  memcpy(c->rest, read_buffer + at, c->rest_bytes);
  return true;
}

static struct connection *add_connection(int fd, int kind) {
  struct connection *c = must(calloc(1, sizeof *c));
  c->fd = fd;
  c->kind = kind;
  return c;
}

static void listen_on(const char *port, int kind) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
  if (fd < 0) die("cannot make a socket: %s", strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG))
    die("cannot listen on port %s: %s", port, strerror(errno));
  struct connection *listener = add_connection(fd, LISTENER);
  listener->serves = kind;
  poll_fd(EPOLL_CTL_ADD, fd, EPOLLIN, listener);
}

static void accept_all(const struct connection *listener) {
  int fd, yes = 1;
  while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    poll_fd(EPOLL_CTL_ADD, fd, EPOLLIN, add_connection(fd, listener->serves));
  }
}

/* Makes as many processes, which end with the first. */
static void fork_workers(int count) {
  for (int i = 1; i < count; i++) {
    pid_t child = fork();
    if (child < 0) die("cannot fork: %s", strerror(errno));
    if (child) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return;
  }
}

int main(int argc, char **argv) {
  const char *http = NULL, *rtmp_port = NULL;
  int workers = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!strcmp(argv[i], "--http")) http = argv[i + 1];
    else if (!strcmp(argv[i], "--rtmp")) rtmp_port = argv[i + 1];
    else if (!strcmp(argv[i], "--flush")) flush_us = strtoull(argv[i + 1], NULL, 10) * 1000;
    else if (!strcmp(argv[i], "--workers")) workers = atoi(argv[i + 1]);
    else die("unknown option %s", argv[i]);
  }
  if (!http || !rtmp_port) die("needs --http and --rtmp");
  if (workers > 1 && !flush_us) die("needs --flush with --workers");
  flv = make_ring();
  rtmp = make_ring();
  fork_workers(workers);
  start_polling();
  listen_on(http, HTTP);
  listen_on(rtmp_port, RTMP);
  uint64_t due_us = now_us() + flush_us;
  for (;;) {
    uint64_t now = now_us();
    if (flush_us && now >= due_us) {
      serve_all();
      while (due_us <= now) due_us += flush_us;
    }
    struct epoll_event events[256];
    int n = wait_for_events(events, 256, flush_us ? due_us - now : 1000000);
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      if (c->kind == LISTENER) accept_all(c);
      else if (!receive(c)) release(c);
    }
  }
}
