/* Tests string output and string input in pieces of every size from 1 to 16. No byte may be lost or repeated. */
#include "runtime/guest.h"

static const char text[] = "the quick brown fox jumps over the lazy dog 0123456789\n";

void main(void) {
    puts("string-io\n");
    u32 piece = 0;
    for (const char *at = text, *end = text + sizeof text - 1; at < end;) {
        u32 count = piece++ % 16 + 1;
        if (count > (u32)(end - at))
            count = end - at;
        asm volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(COM1));
    }
    for (u32 size = 1; size <= 16; size++) {
        u8 buffer[17] = {0}, *at = buffer;
        u32 count = size, good = 0;
        out8(COM1_SCRATCH, 0x40 + size);
        asm volatile("rep insb" : "+D"(at), "+c"(count) : "d"(COM1_SCRATCH) : "memory");
        for (u32 i = 0; i < size; i++)
            good += buffer[i] == 0x40 + size;
        if (good != size || buffer[size] != 0 || at != buffer + size)
            puts("string-io: input lost\n");
    }
    puts("string-io: done\n");
}
