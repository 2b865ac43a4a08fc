//! `kvm_vcpu_events` with its validity bits resolved.

use serde::{Deserialize, Serialize};

/// What is about to be delivered to a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// An exception on its way.
    pub exception: Option<Exception>,
    /// An interrupt whose delivery was cut short.
    pub interrupt: Option<Interrupt>,
    /// KVM_X86_SHADOW_INT_*: bit 0 after `mov ss`, bit 1 after `sti`.
    pub interrupt_shadow: u8,
    /// Non-maskable interrupts.
    pub nmi: Nmi,
    /// Where a SIPI that has arrived starts this vCPU, in pages.
    pub sipi_vector: u32,
    /// System management mode; all false on a kernel without it.
    pub smi: Smi,
    /// A triple fault waits: the next entry ends in KVM_EXIT_SHUTDOWN.
    pub triple_fault: bool,
}

/// An exception on its way to the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// 0 to 31, and not 2.
    pub vector: u8,
    /// Delivery was cut short and is repeated; otherwise it is pending, and DR6 or CR2 do not have the payload yet.
    pub injected: bool,
    /// The error code, for vectors that have one.
    pub error_code: Option<u32>,
    /// What becomes DR6 (#DB) or CR2 (#PF) when it is delivered.
    pub payload: Option<u64>,
}

/// An interrupt on its way to the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// Its vector.
    pub vector: u8,
    /// Made by `int n`.
    pub soft: bool,
}

/// Non-maskable interrupts of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nmi {
    /// Delivery was cut short and is repeated.
    pub injected: bool,
    /// NMIs that wait.
    pub pending: u8,
    /// Until the next `iret`.
    pub masked: bool,
}

/// System management mode of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smi {
    /// In it.
    pub smm: bool,
    /// An SMI waits.
    pub pending: bool,
    /// Entered from an NMI handler.
    pub smm_inside_nmi: bool,
    /// INIT arrived in it.
    pub latched_init: bool,
}
