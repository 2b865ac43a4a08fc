//! The interrupt controllers, as `kernel-irqchip` asks for them.

use crate::properties::KernelIrqchip;
use crate::{Capability, Result};
use kvm_accel_kvm::fd::Vm;

/// Pins of the IOAPIC that KVM reserves routes for in split mode, as in QEMU.
const SPLIT_PINS: u64 = 24;

/// Creates the irqchip, and the PIT, if there shall be one, where the kernel has the rest too. After the memory slots, before the vCPUs.
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
