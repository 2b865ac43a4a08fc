//! `kvm_vcpu_events` with its validity bits resolved.

use serde::{Deserialize, Serialize};

/// Events that are pending or in delivery on a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// An exception in delivery or pending.
    pub exception: Option<Exception>,
    /// An interrupt whose delivery was interrupted.
    pub interrupt: Option<Interrupt>,
    /// KVM_X86_SHADOW_INT_*: bit 0 after `mov ss`, bit 1 after `sti`.
    pub interrupt_shadow: u8,
    /// Non-maskable interrupts.
    pub nmi: Nmi,
    /// The page number at which a SIPI that has arrived starts this vCPU.
    pub sipi_vector: u32,
    /// System management mode; all false on a kernel without it.
    pub smi: Smi,
    /// A triple fault is pending: the next entry ends in KVM_EXIT_SHUTDOWN.
    pub triple_fault: bool,
}

/// An exception in delivery or pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// 0 to 31, and not 2.
    pub vector: u8,
    /// True if delivery was interrupted and is repeated. False if the exception is pending, and DR6 or CR2 do not
    /// contain the payload yet.
    pub injected: bool,
    /// The error code, for vectors that have one.
    pub error_code: Option<u32>,
    /// The value that DR6 (#DB) or CR2 (#PF) receives at delivery.
    pub payload: Option<u64>,
}

/// An interrupt in delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// Its vector.
    pub vector: u8,
    /// Raised by `int n`.
    pub soft: bool,
}

/// Non-maskable interrupts of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nmi {
    /// Delivery was interrupted and is repeated.
    pub injected: bool,
    /// Number of pending NMIs.
    pub pending: u8,
    /// NMIs are masked until the next `iret`.
    pub masked: bool,
}

/// System management mode of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smi {
    /// The vCPU is in system management mode.
    pub smm: bool,
    /// An SMI is pending.
    pub pending: bool,
    /// Entered from an NMI handler.
    pub smm_inside_nmi: bool,
    /// INIT arrived in system management mode.
    pub latched_init: bool,
}
