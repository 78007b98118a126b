/*
 * The players of bench:server that play HLS, and the flood of requests that finds what a server can
 * answer at most.
 *
 *   hls_load play  --url URL --mode ll|classic [--rate N] [--verify N]
 *   hls_load flood --url URL
 *
 * URL is that of a multivariant playlist. Commands come line by line on standard input, JSON lines go
 * to standard output; hls_client.ts has the list of both. Time is that of CLOCK_MONOTONIC, which the
 * publisher (load.c) puts into each picture.
 *
 * A player has two connections that it keeps, as a browser does: one for playlists, one for media. With
 * `ll` it asks for each next version of the playlist before that is there (_HLS_msn, _HLS_part and
 * _HLS_skip), and for the part that is hinted; with `classic` it asks for a new version every target
 * duration, half of one where there was none, and for each segment once.
 *
 * The first player that gets a piece of media reads the stamps in it; the others count its bytes, and
 * those of --verify compare all of them. A player has as much to play as it has got, and loses that
 * with time: who runs dry has stalled.
 */
#include "load.h"

enum {
  HEAD_BYTES = 4096,          /* of a response */
  MAX_PLAYLIST_BYTES = 1 << 18,
  MAX_MEDIA_BYTES = 64 << 20,
  NAME_BYTES = 128,
  PATH_BYTES = 512,
  WANTED = 128,               /* pieces of media that a playlist lists and a player has not had yet */
  PIECES = 4096,              /* of all players, by the hash of their names */
  STAMPS = 8192,              /* pictures whose times are kept */
  WAITING = 1 << 17,          /* answers whose piece is not known to be complete yet */
  FLOOD_CONNECTIONS = 32,
  ANSWER_TIMEOUT_US = 20000000,
  START_TIMEOUT_US = 30000000,
};

/* ---- what all players know ---- */

/* A part or segment: the same bytes for all players. */
struct piece {
  uint64_t name; /* hash; 0 for none */
  uint64_t bytes, hash;
  int64_t first_frame, last_frame;
};

static struct piece pieces[PIECES];
static struct { int64_t frame; uint64_t us; } stamps[STAMPS];

static struct piece *piece_of(uint64_t name) { return &pieces[name % PIECES]; }
static bool is_known(uint64_t name) { return piece_of(name)->name == name; }

/* An answer that was held back until a piece was complete, which the next picture completes. */
struct waiting {
  uint64_t piece, at_us;
  struct distribution *to;
};

static struct waiting waiting[WAITING];
static uint64_t waiting_from, waiting_to;

static struct {
  uint64_t started_us, bytes, playlists, files, media_us;
  uint64_t refused, lost, late, broken, missing, disorder, mismatched, unmeasured;
  double cpu;
  struct distribution reload, part, answer, picture;
} window;

static void settle_waiting(uint64_t now) {
  for (; waiting_from < waiting_to; waiting_from++) {
    const struct waiting *w = &waiting[waiting_from % WAITING];
    const struct piece *p = piece_of(w->piece);
    if (p->name == w->piece && p->last_frame >= 0) {
      int64_t next = p->last_frame + 1;
      if (stamps[next % STAMPS].frame == next) {
        uint64_t us = stamps[next % STAMPS].us;
        add_value(w->to, w->at_us > us ? w->at_us - us : 0);
        continue;
      }
    }
    if (now - w->at_us < 3000000) return;
    window.unmeasured++;
  }
}

/* Measures an answer from the completion of `piece` on, once that is known. */
static void await_piece(uint64_t piece, uint64_t now, struct distribution *to) {
  if (waiting_to - waiting_from == WAITING) {
    window.unmeasured++;
    return;
  }
  waiting[waiting_to++ % WAITING] = (struct waiting){.piece = piece, .at_us = now, .to = to};
}

/* ---- players ---- */

struct wanted {
  char name[NAME_BYTES];
  uint64_t us; /* how long it lasts */
};

typedef enum { NONE, MULTIVARIANT, INIT, PLAYLIST, MEDIA } purpose;

