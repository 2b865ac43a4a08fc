//! A vCPU's register state in user space: typed, divided as in the kernel, with the parts that each level writes.
//!
//! The kernel holds the registers. `fd/vcpu/state/` reads and writes them in QEMU's order, which [`Level::steps`]
//! defines.

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

/// All state that the kernel keeps for one vCPU.
///
/// Parts that this kernel or this machine lacks are `None`, and are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuState {
    /// General, segment, table and control registers.
    pub registers: Registers,
    /// The XSAVE area in the processor's standard format. The kernel determines its length, which must stay the same.
    pub xsave: Vec<u8>,
    /// Which parts of the XSAVE area are in use.
    pub xcr0: Option<u64>,
    /// The MSRs that the kernel lists and can read.
    pub msrs: Vec<Msr>,
    /// Events that are pending or in delivery.
    pub events: Events,
    /// DR0 to DR3, DR6, DR7.
    pub debug: DebugRegisters,
    /// Whether the vCPU runs, is halted or waits for INIT or SIPI.
    pub mp_state: MpState,
    /// The registers of a local APIC in the kernel, 1024 bytes.
    pub lapic: Option<Vec<u8>>,
    /// The nested state of a guest that runs a hypervisor.
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
    /// Runnable.
    #[default]
    Runnable,
    /// Waiting for INIT.
    Uninitialized,
    /// INIT has arrived. Waiting for SIPI.
    InitReceived,
    /// Halted by `hlt`.
    Halted,
    /// SIPI has arrived.
    SipiReceived,
    /// A number that has no meaning on x86.
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

/// `kvm_nested_state`: a small header that shows whether a nested guest runs, and data that only the kernel interprets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nested {
    /// KVM_STATE_NESTED_*: bit 0 in a nested guest, bit 1 entry pending, bit 8 global interrupt flag (SVM).
    pub flags: u16,
    /// 0 for VMX, 1 for SVM.
    pub format: u16,
    /// The data after the eight bytes of flags, format and size.
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
