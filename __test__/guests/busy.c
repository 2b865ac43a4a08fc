/* A guest that keeps every virtio device busy by itself, for the tests of pausing, resetting and ending a machine.
 *
 * Each loop increments the counter at COUNTER, gives all completed buffers back to their devices and rings their doorbells. The requests in a ring never change, so a
 * queue stays full with few instructions. Guest memory keeps the counters over resets; a test reads them from outside.
 *
 * Options (`key=number`):
 *   read=KIB, write=KIB   the size of a read and of a write of the disk (64 each; 0: none; at most 1778000, as a
 *                         request has at most 256 descriptors of 7 MiB)
 *   depth=N               requests in the disk's queue, a power of 2 (8)
 *   net=0, console=0, rng=0, balloon=0, disk=0   leave that device alone (1)
 *   vsock=PORT            connect to this port of the host, send data and receive data (52; 0: leave the device alone)
 *   port=1                write the counter to port 0x550 in every 64th loop (0)
 *   after=N act=COMMAND   execute a command, by its ASCII code, N loops after the start
 *
 * Commands, also as bytes from COM1: `r` reset, `t` triple fault, `o` power off, `p` panic (pvpanic), `s` sleep (S3; the alarm of the clock wakes the guest), `z` sleep without an alarm, `x` jump to
 * memory that does not exist, which ends in an emulation failure, `d` isa-debug-exit with value 5, `h` print a line.
 */
#include "guest.h"

/* Physical addresses. The program lies at 1 MiB. */
enum {
    WAKING_VECTOR = 0x8000,
    RINGS = 2 << 20,
    RING_BYTES = 16 << 10,
    COUNTER = 3 << 20,       /* loops */
    STARTS = COUNTER + 4,    /* starts, wake-ups included */
    WAKES = COUNTER + 8,     /* wake-ups */
    SLEEPS = COUNTER + 12,   /* sleeps: no loop follows before the guest wakes up */
    COMPLETED = COUNTER + 16, /* completed buffers, by device id: 32 words */
    READ_TABLE = 0x310000,
    WRITE_TABLE = 0x314000,
    BLOCK_HEADERS = 0x318000,
    BLOCK_STATUS = 0x318040,
    CONSOLE_OUT = 0x320000,
    CONSOLE_IN = 0x324000,
    NET_OUT = 0x350000,
    RNG_IN = 0x360000,
    PAGE_NUMBERS = 0x370000,
    NET_IN = 0x380000,
    VSOCK_IN = 4 << 20,
    VSOCK_OUT = 0x440000,
    DATA = 5 << 20,          /* the disk's data */
    DATA_END = 12 << 20,
    BALLOON = 12 << 20,      /* pages that inflate and deflate the balloon */
    PAGE = 4096,
};

enum { MMIO = 0xfeb00000, MMIO_STEP = 0x200, TRANSPORTS = 16 };
enum { NET = 1, BLOCK = 2, CONSOLE = 3, RNG = 4, BALLOON_ID = 5, VSOCK = 19 };
enum { NEXT = 1, WRITABLE = 2, INDIRECT = 4 };

struct descriptor { u64 address; u32 length; u16 flags, next; };

struct ring {
    volatile u32 *registers;
    u32 queue, size, device;
    struct descriptor *descriptors;
    /* flags, index, entries */
    volatile u16 *available, *used;
    u16 taken;
};

/* At most 12 queues: two for most devices, one for the others. */
static struct ring rings[16];
static u32 count;

static volatile u32 *word(u32 address) { return (volatile u32 *)address; }

static void set(volatile u32 *registers, u32 offset, u32 value) { registers[offset / 4] = value; }

static void notify(struct ring *ring) { set(ring->registers, 0x50, ring->queue); }

/* Resets a device and negotiates its features: version 1 and indirect descriptors. */
static void begin(volatile u32 *registers) {
    set(registers, 0x70, 0);
    set(registers, 0x70, 1 | 2);
    set(registers, 0x24, 0);
    set(registers, 0x20, 1u << 28);
    set(registers, 0x24, 1);
    set(registers, 0x20, 1);
    set(registers, 0x70, 1 | 2 | 8);
}

static struct ring *add_ring(volatile u32 *registers, u32 device, u32 queue, u32 size) {
    u32 base = RINGS + count * RING_BYTES;
    struct ring *ring = &rings[count++];
    set(registers, 0x30, queue);
    u32 largest = registers[0x34 / 4];
    ring->registers = registers, ring->queue = queue, ring->device = device;
    ring->size = size < largest ? size : largest, ring->taken = 0;
    ring->descriptors = (struct descriptor *)base;
    ring->available = (volatile u16 *)(base + 4096), ring->used = (volatile u16 *)(base + 8192);
    /* Disable interrupts, because this guest polls. */
    ring->available[0] = 1, ring->available[1] = 0, ring->used[0] = 0, ring->used[1] = 0;
    set(registers, 0x38, ring->size);
    set(registers, 0x80, base);
    set(registers, 0x84, 0);
    set(registers, 0x90, base + 4096);
    set(registers, 0x94, 0);
    set(registers, 0xa0, base + 8192);
    set(registers, 0xa4, 0);
    set(registers, 0x44, 1);
    return ring;
}

