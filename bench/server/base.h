/*
 * What all C programs of the benchmark begin with: time, failure, epoll. Each of them is compiled
 * alone, with this in it.
 */
#ifndef BASE_H
#define BASE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024 };

static int epoll_fd;
static uint8_t read_buffer[READ_BYTES];

/* ---- time and failure ---- */

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void complain_args(const char *format, va_list args) {
  fprintf(stderr, "%s: ", program_invocation_short_name);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  complain_args(format, args);
  va_end(args);
  exit(1);
}

static void *must(void *memory) {
  if (!memory) die("out of memory");
  return memory;
}

/* ---- epoll ---- */

static void poll_fd(int operation, int fd, uint32_t events, void *owner) {
  struct epoll_event event = {.events = events, .data.ptr = owner};
  if (epoll_ctl(epoll_fd, operation, fd, &event)) die("epoll: %s", strerror(errno));
}

/* Makes ready for many connections. */
static void start_polling(void) {
  struct rlimit limit;
  if (!getrlimit(RLIMIT_NOFILE, &limit)) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll: %s", strerror(errno));
}

/* Waits for events, at most for a time, which epoll rounds up to ms. */
static int wait_for_events(struct epoll_event *events, int room, uint64_t us) {
  int n = epoll_wait(epoll_fd, events, room, (int)((us + 999) / 1000));
  if (n < 0 && errno != EINTR) die("epoll: %s", strerror(errno));
  return n;
}

#endif
