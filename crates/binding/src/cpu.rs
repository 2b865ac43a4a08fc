//! The processors as TypeScript hands them over.

use crate::msrs::BindingMsrRule;
use kvm_accel::cpu::{CpuConfig, FeatureChange, Topology, features, models};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::devices::DelegatedMsrs;
use napi_derive::napi;
use std::sync::Arc;

/// The processors; see `CpuOptions` in TypeScript.
#[napi(object, object_to_js = false)]
pub struct BindingCpu {
    /// `host`, or another of QEMU's models.
    pub model: String,
    /// In the order in which they apply.
    pub features: Vec<BindingFeature>,
    /// Warn of missing features.
    pub check: bool,
    /// Fail for them.
    pub enforce: bool,
    /// Tell the guest that this is KVM.
    pub kvm: bool,
    /// The performance monitoring unit, if something was said of it.
    pub pmu: Option<bool>,
    /// Without an invariant time-stamp counter.
    pub migratable: bool,
    /// Of the time-stamp counter, in kHz.
    pub tsc_khz: Option<u32>,
    /// Packages.
    pub sockets: u32,
    /// Dies of a package.
    pub dies: u32,
    /// Cores of a die.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
    /// Idling does not leave the guest.
    pub disable_exits: bool,
    /// MSRs that are answered outside the kernel.
    pub msr_rules: Vec<BindingMsrRule>,
    /// Bus locks in a second; 0 for no limit.
    pub bus_lock_ratelimit: i64,
}

/// A feature that is to be on or off.
#[napi(object, object_to_js = false)]
pub struct BindingFeature {
    /// QEMU's name.
    pub name: String,
    /// On.
    pub on: bool,
}

/// Every feature's name.
#[napi]
pub fn cpu_feature_names() -> Vec<String> {
    features::names().into_iter().map(Into::into).collect()
}

/// Every model that is made, by each of its names.
#[napi]
pub fn cpu_model_names() -> Vec<String> {
    models::MODELS.iter().flat_map(|model| model.names).map(|name| (*name).into()).collect()
}

impl BindingCpu {
    /// The accelerator's configuration; `msrs` answer what JavaScript is asked.
    pub fn into_accel(self, msrs: &Arc<DelegatedMsrs>) -> Result<CpuConfig, MachineConfigError> {
        let features =
            self.features.into_iter().map(|BindingFeature { name, on }| FeatureChange { name, on }).collect();
        Ok(CpuConfig {
            model: self.model,
            features,
            check: self.check,
            enforce: self.enforce,
            kvm: self.kvm,
            pmu: self.pmu,
            migratable: self.migratable,
            tsc_khz: self.tsc_khz,
            topology: topology(self.sockets, self.dies, self.cores, self.threads)?,
            disable_exits: self.disable_exits,
            msrs: (0..).zip(self.msr_rules).map(|(at, rule)| rule.into_range(at, msrs)).collect::<Result<_, _>>()?,
            bus_lock_ratelimit: self.bus_lock_ratelimit.max(0).unsigned_abs(),
        })
    }
}

fn topology(sockets: u32, dies: u32, cores: u32, threads: u32) -> Result<Topology, MachineConfigError> {
    let topology = Topology { sockets, dies, cores, threads };
    if [sockets, dies, cores, threads].iter().all(|count| (1..=255).contains(count)) {
        return Ok(topology);
    }
    let message = "A topology has 1 to 255 of each level";
    Err(MachineConfigError::new("topology", message, "Leave it out for a core of each vCPU."))
}
