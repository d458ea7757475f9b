/*
 * Readers that never stop: threads that read the files of a mount again and again and hold every byte against the
 * originals.
 *
 *     readers THREADS ORIGINALS MOUNTED [FOLDERS]
 *
 * ORIGINALS is read into memory at the start; MOUNTED shows the same tree. What a thread reads it throws out of the page
 * cache at once, and a further thread makes the kernel forget names and attributes twice a second, so that the server is
 * asked all the time. FOLDERS is a file with names of folders, one a line, which are looked up in between.
 *
 * Each line on stdin is answered by a line on stdout about what happened since the last one:
 *
 *     OPERATIONS BYTES FAILURES WRONG MEDIAN HIGH LONGEST WHAT
 *
 * numbers of system calls, of bytes read, of calls that failed and of bytes (or sizes, or listings) that were wrong;
 * seconds that half of the calls, 999 of 1000, and all calls took at most, where one that has not returned yet counts
 * with the time it has taken so far; and which call took longest. At the end of stdin it ends. Failures are explained on
 * stderr. Needs root.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 256, PIECE = 128 << 10, MAX_READ = 1 << 20, MAX_EXPLAINED = 20, STEPS = 16, BUCKETS = 64 * STEPS };

enum call { STAT, OPEN, READ, LIST, LOOKUP, CALLS };
static const char *const call_names[CALLS] = {"stat", "open", "read", "list", "lookup"};

struct entry {
  char *path;          /* below the root, beginning with a slash, or empty */
  unsigned char *data; /* of a file */
  long size;           /* of a file its bytes, of a folder its entries */
};

struct list {
  struct entry *entries;
  size_t count, room;
};

struct thread {
  uint64_t random;
  uint64_t started; /* of the call it is in, 0 for none */
  uint64_t longest; /* nanoseconds x 8 + which call, so that both are replaced at once */
  uint64_t operations, bytes, failures, wrong;
  uint64_t buckets[BUCKETS];
  unsigned char buffer[PIECE];
  enum call call;
};

static struct list files, folders, lookups;
static struct thread threads[MAX_THREADS];
static const char *originals, *mounted;
static int explained;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "readers: %s: %s\n", what, why);
  exit(1);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void nap(long milliseconds) {
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static struct entry *append(struct list *list, char *path) {
  if (path == NULL) fail("paths", "no memory");
  if (list->count == list->room) {
    list->room = list->room == 0 ? 1024 : list->room * 2;
    list->entries = realloc(list->entries, list->room * sizeof *list->entries);
    if (list->entries == NULL) fail("paths", "no memory");
  }
  struct entry *entry = &list->entries[list->count++];
  *entry = (struct entry){.path = path};
  return entry;
}

/* Entries of an open folder without . and .., or -1. */
static long entries_of(DIR *folder) {
  long count = 0;
  struct dirent *entry;
  errno = 0;
  while ((entry = readdir(folder)) != NULL)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) count++;
  return errno == 0 ? count : -1;
}

static int load(const char *path, const struct stat *found, int type, struct FTW *place) {
  (void)place;
  struct entry *entry = append(type == FTW_D ? &folders : &files, strdup(path + strlen(originals)));
  if (type == FTW_D) {
    DIR *folder = opendir(path);
    if (folder == NULL || (entry->size = entries_of(folder)) < 0) fail(path, strerror(errno));
    closedir(folder);
    return 0;
  }
  if (type != FTW_F) fail(path, "is neither file nor folder");
  entry->size = found->st_size;
  entry->data = malloc(found->st_size + 1);
  FILE *file = fopen(path, "r");
  if (file == NULL || entry->data == NULL) fail(path, strerror(errno));
  if (fread(entry->data, 1, entry->size, file) != (size_t)entry->size) fail(path, "was not read as a whole");
  fclose(file);
  return 0;
}

static void load_lookups(const char *name) {
  FILE *lines = fopen(name, "r");
  if (lines == NULL) fail(name, strerror(errno));
  char *line = NULL;
  size_t room = 0;
  for (ssize_t length; (length = getline(&line, &room, lines)) > 1; line = NULL, room = 0) {
    line[length - 1] = '\0';
    append(&lookups, line);
  }
  fclose(lines);
  if (lookups.count == 0) fail(name, "names nothing");
}

