/* An x87 instruction: KVM's instruction emulator has no such, so a host that emulates ring 0 gives
   KVM_EXIT_INTERNAL_ERROR. A host that runs it says so. */
#include "runtime/guest.h"

void main(void) {
    puts("emulation-failure\n");
    asm volatile("fld1");
    puts("emulation-failure: the host runs x87 in ring 0\n");
}
