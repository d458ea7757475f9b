/*
 * What the mount tests ask of the kernel and no ordinary program asks so directly. Linked statically: it also lies in
 * the tree that is mounted, and runs from there.
 *
 *   probe echo <argument>...      prints the arguments on one line, exit status 42
 *   probe stat|open|readlink|listdir|read <path>...
 *                                 for each path one line: the errno's name, or what was found
 *   probe entries <folder>        getdents64 to its end: <inode> <type> <name in hex> a line
 *   probe seek <folder>           0 if every d_off brings a listing back to where it was
 *   probe pread cached|direct <file>
 *                                 reads "<offset> <length>" lines; writes the bytes of each, or nothing at an error,
 *                                 after a line with the count or the errno's name. `cached` drops the page cache of
 *                                 the file before each read, `direct` goes past it (O_DIRECT)
 *   probe mmap <file>             writes the file as a mapping shows it
 *   probe hold <file> <folder>    opens the file, changes into the folder, prints `held`; for each line on its input
 *                                 reads the whole file with pread and prints the count or the errno's name
 *   probe write <folder> <file> <subfolder> <link>
 *                                 every system call that writes, on what exists and on new names of the folder:
 *                                 <call> <errno's name> a line
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *errno_name(int number) {
  const char *name = strerrorname_np(number);
  return name ? name : "unknown";
}

static void die(const char *what) {
  fprintf(stderr, "probe: %s: %s\n", what, errno_name(errno));
  exit(1);
}

static void *allocate(size_t size) {
  void *memory = malloc(size);
  if (!memory) die("malloc");
  return memory;
}

/* The outcome of a call: its errno's name, or OK. */
static void outcome(const char *call, long result) {
  printf("%s %s\n", call, result < 0 ? errno_name(errno) : "OK");
  fflush(stdout);
}

static void write_all(const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t done = write(STDOUT_FILENO, bytes, length);
    if (done < 0) die("write");
    bytes += done;
    length -= done;
  }
}

/* One open, stat, ... of a path, as a line. */
static void inspect(const char *how, const char *path) {
  struct stat st;
  char buffer[65536];
  if (strcmp(how, "stat") == 0) {
    if (lstat(path, &st) < 0) printf("%s\n", errno_name(errno));
    else printf("%o %lld %llu\n", st.st_mode, (long long)st.st_size, (unsigned long long)st.st_ino);
    return;
  }
  if (strcmp(how, "readlink") == 0) {
    ssize_t length = readlink(path, buffer, sizeof buffer);
    if (length < 0) printf("%s\n", errno_name(errno));
    else printf("%zd\n", length);
    return;
  }
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | (strcmp(how, "listdir") == 0 ? O_DIRECTORY : 0));
  if (fd < 0) {
    printf("%s\n", errno_name(errno));
    return;
  }
  ssize_t got = 0;
  long long total = 0;
  if (strcmp(how, "read") == 0) {
    while ((got = read(fd, buffer, sizeof buffer)) > 0) total += got;
  } else if (strcmp(how, "listdir") == 0) {
    while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
      for (ssize_t at = 0; at < got; at += ((struct dirent64 *)(buffer + at))->d_reclen) total++;
    }
  }
  if (got < 0) printf("%s\n", errno_name(errno));
  else printf("%lld\n", total);
  close(fd);
}

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

static int open_folder(const char *folder) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) die(folder);
  return fd;
}

static char type_letter(unsigned char type) {
  switch (type) {
    case DT_DIR: return 'd';
    case DT_REG: return 'f';
    case DT_LNK: return 'l';
    default: return '?';
  }
}

