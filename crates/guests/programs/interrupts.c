/* Writes the vector of every interrupt to port 0xe0. The local APIC accepts messages with vectors from 0x30 on, and NMIs at LINT1.
With `pin=`, that pin of the IOAPIC raises vector 0x40, level-triggered with `level=1`. Writes 0 to port 0xe0 after the set-up, and
ends at vector 0x3f. */
#include "runtime/guest.h"

enum { REPORT = 0xe0, NMI = 2, FIRST = 0x30, LAST = 0x3f, PIN_VECTOR = 0x40, VECTORS = 0x41 };
enum { LAPIC = 0xfee00000, EOI = 0xb0, SPURIOUS = 0xf0, LINT1 = 0x360, NMI_MODE = 4 << 8, ENABLED = 0x1ff };
enum { IOAPIC = 0xfec00000, SELECT = 0, WINDOW = 0x10, REDIRECTION = 0x10, LEVEL = 1 << 15 };

struct gate {
    u16 low, selector, type, high;
};

static struct gate idt[VECTORS];
extern const u8 entries[];

/* Each entry of 16 bytes calls `taken` with its vector. Interrupted code is not resumed, because it only waits for interrupts. */
asm(".text\n"
    ".p2align 4\n"
    "entries:\n"
    "vector = 0\n"
    ".rept 0x41\n"
    ".p2align 4\n"
    "movl $vector, %eax\n"
    "movl $stack_top, %esp\n"
    "jmp taken\n"
    "vector = vector + 1\n"
    ".endr\n");

static void write(u32 address, u32 value) { *(volatile u32 *)address = value; }

static _Noreturn void wait(void) {
    for (;;)
        asm volatile("sti\n\thlt");
}

/* Receives its argument in EAX. */
__attribute__((used, regparm(1))) static _Noreturn void taken(u32 vector) {
    out8(REPORT, vector);
    if (vector >= FIRST)
        write(LAPIC + EOI, 0);
    if (vector == LAST)
        reset();
    wait();
}

void main(void) {
    for (u32 vector = 0; vector < VECTORS; vector++) {
        u32 entry = (u32)entries + 16 * vector;
        idt[vector] = (struct gate){entry, 8, 0x8e00, entry >> 16};
    }
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) pointer = {sizeof idt - 1, (u32)idt};
    asm volatile("lidt %0" : : "m"(pointer));
    /* Mask all lines of the PICs. */
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    write(LAPIC + SPURIOUS, ENABLED);
    write(LAPIC + LINT1, NMI_MODE);
    u32 pin = option("pin=", 24);
    if (pin < 24) {
        write(IOAPIC + SELECT, REDIRECTION + 2 * pin + 1);
        write(IOAPIC + WINDOW, 0);
        write(IOAPIC + SELECT, REDIRECTION + 2 * pin);
        write(IOAPIC + WINDOW, PIN_VECTOR | (option("level=", 0) ? LEVEL : 0));
    }
    out8(REPORT, 0);
    wait();
}
