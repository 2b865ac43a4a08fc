/* Takes interrupts of the PIT and of COM1 through the PIC, and with `ioapic=1` also through the IOAPIC and the local APIC. Prints a
line for each source after `ticks=` (10) interrupts. Halts between interrupts. */
#include "runtime/guest.h"

enum { VECTORS = 0x40, PIC_VECTOR = 0x20, IOAPIC_VECTOR = 0x30, SPURIOUS_VECTOR = 0x3f };
enum { MASTER = 0x20, SLAVE = 0xa0, END = 0x20, TIMER = 0, SERIAL = 4 };
enum { PIT = 0x40, PIT_CONTROL = 0x43, RATE = 0x34, MILLISECOND = 1193 };
enum { INTERRUPT_ENABLE = COM1 + 1, INTERRUPT_ID = COM1 + 2, MODEM_CONTROL = COM1 + 4, THR_EMPTY = 2, OUT2 = 8 };
enum { LAPIC = 0xfee00000, EOI = 0xb0, SPURIOUS = 0xf0, LINT0 = 0x350, LAPIC_ENABLED = 1 << 8, MASKED = 1 << 16 };
enum { IOAPIC = 0xfec00000, SELECT = 0, WINDOW = 0x10, REDIRECTION = 0x10, TIMER_PIN = 2 };

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
    ".rept 0x40\n"
    ".p2align 4\n"
    "movl $vector, %eax\n"
    "movl $stack_top, %esp\n"
    "jmp taken\n"
    "vector = vector + 1\n"
    ".endr\n");

static u32 count, controller;

static void write(u32 address, u32 value) { *(volatile u32 *)address = value; }

static _Noreturn void wait(void) {
    for (;;)
        asm volatile("sti\n\thlt");
}

static void report(const char *source) {
    puts("irqchips: ");
    puts(source);
    puts(controller == PIC_VECTOR ? " through the PIC: " : " through the IOAPIC: ");
    putdec(count);
    puts(" interrupts\n");
    count = 0;
}

static void pin(u32 number, u32 entry) {
    write(IOAPIC + SELECT, REDIRECTION + 2 * number + 1);
    write(IOAPIC + WINDOW, 0);
    write(IOAPIC + SELECT, REDIRECTION + 2 * number);
    write(IOAPIC + WINDOW, entry);
}

/* Unmasks only this line of the controller in use. */
static void unmask(u32 line) {
    if (controller == PIC_VECTOR) {
        out8(MASTER + 1, ~(1u << line));
        return;
    }
    pin(TIMER_PIN, line == TIMER ? IOAPIC_VECTOR + TIMER : MASKED);
    pin(SERIAL, line == SERIAL ? IOAPIC_VECTOR + SERIAL : MASKED);
}

static void start_timer(void) {
    unmask(TIMER);
    out8(PIT_CONTROL, RATE);
    out8(PIT, MILLISECOND & 0xff);
    out8(PIT, MILLISECOND >> 8);
}

static void end_of_interrupt(void) {
    if (controller == PIC_VECTOR)
        out8(MASTER, END);
    else
        write(LAPIC + EOI, 0);
}

/* Receives its argument in EAX. */
__attribute__((used, regparm(1))) static _Noreturn void taken(u32 vector) {
    if (vector == controller + TIMER) {
        end_of_interrupt();
        if (++count < option("ticks=", 10))
            wait();
        unmask(SERIAL);
        report("timer");
        out8(MODEM_CONTROL, OUT2);
        out8(INTERRUPT_ENABLE, THR_EMPTY);
        wait();
    }
    if (vector == controller + SERIAL) {
        /* Reading the interrupt identification acknowledges the interrupt. Enabling it again raises the next one. */
        u32 id = in8(INTERRUPT_ID) & 0xf;
        end_of_interrupt();
        count += id == THR_EMPTY;
        out8(INTERRUPT_ENABLE, 0);
        if (count < option("ticks=", 10)) {
            out8(INTERRUPT_ENABLE, THR_EMPTY);
            wait();
        }
        report("serial port");
        if (controller == PIC_VECTOR && option("ioapic=", 0)) {
            out8(MASTER + 1, 0xff);
            write(LAPIC + SPURIOUS, LAPIC_ENABLED | SPURIOUS_VECTOR);
            write(LAPIC + LINT0, MASKED);
            controller = IOAPIC_VECTOR;
            start_timer();
            wait();
        }
        puts("irqchips: done\n");
        reset();
    }
    /* An interrupt that arrived late, from a line that is masked now. */
    end_of_interrupt();
    wait();
}

static void set_up_pic(u16 port, u32 vectors, u32 cascade) {
    out8(port, 0x11);
    out8(port + 1, vectors);
    out8(port + 1, cascade);
    out8(port + 1, 1);
    out8(port + 1, 0xff);
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
    set_up_pic(MASTER, PIC_VECTOR, 4);
    set_up_pic(SLAVE, PIC_VECTOR + 8, 2);
    controller = PIC_VECTOR;
    start_timer();
    wait();
}