static int list(const char *folder) {
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
static int seek(const char *folder) {
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

static int read_ranges(const char *how, const char *path) {
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

static int map(const char *path) {
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

static int hold(const char *file, const char *folder) {
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die(file);
  if (chdir(folder) < 0) die(folder);
  puts("held");
  fflush(stdout);
  int letter;
  while ((letter = getchar()) != EOF) {
    if (letter != '\n') continue;
    /* What the page cache has would not ask the server. */
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    char buffer[65536];
    ssize_t got;
    long long total = 0;
    while ((got = pread(fd, buffer, sizeof buffer, total)) > 0) total += got;
    if (got < 0) puts(errno_name(errno));
    else printf("%lld\n", total);
    fflush(stdout);
  }
  return 0;
}

static int try_writes(const char *folder, const char *file, const char *subfolder, const char *link_path) {
  char new_name[PATH_MAX];
  snprintf(new_name, sizeof new_name, "%s/new-name", folder);
  struct timespec times[2] = {{1, 0}, {2, 0}};

  outcome("open(O_WRONLY)", open(file, O_WRONLY));
  outcome("open(O_RDWR)", open(file, O_RDWR));
  outcome("open(O_WRONLY|O_APPEND)", open(file, O_WRONLY | O_APPEND));
  outcome("open(O_RDONLY|O_TRUNC)", open(file, O_RDONLY | O_TRUNC));
  outcome("open(O_WRONLY|O_TRUNC)", open(file, O_WRONLY | O_TRUNC));
  outcome("open(O_CREAT|O_WRONLY)", open(file, O_CREAT | O_WRONLY, 0644));
  outcome("open(O_CREAT|O_RDONLY), new", open(new_name, O_CREAT | O_RDONLY, 0644));
  outcome("open(O_CREAT|O_WRONLY), new", open(new_name, O_CREAT | O_WRONLY, 0644));
  outcome("open(O_CREAT|O_EXCL|O_RDWR), new", open(new_name, O_CREAT | O_EXCL | O_RDWR, 0644));
  outcome("open(O_TMPFILE|O_RDWR)", open(folder, O_TMPFILE | O_RDWR, 0644));
  outcome("creat", creat(file, 0644));
  outcome("creat, new", creat(new_name, 0644));

  outcome("mkdir", mkdir(subfolder, 0755));
  outcome("mkdir, new", mkdir(new_name, 0755));
  outcome("mknod(S_IFREG)", mknod(file, S_IFREG | 0644, 0));
  outcome("mknod(S_IFREG), new", mknod(new_name, S_IFREG | 0644, 0));
  outcome("mknod(S_IFIFO), new", mknod(new_name, S_IFIFO | 0644, 0));
  outcome("mknod(S_IFCHR), new", mknod(new_name, S_IFCHR | 0644, 0x103));
  outcome("symlink", symlink("target", link_path));
  outcome("symlink, new", symlink("target", new_name));
  outcome("link", link(file, link_path));
  outcome("link, new", link(file, new_name));

  outcome("unlink", unlink(file));
  outcome("unlink of a link", unlink(link_path));
  outcome("unlink, new", unlink(new_name));
  outcome("rmdir", rmdir(subfolder));
  outcome("rmdir, new", rmdir(new_name));
  outcome("rename", rename(file, new_name));
  outcome("rename of a folder", rename(subfolder, new_name));
  outcome("rename onto another", rename(file, link_path));
  outcome("renameat2(RENAME_EXCHANGE)", renameat2(AT_FDCWD, file, AT_FDCWD, link_path, RENAME_EXCHANGE));
  outcome("renameat2(RENAME_NOREPLACE)", renameat2(AT_FDCWD, file, AT_FDCWD, new_name, RENAME_NOREPLACE));

  outcome("chmod", chmod(file, 0777));
  outcome("chmod of a folder", chmod(subfolder, 0777));
  outcome("chown", chown(file, 1, 1));
  outcome("chown of a folder", chown(subfolder, 1, 1));
  outcome("lchown of a link", lchown(link_path, 1, 1));
  outcome("utimensat", utimensat(AT_FDCWD, file, times, 0));
  outcome("utimensat of now", utimensat(AT_FDCWD, file, NULL, 0));
  outcome("utimensat of a folder", utimensat(AT_FDCWD, subfolder, times, 0));
  outcome("utimensat of a link", utimensat(AT_FDCWD, link_path, times, AT_SYMLINK_NOFOLLOW));
  outcome("truncate", truncate(file, 0));
  outcome("truncate, longer", truncate(file, 1 << 20));
  outcome("setxattr", setxattr(file, "user.probe", "1", 1, 0));
  outcome("setxattr of a folder", setxattr(subfolder, "user.probe", "1", 1, 0));
  outcome("lsetxattr of a link", lsetxattr(link_path, "trusted.probe", "1", 1, 0));
  outcome("removexattr", removexattr(file, "user.probe"));

  /* By descriptors opened for reading: what can be changed without the right to write. */
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die(file);
  outcome("fchmod", fchmod(fd, 0777));
  outcome("fchown", fchown(fd, 1, 1));
  outcome("futimens", futimens(fd, times));
  outcome("fsetxattr", fsetxattr(fd, "user.probe", "1", 1, 0));
  outcome("fremovexattr", fremovexattr(fd, "user.probe"));
  return 0;
}

static int echo(int count, char **arguments) {
  for (int i = 0; i < count; i++) printf("%s%s", i == 0 ? "" : " ", arguments[i]);
  printf("\n");
  return 42;
}

int main(int argc, char **argv) {
  const char *command = argc > 1 ? argv[1] : "";
  if (strcmp(command, "echo") == 0) return echo(argc - 2, argv + 2);
  if (strcmp(command, "entries") == 0 && argc == 3) return list(argv[2]);
  if (strcmp(command, "seek") == 0 && argc == 3) return seek(argv[2]);
  if (strcmp(command, "pread") == 0 && argc == 4) return read_ranges(argv[2], argv[3]);
  if (strcmp(command, "mmap") == 0 && argc == 3) return map(argv[2]);
  if (strcmp(command, "hold") == 0 && argc == 4) return hold(argv[2], argv[3]);
  if (strcmp(command, "write") == 0 && argc == 6) return try_writes(argv[2], argv[3], argv[4], argv[5]);
  if (argc > 2) {
    for (int i = 2; i < argc; i++) inspect(command, argv[i]);
    return 0;
  }
  fprintf(stderr, "probe: see probe.c\n");
  return 2;
}
