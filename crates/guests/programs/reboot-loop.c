/* Resets the machine at each start. */
#include "runtime/guest.h"

void main(void) { puts("reboot-loop\n"); }