struct connection {
  struct player *player;
  int fd;
  bool connected, busy;
  purpose purpose;
  char pending[PATH_BYTES * 2]; /* what waits for the connection */
  uint64_t asked_us;
  bool blocks; /* whether the answer may be held back */
  /* the response */
  char head[HEAD_BYTES];
  uint32_t head_bytes;
  bool in_body, keep;
  int status;
  uint64_t length, got, hash;
  uint8_t *body;
  size_t room;
  uint64_t piece;
};

struct player {
  struct player *next;
  struct connection playlists, media;
  uint32_t number;
  bool started, verify, dead, ended;
  char folder[PATH_BYTES], playlist[PATH_BYTES], init[NAME_BYTES];
  uint64_t opened_us, reload_us; /* when the playlist is due; 0 for not at all */
  /* what the playlist said last */
  uint64_t target_us, part_us, hold_us;
  int64_t first_number, last_number, last_part; /* of the newest, -1 for no parts of the one under way */
  char hint[NAME_BYTES], newest[NAME_BYTES];
  int64_t asked_number, asked_part;
  /* what is listed and not had yet, in order */
  struct wanted wanted[WANTED];
  uint32_t wanted_from, wanted_to;
  bool has_init, hinted; /* whether the hinted part is being loaded */
  int64_t had_number, had_part; /* the newest that was put among the wanted or is being loaded */
  uint64_t loading_us;
  char loading[NAME_BYTES];
  int64_t last_frame;
  /* playing */
  uint64_t media_us, playing_us;
  uint32_t stalls;
};

static struct {
  char host[64], path[PATH_BYTES];
  struct sockaddr_in address;
  bool ll, flood;
  double rate;
  uint32_t verify;
} options = {.rate = 200};

static struct player *players;
static struct {
  uint64_t start_us;
  uint32_t wanted, opened, started, failed;
  bool active;
  struct distribution first;
} ramp;

static void print_started(void) {
  ramp.active = false;
  printf("{\"event\":\"players\",\"started\":%u,\"failed\":%u", ramp.started, ramp.failed);
  print_distribution("first", &ramp.first);
  puts("}");
  fflush(stdout);
}

static void count_start(struct player *p, bool ok) {
  if (p->started) return;
  p->started = true;
  if (ok) ramp.started++;
  else ramp.failed++;
  if (ok) add_value(&ramp.first, now_us() - p->opened_us);
  if (ramp.active && ramp.started + ramp.failed == ramp.wanted) print_started();
}

static void quit(struct connection *c) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  free(c->body);
  c->body = NULL;
}

/* Ends a player for good; always false. */
static bool end_player(struct player *p, const char *why) {
  if (p->dead) return false;
  complain("player %u: %s", p->number, why);
  p->dead = true;
  window.lost++;
  count_start(p, false);
  quit(&p->playlists);
  quit(&p->media);
  return false;
}

static bool broken(struct player *p, const char *why) {
  window.broken++;
  return end_player(p, why);
}

static void connect_to_server(struct connection *c) {
  c->fd = connect_socket(&options.address, 0, c);
  if (c->fd < 0) die("cannot connect: %s", strerror(errno));
  c->connected = false;
}

