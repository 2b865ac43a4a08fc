//! A vCPU's register file in user space: typed, in the kernel's own division, and which parts of it are written when.
//!
//! The kernel holds the registers. Reading and writing are in `fd/vcpu/state/`, in QEMU's order, which [`Level::steps`] spells out.

mod events;
mod level;
mod msr;
mod registers;
mod start_state;

pub use events::{Events, Exception, Interrupt, Nmi, Smi};
pub use level::{Level, Step};
pub use msr::Msr;
pub(crate) use msr::{FEATURE_CONTROL, SMBASE, TSC_DEADLINE, runtime as runtime_msr};
pub use registers::{Registers, Segment};
pub use start_state::{StartMode, StartState};

use serde::{Deserialize, Serialize};

/// Everything that the kernel keeps about one vCPU.
///
/// Parts that this kernel or this machine does not have are `None`; they are not written then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuState {
    /// General, segment, table and control registers.
    pub registers: Registers,
    /// The XSAVE area in the processor's standard format; its length is the kernel's and may not be changed.
    pub xsave: Vec<u8>,
    /// Which parts of the XSAVE area are in use.
    pub xcr0: Option<u64>,
    /// The MSRs that the kernel lists and lets be read.
    pub msrs: Vec<Msr>,
    /// What is about to be delivered.
    pub events: Events,
    /// DR0 to DR3, DR6, DR7.
    pub debug: DebugRegisters,
    /// Whether it runs, halts or waits.
    pub mp_state: MpState,
    /// The registers of a local APIC in the kernel, 1024 bytes.
    pub lapic: Option<Vec<u8>>,
    /// The state of a guest that is a hypervisor itself.
    pub nested: Option<Nested>,
    /// The guest's TSC frequency.
    pub tsc_khz: Option<u32>,
}

/// The guest's own debug registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugRegisters {
    /// DR0 to DR3.
    pub addresses: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
}

/// KVM_MP_STATE_*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MpState {
    /// Runs.
    #[default]
    Runnable,
    /// Waits for INIT.
    Uninitialized,
    /// Has had INIT and waits for SIPI.
    InitReceived,
    /// In `hlt`.
    Halted,
    /// Has had SIPI.
    SipiReceived,
    /// A number without a meaning on x86.
    Other(u32),
}

impl From<u32> for MpState {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::Runnable,
            1 => Self::Uninitialized,
            2 => Self::InitReceived,
            3 => Self::Halted,
            4 => Self::SipiReceived,
            other => Self::Other(other),
        }
    }
}

impl From<MpState> for u32 {
    fn from(state: MpState) -> Self {
        match state {
            MpState::Runnable => 0,
            MpState::Uninitialized => 1,
            MpState::InitReceived => 2,
            MpState::Halted => 3,
            MpState::SipiReceived => 4,
            MpState::Other(number) => number,
        }
    }
}

/// `kvm_nested_state`: a small header that says whether a nested guest runs, and data that only the kernel reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nested {
    /// KVM_STATE_NESTED_*: bit 0 in a nested guest, bit 1 entry pending, bit 8 global interrupt flag (SVM).
    pub flags: u16,
    /// 0 for VMX, 1 for SVM.
    pub format: u16,
    /// What follows the eight bytes of flags, format and size.
    pub data: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn test_every_mp_state_number_survives(number: u32) {
            prop_assert_eq!(u32::from(MpState::from(number)), number);
        }
    }
}
