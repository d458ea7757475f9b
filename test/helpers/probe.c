/*
 * What the mount tests ask of the kernel and no ordinary program asks so directly. Linked statically: it also lies in
 * the tree that is mounted, and runs from there.
 *
 *   probe echo <argument>...      prints the arguments on one line, exit status 42
 *   probe stat|open|readlink|listdir|read <path>...
 *                                 for each path one line: the errno's name, or what was found
 *   probe entries <folder>        getdents64 to its end: <inode> <type> <name in hex> a line
 *   probe seek <folder>           0 if every d_off brings a listing back to where it was
 *   probe seekdir <folder> <seed> 0 if seekdir finds every place that telldir gave, from the end to the start and in no
 *                                 order, and readdir and telldir go on from there
 *   probe relist <folder>         lists it, in small pieces, until its input ends; 1 if a name came twice in a listing,
 *                                 else a line with their number, then the names that were in all of them in hex
 *   probe pread cached|direct <file>
 *                                 reads "<offset> <length>" lines; writes the bytes of each, or nothing at an error,
 *                                 after a line with the count or the errno's name. `cached` drops the page cache of
 *                                 the file before each read, `direct` goes past it (O_DIRECT)
 *   probe mmap <file>             writes the file as a mapping shows it
 *   probe map <file>              reads the first bytes, maps the file, prints `mapped`, or the errno's name; at a line on
 *                                 its input reads all of the mapping and prints the sum of its bytes
 *   probe compare <file> <copy> <seed> <count>
 *                                 so many reads at random places, by every call that reads; 0 if all are as in the copy
 *   probe cwd <folder>...         is in each of them at the same time, and looks where it is: a line for each that
 *                                 getcwd calls by another name
 *   probe xattr <path>...         for each path one line: value of ipfs.cid, list of all, length of the value, and what
 *                                 a buffer that is too small gives; or errno's names
 *   probe hold <file> <folder>    opens the file, changes into the folder, prints `held`; for each line on its input
 *                                 reads the whole file with pread and prints the count or the errno's name
 *   probe write <folder> <file> <subfolder> <link>
 *                                 every system call that writes, on what exists and on new names of the folder:
 *                                 <call> <errno's name> a line
 */
#include "probe.h"
#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

/* The outcome of a call: its errno's name, or OK. */
static void outcome(const char *call, long result) {
  printf("%s %s\n", call, result < 0 ? errno_name(errno) : "OK");
  fflush(stdout);
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

static int whereabouts(int count, char **folders) {
  int *fds = allocate(count * sizeof *fds);
  char found[PATH_MAX];
  for (int i = 0; i < count; i++) fds[i] = open_folder(folders[i]);
  for (int round = 0; round < 4; round++) {
    for (int step = 0; step < count; step++) {
      int at = round % 2 ? count - 1 - step : step;
      /* By its name, too, so that the kernel looks it up where it is. */
      if (round < 2 ? fchdir(fds[at]) < 0 : chdir(folders[at]) < 0) die(folders[at]);
      if (!getcwd(found, sizeof found)) die("getcwd");
      if (strcmp(found, folders[at]) != 0) printf("%s is called %s\n", folders[at], found);
    }
  }
  return 0;
}

static void show_xattr(const char *path) {
  char value[256], list[256];
  ssize_t length = lgetxattr(path, "ipfs.cid", value, sizeof value);
  if (length < 0) printf("%s", errno_name(errno));
  else printf("%.*s", (int)length, value);
  ssize_t listed = llistxattr(path, list, sizeof list);
  if (listed < 0) printf(" %s", errno_name(errno));
  else printf(" %zd:%s", listed, listed ? list : "");
  ssize_t asked = lgetxattr(path, "ipfs.cid", NULL, 0);
  if (asked < 0) printf(" %s", errno_name(errno));
  else printf(" %zd", asked);
  printf(" %s\n", lgetxattr(path, "ipfs.cid", value, 3) < 0 ? errno_name(errno) : "fits");
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
  if (strcmp(command, "seekdir") == 0 && argc == 4) return seek_places(argv[2], strtoull(argv[3], NULL, 10));
  if (strcmp(command, "relist") == 0 && argc == 3) return relist(argv[2]);
  if (strcmp(command, "map") == 0 && argc == 3) return map_first(argv[2]);
  if (strcmp(command, "compare") == 0 && argc == 6)
    return compare(argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
  if (strcmp(command, "cwd") == 0 && argc > 2) return whereabouts(argc - 2, argv + 2);
  if (strcmp(command, "xattr") == 0) {
    for (int i = 2; i < argc; i++) show_xattr(argv[i]);
    return 0;
  }
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
