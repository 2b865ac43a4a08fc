/* Writes `count=` (200) pages between 4 MiB and `end=` (8) MiB on each of `cpus=` (1) processors, and prints a line. `seed=` (1)
selects the pages. With `wait=1` (0) it then waits for a byte from COM1. */
#include "runtime/guest.h"

enum { FIRST = 4 << 20, PAGE = 4096 };

static u32 next(u32 *state) {
    /* xorshift32 reaches every state except 0. */
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void work(u32 processor) {
    u32 pages = ((option("end=", 8) << 20) - FIRST) / PAGE, count = option("count=", 200);
    u32 state = option("seed=", 1) + processor * 7919;
    for (u32 i = 0; i < count; i++)
        *(volatile u32 *)(FIRST + next(&state) % pages * PAGE + 8) = i;
}

void main(void) {
    u32 others = option("cpus=", 1) - 1;
    if (others > 0)
        start_processors(others, work);
    work(0);
    if (others > 0)
        join_processors(others);
    puts("dirty: written\n");
    if (option("wait=", 0))
        while (!(in8(COM1_LINE_STATUS) & 1))
            ;
    puts("dirty: done\n");
}
