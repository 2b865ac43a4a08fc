/* The init of a Linux guest that speaks AF_VSOCK, without libc and without SSE:
 *
 *   port 7   echoes, and ends its side after the host has ended its own
 *   port 9   counts and hashes the bytes that it reads, and then writes both: "COUNT HASH\n"
 *   port 19  reads a number of 8 bytes and writes as many bytes: 0, 1, ... 255, 0, ...
 *   port 1   commands, one in each connection, each answered by a line:
 *            "cPORT"   connects to that port of the host, writes "hello\n", ends its side, and
 *                      reads to the end: "ok COUNT" or "errno N"
 *            "a"       the guest's own address (CID)
 *            "q"       reboots
 */
typedef unsigned long u64;
typedef unsigned int u32;
typedef long s64;

static inline s64 call(s64 number, s64 a, s64 b, s64 c, s64 d) {
  s64 result;
  register s64 r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}
#define CALL(number, a, b, c, d) call(number, (s64)(a), (s64)(b), (s64)(c), (s64)(d))
enum { READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, IOCTL = 16, SIGACTION = 13, DUP2 = 33, PAUSE = 34, SOCKET = 41, CONNECT = 42,
       ACCEPT = 43, SHUTDOWN = 48, BIND = 49, LISTEN = 50, FORK = 57, EXIT = 60, MOUNT = 165, REBOOT = 169 };
enum { AF_VSOCK = 40, STREAM = 1, END_WRITES = 1, HOST = 2, ANY = -1 };

struct address { unsigned short family, reserved; u32 port, cid, zero; };

static char buffer[1 << 16] __attribute__((aligned(4096)));

static u64 length(const char *text) { u64 n = 0; while (text[n]) n++; return n; }
static void print(const char *text) { CALL(WRITE, 1, text, length(text), 0); }

static char *number(char *end, u64 value) { do *--end = '0' + value % 10; while (value /= 10); return end; }
static void say(int to, const char *word, u64 value) {
  char text[64], *end = text + sizeof text;
  *--end = '\n';
  char *start = number(end, value);
  CALL(WRITE, to, word, length(word), 0);
  CALL(WRITE, to, start, text + sizeof text - start, 0);
}

static int write_all(int to, const char *bytes, u64 count) {
  while (count) {
    s64 written = CALL(WRITE, to, bytes, count, 0);
    if (written <= 0) return -1;
    bytes += written, count -= written;
  }
  return 0;
}

static int open_socket(void) { return CALL(SOCKET, AF_VSOCK, STREAM, 0, 0); }

static void echo(int stream) {
  s64 count;
  while ((count = CALL(READ, stream, buffer, sizeof buffer, 0)) > 0)
    if (write_all(stream, buffer, count)) return;
  CALL(SHUTDOWN, stream, END_WRITES, 0, 0);
}

static void sink(int stream) {
  u64 total = 0;
  u32 hash = 0;
  s64 count;
  while ((count = CALL(READ, stream, buffer, sizeof buffer, 0)) > 0) {
    for (s64 i = 0; i < count; i++) hash = hash * 31 + (unsigned char)buffer[i];
    total += count;
  }
  char text[64], *end = text + sizeof text;
  *--end = '\n';
  end = number(end, hash);
  *--end = ' ';
  end = number(end, total);
  write_all(stream, end, text + sizeof text - end);
}

static void source(int stream) {
  u64 count;
  if (CALL(READ, stream, &count, 8, 0) != 8) return;
  for (u64 i = 0; i < sizeof buffer; i++) buffer[i] = i;
  while (count) {
    u64 part = count < sizeof buffer ? count : sizeof buffer;
    if (write_all(stream, buffer, part)) return;
    count -= part;
  }
}

static void connect_to(int control, u32 port) {
  struct address host = { AF_VSOCK, 0, port, HOST, 0 };
  int stream = open_socket();
  s64 error = CALL(CONNECT, stream, &host, sizeof host, 0);
  if (error) { say(control, "errno ", -error); return; }
  write_all(stream, "hello\n", 6);
  CALL(SHUTDOWN, stream, END_WRITES, 0, 0);
  u64 total = 0;
  s64 count;
  while ((count = CALL(READ, stream, buffer, sizeof buffer, 0)) > 0) total += count;
  CALL(CLOSE, stream, 0, 0, 0);
  say(control, "ok ", total);
}

static void control(int stream) {
  char line[32] = { 0 };
  if (CALL(READ, stream, line, sizeof line - 1, 0) <= 0) return;
  if (line[0] == 'c') {
    u32 port = 0;
    for (char *digit = line + 1; *digit >= '0' && *digit <= '9'; digit++) port = port * 10 + *digit - '0';
    connect_to(stream, port);
  } else if (line[0] == 'a') {
    u32 cid = 0;
    int device = CALL(OPEN, "/dev/vsock", 0, 0, 0);
    CALL(IOCTL, device, 0x7b9 /* IOCTL_VM_SOCKETS_GET_LOCAL_CID */, &cid, 0);
    say(stream, "cid ", cid);
  } else if (line[0] == 'q') {
    CALL(REBOOT, 0xfee1dead, 672274793, 0x1234567, 0);
  }
}

static void serve(u32 port, void (*handle)(int)) {
  struct address here = { AF_VSOCK, 0, port, (u32)ANY, 0 };
  int listener = open_socket();
  if (CALL(BIND, listener, &here, sizeof here, 0) || CALL(LISTEN, listener, 128, 0, 0)) print("INIT: no vsock\n");
  if (CALL(FORK, 0, 0, 0, 0)) { CALL(CLOSE, listener, 0, 0, 0); return; }
  for (;;) {
    s64 stream = CALL(ACCEPT, listener, 0, 0, 0);
    if (stream < 0) continue;
    if (!CALL(FORK, 0, 0, 0, 0)) {
      CALL(CLOSE, listener, 0, 0, 0);
      handle(stream);
      CALL(EXIT, 0, 0, 0, 0);
    }
    CALL(CLOSE, stream, 0, 0, 0);
  }
}

void start(void) {
  CALL(MOUNT, "devtmpfs", "/dev", "devtmpfs", 0);
  s64 console = CALL(OPEN, "/dev/console", 2, 0, 0);
  for (int fd = 0; fd < 3; fd++) CALL(DUP2, console, fd, 0, 0);
  u64 ignore[4] = { 1 /* SIG_IGN */, 0, 0, 0 };
  CALL(SIGACTION, 17 /* SIGCHLD */, ignore, 0, 8);
  serve(7, echo);
  serve(9, sink);
  serve(19, source);
  serve(1, control);
  print("INIT: ready\n");
  for (;;) CALL(PAUSE, 0, 0, 0, 0);
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call start\n");
