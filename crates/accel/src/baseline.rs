//! A minimal program that runs a guest: the ioctls in the accelerator's order, and a loop that only calls `KVM_RUN`.
//! Benchmarks compare with it, to measure what this crate adds.

use crate::Result;
pub use kvm_accel_kvm::fd::RawExit;
use kvm_accel_kvm::fd::{StateFeatures, System, Vcpu, Vm};
use kvm_accel_kvm::state::StartState;
use kvm_accel_memory::GuestRam;
use kvm_accel_memory::slots::{Limits, Memory};
use std::path::Path;

/// One vCPU without threads, buses, events or counters.
#[derive(Debug)]
pub struct Baseline {
    vcpu: Vcpu,
    /// Kept open, and dropped after the vCPU.
    _vm: Vm,
    /// The RAM, dropped last.
    _memory: Memory,
}

impl Baseline {
    /// Opens /dev/kvm and creates a VM with irqchip, PIT and one vCPU, with the calls that a C program would make.
    ///
    /// # Errors
    /// The first call that failed.
    pub fn new(ram: GuestRam, start: &StartState) -> Result<Self> {
        let system = System::open(Path::new("/dev/kvm"))?;
        let vm = system.create_vm()?;
        vm.set_identity_map_address(0xfeff_c000)?;
        vm.set_tss_address(0xfeff_d000)?;
        let memory = Memory::new(vm.slot_calls(), Limits::new(0, 0));
        memory.add_all(ram.into())?;
        vm.create_irqchip()?;
        vm.create_pit()?;
        let vcpu = vm.create_vcpu(0, 0, StateFeatures::default())?;
        vcpu.set_cpuid(system.supported_cpuid()?)?;
        vcpu.set_start_state(start)?;
        Ok(Self { vcpu, _vm: vm, _memory: memory })
    }

    /// Calls `KVM_RUN` until `on_exit` returns false. Reads return all ones.
    ///
    /// # Errors
    /// KVM_RUN failed.
    pub fn run(&mut self, on_exit: impl FnMut(RawExit) -> bool) -> Result<()> {
        self.vcpu.run_raw(on_exit)?;
        Ok(())
    }
}
