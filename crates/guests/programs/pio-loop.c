/* `count=` (1000) writes to a port that nobody claims, between two lines; the second tells the TSC ticks they took. */
#include "runtime/guest.h"

void main(void) {
    u32 count = option("count=", 1000), left = count;
    puts("pio-loop: begin\n");
    u64 before = ticks();
    asm volatile("1: outb %%al, %%dx\n\tdecl %0\n\tjnz 1b" : "+c"(left) : "a"(0), "d"(0xe0) : "cc");
    u64 after = ticks();
    puts("pio-loop: end, ticks ");
    puthex(after - before);
    putch('\n');
}