static bool send_request(struct connection *c) {
  char text[PATH_BYTES * 2 + 256];
  int n = snprintf(text, sizeof text,
                   "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
                   "User-Agent: hls_load\r\n\r\n",
                   c->pending, options.host);
  c->pending[0] = 0;
  c->asked_us = now_us();
  /* Requests are small: they always fit the socket's buffer. */
  return send(c->fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

static bool request(struct connection *c, purpose purpose, const char *path) {
  c->purpose = purpose;
  c->busy = true;
  c->head_bytes = 0;
  c->in_body = false;
  c->got = 0;
  c->hash = HASH_START;
  snprintf(c->pending, sizeof c->pending, "%s", path);
  if (c->fd < 0) connect_to_server(c);
  if (!c->connected) return true;
  return send_request(c) || end_player(c->player, "cannot send");
}

/* The next piece of media, or the init section before it, if there is one to ask for. */
static bool load_next(struct player *p) {
  struct connection *c = &p->media;
  if (c->busy || p->dead) return true;
  char path[PATH_BYTES + NAME_BYTES];
  if (!p->has_init && p->init[0]) {
    snprintf(path, sizeof path, "%s%s", p->folder, p->init);
    c->blocks = false;
    return request(c, INIT, path);
  }
  if (p->wanted_from < p->wanted_to) {
    const struct wanted *w = &p->wanted[p->wanted_from++ % WANTED];
    memcpy(p->loading, w->name, NAME_BYTES);
    p->loading_us = w->us;
    c->blocks = p->hinted = false;
  } else if (options.ll && p->hint[0] && strcmp(p->hint, p->loading)) {
    memcpy(p->loading, p->hint, NAME_BYTES);
    p->loading_us = 0;
    c->blocks = p->hinted = true;
  } else {
    return true;
  }
  snprintf(path, sizeof path, "%s%s", p->folder, p->loading);
  c->piece = hash_more(HASH_START, p->loading, strlen(p->loading));
  return request(c, MEDIA, path);
}

static bool reload(struct player *p) {
  char path[PATH_BYTES + 128];
  struct connection *c = &p->playlists;
  p->reload_us = 0;
  p->asked_number = -1;
  c->blocks = false;
  if (options.ll && p->target_us && p->part_us) {
    p->asked_number = p->last_part < 0 ? p->last_number + 1 : p->last_number;
    p->asked_part = p->last_part < 0 ? 0 : p->last_part + 1;
    c->blocks = true;
    snprintf(path, sizeof path, "%s%c_HLS_msn=%lld&_HLS_part=%lld&_HLS_skip=YES", p->playlist,
             strchr(p->playlist, '?') ? '&' : '?', (long long)p->asked_number,
             (long long)p->asked_part);
  } else {
    snprintf(path, sizeof path, "%s", p->playlist);
  }
  return request(c, PLAYLIST, path);
}

/* ---- playlists ---- */

static const char *after(const char *line, const char *prefix) {
  size_t n = strlen(prefix);
  return strncmp(line, prefix, n) ? NULL : line + n;
}

static bool attribute(const char *list, const char *name, char *out, size_t room) {
  size_t n = strlen(name);
  for (const char *p = list; (p = strstr(p, name)); p += n) {
    if ((p != list && p[-1] != ',') || p[n] != '=') continue;
    p += n + 1;
    char end = *p == '"' ? '"' : ',';
    if (end == '"') p++;
    size_t length = strcspn(p, end == '"' ? "\"" : ",");
    if (length >= room) return false;
    memcpy(out, p, length);
    out[length] = 0;
    return true;
  }
  return false;
}

static uint64_t us_of(const char *seconds) { return (uint64_t)(strtod(seconds, NULL) * 1e6 + 0.5); }

static void want(struct player *p, const char *name, uint64_t us) {
  if (p->wanted_to - p->wanted_from == WANTED) {
    window.missing++;
    p->wanted_from++;
  }
  struct wanted *w = &p->wanted[p->wanted_to++ % WANTED];
  snprintf(w->name, sizeof w->name, "%s", name);
  w->us = us;
}

static void play(struct player *p, uint64_t us, uint64_t now);

/* A part or segment in a playlist: `part` is its index, -1 for a whole segment. */
static void take_listed(struct player *p, int64_t number, int64_t part, const struct wanted *w) {
  bool isNew = number > p->had_number || (number == p->had_number && part > p->had_part);
  if (!isNew) return;
  bool follows = part > 0   ? number == p->had_number && part == p->had_part + 1
                 : part == 0 ? number == p->had_number + 1
                             : number == p->had_number + 1;
  if (p->had_number >= 0 && !follows) window.missing++;
  p->had_number = number;
  p->had_part = part;
  if (p->hinted && !strcmp(w->name, p->loading)) {
    /* It is under way or there: now it is known how long it lasts. */
    p->loading_us = w->us;
    if (!p->media.busy) play(p, w->us, now_us());
    p->hinted = p->media.busy;
    return;
  }
  want(p, w->name, w->us);
}

static bool on_multivariant(struct player *p, char *text) {
  char *uri = NULL, *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    if (line[0] != '#' && line[0]) uri = line;
  if (!uri) return broken(p, "a multivariant playlist without a variant");
  const char *slash = strrchr(options.path, '/');
  snprintf(p->playlist, sizeof p->playlist, "%.*s/%s", (int)(slash - options.path), options.path, uri);
  size_t query = strcspn(p->playlist, "?");
  size_t end = query;
  while (end > 0 && p->playlist[end - 1] != '/') end--;
  memcpy(p->folder, p->playlist, end);
  p->folder[end] = 0;
  return reload(p);
}

static bool on_playlist(struct player *p, char *text, uint64_t now) {
  struct connection *c = &p->playlists;
  window.playlists++;
  uint64_t target = 0, part_target = 0, hold = 0, at = 0, total = 0;
  int64_t number = -1, part = -1, complete = -1;
  char hint[NAME_BYTES] = "", newest[NAME_BYTES] = "", value[NAME_BYTES];
  bool first = p->had_number < 0;
  struct { int64_t number, part; uint64_t at; bool key; struct wanted w; } listed[WANTED];
  uint32_t count = 0;
  uint64_t segment_us = 0;
  char *rest = NULL, *line = strtok_r(text, "\n", &rest);
  if (!line || strcmp(line, "#EXTM3U")) return broken(p, "no playlist");
  for (line = strtok_r(NULL, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    const char *v;
    if ((v = after(line, "#EXT-X-TARGETDURATION:"))) target = us_of(v);
    else if ((v = after(line, "#EXT-X-PART-INF:"))) {
      if (attribute(v, "PART-TARGET", value, sizeof value)) part_target = us_of(value);
    } else if ((v = after(line, "#EXT-X-SERVER-CONTROL:"))) {
      if (attribute(v, "PART-HOLD-BACK", value, sizeof value)) hold = us_of(value);
    } else if ((v = after(line, "#EXT-X-MEDIA-SEQUENCE:"))) number = strtoll(v, NULL, 10);
    else if ((v = after(line, "#EXT-X-SKIP:"))) {
      if (attribute(v, "SKIPPED-SEGMENTS", value, sizeof value)) {
        number += strtoll(value, NULL, 10);
        complete = number - 1;
      }
    } else if ((v = after(line, "#EXT-X-MAP:"))) {
      if (attribute(v, "URI", value, sizeof value) && strcmp(value, p->init)) {
        memcpy(p->init, value, sizeof value);
        p->has_init = false;
      }
    } else if ((v = after(line, "#EXT-X-PRELOAD-HINT:"))) attribute(v, "URI", hint, sizeof hint);
    else if ((v = after(line, "#EXT-X-PART:"))) {
      part++;
      uint64_t us = attribute(v, "DURATION", value, sizeof value) ? us_of(value) : 0;
      if (!us || us > part_target + 1000) return broken(p, "a part without a duration or a longer one than the target");
      if (!attribute(v, "URI", newest, sizeof newest)) return broken(p, "a part without a name");
      if (options.ll && count < WANTED) {
        bool key = strstr(v, "INDEPENDENT=YES") != NULL;
        listed[count].number = number, listed[count].part = part, listed[count].at = at, listed[count].key = key;
        memcpy(listed[count].w.name, newest, NAME_BYTES);
        listed[count++].w.us = us;
      }
      at += us;
    } else if ((v = after(line, "#EXTINF:"))) {
      segment_us = us_of(v);
      if (!target || segment_us > target + 500000) return broken(p, "a segment longer than the target");
    } else if (line[0] != '#' && line[0]) {
      if (!segment_us) return broken(p, "a segment without a duration");
      if (!options.ll && count < WANTED) {
        listed[count].number = number, listed[count].part = -1, listed[count].at = at, listed[count].key = true;
        snprintf(listed[count].w.name, NAME_BYTES, "%s", line);
        listed[count++].w.us = segment_us;
      }
      total += segment_us;
      at = total;
      segment_us = 0;
      complete = number++;
      part = -1;
    } else if (!strcmp(line, "#EXT-X-ENDLIST")) p->ended = true;
  }
  if (!target || complete < 0) return broken(p, "a playlist without a target or a segment");
  /* What it says now goes on from what it said before. */
  if (p->target_us && (p->target_us != target || p->part_us != part_target)) {
    return broken(p, "the target has changed");
  }
  int64_t last_number = part >= 0 ? complete + 1 : complete, last_part = part;
  bool advanced = last_number > p->last_number || (last_number == p->last_number && last_part > p->last_part) ||
                  (p->last_part >= 0 && last_number == p->last_number && last_part < 0);
  bool back = complete < p->last_number - (p->last_part >= 0) ||
              (last_number == p->last_number && p->last_part >= 0 && last_part >= 0 && last_part < p->last_part);
  if (p->target_us && back) window.disorder++;
  if (p->asked_number >= 0 && !p->ended) {
    bool there = complete >= p->asked_number ||
                 (last_number == p->asked_number && last_part >= p->asked_part);
    if (!there) window.disorder++;
    else if (newest[0]) await_piece(hash_more(HASH_START, newest, strlen(newest)), now, &window.reload);
  } else {
    add_value(&window.answer, now - c->asked_us);
  }
  p->target_us = target;
  p->part_us = part_target;
  p->hold_us = hold;
  p->last_number = last_number;
  p->last_part = last_part;
  memcpy(p->hint, hint, sizeof hint);
  /* It begins at the last keyframe that leaves enough behind it. */
  uint32_t from = 0;
  if (first) {
    uint64_t back_us = options.ll ? hold : 3 * target;
    for (uint32_t i = 0; i < count; i++)
      if (listed[i].key && listed[i].at + back_us <= at) from = i;
    while (from < count && !listed[from].key) from++;
  }
  for (uint32_t i = from; i < count; i++) take_listed(p, listed[i].number, listed[i].part, &listed[i].w);
  if (p->ended) return end_player(p, "the stream has ended");
  if (options.ll && part_target) {
    if (!reload(p)) return false;
  } else {
    p->reload_us = c->asked_us + (advanced ? target : target / 2);
  }
  return load_next(p);
}

/* ---- media ---- */

/* `us` more to play. */
static void play(struct player *p, uint64_t us, uint64_t now) {
  window.media_us += us;
  p->media_us += us;
  if (!p->playing_us) {
    if (p->media_us >= (options.ll ? p->hold_us : 1)) p->playing_us = now;
    return;
  }
  if (now - p->playing_us > p->media_us - us) {
    /* It had run dry before this came. */
    p->stalls++;
    p->playing_us = now - (p->media_us - us);
  }
}

/* Reads what is in a piece of media that nobody has had before. */
static void learn(struct player *p, const struct connection *c) {
  struct piece *piece = piece_of(c->piece);
  *piece = (struct piece){.name = c->piece, .bytes = c->got, .first_frame = -1, .last_frame = -1};
  piece->hash = hash_more(HASH_START, c->body, c->got);
  const uint8_t *at = c->body, *end = c->body + c->got;
  while ((at = memmem(at, (size_t)(end - at), STAMP_UUID, sizeof STAMP_UUID))) {
    at += sizeof STAMP_UUID;
    if (end - at < TIME_DIGITS + FRAME_DIGITS) break;
    uint64_t us = get_digits(at, TIME_DIGITS);
    int64_t frame = (int64_t)get_digits(at + TIME_DIGITS, FRAME_DIGITS);
    if (piece->last_frame >= 0 && frame != piece->last_frame + 1) window.disorder++;
    if (piece->first_frame < 0) piece->first_frame = frame;
    piece->last_frame = frame;
    stamps[frame % STAMPS].frame = frame;
    stamps[frame % STAMPS].us = us;
  }
  if (piece->last_frame < 0) complain("player %u: no picture in %s", p->number, p->loading);
}

static bool on_media(struct player *p, const struct connection *c, uint64_t now) {
  window.files++;
  if (c->got == 0) return broken(p, "a piece of media without bytes");
  if (!is_known(c->piece)) learn(p, c);
  const struct piece *piece = piece_of(c->piece);
  if (piece->bytes != c->got || (p->verify && piece->hash != c->hash)) window.mismatched++;
  if (piece->first_frame >= 0) {
    if (p->last_frame >= 0 && piece->first_frame > p->last_frame + 1) window.missing++;
    if (p->last_frame >= 0 && piece->first_frame <= p->last_frame) window.disorder++;
    p->last_frame = piece->last_frame;
    const uint64_t us = stamps[piece->last_frame % STAMPS].us;
    if (options.ll) add_value(&window.picture, now - us);
  }
  if (c->blocks) await_piece(c->piece, now, &window.part);
  else add_value(&window.answer, now - c->asked_us);
  count_start(p, true);
  /* The duration of a hinted part comes with the playlist, before or after it. */
  if (p->loading_us) {
    play(p, p->loading_us, now);
    p->hinted = false;
  }
  return load_next(p);
}

/* ---- flood ---- */

static struct {
  char path[PATH_BYTES + NAME_BYTES];
  uint32_t open;
} flood;

static bool on_flood(struct connection *c, uint64_t now) {
  add_value(&window.answer, now - c->asked_us);
  window.files++;
  return request(c, MEDIA, flood.path);
}

/* ---- responses ---- */

/* An answer that is none. */
static bool on_refusal(struct player *p, struct connection *c, uint64_t now) {
  window.refused++;
  complain("player %u: status %d", p->number, c->status);
  if (options.flood) return request(c, MEDIA, flood.path);
  if (c->purpose == MULTIVARIANT || c->purpose == INIT) return end_player(p, "refused");
  if (c->purpose == PLAYLIST) {
    /* It begins again from what there is. */
    p->target_us = 0;
    p->had_number = -1;
    p->reload_us = now + 500000;
    return true;
  }
  /* It is too far behind: it begins again where the next playlist ends. */
  window.missing++;
  p->hinted = false;
  p->hint[0] = 0;
  p->wanted_from = p->wanted_to;
  p->had_number = p->last_frame = -1;
  return true;
}

static bool on_response(struct connection *c, uint64_t now) {
  struct player *p = c->player;
  c->busy = false;
  if (c->status != 200) return on_refusal(p, c, now);
  if (options.flood && flood.path[0]) return on_flood(c, now);
  if (c->body && c->room > c->got) c->body[c->got] = 0;
  switch (c->purpose) {
    case MULTIVARIANT: return on_multivariant(p, (char *)c->body);
    case PLAYLIST: return on_playlist(p, (char *)c->body, now);
    case INIT:
      if (c->got < 8 || memcmp(c->body + 4, "ftyp", 4)) return broken(p, "an init section that is none");
      p->has_init = true;
      return load_next(p);
    case MEDIA: return on_media(p, c, now);
    default: return broken(p, "an answer that nobody has asked for");
  }
}

static bool on_head(struct connection *c) {
  char *length = strcasestr(c->head, "\r\ncontent-length:");
  if (sscanf(c->head, "HTTP/1.1 %d", &c->status) != 1 || !length) return broken(c->player, "no answer of HTTP/1.1 with a length");
  c->length = strtoull(length + 17, NULL, 10);
  c->keep = strcasestr(c->head, "\r\nconnection: close") == NULL;
  bool text = c->purpose == PLAYLIST || c->purpose == MULTIVARIANT;
  if (c->length > (text ? MAX_PLAYLIST_BYTES : MAX_MEDIA_BYTES)) return broken(c->player, "an answer that is too long");
  c->in_body = true;
  return true;
}

static void keep_body(struct connection *c, const uint8_t *p, size_t n) {
  bool unread = options.flood ? !flood.path[0] : c->purpose != MEDIA || !is_known(c->piece);
  if (c->player->verify) c->hash = hash_more(c->hash, p, n);
  if (!unread) return;
  if (c->length + 1 > c->room) {
    c->room = c->length + 1;
    c->body = must(realloc(c->body, c->room));
  }
  memcpy(c->body + c->got, p, n);
}

static bool take_bytes(struct connection *c, const uint8_t *p, size_t n, uint64_t now) {
  window.bytes += n;
  while (n > 0) {
    if (!c->busy) return broken(c->player, "bytes behind the answer");
    if (!c->in_body) {
      size_t take = HEAD_BYTES - 1 - c->head_bytes;
      if (take > n) take = n;
      memcpy(c->head + c->head_bytes, p, take);
      c->head[c->head_bytes + take] = 0;
      char *end = strstr(c->head, "\r\n\r\n");
      if (!end) {
        c->head_bytes += (uint32_t)take;
        if (c->head_bytes == HEAD_BYTES - 1) return broken(c->player, "a head that is too long");
        return true;
      }
      size_t used = (size_t)(end + 4 - c->head) - c->head_bytes;
      end[2] = 0;
      if (!on_head(c)) return false;
      p += used;
      n -= used;
    }
    size_t take = c->length - c->got < n ? c->length - c->got : n;
    if (take) keep_body(c, p, take);
    c->got += take;
    p += take;
    n -= take;
    if (c->got == c->length) {
      if (!c->keep) {
        close(c->fd);
        c->fd = -1;
      }
      if (!on_response(c, now)) return false;
      if (c->fd < 0 || !c->connected) return true;
    }
  }
  return true;
}

static bool on_event(struct connection *c, uint32_t events) {
  if (!c->connected) {
    if (connect_error(c->fd)) return end_player(c->player, "cannot connect");
    if (!(events & EPOLLOUT)) return true;
    c->connected = true;
    poll_fd(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLET | EPOLLRDHUP, c);
    if (c->pending[0] && !send_request(c)) return end_player(c->player, "cannot send");
  }
  if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return true;
  while (c->fd >= 0) {
    ssize_t n = recv(c->fd, read_buffer, READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n <= 0) {
      /* A server may close a connection that does nothing. */
      if (c->busy) return end_player(c->player, "the server closed the connection");
      close(c->fd);
      c->fd = -1;
      return true;
    }
    if (!take_bytes(c, read_buffer, (size_t)n, now_us())) return false;
    if (n < READ_BYTES) return true;
  }
  return true;
}

/* ---- commands ---- */

static void open_player(void) {
  struct player *p = must(calloc(1, sizeof *p));
  p->number = ramp.opened++;
  p->playlists.player = p->media.player = p;
  p->playlists.fd = p->media.fd = -1;
  p->verify = p->number < options.verify;
  p->had_number = p->last_number = p->last_part = p->asked_number = p->last_frame = -1;
  p->opened_us = now_us();
  p->next = players;
  players = p;
  if (options.flood) request(&p->playlists, MEDIA, flood.path);
  else request(&p->playlists, MULTIVARIANT, options.path);
}

static void begin_window(void) {
  memset(&window, 0, sizeof window);
  waiting_from = waiting_to;
  window.started_us = now_us();
  window.cpu = cpu_seconds();
  for (struct player *p = players; p; p = p->next) p->stalls = 0;
}

static void end_window(void) {
  uint64_t now = now_us();
  settle_waiting(now);
  double seconds = (double)(now - window.started_us) / 1e6;
  uint32_t alive = 0, stalled = 0, stalls = 0;
  for (struct player *p = players; p; p = p->next) {
    if (p->dead) continue;
    alive++;
    /* One that has got nothing more since it ran dry has stalled, too. */
    bool dry = p->playing_us && now - p->playing_us > p->media_us;
    stalls += p->stalls + dry;
    if (p->stalls || dry) stalled++;
  }
  printf("{\"event\":\"window\",\"seconds\":%.4f,\"cpuSeconds\":%.4f,\"players\":%u", seconds,
         cpu_seconds() - window.cpu, alive);
  printf(",\"bytes\":%llu,\"playlists\":%llu,\"files\":%llu,\"mediaSeconds\":%.3f",
         (unsigned long long)window.bytes, (unsigned long long)window.playlists,
         (unsigned long long)window.files, (double)window.media_us / 1e6);
  printf(",\"stalled\":%u,\"stalls\":%u", stalled, stalls);
  const struct count faults[] = {
      {"refused", window.refused}, {"lost", window.lost},         {"late", window.late},
      {"broken", window.broken},   {"missing", window.missing},   {"disorder", window.disorder},
      {"mismatched", window.mismatched}, {"unmeasured", window.unmeasured}};
  print_counts(faults, sizeof faults / sizeof *faults);
  print_distribution("reload", &window.reload);
  print_distribution("part", &window.part);
  print_distribution("answer", &window.answer);
  print_distribution("picture", &window.picture);
  puts("}");
  fflush(stdout);
}

static void on_line(const char *line) {
  unsigned count;
  if (sscanf(line, "open %u", &count) == 1) {
    memset(&ramp, 0, sizeof ramp);
    ramp.wanted = count;
    ramp.start_us = now_us();
    ramp.active = true;
    if (count == 0) print_started();
  } else if (sscanf(line, "flood %639s", flood.path) == 1) {
    begin_window();
    for (ramp.wanted = FLOOD_CONNECTIONS; ramp.opened < ramp.wanted;) open_player();
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

/* Reloads what is due, and ends waits that are too long; when it has to be called again. */
static uint64_t tend(uint64_t now) {
  uint64_t next = now + 100000;
  for (struct player *p = players; p; p = p->next) {
    if (p->dead) continue;
    if (!p->started && now > p->opened_us + START_TIMEOUT_US) end_player(p, "no media for too long");
    for (int i = 0; i < 2; i++) {
      const struct connection *c = i ? &p->media : &p->playlists;
      if (c->busy && !c->pending[0] && now > c->asked_us + ANSWER_TIMEOUT_US) {
        window.late++;
        end_player(p, "no answer");
        break;
      }
    }
    if (p->dead || !p->reload_us) continue;
    if (p->reload_us <= now) reload(p);
    else if (p->reload_us < next) next = p->reload_us;
  }
  return next;
}

/* ---- main ---- */

static void parse_arguments(int argc, char **argv) {
  const char *url = NULL, *mode = "ll";
  if (argc < 2) die("play or flood?");
  options.flood = !strcmp(argv[1], "flood");
  for (int i = 2; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!strcmp(name, "--url")) url = value;
    else if (!strcmp(name, "--mode")) mode = value;
    else if (!strcmp(name, "--rate")) options.rate = strtod(value, NULL);
    else if (!strcmp(name, "--verify")) options.verify = (uint32_t)strtoul(value, NULL, 10);
    else die("unknown option %s", name);
  }
  options.ll = !strcmp(mode, "ll");
  char host[48];
  unsigned port;
  if (!url || options.rate <= 0 || sscanf(url, "http://%47[0-9.]:%u%511s", host, &port, options.path) != 3)
    die("--url http://ADDRESS:PORT/PATH, please");
  parse_address(host, port, &options.address);
  snprintf(options.host, sizeof options.host, "%s:%u", host, port);
}

int main(int argc, char **argv) {
  parse_arguments(argc, argv);
  for (size_t i = 0; i < STAMPS; i++) stamps[i].frame = -1;
  start_polling();
  start_commands();
  begin_window();
  uint64_t next = 0;
  while (!finished) {
    uint64_t now = now_us();
    if (ramp.active) {
      double due = (double)(now - ramp.start_us) / 1e6 * options.rate + 1;
      while (ramp.opened < ramp.wanted && ramp.opened < due) open_player();
    }
    if (now >= next) {
      next = tend(now);
      settle_waiting(now);
    }
    uint64_t until = ramp.active && now + 2000 < next ? now + 2000 : next;
    struct epoll_event events[256];
    int n = wait_for_events(events, 256, until > now ? until - now : 0);
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      if (!c) read_commands();
      else if (!c->player->dead && c->fd >= 0) on_event(c, events[i].events);
    }
  }
  return 0;
}
