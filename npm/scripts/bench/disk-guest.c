// The init of a Linux guest that measures its disk /dev/vda, for disks.mjs.

#include "guest.h"

enum { PREAD = 17, PWRITE = 18, FSYNC = 74, O_DIRECT = 040000, SMALL = 4096, LARGE = 1 << 20, SPAN = 32 << 20 };

static char buffer[LARGE] __attribute__((aligned(4096)));

static void measure(const char *what, int disk, long kind, long size, int count, int random) {
  unsigned long seed = 1;
  long offset = 0, start = now();
  for (int i = 0; i < count; i++) {
    if (random) {
      seed = seed * 6364136223846793005 + 1442695040888963407;
      offset = (seed >> 33) % (SPAN / size) * size;
    }
    if (call(kind, disk, (long)buffer, size, offset) != size) text("BENCH failed\n");
    if (!random) offset += size;
  }
  if (kind == PWRITE) call(FSYNC, disk, 0, 0, 0);
  report(what, now() - start, size * count);
}

void run(void) {
  begin();
  int disk = call(OPEN, (long)"/dev/vda", O_RDWR | O_DIRECT, 0, 0);
  for (int i = 0; i < LARGE; i += 4096) buffer[i] = i >> 12;
  measure("warm", disk, PREAD, SMALL, 20, 1);
  measure("random-read", disk, PREAD, SMALL, 400, 1);
  measure("random-write", disk, PWRITE, SMALL, 400, 1);
  measure("sequential-read", disk, PREAD, LARGE, 32, 0);
  measure("sequential-write", disk, PWRITE, LARGE, 32, 0);
  end();
}
