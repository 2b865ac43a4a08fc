//! Injects the interrupts of a PIC outside the kernel, on the thread of the vCPU that receives them.
//!
//! None of this is on the exit path. A PIC with a pending interrupt kicks the vCPU. The kernel reports whether the vCPU
//! can accept an interrupt (`ready_for_interrupt_injection`), and exits when it can if `request_interrupt_window`
//! requested that exit.

use super::Shared;
use crate::interrupts::UserIrqchip;
use kvm_accel_kvm::fd::Vcpu;
use std::sync::{Arc, Weak};

/// The vCPU that a PC's PIC interrupts.
const FIRST: usize = 0;

/// Connects the interrupt controllers to the vCPU.
pub fn attach(irqchip: &dyn UserIrqchip, shared: &Arc<Shared>) {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    irqchip.attach(Arc::new(move || {
        if let Some(shared) = shared.upgrade() {
            shared.control.interrupt(FIRST);
        }
    }));
}

/// Injects the PIC's interrupt if the vCPU can accept one now, and requests an exit for when it can accept the next.
/// Called before an entry for which the vCPU thread had a request. Returns true if it injected an interrupt, which ends
/// a halt.
pub fn inject(shared: &Shared, vcpu: &Vcpu, index: usize) -> bool {
    let Some(irqchip) = shared.irqchip.as_deref().filter(|_| index == FIRST) else { return false };
    let injects = irqchip.pending() && vcpu.page().take_ready_for_injection();
    if injects {
        // Fails only if the kernel emulates a PIC. Here the PIC is outside the kernel.
        let _ = vcpu.interrupt(irqchip.acknowledge());
    }
    vcpu.page().request_interrupt_window(irqchip.pending());
    injects
}

/// Returns whether a halted vCPU continues.
pub fn wakes(shared: &Shared, vcpu: &Vcpu) -> bool {
    vcpu.page().interrupts_enabled() && shared.irqchip.as_deref().is_some_and(UserIrqchip::pending)
}
