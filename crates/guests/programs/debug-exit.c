/* Ends the machine through isa-debug-exit: writes `value=` (5) to `port=` (0xf4). */
#include "runtime/guest.h"

void main(void) {
    puts("debug-exit\n");
    out32(option("port=", 0xf4), option("value=", 5));
    puts("debug-exit: no device\n");
}
