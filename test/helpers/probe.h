/* What the parts of the program probe share; probe.c says what it does. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline const char *errno_name(int number) {
  const char *name = strerrorname_np(number);
  return name ? name : "unknown";
}

static inline void die(const char *what) {
  fprintf(stderr, "probe: %s: %s\n", what, errno_name(errno));
  exit(1);
}

static inline void *allocate(size_t size) {
  void *memory = malloc(size);
  if (!memory) die("malloc");
  return memory;
}

static inline void write_all(const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t done = write(STDOUT_FILENO, bytes, length);
    if (done < 0) die("write");
    bytes += done;
    length -= done;
  }
}

static inline int open_folder(const char *folder) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) die(folder);
  return fd;
}

/* The numbers of a seed, below a limit. */
static inline size_t below(uint64_t *state, size_t limit) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return limit ? (*state >> 33) % limit : 0;
}

/* probe-listing.c */
int list(const char *folder);
int seek(const char *folder);
int seek_places(const char *folder, uint64_t seed);
int relist(const char *folder);

/* probe-reading.c */
int read_ranges(const char *how, const char *path);
int map(const char *path);
int map_first(const char *path);
int compare(const char *file, const char *copy, uint64_t seed, size_t count);
