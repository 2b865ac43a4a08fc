//! The seam towards interrupt controllers outside the kernel: a PIC whose output is the first vCPU's, and an IOAPIC.

use std::sync::Arc;

/// Makes the vCPU look at its interrupt controller, wherever it is.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Interrupt controllers outside the kernel. Called on vCPU threads; waits for nobody.
pub trait UserIrqchip: Send + Sync {
    /// What to call, with no lock held, each time [`UserIrqchip::pending`] becomes true.
    fn attach(&self, wake: Wake);
    /// The PIC's output.
    fn pending(&self) -> bool;
    /// The processor takes the PIC's interrupt: its vector.
    fn acknowledge(&self) -> u8;
    /// A guest has ended a level-triggered interrupt of the IOAPIC (KVM_EXIT_IOAPIC_EOI).
    fn end_of_interrupt(&self, vector: u8);
}
