/* Reads fw_cfg in the same way as kvm-unit-tests and firmware. */
#include "runtime/guest.h"

enum { SELECTOR = 0x510, DATA = 0x511, DMA = 0x514 };
enum { SIGNATURE = 0, ID = 1, RAM_SIZE = 3, CPUS = 5, DIRECTORY = 0x19 };
enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

static u32 swap(u32 value) { return __builtin_bswap32(value); }

static void read(void *to, u32 size) {
    for (u8 *at = to, *end = at + size; at < end; at++)
        *at = in8(DATA);
}

static u64 item(u16 key, u32 size) {
    u64 value = 0;
    out16(SELECTOR, key);
    read(&value, size);
    return value;
}

static void show(const char *what, u64 value) {
    puts(what);
    puts(" ");
    puthex(value);
    puts("\n");
}

static int same(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static u32 transfer(u32 control, u32 length, void *address) {
    static volatile struct { u32 control, length, high, low; } request __attribute__((aligned(16)));
    request.control = swap(control), request.length = swap(length);
    request.high = 0, request.low = swap((u32)address);
    out32(DMA + 4, swap((u32)&request));
    return swap(request.control);
}

void main(void) {
    show("signature", item(SIGNATURE, 4));
    show("id", item(ID, 4));
    show("cpus", item(CPUS, 2));
    show("cpus behind their end", item(CPUS, 8));
    show("ram", item(RAM_SIZE, 8));
    show("nothing", item(0x3fff, 8));
    show("dma high", in32(DMA));
    show("dma low", in32(DMA + 4));
    u32 files = swap(item(DIRECTORY, 4));
    for (u32 i = 0; i < files; i++) {
        struct { u32 size; u16 key, none; char name[56]; } file;
        read(&file, sizeof file);
        if (!same(file.name, "opt/test"))
            continue;
        u16 key = file.key << 8 | file.key >> 8;
        show("file of", swap(file.size));
        char text[33] = {0};
        out16(SELECTOR, key);
        read(text, 32);
        puts(text);
        puts("\n");
        for (u32 at = 0; at < sizeof text; at++)
            text[at] = '.';
        show("skip", transfer((u32)key << 16 | SELECT | SKIP, 3, 0));
        show("read", transfer(READ, 32, text));
        puts(text);
        puts("\n");
        show("write", transfer((u32)key << 16 | SELECT | WRITE, 1, text));
        show("read to nowhere", transfer((u32)key << 16 | SELECT | READ, 4, (void *)0xfd000000));
    }
    puts("done\n");
}
