/* Prints a greeting. */
#include "runtime/guest.h"

void main(void) {
    puts("Hello from a guest on KVM.\n");
    puts("I am 32-bit code at 1 MiB; this text reaches you byte by byte through COM1.\n");
    puts("Now I reset the machine through the keyboard controller. Goodbye.\n");
}
