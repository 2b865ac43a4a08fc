/* Runs an empty loop, which causes no exit. */
#include "runtime/guest.h"

void main(void) {
    puts("spin\n");
    for (;;)
        asm volatile("");
}
