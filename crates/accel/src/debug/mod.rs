//! Guest debug: breakpoints, watchpoints and single-step from outside the guest.
//!
//! [`Breakpoints`] is the machine's list with QEMU's rules. `debug_words` computes the argument of KVM_SET_GUEST_DEBUG
//! for it. [`decide()`] decides whether a debug exit belongs to the user or the guest. All three are pure;
//! `vcpu/debug.rs` applies their results.

mod breakpoints;
mod decide;
mod memory;
mod words;

pub use breakpoints::{Breakpoint, BreakpointKind, BreakpointProblem, Breakpoints, ByteMemory};
pub(crate) use decide::reinjected;
pub use decide::{DebugCause, DebugReason, DebugStop, decide};
pub(crate) use memory::{LinearMemory, physical};
pub(crate) use words::debug_words;

use kvm_accel_kvm::Capability;
use kvm_accel_kvm::fd::System;
use kvm_accel_kvm::lock;
use std::sync::{Mutex, MutexGuard};

/// KVM_GUESTDBG_BLOCKIRQ, as KVM_CAP_SET_GUEST_DEBUG2 lists it.
const BLOCK_IRQ: u32 = 0x0010_0000;

/// The debug features of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugSupport {
    /// KVM_CAP_SET_GUEST_DEBUG.
    pub guest_debug: bool,
    /// A step can block interrupts.
    pub block_irq: bool,
}

impl DebugSupport {
    pub(crate) fn new(system: &System) -> Self {
        Self {
            guest_debug: system.check(Capability::SetGuestDebug) != 0,
            block_irq: system.check(Capability::SetGuestDebug2) & BLOCK_IRQ != 0,
        }
    }
}

/// The debug state that the vCPUs of one machine share. Changed while all are stopped, read at debug exits.
#[derive(Debug)]
pub(crate) struct GuestDebug {
    pub support: DebugSupport,
    breakpoints: Mutex<Breakpoints>,
}

impl GuestDebug {
    pub fn new(support: DebugSupport) -> Self {
        Self { support, breakpoints: Mutex::default() }
    }

    pub fn breakpoints(&self) -> MutexGuard<'_, Breakpoints> {
        lock(&self.breakpoints)
    }
}
