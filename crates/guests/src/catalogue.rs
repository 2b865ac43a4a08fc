//! The list of guest programs.

use crate::Guest;

/// Expands to a catalogue entry. `build.rs` has named the image files.
macro_rules! guest {
    ($name:literal, $about:literal) => {
        Guest {
            name: $name,
            about: $about,
            pvh: include_bytes!(concat!(env!("OUT_DIR"), "/programs-", $name, ".pvh.elf")),
            multiboot: include_bytes!(concat!(env!("OUT_DIR"), "/programs-", $name, ".multiboot.elf")),
        }
    };
}

/// Every guest program, by name.
pub const GUESTS: &[Guest] = &[
    guest!(
        "cpuid",
        "Prints CPUID leaf= (0), sub= (0) of cpus= (1) processors, and MSR msr= (none) after writing write= (nothing) to it"
    ),
    guest!("debug-exit", "Writes value= (5) to the isa-debug-exit port= (0xf4)"),
    guest!(
        "dirty",
        "Writes count= (200) pages below end= (8) MiB, chosen by seed= (1), on cpus= (1) processors; wait=1 then waits for a byte"
    ),
    guest!("emulation-failure", "Runs an x87 instruction, which KVM's instruction emulator lacks"),
    guest!(
        "fw-cfg",
        "Reads the machine's description and the file opt/test from fw_cfg, by ports and by DMA, and prints them"
    ),
    guest!("hello", "Prints a greeting"),
    guest!(
        "hpet",
        "Prints the HPET's registers and which of its interrupts come, and those of the PIT before and after it"
    ),
    guest!(
        "interrupts",
        "Writes the vector of each interrupt to port 0xe0: messages, NMIs, and IOAPIC pin= (none), level= (0)"
    ),
    guest!(
        "irqchips",
        "Takes ticks= (10) interrupts of the PIT and of COM1 through the PIC, and with ioapic=1 through the IOAPIC"
    ),
    guest!(
        "mmio-loop",
        "Loads (or with store=1 stores) count= (1000) times at an unclaimed address; prints the duration in TSC ticks"
    ),
    guest!(
        "notify",
        "Executes the CPUID leaf that causes a notify exit on the notify test host: count= (1) times on cpus= (1) processors, invalid= (0)"
    ),
    guest!(
        "pio-loop",
        "Writes count= (1000) times to an unclaimed port on cpus= (1) processors; prints the duration in TSC ticks"
    ),
    guest!("platform", "Prints what firmware leaves to a kernel: CR0, stack, PIC, PIT, BIOS data; resets by way= (0)"),
    guest!("ports", "Prints a line on each of COM2 to COM4 and at debug= (0xe9), and on COM1 which of them exist"),
    guest!("reboot-loop", "Prints one line and resets, each time it starts"),
    guest!("rtc", "Prints the CMOS clock's date, its bytes for firmware, and which of its interrupts arrive"),
    guest!("serial-echo", "Echoes COM1 up to a `q`"),
    guest!("serial-flood", "Prints numbered lines without end, or count= lines"),
    guest!("smp", "Starts the other of cpus= (2) processors; each does count= (8) port writes"),
    guest!("spin", "Prints one line, then runs an empty loop without end"),
    guest!("string-io", "Does string output and input in pieces of many sizes and checks them"),
    guest!(
        "test-devices",
        "Tests pc-testdev and prints the results: latches, a flushed page, lines 3 to 7, memory that is not RAM"
    ),
    guest!("triple-fault", "Ends with a triple fault"),
];
