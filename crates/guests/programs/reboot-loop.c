/* Resets the machine as soon as it has started, each time. */
#include "runtime/guest.h"

void main(void) { puts("reboot-loop\n"); }
