/* Prints numbered lines without end, or `count=` lines. */
#include "runtime/guest.h"

void main(void) {
    u32 count = option("count=", 0);
    for (u32 i = 0; !count || i < count; i++) {
        puts("flood ");
        putdec(i);
        putch('\n');
    }
}
