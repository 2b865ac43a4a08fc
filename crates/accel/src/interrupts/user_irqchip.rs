//! The interface to interrupt controllers outside the kernel: a PIC whose output is connected to the first vCPU, and an
//! IOAPIC.

use std::sync::Arc;

/// Makes the vCPU check its interrupt controller, inside or outside the guest.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Interrupt controllers outside the kernel. Called on vCPU threads. Implementations must not block.
pub trait UserIrqchip: Send + Sync {
    /// Sets the function to call, without holding a lock, each time [`UserIrqchip::pending`] becomes true.
    fn attach(&self, wake: Wake);
    /// Returns the level of the PIC's output.
    fn pending(&self) -> bool;
    /// Acknowledges the PIC's interrupt for the processor, and returns its vector.
    fn acknowledge(&self) -> u8;
    /// Handles the end of a level-triggered interrupt of the IOAPIC (KVM_EXIT_IOAPIC_EOI).
    fn end_of_interrupt(&self, vector: u8);
}
