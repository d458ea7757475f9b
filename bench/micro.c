/*
 * The measuring client: small, so that its own cost is nearly nothing, and the same program for all that is measured.
 *
 *     micro stat PASSES FOLDER COUNT BYTES       stat of FOLDER/f0 to FOLDER/f<COUNT-1>
 *     micro open-read PASSES FOLDER COUNT BYTES  open, read of the whole file at once, and close of each
 *     micro sequential PASSES FILE BYTES         read of one file from start to end, 1 MiB at a time
 *     micro folders PASSES LIST COUNT            stat of the COUNT folders that LIST names, one a line
 *         These print the seconds of each pass. Whatever has not the size it should have, or is no folder, is a
 *         failure.
 *     micro run COMMAND ARGUMENT...       runs a command; its output and status are passed on
 *         Seconds of wall clock from fork to exit, of processor in user mode, and in kernel mode.
 *     micro memory COMMAND ARGUMENT...    the same, and looks at its memory every 2 ms
 *         The most anonymous resident memory (RssAnon of /proc/PID/status) that was seen, in bytes.
 *
 * The result is one line on descriptor 3.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RESULT_FD = 3, READ_BYTES = 1 << 20, SAMPLE_NS = 2000000 };

static char buffer[READ_BYTES];

static void fail(const char *what, const char *why) {
  fprintf(stderr, "micro: %s: %s\n", what, why);
  exit(125);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static double seconds(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

static void result(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (vdprintf(RESULT_FD, format, arguments) < 0) fail("descriptor 3", strerror(errno));
  va_end(arguments);
}

static long number(const char *text) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0) fail(text, "is no number");
  return value;
}

/* Paths are made before the clock runs. */
static char **file_names(const char *folder, long count) {
  char **names = calloc(count, sizeof *names);
  for (long i = 0; i < count; i++)
    if (asprintf(&names[i], "%s/f%ld", folder, i) < 0) fail(folder, "no memory");
  return names;
}

/* The lines of a file. */
static char **listed_names(const char *list, long count) {
  char **names = calloc(count, sizeof *names);
  FILE *lines = fopen(list, "r");
  if (lines == NULL) fail(list, strerror(errno));
  for (long i = 0; i < count; i++) {
    size_t room = 0;
    ssize_t length = getline(&names[i], &room, lines);
    if (length < 2) fail(list, "has fewer lines");
    names[i][length - 1] = '\0';
  }
  fclose(lines);
  return names;
}

static double folders_pass(char **names, long count) {
  struct stat found;
  double start = now();
  for (long i = 0; i < count; i++) {
    if (stat(names[i], &found) != 0) fail(names[i], strerror(errno));
    if (!S_ISDIR(found.st_mode)) fail(names[i], "is no folder");
  }
  return now() - start;
}

static double stat_pass(char **names, long count, long bytes) {
  struct stat found;
  double start = now();
  for (long i = 0; i < count; i++) {
    if (stat(names[i], &found) != 0) fail(names[i], strerror(errno));
    if (found.st_size != bytes) fail(names[i], "has another size");
  }
  return now() - start;
}

static double open_read_pass(char **names, long count, long bytes) {
  double start = now();
  for (long i = 0; i < count; i++) {
    int file = open(names[i], O_RDONLY);
    if (file < 0) fail(names[i], strerror(errno));
    if (read(file, buffer, sizeof buffer) != bytes) fail(names[i], "was not read as a whole");
    close(file);
  }
  return now() - start;
}

static double sequential_pass(const char *name, long bytes) {
  double start = now();
  int file = open(name, O_RDONLY);
  if (file < 0) fail(name, strerror(errno));
  long left = bytes;
  for (ssize_t got; (got = read(file, buffer, sizeof buffer)) != 0; left -= got)
    if (got < 0) fail(name, strerror(errno));
  close(file);
  if (left != 0) fail(name, "has another size");
  return now() - start;
}

static long anonymous_bytes(pid_t child) {
  char path[64], line[256];
  long kilobytes = 0;
  snprintf(path, sizeof path, "/proc/%d/status", (int)child);
  FILE *status = fopen(path, "r");
  if (status == NULL) return 0;
  while (fgets(line, sizeof line, status) != NULL)
    if (sscanf(line, "RssAnon: %ld", &kilobytes) == 1) break;
  fclose(status);
  return kilobytes * 1024;
}

static int run(char **command, int memory) {
  struct rusage used;
  struct timespec pause = {0, SAMPLE_NS};
  long most = 0;
  int status;
  double start = now();
  pid_t child = fork();
  if (child < 0) fail("fork", strerror(errno));
  if (child == 0) {
    close(RESULT_FD);
    execvp(command[0], command);
    fprintf(stderr, "micro: %s: %s\n", command[0], strerror(errno));
    _exit(126);
  }
  while (memory) {
    siginfo_t state = {0};
    waitid(P_PID, child, &state, WEXITED | WNOHANG | WNOWAIT);
    if (state.si_pid == child) break;
    long bytes = anonymous_bytes(child);
    if (bytes > most) most = bytes;
    nanosleep(&pause, NULL);
  }
  if (wait4(child, &status, 0, &used) != child) fail(command[0], strerror(errno));
  double wall = now() - start;
  if (WIFSIGNALED(status)) fail(command[0], strsignal(WTERMSIG(status)));
  if (memory) result("%ld\n", most);
  else result("%.9f %.6f %.6f\n", wall, seconds(used.ru_utime), seconds(used.ru_stime));
  return WEXITSTATUS(status);
}

int main(int count, char **arguments) {
  const char *what = count > 1 ? arguments[1] : "";
  if (count > 2 && strcmp(what, "run") == 0) return run(arguments + 2, 0);
  if (count > 2 && strcmp(what, "memory") == 0) return run(arguments + 2, 1);
  /* The first pass must not pay for our own memory. */
  memset(buffer, 1, sizeof buffer);
  long passes = count > 2 ? number(arguments[2]) : 0;
  char **names = NULL;
  long files = 0, bytes = 0;
  if (count == 6 && (strcmp(what, "stat") == 0 || strcmp(what, "open-read") == 0)) {
    files = number(arguments[4]);
    bytes = number(arguments[5]);
    names = file_names(arguments[3], files);
  } else if (count == 5 && strcmp(what, "folders") == 0) {
    files = number(arguments[4]);
    names = listed_names(arguments[3], files);
  } else if (count == 5 && strcmp(what, "sequential") == 0) {
    bytes = number(arguments[4]);
  } else {
    fail(what, "unknown, or a wrong number of arguments");
  }
  for (long pass = 0; pass < passes; pass++) {
    double seconds = strcmp(what, "stat") == 0        ? stat_pass(names, files, bytes)
                     : strcmp(what, "open-read") == 0 ? open_read_pass(names, files, bytes)
                     : strcmp(what, "folders") == 0   ? folders_pass(names, files)
                                                      : sequential_pass(arguments[3], bytes);
    result(pass + 1 < passes ? "%.9f " : "%.9f\n", seconds);
  }
  return 0;
}