static void describe(struct descriptor *descriptor, u32 address, u32 length, u16 flags, u16 next) {
    descriptor->address = address, descriptor->length = length, descriptor->flags = flags, descriptor->next = next;
}

/* Offers buffers of `length` bytes, `step` bytes apart. */
static void fill(struct ring *ring, u32 address, u32 length, u32 step, u16 flags) {
    for (u32 i = 0; i < ring->size; i++) {
        describe(&ring->descriptors[i], address + i * step, length, flags, 0);
        ring->available[2 + i] = i;
    }
}

static void offer_all(struct ring *ring) { ring->available[1] = ring->used[1] + ring->size; }

static void ready(volatile u32 *registers) { set(registers, 0x70, 1 | 2 | 8 | 4); }

/* Disk */

static u32 span, sector;

/* Writes one request as an indirect table: header, data, status. Returns the number of descriptors. */
static u32 table(u32 at, u32 header, u32 type, u32 kib) {
    struct descriptor *entry = (struct descriptor *)at;
    u32 index = 0, left = kib << 10, most = DATA_END - DATA;
    word(header)[0] = type, word(header)[1] = 0, word(header)[2] = 0, word(header)[3] = 0;
    describe(&entry[index++], header, 16, NEXT, 1);
    while (left) {
        u32 part = left < most ? left : most;
        describe(&entry[index], DATA, part, NEXT | (type ? 0 : WRITABLE), index + 1);
        left -= part, index++;
    }
    describe(&entry[index++], BLOCK_STATUS, 1, WRITABLE, 0);
    return index;
}

static void start_disk(volatile u32 *registers) {
    u32 read = option("read=", 64), write = option("write=", 64);
    if (!read && !write)
        return;
    begin(registers);
    struct ring *ring = add_ring(registers, BLOCK, 0, option("depth=", 8));
    u32 reads = table(READ_TABLE, BLOCK_HEADERS, 0, read), writes = table(WRITE_TABLE, BLOCK_HEADERS + 16, 1, write);
    for (u32 i = 0; i < ring->size; i++) {
        u32 writing = !read || (write && i % 2);
        describe(&ring->descriptors[i], writing ? WRITE_TABLE : READ_TABLE, (writing ? writes : reads) * 16, INDIRECT, 0);
        ring->available[2 + i] = i;
    }
    u32 sectors = registers[0x100 / 4], longest = (read > write ? read : write) * 2;
    span = sectors > longest ? sectors - longest : 1;
    ready(registers);
    offer_all(ring);
    notify(ring);
}

/* Each loop reads and writes at another offset, so that the data in guest memory changes. */
static void move_on(void) {
    sector = (sector + 136) % span;
    word(BLOCK_HEADERS)[2] = sector;
    word(BLOCK_HEADERS + 16)[2] = (sector + span / 2) % span;
}

/* The devices whose requests never change */

static void start_net(volatile u32 *registers) {
    begin(registers);
    struct ring *receive = add_ring(registers, NET, 0, 256), *transmit = add_ring(registers, NET, 1, 64);
    fill(receive, NET_IN, 2048, 2048, WRITABLE);
    /* The header of 12 bytes is zero. The frame is a broadcast of an experimental protocol. */
    u8 *frame = (u8 *)NET_OUT + 12;
    for (u32 i = 0; i < 12; i++)
        frame[i] = i < 6 ? 0xff : 2, ((u8 *)NET_OUT)[i] = 0;
    frame[12] = 0x88, frame[13] = 0xb5;
    fill(transmit, NET_OUT, 12 + 1514, 0, 0);
    ready(registers);
    offer_all(receive), offer_all(transmit);
    notify(receive), notify(transmit);
}

static void start_console(volatile u32 *registers) {
    begin(registers);
    struct ring *receive = add_ring(registers, CONSOLE, 0, 64), *transmit = add_ring(registers, CONSOLE, 1, 16);
    for (u32 i = 0; i < 1024; i++)
        ((u8 *)CONSOLE_OUT)[i] = i % 64 == 63 ? '\n' : 'c';
    fill(receive, CONSOLE_IN, 256, 256, WRITABLE);
    fill(transmit, CONSOLE_OUT, 1024, 0, 0);
    ready(registers);
    offer_all(receive), offer_all(transmit);
    notify(receive), notify(transmit);
}

