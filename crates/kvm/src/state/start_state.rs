//! The register state in which a loader passes control to the first vCPU.

/// How the first vCPU starts. All other registers have their reset values, except that caches are on (CR0.CD and CR0.NW
/// are 0) if the mode is not [`StartMode::Reset`]. Application processors wait for INIT/SIPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartState {
    /// Segments and control registers.
    pub mode: StartMode,
    /// First instruction (in real mode: an offset into segment 0).
    pub rip: u64,
    /// General registers in which a boot protocol passes values.
    pub rax: u64,
    /// See `rax`.
    pub rbx: u64,
    /// See `rax`.
    pub rsi: u64,
    /// Initial stack pointer; 0 if the protocol specifies none.
    pub rsp: u64,
}

/// The processor mode of a [`StartState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// The reset vector, 16 bytes below 4 GiB. Registers have their reset values, and no other field has an effect.
    Reset,
    /// 16-bit real mode, all segments 0.
    Real,
    /// Flat 32-bit protected mode, paging off, interrupts off (multiboot 1, PVH).
    Protected,
    /// 64-bit mode, interrupts off. Code segment 0x10 and data segments 0x18, which the GDT in guest memory defines as
    /// the whole address space (Linux's 64-bit boot protocol).
    Long {
        /// Physical address of the top-level page table, which maps the first instruction and the GDT to their own addresses.
        page_table: u64,
        /// Physical address of the GDT.
        gdt: u64,
        /// Offset of the GDT's last byte.
        gdt_limit: u16,
    },
}
