//! Creates the interrupt controllers that `kernel-irqchip` selects.

use crate::properties::KernelIrqchip;
use crate::{Capability, Result};
use kvm_accel_kvm::fd::Vm;

/// Number of IOAPIC pins for which KVM reserves routes in split mode, as in QEMU.
const SPLIT_PINS: u64 = 24;

/// Creates the irqchip, and the PIT if `pit` is set and the other chips are in the kernel too. Must follow the memory
/// slots and precede the vCPUs.
pub(crate) fn create(vm: &Vm, mode: KernelIrqchip, pit: bool) -> Result<()> {
    match mode {
        KernelIrqchip::On => {
            vm.create_irqchip()?;
            if pit {
                vm.create_pit()?;
            }
        }
        KernelIrqchip::Off => {}
        KernelIrqchip::Split => vm.enable(Capability::SplitIrqchip, SPLIT_PINS)?,
    }
    Ok(())
}
