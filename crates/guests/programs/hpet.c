/* Prints what the HPET is, and takes interrupts of its timers 0 and 1 through the PIC while they replace the PIT and the CMOS clock. */
#include "runtime/guest.h"

enum { VECTORS = 256, MASTER = 0x20, SLAVE = 0xa0, END = 0x20, TIMER = 0x08, CLOCK = 0x70 };
enum { HPET = 0xfed00000, CAPABILITIES = 0, CONFIGURATION = 0x10, COUNTER = 0xf0, TIMER_0 = 0x100, TIMER_1 = 0x120, COMPARATOR = 8 };
enum { ENABLE = 1, LEGACY = 2 };
enum { INTERRUPTS = 1 << 2, PERIODIC = 1 << 3, SETS_COMPARATOR = 1 << 6, BITS_32 = 1 << 8 };
enum { MILLISECOND = 100000, TICKS = 5 };

struct gate {
    u16 low, selector, type, high;
};

static struct gate idt[VECTORS];
extern const u8 entries[];

/* What the guest waits for. PIC, PIT and their vectors are as firmware leaves them. */
static enum { PIT_TICKS, PIT_STANDS, TIMER_0_TICKS, TIMER_1_TICKS, PIT_IS_BACK } now;

/* Each entry of 16 bytes leads to `taken` with its vector. Interrupted code is not resumed. */
asm(".text\n"
    ".p2align 4\n"
    "entries:\n"
    "vector = 0\n"
    ".rept 256\n"
    ".p2align 4\n"
    "movl $vector, %eax\n"
    "movl $stack_top, %esp\n"
    "jmp taken\n"
    "vector = vector + 1\n"
    ".endr\n");

static u32 read(u32 offset) { return *(volatile u32 *)(HPET + offset); }

static void write(u32 offset, u32 value) { *(volatile u32 *)(HPET + offset) = value; }

static void show(const char *what, u32 value) {
    puts(what);
    puts(" ");
    puthex(value);
    puts("\n");
}

static _Noreturn void wait(void) {
    for (;;)
        asm volatile("sti\n\thlt");
}

static void stage(u32 next);

/* The first argument comes in EAX. */
__attribute__((used, regparm(1))) static _Noreturn void taken(u32 vector) {
    static u32 ticks;
    out8(MASTER, END);
    if (vector == CLOCK)
        out8(SLAVE, END);
    switch (now) {
    case PIT_TICKS:
        puts("the PIT ticks\n");
        stage(PIT_STANDS);
        break;
    case PIT_STANDS: /* A tick that was pending: the silence begins again. */
        stage(PIT_STANDS);
        break;
    case TIMER_0_TICKS:
        if (vector == TIMER && ++ticks < TICKS)
            break;
        show("timer 0 ticks at", vector);
        stage(TIMER_1_TICKS);
        break;
    case TIMER_1_TICKS:
        if (vector == TIMER)
            break; /* The last one of timer 0. */
        show("timer 1 interrupts at", vector);
        stage(PIT_IS_BACK);
        break;
    case PIT_IS_BACK:
        puts("the PIT ticks again\n");
        reset();
    }
    wait();
}

static void stage(u32 next) {
    u32 start;
    now = next;
    switch (next) {
    case PIT_STANDS:
        write(CONFIGURATION, ENABLE | LEGACY);
        start = read(COUNTER);
        /* Three periods of the PIT without a tick. */
        asm volatile("sti");
        while (read(COUNTER) - start < 165 * MILLISECOND)
            ;
        asm volatile("cli");
        puts("the PIT stands\n");
        stage(TIMER_0_TICKS);
        break;
    case TIMER_0_TICKS:
        write(TIMER_0, INTERRUPTS | PERIODIC | SETS_COMPARATOR | BITS_32);
        write(TIMER_0 + COMPARATOR, read(COUNTER) + MILLISECOND);
        write(TIMER_0 + COMPARATOR, MILLISECOND);
        break;
    case TIMER_1_TICKS:
        write(TIMER_0, 0);
        write(TIMER_1, INTERRUPTS | BITS_32);
        write(TIMER_1 + COMPARATOR, read(COUNTER) + MILLISECOND);
        break;
    case PIT_IS_BACK:
        write(CONFIGURATION, ENABLE);
        break;
    }
}

void main(void) {
    show("capabilities", read(CAPABILITIES));
    show("period", read(CAPABILITIES + 4));
    write(COUNTER, 1000);
    show("counter", read(COUNTER));
    write(CONFIGURATION, ENABLE);
    while (read(COUNTER) == 1000)
        ;
    puts("the counter counts\n");
    for (u32 vector = 0; vector < VECTORS; vector++) {
        u32 entry = (u32)entries + 16 * vector;
        idt[vector] = (struct gate){entry, 8, 0x8e00, entry >> 16};
    }
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) pointer = {sizeof idt - 1, (u32)idt};
    asm volatile("lidt %0" : : "m"(pointer));
    wait();
}
