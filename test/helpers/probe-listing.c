/* Listings, as the kernel gives them. */
#include "probe.h"
#include <dirent.h>
#include <poll.h>
#include <sys/syscall.h>

struct entry {
  uint64_t inode;
  int64_t offset;
  unsigned char type;
  char name[1024];
};

/* Reads on from where the descriptor stands. */
static size_t list_entries(int fd, struct entry **entries) {
  size_t count = 0, room = 0;
  /* Small, so that a long listing takes many calls. */
  char buffer[4096];
  ssize_t got;
  while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
    for (ssize_t at = 0; at < got;) {
      struct dirent64 *dirent = (struct dirent64 *)(buffer + at);
      if (count == room) {
        room = room ? room * 2 : 64;
        *entries = realloc(*entries, room * sizeof **entries);
        if (!*entries) die("realloc");
      }
      struct entry *entry = &(*entries)[count++];
      entry->inode = dirent->d_ino;
      entry->offset = dirent->d_off;
      entry->type = dirent->d_type;
      snprintf(entry->name, sizeof entry->name, "%s", dirent->d_name);
      at += dirent->d_reclen;
    }
  }
  if (got < 0) die("getdents64");
  return count;
}

static char type_letter(unsigned char type) {
  switch (type) {
    case DT_DIR: return 'd';
    case DT_REG: return 'f';
    case DT_LNK: return 'l';
    default: return '?';
  }
}

int list(const char *folder) {
  struct entry *entries = NULL;
  size_t count = list_entries(open_folder(folder), &entries);
  for (size_t i = 0; i < count; i++) {
    printf("%llu %c ", (unsigned long long)entries[i].inode, type_letter(entries[i].type));
    for (const unsigned char *byte = (unsigned char *)entries[i].name; *byte; byte++) printf("%02x", *byte);
    printf("\n");
  }
  return 0;
}

/* Goes back to places in a listing that was read to its end, in no order, and expects the same entries from there. */
int seek(const char *folder) {
  int fd = open_folder(folder);
  struct entry *all = NULL;
  size_t count = list_entries(fd, &all);
  for (size_t step = 0, from = count / 2; step < 16; step++, from = (from * 7 + 3) % count) {
    if (lseek(fd, from == 0 ? 0 : all[from - 1].offset, SEEK_SET) < 0) die("lseek");
    struct entry *rest = NULL;
    size_t left = list_entries(fd, &rest);
    if (left != count - from) {
      printf("after entry %zu of %zu there are %zu\n", from, count, left);
      return 1;
    }
    for (size_t i = 0; i < left; i++) {
      if (strcmp(rest[i].name, all[from + i].name) == 0 && rest[i].inode == all[from + i].inode) continue;
      printf("entry %zu is %s, and was %s\n", from + i, rest[i].name, all[from + i].name);
      return 1;
    }
    free(rest);
  }
  return 0;
}

/* One place of a listing: the name after it must come, and then the place after that. */
static int check_place(DIR *folder, long *places, char **names, size_t count, size_t at) {
  seekdir(folder, places[at]);
  struct dirent *entry = readdir(folder);
  const char *expected = at < count ? names[at] : NULL;
  if (!entry != !expected || (entry && strcmp(entry->d_name, expected) != 0)) {
    printf("place %zu of %zu: %s, and was %s\n", at, count, entry ? entry->d_name : "the end", expected);
    return 0;
  }
  if (entry && telldir(folder) != places[at + 1]) {
    printf("place %zu of %zu is followed by another\n", at, count);
    return 0;
  }
  return 1;
}

int seek_places(const char *path, uint64_t seed) {
  DIR *folder = opendir(path);
  if (!folder) die(path);
  size_t count = 0, room = 1 << 16;
  long *places = allocate(room * sizeof *places);
  char **names = allocate(room * sizeof *names);
  places[0] = telldir(folder);
  for (struct dirent *entry; (entry = readdir(folder)) && count + 1 < room;) {
    names[count++] = strdup(entry->d_name);
    places[count] = telldir(folder);
  }
  /* All of some thousand; where there are more, each costs the kernel more, and every n-th has to do. */
  size_t stride = 1 + count / 4000;
  for (size_t at = count + 1; at-- > 0;) {
    if ((count - at) % stride == 0 && !check_place(folder, places, names, count, at)) return 1;
  }
  for (size_t step = 0; step < 1000; step++) {
    if (!check_place(folder, places, names, count, below(&seed, count + 1))) return 1;
  }
  for (size_t step = 0; step < 20; step++) {
    size_t at = below(&seed, count);
    seekdir(folder, places[at]);
    for (struct dirent *entry; (entry = readdir(folder)); at++) {
      if (at < count && strcmp(entry->d_name, names[at]) == 0) continue;
      printf("entry %zu of %zu is %s\n", at, count, entry->d_name);
      return 1;
    }
    if (at != count) {
      printf("the listing ends at %zu of %zu\n", at, count);
      return 1;
    }
  }
  return 0;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static size_t list_slowly(int fd, char **names, size_t room) {
  size_t count = 0;
  /* A few entries a call, so that there is time for changes between them. */
  char buffer[512];
  ssize_t got;
  if (lseek(fd, 0, SEEK_SET) < 0) die("lseek");
  while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
    for (ssize_t at = 0; at < got && count < room; at += ((struct dirent64 *)(buffer + at))->d_reclen) {
      names[count++] = strdup(((struct dirent64 *)(buffer + at))->d_name);
    }
    usleep(2000);
  }
  if (got < 0) die("getdents64");
  qsort(names, count, sizeof *names, compare_names);
  return count;
}

int relist(const char *folder) {
  enum { ROOM = 4096 };
  static char *always[ROOM], *names[ROOM];
  size_t kept = 0, listings = 0;
  int fd = open_folder(folder);
  for (;;) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 0) > 0) break;
    /* Half of the time by a descriptor of its own, which starts anew. */
    int own = listings % 2 ? open_folder(folder) : fd;
    size_t count = list_slowly(own, names, ROOM), left = 0;
    if (own != fd) close(own);
    for (size_t i = 1; i < count; i++) {
      if (strcmp(names[i - 1], names[i]) != 0) continue;
      printf("listing %zu has %s twice\n", listings, names[i]);
      return 1;
    }
    if (listings++ == 0) memcpy(always, names, (kept = count) * sizeof *names);
    for (size_t i = 0; i < kept; i++) {
      if (bsearch(&always[i], names, count, sizeof *names, compare_names)) always[left++] = always[i];
    }
    kept = left;
  }
  printf("%zu\n", listings);
  for (size_t i = 0; i < kept; i++) {
    for (const unsigned char *byte = (unsigned char *)always[i]; *byte; byte++) printf("%02x", *byte);
    printf("\n");
  }
  return 0;
}
