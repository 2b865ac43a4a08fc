//! The power-on state of vCPUs, which a reset puts back.

use crate::Result;
use crate::cpu::CpuConfig;
use crate::recent::Recent;
use kvm_accel_kvm::fd::{StateFeatures, Vcpu};
use kvm_accel_kvm::state::VcpuState;
use std::sync::{Arc, Mutex, PoisonError};

/// The power-on states that were read so far, by what they depend on: the boot processor or another, what is read,
/// and the processor.
static POWER_ON: Mutex<Recent<(bool, StateFeatures, CpuConfig), VcpuState>> = Mutex::new(Recent::new());

/// The state of a vCPU that has not run yet; to be called before any register is set. It is the same in every machine of a
/// process with this processor but for the APIC id, and reading it costs more than creating the vCPU: each kind is read once.
pub fn power_on_state(vcpu: &Vcpu, cpu: &CpuConfig) -> Result<Arc<VcpuState>> {
    let boot = vcpu.id() == 0;
    POWER_ON.lock().unwrap_or_else(PoisonError::into_inner).find_or_keep(
        |(b, features, of)| *b == boot && *features == vcpu.features() && of == cpu,
        || Ok(((boot, vcpu.features(), cpu.clone()), vcpu.state()?)),
    )
}
