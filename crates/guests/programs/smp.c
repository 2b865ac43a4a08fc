/* Each of `cpus=` (2) processors executes `count=` (8) port writes and prints a line. */
#include "runtime/guest.h"

static void work(u32 processor) {
    u32 count = option("count=", 8);
    for (u32 i = 0; i < count; i++)
        out8(0x80, i);
    lock();
    puts("smp: processor ");
    putdec(processor);
    puts(" wrote ");
    putdec(count);
    putch('\n');
    unlock();
}

void main(void) {
    u32 others = option("cpus=", 2) - 1;
    start_processors(others, work);
    work(0);
    join_processors(others);
    puts("smp: done\n");
}
