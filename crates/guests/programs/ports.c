/* Prints a line on each serial port and on the debug console. */
#include "runtime/guest.h"

static void say(u16 base, u32 number) {
    out8(base + 7, 0x5a);
    u32 there = in8(base + 7) == 0x5a;
    puts("COM");
    putdec(number);
    puts(there ? " there\n" : " not there\n");
    if (!there)
        return;
    for (const char *at = "I am COM"; *at; at++)
        out8(base, *at);
    out8(base, '0' + number);
}

void main(void) {
    u16 debug = option("debug=", 0xe9);
    say(0x2f8, 2);
    say(0x3e8, 3);
    say(0x2e8, 4);
    puts("debug ");
    puthex(in8(debug));
    puts("\n");
    for (const char *at = "I am debug"; *at; at++)
        out8(debug, *at);
}
