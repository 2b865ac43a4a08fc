//! The VM fd's ioctls for interrupts. They need no ordering between threads, so each device keeps a handle.

use crate::Result;
use crate::error::{error_of, failed};
use crate::trace::called;
use crate::trace::trace;
use crate::upstream;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KVM_PIT_FLAGS_HPET_LEGACY, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_irqchip, kvm_irq_routing_msi, kvm_msi,
};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Weak};
use vmm_sys_util::errno;
use vmm_sys_util::eventfd::EventFd;

/// The memory write of a message-signalled interrupt: an address that selects local APICs, and data with vector and
/// mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Msi {
    /// The address, 0xfee00000 and up on x86.
    pub address: u64,
    /// Vector, delivery mode and trigger mode.
    pub data: u32,
}

/// An interrupt controller in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// The first 8259.
    PicMaster,
    /// The second 8259, behind line 2 of the first.
    PicSlave,
    /// The IOAPIC.
    Ioapic,
}

/// The destination of a GSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A pin of a controller in the kernel.
    Pin(Chip, u32),
    /// The local APICs that this message selects.
    Msi(Msi),
}

/// One entry of the table. A GSI may have several: an ISA line leads to a PIC and to the IOAPIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqRoute {
    /// Global system interrupt.
    pub gsi: u32,
    /// The destination.
    pub route: Route,
}

/// A handle on a VM for its interrupts. It does not keep the VM alive: after the VM's end, calls fail with EBADF.
#[derive(Clone, Debug)]
pub struct IrqCalls(Weak<VmFd>);

impl IrqCalls {
    pub(super) fn new(fd: &Arc<VmFd>) -> Self {
        Self(Arc::downgrade(fd))
    }

    fn vm(&self) -> std::result::Result<Arc<VmFd>, errno::Error> {
        self.0.upgrade().ok_or(errno::Error::new(libc::EBADF))
    }

    /// Calls KVM_SET_GSI_ROUTING, which replaces the whole table.
    pub fn set_gsi_routing(&self, entries: &[IrqRoute]) -> Result<()> {
        trace!(KvmIrqchipCommitRoutes {});
        let context = || format!("{} routes", entries.len());
        let rows: Vec<_> = entries.iter().map(row).collect();
        let table = KvmIrqRouting::from_entries(&rows)
            .map_err(|_| failed("KVM_SET_GSI_ROUTING", context())(errno::Error::new(libc::ENOSPC)))?;
        self.vm().and_then(|vm| vm.set_gsi_routing(&table)).map_err(failed("KVM_SET_GSI_ROUTING", context()))
    }

    /// Calls KVM_IRQFD. With `resample` the GSI is level-triggered.
    pub fn assign_irqfd(&self, event: &EventFd, gsi: u32, resample: Option<&EventFd>) -> Result<()> {
        self.vm()
            .and_then(|vm| match resample {
                Some(resample) => vm.register_irqfd_with_resample(event, resample, gsi),
                None => vm.register_irqfd(event, gsi),
            })
            .map_err(failed("KVM_IRQFD", format!("GSI {gsi}")))
    }

    /// Calls KVM_IRQFD with the flag to deassign.
    pub fn deassign_irqfd(&self, event: &EventFd, gsi: u32) -> Result<()> {
        let context = || format!("GSI {gsi}, deassign");
        let vm = self.vm().map_err(error_of("KVM_IRQFD", context()))?;
        vm.unregister_irqfd(event, gsi).map_err(failed("KVM_IRQFD", context()))
    }

    /// Calls KVM_SIGNAL_MSI. Returns the kernel's status.
    pub fn signal_msi(&self, msi: Msi) -> Result<i32> {
        let (address_lo, address_hi) = halves(msi.address);
        let message = kvm_msi { address_lo, address_hi, data: msi.data, ..Default::default() };
        // Error texts are formatted only for an error, because devices call this often.
        called("KVM_SIGNAL_MSI", None);
        match self.vm().and_then(|vm| vm.signal_msi(message)) {
            // The status -1, which ioctl(2) returns as this error: no local APIC accepts the message.
            Err(e) if e.errno() == libc::EPERM => Ok(-1),
            result => {
                result.map_err(|e| failed("KVM_SIGNAL_MSI", format!("{:#x}, data {:#x}", msi.address, msi.data))(e))
            }
        }
    }

