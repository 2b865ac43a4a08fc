/* Prints CPUID leaf= (0), sub= (0), on cpus= (1) processors. With msr= it also prints that MSR, or the
   fault that reading it causes. */
#include "runtime/guest.h"

static void work(u32 processor) {
    u32 eax = option("leaf=", 0), ebx, ecx = option("sub=", 0), edx;
    asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    lock();
    putdec(processor);
    putch(':');
    u32 registers[] = {eax, ebx, ecx, edx};
    for (u32 i = 0; i < 4; i++) {
        putch(' ');
        puthex(registers[i]);
    }
    putch('\n');
    unlock();
}

void main(void) {
    u32 others = option("cpus=", 1) - 1, msr = option("msr=", 0);
    if (others)
        start_processors(others, work);
    work(0);
    join_processors(others);
    if (msr) {
        u32 low, high;
        if (option("write=", 0))
            asm volatile("wrmsr" : : "c"(msr), "a"(option("write=", 0)), "d"(0));
        asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
        puts("msr: ");
        puthex((u64)high << 32 | low);
        putch('\n');
    }
}
