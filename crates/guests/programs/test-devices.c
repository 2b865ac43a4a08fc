/* Uses pc-testdev in the same way as kvm-unit-tests. */
#include "runtime/guest.h"

enum { LATCH = 0xe0, FLUSH = 0xe4, BYTES = 0xe8, LINES = 0x2000, PIC = 0x20 };

static volatile u8 *const memory = (u8 *)0xff000000;

static void show(const char *what, u64 value) {
    puts(what);
    puts(" ");
    puthex(value);
    puts("\n");
}

static void latches(void) {
    out32(LATCH, 0x12345678);
    show("long", in32(LATCH));
    out16(LATCH, 0xabcd);
    show("word", in16(LATCH));
    out8(LATCH, 0xef);
    show("byte", in8(LATCH));
    out16(LATCH + 2, 0x4321);
    show("all", in32(LATCH));
    for (u32 i = 0; i < 4; i++)
        out8(BYTES + i, 0x10 + i);
    show("bytes", in32(BYTES));
    out32(BYTES, 0xfedcba98);
    show("bytes by a long", in8(BYTES) | in8(BYTES + 1) << 8 | in8(BYTES + 2) << 16 | (u32)in8(BYTES + 3) << 24);
    u8 from[4] = {1, 2, 3, 4}, to[4] = {0}, *source = from, *target = to;
    u32 count = 4;
    asm volatile("rep outsb" : "+S"(source), "+c"(count) : "d"(LATCH) : "memory");
    count = 4;
    asm volatile("rep insb" : "+D"(target), "+c"(count) : "d"(LATCH) : "memory");
    show("string", to[0] | to[1] << 8 | to[2] << 16 | to[3] << 24);
}

static void flush(void) {
    static volatile u32 page[1024] __attribute__((aligned(4096)));
    page[7] = 0x5a5a5a5a;
    out32(FLUSH, (u32)page + 28);
    show("flushed", page[7]);
}

/* Edges reach the interrupt request register of the PIC while its lines are masked. */
static void lines(void) {
    /* ICW1 to ICW4: edge-triggered, vectors from 32 on, a slave at line 2, 8086 mode. Then all lines are masked, and reads return the
    * request register. */
    out8(PIC, 0x11), out8(PIC + 1, 32), out8(PIC + 1, 4), out8(PIC + 1, 1), out8(PIC + 1, 0xff), out8(PIC, 0x0a);
    for (u32 line = 3; line < 8; line++) {
        if (line == 4)
            continue; /* The line of COM1. */
        /* A write of any width sets the line of its port, and no other. */
        if (line == 5)
            out16(LINES + line, 1);
        else if (line == 6)
            out32(LINES + line, 1);
        else
            out8(LINES + line, 1);
        show("requests", in8(PIC) & 0xe8);
    }
    /* Hardware and the PIC outside the kernel drop a request whose line falls. The kernel's PIC keeps it. */
    for (u32 line = 3; line < 8; line++)
        out8(LINES + line, 0);
}

static void device_memory(void) {
    *(volatile u64 *)memory = 0;
    memory[3] = 0xaa;
    *(volatile u16 *)(memory + 1) = 0xbbcc;
    show("memory", *(volatile u32 *)memory);
    *(volatile u32 *)(memory + 0xffe) = 0x11223344;
    show("across pages", *(volatile u32 *)(memory + 0xffe));
    show("behind the crossing", *(volatile u16 *)(memory + 0x1000));
    static u32 source[64], target[64];
    for (u32 i = 0; i < 64; i++)
        source[i] = i * 0x01010101;
    void *from = source, *to = (void *)(memory + 0xff80);
    u32 count = 32;
    asm volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    from = (void *)(memory + 0xff80), to = target, count = 32;
    asm volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    u32 good = 0;
    for (u32 i = 0; i < 32; i++)
        good += target[i] == source[i];
    show("moved", good);
    to = (void *)(memory + 0x2000 - 6), count = 12;
    asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x77) : "memory");
    show("stored", *(volatile u32 *)(memory + 0x2000 - 4) & *(volatile u32 *)(memory + 0x2000));
}

void main(void) {
    latches();
    flush();
    lines();
    device_memory();
    puts("done\n");
}
