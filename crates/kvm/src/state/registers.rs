//! The registers that events and reports show, and their formatting in QEMU's style.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Linear base.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u32,
    /// Bits 15:0 as in a VMX access-rights field: type, S, DPL, P, AVL, L, D/B, G.
    pub attributes: u32,
}

impl Segment {
    const fn bit(&self, bit: u32) -> bool {
        self.attributes >> bit & 1 != 0
    }
}

/// General, segment and control registers of one vCPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 to r15.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// LDTR.
    pub ldt: Segment,
    /// TR.
    pub tr: Segment,
    /// GDT base and limit.
    pub gdt: (u64, u16),
    /// IDT base and limit.
    pub idt: (u64, u16),
    /// CR0, CR2, CR3, CR4.
    pub control: [u64; 4],
    /// CR8: the task priority.
    pub cr8: u64,
    /// EFER.
    pub efer: u64,
    /// IA32_APIC_BASE.
    pub apic_base: u64,
    /// The four page-directory pointers of PAE paging, if the kernel reports them separately from memory.
    pub pdptrs: Option<[u64; 4]>,
}

const EFER_LMA: u64 = 1 << 10;
const CR0_PE: u64 = 1;

impl Registers {
    /// Returns CS.
    #[must_use]
    pub const fn cs(&self) -> &Segment {
        &self.segments[1]
    }

    /// Returns the current privilege level: SS.DPL, as in hardware.
    #[must_use]
    pub const fn cpl(&self) -> u32 {
        self.segments[2].attributes >> 5 & 3
    }

    /// Returns true in protected mode (CR0.PE).
    #[must_use]
    pub const fn protected(&self) -> bool {
        self.control[0] & CR0_PE != 0
    }

    /// Returns 16, 32 or 64: the mode in which the bytes at rip are decoded.
    #[must_use]
    pub const fn bitness(&self) -> u32 {
        if self.efer & EFER_LMA != 0 && self.cs().bit(13) {
            64
        } else if self.protected() && self.cs().bit(14) {
            32
        } else {
            16
        }
    }

    /// Returns the linear address of the next instruction.
    #[must_use]
    pub const fn linear_rip(&self) -> u64 {
        if self.bitness() == 64 { self.rip } else { self.cs().base.wrapping_add(self.rip) & 0xffff_ffff }
    }
}

impl fmt::Display for Registers {
    /// Formats the registers line by line like QEMU's `info registers`, so that tools for QEMU's output can read them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GENERAL: [&str; 16] = [
            "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14",
            "R15",
        ];
        for (line, names) in self.general.chunks(4).zip(GENERAL.chunks(4)) {
            let line: Vec<_> = names.iter().zip(line).map(|(name, value)| format!("{name}={value:016x}")).collect();
            writeln!(f, "{}", line.join(" "))?;
        }
        let flags: String = [('D', 10), ('O', 11), ('S', 7), ('Z', 6), ('A', 4), ('P', 2), ('C', 0)]
            .iter()
            .map(|&(letter, bit)| if self.rflags >> bit & 1 != 0 { letter } else { '-' })
            .collect();
        writeln!(f, "RIP={:016x} RFL={:08x} [{flags}] CPL={}", self.rip, self.rflags, self.cpl())?;
        for (name, segment) in ["ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDT", "TR "]
            .iter()
            .zip(self.segments.iter().chain([&self.ldt, &self.tr]))
        {
            writeln!(
                f,
                "{name}={:04x} {:016x} {:08x} {:08x} DPL={}",
                segment.selector,
                segment.base,
                segment.limit,
                segment.attributes << 8,
                segment.attributes >> 5 & 3
            )?;
        }
        writeln!(f, "GDT=     {:016x} {:08x}", self.gdt.0, self.gdt.1)?;
        writeln!(f, "IDT=     {:016x} {:08x}", self.idt.0, self.idt.1)?;
        let [cr0, cr2, cr3, cr4] = self.control;
        writeln!(f, "CR0={cr0:08x} CR2={cr2:016x} CR3={cr3:016x} CR4={cr4:08x}")?;
        write!(f, "EFER={:016x}", self.efer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_bitness_follows_mode_and_code_segment() {
        let mut r = Registers::default();
        assert_eq!(r.bitness(), 16);
        r.control[0] = CR0_PE;
        r.segments[1].attributes = 1 << 14;
        assert_eq!(r.bitness(), 32);
        r.efer = EFER_LMA;
        r.segments[1].attributes = 1 << 13;
        assert_eq!(r.bitness(), 64);
    }

    #[test]
    fn test_linear_rip_adds_the_base_outside_long_mode() {
        let mut r = Registers { rip: 0xfff0, ..Default::default() };
        r.segments[1].base = 0xffff_0000;
        assert_eq!(r.linear_rip(), 0xffff_fff0);
    }

    #[test]
    fn test_display_shows_flags_as_letters() {
        let r = Registers { rflags: 0x246, rip: 0x10_0000, ..Default::default() };
        assert!(r.to_string().contains("RIP=0000000000100000 RFL=00000246 [---Z-P-] CPL=0"));
    }
}
