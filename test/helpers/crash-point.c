/*
 * Preloaded into the program, ends it with SIGKILL at a chosen system call that changes something: the kinds of crash
 * that time alone seldom meets, such as between the two writes of a commit. Of a write a part may still be done.
 *
 * CRASH_TRACE names a file that gets one letter for each such call; CRASH_AT is the number of the fatal one, from 1, and
 * CRASH_SHARE how much of it is done before the end, 0 to 100; at 100 all of it, and nobody is told.
 *     w  write to a file of packs/        s  fsync or fdatasync
 *     i  write to a file of an index      n  write to a socket
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;
static long fatal, share;
static int trace = -1;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("CRASH_AT"), *part = getenv("CRASH_SHARE"), *file = getenv("CRASH_TRACE");
  if (at) fatal = atol(at);
  if (part) share = atol(part);
  if (file) trace = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* The letter of a descriptor, or 0 for what does not count. */
static char kind_of(int fd) {
  struct stat st;
  char link[64], path[PATH_MAX];
  if (fd == trace || fstat(fd, &st)) return 0;
  if (S_ISSOCK(st.st_mode)) {
    int family = 0;
    socklen_t size = sizeof family;
    return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) && family != AF_UNIX ? 'n' : 0;
  }
  if (!S_ISREG(st.st_mode)) return 0;
  strcpy(link, "/proc/self/fd/");
  char digits[16], *p = digits + sizeof digits - 1;
  *p = 0;
  do *--p = '0' + fd % 10; while (fd /= 10);
  strcat(link, p);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, "/packs/") ? 'w' : strstr(path, "/index") ? 'i' : 0;
}

/* True at the fatal call. */
static int counts(char kind) {
  if (!kind) return 0;
  long call = atomic_fetch_add(&calls, 1) + 1;
  if (trace >= 0) {
    ssize_t (*real_write)(int, const void *, size_t) = real("write");
    real_write(trace, &kind, 1);
  }
  return call == fatal;
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

ssize_t write(int fd, const void *bytes, size_t length) {
  ssize_t (*next)(int, const void *, size_t) = real("write");
  if (!counts(kind_of(fd))) return next(fd, bytes, length);
  next(fd, bytes, length * share / 100);
  die();
  return -1;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  ssize_t (*next)(int, const struct iovec *, int) = real("writev");
  if (counts(kind_of(fd))) {
    next(fd, parts, count * share / 100);
    die();
  }
  return next(fd, parts, count);
}

#define POSITIONED(name, offset_type)                                                                                  \
  ssize_t name(int fd, const void *bytes, size_t length, offset_type at) {                                             \
    ssize_t (*next)(int, const void *, size_t, offset_type) = real(#name);                                             \
    if (counts(kind_of(fd))) {                                                                                         \
      next(fd, bytes, length * share / 100, at);                                                                                 \
      die();                                                                                                           \
    }                                                                                                                  \
    return next(fd, bytes, length, at);                                                                                \
  }
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

#define POSITIONED_PARTS(name, offset_type)                                                                            \
  ssize_t name(int fd, const struct iovec *parts, int count, offset_type at) {                                         \
    ssize_t (*next)(int, const struct iovec *, int, offset_type) = real(#name);                                        \
    if (counts(kind_of(fd))) {                                                                                         \
      next(fd, parts, count * share / 100, at);                                                                                  \
      die();                                                                                                           \
    }                                                                                                                  \
    return next(fd, parts, count, at);                                                                                 \
  }
POSITIONED_PARTS(pwritev, off_t)
POSITIONED_PARTS(pwritev64, off64_t)

int fsync(int fd) {
  int (*next)(int) = real("fsync");
  if (counts('s')) {
    if (share >= 50) next(fd);
    die();
  }
  return next(fd);
}

int fdatasync(int fd) {
  int (*next)(int) = real("fdatasync");
  if (counts('s')) {
    if (share >= 50) next(fd);
    die();
  }
  return next(fd);
}
