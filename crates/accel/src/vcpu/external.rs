//! Interrupts of a PIC outside the kernel, on the thread of the vCPU that takes them.
//!
//! Nothing of this is on the exit path: a PIC that has something to say kicks the vCPU, and the kernel says when it can be taken
//! (`ready_for_interrupt_injection`, and an exit when it can that was asked for with `request_interrupt_window`).

use super::Shared;
use crate::interrupts::UserIrqchip;
use kvm_accel_kvm::fd::Vcpu;
use std::sync::{Arc, Weak};

/// The vCPU that a PC's PIC interrupts.
const FIRST: usize = 0;

/// Connects the controllers with the vCPU.
pub fn attach(irqchip: &dyn UserIrqchip, shared: &Arc<Shared>) {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    irqchip.attach(Arc::new(move || {
        if let Some(shared) = shared.upgrade() {
            shared.control.interrupt(FIRST);
        }
    }));
}

/// Injects the PIC's interrupt if the vCPU can take one now, and requests an exit for the moment when it can take the next. Runs before an
/// entry for which the vCPU thread had something to do. True if it injected an interrupt, which ends a halt.
pub fn inject(shared: &Shared, vcpu: &Vcpu, index: usize) -> bool {
    let Some(irqchip) = shared.irqchip.as_deref().filter(|_| index == FIRST) else { return false };
    let injects = irqchip.pending() && vcpu.page().take_ready_for_injection();
    if injects {
        // Fails only if the kernel has a PIC of its own. It has none: the PIC is ours.
        let _ = vcpu.interrupt(irqchip.acknowledge());
    }
    vcpu.page().request_interrupt_window(irqchip.pending());
    injects
}

/// Whether a halted vCPU goes on.
pub fn wakes(shared: &Shared, vcpu: &Vcpu) -> bool {
    vcpu.page().interrupts_enabled() && shared.irqchip.as_deref().is_some_and(UserIrqchip::pending)
}
