//! Interrupts of a PIC outside the kernel, on the thread of the vCPU that takes them.
//!
//! Nothing of this is on the exit path: a PIC that has something to say kicks the vCPU, and the kernel says when it can be taken
//! (`ready_for_interrupt_injection`, and an exit when it can that was asked for with `request_interrupt_window`).

use super::Shared;
use crate::interrupts::UserIrqchip;
use crate::kvm::vcpu::Vcpu;
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

/// Gives the vCPU the PIC's interrupt if it can take one, and asks the kernel to say so if it cannot. Before each entry that something was
/// asked for.
pub fn inject(shared: &Shared, vcpu: &Vcpu, index: usize) {
    let Some(irqchip) = shared.irqchip.as_deref().filter(|_| index == FIRST) else { return };
    if irqchip.pending() && vcpu.page().take_ready_for_injection() {
        // Refused only where the kernel has a PIC of its own, which it has not.
        let _ = vcpu.interrupt(irqchip.acknowledge());
    }
    vcpu.page().request_interrupt_window(irqchip.pending());
}

/// Whether a halted vCPU goes on.
pub fn wakes(shared: &Shared, vcpu: &Vcpu) -> bool {
    vcpu.page().interrupts_enabled() && shared.irqchip.as_deref().is_some_and(UserIrqchip::pending)
}
