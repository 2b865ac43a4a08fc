/* Starts further processors. */
#include "guest.h"

/* The page of SIPI vector 8. It lies below 1 MiB, as SIPI requires, and outside the tables of the loaders. */
enum { AP_PAGE = 0x8000, AP_VECTOR = AP_PAGE >> 12 };

enum { LAPIC = 0xfee00000, LAPIC_SPURIOUS = 0xf0, LAPIC_COMMAND = 0x300, ALL_BUT_SELF = 3 << 18, LEVEL_ASSERT = 1 << 14 };
enum { INIT = 5 << 8, STARTUP = 6 << 8 };

extern const u8 ap_start[], ap_start_end[];
extern volatile u32 ap_count;

static void (*volatile ap_entry)(u32 processor);
static volatile u32 ap_done;
static volatile u32 held;

static void lapic_write(u32 reg, u32 value) { *(volatile u32 *)(LAPIC + reg) = value; }

__attribute__((regparm(0))) void ap_main(u32 processor) {
    ap_entry(processor);
    __atomic_add_fetch(&ap_done, 1, __ATOMIC_SEQ_CST);
}

void start_processors(u32 count, void (*entry)(u32 processor)) {
    ap_entry = entry;
    u8 *page = (u8 *)AP_PAGE;
    /* Keeps the compiler from treating a store below the first page boundary as one through a null pointer. */
    asm volatile("" : "+r"(page));
    for (u32 i = 0; i < (u32)(ap_start_end - ap_start); i++)
        page[i] = ap_start[i];
    lapic_write(LAPIC_SPURIOUS, 0x1ff);
    lapic_write(LAPIC_COMMAND, ALL_BUT_SELF | LEVEL_ASSERT | INIT);
    lapic_write(LAPIC_COMMAND, ALL_BUT_SELF | LEVEL_ASSERT | STARTUP | AP_VECTOR);
    while (ap_count < count)
        asm volatile("pause");
}

void join_processors(u32 count) {
    while (ap_done < count)
        asm volatile("pause");
}

void lock(void) {
    while (__atomic_exchange_n(&held, 1, __ATOMIC_ACQUIRE))
        asm volatile("pause");
}

void unlock(void) { __atomic_store_n(&held, 0, __ATOMIC_RELEASE); }