static void start_rng(volatile u32 *registers) {
    begin(registers);
    struct ring *ring = add_ring(registers, RNG, 0, 8);
    fill(ring, RNG_IN, 4096, 4096, WRITABLE);
    ready(registers);
    offer_all(ring);
    notify(ring);
}

enum { BALLOON_PAGES = 32 };

static void start_balloon(volatile u32 *registers) {
    begin(registers);
    struct ring *inflate = add_ring(registers, BALLOON_ID, 0, 4), *deflate = add_ring(registers, BALLOON_ID, 1, 4);
    for (u32 i = 0; i < BALLOON_PAGES; i++)
        word(PAGE_NUMBERS)[i] = BALLOON / PAGE + i;
    fill(inflate, PAGE_NUMBERS, 4 * BALLOON_PAGES, 0, 0);
    fill(deflate, PAGE_NUMBERS, 4 * BALLOON_PAGES, 0, 0);
    ready(registers);
    offer_all(inflate), offer_all(deflate);
    notify(inflate), notify(deflate);
}

/* Sockets: one connection to the host, data in both directions. */

enum { HEADER = 44, SLOT = 4096, OUT_SLOTS = 16, BUFFER = 64 << 10 };
enum { REQUEST = 1, RESPONSE, RESET, SHUTDOWN, DATA_PACKET, CREDIT_UPDATE, CREDIT_REQUEST };
enum { CLOSED, ASKED, OPEN };

struct packet { u64 from, to; u32 from_port, to_port, length; u16 type, op; u32 flags, buffer, forwarded; } __attribute__((packed));

static struct ring *from_host, *to_host;
static u32 cid, host_port, own_port, connection, wait, received, reported, sent, host_buffer, host_forwarded;

static u32 has_slot(void) { return (u16)(to_host->available[1] - to_host->used[1]) < OUT_SLOTS; }

static void send(u32 op, u32 length) {
    u16 index = to_host->available[1], slot = index % OUT_SLOTS;
    u32 address = VSOCK_OUT + slot * SLOT;
    struct packet *packet = (struct packet *)address;
    packet->from = cid, packet->to = 2, packet->from_port = own_port, packet->to_port = host_port;
    packet->length = length, packet->type = 1, packet->op = op, packet->flags = 0;
    packet->buffer = BUFFER, packet->forwarded = received;
    reported = received, sent += length;
    describe(&to_host->descriptors[slot], address, HEADER + length, 0, 0);
    to_host->available[2 + slot] = slot;
    to_host->available[1] = index + 1;
    notify(to_host);
}

static void start_vsock(volatile u32 *registers) {
    begin(registers);
    from_host = add_ring(registers, VSOCK, 0, 64), to_host = add_ring(registers, VSOCK, 1, OUT_SLOTS);
    struct ring *events = add_ring(registers, VSOCK, 2, 4);
    fill(from_host, VSOCK_IN, SLOT, SLOT, WRITABLE);
    fill(events, VSOCK_OUT + OUT_SLOTS * SLOT, 64, 64, WRITABLE);
    cid = registers[0x100 / 4], connection = CLOSED, wait = 0;
    ready(registers);
    offer_all(from_host), offer_all(events);
    notify(from_host), notify(events);
}

static void take_packet(const struct packet *packet) {
    if (packet->from_port != host_port || packet->to_port != own_port)
        return;
    host_buffer = packet->buffer, host_forwarded = packet->forwarded;
    if (packet->op == RESPONSE)
        connection = OPEN;
    else if (packet->op == DATA_PACKET)
        received += packet->length;
    else if (packet->op == RESET || packet->op == SHUTDOWN) {
        if (packet->op == SHUTDOWN && has_slot())
            send(RESET, 0);
        connection = CLOSED, wait = 200;
    } else if (packet->op == CREDIT_REQUEST)
        reported = received - BUFFER;
}

static void turn_vsock(void) {
    u32 got = 0;
    while (from_host->taken != from_host->used[1]) {
        /* used: flags, index, then {id, length} of 32 bits each. */
        u16 id = from_host->used[2 + from_host->taken++ % from_host->size * 4];
        take_packet((struct packet *)(VSOCK_IN + id * SLOT));
        u16 index = from_host->available[1];
        from_host->available[2 + index % from_host->size] = id;
        from_host->available[1] = index + 1;
        got++;
    }
    if (got)
        notify(from_host), word(COMPLETED)[VSOCK] += got;
    if (!has_slot())
        return;
    if (connection == CLOSED && !wait--) {
        own_port++, received = reported = sent = 0, connection = ASKED;
        send(REQUEST, 0);
    } else if (connection == OPEN && host_buffer - (sent - host_forwarded) >= SLOT && sent - host_forwarded <= host_buffer)
        send(DATA_PACKET, SLOT - HEADER);
    else if (connection == OPEN && received - reported >= BUFFER / 4)
        send(CREDIT_UPDATE, 0);
}

