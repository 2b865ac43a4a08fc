//! Model-specific registers, and which of them each level writes.

use serde::{Deserialize, Serialize};

/// One MSR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msr {
    /// Its number.
    pub index: u32,
    /// Its value.
    pub value: u64,
}

/// Written before all other state: it locks VMX, whose state follows.
pub const FEATURE_CONTROL: u32 = 0x3a;
/// Written last: the local APIC's timer mode decides whether it has an effect.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// A kernel that lists this MSR has system management mode.
pub const SMBASE: u32 = 0x9e;

/// The MSRs that change only through the guest's own writes, as far as its code can see: QEMU's list. All other MSRs
/// hold clocks, counters, addresses that the kernel writes to, or one-time settings. Writing those back would turn time
/// back.
const RUNTIME: &[(u32, u32)] = &[
    (0x34, 0x34), // SMI_COUNT
    (0x3b, 0x3b), // TSC_ADJUST
    (0x48, 0x48), // SPEC_CTRL
    (SMBASE, SMBASE),
    (0xe1, 0xe1),               // UMWAIT_CONTROL
    (0x122, 0x122),             // TSX_CTRL
    (0x174, 0x176),             // SYSENTER_CS, _ESP, _EIP
    (0x17a, 0x17b),             // MCG_STATUS, MCG_CTL
    (0x1a0, 0x1a0),             // MISC_ENABLE
    (0x277, 0x277),             // PAT
    (0x400, 0x47f),             // 32 machine check banks of four
    (0x6e1, 0x6e1),             // PKRS
    (0xd90, 0xd90),             // BNDCFGS
    (0xda0, 0xda0),             // XSS
    (0xc000_0081, 0xc000_0084), // STAR, LSTAR, CSTAR, FMASK
    (0xc000_0102, 0xc000_0104), // KERNEL_GS_BASE, TSC_AUX, TSC_RATIO
    (0xc001_0117, 0xc001_0117), // VM_HSAVE_PA
    (0xc001_011f, 0xc001_011f), // VIRT_SSBD
];

/// Returns whether every level writes this MSR.
pub fn runtime(index: u32) -> bool {
    RUNTIME.iter().any(|&(first, last)| (first..=last).contains(&index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_clocks_counters_and_set_up_are_not_written_while_a_guest_runs() {
        for index in [0x10, 0x11, 0x12, 0x4b56_4d00, 0x4b56_4d02, 0x4b56_4d05, 0xc1, 0x200, 0x38f, FEATURE_CONTROL] {
            assert!(!runtime(index), "{index:#x}");
        }
        assert!(!runtime(TSC_DEADLINE), "TSC_DEADLINE has a separate step");
        for index in [0x174, 0x175, 0x176, 0x277, 0xc000_0081, 0xc000_0082, 0xc000_0102, 0x3b, 0x47f] {
            assert!(runtime(index), "{index:#x}");
        }
    }
}
