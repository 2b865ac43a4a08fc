// The init of a Linux guest that measures TCP with its host, for networks.mjs. The kernel has set up
// eth0 by its parameter `ip=`. It passes `host=ADDRESS,SENDS,TAKES` to init: the host's address as a
// number, the port that sends, and the port that receives.

#include "guest.h"

enum { SOCKET = 41, CONNECT = 42, SHUTDOWN = 48, AF_INET = 2, SOCK_STREAM = 1, SHUT_WR = 1, LARGE = 1 << 18, TAKEN = 1 << 20 };

static char buffer[LARGE];

// Reads the next number of the list.
static long take(const char **list) {
  long value = 0;
  while (**list >= '0' && **list <= '9') value = value * 10 + *(*list)++ - '0';
  ++*list;
  return value;
}

static int dial(long address, long port) {
  struct { unsigned short family, port; unsigned int address; char zero[8]; } host = {
    AF_INET, __builtin_bswap16(port), __builtin_bswap32(address), { 0 }
  };
  int stream = call(SOCKET, AF_INET, SOCK_STREAM, 0, 0);
  long result = call(CONNECT, stream, (long)&host, sizeof host, 0);
  if (result < 0) text("connect: error "), number(-result), text("\n"), end();
  return stream;
}

// Reads to the end of the stream. Returns the number of bytes.
static long drain(int stream) {
  long total = 0;
  for (;;) {
    long got = call(READ, stream, (long)buffer, LARGE, 0);
    if (got <= 0) return total;
    total += got;
  }
}

void run(long *stack) {
  const char **environment = (const char **)(stack + stack[0] + 2), *host = 0;
  for (; *environment; environment++)
    if ((*environment)[0] == 'h' && (*environment)[4] == '=') host = *environment + 5;
  begin();
  long address = take(&host);
  int stream = dial(address, take(&host));
  long start = now(), taken = drain(stream);
  report("host-to-guest", now() - start, taken);
  stream = dial(address, take(&host));
  start = now();
  for (long sent = 0; sent < TAKEN; sent += LARGE) {
    // write() may accept fewer bytes than it is given.
    for (long part = 0; part < LARGE;) {
      long wrote = call(WRITE, stream, (long)buffer + part, LARGE - part, 0);
      if (wrote <= 0) text("write: error "), number(-wrote), text("\n"), end();
      part += wrote;
    }
  }
  call(SHUTDOWN, stream, SHUT_WR, 0, 0);
  drain(stream);
  report("guest-to-host", now() - start, TAKEN);
  end();
}
