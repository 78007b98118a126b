/*
 * What load.c and hls_load.c have in common: time, output, the stamps in pictures, connections and
 * commands. Each of them is compiled alone, with this in it.
 */
#ifndef LOAD_H
#define LOAD_H

#include "base.h"

enum { COMPLAINTS = 30 };

static bool finished;

/* Says what went wrong, the first times. */
__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...) {
  static unsigned lines;
  if (lines++ >= COMPLAINTS) return;
  va_list args;
  va_start(args, format);
  complain_args(format, args);
  va_end(args);
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- distribution: 64 steps an octave, so within 1.6 % ---- */

enum { STEPS = 64, OCTAVES = 32 };

struct distribution {
  uint64_t count, sum, max;
  uint32_t steps[STEPS * OCTAVES];
};

static unsigned step_of(uint64_t us) {
  if (us < STEPS) return (unsigned)us;
  unsigned shift = 63u - (unsigned)__builtin_clzll(us) - 6u;
  unsigned step = (shift + 1) * STEPS + (unsigned)(us >> shift) - STEPS;
  return step < STEPS * OCTAVES ? step : STEPS * OCTAVES - 1;
}

static uint64_t value_of(unsigned step) {
  if (step < STEPS) return step;
  unsigned shift = step / STEPS - 1;
  return ((uint64_t)(step % STEPS + STEPS) << shift) + ((1ull << shift) >> 1);
}

static void add_value(struct distribution *d, uint64_t us) {
  d->count++;
  d->sum += us;
  if (us > d->max) d->max = us;
  d->steps[step_of(us)]++;
}

static double quantile_ms(const struct distribution *d, double q) {
  uint64_t rank = (uint64_t)(q * (double)d->count), seen = 0;
  for (unsigned i = 0; i < STEPS * OCTAVES; i++) {
    seen += d->steps[i];
    if (seen > rank) return (double)value_of(i) / 1000;
  }
  return (double)d->max / 1000;
}

static void print_distribution(const char *name, const struct distribution *d) {
  printf(",\"%s\":{\"count\":%llu", name, (unsigned long long)d->count);
  if (d->count) {
    printf(",\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f",
           (double)d->sum / (double)d->count / 1000, quantile_ms(d, 0.5), quantile_ms(d, 0.9),
           quantile_ms(d, 0.99), (double)d->max / 1000);
  }
  putchar('}');
}

struct count {
  const char *name;
  uint64_t value;
};

static void print_counts(const struct count *counts, size_t n) {
  for (size_t i = 0; i < n; i++)
    printf(",\"%s\":%llu", counts[i].name, (unsigned long long)counts[i].value);
}

/* ---- hashes and stamps: seven bits a byte with the top bit set, so that no emulation prevention
 * is ever needed ---- */

static const uint64_t HASH_START = 0xcbf29ce484222325;

static uint64_t hash_more(uint64_t hash, const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  while (n--) hash = (hash ^ *p++) * 0x100000001b3;
  return hash;
}

static const uint8_t STAMP_UUID[16] = {0x6d, 0x37, 0x73, 0x62, 0xe3, 0x9a, 0x4b, 0x1c,
                                       0x9d, 0x5e, 0xb2, 0x71, 0xc4, 0x86, 0xfa, 0x2d};
enum { TIME_DIGITS = 8, FRAME_DIGITS = 5 };

static uint64_t get_digits(const uint8_t *p, int digits) {
  uint64_t value = 0;
  while (digits--) value = value << 7 | (*p++ & 0x7f);
  return value;
}

/* ---- connections ---- */

/* A socket that is being connected, with a receive buffer of its own size unless that is 0; −1 if it
 * cannot be. */
static int connect_socket(const struct sockaddr_in *address, int receive_bytes, void *owner) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("cannot make a socket: %s", strerror(errno));
  int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (receive_bytes) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
  if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  poll_fd(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, owner);
  return fd;
}

/* What keeps a socket from being connected; 0 if nothing does. */
static int connect_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

static void parse_address(const char *host, unsigned port, struct sockaddr_in *address) {
  address->sin_family = AF_INET;
  address->sin_port = htons((uint16_t)port);
  if (inet_pton(AF_INET, host, &address->sin_addr) != 1) die("no IPv4 address: %s", host);
}

/* ---- commands ---- */

static void on_line(const char *line);

/* Gives each whole line of standard input to on_line; its end is that of the program. */
static void read_commands(void) {
  static char text[2048];
  static size_t have;
  ssize_t n = read(STDIN_FILENO, text + have, sizeof text - 1 - have);
  if (n <= 0) {
    finished = true;
    return;
  }
  have += (size_t)n;
  text[have] = 0;
  char *line = text;
  for (char *end; (end = strchr(line, '\n')); line = end + 1) {
    *end = 0;
    on_line(line);
  }
  have = strlen(line);
  if (have == sizeof text - 1) die("a command is too long");
  memmove(text, line, have + 1);
}

/* Makes ready for commands; standard input is the connection without an owner. */
static void start_commands(void) { poll_fd(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL); }

#endif
