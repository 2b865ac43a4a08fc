/* Prints a line, executes `count=` (1000) loads from an unclaimed address, or stores with `store=1`, and prints a second line with
their duration in TSC ticks. */
#include "runtime/guest.h"

void main(void) {
    u32 count = option("count=", 1000), left = count;
    puts("mmio-loop: begin\n");
    u64 before = ticks();
    if (option("store=", 0))
        asm volatile("1: movl %%eax, (%1)\n\tdecl %0\n\tjnz 1b" : "+c"(left) : "d"(0xd0000000), "a"(0) : "cc", "memory");
    else
        asm volatile("1: movl (%1), %%eax\n\tdecl %0\n\tjnz 1b" : "+c"(left) : "d"(0xd0000000) : "eax", "cc", "memory");
    u64 after = ticks();
    puts("mmio-loop: end, ticks ");
    puthex(after - before);
    putch('\n');
}
