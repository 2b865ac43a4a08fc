//! The power-on state of vCPUs, which a reset restores.

use crate::Result;
use crate::cpu::CpuConfig;
use crate::recent::Recent;
use kvm_accel_kvm::fd::{StateFeatures, Vcpu};
use kvm_accel_kvm::lock;
use kvm_accel_kvm::state::VcpuState;
use std::sync::{Arc, Mutex};

/// Cache of the power-on states, by what they depend on: whether the vCPU is the boot processor, which state is read,
/// and the processor.
static POWER_ON: Mutex<Recent<(bool, StateFeatures, CpuConfig), VcpuState>> = Mutex::new(Recent::new());

/// Returns the state of a vCPU that has not run yet. Call it before any register is set. The state is the same in every
/// machine of a process with this processor, except for the APIC id. Reading it takes longer than creating the vCPU, so
/// each kind is read once.
pub fn power_on_state(vcpu: &Vcpu, cpu: &CpuConfig) -> Result<Arc<VcpuState>> {
    let boot = vcpu.id() == 0;
    lock(&POWER_ON).find_or_keep(
        |(b, features, of)| *b == boot && *features == vcpu.features() && of == cpu,
        || Ok(((boot, vcpu.features(), cpu.clone()), vcpu.state()?)),
    )
}