    /// Calls KVM_REINJECT_CONTROL: sets whether lost ticks of the PIT are delivered late.
    pub fn reinject_control(&self, reinject: bool) -> Result<()> {
        self.vm()
            .and_then(|vm| upstream::vm::reinject_control(&vm, reinject))
            .map_err(failed("KVM_REINJECT_CONTROL", ""))
    }

    /// Calls KVM_SET_PIT2 with the PIT's state and KVM_PIT_FLAGS_HPET_LEGACY set or clear: with the flag, the PIT's
    /// channel 0 stands.
    pub fn replace_pit(&self, replaced: bool) -> Result<()> {
        let vm = self.vm().map_err(error_of("KVM_GET_PIT2", String::new()))?;
        let mut pit = vm.get_pit2().map_err(failed("KVM_GET_PIT2", ""))?;
        pit.flags = if replaced { KVM_PIT_FLAGS_HPET_LEGACY } else { 0 };
        vm.set_pit2(&pit).map_err(failed("KVM_SET_PIT2", ""))
    }

    /// Calls KVM_IRQ_LINE_STATUS. Returns the kernel's status.
    pub fn irq_line_status(&self, gsi: u32, level: bool) -> Result<i32> {
        called("KVM_IRQ_LINE_STATUS", None);
        let result = self.vm().and_then(|vm| upstream::vm::irq_line_status(&vm, gsi, level));
        result.map_err(|error| error_of("KVM_IRQ_LINE_STATUS", format!("GSI {gsi}"))(error))
    }
}

/// Returns the low and the high 32 bits.
fn halves(address: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

fn row(entry: &IrqRoute) -> kvm_irq_routing_entry {
    let (type_, u) = match entry.route {
        Route::Pin(chip, pin) => {
            let irqchip = match chip {
                Chip::PicMaster => KVM_IRQCHIP_PIC_MASTER,
                Chip::PicSlave => KVM_IRQCHIP_PIC_SLAVE,
                Chip::Ioapic => KVM_IRQCHIP_IOAPIC,
            };
            let irqchip = kvm_irq_routing_irqchip { irqchip, pin };
            (KVM_IRQ_ROUTING_IRQCHIP, kvm_irq_routing_entry__bindgen_ty_1 { irqchip })
        }
        Route::Msi(Msi { address, data }) => {
            let (address_lo, address_hi) = halves(address);
            let msi = kvm_irq_routing_msi { address_lo, address_hi, data, ..Default::default() };
            (KVM_IRQ_ROUTING_MSI, kvm_irq_routing_entry__bindgen_ty_1 { msi })
        }
    };
    kvm_irq_routing_entry { gsi: entry.gsi, type_, u, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_rows_are_the_kernels() {
        let message = row(&IrqRoute { gsi: 30, route: Route::Msi(Msi { address: 0x1_fee0_2000, data: 0x41 }) });
        assert_eq!((message.gsi, message.type_, message.flags), (30, KVM_IRQ_ROUTING_MSI, 0));
        // SAFETY: the type determines which member was written.
        let msi = unsafe { message.u.msi };
        assert_eq!((msi.address_lo, msi.address_hi, msi.data), (0xfee0_2000, 1, 0x41));
        let pin = row(&IrqRoute { gsi: 9, route: Route::Pin(Chip::PicSlave, 1) });
        // SAFETY: as above.
        let (irqchip, pin_number) = unsafe { (pin.u.irqchip.irqchip, pin.u.irqchip.pin) };
        assert_eq!((pin.type_, irqchip, pin_number), (KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_PIC_SLAVE, 1));
    }
}
