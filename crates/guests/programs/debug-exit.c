/* Ends by isa-debug-exit; `port=` and `value=` on the command line. */
#include "runtime/guest.h"

void main(void) {
    puts("debug-exit\n");
    out32(option("port=", 0xf4), option("value=", 5));
    puts("debug-exit: nobody listens\n");
}
