/* The functions for guest programs, which run 32-bit in ring 0, without paging, interrupts and a standard library. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { COM1 = 0x3f8, COM1_LINE_STATUS = COM1 + 5, COM1_SCRATCH = COM1 + 7 };

static inline void out8(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static inline void out16(u16 port, u16 value) { asm volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }

static inline void out32(u16 port, u32 value) { asm volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static inline u8 in8(u16 port) {
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u16 in16(u16 port) {
    u16 value;
    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u32 in32(u16 port) {
    u32 value;
    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u64 ticks(void) {
    u64 tsc;
    asm volatile("rdtsc" : "=A"(tsc));
    return tsc;
}

/* runtime.c */

/* Returns the number after `key` (which ends in `=`) on the command line, decimal or 0x hexadecimal. Without `key`, returns
* `otherwise`. */
u32 option(const char *key, u32 otherwise);
void putch(char c);
void puts(const char *text);
void putdec(u32 value);
void puthex(u64 value);
/* Resets the machine through the keyboard controller, or by a triple fault on a machine without one. */
_Noreturn void reset(void);
_Noreturn void triple_fault(void);

/* smp.c */

/* Starts the other processors by INIT and SIPI. Each calls `entry` with its number (1...) on its own stack, and halts when
   that returns. Waits until `count` processors (at most 3) have started, without end if they do not exist. */
void start_processors(u32 count, void (*entry)(u32 processor));
/* Waits until `count` other processors have returned from `entry`. */
void join_processors(u32 count);
/* A lock for work of several processors that must not interleave, such as printing lines. */
void lock(void);
void unlock(void);
