/*
 * A device in the place of /dev/fuse, for a server without a mount: a socket on which, as there, one read is one
 * request and one write is one reply.
 *
 *   fake-device <program> <argument>...
 *
 * runs the program with that socket as descriptor 3; descriptor 4, Node's channel to whoever started us, is the
 * program's as well. Requests come on standard input and replies go to standard output, each as its length (32 bits,
 * little-endian) and its bytes. At the end of the input the program is killed. Ends when the program has.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE_FD 3
#define CHANNEL_FD 4

static char buffer[2 * 1024 * 1024];

static void die(const char *what) {
  fprintf(stderr, "fake-device: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* False at the end of the input. */
static int read_all(char *bytes, size_t length) {
  while (length > 0) {
    ssize_t got = read(STDIN_FILENO, bytes, length);
    if (got < 0) die("read");
    if (got == 0) return 0;
    bytes += got;
    length -= got;
  }
  return 1;
}

static void write_all(const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t done = write(STDOUT_FILENO, bytes, length);
    if (done < 0) die("write");
    bytes += done;
    length -= done;
  }
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "fake-device: see fake-device.c\n");
    return 2;
  }
  int ends[2];
  /* A reply of 1 MiB is more than a socket takes by itself, and more than others than root may make it take. */
  int size = sizeof buffer;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) die("socketpair");
  for (int i = 0; i < 2; i++) {
    if (setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) die("SO_SNDBUFFORCE");
  }
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0) die("/dev/null");
    if (dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0) die("dup2");
    if (dup2(ends[1], DEVICE_FD) < 0) die("dup2");
    execvp(argv[1], argv + 1);
    die(argv[1]);
  }
  close(ends[1]);
  close(CHANNEL_FD);

  struct pollfd polled[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
  for (;;) {
    if (poll(polled, 2, -1) < 0) die("poll");
    if (polled[1].revents) {
      ssize_t got = recv(ends[0], buffer, sizeof buffer, 0);
      /* The program has ended, and all that had its end of the socket. */
      if (got <= 0) break;
      uint32_t length = got;
      write_all((char *)&length, sizeof length);
      write_all(buffer, length);
    } else if (polled[0].revents) {
      uint32_t length;
      if (!read_all((char *)&length, sizeof length)) break;
      if (length > sizeof buffer || !read_all(buffer, length)) break;
      if (send(ends[0], buffer, length, MSG_NOSIGNAL) < 0) break;
    }
  }
  kill(child, SIGKILL);
  if (waitpid(child, NULL, 0) < 0) die("waitpid");
  return 0;
}