/* xorshift64 */
static uint64_t below(struct thread *thread, uint64_t limit) {
  thread->random ^= thread->random << 13;
  thread->random ^= thread->random >> 7;
  thread->random ^= thread->random << 17;
  return thread->random % limit;
}

static void count(uint64_t *counter, uint64_t more) { __atomic_fetch_add(counter, more, __ATOMIC_RELAXED); }

static void begin(struct thread *thread, enum call call) {
  thread->call = call;
  __atomic_store_n(&thread->started, now(), __ATOMIC_RELEASE);
}

/* Sixteen steps for each doubling. */
static int bucket_of(uint64_t nanoseconds) {
  if (nanoseconds < STEPS) return nanoseconds;
  int top = 63 - __builtin_clzll(nanoseconds);
  return (top - 3) * STEPS + (nanoseconds >> (top - 4)) % STEPS;
}

/* The least that falls into the next bucket. */
static double above_bucket(int bucket) {
  int next = bucket + 1;
  if (next < STEPS) return next;
  return (double)(STEPS + next % STEPS) * (1ull << (next / STEPS - 1));
}

static void end(struct thread *thread) {
  uint64_t taken = now() - thread->started;
  __atomic_store_n(&thread->started, 0, __ATOMIC_RELEASE);
  count(&thread->operations, 1);
  count(&thread->buckets[bucket_of(taken)], 1);
  uint64_t packed = taken * 8 + thread->call, longest = __atomic_load_n(&thread->longest, __ATOMIC_RELAXED);
  while (packed > longest &&
         !__atomic_compare_exchange_n(&thread->longest, &longest, packed, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

static void explain(const char *path, enum call call, const char *why) {
  if (__atomic_fetch_add(&explained, 1, __ATOMIC_RELAXED) < MAX_EXPLAINED)
    fprintf(stderr, "readers: %s: %s: %s\n", path, call_names[call], why);
}

static void failed(struct thread *thread, const char *path) {
  explain(path, thread->call, strerror(errno));
  count(&thread->failures, 1);
  nap(10);
}

static void wrong(struct thread *thread, const char *path, uint64_t how_much) {
  explain(path, thread->call, "is not what it was");
  count(&thread->wrong, how_much);
}

static void hold_against(struct thread *thread, const char *path, const unsigned char *expected, long length) {
  if (memcmp(thread->buffer, expected, length) == 0) return;
  uint64_t differ = 0;
  for (long i = 0; i < length; i++) differ += thread->buffer[i] != expected[i];
  wrong(thread, path, differ);
}

/* A file, or of a large one a piece from anywhere. */
static void read_file(struct thread *thread, const struct entry *entry, const char *path) {
  begin(thread, OPEN);
  int file = open(path, O_RDONLY);
  end(thread);
  if (file < 0) {
    failed(thread, path);
    return;
  }
  long at = entry->size > MAX_READ ? below(thread, entry->size - MAX_READ) : 0;
  long stop = at + MAX_READ < entry->size ? at + MAX_READ : entry->size;
  posix_fadvise(file, at, stop - at, POSIX_FADV_DONTNEED);
  while (at < stop) {
    long wanted = stop - at < PIECE ? stop - at : PIECE;
    begin(thread, READ);
    ssize_t got = pread(file, thread->buffer, wanted, at);
    end(thread);
    if (got < 0) failed(thread, path);
    else if (got == 0) wrong(thread, path, stop - at);
    if (got <= 0) break;
    count(&thread->bytes, got);
    hold_against(thread, path, entry->data + at, got);
    at += got;
  }
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  close(file);
}

static void list_folder(struct thread *thread, const struct entry *entry, const char *path) {
  begin(thread, LIST);
  DIR *folder = opendir(path);
  long entries = folder == NULL ? -1 : entries_of(folder);
  end(thread);
  if (entries < 0) failed(thread, path);
  else if (entries != entry->size) wrong(thread, path, 1);
  if (folder != NULL) closedir(folder);
}

static void look_up(struct thread *thread, const struct entry *entry) {
  struct stat found;
  begin(thread, LOOKUP);
  int status = lstat(entry->path, &found);
  end(thread);
  if (status != 0) failed(thread, entry->path);
  else if (!S_ISDIR(found.st_mode)) wrong(thread, entry->path, 1);
}

static void stat_file(struct thread *thread, const struct entry *entry, const char *path) {
  struct stat found;
  begin(thread, STAT);
  int status = lstat(path, &found);
  end(thread);
  if (status != 0) failed(thread, path);
  else if (!S_ISREG(found.st_mode) || found.st_size != entry->size) wrong(thread, path, 1);
}

static void *read_for_ever(void *argument) {
  struct thread *thread = argument;
  char path[8192];
  for (;;) {
    if (lookups.count > 0 && below(thread, 2) == 0) look_up(thread, &lookups.entries[below(thread, lookups.count)]);
    int listing = below(thread, 16) == 0;
    struct list *list = listing ? &folders : &files;
    const struct entry *entry = &list->entries[below(thread, list->count)];
    if (snprintf(path, sizeof path, "%s%s", mounted, entry->path) >= (int)sizeof path) fail(path, "is too long");
    if (listing) {
      list_folder(thread, entry, path);
      continue;
    }
    stat_file(thread, entry, path);
    read_file(thread, entry, path);
  }
  return NULL;
}

/* Names and attributes; the pages go one file at a time, so that the server's own stay. */
static void *forget_for_ever(void *argument) {
  (void)argument;
  int file = open("/proc/sys/vm/drop_caches", O_WRONLY);
  for (;;) {
    if (file < 0 || pwrite(file, "2", 1, 0) != 1) fail("/proc/sys/vm/drop_caches", strerror(errno));
    nap(500);
  }
  return NULL;
}

static uint64_t take(uint64_t *counter) { return __atomic_exchange_n(counter, 0, __ATOMIC_RELAXED); }

static double quantile(const uint64_t *buckets, double share) {
  uint64_t all = 0, sum = 0;
  for (int i = 0; i < BUCKETS; i++) all += buckets[i];
  for (int i = 0; i < BUCKETS; i++)
    if ((sum += buckets[i]) > 0 && sum >= share * all) return above_bucket(i) / 1e9;
  return 0;
}

static void report(int count) {
  uint64_t operations = 0, bytes = 0, failures = 0, wrong = 0, longest = 0;
  uint64_t buckets[BUCKETS] = {0};
  for (int i = 0; i < count; i++) {
    struct thread *thread = &threads[i];
    operations += take(&thread->operations);
    bytes += take(&thread->bytes);
    failures += take(&thread->failures);
    wrong += take(&thread->wrong);
    for (int bucket = 0; bucket < BUCKETS; bucket++) buckets[bucket] += take(&thread->buckets[bucket]);
    uint64_t packed = take(&thread->longest);
    uint64_t started = __atomic_load_n(&thread->started, __ATOMIC_ACQUIRE), time = now();
    uint64_t waiting = started == 0 || started > time ? 0 : (time - started) * 8 + thread->call;
    if (waiting > packed) packed = waiting;
    if (packed > longest) longest = packed;
  }
  printf("%llu %llu %llu %llu %.9f %.9f %.9f %s\n", (unsigned long long)operations, (unsigned long long)bytes,
         (unsigned long long)failures, (unsigned long long)wrong, quantile(buckets, 0.5), quantile(buckets, 0.999),
         longest / 8 / 1e9, call_names[longest % 8]);
  fflush(stdout);
}

int main(int count_of_arguments, char **arguments) {
  if (count_of_arguments != 4 && count_of_arguments != 5) fail("usage", "readers THREADS ORIGINALS MOUNTED [FOLDERS]");
  int count = atoi(arguments[1]);
  if (count < 1 || count > MAX_THREADS) fail(arguments[1], "is no number of threads");
  originals = arguments[2];
  mounted = arguments[3];
  if (nftw(originals, load, 64, FTW_PHYS) != 0) fail(originals, strerror(errno));
  if (files.count == 0) fail(originals, "has no files");
  if (count_of_arguments == 5) load_lookups(arguments[4]);
  pthread_t handle;
  for (int i = 0; i < count; i++) {
    threads[i].random = 0x9e3779b97f4a7c15ull * (i + 1);
    if (pthread_create(&handle, NULL, read_for_ever, &threads[i]) != 0) fail("threads", "cannot be made");
  }
  if (pthread_create(&handle, NULL, forget_for_ever, NULL) != 0) fail("threads", "cannot be made");
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) report(count);
  return 0;
}
