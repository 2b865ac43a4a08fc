/* The command line, output on COM1, and ends of the machine. */
#include "guest.h"

/* A copy, because the loader's text lies in memory that the guest may use. */
static char command_line[1024];

__attribute__((regparm(0))) void command_line_set(const char *from) {
    for (u32 i = 0; from && from[i] && i < sizeof command_line - 1; i++)
        command_line[i] = from[i];
}

static u32 digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

u32 option(const char *key, u32 otherwise) {
    for (const char *word = command_line; *word;) {
        const char *k = key, *w = word;
        while (*k && *k == *w)
            k++, w++;
        if (!*k) {
            u32 base = 10, value = 0;
            if (w[0] == '0' && w[1] == 'x')
                base = 16, w += 2;
            for (; digit(*w) < base; w++)
                value = value * base + digit(*w);
            return value;
        }
        while (*word && *word != ' ')
            word++;
        while (*word == ' ')
            word++;
    }
    return otherwise;
}

void putch(char c) {
    while (!(in8(COM1_LINE_STATUS) & 0x20))
        ;
    out8(COM1, c);
}

void puts(const char *text) {
    for (; *text; text++)
        putch(*text);
}

void putdec(u32 value) {
    if (value >= 10)
        putdec(value / 10);
    putch('0' + value % 10);
}

void puthex(u64 value) {
    puts("0x");
    int shift = 60;
    while (shift && !(value >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        putch("0123456789abcdef"[value >> shift & 15]);
}

void reset(void) {
    out8(0x64, 0xfe);
    /* The processor may run for a moment longer while the machine resets. A machine without the controller needs the triple fault. */
    for (volatile u32 i = 0; i < 1000; i++)
        ;
    triple_fault();
}

void triple_fault(void) {
    static const struct { u16 limit; u32 base; } __attribute__((packed)) no_idt = {0, 0};
    static u32 no_pages[1024] __attribute__((aligned(4096)));
    /* Without an interrupt table and without a present page, the next fetch causes a triple fault. */
    asm volatile("lidt %0\n\tmovl %1, %%cr3\n\tmovl %%cr0, %%eax\n\torl $0x80000000, %%eax\n\tmovl %%eax, %%cr0\n\tnop"
                 : : "m"(no_idt), "r"(no_pages) : "eax");
    for (;;)
        asm volatile("hlt");
}
