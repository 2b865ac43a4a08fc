/* Tests the CMOS clock. Polls the slave PIC's interrupt requests and takes no interrupt. */
#include "runtime/guest.h"

enum { INDEX = 0x70, DATA = 0x71, B = 11, C = 12, D = 13, SLAVE = 0xa0 };
enum { PERIODIC = 0x40, ALARM = 0x20, UPDATE = 0x10, H24 = 2 };

static u8 get(u8 index) {
    out8(INDEX, index);
    return in8(DATA);
}

static void set(u8 index, u8 value) {
    out8(INDEX, index);
    out8(DATA, value);
}

static void byte(u8 value) {
    putch("0123456789abcdef"[value >> 4]);
    putch("0123456789abcdef"[value & 15]);
}

/* Returns whether the line has risen since the last call. */
static u32 rose(void) {
    u32 requested = in8(SLAVE) & 1;
    /* Initialising the chip again clears its requests. */
    out8(SLAVE, 0x11), out8(SLAVE + 1, 0x70), out8(SLAVE + 1, 2), out8(SLAVE + 1, 1), out8(SLAVE + 1, 0xff), out8(SLAVE, 0x0a);
    return requested;
}

static void interrupt(const char *name, u8 bit) {
    get(C);
    rose();
    set(B, H24 | bit);
    while (!(in8(SLAVE) & 1))
        ;
    u8 flags = get(C);
    set(B, H24);
    get(C);
    puts(name);
    puts(flags & 0x80 && flags & bit ? " came\n" : " did not say so\n");
    rose();
}

void main(void) {
    puts("date ");
    const u8 fields[] = {0x32, 9, 8, 7, 4, 2, 0};
    for (u32 i = 0; i < sizeof fields; i++)
        byte(get(fields[i]));
    puts("\nstatus ");
    byte(get(B)), byte(get(D));
    puts("\nmemory ");
    const u8 memory[] = {0x16, 0x15, 0x18, 0x17, 0x35, 0x34, 0x5d, 0x5c, 0x5b, 0x5f};
    for (u32 i = 0; i < sizeof memory; i++)
        byte(get(memory[i]));
    puts("\n");
    interrupt("periodic", PERIODIC);
    interrupt("update", UPDATE);
    set(1, 0xff), set(3, 0xff), set(5, 0xff);
    interrupt("alarm", ALARM);
    /* Set a date, and read it one second later. */
    set(B, H24 | 0x80);
    const u8 then[][2] = {{0x32, 0x19}, {9, 0x99}, {8, 0x12}, {7, 0x31}, {4, 0x23}, {2, 0x59}, {0, 0x59}};
    for (u32 i = 0; i < sizeof then / sizeof *then; i++)
        set(then[i][0], then[i][1]);
    set(B, H24);
    while (get(0) == 0x59)
        ;
    puts("set ");
    for (u32 i = 0; i < sizeof fields; i++)
        byte(get(fields[i]));
    puts("\n");
}