/* Ends and sleep */

static void sleep(u32 alarm);

static void execute(u32 command) {
    switch (command) {
    case 'r':
        out8(0x64, 0xfe);
        break;
    case 't':
        triple_fault();
    case 'o':
        out16(0x604, 0x2000);
        break;
    case 'p':
        out8(0x505, 1);
        break;
    case 'd':
        out32(0xf4, 5);
        break;
    case 'x':
        ((void (*)(void))0xfd000000)();
        break;
    case 's':
        sleep(1);
        break;
    case 'z':
        sleep(0);
        break;
    case 'h':
        puts("busy: here\n");
        break;
    default:
        break;
    }
}

static void start_devices(void) {
    count = 0, from_host = 0, span = 1;
    for (u32 i = 0; i < TRANSPORTS; i++) {
        volatile u32 *registers = word(MMIO + i * MMIO_STEP);
        if (registers[0] != 0x74726976)
            break;
        switch (registers[8 / 4]) {
        case NET:
            if (option("net=", 1))
                start_net(registers);
            break;
        case BLOCK:
            if (option("disk=", 1))
                start_disk(registers);
            break;
        case CONSOLE:
            if (option("console=", 1))
                start_console(registers);
            break;
        case RNG:
            if (option("rng=", 1))
                start_rng(registers);
            break;
        case BALLOON_ID:
            if (option("balloon=", 1))
                start_balloon(registers);
            break;
        case VSOCK:
            if ((host_port = option("vsock=", 52)))
                start_vsock(registers);
            break;
        default:
            break;
        }
    }
}

static _Noreturn void work(void) {
    u32 after = option("after=", 0), act = option("act=", 'r'), port = option("port=", 0);
    ++*word(STARTS);
    /* Another port than at earlier starts, whose packets may still be in flight. */
    own_port = 1024 + (*word(STARTS) << 8);
    start_devices();
    puts("busy: started\n");
    for (u32 loop = 1;; loop++) {
        ++*word(COUNTER);
        for (u32 i = 0; i < count; i++) {
            struct ring *ring = &rings[i];
            u16 done = ring->used[1] + ring->size - ring->available[1];
            if (ring->device == VSOCK || !done)
                continue;
            word(COMPLETED)[ring->device] += done;
            if (ring->device == BLOCK)
                move_on();
            offer_all(ring);
            notify(ring);
        }
        *word(BALLOON + loop % BALLOON_PAGES * PAGE) = loop;
        if (from_host)
            turn_vsock();
        if (loop % 8 == 0 && in8(COM1_LINE_STATUS) & 1)
            execute(in8(COM1));
        if (port && loop % 64 == 0)
            out32(0x550, *word(COUNTER));
        if (loop == after)
            execute(act);
    }
}

void main(void) { work(); }

/* start.S: the entry in protected mode of a processor that began at WAKING_VECTOR, and the number of such processors. */
extern const u8 ap_start[], ap_start_end[];
extern volatile u32 ap_count;

__attribute__((regparm(0))) void ap_main(u32 processor) {
    (void)processor;
    ++*word(WAKES);
    /* Acknowledge the alarm: PM1 status, and register C of the clock. */
    out16(0x600, 0x8400);
    out8(0x70, 0xb), out8(0x71, 0x02);
    out8(0x70, 0xc), in8(0x71);
    work();
}

static void sleep(u32 alarm) {
    /* The RSDP leads to the RSDT, the FADT and the FACS, which has the waking vector. */
    u32 fadt = *word(*word(0xe0000 + 16) + 36), facs = *word(fadt + 36);
    *word(facs + 12) = WAKING_VECTOR;
    u8 *page = (u8 *)WAKING_VECTOR;
    asm volatile("" : "+r"(page));
    for (u32 i = 0; i < (u32)(ap_start_end - ap_start); i++)
        page[i] = ap_start[i];
    ap_count = 0;
    /* An alarm in every second, so the next second raises it. */
    for (u32 reg = 1; reg <= 5; reg += 2)
        out8(0x70, reg), out8(0x71, 0xff);
    out8(0x70, 0xb), out8(0x71, alarm ? 0x22 : 0x02);
    out8(0x70, 0xc), in8(0x71);
    out16(0x600, 0xffff);
    out16(0x602, 1 << 10);
    ++*word(SLEEPS);
    out16(0x604, 1 << 10 | 1 << 13);
    /* The processor may run for a moment longer while the machine stops. */
    for (;;)
        asm volatile("pause");
}
