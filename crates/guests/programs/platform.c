/* Prints what firmware leaves to a kernel: CR0, a stack, PIC, PIT and the BIOS data area. Then resets in the way= (0) that the
   command line selects. */
#include "runtime/guest.h"

enum { VECTORS = 256, MASTER = 0x20, SLAVE = 0xa0, END = 0x20 };
enum { PIT = 0x40, PIT_CONTROL = 0x43, LATCH_STATUS_0 = 0xe2, MODE_AND_ACCESS = 0x3f };
enum { CMOS = 0x70, REGISTER_B = 0xb, REGISTER_C = 0xc, PERIODIC = 0x40, HOURS_24 = 2 };
enum { KEYBOARD = 0x60, KEYBOARD_COMMAND = 0x64, CONTROL_A = 0x92, PCI_ADDRESS = 0xcf8, RESET_CONTROL = 0xcf9 };
enum { TIMER = 8 };

struct gate {
    u16 low, selector, type, high;
};

static struct gate idt[VECTORS];
extern const u8 entries[];
/* The stack pointer with which the boot protocol entered. */
extern u32 entry_esp;

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

static u8 cmos(u8 index) {
    out8(CMOS, index);
    return in8(CMOS + 1);
}

static _Noreturn void reset_by(u32 way) {
    switch (way) {
    case 1:
        show("control A", in8(CONTROL_A) & 2);
        out8(CONTROL_A, 3);
        break;
    case 2: /* A soft reset. */
        out8(RESET_CONTROL, 0);
        show("reset control", in8(RESET_CONTROL));
        out8(RESET_CONTROL, 4);
        break;
    case 3: /* A hard reset. */
        out8(RESET_CONTROL, 2);
        show("reset control", in8(RESET_CONTROL));
        out8(RESET_CONTROL, 6);
        break;
    case 4:
        out8(KEYBOARD_COMMAND, 0xd0);
        show("output port", in8(KEYBOARD) & 3);
        out8(KEYBOARD_COMMAND, 0xd1);
        out8(KEYBOARD, 0xfe);
        break;
    default:
        reset();
    }
    for (;;)
        asm volatile("cli\n\thlt");
}

/* The first argument comes in EAX. */
__attribute__((used, regparm(1))) static _Noreturn void taken(u32 vector) {
    static u32 ticked;
    out8(MASTER, END);
    if (vector == TIMER && ticked)
        wait();
    if (!ticked) {
        show("timer", vector);
        ticked = 1;
        /* Reading register C acknowledges what came before. */
        out8(CMOS, REGISTER_B);
        out8(CMOS + 1, PERIODIC | HOURS_24);
        cmos(REGISTER_C);
        wait();
    }
    out8(CMOS, REGISTER_B);
    out8(CMOS + 1, HOURS_24);
    cmos(REGISTER_C);
    out8(SLAVE, END);
    show("clock", vector);
    puts("platform: done\n");
    reset_by(option("way=", 0));
}

void main(void) {
    u32 cr0;
    /* An address of PCI's configuration space: it covers port 0xcf9, and resets nothing. */
    out32(PCI_ADDRESS, 0x80000600);
    asm("movl %%cr0, %0" : "=r"(cr0));
    show("cr0", cr0);
    volatile u32 *stack = (volatile u32 *)entry_esp;
    stack[-4] = 0x12345678;
    show("stack", entry_esp > 64 && stack[-4] == 0x12345678);
    show("master", in8(MASTER + 1));
    show("slave", in8(SLAVE + 1));
    out8(PIT_CONTROL, LATCH_STATUS_0);
    show("pit", in8(PIT) & MODE_AND_ACCESS);
    show("com1", *(volatile u16 *)0x400);
    show("ebda", *(volatile u16 *)0x40e);
    show("ebda size", *(volatile u8 *)(*(volatile u16 *)0x40e * 16));
    show("base memory", *(volatile u16 *)0x413);
    show("vector", *(volatile u32 *)(4 * 0x10) != 0);
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
