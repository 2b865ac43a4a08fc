// The init of a Linux guest that measures its disk /dev/vda, for disks.mjs. No libc and no SSE:
// cc -nostdlib -static -mgeneral-regs-only -O1. Prints `BENCH <what> <nanoseconds> <bytes>` and reboots.

enum { READ = 0, WRITE = 1, OPEN = 2, LSEEK = 8, PREAD = 17, PWRITE = 18, DUP2 = 33, FSYNC = 74, MOUNT = 165, REBOOT = 169, CLOCK = 228 };
enum { O_RDWR = 2, O_DIRECT = 040000, SMALL = 4096, LARGE = 1 << 20, SPAN = 32 << 20 };

static long call(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return result;
}

static void text(const char *string) {
  long length = 0;
  while (string[length]) length++;
  call(WRITE, 1, (long)string, length, 0);
}

static void number(long value) {
  char digits[24];
  int at = 23;
  digits[at] = 0;
  do digits[--at] = '0' + value % 10; while (value /= 10);
  text(digits + at);
}

static long now(void) {
  struct { long seconds, nanoseconds; } time;
  call(CLOCK, 1, (long)&time, 0, 0);
  return time.seconds * 1000000000 + time.nanoseconds;
}

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
  long time = now() - start;
  text("BENCH "), text(what), text(" "), number(time), text(" "), number(size * count), text("\n");
}

void run(void) {
  call(MOUNT, (long)"dev", (long)"/dev", (long)"devtmpfs", 0);
  long console = call(OPEN, (long)"/dev/console", O_RDWR, 0, 0);
  call(DUP2, console, 1, 0, 0);
  int disk = call(OPEN, (long)"/dev/vda", O_RDWR | O_DIRECT, 0, 0);
  for (int i = 0; i < LARGE; i += 4096) buffer[i] = i >> 12;
  measure("warm", disk, PREAD, SMALL, 20, 1);
  measure("random-read", disk, PREAD, SMALL, 400, 1);
  measure("random-write", disk, PWRITE, SMALL, 400, 1);
  measure("sequential-read", disk, PREAD, LARGE, 32, 0);
  measure("sequential-write", disk, PWRITE, LARGE, 32, 0);
  call(REBOOT, 0xfee1dead, 672274793, 0x1234567, 0);
}

__asm__(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call run\n");
