/* Bytes of files, by every call that reads. */
#include "probe.h"
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

int read_ranges(const char *how, const char *path) {
  int direct = strcmp(how, "direct") == 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
  if (fd < 0) die(path);
  if (!direct && posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM)) die("posix_fadvise");
  long long offset, length;
  while (scanf("%lld %lld", &offset, &length) == 2) {
    if (!direct && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)) die("posix_fadvise");
    char *buffer = NULL;
    if (posix_memalign((void **)&buffer, 4096, length + 1)) die("posix_memalign");
    char line[64];
    ssize_t got = pread(fd, buffer, length, offset);
    int size = got < 0 ? snprintf(line, sizeof line, "%s\n", errno_name(errno))
                       : snprintf(line, sizeof line, "%zd\n", got);
    write_all(line, size);
    if (got > 0) write_all(buffer, got);
    free(buffer);
  }
  return 0;
}

int map(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) < 0) die(path);
  if (st.st_size == 0) return 0;
  char *bytes = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED) die("mmap");
  /* From the end, so that no read-ahead helps; copied, because write would turn a failing page into EFAULT. */
  char *copy = allocate(st.st_size);
  for (off_t at = (st.st_size - 1) / 4096 * 4096; at >= 0; at -= 4096) {
    memcpy(copy + at, bytes + at, st.st_size - at < 4096 ? st.st_size - at : 4096);
  }
  write_all(copy, st.st_size);
  return 0;
}

int map_first(const char *path) {
  char start[64];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) < 0) die(path);
  if (read(fd, start, sizeof start) < 0) {
    puts(errno_name(errno));
    return 0;
  }
  const unsigned char *bytes = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED) die("mmap");
  puts("mapped");
  fflush(stdout);
  if (getchar() != '\n') return 0;
  unsigned long sum = 0;
  for (off_t at = 0; at < st.st_size; at++) sum += bytes[at];
  printf("%lu\n", sum);
  return 0;
}

/* A file, and what it should contain. */
struct subject {
  int fd, direct, sink, pipe[2];
  size_t size, mapped;
  const unsigned char *expected;
  unsigned char *private, *shared, *buffer;
};

enum { LONGEST = 1 << 20, WAYS = 10 };

static const char *const ways[WAYS] = {"pread", "preadv", "MAP_PRIVATE", "MAP_SHARED", "sendfile",
                                       "splice", "copy_file_range", "O_DIRECT", "lseek", "drop"};

static ssize_t from_sink(struct subject *s, ssize_t got) {
  return got > 0 ? pread(s->sink, s->buffer, got, 0) : got;
}

/* Reads into the buffer by one of the ways; the bytes that came. Direct reads are aligned, whatever was asked. */
static ssize_t read_by(struct subject *s, int way, size_t *offset, size_t *length) {
  off_t at = *offset;
  size_t third = *length / 3, whole = *offset < s->size ? s->size - *offset : 0;
  size_t within = *length < whole ? *length : whole;
  struct iovec parts[3] = {
      {s->buffer, third}, {s->buffer + third, third}, {s->buffer + 2 * third, *length - 2 * third}};
  switch (way) {
    case 0: return pread(s->fd, s->buffer, *length, at);
    case 1: return preadv(s->fd, parts, 3, at);
    case 2: memcpy(s->buffer, s->private + at, within); return within;
    case 3: memcpy(s->buffer, s->shared + at, within); return within;
    case 4:
      if (lseek(s->sink, 0, SEEK_SET) < 0) return -1;
      return from_sink(s, sendfile(s->sink, s->fd, &at, *length));
    case 5: {
      *length = *length < 65536 ? *length : 65536;
      ssize_t got = splice(s->fd, &at, s->pipe[1], NULL, *length, 0);
      /* A pipe holds so many pieces, which may be less than was asked for. */
      if (got > 0) *length = got;
      for (ssize_t done = 0, more; done < got; done += more) {
        more = read(s->pipe[0], s->buffer + done, got - done);
        if (more <= 0) return -1;
      }
      return got;
    }
    case 6: {
      off_t to = 0;
      ssize_t got = copy_file_range(s->fd, &at, s->sink, &to, *length, 0);
      /* Between file systems the kernel does it or not. */
      if (got < 0 && errno == EXDEV) return pread(s->fd, s->buffer, *length, *offset);
      if (got >= 0) *length = got < (ssize_t)within ? (size_t)got : *length;
      return from_sink(s, got);
    }
    case 7:
      *offset &= ~(size_t)4095;
      *length = (*length | 4095) + 1 > LONGEST ? LONGEST : (*length | 4095) + 1;
      return pread(s->direct, s->buffer, *length, *offset);
    default: return -1;
  }
}

static int check_read(struct subject *s, int way, size_t offset, size_t length) {
  if (way == 8) {
    if (offset >= s->size) return 1;
    return lseek(s->fd, offset, SEEK_DATA) == (off_t)offset && lseek(s->fd, offset, SEEK_HOLE) == (off_t)s->size;
  }
  if (way == 9) {
    if (s->mapped && (madvise(s->private, s->mapped, MADV_DONTNEED) || madvise(s->shared, s->mapped, MADV_DONTNEED)))
      die("madvise");
    return posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
  }
  ssize_t got = read_by(s, way, &offset, &length);
  size_t left = offset < s->size ? s->size - offset : 0;
  return got == (ssize_t)(length < left ? length : left) && memcmp(s->buffer, s->expected + offset, got) == 0;
}

int compare(const char *file, const char *copy, uint64_t seed, size_t count) {
  struct subject s = {.fd = open(file, O_RDONLY | O_CLOEXEC), .direct = open(file, O_RDONLY | O_DIRECT | O_CLOEXEC)};
  int other = open(copy, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (s.fd < 0 || s.direct < 0 || other < 0 || fstat(other, &st) < 0) die(file);
  s.size = st.st_size;
  s.mapped = s.size;
  unsigned char *expected = allocate(s.size + 1);
  for (size_t done = 0; done < s.size;) {
    ssize_t got = read(other, expected + done, s.size - done);
    if (got <= 0) die(copy);
    done += got;
  }
  s.expected = expected;
  s.sink = memfd_create("sink", 0);
  if (s.sink < 0 || pipe(s.pipe) < 0 || posix_memalign((void **)&s.buffer, 4096, LONGEST)) die("sink");
  if (s.size > 0) {
    s.private = mmap(NULL, s.size, PROT_READ, MAP_PRIVATE, s.fd, 0);
    s.shared = mmap(NULL, s.size, PROT_READ, MAP_SHARED, s.fd, 0);
    if (s.private == MAP_FAILED || s.shared == MAP_FAILED) die("mmap");
    for (size_t at = s.size; at % 4096; at++) {
      if (s.private[at] == 0) continue;
      printf("%s: what is mapped behind its end is not zero\n", file);
      return 1;
    }
  }
  for (size_t step = 0; step < count; step++) {
    int way = below(&seed, WAYS);
    size_t offset = below(&seed, s.size + 8192), length = 1 + below(&seed, below(&seed, 2) ? 9000 : LONGEST);
    /* Mostly within the file, often across its end. */
    if (below(&seed, 8) == 0) offset = s.size > length / 2 ? s.size - length / 2 : 0;
    if (way < 8 && offset >= s.size && (way == 2 || way == 3)) continue;
    errno = 0;
    if (check_read(&s, way, offset, length)) continue;
    printf("%s: step %zu: %s of %zu at %zu: %s\n", file, step, ways[way], length, offset, errno_name(errno));
    return 1;
  }
  return 0;
}
