/* `count=` (1000) loads from an address that nobody claims, between two lines; the second tells the TSC ticks they took. */
#include "runtime/guest.h"

void main(void) {
    u32 count = option("count=", 1000), left = count;
    puts("mmio-loop: begin\n");
    u64 before = ticks();
    asm volatile("1: movl (%1), %%eax\n\tdecl %0\n\tjnz 1b" : "+c"(left) : "d"(0xd0000000) : "eax", "cc", "memory");
    u64 after = ticks();
    puts("mmio-loop: end, ticks ");
    puthex(after - before);
    putch('\n');
}
