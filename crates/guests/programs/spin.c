/* Never leaves the processor by itself. */
#include "runtime/guest.h"

void main(void) {
    puts("spin\n");
    for (;;)
        asm volatile("");
}
