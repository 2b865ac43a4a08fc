/* Ends the machine with a triple fault. */
#include "runtime/guest.h"

void main(void) {
    puts("triple-fault\n");
    triple_fault();
}
