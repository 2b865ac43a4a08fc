//! The VM fd.

mod chips;
mod clock;
mod dirty_log;
mod io;
mod ioeventfd;
mod irq;
mod memory_slots;
mod msr_filter;
mod slot;

pub use chips::{ChipState, PicSetup};
pub use clock::VmClock;
pub use dirty_log::DirtyCalls;
pub use io::IoCalls;
pub use ioeventfd::{Ioeventfd, Written};
pub use irq::{Chip, IrqCalls, IrqRoute, Msi, Route};
pub use memory_slots::SlotCalls;
pub use msr_filter::FilteredMsrs;
pub use slot::{PAGE, Slot, SlotCall};

use super::vcpu::{StateFeatures, Vcpu};
use crate::error::failed;
use crate::trace::trace;
use crate::upstream;
use crate::{Capability, Result};
use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_enable_cap, kvm_pit_config};
use kvm_ioctls::VmFd;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// A virtual machine.
#[derive(Debug)]
pub struct Vm {
    pub(in crate::fd) fd: Arc<VmFd>,
}

impl Vm {
    pub(in crate::fd) fn new(fd: VmFd) -> Self {
        Self { fd: Arc::new(fd) }
    }

    /// Returns a handle for the ioctls for accesses that stay in the kernel. Devices keep it.
    pub fn io_calls(&self) -> IoCalls {
        IoCalls::new(&self.fd)
    }

    /// Returns a handle for the ioctls for interrupts. Devices keep it.
    pub fn irq_calls(&self) -> IrqCalls {
        IrqCalls::new(&self.fd)
    }

    /// Returns the value of KVM_CHECK_EXTENSION on the VM fd.
    pub fn check(&self, capability: Capability) -> u32 {
        let answer = self.fd.check_extension_raw(capability.number().into());
        trace!(KvmVmIoctl { number: 0xae03, name: "KVM_CHECK_EXTENSION".into() });
        answer.try_into().unwrap_or(0)
    }

    /// Calls KVM_ENABLE_CAP with one argument. Capabilities must be enabled before a vCPU exists.
    pub fn enable(&self, capability: Capability, argument: u64) -> Result<()> {
        let cap = kvm_enable_cap { cap: capability.number(), args: [argument, 0, 0, 0], ..Default::default() };
        self.fd.enable_cap(&cap).map_err(failed("KVM_ENABLE_CAP", capability.to_string()))
    }

    /// Calls KVM_SET_IDENTITY_MAP_ADDR.
    pub fn set_identity_map_address(&self, address: u64) -> Result<()> {
        self.fd.set_identity_map_address(address).map_err(failed("KVM_SET_IDENTITY_MAP_ADDR", ""))
    }

    /// Calls KVM_SET_TSS_ADDR.
    pub fn set_tss_address(&self, address: u32) -> Result<()> {
        self.fd.set_tss_address(address as usize).map_err(failed("KVM_SET_TSS_ADDR", ""))
    }

    /// Calls KVM_SET_NR_MMU_PAGES.
    pub fn set_nr_mmu_pages(&self, pages: u64) -> Result<()> {
        let done = upstream::vm::set_nr_mmu_pages(&self.fd, pages);
        done.map_err(failed("KVM_SET_NR_MMU_PAGES", format!("kvm-shadow-mem of {pages} pages")))
    }

    /// Returns a handle for the ioctls for dirty pages.
    pub fn dirty_calls(&self) -> DirtyCalls {
        DirtyCalls::new(&self.fd)
    }

    /// Returns a handle for the ioctl for memory slots.
    pub fn slot_calls(&self) -> SlotCalls {
        SlotCalls::new(&self.fd)
    }

    /// Calls KVM_CREATE_IRQCHIP: creates PIC, IOAPIC and local APICs in the kernel.
    pub fn create_irqchip(&self) -> Result<()> {
        self.fd.create_irq_chip().map_err(failed("KVM_CREATE_IRQCHIP", ""))
    }

    /// Calls KVM_CREATE_PIT2.
    pub fn create_pit(&self) -> Result<()> {
        let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        self.fd.create_pit2(config).map_err(failed("KVM_CREATE_PIT2", ""))
    }

    /// Calls KVM_CREATE_VCPU and maps the shared pages. The kernel identifies a vCPU by its APIC id.
    pub fn create_vcpu(&self, id: u32, apic_id: u32, features: StateFeatures) -> Result<Vcpu> {
        trace!(KvmInitVcpu { cpu_index: id, arch_cpu_id: apic_id });
        let fd = self.fd.create_vcpu(apic_id.into()).map_err(failed("KVM_CREATE_VCPU", format!("vCPU {id}")))?;
        trace!(KvmCreateVcpu { cpu_index: id, arch_cpu_id: apic_id, kvm_fd: fd.as_raw_fd() });
        Vcpu::new(fd, id, apic_id, features, self.fd.run_size())
    }

    /// Returns a handle on the VM's clock, for the thread whose vCPU stops last.
    pub fn clock(&self) -> VmClock {
        VmClock::new(Arc::clone(&self.fd))
    }
}
