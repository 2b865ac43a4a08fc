//! Computes the argument of KVM_SET_GUEST_DEBUG.

use super::{Breakpoint, BreakpointKind, Breakpoints, DebugSupport};
use kvm_accel_kvm::fd::DebugWords;

const ENABLE: u32 = 1;
const SINGLESTEP: u32 = 2;
const USE_SW_BP: u32 = 0x0001_0000;
const USE_HW_BP: u32 = 0x0002_0000;
const BLOCKIRQ: u32 = 0x0010_0000;

/// DR7 without a breakpoint: exact local and global, which old processors use.
const DR7_EMPTY: u64 = 0x600;

/// Returns the argument for a vCPU that runs with these breakpoints, or makes one step. A step ignores breakpoints at
/// `stepped_from`, where it begins.
#[must_use]
pub fn debug_words(breakpoints: &Breakpoints, stepped_from: Option<u64>, support: DebugSupport) -> DebugWords {
    let mut words = DebugWords::default();
    if stepped_from.is_some() {
        words.control |= ENABLE | SINGLESTEP | if support.block_irq { BLOCKIRQ } else { 0 };
    }
    if breakpoints.any_software() {
        words.control |= ENABLE | USE_SW_BP;
    }
    if !breakpoints.hardware().is_empty() {
        words.control |= ENABLE | USE_HW_BP;
        let mut dr7 = DR7_EMPTY;
        for (n, breakpoint) in breakpoints.hardware().iter().enumerate() {
            if let Some(register) = words.registers.get_mut(n) {
                *register = breakpoint.address;
            }
            let skipped = breakpoint.kind == BreakpointKind::Hardware && stepped_from == Some(breakpoint.address);
            if !skipped {
                dr7 |= dr7_bits(n, breakpoint);
            }
        }
        words.registers[7] = dr7;
    }
    words
}

/// Returns the DR7 bits of register `n`: enabled globally, its type and its length.
const fn dr7_bits(n: usize, breakpoint: &Breakpoint) -> u64 {
    let kind: u64 = match breakpoint.kind {
        BreakpointKind::Software | BreakpointKind::Hardware => 0,
        BreakpointKind::Write => 1,
        BreakpointKind::Access => 3,
    };
    let length: u64 = match breakpoint.length {
        2 => 1,
        4 => 3,
        8 => 2,
        _ => 0,
    };
    2 << (2 * n) | kind << (16 + 4 * n) | length << (18 + 4 * n)
}

#[cfg(test)]
mod tests {
    use super::super::breakpoints::ByteMemory;
    use super::*;

    struct AnyMemory;

    impl ByteMemory for AnyMemory {
        fn read(&mut self, _: u64) -> Option<u8> {
            Some(0x90)
        }
        fn write(&mut self, _: u64, _: u8) -> bool {
            true
        }
    }

    const SUPPORT: DebugSupport = DebugSupport { guest_debug: true, block_irq: true };

    fn list(breakpoints: &[(BreakpointKind, u64, u64)]) -> Breakpoints {
        let mut list = Breakpoints::default();
        for &(kind, address, length) in breakpoints {
            list.insert(Breakpoint { kind, address, length }, &mut AnyMemory).unwrap();
        }
        list
    }

    #[test]
    fn test_nothing_is_off_and_a_step_blocks_interrupts_where_it_can() {
        let none = Breakpoints::default();
        assert_eq!(debug_words(&none, None, SUPPORT), DebugWords::default());
        assert_eq!(debug_words(&none, Some(0), SUPPORT).control, 0x0010_0003);
        let older = DebugSupport { block_irq: false, ..SUPPORT };
        assert_eq!(debug_words(&none, Some(0), older).control, 3);
    }

    #[test]
    fn test_dr7_as_the_manual_has_it() {
        use BreakpointKind::{Access, Hardware, Software, Write};
        let words = debug_words(&list(&[(Hardware, 0x1001, 1)]), None, SUPPORT);
        assert_eq!((words.control, words.registers), (0x0002_0001, [0x1001, 0, 0, 0, 0, 0, 0, 0x602]));
        let all = list(&[(Write, 0x1000, 1), (Access, 0x2000, 2), (Write, 0x3000, 4), (Access, 0x4000, 8)]);
        let words = debug_words(&all, None, SUPPORT);
        assert_eq!(words.registers, [0x1000, 0x2000, 0x3000, 0x4000, 0, 0, 0, 0xbd71_06aa]);
        let both = debug_words(&list(&[(Software, 5, 1), (Hardware, 6, 1)]), None, SUPPORT);
        assert_eq!(both.control, 0x0003_0001);
        assert_eq!(debug_words(&list(&[(Software, 5, 1)]), None, SUPPORT).registers, [0; 8]);
    }

    #[test]
    fn test_a_step_leaves_the_breakpoint_it_stands_on() {
        let breakpoints = list(&[(BreakpointKind::Hardware, 0x1001, 1), (BreakpointKind::Write, 0x1001, 1)]);
        let words = debug_words(&breakpoints, Some(0x1001), SUPPORT);
        assert_eq!(words.registers[7], 0x600 | 2 << 2 | 1 << 20, "the watchpoint stays");
        assert_eq!(debug_words(&breakpoints, Some(0x1002), SUPPORT).registers[7] & 2, 2);
    }
}
