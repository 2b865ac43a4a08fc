/* Causes `count=` (1) notify exits on each of `cpus=` (1) processors, with an invalid context if `invalid=1`. Works on the test host
whose KVM turns CPUID leaf 0x4e4f5449 into a notify exit. On other hosts the leaf is an ordinary CPUID leaf. */
#include "runtime/guest.h"

static void work(u32 processor) {
    u32 count = option("count=", 1), invalid = option("invalid=", 0);
    for (u32 i = 1; i <= count; i++) {
        u32 eax = 0x4e4f5449, ebx, ecx = invalid, edx;
        asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    }
    lock();
    puts("notify: processor ");
    putdec(processor);
    puts(" passed ");
    putdec(count);
    putch('\n');
    unlock();
}

void main(void) {
    u32 others = option("cpus=", 1) - 1;
    puts("notify\n");
    if (others)
        start_processors(others, work);
    work(0);
    join_processors(others);
    puts("notify: done\n");
}
