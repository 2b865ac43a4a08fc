/* Prints a line, executes `count=` (1000) writes to an unclaimed port on each of `cpus=` (1) processors, and prints a second line with
their duration in TSC ticks. */
#include "runtime/guest.h"

static void work(u32 processor) {
    (void)processor;
    u32 left = option("count=", 1000);
    asm volatile("1: outb %%al, %%dx\n\tdecl %0\n\tjnz 1b" : "+c"(left) : "a"(0), "d"(0xe0) : "cc");
}

void main(void) {
    u32 others = option("cpus=", 1) - 1;
    puts("pio-loop: begin\n");
    u64 before = ticks();
    if (others > 0)
        start_processors(others, work);
    work(0);
    if (others > 0)
        join_processors(others);
    u64 after = ticks();
    puts("pio-loop: end, ticks ");
    puthex(after - before);
    putch('\n');
}
