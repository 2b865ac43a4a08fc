/* Executes an x87 instruction. KVM's instruction emulator does not implement x87, so a host that
   emulates ring 0 exits with KVM_EXIT_INTERNAL_ERROR. On a host that executes it, prints a line. */
#include "runtime/guest.h"

void main(void) {
    puts("emulation-failure\n");
    asm volatile("fld1");
    puts("emulation-failure: the host runs x87 in ring 0\n");
}
